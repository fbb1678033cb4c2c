-- lull's database, version 1.
--
-- Names of things are texts with a prefix (call_…), times are milliseconds since the Unix epoch, money is in minor
-- units. What happened (journal, transfer, posting, record, idempotency) is only ever added to; triggers at the end
-- of this file keep that. What is derived from it (account.posted, account.held, call.seq, call.head) is kept
-- beside it for speed, changed in the same transaction, and compared by `lull audit`.

-- Secrets and marks of this database.
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Who sells calls, what, and who listens ---------------------------------------------------------------------------

CREATE TABLE vendor (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    key_hash   BLOB NOT NULL UNIQUE CHECK (length(key_hash) = 32),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One-time links to the vendor's page, and the sessions they become.
CREATE TABLE login_code (
    code_hash  BLOB NOT NULL PRIMARY KEY CHECK (length(code_hash) = 32),
    vendor     TEXT NOT NULL REFERENCES vendor,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    session_hash BLOB NOT NULL PRIMARY KEY CHECK (length(session_hash) = 32),
    vendor       TEXT NOT NULL REFERENCES vendor,
    expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE plan (
    id         TEXT NOT NULL PRIMARY KEY,
    vendor     TEXT NOT NULL REFERENCES vendor,
    name       TEXT NOT NULL,
    block_ms   INTEGER NOT NULL CHECK (block_ms > 0),
    price      INTEGER NOT NULL CHECK (price > 0),
    currency   TEXT NOT NULL,
    grade      TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX plan_by_vendor ON plan (vendor, id);

CREATE TABLE companion (
    id         TEXT NOT NULL PRIMARY KEY,
    vendor     TEXT NOT NULL REFERENCES vendor,
    name       TEXT NOT NULL,
    grade      TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX companion_by_vendor ON companion (vendor, id);

-- Calls -------------------------------------------------------------------------------------------------------------

-- What lists need of the first fact, and where the journal ends: its last number and hash.
CREATE TABLE call (
    id         TEXT NOT NULL PRIMARY KEY,
    vendor     TEXT NOT NULL REFERENCES vendor,
    client     TEXT NOT NULL,
    companion  TEXT NOT NULL REFERENCES companion,
    medium     TEXT NOT NULL CHECK (medium IN ('audio', 'video')),
    created_at INTEGER NOT NULL,
    settled_at INTEGER,
    seq        INTEGER NOT NULL,
    head       BLOB NOT NULL CHECK (length(head) = 32)
) STRICT, WITHOUT ROWID;

CREATE INDEX call_by_vendor ON call (vendor, id);
CREATE INDEX call_unfinished ON call (id) WHERE settled_at IS NULL;

-- hash = SHA-256 of the hash before it (32 zero bytes at first) and this row: see store/journal.rs.
CREATE TABLE journal (
    call    TEXT NOT NULL REFERENCES call,
    seq     INTEGER NOT NULL CHECK (seq > 0),
    at      INTEGER NOT NULL,
    version INTEGER NOT NULL,
    fact    TEXT NOT NULL,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (call, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE record (
    call TEXT NOT NULL PRIMARY KEY REFERENCES call,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Money -------------------------------------------------------------------------------------------------------------

-- posted = sum of the account's postings; held = sum of its pending holds. Only clients have holds, and may not spend
-- what they have not. cash_in is what a vendor took in for her clients: it mirrors their wallets and is negative.
CREATE TABLE account (
    id       INTEGER PRIMARY KEY,
    vendor   TEXT NOT NULL REFERENCES vendor,
    kind     TEXT NOT NULL CHECK (kind IN ('cash_in', 'client', 'companion', 'vendor')),
    owner    TEXT NOT NULL,
    currency TEXT NOT NULL CHECK (length(currency) = 3),
    posted   INTEGER NOT NULL DEFAULT 0,
    held     INTEGER NOT NULL DEFAULT 0 CHECK (held >= 0),
    UNIQUE (vendor, kind, owner, currency),
    CHECK (CASE kind WHEN 'client' THEN posted >= held ELSE held = 0 END)
) STRICT;

-- hash = SHA-256 of the row and its postings: see store/ledger.rs.
CREATE TABLE transfer (
    id        TEXT NOT NULL PRIMARY KEY,
    kind      TEXT NOT NULL CHECK (kind IN ('credit', 'capture')),
    vendor    TEXT NOT NULL REFERENCES vendor,
    call      TEXT UNIQUE REFERENCES call,
    order_ref TEXT,
    at        INTEGER NOT NULL,
    hash      BLOB NOT NULL CHECK (length(hash) = 32),
    CHECK (CASE kind WHEN 'credit' THEN order_ref IS NOT NULL AND call IS NULL ELSE call IS NOT NULL END)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX transfer_by_order ON transfer (vendor, order_ref) WHERE order_ref IS NOT NULL;

CREATE TABLE posting (
    transfer TEXT NOT NULL REFERENCES transfer,
    account  INTEGER NOT NULL REFERENCES account,
    amount   INTEGER NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (transfer, account)
) STRICT, WITHOUT ROWID;

CREATE INDEX posting_by_account ON posting (account, amount);

-- Pending until resolved_at is set, which happens once. The call may be made later in the same transaction.
CREATE TABLE hold (
    id          TEXT NOT NULL PRIMARY KEY,
    call        TEXT NOT NULL REFERENCES call DEFERRABLE INITIALLY DEFERRED,
    account     INTEGER NOT NULL REFERENCES account,
    amount      INTEGER NOT NULL CHECK (amount > 0),
    captured    INTEGER NOT NULL DEFAULT 0 CHECK (captured >= 0),
    released    INTEGER NOT NULL DEFAULT 0 CHECK (released >= 0),
    placed_at   INTEGER NOT NULL,
    resolved_at INTEGER,
    CHECK (CASE WHEN resolved_at IS NULL THEN captured = 0 AND released = 0 ELSE captured + released = amount END)
) STRICT, WITHOUT ROWID;

CREATE INDEX hold_by_call ON hold (call);
CREATE INDEX hold_pending ON hold (account, amount) WHERE resolved_at IS NULL;

-- Commands from outside: one key, one effect, one reply, never pruned.
CREATE TABLE idempotency (
    vendor       TEXT NOT NULL REFERENCES vendor,
    key          TEXT NOT NULL,
    request_hash BLOB NOT NULL CHECK (length(request_hash) = 32),
    status       INTEGER NOT NULL,
    body         TEXT NOT NULL,
    PRIMARY KEY (vendor, key)
) STRICT, WITHOUT ROWID;

-- What happened stays --------------------------------------------------------------------------------------------------

CREATE TRIGGER journal_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal never changes'); END;
CREATE TRIGGER journal_delete BEFORE DELETE ON journal BEGIN SELECT RAISE(ABORT, 'the journal never changes'); END;
CREATE TRIGGER record_update BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'a record never changes'); END;
CREATE TRIGGER record_delete BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'a record never changes'); END;
CREATE TRIGGER transfer_update BEFORE UPDATE ON transfer BEGIN SELECT RAISE(ABORT, 'a transfer never changes'); END;
CREATE TRIGGER transfer_delete BEFORE DELETE ON transfer BEGIN SELECT RAISE(ABORT, 'a transfer never changes'); END;
CREATE TRIGGER posting_update BEFORE UPDATE ON posting BEGIN SELECT RAISE(ABORT, 'a posting never changes'); END;
CREATE TRIGGER posting_delete BEFORE DELETE ON posting BEGIN SELECT RAISE(ABORT, 'a posting never changes'); END;
CREATE TRIGGER idempotency_update BEFORE UPDATE ON idempotency BEGIN SELECT RAISE(ABORT, 'a reply never changes'); END;
CREATE TRIGGER idempotency_delete BEFORE DELETE ON idempotency BEGIN SELECT RAISE(ABORT, 'a reply never changes'); END;
CREATE TRIGGER hold_resolves_once BEFORE UPDATE ON hold WHEN OLD.resolved_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a hold resolves once'); END;
CREATE TRIGGER hold_delete BEFORE DELETE ON hold BEGIN SELECT RAISE(ABORT, 'a hold never goes away'); END;
CREATE TRIGGER call_settles_once BEFORE UPDATE ON call WHEN OLD.settled_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a final call never changes'); END;
CREATE TRIGGER call_delete BEFORE DELETE ON call BEGIN SELECT RAISE(ABORT, 'a call never goes away'); END;
