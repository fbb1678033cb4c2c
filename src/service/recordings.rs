//! Recordings on the line and at the desk: the facts that begin and end one become rows and files, and vendors list, hear and delete them.
//!
//! It decides nothing of consent. Invariants: no sample is kept before the fact that both agreed, and the row with it, are on disk; a stop does
//! not wait for the disk; what belongs to another vendor reads as not there.

use super::carry::Said;
use super::house::{House, Note, fresh};
use super::line::Place;
use super::look_up::{Found, Search};
use super::wire;
use crate::call::{Entry, Event, Fact, RecordingEnd, RecordingTerms, Side};
use crate::clock::{Moment, Span};
use crate::exchange::View;
use crate::ids::{CallId, RecordingId};
use crate::recording::{RATE, ReadError, Recorder, Report, Track};
use crate::store::{Deleter, NewRecording, Outcome, Recording, RecordingWrite, Store, StoreError, Transaction, WrappedKey, Write};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::{Caller, Download, Refused, Reply};
use signaling::message::RecordingView;

/// A day, in which plans count how long recordings are kept.
const DAY_S: i64 = 86_400;

/// Octets in front of the samples of a WAV file.
const WAV_HEAD: u64 = 44;

/// A part of a recording that may begin: its rows are on disk.
pub(super) struct Begun {
    call: CallId,
    part: u32,
    at: Moment,
    sides: Vec<(Side, RecordingId, WrappedKey)>,
}

impl House {
    /// Hears what becomes of recordings by itself.
    pub(super) fn hear_recorder(&self) {
        if let Some(recorder) = &self.recorder {
            let notes = self.notes.clone();
            // The house is gone: so are its calls.
            recorder.on_report(move |report| drop(notes.send(Note::Recording(report))));
        }
    }

    /// What facts of recordings write beside themselves, and what is to be done once they are on disk. What they end ends now.
    pub(super) fn recording_writes(&mut self, call: CallId, entries: &[Entry], said: &mut Vec<Said>) -> Vec<Write> {
        let mut writes = Vec::new();
        for entry in entries {
            match &entry.fact {
                Fact::RecordingStarted { part } => {
                    let begun = self.begin_rows(call, *part, entry.at, &mut writes);
                    said.push(Said::Record { begun: Box::new(begun) });
                }
                Fact::RecordingStopped { part, why } => {
                    self.ear.stop_recording(call, entry.at);
                    writes.push(Write::Recording(RecordingWrite::Stop { call, part: *part, at: entry.at, why: why.name() }));
                    said.push(Said::RecordingStopped);
                    tracing::info!(call.id = %call, "the recording of call {call} ends: {}", why.name());
                }
                _ => {}
            }
        }
        writes
    }

    fn begin_rows(&self, call: CallId, part: u32, at: Moment, writes: &mut Vec<Write>) -> Begun {
        let mut begun = Begun { call, part, at, sides: Vec::new() };
        let terms = self.exchange.call(call).and_then(|call| call.terms().recording);
        let (Some(RecordingTerms { keep }), Some(recorder)) = (terms, &self.recorder) else { return begun };
        for side in [Side::Client, Side::Companion] {
            let id = RecordingId::new(fresh());
            let Some((key_id, wrapped_key)) = recorder.new_key(id) else { return begun };
            let new = NewRecording { id, call, part, side, started_at: at, delete_at: at + keep, key_id, wrapped_key };
            writes.push(Write::Recording(RecordingWrite::Begin(Box::new(new))));
            begun.sides.push((side, id, wrapped_key));
        }
        begun
    }

    /// The rows of a part are on disk: from now on samples are kept, unless somebody said no meanwhile.
    pub(super) fn record(&mut self, begun: Begun) {
        let Begun { call, part, at, sides } = begun;
        let runs = self.exchange.call(call).and_then(|call| call.recording().running).is_some_and(|(running, _)| running == part);
        if !runs {
            return;
        }
        let mut writers = Vec::new();
        for (side, id, wrapped) in &sides {
            let track = Track { call, part, side: *side };
            let writer = self.recorder.as_ref().map(|recorder| recorder.begin(*id, track, wrapped, at));
            writers.extend(writer.and_then(Result::ok).map(|writer| (*side, writer)));
        }
        if writers.len() < 2 {
            tracing::error!(call.id = %call, "call {call} cannot be recorded: there is no key");
            return self.tell_core(call, Event::RecordingFailed { part, why: RecordingEnd::Failed });
        }
        tracing::info!(call.id = %call, "call {call} is recorded, by consent of both");
        metrics::counter!("lull_recordings_started_total").increment(1);
        for (side, writer) in writers {
            self.ear.record(call, side, writer);
        }
    }

