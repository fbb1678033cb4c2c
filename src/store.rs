//! What is on disk: journal, ledger, holds, records, idempotency, and the small tables around them.
//!
//! One writer thread applies [`Transaction`]s in the order they were handed over and commits them in groups; a
//! transaction's [`Outcome`] is known only once it is on disk. Rows never leave this room: facts and records do.
//! It decides nothing about calls or prices: it keeps what it is told, and refuses what contradicts what it has.
//!
//! | file | |
//! |---|---|
//! | `heartbeat`, `ballast` | what a crash leaves proved; room for the last words on a full disk |
//! | `open` | the file, its lock, version and settings |
//! | `log` | whether the write-ahead log is damaged where SQLite would not say so |
//! | `in_line`, `disk` | the same without threads, on a simulated disk |
//! | `writer` | the thread and its groups |
//! | `apply` | one transaction: all or nothing |
//! | `ledger`, `journal` | money and facts, with what must hold about them |
//! | `refund` | money that goes back: out of a wallet, of a settled call |
//! | `statement` | orders, a client's transfers, what went back of a call |
//! | `fact_row` | a fact as JSON, for ever readable |
//! | `outbox`, `webhooks` | events of facts, in the facts' transaction; endpoints and what was sent to them |
//! | `read` | what others may look up |
//! | `recordings` | recordings, whose sound lies in files |
//! | `signatures` | keys, and what they signed |
//! | `row_hash` | hashes of rows that stand alone |
//! | `audit` | whether all of it still adds up |

mod apply;
mod audit;
mod ballast;
mod disk;
mod fact_row;
#[cfg(test)]
pub(crate) mod faults;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod heartbeat;
mod in_line;
mod journal;
mod ledger;
mod log;
mod night_row;
mod open;
mod outbox;
mod policy_row;
mod read;
mod recordings;
mod refund;
mod row_hash;
mod rows;
mod schema;
mod signatures;
mod sold_row;
mod statement;
mod webhooks;
mod writer;

#[cfg(test)]
mod tests;

pub use audit::{Audited, Background, Book, Finding};
pub use disk::{Disk, Failure};
pub use heartbeat::Beat;
pub use in_line::InLine;
pub use open::{OpenError, Role};
pub use read::{Page, Reply, Vendor};
pub use recordings::{Care, Deleter, NewRecording, Recording, RecordingWrite, WrappedKey};
pub use refund::{Actor, Direction, Return, ReturnKind, WalletRefund};
pub use signatures::SignedRecord;
pub use statement::{Adjustment, Charged, Line, Order, Paid};
pub use webhooks::{
    Attempt, Change, Delivery, Disabled, Due, Endpoint, Event, OLD_SECRETS, Outcome as Tried, Secret, Target, Traffic, WebhookWrite,
};
pub use writer::Weight;

use crate::billing;
use crate::call::{Entry, Medium, Night, Policy, RecordingTerms, Sounds};
use crate::clock::{Moment, Reading};
use crate::ids::{BootId, CallId, ClientRef, CompanionId, HoldId, PlanId, TransferId, VendorId};
use crate::money::{Currency, Money};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};

/// A database, open. Clones are handles to the same one; when the last is dropped the queue is worked off first.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    path: PathBuf,
    readers: read::Readers,
    /// Rung when there may be something to send.
    bell: Arc<OnceLock<Bell>>,
    /// None for [`Role::Auditor`].
    writer: Option<writer::Writer>,
    /// Held until the writer is done: fields are dropped in this order.
    _lock: Option<open::ServerLock>,
}

/// Who hears that there may be something to send.
type Bell = Box<dyn Fn() + Send + Sync>;

impl Store {
    /// Transactions that should wait at most. Nobody is kept waiting here, so that no call's end ever waits for the disk: who takes
    /// commands from outside looks at [`Store::backlog`] first.
    pub const QUEUE: usize = 4096;

    /// Opens a database file, and makes it (mode 0600) if it is missing, unless as [`Role::Auditor`].
    ///
    /// One server may have it open, and any number of tools and auditors beside it.
    pub fn open(path: &Path, role: Role) -> Result<Self, OpenError> {
        let opened = open::open(path, role)?;
        Self::start(opened).map_err(|error| OpenError::Io { path: path.to_owned(), error: error.to_string() })
    }

    fn start(opened: open::Opened) -> std::io::Result<Self> {
        let writer = opened.writer.map(|connection| writer::Writer::start(connection, opened.ballast)).transpose()?;
        let readers = read::Readers::new(opened.path.clone());
        Ok(Self(Arc::new(Inner { path: opened.path, readers, bell: Arc::default(), writer, _lock: opened.lock })))
    }

