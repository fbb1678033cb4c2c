//! Money that goes back, in the reference: out of wallets, and of settled calls.
//!
//! It reckons bounds and parts by itself, from the words of the rule. Invariant: of a call no more is back than was captured, and no
//! less than nothing.

use super::{Done, Halt, Memory, Owner, Transfer, broken, check_amount};
use crate::billing::{Bearer, Parts, Returned};
use crate::clock::Moment;
use crate::ids::{CallId, ClientRef, TransferId, VendorId};
use crate::money::{Currency, Money};
use crate::store::{Direction, Refusal, Return, ReturnKind, WalletRefund};

/// Something that went back of a call, or was taken again.
#[derive(Clone, Debug)]
pub(in crate::simulate) struct Step {
    pub(in crate::simulate) transfer: TransferId,
    pub(super) at: Moment,
    pub(super) to_client: bool,
    pub(super) amount: Money,
    pub(super) parts: Parts,
    pub(super) bearer: Bearer,
    /// None of a refund.
    pub(super) reason: Option<String>,
    /// What is back after it.
    pub(super) after: Returned,
}

/// Money out of a wallet.
#[derive(Clone, Debug)]
pub(super) struct PaidOut {
    pub(super) transfer: TransferId,
    pub(super) client: ClientRef,
    pub(super) amount: Money,
    pub(super) at: Moment,
}

/// What a call captured, and what of it is back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::simulate) struct Charged {
    pub(in crate::simulate) settled: bool,
    pub(in crate::simulate) client: ClientRef,
    pub(in crate::simulate) parts: Parts,
    pub(in crate::simulate) returned: Returned,
    pub(in crate::simulate) currency: Option<Currency>,
}

impl Memory {
    /// What a call of this vendor captured and returned.
    pub(in crate::simulate) fn charged(&self, vendor: VendorId, call: CallId) -> Option<Charged> {
        let row = self.calls.get(&call).filter(|row| row.vendor == vendor)?;
        let currency = row.paid.map(|(wallet, _)| self.accounts[wallet].1);
        let parts = row.paid.map_or(Parts::default(), |(_, parts)| parts);
        Some(Charged { settled: row.is_settled(), client: row.client.clone(), parts, returned: self.returned(call), currency })
    }

    fn returned(&self, call: CallId) -> Returned {
        self.steps(call).last().map_or(Returned::default(), |step| step.after)
    }

    /// What went back of a call, oldest first.
    pub(in crate::simulate) fn steps(&self, call: CallId) -> &[Step] {
        self.returns.get(&call).map_or(&[], Vec::as_slice)
    }

    /// What was paid out of a wallet by this reference.
    pub(in crate::simulate) fn refunded(&self, vendor: VendorId, order_ref: &str) -> Option<i64> {
        self.paid_out.get(&(vendor, order_ref.to_owned())).map(|paid| paid.amount.amount)
    }

    /// Refunds of calls, adjustments, refunds of wallets.
    pub(in crate::simulate) fn count_returns(&self) -> [u64; 3] {
        let steps = || self.returns.values().flatten();
        let refunds = steps().filter(|step| step.reason.is_none()).count();
        [refunds, steps().count() - refunds, self.paid_out.len()].map(|count| count as u64)
    }

    pub(super) fn pay_out(&mut self, wanted: &WalletRefund) -> Result<(), Halt> {
        let WalletRefund { transfer, vendor, client, amount, order_ref, at, .. } = wanted;
        check_amount(*amount)?;
        let order = (*vendor, order_ref.clone());
        if self.paid_out.contains_key(&order) {
            return Err(Refusal::OrderRefunded.into());
        }
        let cash_in = self.account(*vendor, Owner::CashIn, amount.currency);
        let wallet = self.account(*vendor, Owner::Client(client.clone()), amount.currency);
        self.must_have(wallet, *amount)?;
        self.paid_out.insert(order.clone(), PaidOut { transfer: *transfer, client: client.clone(), amount: *amount, at: *at });
        self.done.push(Done::PaidOut(order));
        self.post(*transfer, Transfer { call: None, postings: vec![(wallet, -amount.amount), (cash_in, amount.amount)] })
    }

