//! Events to vendors' programs: what the store has due goes out, signed, and what came of each try goes back into the store.
//!
//! One task finds what is due and starts the tries, each a task of its own, some at once for each endpoint and some in all; nothing
//! here decides what is told or in which order, that is the outbox's business. Invariants: an event is sent at least once, under one
//! id; of one call only one event is on its way to one endpoint; a slow or silent endpoint holds one place of many.
//!
//! | file | |
//! |---|---|
//! | `courier` | the task and its places |
//! | `post` | one try: resolve, check the address, connect, send, take the status |
//! | `network` | which addresses may be spoken to |
//! | `schedule` | when to try again, what may be under way at once, what an answer means; pure |

mod courier;
mod network;
mod post;
pub(crate) mod schedule;
#[cfg(test)]
mod tests;

use crate::clock::{Clock, Span};
use crate::store::Store;
use courier::Courier;
pub use courier::describe;
use post::Postman;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Where events may go, and how patiently.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Endpoints without TLS are served too.
    pub allow_http: bool,
    /// Networks that are not public and may be spoken to all the same: an address and how many of its bits count.
    pub allow_networks: Vec<(IpAddr, u8)>,
    /// A PEM file of certification authorities that count beside Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// The waits before the second, third … try; after the last the event is given up.
    pub retries: Vec<Span>,
    /// Within this time a connection stands.
    pub connect_timeout: Duration,
    /// Within this time after the beginning of the try its answer is there.
    pub timeout: Duration,
}

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file of further authorities cannot be used.
    #[error("cannot use webhooks.ca_file {}: {why}", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Our mistake.
    #[error("no TLS for webhooks: {0}")]
    Tls(String),
}

/// The running task.
pub struct Webhooks {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// Starts sending what this store has due. Needs a runtime.
pub fn start(store: Store, clock: Clock, settings: Settings) -> Result<Webhooks, StartError> {
    let postman = Postman::new(&settings)?;
    let bell = Arc::new(Notify::new());
    let ring = Arc::clone(&bell);
    store.on_outbox(move || ring.notify_one());
    let (stop, stopped) = oneshot::channel();
    let courier = Courier::new(store, clock, postman, settings.retries, bell);
    Ok(Webhooks { stop: Some(stop), task: tokio::spawn(courier.run(stopped)) })
}

impl Webhooks {
    /// Lets tries under way finish for a moment and starts no more. What is left goes out after the next start.
    pub async fn stop(mut self) {
        if let Some(stop) = self.stop.take() {
            // The task is gone already only after a panic, which was printed.
            let _ = stop.send(());
        }
        let _ = self.task.await;
    }
}
