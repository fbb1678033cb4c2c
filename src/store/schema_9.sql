-- Recordings: one row a side and part of a call, from the moment both parties had agreed.
--
-- The sound lies in a file beside the database; what opens it, its data key wrapped by the key of the configuration, lies here
-- and nowhere else, so that emptying wrapped_key destroys the sound for good. delete_at is the retention date. samples (16,000 a
-- second) is known once the file is whole. fault is what keeps a file from being found or removed.

CREATE TABLE recording (
    id          TEXT NOT NULL PRIMARY KEY,
    call        TEXT NOT NULL REFERENCES call,
    part        INTEGER NOT NULL CHECK (part > 0),
    side        TEXT NOT NULL CHECK (side IN ('client', 'companion')),
    started_at  INTEGER NOT NULL,
    delete_at   INTEGER NOT NULL CHECK (delete_at > started_at),
    key_id      TEXT NOT NULL,
    wrapped_key BLOB CHECK (length(wrapped_key) = 60),
    ended_at    INTEGER CHECK (ended_at >= started_at),
    why         TEXT,
    samples     INTEGER CHECK (samples >= 0),
    deleting_at INTEGER,
    deleted_by  TEXT CHECK (deleted_by IN ('retention', 'api_key', 'page')),
    fault       TEXT,
    deleted_at  INTEGER CHECK (deleted_at >= deleting_at),
    row_hash    BLOB CHECK (length(row_hash) = 32),
    UNIQUE (call, part, side),
    CHECK ((ended_at IS NULL) = (why IS NULL)),
    CHECK ((wrapped_key IS NULL) = (deleting_at IS NOT NULL)),
    CHECK ((deleting_at IS NULL) = (deleted_by IS NULL)),
    CHECK (deleting_at IS NULL OR (ended_at IS NOT NULL AND samples IS NOT NULL)),
    CHECK (deleted_at IS NULL OR (deleting_at IS NOT NULL AND fault IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX recording_due ON recording (delete_at) WHERE deleting_at IS NULL;
CREATE INDEX recording_open ON recording (id) WHERE samples IS NULL;
CREATE INDEX recording_deleting ON recording (id) WHERE deleting_at IS NOT NULL AND deleted_at IS NULL;

CREATE TRIGGER recording_keeps BEFORE UPDATE ON recording
    WHEN NEW.id <> OLD.id OR NEW.call <> OLD.call OR NEW.part <> OLD.part OR NEW.side <> OLD.side OR NEW.started_at <> OLD.started_at
      OR NEW.delete_at <> OLD.delete_at OR NEW.key_id <> OLD.key_id OR NEW.ended_at IS NOT coalesce(OLD.ended_at, NEW.ended_at)
      OR NEW.why IS NOT coalesce(OLD.why, NEW.why) OR NEW.samples IS NOT coalesce(OLD.samples, NEW.samples)
      OR NEW.deleting_at IS NOT coalesce(OLD.deleting_at, NEW.deleting_at)
      OR (NEW.wrapped_key IS NOT NULL AND NEW.wrapped_key IS NOT OLD.wrapped_key)
    BEGIN SELECT RAISE(ABORT, 'what is known of a recording never changes'); END;
-- Each change empties the hash, which is then made anew.
CREATE TRIGGER recording_deleted_once BEFORE UPDATE ON recording WHEN OLD.deleted_at IS NOT NULL AND OLD.row_hash IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a deleted recording never changes'); END;
CREATE TRIGGER recording_delete BEFORE DELETE ON recording BEGIN SELECT RAISE(ABORT, 'the row of a recording stays'); END;

-- How long a plan's calls may be kept as sound once both parties agree; none allows no recording.
ALTER TABLE plan ADD COLUMN recording_days INTEGER CHECK (recording_days BETWEEN 1 AND 3650);
