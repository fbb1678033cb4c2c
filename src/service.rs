//! The loop: everything that comes in meets the core here, and everything the core wants is carried out from here.
//!
//! One task owns the [`Exchange`](crate::exchange::Exchange) and everything about who is on the line, so neither needs a lock.
//! An event goes into the core with the time of its arrival; what the core records is handed to the store; and only when that
//! is on disk does any page, program or person hear of it. Messages are made at the event and held until then, so none
//! tells of something newer than what is safe. Media packets never pass here.
//!
//! | file | |
//! |---|---|
//! | `house` | the loop and what it owns |
//! | `carry` | the core's effects, commits in order, what is said after them |
//! | `line` | sockets, legs and what parties say |
//! | `desk`, `look_up` | REST commands and queries; what they name, read from disk |
//! | `webhook_desk` | REST requests about webhooks |
//! | `refunds` | money that goes back, statements, orders |
//! | `recordings` | who is recorded, and what of it vendors get |
//! | `records` | records as they are given out, and the keys that check them |
//! | `turns` | what waits for the disk, in order |
//! | `parties`, `window`, `allowance` | who is on the line; which messages were seen; how many are too many |
//! | `links` | join tokens and links |
//! | `night`, `ear` | what is heard and said of sleep; the workers who hear and say it |
//! | `plans` | plans and settlement policies on the wire |
//! | `heartbeat` | what is proved of calls that run, kept on disk; what happens when it is not |
//! | `recovery` | taking up what a crash left, the audit behind it, the clocks |
//! | `wire` | the one place where wire types meet those of the core |

mod allowance;
mod carry;
mod desk;
mod ear;
mod figures;
mod heartbeat;
mod house;
mod line;
mod links;
mod look_up;
mod night;
mod parties;
mod plans;
mod recordings;
mod records;
mod recovery;
mod refunds;
mod room;
mod turns;
mod webhook_desk;
mod window;
mod wire;

pub use figures::{describe, measure};
pub use night::{Ear, Heard, Hearing, Hint};
pub use turns::{Answer, Turns};

use crate::call::{Limits, Shares};
use crate::clock::{Clock, Moment, Span};
use crate::media::{Media, Report};
use crate::recording::Recorder;
use crate::store::{Store, StoreError};
use house::House;
use signaling::auth::TokenKey;
use signaling::endpoint::Ready;
use signaling::inbound::Inbound;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub use webhook_desk::WebhookRules;

/// What a service is made of.
pub struct Parts {
    /// The process's clock; the media plane has a copy.
    pub clock: Clock,
    /// The database, opened as its server.
    pub store: Store,
    /// The media plane.
    pub media: Media,
    /// What it sees.
    pub reports: mpsc::Receiver<Report>,
    /// What listens, fades and plays.
    pub ear: Ear,
    /// What keeps sound on disk; none without the setting.
    pub recorder: Option<Recorder>,
    /// What comes through the door.
    pub inbound: mpsc::Receiver<Inbound>,
    /// Signs join tokens.
    pub tokens: TokenKey,
    /// What new calls are made on.
    pub rules: Rules,
    /// Says `/readyz`.
    pub ready: watch::Sender<Ready>,
    /// Without a proof on disk for so long a call ends as of its last one.
    pub lease: Span,
    /// New calls are refused until the wall clock has passed this: it was put back behind what is on disk.
    pub wall_must_pass: Option<Moment>,
}

/// What new calls are made on, beside their plan.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The time limits.
    pub limits: Limits,
    /// How a charge is split.
    pub shares: Shares,
    /// In front of links: `https://call.example`.
    pub public_url: String,
    /// Calls that may be open at once; above it new ones get `overloaded`. Each costs some 100 KB.
    pub max_calls: usize,
    /// Messages of one party over her data channels; three seconds' worth may come at once, as over a socket.
    pub messages_per_second: u32,
    /// What endpoints of webhooks may be.
    pub webhooks: WebhookRules,
}

/// Why a service stopped by itself or did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Facts could not be written. What was acknowledged is on disk; the rest is settled from it at the next start.
    #[error("the journal cannot be written: {0}")]
    Store(#[from] StoreError),
    /// A journal on disk is not what this version writes.
    #[error("the journal of {call} cannot be read: {why}")]
    Journal { call: String, why: String },
    /// Calls that are to be taken up do not add up on disk. Nothing was changed.
    #[error("the calls that are not over do not add up, so nothing was started; first of {count}: {first}")]
    Audit { count: usize, first: String },
    /// Our mistake.
    #[error("the service's task failed")]
    Panicked,
}

/// A running service.
pub struct Service {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServiceError>>,
}

impl Service {
    /// Takes up what an earlier process left open, once that is audited, then runs; all else is audited in the background.
    ///
    /// Calls that a crash cut off go on when their legs return within the pause limit: what came after their last proof on disk is a
    /// pause at our cost. The others end as `server_fault`.
    pub async fn start(parts: Parts) -> Result<Self, ServiceError> {
        let (stop, stopped) = oneshot::channel();
        let house = House::open(parts).await?;
        Ok(Self { stop: Some(stop), task: tokio::spawn(house.run(stopped)) })
    }

    /// Ends and settles every call as `server_fault`, tells the pages, and returns when all of it is on disk.
    pub async fn stop(mut self) -> Result<(), ServiceError> {
        if let Some(stop) = self.stop.take() {
            // The task may have failed already; its result says so.
            let _ = stop.send(());
        }
        self.ended().await
    }

    /// Waits until the service stops by itself, which it does only when something is badly wrong.
    pub async fn ended(&mut self) -> Result<(), ServiceError> {
        (&mut self.task).await.unwrap_or(Err(ServiceError::Panicked))
    }
}
