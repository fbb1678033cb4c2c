-- Hashes of rows that had none (see store/row_hash.rs): starts of the server and what its heartbeats prove, vendors and
-- companions, keys that sign, secrets. Rows from before get theirs as the layout is brought up.

ALTER TABLE boot        ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE heartbeat   ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE vendor      ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE companion   ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE signing_key ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
ALTER TABLE meta        ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);

-- What is final takes a hash where it has none, and no other change.
DROP TRIGGER boot_is_last;
CREATE TRIGGER boot_is_last BEFORE UPDATE ON boot WHEN OLD.seq <> (SELECT max(seq) FROM boot) AND OLD.row_hash IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'an earlier start shows no sign of life'); END;
DROP TRIGGER heartbeat_of_that_boot;
CREATE TRIGGER heartbeat_of_that_boot BEFORE UPDATE ON heartbeat
    WHEN NEW.boot <> (SELECT max(seq) FROM boot) AND OLD.row_hash IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a heartbeat of an earlier start'); END;
-- Ending a key empties its hash, which is then made anew.
DROP TRIGGER signing_key_ends_once;
CREATE TRIGGER signing_key_ends_once BEFORE UPDATE ON signing_key WHEN OLD.until_at IS NOT NULL AND OLD.row_hash IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a key that ended never changes'); END;
