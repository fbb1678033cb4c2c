//! Recordings in the store: rows beside their facts, whose they are, and what the audit makes of them.

use super::super::{Care, Deleter, NewRecording, Recording, RecordingWrite, WrappedKey};
use super::*;
use crate::call::{RecordingEnd, Side};
use crate::ids::RecordingId;
use serde_json::Value;

const KEEP: Span = Span::from_s(30 * 86_400);

/// Both agree, a part begins and ends; in two transactions with [`begin`], as a real one is not.
pub(super) fn facts(of_call: &Started) -> Transaction {
    let facts = [
        Fact::Consented { side: Side::Client, yes: true },
        Fact::Consented { side: Side::Companion, yes: true },
        Fact::RecordingStarted { part: 1 },
        Fact::RecordingStopped { part: 1, why: RecordingEnd::ClientStopped },
    ];
    let entries = facts.into_iter().zip(1..).map(|(fact, offset)| of_call.entry(offset, fact)).collect();
    of(vec![Write::Facts { call: of_call.call, entries }])
}

fn id(n: u128) -> RecordingId {
    RecordingId::new(Uuid::from_u128(0x7ec0 + n))
}

pub(super) fn begin(of_call: &Started) -> Transaction {
    let began = of_call.entry(3, Fact::RecordingStarted { part: 1 }).at;
    let row = |(n, side)| {
        let new = NewRecording {
            id: id(n),
            call: of_call.call,
            part: 1,
            side,
            started_at: began,
            delete_at: began + KEEP,
            key_id: "0123456789abcdef".to_owned(),
            wrapped_key: WrappedKey([7; 60]),
        };
        Write::Recording(RecordingWrite::Begin(Box::new(new)))
    };
    of([(1, Side::Client), (2, Side::Companion)].map(row).into_iter().chain([stop(of_call)]).collect())
}

fn stop(of_call: &Started) -> Write {
    let at = of_call.entry(4, Fact::RecordingStarted { part: 1 }).at;
    Write::Recording(RecordingWrite::Stop { call: of_call.call, part: 1, at, why: RecordingEnd::ClientStopped.name() })
}

fn delete(n: u128, by: Deleter) -> Write {
    Write::Recording(RecordingWrite::Delete { id: id(n), by, at: at(5000), is_left: false })
}

/// One is kept, the other gone.
pub(super) fn whole_and_one_deleted(shop: &Shop) {
    let close = |n| Write::Recording(RecordingWrite::Close { id: id(n), samples: 48_000 });
    let fault = RecordingWrite::Fault { id: id(1), fault: Some("the file is missing".to_owned()) };
    shop.commit(of(vec![close(1), close(2), delete(2, Deleter::Retention), Write::Recording(fault)]));
    shop.commit(of(vec![Write::Recording(RecordingWrite::Gone { id: id(2), at: at(5001) })]));
}

fn shown(shop: &Shop, n: u128) -> Recording {
    shop.store.recording(shop.vendor, id(n)).unwrap().unwrap()
}

#[test]
fn a_recording_is_its_vendors_and_goes_step_by_step() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 9000)]));
    let talk = shop.start_now("c", 2000);
    shop.commit(facts(&talk));
    let found = shop.store.audit(&record).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].to_string().contains("part 1 has 0 rows"), "{}", found[0]);
    shop.commit(begin(&talk));
    shop.assert_adds_up();

    let stranger = VendorId::new(shop.uuid());
    assert_eq!(shop.store.recordings(stranger, talk.call), Ok(None));
    assert_eq!(shop.store.recording(stranger, id(1)), Ok(None));
    let rows = shop.store.recordings(shop.vendor, talk.call).unwrap().unwrap();
    assert_eq!(rows.iter().map(|row| row.side).collect::<Vec<_>>(), [Side::Client, Side::Companion]);
    assert_eq!(rows[0].ended.as_ref().map(|(_, why)| why.as_str()), Some("client_stopped"));
    let care = |care, now| -> Vec<RecordingId> {
        let rows = shop.store.recordings_to_see_to(care, now, Page { after: None, limit: 10 }).unwrap();
        rows.into_iter().map(|row| row.id).collect()
    };
    let (one, two) = (id(1), id(2));
    assert_eq!((care(Care::Open, at(9)), care(Care::Kept, at(9))), (vec![one, two], vec![]));
    let refused = |write| shop.store.commit(of(vec![write])).unwrap();
    let by_vendor = Deleter::Vendor(shop.vendor, Actor::Page);
    assert_eq!(refused(delete(1, by_vendor)), Outcome::Refused(Refusal::RecordingOpen), "it is not whole");
    let date = rows[0].delete_at;
    assert_eq!(care(Care::Due, date), vec![], "what is open is not due");

    whole_and_one_deleted(&shop);
    assert_eq!(refused(delete(1, Deleter::Vendor(stranger, Actor::ApiKey))), Outcome::Refused(Refusal::RecordingOpen));
    assert_eq!((care(Care::Open, date), care(Care::Kept, date), care(Care::Due, date)), (vec![], vec![one], vec![one]));
    assert_eq!(care(Care::Due, date - Span::from_ms(1)), vec![]);
    let gone = shown(&shop, 2);
    assert_eq!((gone.wrapped_key, gone.deleted_by.as_deref(), gone.deleted_at), (None, Some("retention"), Some(at(5001))));
    shop.commit(of(vec![delete(1, by_vendor)]));
    assert_eq!((care(Care::Deleting, date), shown(&shop, 1).wrapped_key), (vec![one], None));
    // What comes too late does nothing.
    let late = RecordingWrite::Fault { id: two, fault: Some("late".to_owned()) };
    shop.commit(of(vec![Write::Recording(late), stop(&talk), Write::Recording(RecordingWrite::Close { id: two, samples: 1 })]));
    assert_eq!(shown(&shop, 2), gone);
    assert_eq!(shop.store.has_recording(two), Ok(false));
    assert_eq!(shop.store.has_recording(one), Ok(true));
    assert_eq!(shop.store.recording_keys(), Ok(vec![]));
    shop.assert_adds_up();
}

