//! What a REST request names, read from disk: the step of the desk that may wait.
//!
//! It runs on a thread that may block, changes nothing, and answers by itself what needs no loop.

use super::desk::{Again, Booking, List, Listed, Step, Waiting, Want, kept_body, ok, too_long};
use super::house::{fresh, read_call};
use super::webhook_desk::{Edit, WebhookRules};
use super::{plans, records, refunds, wire};
use crate::call::{Limits, Medium, Policy};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, ClientRef, CompanionId, PlanId, TransferId};
use crate::recording::Recorder;
use crate::store::{self, Actor, Companion, Plan, Refusal, Return, Store, StoreError, Vendor, Write};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::Refused;
use signaling::rest::{self, Answered, CallFilter, Request};

/// Items of a list when no limit is given.
const PAGE: u32 = 50;

/// Looks things up for one request.
pub(super) struct Search<'a> {
    pub(super) store: &'a Store,
    pub(super) vendor: &'a Vendor,
    pub(super) limits: &'a Limits,
    pub(super) webhooks: WebhookRules,
    /// None without the setting.
    pub(super) recorder: Option<&'a Recorder>,
    pub(super) now: Moment,
    /// By which way the caller came in.
    pub(super) actor: Actor,
}

impl Search<'_> {
    /// None if the request is answered already.
    pub(super) fn look_up(&self, waiting: Waiting, request: Request) -> Option<Step> {
        match self.kept_reply(&waiting) {
            Ok(None) => {}
            Ok(Some(kept)) => return self.replay(waiting, &request, kept),
            Err(refused) => {
                waiting.answer(Err(refused));
                return None;
            }
        }
        let again = matches!(request, Request::RefundCall { .. } | Request::AdjustCall { .. }).then(|| request.clone());
        match self.find(request) {
            Ok(Found::Return(wanted, client, body)) => {
                let again = Box::new(Again { vendor: self.vendor.clone(), request: again? });
                Some(Step::Return { waiting, wanted, client, body, again })
            }
            Ok(Found::Answer(body)) => {
                waiting.answer(ok(200, body));
                None
            }
            Ok(Found::Write(writes, body)) => Some(Step::Write { waiting, writes, body }),
            Ok(Found::Set(writes, body)) => Some(Step::Set { waiting, writes, body }),
            Ok(Found::Book(booking)) => Some(Step::Book { waiting, booking }),
            Ok(Found::OnCall(call, want)) => Some(Step::OnCall { waiting, call, want }),
            Ok(Found::Edit(edit)) => Some(Step::Edit { waiting, edit }),
            Ok(Found::Listed(list)) => Some(Step::Listed { waiting, list }),
            Err(refused) => {
                waiting.answer(Err(refused));
                None
            }
        }
    }

    fn kept_reply(&self, waiting: &Waiting) -> Result<Option<store::Reply>, Refused> {
        let Some(used) = &waiting.idempotency else { return Ok(None) };
        let kept = self.store.reply(self.vendor.id, &used.key).map_err(|error| wire::of_store_error(&error))?;
        match kept {
            Some(kept) if kept.request_hash != used.request_hash => Err(wire::of_store(&Refusal::KeyReused)),
            kept => Ok(kept),
        }
    }

    fn replay(&self, waiting: Waiting, request: &Request, kept: store::Reply) -> Option<Step> {
        let (status, body) = (kept.status, kept_body(&kept.body));
        // Kept replies hold no tokens: links are made again from what the call knows.
        if matches!(request, Request::CreateCall(_) | Request::RenewLink { .. })
            && let Some(call) = body["id"].as_str().and_then(|id| id.parse().ok())
        {
            return Some(Step::OnCall { waiting, call, want: Want::Replay { status, body } });
        }
        waiting.answer(Ok(Answered { status, body, replayed: true }));
        None
    }

    fn find(&self, request: Request) -> Result<Found, Refused> {
        let (store, vendor) = (self.store, self.vendor.id);
        let failed = |error: StoreError| wire::of_store_error(&error);
        let list = |items: Vec<Value>, next: Option<String>| Found::Answer(json!({ "items": items, "next_cursor": next }));
        Ok(match request {
            Request::WhoAmI => Found::Answer(json!({ "vendor_id": vendor.to_string(), "vendor_name": self.vendor.name })),
            Request::CreatePlan(create) => {
                if create.block_s.is_some_and(|block_s| Span::from_s(block_s) > self.limits.max_duration) {
                    return Err(too_long(self.limits, "block_s"));
                }
                let (sold, hold) = plans::sold(&create)?;
                let recording = self.recording_terms(create.recording_days)?;
                let (night, sounds) = plans::night(&create, &sold);
                let (id, created_at) = (PlanId::new(fresh()), self.now);
                let plan = Plan { id, vendor, name: create.name, sold, hold, grade: create.grade, night, sounds, recording, created_at };
                let body = plans::plan(&plan);
                Found::Write(vec![Write::AddPlan(plan)], body)
            }
            Request::ListPlans(page) => {
                let (page, limit) = page_of::<PlanId>(&page)?;
                let plans = store.plans(vendor, page).map_err(failed)?;
                let next = next_of(&plans, limit, |plan| plan.id.to_string());
                list(plans.iter().map(plans::plan).collect(), next)
            }
            Request::GetPlan { id } => Found::Answer(plans::plan(&self.plan(&id)?)),
            Request::GetSettlement => {
                let kept = store.policy(vendor).map_err(failed)?;
                let (policy, at) = kept.map_or_else(|| (Policy::default(), None), |(policy, at)| (policy, Some(at)));
                Found::Answer(plans::policy_shown(&policy, at))
            }
            Request::SetSettlement(set) => {
                let policy = plans::policy(&set)?;
                Found::Set(vec![Write::SetPolicy { vendor, policy, at: self.now }], plans::policy_shown(&policy, Some(self.now)))
            }
            Request::CreateCompanion(create) => {
                let id = CompanionId::new(fresh());
                let companion = Companion { id, vendor, name: create.name, grade: create.grade, created_at: self.now };
                let body = wire::companion(&companion);
                Found::Write(vec![Write::AddCompanion(companion)], body)
            }
            Request::ListCompanions(page) => {
                let (page, limit) = page_of::<CompanionId>(&page)?;
                let companions = store.companions(vendor, page).map_err(failed)?;
                let next = next_of(&companions, limit, |companion| companion.id.to_string());
                list(companions.iter().map(wire::companion).collect(), next)
            }
            Request::GetCompanion { id } => Found::Answer(wire::companion(&self.companion(&id)?)),
            Request::Credit { client_ref, credit } => {
                let client = client_of(&client_ref)?;
                let amount = wire::money(&credit.amount, "amount.currency")?;
                // Not what the wallet has: that is another command's too, and this answer is kept for ever.
                let body = json!({ "client_ref": client.as_str(), "order_ref": credit.order_ref, "amount": wire::amount(amount) });
                let transfer = TransferId::new(fresh());
                let write = Write::Credit { transfer, vendor, client, amount, order_ref: credit.order_ref, at: self.now };
                Found::Write(vec![write], body)
            }
            Request::GetClient { client_ref } => {
                let client = client_of(&client_ref)?;
                let wallets = store.balances(vendor, &client).map_err(failed)?;
                if wallets.is_empty() {
                    return Err(wire::not_found("client; a first credit makes one"));
                }
                let wallets: Vec<Value> = wallets.into_iter().map(wire::wallet).collect();
                Found::Answer(json!({ "client_ref": client.as_str(), "wallets": wallets }))
            }
            Request::CreateCall(create) => Found::Book(Box::new(Booking {
                plan: self.plan(&create.plan_id)?,
                companion: self.companion(&create.companion_id)?,
                client: client_of(&create.client_ref)?,
                client_name: create.client_name,
                medium: match create.media {
                    Some(rest::Media::Video) => Medium::Video,
                    Some(rest::Media::Audio) | None => Medium::Audio,
                },
                policy: store.policy(vendor).map_err(failed)?.map(|(policy, _)| policy).unwrap_or_default(),
            })),
            Request::ListCalls { page, state } => {
                let (page, limit) = page_of::<CallId>(&page)?;
                let settled = state.map(|state| state == CallFilter::Settled);
                let rows = store.calls(vendor, page, settled).map_err(failed)?;
                let next = (rows.len() >= limit).then(|| rows.last().map(|row| row.id)).flatten();
                let (mut found, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
                for row in rows {
                    let read = match row.record {
                        Some(_) => match read_call(store, row.id) {
                            Ok(read) => read.map(Box::new),
                            // Said in the log; one damaged journal must not hide the calls beside it.
                            Err(refused) if refused.code == Code::Internal => {
                                unreadable.push(row.id);
                                continue;
                            }
                            Err(refused) => return Err(refused),
                        },
                        None => None,
                    };
                    let adjustments = if read.is_some() { store.adjustments(vendor, row.id).map_err(failed)? } else { Vec::new() };
                    found.push(Listed { id: row.id, read, adjustments: refunds::adjustments(&adjustments) });
                }
                Found::Listed(List { calls: found, unreadable, next })
            }
            Request::GetCall { id } => {
                Found::OnCall(call_of(&id)?, Want::Show { adjustments: refunds::adjustments(&self.adjustments(&id)?) })
            }
            Request::GetLinks { id } => Found::OnCall(call_of(&id)?, Want::Links),
            Request::Extend { id, extend } => Found::OnCall(call_of(&id)?, Want::Extend(extend)),
            Request::RenewLink { id, party } => Found::OnCall(call_of(&id)?, Want::RenewLink(wire::side(party))),
            Request::End { id } => Found::OnCall(call_of(&id)?, Want::End),
            Request::GetReceipt { id } => {
                let key = self.store.signing_key().map_err(|error| wire::of_store_error(&error))?;
                Found::OnCall(call_of(&id)?, Want::Receipt { adjustments: self.adjustments(&id)?, key })
            }
            Request::RefundClient { client_ref, refund } => self.refund_client(&client_ref, refund)?,
            Request::ListTransfers { client_ref, currency, page } => self.transfers(&client_ref, currency, &page)?,
            Request::GetOrder { order_ref } => self.order(&order_ref)?,
            Request::RefundCall { id, refund } => self.refund_call(&id, refund)?,
            Request::AdjustCall { id, adjust } => self.adjust_call(&id, adjust)?,
            Request::GetRecord { id } => {
                let record = store.signed_record(vendor, call_of(&id)?).map_err(failed)?;
                let record = record.ok_or_else(|| wire::not_found("record; a call has one once it is settled"))?;
                Found::Answer(records::given(&record)?)
            }
            Request::Webhooks(request) => self.find_webhooks(request)?,
            Request::ListRecordings { id } => self.recordings(&id)?,
            Request::DeleteRecording { id } => self.delete_recording(&id)?,
            Request::ExportRecords(export) => Found::Answer(records::part(store, vendor, &export)?),
        })
    }

    fn plan(&self, id: &str) -> Result<Plan, Refused> {
        let id = id.parse().map_err(|_| wire::not_found("plan"))?;
        let plan = self.store.plan(self.vendor.id, id).map_err(|error| wire::of_store_error(&error))?;
        plan.ok_or_else(|| wire::not_found("plan"))
    }

    fn companion(&self, id: &str) -> Result<Companion, Refused> {
        let id = id.parse().map_err(|_| wire::not_found("companion"))?;
        let companion = self.store.companion(self.vendor.id, id).map_err(|error| wire::of_store_error(&error))?;
        companion.ok_or_else(|| wire::not_found("companion"))
    }
}

