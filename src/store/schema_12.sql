-- Events of recordings that are deleted (recording alone: of no moment of their call).
--
-- The table of events is written anew, and with it that of deliveries, which refers to it: SQLite cannot change a table's checks.

-- Those deleted before there were events of it.
CREATE TABLE before_recording_events (
    recording TEXT NOT NULL PRIMARY KEY REFERENCES recording
) STRICT, WITHOUT ROWID;

INSERT INTO before_recording_events SELECT id FROM recording WHERE deleted_at IS NOT NULL;

-- An event tells of a fact, of a transfer or of a recording that is gone, or only tries an endpoint out.
CREATE TABLE event_12 (
    number    INTEGER PRIMARY KEY,
    id        TEXT NOT NULL UNIQUE,
    vendor    TEXT NOT NULL REFERENCES vendor,
    call      TEXT,
    fact      INTEGER,
    seq       INTEGER CHECK (seq > 0),
    transfer  TEXT UNIQUE REFERENCES transfer,
    recording TEXT UNIQUE REFERENCES recording,
    word      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    body      TEXT NOT NULL,
    UNIQUE (call, seq),
    UNIQUE (call, fact),
    FOREIGN KEY (call, fact) REFERENCES journal (call, seq),
    CHECK ((call IS NULL) = (seq IS NULL) AND (fact IS NULL OR call IS NOT NULL)),
    CHECK ((fact IS NOT NULL) + (transfer IS NOT NULL) + (recording IS NOT NULL) + (word = 'webhook.test') = 1),
    CHECK ((call IS NULL) = (word IN ('webhook.test', 'client.refunded', 'recording.deleted'))),
    CHECK ((transfer IS NOT NULL) = (word IN ('call.refunded', 'call.adjusted', 'client.refunded'))),
    CHECK ((recording IS NOT NULL) = (word = 'recording.deleted'))
) STRICT;

CREATE TABLE delivery_12 (
    endpoint TEXT NOT NULL REFERENCES webhook_endpoint,
    event    INTEGER NOT NULL REFERENCES event_12,
    lane     TEXT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    next_at  INTEGER,
    first_at INTEGER,
    last_at  INTEGER,
    status   INTEGER,
    error    TEXT,
    PRIMARY KEY (endpoint, event),
    CHECK (state = 'pending' OR next_at IS NULL)
) STRICT, WITHOUT ROWID;

INSERT INTO event_12 SELECT number, id, vendor, call, fact, seq, transfer, NULL, word, at, body FROM event;
INSERT INTO delivery_12 SELECT * FROM delivery;
DROP TABLE delivery;
DROP TABLE event;
ALTER TABLE event_12 RENAME TO event;
ALTER TABLE delivery_12 RENAME TO delivery;

CREATE INDEX event_by_vendor ON event (vendor, number);
CREATE INDEX event_by_time ON event (vendor, at);
CREATE INDEX delivery_due ON delivery (endpoint, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX delivery_lane ON delivery (endpoint, lane, event) WHERE state = 'pending';

CREATE TRIGGER event_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'an event never changes'); END;
CREATE TRIGGER event_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'an event never goes away'); END;
CREATE TRIGGER event_of_final_call BEFORE INSERT ON event
    WHEN NEW.call IS NOT NULL AND NEW.transfer IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM transfer WHERE id = NEW.transfer AND call = NEW.call AND vendor = NEW.vendor AND bearer IS NOT NULL)
    BEGIN SELECT RAISE(ABORT, 'an event of another call''s money'); END;
CREATE TRIGGER event_of_gone_recording BEFORE INSERT ON event
    WHEN NEW.recording IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM recording JOIN call ON call.id = recording.call
                    WHERE recording.id = NEW.recording AND call.vendor = NEW.vendor AND deleted_at IS NOT NULL)
    BEGIN SELECT RAISE(ABORT, 'an event of a recording that is not gone'); END;
CREATE TRIGGER before_recording_events_insert BEFORE INSERT ON before_recording_events
    BEGIN SELECT RAISE(ABORT, 'these events began once'); END;
CREATE TRIGGER before_recording_events_update BEFORE UPDATE ON before_recording_events
    BEGIN SELECT RAISE(ABORT, 'these events began once'); END;
CREATE TRIGGER before_recording_events_delete BEFORE DELETE ON before_recording_events
    BEGIN SELECT RAISE(ABORT, 'these events began once'); END;
