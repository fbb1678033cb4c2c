//! The desk's commands that make nothing of calls: money that goes back, and policies. In the form of `service::refunds`.
//!
//! A refund of a call is made for the figures of its moment; if another one comes first the store refuses it as stale, and it is made
//! again for the new ones.

use super::super::oracle;
use super::super::vendors::{Ask, Change, Want};
use super::super::watch::{Breach, expect};
use super::{Around, Done, Heard, House, Then};
use crate::billing::Bearer;
use crate::ids::{CallId, ClientRef, TransferId};
use crate::money::Money;
use crate::service::Answer;
use crate::store::{Actor, Direction, Idempotency, Outcome, Refusal, Return, ReturnKind, StoreError, Transaction, WalletRefund, Write};

/// Times a refund is made again because another one came first, as in the service.
const TRIES: u8 = 64;

/// A refund that waits for the disk.
pub(super) struct Waiting {
    number: u32,
    ask: Box<Ask>,
    body: String,
    tries: u8,
}

/// What is asked of a settled call.
struct Asked {
    call: CallId,
    kind: ReturnKind,
    amount: Option<Money>,
    bearer: Bearer,
}

impl House {
    /// Money of a settled call goes back, or comes again.
    pub(super) fn give_back(&mut self, number: u32, ask: &Ask, tries: u8, around: &mut Around<'_>) -> Done {
        let Some(Asked { call, kind, amount, bearer }) = asked(&ask.want) else { return Ok(()) };
        let refuse = |status: u16, why: &str, around: &mut Around<'_>| {
            around.heard.push(Heard::Reply { ask: number, status, body: why.to_owned() });
            Ok(())
        };
        let Some(charged) = around.books.charged(ask.vendor_id, call)? else { return refuse(404, "not_found", around) };
        if !charged.settled {
            return refuse(409, "call_state", around);
        }
        let Some(currency) = charged.currency else { return refuse(422, "refund_exceeds", around) };
        let amount = amount.unwrap_or(Money::new(charged.parts.left(charged.returned), currency));
        if amount.currency != currency {
            return refuse(422, "invalid_request", around);
        }
        let transfer = TransferId::new(around.ids.next(around.now));
        let wanted = Return {
            transfer,
            vendor: ask.vendor_id,
            call,
            kind,
            amount,
            before: charged.returned,
            bearer,
            note: "as agreed".to_owned(),
            actor: Actor::ApiKey,
            at: around.now,
        };
        let moved = match wanted.direction() {
            Direction::ToClient => charged.parts.give_back(charged.returned, amount.amount, bearer),
            Direction::FromClient => charged.parts.take_back(charged.returned, amount.amount, bearer),
        };
        let Ok((after, parts)) = moved else { return refuse(422, "refund_exceeds", around) };
        let body = format!(
            r#"{{"id":"{transfer}","amount":{},"companion":{},"vendor":{},"returned":{}}}"#,
            amount.amount,
            parts.companion,
            parts.vendor,
            after.sum()
        );
        let key = (ask.vendor, ask.key.clone());
        self.keys.insert(key);
        let transaction = Transaction { idempotency: Some(kept(ask, &body)), writes: vec![Write::Return(Box::new(wanted))] };
        let waiting = Waiting { number, ask: Box::new(ask.clone()), body, tries };
        self.commit(transaction, Then::Returned(waiting));
        Ok(())
    }

    /// A refund came back from the disk.
    pub(super) fn returned(&mut self, waiting: Waiting, answer: Answer, around: &mut Around<'_>) -> Done {
        let Waiting { number, ask, body, tries } = waiting;
        self.keys.remove(&(ask.vendor, ask.key.clone()));
        let (status, body) = match answer {
            Ok(Outcome::Committed) => (201, body),
            Ok(Outcome::Refused(Refusal::Stale)) if tries < TRIES => return self.give_back(number, &ask, tries + 1, around),
            Ok(Outcome::Replayed { status, body }) => (status, body),
            Ok(Outcome::Refused(Refusal::Stale)) => (429, "overloaded".to_owned()),
            Ok(Outcome::Refused(refusal)) => (super::status_of(&refusal), format!("{refusal:?}")),
            Err(StoreError::Broken(fault)) => return Err(Breach::new("returned", fault)),
            Err(error) => (507, error.to_string()),
        };
        around.heard.push(Heard::Reply { ask: number, status, body });
        Ok(())
    }

    /// Money out of a client's wallet, which the vendor pays back outside.
    pub(super) fn pay_out(
        &mut self,
        number: u32,
        ask: &Ask,
        (client, amount, order_ref): (&ClientRef, Money, &str),
        around: &mut Around<'_>,
    ) -> Done {
        let transfer = TransferId::new(around.ids.next(around.now));
        let body = format!(r#"{{"id":"{transfer}","client":"{client}","order_ref":"{order_ref}","amount":{}}}"#, amount.amount);
        let (client, order_ref, at) = (client.clone(), order_ref.to_owned(), around.now);
        let refund = WalletRefund { transfer, vendor: ask.vendor_id, client, amount, order_ref, note: None, actor: Actor::ApiKey, at };
        self.desk(number, ask, Write::RefundWallet(Box::new(refund)), body);
        Ok(())
    }

    /// A vendor says how her calls are settled from now on.
    pub(super) fn set_policy(&mut self, number: u32, ask: &Ask, change: &Change, around: &mut Around<'_>) -> Done {
        let policy = change.policy();
        expect(policy.is_ok() == oracle::is_fair(change), "policy", || format!("{change:?} is taken as {policy:?}"))?;
        let Ok(policy) = policy else {
            around.heard.push(Heard::Reply { ask: number, status: 422, body: "invalid_request".to_owned() });
            return Ok(());
        };
        let body = format!(r#"{{"rules":{}}}"#, change.cells.len());
        self.desk(number, ask, Write::SetPolicy { vendor: ask.vendor_id, policy, at: around.now }, body);
        Ok(())
    }

    /// A command for the store alone.
    fn desk(&mut self, number: u32, ask: &Ask, write: Write, body: String) {
        let key = (ask.vendor, ask.key.clone());
        self.keys.insert(key.clone());
        let transaction = Transaction { idempotency: Some(kept(ask, &body)), writes: vec![write] };
        self.commit(transaction, Then::Desk { ask: number, key, body, booked: None });
    }
}

fn kept(ask: &Ask, body: &str) -> Idempotency {
    Idempotency { vendor: ask.vendor_id, key: ask.key.clone(), request_hash: ask.hash, status: 201, body: body.to_owned() }
}

fn asked(want: &Want) -> Option<Asked> {
    match want {
        Want::RefundCall { call, amount, bearer } => {
            Some(Asked { call: *call, kind: ReturnKind::Refund, amount: *amount, bearer: *bearer })
        }
        Want::AdjustCall { call, amount, direction, reason, bearer } => {
            let kind = ReturnKind::Adjustment { direction: *direction, reason: (*reason).to_owned() };
            Some(Asked { call: *call, kind, amount: Some(*amount), bearer: *bearer })
        }
        _ => None,
    }
}