    fn must_have(&self, wallet: usize, amount: Money) -> Result<(), Halt> {
        let (account, currency) = self.accounts[wallet];
        let available = account.posted - account.held;
        if available < amount.amount { Err(Refusal::Funds { available: Money::new(available, currency) }.into()) } else { Ok(()) }
    }

    pub(super) fn give_back(&mut self, wanted: &Return) -> Result<(), Halt> {
        let Return { transfer, vendor, call, amount, before, bearer, at, .. } = wanted;
        check_amount(*amount)?;
        let row = self.calls.get(call).filter(|row| row.vendor == *vendor).ok_or_else(|| broken(format!("{call} is none of {vendor}")))?;
        let Some((wallet, charged)) = row.paid.filter(|(wallet, _)| self.accounts[*wallet].1 == amount.currency) else {
            return Err(broken(format!("{amount} of {call}, which captured nothing of that")));
        };
        let companion = row.companion;
        let now = self.returned(*call);
        if now != *before {
            return Err(Refusal::Stale.into());
        }
        let to_client = wanted.direction() == Direction::ToClient;
        let signed = if to_client { amount.amount } else { -amount.amount };
        let after = match bearer {
            Bearer::Shares => Returned { by_shares: now.by_shares + signed, ..now },
            Bearer::Vendor => Returned { by_vendor: now.by_vendor + signed, ..now },
        };
        let is_within = after.by_shares >= 0 && after.by_vendor >= 0 && after.sum() <= charged.sum();
        if !is_within {
            return Err(broken(format!("{after:?} would be back of {call}, which captured {charged:?}")));
        }
        let borne = (borne_by_companion(charged, after.by_shares) - borne_by_companion(charged, now.by_shares)).abs();
        let parts = Parts { companion: borne, vendor: amount.amount - borne };
        if !to_client {
            self.must_have(wallet, *amount)?;
        }
        let mut postings = vec![(wallet, signed)];
        for (owner, part) in [(Owner::Companion(companion), parts.companion), (Owner::Vendor, parts.vendor)] {
            if part > 0 {
                postings.push((self.account(*vendor, owner, amount.currency), -signed.signum() * part));
            }
        }
        self.post(*transfer, Transfer { call: None, postings })?;
        let reason = match &wanted.kind {
            ReturnKind::Refund => None,
            ReturnKind::Adjustment { reason, .. } => Some(reason.clone()),
        };
        let step = Step { transfer: *transfer, at: *at, to_client, amount: *amount, parts, bearer: *bearer, reason, after };
        self.returns.entry(*call).or_default().push(step);
        self.done.push(Done::Step(*call));
        Ok(())
    }

    /// What is wrong with what went back of a call.
    pub(super) fn audit_steps(&self, call: CallId) -> Option<String> {
        let charged = self.calls.get(&call).and_then(|row| row.paid).map_or(0, |(_, parts)| parts.sum());
        let mut sum = 0;
        for step in self.steps(call) {
            sum += if step.to_client { step.amount.amount } else { -step.amount.amount };
            if !(0..=charged).contains(&sum) || sum != step.after.sum() || step.parts.sum() != step.amount.amount {
                return Some(format!("returned: {sum} of {charged} are back after {step:?}"));
            }
            if !self.transfers.contains_key(&step.transfer) {
                return Some(format!("returned: {step:?} moved nothing"));
            }
        }
        None
    }
}

/// What the companion bears of the first `total` units that go back: her part of it, the spare unit with the larger remainder, a tie to her.
fn borne_by_companion(charged: Parts, total: i64) -> i64 {
    let (exact, all) = (i128::from(total) * i128::from(charged.companion), i128::from(charged.sum()).max(1));
    let (whole, rest) = (exact / all, exact % all);
    i64::try_from(whole + i128::from(rest * 2 >= all)).unwrap_or(i64::MAX)
}
