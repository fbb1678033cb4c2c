//! What the core asks of the shell, in the order to carry it out.

use crate::call::{self, Answered, Audio, Call, Entry, Fact, Notice, Refused, RequestId, Side};
use crate::ids::{CallId, ClientRef, HoldId, VendorId};
use crate::money::Money;
use crate::seeded::{self, Bug};

/// An order to the shell. Within one `out` a [`Effect::Record`] stands before the effects that may be carried out only
/// once it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Stop forwarding and close both legs: at once, before the commit.
    StopMedia { call: CallId },
    /// Something for the ear or the voice of the server: at once too.
    Audio { call: CallId, audio: Audio },
    /// One transaction: the facts, and at a call's end its money.
    Record {
        /// Whose facts.
        call: CallId,
        /// They continue the journal without a gap.
        entries: Vec<Entry>,
        /// Present when the call ended: `entries` then close with `Ended`, any `Quality`, and `Settled`.
        settle: Option<SettleOrder>,
        /// The requests this carries out, so that their replies can be stored beside their effect.
        requests: Vec<RequestId>,
    },
    /// Set `amount` of the client's wallet aside under the name `hold`, then say `Reserved` or `NotReserved`.
    Reserve {
        /// For which call.
        call: CallId,
        /// The hold's name.
        hold: HoldId,
        /// Whose wallet: this vendor's client.
        client: ClientRef,
        /// See `client`.
        vendor: VendorId,
        /// One block's price, or a top-up.
        amount: Money,
        /// Credit the wallet with `amount` by this order first, in the same transaction.
        order_ref: Option<String>,
        /// Who waits.
        request: RequestId,
    },
    /// Tell one side, or both.
    Tell { call: CallId, to: Option<Side>, notice: Notice },
    /// The answer to a request; each request is answered once.
    Answer { request: RequestId, result: Result<Answered, Refused> },
}

/// How a call's money is settled. A pending hold of the call that is not named here is released whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettleOrder {
    /// What is captured of each hold; the rest of it is released. They sum to the charge.
    pub captures: Vec<(HoldId, i64)>,
    /// The companion's part of the charge.
    pub companion_share: i64,
    /// The vendor's part of the charge.
    pub vendor_share: i64,
    /// What the client pays.
    pub charge: Money,
    /// What she gets back of the holds.
    pub refund: Money,
    /// The call's record: canonical JSON.
    pub record: String,
}

/// Puts a call's new facts and effects into the order in which the shell carries them out.
pub(super) fn translate(call: &Call, known: usize, settle: Option<SettleOrder>, effects: Vec<call::Effect>, out: &mut Vec<Effect>) {
    let id = call.id();
    if effects.contains(&call::Effect::StopMedia) {
        out.push(Effect::StopMedia { call: id });
    }
    out.extend(effects.iter().filter_map(|effect| match effect {
        call::Effect::Audio(audio) => Some(Effect::Audio { call: id, audio: *audio }),
        _ => None,
    }));
    let mut entries = call.entries()[known..].to_vec();
    if seeded::has(Bug::QualityLeftOut) {
        entries.retain(|entry| !matches!(entry.fact, Fact::Quality { .. }));
    }
    if !entries.is_empty() {
        let requests = effects.iter().filter_map(|effect| match effect {
            call::Effect::Answer { request, result: Ok(_) } => Some(*request),
            call::Effect::Answer { result: Err(_), .. }
            | call::Effect::StopMedia
            | call::Effect::Audio(_)
            | call::Effect::Reserve { .. }
            | call::Effect::Tell { .. } => None,
        });
        out.push(Effect::Record { call: id, entries, settle, requests: requests.collect() });
    }
    let terms = call.terms();
    out.extend(effects.into_iter().filter_map(|effect| match effect {
        call::Effect::StopMedia | call::Effect::Audio(_) => None,
        call::Effect::Reserve { hold, amount, order_ref, request } => {
            Some(Effect::Reserve { call: id, hold, client: terms.client.clone(), vendor: terms.vendor, amount, order_ref, request })
        }
        call::Effect::Tell { to, notice } => Some(Effect::Tell { call: id, to, notice }),
        call::Effect::Answer { request, result } => Some(Effect::Answer { request, result }),
    }));
}
