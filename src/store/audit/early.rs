//! When a server audits: the calls that are not over before it opens, all the rest in the background while it serves.

use super::{Finding, Findings, Rebuild, calls, check_all, guarded, kept};
use crate::store::{Store, StoreError, open};
use rusqlite::InterruptHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A full audit on its way. Dropping it ends it early, without waiting.
pub struct Background {
    interrupt: InterruptHandle,
    stopped: Arc<AtomicBool>,
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.interrupt.interrupt();
    }
}

impl Store {
    /// The rules of calls, for those that are not settled, and of what a server proved of them: as many look-ups as there are such
    /// calls, however many are settled.
    pub fn audit_unfinished(&self, rebuild: Rebuild<'_>) -> Result<Vec<Finding>, StoreError> {
        let reader = self.0.readers.take()?;
        let snapshot = reader.unchecked_transaction()?;
        let mut findings = Findings::default();
        calls::check_unfinished(&snapshot, rebuild, &mut findings)?;
        guarded("heartbeat", &mut findings, |findings| kept::check_pulse(&snapshot, findings))?;
        Ok(findings.list)
    }

    /// [`Store::audit`] on a thread and a connection of its own, as unimportant as the machine lets it be. `on_done` is called on that
    /// thread, unless the audit is ended early. The write-ahead log grows meanwhile and shrinks afterwards.
    pub fn audit_in_background(
        &self,
        rebuild: impl Fn(&crate::call::Journal) -> Option<String> + Send + 'static,
        on_done: impl FnOnce(Result<Vec<Finding>, StoreError>) + Send + 'static,
    ) -> Result<Background, StoreError> {
        let connection = open::reader(&self.0.path)?;
        let interrupt = connection.get_interrupt_handle();
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let audit = move || {
            give_way();
            let findings = check_all(&connection, &rebuild).map(|audited| audited.findings);
            if !is_stopped.load(Ordering::Relaxed) {
                on_done(findings);
            }
        };
        let thread = std::thread::Builder::new().name("store-auditor".to_owned()).spawn(audit);
        thread.map_err(|error| StoreError::Broken(format!("no thread to audit on: {error}")))?;
        Ok(Background { interrupt, stopped })
    }
}

/// Lets every other thread of the process go first.
fn give_way() {
    // SAFETY: it takes no pointer, and 0 names the calling thread (sched(7): on Linux niceness is the thread's own).
    unsafe { nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 19) };
}