    /// The database file, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Queues a transaction, without waiting. `on_done` is called once it is on disk or known not to be, on the writer's thread: it must not
    /// wait. What is on disk is told in the order of submitting. While the disk is full or busy the facts of running calls are tried again,
    /// in their order, until they are on disk; anything else is told so and may be told before facts that wait.
    ///
    /// On a closed store `on_done` is called at once.
    pub fn submit(&self, transaction: Transaction, on_done: impl FnOnce(Result<Outcome, StoreError>) + Send + 'static) {
        match &self.0.writer {
            Some(writer) if transaction.rings() => {
                let bell = Arc::clone(&self.0.bell);
                writer.submit(
                    transaction,
                    Box::new(move |outcome| {
                        on_done(outcome);
                        if let Some(ring) = bell.get() {
                            ring();
                        }
                    }),
                );
            }
            Some(writer) => writer.submit(transaction, Box::new(on_done)),
            None => on_done(Err(StoreError::Closed)),
        }
    }

    /// Lets `ring` be called after each transaction that may have put something into the outbox, on the writer's thread: it must not
    /// wait. The first to ask is heard, later ones are not.
    pub fn on_outbox(&self, ring: impl Fn() + Send + Sync + 'static) {
        // A second listener is a mistake without harm: deliveries are looked for by time as well.
        let _ = self.0.bell.set(Box::new(ring));
    }

    /// Transactions submitted whose outcome is not yet known. A server that sees this grow refuses new commands.
    pub fn backlog(&self) -> usize {
        self.0.writer.as_ref().map_or(0, writer::Writer::backlog)
    }

    /// What keeps the writer from writing at present, or new money commands from being taken; none if all is well.
    pub fn trouble(&self) -> Option<StoreError> {
        self.0.writer.as_ref().and_then(writer::Writer::trouble)
    }

    /// Submits a transaction and waits for its outcome: for the command line and tests, never from the service's loop.
    pub fn commit(&self, transaction: Transaction) -> Result<Outcome, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.submit(transaction, move |outcome| {
            // The receiver waits below, so this cannot fail.
            let _ = sender.send(outcome);
        });
        receiver.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// The secret of this name: `fresh` (random, from the caller) if there was none, else what was kept before.
    pub fn secret(&self, name: &str, fresh: [u8; 32]) -> Result<[u8; 32], StoreError> {
        if let Some(kept) = self.kept_secret(name)? {
            return Ok(kept);
        }
        let keep = Write::KeepSecret { name: name.to_owned(), secret: fresh };
        self.commit(Transaction { idempotency: None, writes: vec![keep] })?;
        // Another process may have been first.
        self.kept_secret(name)?.ok_or_else(|| StoreError::Broken(format!("secret {name} was not kept")))
    }

    /// Works off the queue and ends the writer; afterwards every transaction gets [`StoreError::Closed`]. Reads go on.
    pub fn close(&self) {
        // The last connection to go brings the log into the database, so that one whole file is left.
        self.0.readers.close_idle();
        if let Some(writer) = &self.0.writer {
            writer.close();
        }
    }
}

/// Why a transaction's outcome is not to be had. Nothing of it was written, except perhaps after [`StoreError::Database`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room. What was acknowledged is safe, and writing works again once there is room. Facts of running calls are never told this.
    #[error("the disk is full")]
    Full,
    /// Another process kept the database for longer than five seconds.
    #[error("another process keeps the database busy")]
    Busy,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The transaction contradicts what is on disk: a fault of lull's own. Others of its group are not touched.
    #[error("broken invariant: {0}")]
    Broken(String),
    /// The disk or the file fails. The outcome is unknown (look it up after a restart) and the writer takes no more.
    #[error("the database fails: {0}")]
    Database(String),
}

/// All or nothing.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// For commands from outside: one key, one effect, one reply.
    pub idempotency: Option<Idempotency>,
    /// In this order; the first condition that fails undoes the whole transaction.
    pub writes: Vec<Write>,
}

impl Transaction {
    /// Whether it may give an endpoint something to do.
    pub fn rings(&self) -> bool {
        outbox::rings(self)
    }
}

/// A command's key, and the reply to store beside its effect.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// Keys of one vendor never meet those of another.
    pub vendor: VendorId,
    /// The caller's key.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub request_hash: [u8; 32],
    /// The HTTP status of the reply.
    pub status: u16,
    /// The reply's body, JSON without tokens.
    pub body: String,
}