/// What a look-up found.
pub(super) enum Found {
    Answer(Value),
    Edit(Edit),
    Write(Vec<Write>, Value),
    Return(Box<Return>, ClientRef, Value),
    /// The same for what is not made but set.
    Set(Vec<Write>, Value),
    Book(Box<Booking>),
    OnCall(CallId, Want),
    Listed(List),
}

fn call_of(id: &str) -> Result<CallId, Refused> {
    id.parse().map_err(|_| wire::not_found("call"))
}

pub(super) fn client_of(client_ref: &str) -> Result<ClientRef, Refused> {
    client_ref.parse().map_err(|error| wire::refused(Code::InvalidRequest, format!("{error}"), Some("client_ref")))
}

pub(super) fn page_of<Id: std::str::FromStr>(page: &rest::Page) -> Result<(store::Page<Id>, usize), Refused> {
    let bad =
        || wire::refused(Code::InvalidRequest, "this is not a cursor of this list; take `next_cursor` of the page before", Some("after"));
    let after = page.after.as_deref().map(str::parse).transpose().map_err(|_| bad())?;
    let limit = page.limit.unwrap_or(PAGE);
    Ok((store::Page { after, limit }, limit as usize))
}

/// A full page may have another behind it.
fn next_of<T>(items: &[T], limit: usize, id: impl Fn(&T) -> String) -> Option<String> {
    (items.len() >= limit).then(|| items.last().map(id)).flatten()
}
