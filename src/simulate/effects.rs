//! One command, one effect: what all commands of a night did, counted from the journals and the ledger.

use super::books::Books;
use super::vendors::{Ask, Want};
use super::watch::{Breach, Watch, expect};
use crate::call::{Asker, Fact};
use crate::ids::CallId;
use std::collections::{BTreeMap, BTreeSet};

/// What was done to a call by vendors' commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    purchases: usize,
    gifts: usize,
}

/// Counts both ways: by the replies that are kept, and by what happened.
pub(super) fn check(asks: &[Ask], books: &Books, watch: &Watch) -> Result<(), Breach> {
    let mut asked = BTreeMap::<CallId, Done>::new();
    let mut created = BTreeMap::<&str, usize>::new();
    let mut credited = BTreeMap::new();
    let mut paid_out = BTreeMap::new();
    let mut returned = BTreeMap::<CallId, BTreeSet<String>>::new();
    let mut policies = 0;
    for ask in asks {
        let kept = books.reply(ask.vendor_id, &ask.key)?;
        let is_kept = kept.is_some();
        match &ask.want {
            Want::Extend { call, gift: None, .. } if is_kept => asked.entry(*call).or_default().purchases += 1,
            Want::Extend { call, gift: Some(_), .. } if is_kept => asked.entry(*call).or_default().gifts += 1,
            Want::Create { .. } if is_kept => {
                created.insert(&ask.key, 0);
            }
            // An order may be shown again under another key: one of the two is done.
            Want::Credit { order_ref, .. } => {
                let orders = credited.entry((ask.vendor_id, order_ref.as_str())).or_insert(0);
                *orders += usize::from(is_kept);
            }
            Want::RefundClient { order_ref, .. } => {
                let refunds = paid_out.entry((ask.vendor_id, order_ref.as_str())).or_insert(0);
                *refunds += usize::from(is_kept);
            }
            Want::RefundCall { call, .. } | Want::AdjustCall { call, .. } => {
                let transfer = kept.as_ref().and_then(|kept| kept.body.split('"').nth(3));
                returned.entry(*call).or_default().extend(transfer.map(str::to_owned));
            }
            Want::SetPolicy { .. } => policies += u64::from(is_kept),
            Want::Extend { .. } | Want::Create { .. } | Want::End { .. } => {}
        }
    }
    for ((vendor, order_ref), kept) in credited {
        let amount = books.memory.credited(vendor, order_ref);
        expect(kept == usize::from(amount.is_some()), "one_effect", || {
            format!("{order_ref} was credited {amount:?}, and {kept} replies say so")
        })?;
    }
    for ((vendor, order_ref), kept) in paid_out {
        let amount = books.memory.refunded(vendor, order_ref);
        expect(kept == usize::from(amount.is_some()), "one_effect", || {
            format!("{order_ref} was paid out {amount:?}, and {kept} replies say so")
        })?;
    }
    for (call, replies) in returned {
        let steps: BTreeSet<String> = books.memory.steps(call).iter().map(|step| step.transfer.to_string()).collect();
        expect(steps == replies && steps.len() == books.memory.steps(call).len(), "one_effect", || {
            format!("{call}: replies say that {replies:?} went back, and it was {steps:?}")
        })?;
    }
    let changes = books.memory.policy_changes;
    expect(changes == policies, "one_effect", || format!("{policies} replies say that a policy was set, and it was {changes} times"))?;
    for call in watch.calls.keys() {
        let Some(journal) = books.journal(*call) else { continue };
        let mut found = Done::default();
        for entry in &journal.entries {
            match &entry.fact {
                Fact::Created { terms, .. } => {
                    let key = terms.client_name.as_deref().unwrap_or_default();
                    let count = created
                        .get_mut(key)
                        .ok_or_else(|| Breach::new("one_effect", format!("{call} was made by {key}, which has no reply")))?;
                    *count += 1;
                }
                Fact::Extended { by: Asker::Vendor, .. } => found.purchases += 1,
                Fact::Gifted { by: Asker::Vendor, .. } => found.gifts += 1,
                _ => {}
            }
        }
        let due = asked.get(call).copied().unwrap_or_default();
        expect(found == due, "one_effect", || format!("{call}: commands with a reply come to {due:?}, its facts to {found:?}"))?;
    }
    match created.iter().find(|(_, count)| **count != 1) {
        Some((key, count)) => Err(Breach::new("one_effect", format!("{key} made {count} calls"))),
        None => Ok(()),
    }
}
