-- Version 4: keys that sign records, their signatures, and hashes of rows that had none.

-- The one without an end signs. A key that is replaced keeps its public half, so that what it signed can be checked for
-- ever; its secret goes. id is the thumbprint of the public half (RFC 7638).
CREATE TABLE signing_key (
    id       TEXT NOT NULL PRIMARY KEY,
    public   BLOB NOT NULL UNIQUE CHECK (length(public) = 32),
    secret   BLOB CHECK (length(secret) = 32),
    from_at  INTEGER NOT NULL,
    until_at INTEGER,
    CHECK ((secret IS NULL) = (until_at IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX signing_key_in_use ON signing_key ((until_at IS NULL)) WHERE until_at IS NULL;

-- Ed25519 over the bytes of record.body.
CREATE TABLE signature (
    call  TEXT NOT NULL PRIMARY KEY REFERENCES record,
    key   TEXT NOT NULL REFERENCES signing_key,
    value BLOB NOT NULL CHECK (length(value) = 64)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER signature_update BEFORE UPDATE ON signature BEGIN SELECT RAISE(ABORT, 'a signature never changes'); END;
CREATE TRIGGER signature_delete BEFORE DELETE ON signature BEGIN SELECT RAISE(ABORT, 'a signature never changes'); END;
CREATE TRIGGER signing_key_ends_once BEFORE UPDATE ON signing_key WHEN OLD.until_at IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a key that ended never changes'); END;
CREATE TRIGGER signing_key_delete BEFORE DELETE ON signing_key BEGIN SELECT RAISE(ABORT, 'a key never goes away'); END;

-- SHA-256 of the row: see store/row_hash.rs. Rows from before get theirs when the first key is made.
ALTER TABLE plan        ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE hold        ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE account     ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE idempotency ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);

DROP TRIGGER idempotency_update;
CREATE TRIGGER idempotency_update BEFORE UPDATE ON idempotency WHEN OLD.row_hash IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a reply never changes'); END;
-- Resolving a hold empties its hash, which is then made anew.
DROP TRIGGER hold_resolves_once;
CREATE TRIGGER hold_resolves_once BEFORE UPDATE ON hold WHEN OLD.resolved_at IS NOT NULL AND OLD.row_hash IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a hold resolves once'); END;

-- The month's records of a vendor.
CREATE INDEX call_by_settling ON call (vendor, settled_at, id) WHERE settled_at IS NOT NULL;