    /// The recorder says something by itself.
    pub(super) fn recorder_reports(&mut self, report: Report) {
        let Report::Failed { call, part, why, .. } = report;
        self.tell_core(call, Event::RecordingFailed { part, why });
    }

    /// A page says yes or no.
    pub(super) fn page_consents(&mut self, call: CallId, side: Side, place: Place, seq: u64, yes: bool) {
        let Some(now) = self.exchange.call(call).filter(|call| !call.is_over()) else {
            return self.refuse_page(call, side, place, seq, wire::call_ended());
        };
        let why = match (now.terms().recording, can_record(self.recorder.as_ref())) {
            (None, _) => "calls of this plan are not recorded",
            (Some(_), false) if yes => "this server keeps no recordings at present",
            (Some(_), _) if yes && !now.hears_yes(side, self.clock.now()) => {
                return self.refuse_page(
                    call,
                    side,
                    place,
                    seq,
                    wire::refused(Code::RateLimited, "this was said too often in this call", None),
                );
            }
            (Some(_), _) => return self.tell_core(call, Event::Consents { side, yes }),
        };
        self.refuse_page(call, side, place, seq, wire::refused(Code::CallState, why, None));
    }

    /// The sound of a recording. Looked up and opened on another thread.
    pub(super) fn download(&self, caller: Caller, id: String, reply: Reply<Download>) {
        let (store, recorder, now) = (self.store.clone(), self.recorder.clone(), self.clock.now());
        tokio::task::spawn_blocking(move || {
            let sound = open(&store, recorder.as_ref(), caller, &id, now);
            drop(reply.send(sound)); // Who went away needs no answer.
        });
    }
}

fn can_record(recorder: Option<&Recorder>) -> bool {
    recorder.is_some_and(Recorder::can_record)
}

fn open(store: &Store, recorder: Option<&Recorder>, caller: Caller, id: &str, now: Moment) -> Result<Download, Refused> {
    let failed = |error: StoreError| wire::of_store_error(&error);
    let vendor = match caller {
        Caller::ApiKey(hash) => store.vendor_by_key(&hash),
        Caller::Session(hash) => store.vendor_by_session(&hash, now),
    };
    let vendor =
        vendor.map_err(failed)?.ok_or_else(|| wire::refused(Code::Unauthorized, "this API key or session is not known here", None))?;
    let row = match id.parse() {
        Ok(id) => store.recording(vendor.id, id).map_err(failed)?,
        Err(_) => None,
    };
    let row = row.ok_or_else(|| wire::not_found("recording"))?;
    let recorder =
        recorder.ok_or_else(|| wire::refused(Code::RecordingKey, "this server has no key for recordings; set recording.key", None))?;
    let wav = recorder.read(&row).map_err(|why| of_read(&row, &why))?;
    Ok(Download { length: wav.length(), name: format!("{}.wav", row.id), sound: Box::new(wav) })
}

fn of_read(row: &Recording, why: &ReadError) -> Refused {
    match why {
        ReadError::Open => wire::refused(Code::CallState, "this recording is still being made; come back when it has ended", None),
        ReadError::Deleted => wire::refused(Code::RecordingDeleted, "this recording is deleted", None),
        ReadError::OtherKey { .. } => wire::refused(Code::RecordingKey, why.to_string(), None),
        ReadError::Changed | ReadError::File(_) => {
            tracing::error!(call.id = %row.call, "the recording {} cannot be read: {why}", row.id);
            wire::refused(Code::RecordingDamaged, "the file of this recording is missing or was changed; why is in the server's log", None)
        }
    }
}