/// One change.
#[derive(Clone, Debug)]
pub enum Write {
    /// A vendor and the SHA-256 of her API key. Condition: the name is free.
    AddVendor { id: VendorId, name: String, key_hash: [u8; 32], at: Moment },
    /// A one-time login code for the vendor's page (its SHA-256).
    AddLoginCode { vendor: VendorId, code_hash: [u8; 32], expires_at: Moment },
    /// Uses up a login code and opens a session. Condition: the code exists, is unused and has not expired.
    OpenSession { code_hash: [u8; 32], session_hash: [u8; 32], now: Moment, expires_at: Moment },
    /// Ends a session.
    CloseSession { session_hash: [u8; 32] },
    /// A plan.
    AddPlan(Plan),
    /// How a vendor's calls are settled from now on; calls that are made keep theirs.
    SetPolicy { vendor: VendorId, policy: Policy, at: Moment },
    /// A companion.
    AddCompanion(Companion),
    /// Money into a client's wallet. Condition: this vendor has not seen the order reference before.
    Credit { transfer: TransferId, vendor: VendorId, client: ClientRef, amount: Money, order_ref: String, at: Moment },
    /// Money set aside. Condition: the wallet's available amount covers it.
    Hold { hold: HoldId, call: CallId, vendor: VendorId, client: ClientRef, amount: Money, at: Moment },
    /// Facts of a call, each continuing the journal without a gap. `Created` also makes the call's row.
    Facts { call: CallId, entries: Vec<Entry> },
    /// A server begins. Heartbeats of earlier ones are refused from now on.
    /// `wall`: what the wall clock says, or what it must pass before new calls are taken.
    Boot { boot: BootId, at: Moment, wall: Moment },
    /// What is proved of live and paused calls, in place of what was before; and the server lives. Condition: `boot` is the last one.
    Heartbeats { boot: BootId, at: Moment, clocks: Reading, beats: Vec<Beat> },
    /// Releases what is on hold for an open call and is not among these, which its facts name.
    ReleaseStray { call: CallId, known: Vec<HoldId>, at: Moment },
    /// A secret under a name, kept for ever. Does nothing if the name has one.
    KeepSecret { name: String, secret: [u8; 32] },
    /// Ends the key that signs records and goes on with the one of this secret.
    RotateKey { secret: [u8; 32], at: Moment },
    /// The end of a call's money: captures, splits, releases whatever else is on hold for it, keeps the record.
    Settle(Box<Settlement>),
    /// Endpoints of vendors' programs and what is sent to them.
    Webhook(WebhookWrite),
    /// Money out of a client's wallet. Conditions: the available amount covers it, and this vendor has not seen the refund's own
    /// order reference before.
    RefundWallet(Box<WalletRefund>),
    /// Money of a settled call back to its client, or from her again. Conditions: see [`Return`].
    Return(Box<Return>),
    /// Recordings. Condition of a vendor's deletion: it is hers, and whole.
    Recording(RecordingWrite),
}

/// What settles a call.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The call.
    pub call: CallId,
    /// The instant of settling.
    pub at: Moment,
    /// The name of the transfer from the wallet to companion and vendor.
    pub transfer: TransferId,
    /// What is captured of each hold (0 is a whole release); a pending hold of this call that is not named is released whole.
    pub captures: Vec<(HoldId, i64)>,
    /// The companion's and the vendor's part; they sum to the charge, and so do the captures.
    pub companion_share: i64,
    /// See `companion_share`.
    pub vendor_share: i64,
    /// The call's record: canonical JSON.
    pub record: String,
}

/// A plan as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub id: PlanId,
    pub vendor: VendorId,
    pub name: String,
    /// By which rules its calls are rated.
    pub sold: billing::Plan,
    /// What a call sets aside when it is made and with each extension.
    pub hold: Money,
    pub grade: Option<String>,
    /// How its calls end when the client sleeps: of until-asleep plans, and only of those.
    pub night: Option<Night>,
    /// What the server lets be heard in them.
    pub sounds: Sounds,
    /// Whether its calls may be recorded, once both parties agree.
    pub recording: Option<RecordingTerms>,
    pub created_at: Moment,
}

/// A companion as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    pub id: CompanionId,
    pub vendor: VendorId,
    pub name: String,
    pub grade: Option<String>,
    pub created_at: Moment,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On disk.
    Committed,
    /// This key was used before with the same request: the first reply.
    Replayed { status: u16, body: String },
    /// Nothing was written.
    Refused(Refusal),
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This key was used before with another request.
    KeyReused,
    /// The wallet has less than asked for.
    Funds { available: Money },
    /// The name is taken.
    NameTaken,
    /// The order reference was credited before.
    OrderCredited,
    /// The login code is unknown, used or expired.
    LoginCode,
    /// The amount would leave the range the ledger keeps exact.
    TooLarge,
    /// All that was credited to the vendor's clients in this currency would leave it, together with this amount.
    CreditsFull { currency: Currency },
    /// The vendor has no such webhook endpoint.
    NoEndpoint,
    /// The vendor has no such event.
    NoEvent,
    /// The vendor has as many webhook endpoints as she may.
    TooManyEndpoints { most: u32 },
    /// The webhook endpoint has as many replaced secrets that sign as it may; the first of them ends then.
    TooManySecrets { until: Moment },
    /// The webhook endpoint is disabled.
    EndpointDisabled,
    /// The order reference was refunded before.
    OrderRefunded,
    /// What was returned of the call is no longer what the command was made for: look again.
    Stale,
    /// The recording is unknown or is still being made.
    RecordingOpen,
}

/// A wallet's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// The sum of all postings.
    pub posted: Money,
    /// Of it, what pending holds set aside.
    pub held: i64,
}

impl Balance {
    /// What can be spent.
    pub fn available(self) -> i64 {
        self.posted.amount - self.held
    }
}

/// A call as the tables know it, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRow {
    pub id: CallId,
    pub vendor: VendorId,
    pub client: ClientRef,
    pub companion: CompanionId,
    pub medium: Medium,
    pub created_at: Moment,
    /// None until it is settled.
    pub record: Option<String>,
}
