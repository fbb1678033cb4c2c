//! Events of money that moves outside a call's own life: what goes back of a settled call, and out of a wallet.
//!
//! Functions of the transfer and what it left behind, like those of facts: made again, they are the same bytes. The words that somebody
//! wrote beside a refund stay out: they may name a person.

use super::{Announcement, body, id_of, identify, money};
use crate::call::Terms;
use crate::clock::Moment;
use crate::ids::{CallId, ClientRef, TransferId, VendorId};
use crate::money::Money;
use serde_json::{Map, Value};

/// Money between a settled call and its client's wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Returned {
    /// The movement.
    pub transfer: TransferId,
    /// When.
    pub at: Moment,
    /// To the client; else from her again.
    pub to_client: bool,
    /// Above zero, whichever way it goes.
    pub amount: Money,
    /// What of it the companion bears, or gets back.
    pub companion: i64,
    /// The same of the vendor.
    pub vendor: i64,
    /// The word for who bears it.
    pub bearer: &'static str,
    /// The code of a dispute's reason; none is a refund.
    pub reason: Option<String>,
    /// What of the charge is with the client after it, and what is not.
    pub returned: i64,
    /// See `returned`.
    pub left: i64,
}

/// The event of money that went back of a call, as the `seq`-th of the call.
pub fn return_announcement(call: CallId, terms: &Terms, seq: u64, of: &Returned) -> Announcement {
    let word = if of.reason.is_some() { "call.adjusted" } else { "call.refunded" };
    let mut data = Map::new();
    identify(&mut data, call, terms, seq);
    let of_call = |amount| money(Money::new(amount, of.amount.currency));
    let mut add = |key: &str, value: Value| data.insert(key.to_owned(), value);
    add("transfer_id", of.transfer.to_string().into());
    add("amount", money(of.amount));
    add("companion", of_call(of.companion));
    add("vendor", of_call(of.vendor));
    add("from", of.bearer.into());
    add("returned", of_call(of.returned));
    add("left", of_call(of.left));
    if let Some(reason) = &of.reason {
        add("direction", if of.to_client { "to_client" } else { "from_client" }.into());
        add("reason", reason.as_str().into());
    }
    Announcement { id: id_of(&call.to_string(), seq, of.at), word, at: of.at, body: body(word, of.at, data) }
}

/// The event of money that the vendor paid back outside, out of a client's wallet: of no call, so without a number.
pub fn wallet_announcement(
    transfer: TransferId,
    vendor: VendorId,
    client: &ClientRef,
    amount: Money,
    order_ref: &str,
    at: Moment,
) -> Announcement {
    let word = "client.refunded";
    let mut data = Map::new();
    let mut add = |key: &str, value: Value| data.insert(key.to_owned(), value);
    add("vendor_id", vendor.to_string().into());
    add("client_ref", client.as_str().into());
    add("transfer_id", transfer.to_string().into());
    add("amount", money(amount));
    add("order_ref", order_ref.into());
    Announcement { id: id_of(&transfer.to_string(), 0, at), word, at, body: body(word, at, data) }
}
