//! The task that finds what is due and starts the tries; it owns the places, so neither needs a lock.
//!
//! Between two looks it waits for the first of: the outbox's bell, a try that ended, the next moment something is due. What became of
//! a try is on disk before its place is free, so that no look finds the same event twice. While the disk takes nothing, nothing new is
//! sent, and what was sent keeps its place until that is noted: an event is not sent again because a disk is full.

use super::post::{Letter, Postman};
use super::schedule::{Allowance, Flow, JITTER, Pace, outcome, wait};
use crate::clock::{Clock, Moment, Span};
use crate::ids::{EndpointId, EventId};
use crate::store::{Attempt, Outcome as Stored, Store, StoreError, Target, Traffic, Transaction, Tried, WebhookWrite, Write};
use signaling::webhook;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

/// Tries under way in all. An endpoint in trouble has one of them.
const PLACES: usize = 256;

/// Without a reason to look earlier, one looks after this: also for figures, and in case the clock was set.
const LOOK: Span = Span::from_s(15);

/// After a failure of the store nothing is sent for this long, and then it is tried again whether something can be noted.
const PAUSE: Span = if cfg!(test) { Span::from_ms(20) } else { Span::from_s(5) };

/// How often what is long over is forgotten, and how much of it at once, so that other writers need not wait.
const PRUNE_EVERY: Span = Span::from_s(600);
const PRUNE: u32 = 500;

/// How long tries under way get when the server stops.
const GRACE: Duration = Duration::from_secs(2);

pub(super) struct Courier {
    store: Store,
    clock: Clock,
    postman: Postman,
    retries: Arc<[Span]>,
    bell: Arc<Notify>,
    /// Endpoints that something was sent to lately.
    flows: BTreeMap<EndpointId, Flow>,
    under_way: JoinSet<Done>,
    /// Nothing is sent before this.
    not_before: Option<Moment>,
    /// The store takes no more until the next start, so nothing is sent either.
    is_over: bool,
    measured_at: Option<Moment>,
    pruned_at: Option<Moment>,
}

/// A try that ended and is noted, or could not be.
struct Done {
    endpoint: EndpointId,
    lane: String,
    pace: Pace,
    noted: Result<(), StoreError>,
}

impl Courier {
    pub(super) fn new(store: Store, clock: Clock, postman: Postman, retries: Vec<Span>, bell: Arc<Notify>) -> Self {
        Self {
            store,
            clock,
            postman,
            retries: retries.into(),
            bell,
            flows: BTreeMap::new(),
            under_way: JoinSet::new(),
            not_before: None,
            is_over: false,
            measured_at: None,
            pruned_at: None,
        }
    }

    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let next = self.look().await;
            let timer = tokio::time::sleep_until(self.clock.instant(next).into());
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                Some(done) = self.under_way.join_next(), if !self.under_way.is_empty() => match done {
                    Ok(done) => self.done(done),
                    // A try that panicked, which was printed: its lane stays busy until the next start.
                    Err(_) => continue,
                },
                () = self.bell.notified() => {}
                () = timer => {}
            }
        }
        let _ = tokio::time::timeout(GRACE, async { while self.under_way.join_next().await.is_some() {} }).await;
    }

    /// Starts what is due and has a place. Says when to look again.
    async fn look(&mut self) -> Moment {
        let now = self.clock.now();
        if let Some(until) = self.not_before.filter(|until| now < *until) {
            return until;
        }
        self.not_before = None;
        if self.is_over {
            return now + LOOK;
        }
        if self.store.trouble().is_some() {
            // Trouble ends with a write that goes through; perhaps nobody else has one.
            tokio::spawn(write(self.store.clone(), WebhookWrite::Prune(Vec::new())));
            self.not_before = Some(now + PAUSE);
            return now + PAUSE;
        }
        let store = self.store.clone();
        let measures = self.measured_at.is_none_or(|at| now.since(at) >= LOOK);
        let found = tokio::task::spawn_blocking(move || {
            // Twice the places, since what is under way is due as well.
            let due = store.due(now, Allowance::MOST * 2)?;
            let next = store.next_due(now)?;
            Ok::<_, StoreError>((due, next, measures.then(|| store.traffic())))
        });
        match found.await {
            Ok(Ok((targets, next, traffic))) => {
                if let Some(traffic) = traffic {
                    self.measured_at = Some(now);
                    measure(traffic, now);
                }
                for target in targets {
                    self.start(target);
                }
                if self.pruned_at.is_none_or(|at| now.since(at) >= PRUNE_EVERY) {
                    self.pruned_at = Some(now);
                    tokio::spawn(prune(self.store.clone(), now));
                }
                let look = now + LOOK;
                next.map_or(look, |next| next.min(look))
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the outbox cannot be read");
                self.not_before = Some(now + PAUSE);
                now + PAUSE
            }
            Err(_) => now + PAUSE,
        }
    }

    fn start(&mut self, target: Target) {
        let flow = self.flows.entry(target.endpoint).or_insert_with(Flow::new);
        for due in target.due {
            if !flow.has_place() || self.under_way.len() >= PLACES {
                break;
            }
            if !flow.take(&due.lane) {
                continue;
            }
            let timestamp_s = self.clock.now().unix_ms().div_euclid(1000);
            let id = due.event.to_string();
            let secrets = target.secrets.iter().map(|secret| &secret.0[..]);
            let signatures = webhook::signatures(secrets, &id, timestamp_s, &due.body);
            let letter = Letter { url: target.url.clone(), id, timestamp_s, signatures, body: due.body };
            let errand = Errand {
                store: self.store.clone(),
                clock: self.clock,
                postman: self.postman.clone(),
                retries: Arc::clone(&self.retries),
                endpoint: target.endpoint,
                event: due.event,
                lane: due.lane,
                tries: due.attempts + 1,
            };
            self.under_way.spawn(errand.run(letter));
        }
    }

    fn done(&mut self, done: Done) {
        if let Some(flow) = self.flows.get_mut(&done.endpoint) {
            flow.done(&done.lane, done.pace);
            if flow.is_new() {
                self.flows.remove(&done.endpoint);
            }
        }
        if let Err(error) = done.noted {
            tracing::error!(%error, "a delivery could not be noted; the event will be sent again");
            self.is_over |= matches!(error, StoreError::Closed | StoreError::Database(_));
            self.not_before = Some(self.clock.now() + PAUSE);
        }
    }
}

