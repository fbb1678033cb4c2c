//! The one thread that writes: takes what is queued, applies it, commits it as a group, tells the outcomes.
//!
//! Nobody waits for company: a group is what lies in the queue when the thread gets to it. Invariants: outcomes are told only
//! after the group's COMMIT came back, those that are on disk in the order of submitting; facts of running calls are written in
//! that order too, however often the disk refuses them; a commit whose outcome is unknown is the last one.

use super::apply::apply;
use super::ballast::Ballast;
use super::{Outcome, StoreError, Transaction, Write};
use crate::call::Fact;
use crate::clock::{Clock, Moment, Span};
use rusqlite::Connection;
use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Rows in a group at most: above this, batching buys little and costs latency (measured).
const GROUP_ROWS: u64 = 1000;

/// Work in a group at most, for the same reason.
const GROUP_TIME: Span = Span::from_ms(20);

/// What must be written and could not is tried again after this.
const TRY_AGAIN: Span = Span::from_ms(100);

/// While the disk is full or busy, money commands are refused for so long before one is tried again.
const REFUSE_FOR: Span = Span::from_s(1);

/// Who hears of an outcome.
pub(super) type Done = Box<dyn FnOnce(Result<Outcome, StoreError>) + Send>;

struct Job {
    transaction: Transaction,
    done: Done,
}

enum Work {
    Commit(Box<Job>),
    /// What was queued before is done, what comes later is refused.
    Close,
}

/// How much depends on a transaction when the disk refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Facts of a running call: tried again until they are on disk.
    Must,
    /// Takes or sets aside money, or makes something new: refused while there is trouble.
    Command,
    /// Goes without harm, or comes again: heartbeats, sessions.
    Light,
}

impl Weight {
    /// Of a transaction: that of its heaviest write.
    pub fn of(transaction: &Transaction) -> Self {
        let weigh = |write: &Write| match write {
            Write::Facts { entries, .. } if !matches!(entries.first().map(|entry| &entry.fact), Some(Fact::Created { .. })) => Self::Must,
            Write::Settle(_) | Write::ReleaseStray { .. } => Self::Must,
            Write::Boot { .. }
            | Write::Heartbeats { .. }
            | Write::CloseSession { .. }
            | Write::OpenSession { .. }
            | Write::AddLoginCode { .. } => Self::Light,
            _ => Self::Command,
        };
        let weights = || transaction.writes.iter().map(weigh);
        if weights().any(|weight| weight == Self::Must) {
            Self::Must
        } else if weights().any(|weight| weight == Self::Command) {
            Self::Command
        } else {
            Self::Light
        }
    }
}

