-- Money that goes back: out of a wallet, and of a settled call. A statement of each account that adds up line by line.
--
-- Both tables are written anew: SQLite cannot change a table's checks. First the child goes, so that no reference breaks.

-- bearer, reason, note and actor are for what goes back only: who bears it, the code of an adjustment, the words of whoever did
-- it, and by which way she came in. The hash covers them too: see store/ledger.rs.
CREATE TABLE transfer_6 (
    id        TEXT NOT NULL PRIMARY KEY,
    kind      TEXT NOT NULL CHECK (kind IN ('credit', 'capture', 'wallet_refund', 'call_refund', 'adjustment')),
    vendor    TEXT NOT NULL REFERENCES vendor,
    call      TEXT REFERENCES call,
    order_ref TEXT,
    at        INTEGER NOT NULL,
    hash      BLOB NOT NULL CHECK (length(hash) = 32),
    bearer    TEXT CHECK (bearer IN ('shares', 'vendor')),
    reason    TEXT CHECK (reason IN ('quality', 'not_delivered', 'wrong_grade', 'conduct', 'billing_error', 'goodwill', 'chargeback', 'correction', 'other')),
    note      TEXT,
    actor     TEXT CHECK (actor IN ('api_key', 'page')),
    CHECK ((order_ref IS NOT NULL) = (kind IN ('credit', 'wallet_refund'))),
    CHECK ((call IS NOT NULL) = (kind IN ('capture', 'call_refund', 'adjustment'))),
    CHECK ((bearer IS NOT NULL) = (kind IN ('call_refund', 'adjustment'))),
    CHECK ((reason IS NOT NULL) = (kind = 'adjustment')),
    CHECK (CASE kind WHEN 'credit' THEN note IS NULL WHEN 'capture' THEN note IS NULL WHEN 'wallet_refund' THEN TRUE ELSE note IS NOT NULL END),
    CHECK ((actor IS NOT NULL) = (kind IN ('wallet_refund', 'call_refund', 'adjustment')))
) STRICT, WITHOUT ROWID;

-- number counts an account's postings from 1 without a gap, in the order of their commits; balance is what she has after it.
CREATE TABLE posting_6 (
    transfer TEXT NOT NULL REFERENCES transfer_6,
    account  INTEGER NOT NULL REFERENCES account,
    amount   INTEGER NOT NULL CHECK (amount <> 0),
    number   INTEGER NOT NULL CHECK (number > 0),
    balance  INTEGER NOT NULL,
    PRIMARY KEY (transfer, account)
) STRICT, WITHOUT ROWID;

INSERT INTO transfer_6 (id, kind, vendor, call, order_ref, at, hash) SELECT id, kind, vendor, call, order_ref, at, hash FROM transfer;
INSERT INTO posting_6
    SELECT transfer, account, amount, row_number() OVER of_account, sum(amount) OVER of_account FROM posting
    WINDOW of_account AS (PARTITION BY account ORDER BY transfer ROWS UNBOUNDED PRECEDING);
DROP TABLE posting;
DROP TABLE transfer;
ALTER TABLE transfer_6 RENAME TO transfer;
ALTER TABLE posting_6 RENAME TO posting;

CREATE UNIQUE INDEX transfer_by_order ON transfer (vendor, kind, order_ref) WHERE order_ref IS NOT NULL;
CREATE UNIQUE INDEX transfer_capture ON transfer (call) WHERE kind = 'capture';
CREATE INDEX transfer_returns ON transfer (call) WHERE bearer IS NOT NULL;
CREATE UNIQUE INDEX posting_by_account ON posting (account, number);

-- What of a call's charge is back with the client, for calls of which any ever was: never more than was captured.
CREATE TABLE returned (
    call      TEXT NOT NULL PRIMARY KEY REFERENCES call,
    captured  INTEGER NOT NULL CHECK (captured > 0),
    by_shares INTEGER NOT NULL CHECK (by_shares >= 0),
    by_vendor INTEGER NOT NULL CHECK (by_vendor >= 0),
    CHECK (by_shares + by_vendor <= captured)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER transfer_update BEFORE UPDATE ON transfer BEGIN SELECT RAISE(ABORT, 'a transfer never changes'); END;
CREATE TRIGGER transfer_delete BEFORE DELETE ON transfer BEGIN SELECT RAISE(ABORT, 'a transfer never changes'); END;
CREATE TRIGGER posting_update BEFORE UPDATE ON posting BEGIN SELECT RAISE(ABORT, 'a posting never changes'); END;
CREATE TRIGGER posting_delete BEFORE DELETE ON posting BEGIN SELECT RAISE(ABORT, 'a posting never changes'); END;
CREATE TRIGGER transfer_of_final_call BEFORE INSERT ON transfer
    WHEN NEW.bearer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM call WHERE id = NEW.call AND vendor = NEW.vendor AND settled_at IS NOT NULL)
    BEGIN SELECT RAISE(ABORT, 'only of a settled call something goes back'); END;
CREATE TRIGGER returned_of_capture BEFORE INSERT ON returned
    WHEN NEW.captured IS NOT (SELECT -amount FROM transfer JOIN posting ON posting.transfer = transfer.id JOIN account ON account.id = posting.account
                              WHERE transfer.call = NEW.call AND transfer.kind = 'capture' AND account.kind = 'client')
    BEGIN SELECT RAISE(ABORT, 'what is returned was captured'); END;
CREATE TRIGGER returned_update BEFORE UPDATE ON returned WHEN NEW.call <> OLD.call OR NEW.captured <> OLD.captured
    BEGIN SELECT RAISE(ABORT, 'what was captured never changes'); END;
CREATE TRIGGER returned_delete BEFORE DELETE ON returned BEGIN SELECT RAISE(ABORT, 'what was returned stays'); END;
