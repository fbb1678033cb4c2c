-- The outbox: what vendors' programs are told (store/outbox.rs). An event is made of a fact in the fact's transaction,
-- never changes and never goes away; `number` is the order of all. Endpoints and what was sent to them are a vendor's own
-- business and may be changed and deleted.

-- Facts up to `seq` of these calls were written before there was an outbox.
CREATE TABLE before_outbox (
    call TEXT NOT NULL PRIMARY KEY REFERENCES call,
    seq  INTEGER NOT NULL CHECK (seq > 0)
) STRICT, WITHOUT ROWID;

INSERT INTO before_outbox SELECT id, seq FROM call WHERE seq > 0;

-- Only the event that tries an endpoint out has no call.
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    id     TEXT NOT NULL UNIQUE,
    vendor TEXT NOT NULL REFERENCES vendor,
    call   TEXT,
    fact   INTEGER,
    seq    INTEGER CHECK (seq > 0),
    word   TEXT NOT NULL,
    at     INTEGER NOT NULL,
    body   TEXT NOT NULL,
    UNIQUE (call, seq),
    UNIQUE (call, fact),
    FOREIGN KEY (call, fact) REFERENCES journal (call, seq),
    CHECK ((call IS NULL) = (fact IS NULL) AND (call IS NULL) = (seq IS NULL) AND (call IS NULL) = (word = 'webhook.test'))
) STRICT;

CREATE INDEX event_by_vendor ON event (vendor, number);

-- A deleted endpoint goes when nothing refers to it any more.
-- `words` are the events wanted, between spaces; null is all of them. The old secret signs too until its time is over.
CREATE TABLE webhook_endpoint (
    id               TEXT NOT NULL PRIMARY KEY,
    vendor           TEXT NOT NULL REFERENCES vendor,
    url              TEXT NOT NULL,
    description      TEXT,
    words            TEXT,
    secret           BLOB NOT NULL CHECK (length(secret) = 32),
    old_secret       BLOB CHECK (length(old_secret) = 32),
    old_secret_until INTEGER,
    created_at       INTEGER NOT NULL,
    disabled_at      INTEGER,
    disabled_why     TEXT CHECK (disabled_why IN ('exhausted', 'gone')),
    last_success_at  INTEGER,
    failing_since    INTEGER,
    last_error       TEXT,
    last_error_at    INTEGER,
    deleted_at       INTEGER,
    CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
    CHECK ((disabled_at IS NULL) = (disabled_why IS NULL)),
    CHECK ((last_error IS NULL) = (last_error_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX webhook_endpoint_by_vendor ON webhook_endpoint (vendor, id);

-- One event on its way to one endpoint. Those of one lane (a call) go one after the other: only the first pending one of a
-- lane has a `next_at`.
CREATE TABLE delivery (
    endpoint TEXT NOT NULL REFERENCES webhook_endpoint,
    event    INTEGER NOT NULL REFERENCES event,
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

CREATE INDEX delivery_due ON delivery (endpoint, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX delivery_lane ON delivery (endpoint, lane, event) WHERE state = 'pending';

CREATE TRIGGER event_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'an event never changes'); END;
CREATE TRIGGER event_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'an event never goes away'); END;
CREATE TRIGGER before_outbox_insert BEFORE INSERT ON before_outbox
    BEGIN SELECT RAISE(ABORT, 'the outbox began once'); END;
CREATE TRIGGER before_outbox_update BEFORE UPDATE ON before_outbox
    BEGIN SELECT RAISE(ABORT, 'the outbox began once'); END;
CREATE TRIGGER before_outbox_delete BEFORE DELETE ON before_outbox
    BEGIN SELECT RAISE(ABORT, 'the outbox began once'); END;