#[test]
fn what_is_known_of_a_recording_cannot_be_changed_by_accident() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 9000)]));
    let talk = shop.start_now("c", 2000);
    shop.commit(facts(&talk));
    shop.commit(begin(&talk));
    whole_and_one_deleted(&shop);
    shop.store.close();
    let connection = rusqlite::Connection::open(shop.path()).unwrap();
    for sql in [
        "DELETE FROM recording",
        "UPDATE recording SET side = 'companion' WHERE deleted_at IS NULL",
        "UPDATE recording SET started_at = started_at - 1",
        "UPDATE recording SET delete_at = delete_at + 1",
        "UPDATE recording SET samples = 1",
        "UPDATE recording SET why = 'call_ended'",
        "UPDATE recording SET wrapped_key = zeroblob(60)",
        "UPDATE recording SET deleted_at = NULL WHERE deleted_at IS NOT NULL",
        "UPDATE recording SET deleting_at = 1 WHERE deleting_at IS NULL",
    ] {
        assert!(connection.execute(sql, []).is_err(), "{sql}");
    }
}

/// A call with a recording that is kept and one that is gone.
fn with_one_gone() -> (Shop, Started) {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 9000)]));
    let talk = shop.start_now("c", 2000);
    shop.commit(facts(&talk));
    shop.commit(begin(&talk));
    whole_and_one_deleted(&shop);
    (shop, talk)
}

fn told(shop: &Shop) -> Vec<Value> {
    let events = shop.store.events(shop.vendor, Page { after: None, limit: 200 }).unwrap().unwrap();
    let bodies = events.iter().map(|event| serde_json::from_str::<Value>(&event.body).unwrap());
    bodies.filter(|body| body["type"] == "recording.deleted").collect()
}

#[test]
fn a_recording_that_is_gone_is_told_once() {
    let (shop, talk) = with_one_gone();
    let gone = |n| of(vec![Write::Recording(RecordingWrite::Gone { id: id(n), at: at(6000) })]);
    shop.commit(gone(2));
    let events = told(&shop);
    assert_eq!(events.len(), 1, "{events:?}");
    let data = &events[0]["data"];
    assert_eq!((&data["recording_id"], &data["call_id"]), (&json!(id(2).to_string()), &json!(talk.call.to_string())));
    assert_eq!([&data["party"], &data["deleted_by"], &data["client_ref"]], ["companion", "retention", "c"]);
    assert_eq!((&data["part"], &data["seq"], &events[0]["timestamp"]), (&json!(1), &Value::Null, &json!(at(5001).to_string())));
    // One that is only being deleted is not told of.
    shop.commit(gone(1));
    assert_eq!(told(&shop).len(), 1);
    shop.commit(of(vec![delete(1, Deleter::Vendor(shop.vendor, Actor::ApiKey))]));
    assert_eq!(told(&shop).len(), 1);
    shop.commit(gone(1));
    assert_eq!(told(&shop)[1]["data"]["deleted_by"], "api_key");
    // The events of the call go on without a gap.
    shop.commit(shop.settle(&Started { seq: talk.seq + 4, ..talk }, &[0]));
    shop.assert_adds_up();
}

#[test]
fn the_audit_finds_a_deletion_that_is_not_told_or_told_wrongly() {
    for sql in [
        "DELETE FROM event WHERE word = 'recording.deleted'",
        "UPDATE event SET body = replace(body, 'retention', 'api_key') WHERE word = 'recording.deleted'",
        "UPDATE event SET id = replace(id, 'evt_', 'evt_0') WHERE word = 'recording.deleted'",
        "UPDATE event SET recording = (SELECT id FROM recording WHERE deleted_at IS NULL) WHERE word = 'recording.deleted'",
    ] {
        let (shop, _) = with_one_gone();
        shop.store.close();
        let connection = rusqlite::Connection::open(shop.path()).unwrap();
        connection.execute_batch("DROP TRIGGER event_update; DROP TRIGGER event_delete; PRAGMA foreign_keys = OFF").unwrap();
        connection.execute_batch(sql).unwrap();
        let findings = Store::open(&shop.path(), Role::Auditor).unwrap().audit(&record).unwrap();
        assert!(findings.iter().any(|finding| finding.rule == "outbox"), "{sql}: {findings:?}");
    }
}

/// What was deleted before there were events of it is not told, and missed by nobody; what comes later is.
#[test]
fn recordings_deleted_before_have_no_event() {
    let (mut shop, _) = with_one_gone();
    shop.store.close();
    let connection = rusqlite::Connection::open(shop.path()).unwrap();
    // As the version before left it.
    connection.execute_batch(
        "PRAGMA foreign_keys = OFF; DROP TABLE before_recording_events; DROP TABLE webhook_older_secret; DROP TRIGGER event_delete; DROP TRIGGER event_of_gone_recording;
         DELETE FROM event WHERE recording NOT NULL; ALTER TABLE webhook_endpoint DROP COLUMN row_hash; PRAGMA user_version = 11",
    ).unwrap();
    drop(connection);
    shop.reopen();
    assert_eq!(told(&shop).len(), 0);
    shop.assert_adds_up();
    shop.commit(of(vec![delete(1, Deleter::Retention), Write::Recording(RecordingWrite::Gone { id: id(1), at: at(6000) })]));
    assert_eq!(told(&shop).len(), 1);
    shop.assert_adds_up();
}