/// The handle to the thread. Dropping it closes it.
pub(super) struct Writer {
    /// Without a bound of its own: who takes commands looks at the backlog first ([`Store::QUEUE`](super::Store::QUEUE)), and what must be
    /// written is as much as open calls can have.
    queue: Sender<Work>,
    backlog: Arc<AtomicUsize>,
    trouble: Arc<Mutex<Option<StoreError>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, ballast: Option<Ballast>) -> std::io::Result<Self> {
        let (queue, work) = channel();
        let backlog = Arc::new(AtomicUsize::new(0));
        let trouble = Arc::new(Mutex::new(None));
        let mut scribe = Scribe {
            connection,
            work,
            backlog: Arc::clone(&backlog),
            clock: Clock::start(),
            ballast,
            kept: VecDeque::new(),
            shown: Arc::clone(&trouble),
            trouble: None,
            failed: None,
        };
        if scribe.ballast.as_ref().is_some_and(Ballast::is_spent) {
            scribe.note_trouble(&StoreError::Full);
        }
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(move || scribe.run())?;
        Ok(Self { queue, backlog, trouble, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn submit(&self, transaction: Transaction, done: Done) {
        self.backlog.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = self.queue.send(Work::Commit(Box::new(Job { transaction, done }))) {
            self.backlog.fetch_sub(1, Ordering::Relaxed);
            if let Work::Commit(job) = refused.0 {
                (job.done)(Err(StoreError::Closed));
            }
        }
    }

    pub(super) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }

    pub(super) fn trouble(&self) -> Option<StoreError> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn close(&self) {
        // Taken out first, so that the lock is not held while waiting.
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // An error means that the thread is gone already.
            let _ = self.queue.send(Work::Close);
            // The last handle may be dropped by an outcome's listener, on the thread itself.
            if thread.thread().id() != thread::current().id() {
                // A panic of the thread was printed when it happened.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread's own side.
struct Scribe {
    connection: Connection,
    work: Receiver<Work>,
    backlog: Arc<AtomicUsize>,
    clock: Clock,
    ballast: Option<Ballast>,
    /// What comes before the queue: facts that the disk has refused so far, and those behind them. As many as calls that run can have.
    kept: VecDeque<Job>,
    /// `trouble` for others to see.
    shown: Arc<Mutex<Option<StoreError>>>,
    /// Why the last group was refused, and when a money command may be tried again.
    trouble: Option<(StoreError, Moment)>,
    /// Set by a failing disk: after a failed fsync nobody knows what is on it (sqlite.org/atomiccommit.html, section 9).
    failed: Option<StoreError>,
}

/// Members of a group, in order, each with what it will be told.
type Group = Vec<(Job, Result<Outcome, StoreError>)>;

impl Scribe {
    fn run(mut self) {
        let mut closing = false;
        while !closing || !self.kept.is_empty() {
            if self.kept.is_empty() {
                match self.work.recv() {
                    Ok(Work::Commit(job)) => self.take_in(*job),
                    Ok(Work::Close) | Err(_) => break,
                }
            } else if self.trouble.is_some() {
                // It was refused: whoever need not wait with it is told meanwhile.
                closing |= self.wait(closing);
            }
            if !self.kept.is_empty() {
                self.commit_group(&mut closing);
            }
            if closing && self.trouble.is_some() && !self.kept.is_empty() {
                // The owner waits for the end: the disk had its chances. What is not written is proved by what is.
                let error = self.trouble.take().map_or(StoreError::Closed, |(error, _)| error);
                for job in mem::take(&mut self.kept) {
                    self.tell(job, Err(error.clone()));
                }
            }
        }
    }

    /// Until it is time to try again. True if the store closes.
    fn wait(&mut self, closing: bool) -> bool {
        let until = self.clock.now() + TRY_AGAIN;
        loop {
            let left = until.since(self.clock.now());
            // Longer than it was: the clock was put back.
            if left == Span::ZERO || left > TRY_AGAIN || closing {
                return closing;
            }
            match self.work.recv_timeout(left.into()) {
                Ok(Work::Commit(job)) => self.take_in(*job),
                Ok(Work::Close) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// Puts a transaction in line, or tells it at once that there is trouble.
    fn take_in(&mut self, job: Job) {
        match Weight::of(&job.transaction) {
            Weight::Must => self.kept.push_back(job),
            Weight::Command | Weight::Light if self.failed.is_some() => self.kept.push_back(job),
            Weight::Command => match self.refuses() {
                Some(error) => self.tell(job, Err(error)),
                None => self.kept.push_back(job),
            },
            Weight::Light => match &self.trouble {
                // It must not stand in line behind what the disk refuses.
                Some((error, _)) if !self.kept.is_empty() => {
                    let error = error.clone();
                    self.tell(job, Err(error));
                }
                Some(_) | None => self.kept.push_back(job),
            },
        }
    }

    /// Why no command is taken at present. Once the time is up and the ballast is back, the next one is tried.
    fn refuses(&mut self) -> Option<StoreError> {
        let (error, until) = self.trouble.clone()?;
        let left = until.since(self.clock.now());
        if !self.kept.is_empty() || (Span::ZERO < left && left <= REFUSE_FOR) {
            return Some(error);
        }
        if self.ballast.as_mut().is_some_and(|ballast| !ballast.restore()) {
            self.note_trouble(&StoreError::Full);
            return Some(StoreError::Full);
        }
        self.clear_trouble();
        None
    }

    fn note_trouble(&mut self, error: &StoreError) {
        self.trouble = Some((error.clone(), self.clock.now() + REFUSE_FOR));
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
    }

    fn clear_trouble(&mut self) {
        self.trouble = None;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn tell(&self, job: Job, outcome: Result<Outcome, StoreError>) {
        self.backlog.fetch_sub(1, Ordering::Relaxed);
        (job.done)(outcome);
    }

    fn commit_group(&mut self, closing: &mut bool) {
        let mut group = Group::new();
        let Err(error) = self.fill(&mut group, closing) else {
            for (job, outcome) in group {
                self.tell(job, outcome);
            }
            return self.after_success();
        };
        if !self.connection.is_autocommit() {
            // SQLite may have rolled back by itself; if this fails too the file's own recovery does it.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        match error {
            StoreError::Full | StoreError::Busy => self.put_back(group, &error),
            StoreError::Closed | StoreError::Broken(_) | StoreError::Database(_) => {
                if matches!(error, StoreError::Database(_)) {
                    self.failed = Some(error.clone());
                }
                for (job, _) in group {
                    self.tell(job, Err(error.clone()));
                }
            }
        }
    }

    /// Something was written. What kept commands out is over once the ballast, if it was given up, is back.
    fn after_success(&mut self) {
        let Some((_, until)) = self.trouble else { return };
        let is_spent = self.ballast.as_ref().is_some_and(Ballast::is_spent);
        if !is_spent || (until.since(self.clock.now()) == Span::ZERO && self.ballast.as_mut().is_some_and(Ballast::restore)) {
            self.clear_trouble();
        }
    }

    /// The disk refused a group: what must be written comes first again, the rest is told.
    fn put_back(&mut self, group: Group, error: &StoreError) {
        self.note_trouble(error);
        if *error == StoreError::Full
            && let Some(ballast) = &mut self.ballast
        {
            ballast.spend();
        }
        let mut again = VecDeque::new();
        for (job, _) in group {
            match Weight::of(&job.transaction) {
                Weight::Must => again.push_back(job),
                Weight::Command | Weight::Light => self.tell(job, Err(error.clone())),
            }
        }
        again.append(&mut self.kept);
        self.kept = again;
    }

    /// Applies what is in line and commits it. On an error nothing of the group is on disk (or, if the disk fails, known to be).
    fn fill(&mut self, group: &mut Group, closing: &mut bool) -> Result<(), StoreError> {
        if let Some(error) = self.failed.clone() {
            group.extend(self.kept.drain(..).map(|job| (job, Err(StoreError::Closed))));
            return Err(error);
        }
        let began = self.clock.now();
        if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
            // Whoever is in line hears of it.
            group.extend(self.kept.drain(..).map(|job| (job, Err(StoreError::Closed))));
            return Err(error.into());
        }
        let rows_before = self.connection.total_changes();
        while let Some(job) = self.next_job(closing) {
            // Its place in the group comes first, so that it hears of every error below.
            group.push((job, Err(StoreError::Closed)));
            let Some((job, told)) = group.last_mut() else { break };
            *told = match apply(&self.connection, &job.transaction) {
                Err(error @ (StoreError::Full | StoreError::Busy | StoreError::Closed | StoreError::Database(_))) => return Err(error),
                outcome => outcome,
            };
            if self.connection.is_autocommit() {
                // SQLite gave the transaction up; what followed would be committed one by one.
                return Err(StoreError::Database("the transaction of the group is gone".to_owned()));
            }
            let rows = self.connection.total_changes() - rows_before;
            if rows >= GROUP_ROWS || self.clock.now().since(began) >= GROUP_TIME {
                break;
            }
        }
        #[cfg(test)]
        if let Some(error) = super::faults::of_commit(self.connection.path()) {
            return Err(error);
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(())
    }

    fn next_job(&mut self, closing: &mut bool) -> Option<Job> {
        loop {
            if let Some(job) = self.kept.pop_front() {
                return Some(job);
            }
            if *closing {
                return None;
            }
            match self.work.try_recv() {
                // A command that is refused is told so, and the next is looked at.
                Ok(Work::Commit(job)) => self.take_in(*job),
                Ok(Work::Close) => *closing = true,
                Err(_) => return None,
            }
        }
    }
}
