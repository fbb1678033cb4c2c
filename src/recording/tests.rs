//! The room against itself: what is written is read, what is torn is cut, what is due is gone, and what fails says so.

use super::file::{CHUNK, Opener, Sealer, length_of};
use super::key::DataKey;
use super::writer::Tape;
use super::*;
use crate::billing::{Conditions, Kind, Plan};
use crate::call::{Entry, Fact, Limits, Medium, Policy, RecordingTerms, Shares, Sounds, Terms};
use crate::clock::Span;
use crate::ids::{CompanionId, HoldId, PlanId, TokenId, TransferId, VendorId};
use crate::money::Money;
use crate::store::{Actor, Companion, Deleter, NewRecording, Outcome, RecordingWrite, Refusal, Role, Transaction, Write};
use std::fs;
use std::io::{Cursor, ErrorKind, Read, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

const DAY: Span = Span::from_s(86_400);

fn uuid() -> Uuid {
    Uuid::now_v7()
}

/// Far in the future, so that no clock of a real thread finds anything due.
fn at(s: i64) -> Moment {
    Moment::from_unix_ms(4_000_000_000_000 + s * 1000)
}

/// A vendor with a call that is live, and a folder.
struct House {
    folder: tempfile::TempDir,
    store: Store,
    vendor: VendorId,
    call: CallId,
    key: [u8; 32],
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("lull.db"), Role::Server).unwrap();
        let (vendor, companion, call, hold) = (VendorId::new(uuid()), CompanionId::new(uuid()), CallId::new(uuid()), HoldId::new(uuid()));
        let amount = Money::new(2000, "CNY".parse().unwrap());
        let terms = Terms {
            vendor,
            plan: PlanId::new(uuid()),
            plan_name: "a quarter".to_owned(),
            sold: Plan::new(amount.currency, Kind::Block { block_s: 900, price: 2000 }, Conditions::default()).unwrap(),
            hold: amount,
            grade_paid: None,
            grade_delivered: None,
            client: "wei".parse().unwrap(),
            client_name: None,
            companion,
            companion_name: "Lin".to_owned(),
            medium: Medium::Audio,
            policy: Policy::default(),
            shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
            client_token: TokenId::new(uuid()),
            companion_token: TokenId::new(uuid()),
            zones: None,
            night: None,
            sounds: Sounds::default(),
            recording: Some(RecordingTerms { keep: DAY }),
            limits: Limits::default(),
        };
        let client = terms.client.clone();
        let facts = [Fact::Created { terms: Box::new(terms), hold }, Fact::Started];
        let entries = facts.into_iter().zip(1..).map(|(fact, seq)| Entry { seq, at: at(0), fact }).collect();
        let transfer = TransferId::new(uuid());
        let house = Self { folder, store, vendor, call, key: rand::random() };
        house.commit(vec![
            Write::AddVendor { id: vendor, name: "House".to_owned(), key_hash: [1; 32], at: at(0) },
            Write::AddCompanion(Companion { id: companion, vendor, name: "Lin".to_owned(), grade: None, created_at: at(0) }),
            Write::Credit { transfer, vendor, client: client.clone(), amount, order_ref: "o".to_owned(), at: at(0) },
            Write::Facts { call, entries },
            Write::Hold { hold, call, vendor, client, amount, at: at(0) },
        ]);
        house
    }

    fn commit(&self, writes: Vec<Write>) {
        assert_eq!(self.store.commit(Transaction { idempotency: None, writes }), Ok(Outcome::Committed));
    }

    fn files(&self) -> PathBuf {
        self.folder.path().join("recordings")
    }

    fn recorder_with(&self, key: Option<[u8; 32]>, keep_free: u64) -> Recorder {
        self.recorder_of(Keys { current: key.as_ref().map(MasterKey::new), old: Vec::new() }, keep_free)
    }

    fn recorder_of(&self, keys: Keys, keep_free: u64) -> Recorder {
        let settings = Settings { folder: self.files(), keys, keep_free };
        Recorder::start(settings, self.store.clone(), Clock::start()).unwrap()
    }

    fn recorder(&self) -> Recorder {
        self.recorder_with(Some(self.key), 0)
    }

    /// A row, as the fact's transaction writes it.
    fn row(&self, recorder: &Recorder, part: u32, side: Side) -> (RecordingId, WrappedKey) {
        let id = RecordingId::new(uuid());
        let (key_id, wrapped_key) = recorder.new_key(id).unwrap();
        let (started_at, delete_at) = (at(10), at(10) + DAY);
        let new = NewRecording { id, call: self.call, part, side, started_at, delete_at, key_id, wrapped_key };
        self.commit(vec![Write::Recording(RecordingWrite::Begin(Box::new(new)))]);
        (id, wrapped_key)
    }

    fn begin(&self, recorder: &Recorder, part: u32, side: Side) -> Writer {
        let (id, wrapped) = self.row(recorder, part, side);
        recorder.begin(id, Track { call: self.call, part, side }, &wrapped, at(10)).unwrap()
    }

    /// The part was stopped, says a fact.
    fn stop(&self, part: u32, s: i64) {
        self.commit(vec![Write::Recording(RecordingWrite::Stop { call: self.call, part, at: at(s), why: "client_stopped" })]);
    }

    fn shown(&self, id: RecordingId) -> Recording {
        self.store.recording(self.vendor, id).unwrap().unwrap()
    }

    fn keeper(&self) -> Keeper {
        let folder = Folder::open(self.files(), 0).unwrap();
        Keeper::new(self.store.clone(), folder, Arc::new(Keys { current: Some(MasterKey::new(&self.key)), old: Vec::new() }), None)
    }

    fn file(&self, id: RecordingId) -> PathBuf {
        self.files().join(format!("{id}.lull"))
    }
}

