//! The thread that seals and writes, and what the workers hold of it.
//!
//! A worker hands over whole seconds and goes on: where the disk is too slow the seconds that find no room are dropped, counted and
//! written as silence, so that what comes later stays in its place. All files are synchronised every five seconds. Invariants: a file
//! only ever grows by what is sealed; after an error it is cut back to its last whole second, closed, and its call told; a recording
//! that is open here is in `live`, and nobody else closes it.

use super::file::{CHUNK, Sealer, length_of};
use super::folder::Folder;
use super::key::DataKey;
use super::{RATE, Report, Reporter, Track};
use crate::call::RecordingEnd;
use crate::clock::{Clock, Moment, Span};
use crate::ids::RecordingId;
use crate::store::{RecordingWrite, Store, Transaction, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Seconds that may wait for the disk, of all recordings: 16 MB.
const MOST_WAITING: usize = 512;

/// So much of a recording may be lost with the machine's power.
const SYNC_EVERY: Span = Span::from_s(5);

/// A second of nothing.
static SILENCE: [i16; CHUNK] = [0; CHUNK];

/// The recording has ended by itself: its call has been told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the recording has ended")]
pub struct Ended;

/// Where the samples of one recording go. Dropped without a word, it ends where it is.
#[derive(Debug)]
pub struct Writer {
    desk: Arc<Desk>,
    id: RecordingId,
    started: Moment,
    /// The second that is not full yet.
    buffer: Vec<i16>,
    /// Its number.
    number: u64,
    is_over: Arc<AtomicBool>,
}

impl Writer {
    /// Which recording.
    pub fn id(&self) -> RecordingId {
        self.id
    }

    /// Where the first sample belongs.
    pub fn started(&self) -> Moment {
        self.started
    }

    /// Samples so far.
    pub fn position(&self) -> u64 {
        self.number * CHUNK as u64 + self.buffer.len() as u64
    }

    /// Samples that follow those before; silence too is to be written as it passes, not all at once. Never waits.
    ///
    /// # Errors
    /// The recording has ended by itself; nothing more is taken.
    pub fn write(&mut self, mut samples: &[i16]) -> Result<(), Ended> {
        while !samples.is_empty() {
            let count = samples.len().min(CHUNK - self.buffer.len());
            let (now, later) = samples.split_at(count);
            self.buffer.extend_from_slice(now);
            samples = later;
            self.pass_on();
        }
        self.goes_on()
    }

    /// Silence until this many samples are there.
    fn fill(&mut self, position: u64) {
        let missing = position.saturating_sub(self.position());
        let first = missing.min((CHUNK - self.buffer.len()) as u64);
        // At most a second: see above.
        let length = self.buffer.len() + usize::try_from(first).unwrap_or(0);
        self.buffer.resize(length, 0);
        self.pass_on();
        let rest = missing - first;
        // What is not handed over is written as silence.
        self.number += rest / CHUNK as u64;
        let length = self.buffer.len() + usize::try_from(rest % CHUNK as u64).unwrap_or(0);
        self.buffer.resize(length, 0);
    }

    /// Ends it at `at`: silence up to there, and of the last second nothing behind. A source whose clock runs ahead is cut there.
    pub fn finish(mut self, at: Moment) {
        let until = at.since(self.started).ms().unsigned_abs() * u64::from(RATE) / 1000;
        self.fill(until);
        let ahead = usize::try_from(self.position().saturating_sub(until)).unwrap_or(usize::MAX);
        self.buffer.truncate(self.buffer.len().saturating_sub(ahead));
    }

    /// As if so many seconds had found no room.
    #[cfg(test)]
    pub(super) fn skip(&mut self, seconds: u64) {
        self.number += seconds;
    }

    fn goes_on(&self) -> Result<(), Ended> {
        if self.is_over.load(Ordering::Relaxed) { Err(Ended) } else { Ok(()) }
    }

    /// Hands over a full second.
    fn pass_on(&mut self) {
        if self.buffer.len() < CHUNK {
            return;
        }
        let samples = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        if self.desk.has_room() {
            self.desk.send(Job::Second { id: self.id, number: self.number, samples });
        } else {
            metrics::counter!("lull_recording_dropped_seconds_total").increment(1);
        }
        self.number += 1;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let tail = std::mem::take(&mut self.buffer);
        self.desk.send(Job::End { id: self.id, number: self.number, tail });
    }
}

/// The way to the thread, and what it has in hand.
#[derive(Debug)]
pub(super) struct Desk {
    /// Without a bound of its own: each recording has one beginning and one end in it, and seconds only while less than [`MOST_WAITING`] wait.
    jobs: Sender<Job>,
    /// Seconds on their way.
    waiting: AtomicUsize,
    /// Held for the length of an insertion, a removal or a look.
    live: Mutex<BTreeSet<RecordingId>>,
}

pub(super) enum Job {
    Begin { id: RecordingId, track: Track, key: DataKey, is_over: Arc<AtomicBool> },
    Second { id: RecordingId, number: u64, samples: Vec<i16> },
    End { id: RecordingId, number: u64, tail: Vec<i16> },
    Leave,
}

impl Desk {
    pub(super) fn new() -> (Self, Receiver<Job>) {
        let (jobs, door) = channel();
        (Self { jobs, waiting: AtomicUsize::new(0), live: Mutex::default() }, door)
    }

    pub(super) fn begin(self: &Arc<Self>, id: RecordingId, track: Track, key: DataKey, started: Moment) -> Writer {
        let is_over = Arc::new(AtomicBool::new(false));
        self.live().insert(id);
        self.send(Job::Begin { id, track, key, is_over: Arc::clone(&is_over) });
        Writer { desk: Arc::clone(self), id, started, buffer: Vec::with_capacity(CHUNK), number: 0, is_over }
    }

    /// Few and small but for the seconds, whose number is bounded.
    pub(super) fn send(&self, job: Job) {
        if matches!(job, Job::Second { .. }) {
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
        // After a stop nothing is written any more.
        let _ = self.jobs.send(job);
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < MOST_WAITING
    }

    /// Whether its file is being written.
    pub(super) fn is_live(&self, id: RecordingId) -> bool {
        self.live().contains(&id)
    }

    fn live(&self) -> MutexGuard<'_, BTreeSet<RecordingId>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that grows.
pub(super) trait Tape: io::Write + Send {
    /// What was written is on disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Nothing stands behind `length`.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Tape for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// A recording that is being written.
struct Running {
    track: Track,
    sealer: Sealer<Box<dyn Tape>>,
    is_over: Arc<AtomicBool>,
    is_dirty: bool,
}

/// The thread.
pub(super) struct Scribe {
    desk: Arc<Desk>,
    jobs: Receiver<Job>,
    folder: Folder,
    store: Store,
    clock: Clock,
    reports: Arc<OnceLock<Reporter>>,
    running: BTreeMap<RecordingId, Running>,
    /// Makes a new file.
    make: Box<dyn Fn(RecordingId) -> io::Result<Box<dyn Tape>> + Send>,
}

impl Scribe {
    pub(super) fn new(
        desk: Arc<Desk>,
        jobs: Receiver<Job>,
        folder: Folder,
        store: Store,
        clock: Clock,
        reports: Arc<OnceLock<Reporter>>,
    ) -> Self {
        let files = folder.clone();
        let make = Box::new(move |id| Ok(Box::new(files.create(id)?) as Box<dyn Tape>));
        Self { desk, jobs, folder, store, clock, reports, running: BTreeMap::new(), make }
    }

    /// Writes to what this makes instead of to files.
    #[cfg(test)]
    pub(super) fn writes_to(&mut self, make: impl Fn(RecordingId) -> io::Result<Box<dyn Tape>> + Send + 'static) {
        self.make = Box::new(make);
    }

    /// Works until it is told to leave, then closes what is open.
    pub(super) fn run(mut self) {
        let mut next_sync = self.clock.now() + SYNC_EVERY;
        loop {
            let now = self.clock.now();
            if now >= next_sync {
                self.sync();
                next_sync = now + SYNC_EVERY;
            }
            match self.jobs.recv_timeout(next_sync.since(now).into()) {
                Ok(Job::Leave) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(job) => self.work(job),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            self.end(id, 0, &[]);
        }
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Begin { id, track, key, is_over } => match self.begin(id, &key) {
                Ok(sealer) => {
                    self.running.insert(id, Running { track, sealer, is_over, is_dirty: true });
                }
                Err(error) => {
                    self.close(id, 0);
                    self.failed(id, track, &is_over, &error);
                }
            },
            Job::Second { id, number, samples } => {
                self.desk.waiting.fetch_sub(1, Ordering::Relaxed);
                if let Err(error) = self.write(id, number, &samples) {
                    self.fail(id, &error);
                }
            }
            Job::End { id, number, tail } => self.end(id, number, &tail),
            Job::Leave => {}
        }
    }

    fn begin(&self, id: RecordingId, key: &DataKey) -> io::Result<Sealer<Box<dyn Tape>>> {
        if self.folder.is_short() {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut sealer = Sealer::begin((self.make)(id)?, id, key)?;
        sealer.out().sync()?;
        Ok(sealer)
    }

    /// Writes samples as this second, and silence for those before it that never came.
    fn write(&mut self, id: RecordingId, number: u64, samples: &[i16]) -> io::Result<()> {
        let Some(running) = self.running.get_mut(&id) else { return Ok(()) };
        running.is_dirty = true;
        while running.sealer.number() < number {
            running.sealer.write(&SILENCE)?;
        }
        if samples.is_empty() { Ok(()) } else { running.sealer.write(samples) }
    }

    /// Ends a recording in order.
    fn end(&mut self, id: RecordingId, number: u64, tail: &[i16]) {
        if let Err(error) = self.write(id, number, tail) {
            return self.fail(id, &error);
        }
        let Some(running) = self.running.get_mut(&id) else { return };
        if let Err(error) = running.sealer.out().sync() {
            return self.fail(id, &error);
        }
        let samples = if tail.is_empty() { running.sealer.number() * CHUNK as u64 } else { number * CHUNK as u64 + tail.len() as u64 };
        self.running.remove(&id);
        self.close(id, samples);
    }

    /// Ends a recording that cannot go on, and says so.
    fn fail(&mut self, id: RecordingId, error: &io::Error) {
        let Some(mut running) = self.running.remove(&id) else { return };
        let whole = running.sealer.number();
        // Whatever comes of it: what stands behind the last whole second opens with no key.
        let _ = running.sealer.out().cut(length_of(whole));
        let _ = running.sealer.out().sync();
        self.close(id, whole * CHUNK as u64);
        self.failed(id, running.track, &running.is_over, error);
    }

    fn failed(&self, id: RecordingId, track: Track, is_over: &AtomicBool, error: &io::Error) {
        is_over.store(true, Ordering::Relaxed);
        let why = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => RecordingEnd::DiskFull,
            _ => RecordingEnd::Failed,
        };
        let Track { call, part, side } = track;
        metrics::counter!("lull_recordings_failed_total", "reason" => why.name()).increment(1);
        tracing::error!(call.id = %call, "the recording {id} of {}'s side of {call} ends: {error}", side.name());
        if let Some(tell) = self.reports.get() {
            tell(Report::Failed { call, part, side, why });
        }
    }

    /// Notes that the file is whole. Where the store cannot, the keeper does it later, from the file.
    fn close(&self, id: RecordingId, samples: u64) {
        let write = Write::Recording(RecordingWrite::Close { id, samples });
        if let Err(error) = self.store.commit(Transaction { idempotency: None, writes: vec![write] }) {
            tracing::warn!(%error, "the end of the recording {id} could not be noted yet: {error}");
        }
        self.desk.live().remove(&id);
    }

    /// Brings all that was written to the disk; with too little room on it, ends all instead.
    fn sync(&mut self) {
        let is_short = !self.running.is_empty() && self.folder.is_short();
        for id in self.running.keys().copied().collect::<Vec<_>>() {
            let Some(running) = self.running.get_mut(&id).filter(|running| running.is_dirty || is_short) else { continue };
            running.is_dirty = false;
            let synced = running.sealer.out().sync();
            let synced = if is_short { Err(ErrorKind::StorageFull.into()) } else { synced };
            if let Err(error) = synced {
                self.fail(id, &error);
            }
        }
    }
}
