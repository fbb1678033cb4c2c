-- lull's database: starts of the server, and what its heartbeats prove of calls that are not over.

-- Each start of a server, in order. alive_at is its last sign of life: the only column of this table that changes.
CREATE TABLE boot (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    started_at INTEGER NOT NULL,
    alive_at   INTEGER NOT NULL,
    CHECK (alive_at >= started_at)
) STRICT;

-- One row a call, overwritten: what the media plane saw last of a live or paused call. It moves no money; after a crash the
-- charge ends here. wall_at and mono_ms are what the clocks said. A call that is settled has none.
CREATE TABLE heartbeat (
    call         TEXT NOT NULL PRIMARY KEY REFERENCES call,
    boot         INTEGER NOT NULL REFERENCES boot,
    wall_at      INTEGER NOT NULL,
    mono_ms      INTEGER NOT NULL,
    proved_until INTEGER NOT NULL,
    billable_ms  INTEGER NOT NULL CHECK (billable_ms >= 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER boot_keeps BEFORE UPDATE ON boot
    WHEN NEW.seq <> OLD.seq OR NEW.id <> OLD.id OR NEW.started_at <> OLD.started_at OR NEW.alive_at < OLD.alive_at
    BEGIN SELECT RAISE(ABORT, 'a start of the server never changes'); END;
CREATE TRIGGER boot_is_last BEFORE UPDATE ON boot WHEN OLD.seq <> (SELECT max(seq) FROM boot)
    BEGIN SELECT RAISE(ABORT, 'an earlier start shows no sign of life'); END;
CREATE TRIGGER boot_delete BEFORE DELETE ON boot BEGIN SELECT RAISE(ABORT, 'a start of the server never goes away'); END;
CREATE TRIGGER heartbeat_of_this_boot BEFORE INSERT ON heartbeat WHEN NEW.boot <> (SELECT max(seq) FROM boot)
    BEGIN SELECT RAISE(ABORT, 'a heartbeat of an earlier start'); END;
CREATE TRIGGER heartbeat_of_that_boot BEFORE UPDATE ON heartbeat WHEN NEW.boot <> (SELECT max(seq) FROM boot)
    BEGIN SELECT RAISE(ABORT, 'a heartbeat of an earlier start'); END;
CREATE TRIGGER heartbeat_of_the_open BEFORE INSERT ON heartbeat
    WHEN (SELECT settled_at FROM call WHERE id = NEW.call) IS NOT NULL
    BEGIN SELECT RAISE(ABORT, 'a heartbeat of a final call'); END;