/// So many samples of a tone that is a different one for each seed.
fn tone(samples: usize, seed: i16) -> Vec<i16> {
    (0..samples).map(|n| ((n as i64 * i64::from(seed) * 37) % 20_000 - 10_000) as i16).collect()
}

/// The samples of a WAV file.
fn samples_of(mut wav: impl Read) -> Vec<i16> {
    let mut octets = Vec::new();
    wav.read_to_end(&mut octets).unwrap();
    let mut reader = hound::WavReader::new(Cursor::new(octets)).unwrap();
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, RATE, 16));
    reader.samples::<i16>().collect::<Result<_, _>>().unwrap()
}

#[test]
fn what_is_written_is_read_back_as_wav_and_lies_nowhere_in_clear() {
    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Client);
    let id = writer.id();
    let sound = tone(CHUNK * 3 + 4321, 3);
    for piece in sound.chunks(777) {
        writer.write(piece).unwrap();
    }
    assert_eq!(writer.position(), sound.len() as u64);
    assert!(matches!(recorder.read(&house.shown(id)), Err(ReadError::Open)));
    // Half a second of silence before the stop.
    writer.finish(at(10) + Span::from_ms((sound.len() as i64) / 16 + 500));
    house.stop(1, 14);
    recorder.stop();

    let row = house.shown(id);
    let length = (sound.len() / 16 + 500) * 16;
    assert_eq!(row.samples, Some(length as u64));
    let wav = recorder.read(&row).unwrap();
    assert_eq!(wav.length(), 44 + 2 * length as u64);
    let read = samples_of(wav);
    assert_eq!(read.len(), length);
    assert_eq!(read[..sound.len()], sound[..]);
    assert!(read[sound.len()..].iter().all(|sample| *sample == 0));

    let file = fs::read(house.file(id)).unwrap();
    let clear: Vec<u8> = sound[..200].iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert!(!file.windows(clear.len()).any(|part| part == clear), "the sound lies in clear");
    assert!(!file.windows(4).any(|part| part == b"RIFF"));
}

#[test]
fn what_lies_behind_the_stop_is_cut() {
    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Client);
    let id = writer.id();
    writer.write(&tone(CHUNK + 8000, 3)).unwrap();
    writer.finish(at(10) + Span::from_ms(1200));
    house.stop(1, 12);
    recorder.stop();
    assert_eq!(house.shown(id).samples, Some(CHUNK as u64 + 3200));
}