fn measure(traffic: Result<Traffic, StoreError>, now: Moment) {
    match traffic {
        Ok(traffic) => {
            metrics::gauge!("lull_webhook_pending").set(traffic.pending as f64);
            metrics::gauge!("lull_webhook_disabled_endpoints").set(traffic.disabled as f64);
            let age_s = traffic.oldest.map_or(0.0, |oldest| now.since(oldest).ms() as f64 / 1e3);
            metrics::gauge!("lull_webhook_oldest_pending_seconds").set(age_s);
        }
        Err(error) => tracing::error!(%error, "the outbox cannot be measured"),
    }
}

/// One event on its way.
struct Errand {
    store: Store,
    clock: Clock,
    postman: Postman,
    retries: Arc<[Span]>,
    endpoint: EndpointId,
    event: EventId,
    lane: String,
    tries: u32,
}

impl Errand {
    async fn run(self, letter: Letter) -> Done {
        let began = self.clock.now();
        let answer = self.postman.send(&letter).await;
        let at = self.clock.now();
        let status = answer.as_ref().ok().map(|status| status.as_u16());
        let answer = answer.map(|status| status.as_u16()).map_err(|fault| fault.to_string());
        let retry_at = || wait(&self.retries, self.tries, rand::random_range(0..=JITTER)).map(|wait| at + wait);
        let outcome = outcome(answer, retry_at);
        let [delivered, failed, gave_up, gone] = tries();
        match &outcome {
            Tried::Delivered => delivered,
            Tried::Failed { retry_at: Some(_), .. } => failed,
            Tried::Failed { retry_at: None, .. } => gave_up,
            Tried::Gone { .. } => gone,
        }
        .increment(1);
        let pace = Pace::of(&outcome, at.since(began));
        let gave_up = !matches!(outcome, Tried::Delivered | Tried::Failed { retry_at: Some(_), .. });
        let (endpoint, event) = (self.endpoint, self.event);
        let attempt = Attempt { endpoint, event, at, status, outcome };
        let noted = self.note(attempt).await;
        if gave_up {
            let store = self.store.clone();
            match tokio::task::spawn_blocking(move || store.disabled(endpoint)).await {
                Ok(Ok(Some(why))) => tracing::warn!(endpoint.id = %endpoint, "webhook endpoint {endpoint} is disabled: {}", why.name()),
                _ => tracing::warn!(endpoint.id = %endpoint, event.id = %event, "event {event} was given up at {endpoint}"),
            }
        }
        Done { endpoint, lane: self.lane, pace, noted }
    }
}

impl Errand {
    /// Keeps what became of the try, however long the disk is full or busy.
    async fn note(&self, attempt: Attempt) -> Result<(), StoreError> {
        loop {
            match write(self.store.clone(), WebhookWrite::Attempted(attempt.clone())).await {
                Err(error @ (StoreError::Full | StoreError::Busy)) => {
                    tracing::warn!(%error, event.id = %attempt.event, "a delivery cannot be noted yet");
                    tokio::time::sleep(PAUSE.into()).await;
                }
                noted => return noted,
            }
        }
    }
}

/// Forgets what is long over, a little at a time.
async fn prune(store: Store, now: Moment) {
    loop {
        let reader = store.clone();
        let stale = match tokio::task::spawn_blocking(move || reader.stale_deliveries(now, PRUNE)).await {
            Ok(Ok(stale)) => stale,
            _ => return, // It is tried again later.
        };
        let is_last = stale.len() < PRUNE as usize;
        let pruned = write(store.clone(), WebhookWrite::Prune(stale)).await;
        if is_last || pruned.is_err() {
            return;
        }
    }
}

async fn write(store: Store, write: WebhookWrite) -> Result<(), StoreError> {
    let (told, outcome) = oneshot::channel();
    let transaction = Transaction { idempotency: None, writes: vec![Write::Webhook(write)] };
    // Submitting waits while the queue is full.
    tokio::task::spawn_blocking(move || {
        store.submit(transaction, move |outcome| {
            // Nobody listens any more once the server stops.
            let _ = told.send(outcome);
        });
    });
    match outcome.await {
        Ok(Ok(Stored::Committed)) => Ok(()),
        Ok(Ok(other)) => Err(StoreError::Broken(format!("a delivery was answered with {other:?}"))),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StoreError::Closed),
    }
}

/// Puts the counters of deliveries at zero where `/metrics` shows them. Once, when there is a recorder.
pub fn describe() {
    metrics::describe_counter!("lull_webhook_deliveries_total", "Tries to deliver an event, by what came of them.");
    tries().iter().for_each(|counter| counter.increment(0));
}

fn tries() -> [metrics::Counter; 4] {
    ["delivered", "failed", "gave_up", "gone"].map(|result| metrics::counter!("lull_webhook_deliveries_total", "result" => result))
}