impl Search<'_> {
    /// The recordings of a call.
    pub(super) fn recordings(&self, call: &str) -> Result<Found, Refused> {
        let failed = |error: StoreError| wire::of_store_error(&error);
        let call: CallId = call.parse().map_err(|_| wire::not_found("call"))?;
        let rows = self.store.recordings(self.vendor.id, call).map_err(failed)?.ok_or_else(|| wire::not_found("call"))?;
        Ok(Found::Answer(json!({ "items": rows.iter().map(shown).collect::<Vec<_>>(), "next_cursor": null })))
    }

    /// Deletes a recording: destroys its key, removes its file, looks, and shows what came of it. Done twice it is done once.
    pub(super) fn delete_recording(&self, id: &str) -> Result<Found, Refused> {
        let failed = |error: StoreError| wire::of_store_error(&error);
        let find = |id| self.store.recording(self.vendor.id, id).map_err(failed)?.ok_or_else(|| wire::not_found("recording"));
        let id: RecordingId = id.parse().map_err(|_| wire::not_found("recording"))?;
        let row: Recording = find(id)?;
        if row.deleting_at.is_none() {
            let by = Deleter::Vendor(self.vendor.id, self.actor);
            // Whoever could not open it can still delete it: that needs no key. What was stopped and is not being written never will be.
            let is_left = !self.recorder.is_some_and(|recorder| recorder.is_writing(id));
            let delete = Write::Recording(RecordingWrite::Delete { id, by, at: self.now, is_left });
            match self.store.commit(Transaction { idempotency: None, writes: vec![delete] }).map_err(failed)? {
                Outcome::Committed | Outcome::Replayed { .. } => {}
                Outcome::Refused(refusal) => return Err(wire::of_store(&refusal)),
            }
        }
        let row = find(id)?;
        if let Some(recorder) = self.recorder.filter(|_| row.deleted_at.is_none()) {
            recorder.delete(&row, self.now).map_err(failed)?;
        }
        Ok(Found::Answer(shown(&find(id)?)))
    }

    /// How long recordings of a plan's calls are kept, if they may be made.
    pub(super) fn recording_terms(&self, days: Option<i64>) -> Result<Option<RecordingTerms>, Refused> {
        if days.is_some() && !can_record(self.recorder) {
            let detail = "this server keeps no recordings: its settings have no recording.key; leave `recording_days` out";
            return Err(wire::refused(Code::InvalidRequest, detail, Some("recording_days")));
        }
        Ok(days.map(|days| RecordingTerms { keep: Span::from_s(days * DAY_S) }))
    }
}

/// What a new call may be recorded by: as its plan has it, where there is a key.
pub(super) fn terms_now(plan: Option<RecordingTerms>, recorder: Option<&Recorder>) -> Option<RecordingTerms> {
    plan.filter(|_| can_record(recorder))
}

/// A recording as the vendor sees it.
fn shown(row: &Recording) -> Value {
    let state = match row {
        Recording { deleted_at: Some(_), .. } => "deleted",
        Recording { deleting_at: Some(_), .. } => "deleting",
        Recording { ended: None, .. } => "recording",
        Recording { samples: None, .. } => "closing",
        Recording { .. } => "kept",
    };
    let time = |at: Option<Moment>| at.map(|at| at.to_string());
    json!({
        "id": row.id.to_string(),
        "call_id": row.call.to_string(),
        "party": row.side.name(),
        "part": row.part,
        "state": state,
        "started_at": row.started_at.to_string(),
        "ended_at": time(row.ended.as_ref().map(|(at, _)| *at)),
        "end_reason": row.ended.as_ref().map(|(_, why)| why.as_str()),
        "length_ms": row.samples.map(|samples| samples * 1000 / u64::from(RATE)),
        "bytes": row.samples.map(|samples| samples * 2 + WAV_HEAD),
        "delete_at": row.delete_at.to_string(),
        "deleted_by": row.deleted_by,
        "deleted_at": time(row.deleted_at),
        "fault": row.fault,
    })
}

/// A call's recording as both parties see it; none where the plan allows none.
pub(super) fn view(view: &View<'_>) -> Option<RecordingView> {
    let keep = view.terms.recording?.keep;
    let [client, companion] = view.recording.consents;
    Some(RecordingView {
        client,
        companion,
        running: view.recording.running.is_some(),
        keep_days: u32::try_from(keep.whole_s() / DAY_S).unwrap_or(u32::MAX),
        stopped: view.recording.stopped.map(|why| why.name().to_owned()),
    })
}