#[test]
fn a_torn_end_is_dropped_and_what_is_whole_is_read() {
    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Companion);
    let id = writer.id();
    let sound = tone(CHUNK * 4, 5);
    writer.write(&sound).unwrap();
    writer.finish(at(14));
    recorder.stop();
    let whole = fs::read(house.file(id)).unwrap();
    let key = MasterKey::new(&house.key);
    let data = || key.unwrap(id, &house.shown(id).wrapped_key.unwrap()).unwrap();
    let readable = |octets: &[u8]| Opener::open(Cursor::new(octets.to_vec()), id, &data()).and_then(|mut file| Ok(file.readable()?));
    for cut in [1, 15, 16, 17, 20_000, 32_015] {
        assert_eq!(readable(&whole[..whole.len() - cut]).unwrap(), 3 * CHUNK as u64, "{cut} octets are missing");
    }
    assert_eq!(readable(&whole[..80]).unwrap(), 0);
    assert!(matches!(readable(&whole[..79]), Err(ReadError::Changed)));
    // As after a crash: the length was on disk and the octets were not.
    let mut zeros = whole.clone();
    zeros[length_of(2) as usize..].fill(0);
    assert_eq!(readable(&zeros).unwrap(), 2 * CHUNK as u64);
    // Chunks are bound to their place.
    let mut swapped = whole.clone();
    let (one, two) = (length_of(0) as usize, length_of(1) as usize);
    swapped[one..two].copy_from_slice(&whole[two..length_of(2) as usize]);
    assert_eq!(readable(&swapped).unwrap(), 0);
}

#[test]
fn what_a_crash_left_open_is_closed_with_what_can_be_read() {
    let house = House::new();
    let recorder = house.recorder();
    let (id, wrapped) = house.row(&recorder, 1, Side::Client);
    let (bare, _) = house.row(&recorder, 1, Side::Companion);
    // A process that died after 2.3 s: two chunks are whole.
    let key = MasterKey::new(&house.key).unwrap(id, &wrapped).unwrap();
    let mut sealer = Sealer::begin(Vec::new(), id, &key).unwrap();
    let sound = tone(CHUNK * 3, 7);
    for second in sound.chunks(CHUNK) {
        sealer.write(second).unwrap();
    }
    let torn = &sealer.out()[..length_of(2) as usize + 9600];
    fs::write(house.file(id), torn).unwrap();

    assert_eq!(house.keeper().sweep(at(20)).unwrap(), Swept::default(), "nobody has said that it is over");
    house.stop(1, 20);
    assert_eq!(house.keeper().sweep(at(21)).unwrap(), Swept { closed: 2, ..Swept::default() });
    let row = house.shown(id);
    assert_eq!((row.samples, row.ended.map(|(at, _)| at)), (Some(2 * CHUNK as u64), Some(at(20))));
    assert_eq!(samples_of(recorder.read(&house.shown(id)).unwrap()), sound[..2 * CHUNK]);
    // One that had no file yet is empty, and still a WAV.
    assert_eq!(samples_of(recorder.read(&house.shown(bare)).unwrap()), Vec::<i16>::new());
    recorder.stop();
}

#[test]
fn what_was_left_open_and_cannot_be_opened_is_deleted_all_the_same() {
    let house = House::new();
    let recorder = house.recorder();
    let (id, _) = house.row(&recorder, 1, Side::Client);
    recorder.stop();
    fs::write(house.file(id), "no recording any more").unwrap();
    let delete = |is_left| {
        let by = Deleter::Vendor(house.vendor, Actor::ApiKey);
        let writes = vec![Write::Recording(RecordingWrite::Delete { id, by, at: at(30), is_left })];
        house.store.commit(Transaction { idempotency: None, writes }).unwrap()
    };
    assert_eq!(delete(true), Outcome::Refused(Refusal::RecordingOpen), "nobody has said that it is over");
    house.stop(1, 20);
    let keeper = house.keeper();
    assert_eq!(keeper.sweep(at(21)).unwrap(), Swept::default());
    assert!(house.shown(id).fault.is_some());
    assert_eq!(delete(false), Outcome::Refused(Refusal::RecordingOpen), "somebody may still be writing");
    assert_eq!(delete(true), Outcome::Committed);
    assert_eq!(keeper.sweep(at(31)).unwrap(), Swept { deleted: 1, ..Swept::default() });
    assert!(!house.file(id).exists());
    let row = house.shown(id);
    assert_eq!((row.samples, row.wrapped_key, row.fault, row.deleted_at), (Some(0), None, None, Some(at(31))));
}

