//! What is on disk: journal, ledger, holds, records, idempotency, and the small tables around them.
//!
//! One writer thread applies [`Transaction`]s in the order they were handed over and commits them in groups; a
//! transaction's [`Outcome`] is known only once it is on disk. Rows never leave this room: facts and records do.

use crate::call::{Entry, Medium};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, ClientRef, CompanionId, HoldId, PlanId, TransferId, VendorId};
use crate::money::Money;

/// All or nothing.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// For commands from outside: one key, one effect, one reply.
    pub idempotency: Option<Idempotency>,
    /// In this order; the first condition that fails undoes the whole transaction.
    pub writes: Vec<Write>,
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
    /// A companion.
    AddCompanion(Companion),
    /// Money into a client's wallet. Condition: this vendor has not seen the order reference before.
    Credit { transfer: TransferId, vendor: VendorId, client: ClientRef, amount: Money, order_ref: String, at: Moment },
    /// Money set aside. Condition: the wallet's available amount covers it.
    Hold { hold: HoldId, call: CallId, vendor: VendorId, client: ClientRef, amount: Money, at: Moment },
    /// Facts of a call, each continuing the journal without a gap. `Created` also makes the call's row.
    Facts { call: CallId, entries: Vec<Entry> },
    /// The end of a call's money: captures, splits, releases whatever else is on hold for it, keeps the record.
    Settle(Box<Settlement>),
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

/// A plan as stored (for now always of blocks).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub id: PlanId,
    pub vendor: VendorId,
    pub name: String,
    pub block: Span,
    pub price: Money,
    pub grade: Option<String>,
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
