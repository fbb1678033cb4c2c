-- Events of money that goes back: of a settled call (call, seq and transfer), and out of a wallet (transfer alone).
--
-- The table of events is written anew, and with it that of deliveries, which refers to it: SQLite cannot change a table's checks.

-- Such transfers of before there were events of them.
CREATE TABLE before_money_events (
    transfer TEXT NOT NULL PRIMARY KEY REFERENCES transfer
) STRICT, WITHOUT ROWID;

INSERT INTO before_money_events SELECT id FROM transfer WHERE kind IN ('wallet_refund', 'call_refund', 'adjustment');

-- An event tells of a fact, or of a transfer, or only tries an endpoint out.
CREATE TABLE event_10 (
    number   INTEGER PRIMARY KEY,
    id       TEXT NOT NULL UNIQUE,
    vendor   TEXT NOT NULL REFERENCES vendor,
    call     TEXT,
    fact     INTEGER,
    seq      INTEGER CHECK (seq > 0),
    transfer TEXT UNIQUE REFERENCES transfer,
    word     TEXT NOT NULL,
    at       INTEGER NOT NULL,
    body     TEXT NOT NULL,
    UNIQUE (call, seq),
    UNIQUE (call, fact),
    FOREIGN KEY (call, fact) REFERENCES journal (call, seq),
    CHECK ((call IS NULL) = (seq IS NULL) AND (fact IS NULL OR call IS NOT NULL)),
    CHECK ((fact IS NOT NULL) + (transfer IS NOT NULL) + (word = 'webhook.test') = 1),
    CHECK ((call IS NULL) = (word IN ('webhook.test', 'client.refunded'))),
    CHECK ((transfer IS NOT NULL) = (word IN ('call.refunded', 'call.adjusted', 'client.refunded')))
) STRICT;

CREATE TABLE delivery_10 (
    endpoint TEXT NOT NULL REFERENCES webhook_endpoint,
    event    INTEGER NOT NULL REFERENCES event_10,
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

INSERT INTO event_10 SELECT number, id, vendor, call, fact, seq, NULL, word, at, body FROM event;
INSERT INTO delivery_10 SELECT * FROM delivery;
DROP TABLE delivery;
DROP TABLE event;
ALTER TABLE event_10 RENAME TO event;
ALTER TABLE delivery_10 RENAME TO delivery;

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
CREATE TRIGGER before_money_events_insert BEFORE INSERT ON before_money_events
    BEGIN SELECT RAISE(ABORT, 'these events began once'); END;
CREATE TRIGGER before_money_events_update BEFORE UPDATE ON before_money_events
    BEGIN SELECT RAISE(ABORT, 'these events began once'); END;
CREATE TRIGGER before_money_events_delete BEFORE DELETE ON before_money_events
    BEGIN SELECT RAISE(ABORT, 'these events began once'); END;

-- What the wall clock said last, or what it must pass before new calls are taken: the only other column that changes, and upwards.
ALTER TABLE boot ADD COLUMN wall_at INTEGER;

-- A vendor's policy has a hash, as other rows that stand alone: see store/row_hash.rs. It is made anew when it changes.
ALTER TABLE settlement_policy ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