#[test]
fn a_wrong_key_is_refused_and_touches_nothing() {
    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Client);
    let id = writer.id();
    writer.write(&tone(CHUNK, 3)).unwrap();
    writer.finish(at(11));
    house.stop(1, 11);
    let open = house.begin(&recorder, 2, Side::Client).id();
    recorder.stop();
    house.commit(vec![Write::Recording(RecordingWrite::Stop { call: house.call, part: 2, at: at(12), why: "server_stopped" })]);

    let other = house.recorder_with(Some([9; 32]), 0);
    assert!(matches!(other.read(&house.shown(id)), Err(ReadError::OtherKey { .. })));
    let none = house.recorder_with(None, 0);
    let refused = none.read(&house.shown(id)).unwrap_err().to_string();
    assert!(refused.contains("has: none"), "{refused}");
    assert!(!none.can_record() && none.new_key(id).is_none());
    other.stop();
    none.stop();
    assert!(house.shown(open).samples.is_some(), "it was closed in order");
    let mut changed = house.shown(id);
    changed.wrapped_key.as_mut().unwrap().0[20] ^= 1;
    let recorder = house.recorder();
    assert!(matches!(recorder.read(&changed), Err(ReadError::Changed)));
    assert_eq!(samples_of(recorder.read(&house.shown(id)).unwrap()).len(), CHUNK);
    recorder.stop();
}

#[test]
fn after_a_change_of_keys_the_old_one_opens_and_the_new_one_seals() {
    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Client);
    let id = writer.id();
    writer.write(&tone(CHUNK, 3)).unwrap();
    writer.finish(at(11));
    house.stop(1, 11);
    // Of one that was left open the old key finds out what can be read.
    let (left, wrapped) = house.row(&recorder, 2, Side::Client);
    recorder.stop();
    let key = MasterKey::new(&house.key).unwrap(left, &wrapped).unwrap();
    let mut sealer = Sealer::begin(Vec::new(), left, &key).unwrap();
    sealer.write(&tone(CHUNK, 5)).unwrap();
    fs::write(house.file(left), &sealer.out()[..]).unwrap();
    house.stop(2, 12);

    let (new, old) = (MasterKey::new(&[9; 32]), MasterKey::new(&house.key));
    let (new_name, old_name) = (new.id().to_owned(), old.id().to_owned());
    let recorder = house.recorder_of(Keys { current: Some(new), old: vec![MasterKey::new(&[8; 32]), old] }, 0);
    assert_eq!(samples_of(recorder.read(&house.shown(id)).unwrap()), tone(CHUNK, 3));
    recorder.0.keeper.sweep(at(13)).unwrap();
    assert_eq!(house.shown(left).samples, Some(CHUNK as u64));
    let mut writer = house.begin(&recorder, 3, Side::Client);
    let later = writer.id();
    writer.write(&tone(CHUNK, 7)).unwrap();
    writer.finish(at(11));
    house.stop(3, 14);
    recorder.stop();
    assert_eq!([house.shown(id).key_id, house.shown(later).key_id], [old_name, new_name.clone()]);
    assert_eq!(samples_of(recorder.read(&house.shown(later)).unwrap()), tone(CHUNK, 7));

    // The old key is left out too early, and what lacks it says so.
    let alone = house.recorder_with(Some([9; 32]), 0);
    let refused = alone.read(&house.shown(id)).unwrap_err();
    assert!(matches!(&refused, ReadError::OtherKey { sealed, configured } if *sealed == house.shown(id).key_id && *configured == new_name));
    assert!(refused.to_string().contains("recording.old_key_files"), "{refused}");
    assert_eq!(samples_of(alone.read(&house.shown(later)).unwrap()).len(), CHUNK);
    alone.stop();
}

#[test]
fn what_is_due_is_deleted_its_file_and_its_key() {
    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Client);
    let id = writer.id();
    writer.write(&tone(CHUNK, 3)).unwrap();
    writer.finish(at(11));
    house.stop(1, 11);
    recorder.stop();
    let wrapped = house.shown(id).wrapped_key.unwrap().0;
    let keeper = house.keeper();
    assert_eq!(keeper.sweep(at(9) + DAY).unwrap(), Swept::default(), "a second before its date");
    assert!(house.file(id).exists());
    assert_eq!(keeper.sweep(at(10) + DAY).unwrap(), Swept { deleted: 1, ..Swept::default() });
    assert!(!house.file(id).exists());
    let row = house.shown(id);
    assert_eq!((row.wrapped_key, row.deleted_by.as_deref(), row.deleted_at), (None, Some("retention"), Some(at(10) + DAY)));
    assert_eq!(keeper.sweep(at(99) + DAY).unwrap(), Swept::default(), "once");
    // Nothing of the key is left in the database once its log is worked in.
    house.store.close();
    let database = fs::read(house.folder.path().join("lull.db")).unwrap();
    assert!(!database.windows(60).any(|part| part == wrapped), "the key is still in the file");
}

