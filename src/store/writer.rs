//! The one thread that writes: takes what is queued, applies it, commits it as a group, tells the outcomes.
//!
//! Nobody waits for company: a group is what lies in the queue when the thread gets to it. Invariant: outcomes are told in
//! the order of submitting, and only after the group's COMMIT came back.

use super::apply::apply;
use super::{Outcome, Store, StoreError, Transaction};
use crate::clock::{Clock, Span};
use rusqlite::Connection;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Rows in a group at most: above this, batching buys little and costs latency (measured).
const GROUP_ROWS: u64 = 1000;

/// Work in a group at most, for the same reason.
const GROUP_TIME: Span = Span::from_ms(20);

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

/// The handle to the thread. Dropping it closes it.
pub(super) struct Writer {
    queue: SyncSender<Work>,
    backlog: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (queue, work) = sync_channel(Store::QUEUE);
        let backlog = Arc::new(AtomicUsize::new(0));
        let scribe = Scribe { connection, work, backlog: Arc::clone(&backlog), clock: Clock::start(), failed: None };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(move || scribe.run())?;
        Ok(Self { queue, backlog, thread: Mutex::new(Some(thread)) })
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
    /// Set by a failing disk: after a failed fsync nobody knows what is on it (sqlite.org/atomiccommit.html, section 9).
    failed: Option<StoreError>,
}

/// Members of a group, in order, each with what it will be told.
type Group = Vec<(Done, Result<Outcome, StoreError>)>;

impl Scribe {
    fn run(mut self) {
        while let Ok(Work::Commit(first)) = self.work.recv() {
            let mut closing = false;
            for (done, outcome) in self.commit_group(*first, &mut closing) {
                self.backlog.fetch_sub(1, Ordering::Relaxed);
                done(outcome);
            }
            if closing {
                break;
            }
        }
    }

    fn commit_group(&mut self, first: Job, closing: &mut bool) -> Group {
        let mut group = Group::new();
        if let Err(error) = self.fill(first, &mut group, closing) {
            if !self.connection.is_autocommit() {
                // SQLite may have rolled back by itself; if this fails too the file's own recovery does it.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            if matches!(error, StoreError::Database(_)) {
                self.failed = Some(error.clone());
            }
            for (_, outcome) in &mut group {
                *outcome = Err(error.clone());
            }
        }
        group
    }

    /// Applies what is queued and commits it. On an error nothing of the group is on disk (or, if the disk fails, known to be).
    fn fill(&mut self, first: Job, group: &mut Group, closing: &mut bool) -> Result<(), StoreError> {
        // Its place in the group comes first, so that it hears of every error below.
        let Job { mut transaction, done } = first;
        group.push((done, Err(StoreError::Closed)));
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let began = self.clock.now();
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let rows_before = self.connection.total_changes();
        loop {
            let outcome = match apply(&self.connection, &mem::take(&mut transaction)) {
                Err(error @ (StoreError::Full | StoreError::Busy | StoreError::Closed | StoreError::Database(_))) => return Err(error),
                outcome => outcome,
            };
            if self.connection.is_autocommit() {
                // SQLite gave the transaction up; what followed would be committed one by one.
                return Err(StoreError::Database("the transaction of the group is gone".to_owned()));
            }
            if let Some((_, told)) = group.last_mut() {
                *told = outcome;
            }
            let rows = self.connection.total_changes() - rows_before;
            if rows >= GROUP_ROWS || self.clock.now().since(began) >= GROUP_TIME {
                break;
            }
            match self.work.try_recv() {
                Ok(Work::Commit(job)) => {
                    transaction = job.transaction;
                    group.push((job.done, Err(StoreError::Closed)));
                }
                Ok(Work::Close) => {
                    *closing = true;
                    break;
                }
                Err(_) => break,
            }
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(())
    }
}
