//! How many files and connections the process may have open: as many as it is granted.
//!
//! systemd and shells let a program have 1,024 at first, out of regard for those that use select(2), and many more if it asks (setrlimit(2)).
//! It refuses nothing: where fewer are granted than the settings allow pages, it says so, and who comes later waits at the door.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Those that are not of pages' sockets: the database, recordings, shards, webhooks, requests, and media over TCP.
const BESIDE: u64 = 512;

/// Raises the limit to what may be had without asking anybody, and says what that is.
pub(crate) fn raise(sockets: u32) {
    let granted = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((now, most)) if now < most => match setrlimit(Resource::RLIMIT_NOFILE, most, most) {
            Ok(()) => most,
            Err(error) => {
                tracing::warn!(%error, "the limit of open files stays at {now}: {error}");
                now
            }
        },
        Ok((now, _)) => now,
        Err(error) => return tracing::warn!(%error, "the limit of open files cannot be read: {error}"),
    };
    tracing::info!("{granted} files and connections may be open");
    let wanted = u64::from(sockets) + BESIDE;
    if granted < wanted {
        tracing::warn!(
            "{granted} open files and connections are fewer than signaling.sockets = {sockets} needs: pages beyond wait at the door; grant \
             {wanted} (`LimitNOFILE=` of systemd, `--ulimit nofile=` of a container, `ulimit -Hn` of a shell)"
        );
    }
}