#[test]
fn a_deletion_that_fails_shows_and_is_tried_again() {
    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Client);
    let id = writer.id();
    writer.write(&tone(CHUNK, 3)).unwrap();
    let delete = |vendor| {
        let by = Deleter::Vendor(vendor, Actor::Page);
        let writes = vec![Write::Recording(RecordingWrite::Delete { id, by, at: at(30), is_left: false })];
        house.store.commit(Transaction { idempotency: None, writes }).unwrap()
    };
    assert_eq!(delete(house.vendor), Outcome::Refused(Refusal::RecordingOpen), "it is still being made");
    writer.finish(at(11));
    house.stop(1, 11);
    recorder.stop();
    assert_eq!(delete(VendorId::new(uuid())), Outcome::Refused(Refusal::RecordingOpen), "it is another vendor's");
    assert_eq!(delete(house.vendor), Outcome::Committed);
    assert_eq!(delete(house.vendor), Outcome::Committed, "twice is once");
    assert!(matches!(recorder.read(&house.shown(id)), Err(ReadError::Deleted)));
    // What cannot be removed as a file: a folder that is not empty.
    fs::remove_file(house.file(id)).unwrap();
    fs::create_dir(house.file(id)).unwrap();
    fs::write(house.file(id).join("x"), "x").unwrap();
    let keeper = house.keeper();
    for _ in 0..2 {
        assert_eq!(keeper.sweep(at(31)).unwrap(), Swept { failed: 1, ..Swept::default() });
        let row = house.shown(id);
        assert!(row.deleted_at.is_none() && row.wrapped_key.is_none());
        assert!(row.fault.unwrap().starts_with("the file cannot be removed"));
    }
    fs::remove_dir_all(house.file(id)).unwrap();
    fs::write(house.file(id), "x").unwrap();
    assert_eq!(keeper.sweep(at(40)).unwrap(), Swept { deleted: 1, ..Swept::default() });
    let row = house.shown(id);
    assert_eq!((row.deleted_at, row.deleted_by.as_deref(), row.fault), (Some(at(40)), Some("page"), None));
    assert!(!house.file(id).exists());
}

#[test]
fn a_damaged_call_holds_up_no_deletion() {
    let house = House::new();
    let recorder = house.recorder();
    let ids = [Side::Client, Side::Companion].map(|side| {
        let writer = house.begin(&recorder, 1, side);
        let id = writer.id();
        writer.finish(at(11));
        id
    });
    house.stop(1, 11);
    recorder.stop();
    let database = rusqlite::Connection::open(house.folder.path().join("lull.db")).unwrap();
    database.execute_batch("DROP TRIGGER journal_update; UPDATE journal SET fact = '{}' WHERE seq = 1").unwrap();
    // What each leaves to be told cannot be; the one behind it goes all the same.
    assert_eq!(house.keeper().sweep(at(12) + DAY), Ok(Swept::default()));
    assert_eq!(ids.map(|id| house.file(id).exists()), [false; 2]);
}

#[test]
fn files_without_rows_and_rows_without_files_are_found() {
    let house = House::new();
    let recorder = house.recorder();
    let ids: Vec<RecordingId> = [Side::Client, Side::Companion]
        .map(|side| {
            let mut writer = house.begin(&recorder, 1, side);
            writer.write(&tone(CHUNK, 3)).unwrap();
            writer.id()
        })
        .to_vec();
    house.stop(1, 11);
    recorder.stop();
    let keeper = house.keeper();
    assert_eq!(keeper.compare(at(12)).unwrap(), Compared::default());
    let stray = RecordingId::new(uuid());
    fs::write(house.file(stray), "somebody's").unwrap();
    fs::write(house.files().join("notes.txt"), "nobody's").unwrap();
    fs::rename(house.file(ids[0]), house.files().join("away")).unwrap();
    assert_eq!(keeper.compare(at(12)).unwrap(), Compared { missing: vec![ids[0]], strays: vec![stray] });
    assert_eq!(house.shown(ids[0]).fault.as_deref(), Some("the file is missing"));
    assert!(house.file(stray).exists(), "whose it is cannot be known");
    fs::rename(house.files().join("away"), house.file(ids[0])).unwrap();
    fs::remove_file(house.file(stray)).unwrap();
    assert_eq!(keeper.compare(at(13)).unwrap(), Compared::default());
    assert_eq!(house.shown(ids[0]).fault, None);
}

/// A disk with room for so many octets.
struct Small {
    written: Arc<Mutex<Vec<u8>>>,
    room: Arc<AtomicU64>,
}

impl io::Write for Small {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.room.load(Ordering::Relaxed)).unwrap();
        let count = octets.len().min(room);
        if count == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.room.fetch_sub(count as u64, Ordering::Relaxed);
        self.written.lock().unwrap().extend(&octets[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tape for Small {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.written.lock().unwrap().truncate(length as usize);
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_says_so() {
    let house = House::new();
    let rows = house.recorder();
    let (id, wrapped) = house.row(&rows, 1, Side::Client);
    rows.stop();
    let (desk, jobs) = Desk::new();
    let desk = Arc::new(desk);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (reports, hears) = (Arc::new(OnceLock::<Reporter>::new()), Arc::clone(&heard));
    drop(reports.set(Box::new(move |report| hears.lock().unwrap().push(report))));
    let folder = Folder::open(house.files(), 0).unwrap();
    let mut scribe = Scribe::new(Arc::clone(&desk), jobs, folder, house.store.clone(), Clock::start(), reports);
    // Two and a half seconds.
    let (written, room) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(80_000)));
    let (to, of) = (Arc::clone(&written), Arc::clone(&room));
    scribe.writes_to(move |_| Ok(Box::new(Small { written: Arc::clone(&to), room: Arc::clone(&of) })));
    let key = || MasterKey::new(&house.key).unwrap(id, &wrapped).unwrap();
    let track = Track { call: house.call, part: 1, side: Side::Client };
    let mut writer = desk.begin(id, track, key(), at(10));
    let sound = tone(CHUNK * 3, 9);
    writer.write(&sound).unwrap();
    desk.send(Job::Leave);
    scribe.run();
    assert_eq!(writer.write(&sound), Err(Ended));
    let failed = Report::Failed { call: house.call, part: 1, side: Side::Client, why: RecordingEnd::DiskFull };
    assert_eq!(*heard.lock().unwrap(), [failed]);
    assert_eq!(house.shown(id).samples, Some(2 * CHUNK as u64));
    let kept = written.lock().unwrap().clone();
    assert_eq!(kept.len() as u64, length_of(2), "cut back to what is whole");
    assert_eq!(Opener::open(Cursor::new(kept), id, &key()).unwrap().readable().unwrap(), 2 * CHUNK as u64);
}

#[test]
fn a_disk_that_is_to_be_left_alone_takes_no_recording() {
    let house = House::new();
    let recorder = house.recorder_with(Some(house.key), u64::MAX);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    recorder.on_report(move |report| hears.lock().unwrap().push(report));
    let writer = house.begin(&recorder, 1, Side::Companion);
    let id = writer.id();
    drop(writer);
    recorder.stop();
    let failed = Report::Failed { call: house.call, part: 1, side: Side::Companion, why: RecordingEnd::DiskFull };
    assert_eq!(*heard.lock().unwrap(), [failed]);
    assert_eq!(house.shown(id).samples, Some(0));
    assert!(!house.file(id).exists());
}

#[test]
fn seconds_that_never_came_are_silence_in_their_place() {
    let mut octets = Vec::new();
    let (id, key) = (RecordingId::new(uuid()), DataKey::fresh());
    Sealer::begin(&mut octets, id, &key).unwrap().write(&[1, -1]).unwrap();
    octets.flush().unwrap();
    let mut file = Opener::open(Cursor::new(octets), id, &key).unwrap();
    assert_eq!(file.chunk(0).unwrap(), Some(vec![1, 0, 255, 255]));
    assert_eq!(file.chunk(1).unwrap(), None);

    let house = House::new();
    let recorder = house.recorder();
    let mut writer = house.begin(&recorder, 1, Side::Client);
    let id = writer.id();
    writer.write(&[7; 100]).unwrap();
    // A worker that died: its writer is dropped as it is. Before, five seconds found no room.
    writer.skip(5);
    writer.write(&[8; 50]).unwrap();
    drop(writer);
    house.stop(1, 20);
    recorder.stop();
    let read = samples_of(recorder.read(&house.shown(id)).unwrap());
    assert_eq!(read.len(), 5 * CHUNK + 150);
    assert!(read[..5 * CHUNK].iter().all(|sample| *sample == 0));
    assert_eq!((read[5 * CHUNK + 99], read[5 * CHUNK + 149]), (7, 8));
}
