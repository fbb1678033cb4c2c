-- Version 2: plans of every kind, and settlement policies. What was sold is JSON (store/sold_row.rs); price became what a
-- call sets aside.

ALTER TABLE plan RENAME TO plan_1;
DROP INDEX plan_by_vendor;

CREATE TABLE plan (
    id         TEXT NOT NULL PRIMARY KEY,
    vendor     TEXT NOT NULL REFERENCES vendor,
    name       TEXT NOT NULL,
    sold       TEXT NOT NULL,
    hold       INTEGER NOT NULL CHECK (hold > 0),
    currency   TEXT NOT NULL,
    grade      TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO plan
SELECT id, vendor, name,
       '{"kind":"block","block_s":' || (block_ms / 1000) || ',"price_minor":' || price || ',"rounding":"down"}',
       price, currency, grade, created_at
FROM plan_1;

DROP TABLE plan_1;
CREATE INDEX plan_by_vendor ON plan (vendor, id);

-- How a vendor's calls are settled, where she gives more than the defaults: JSON (store/policy_row.rs). Each call keeps in its
-- terms what it was made on.
CREATE TABLE settlement_policy (
    vendor     TEXT NOT NULL PRIMARY KEY REFERENCES vendor,
    policy     TEXT NOT NULL CHECK (json_valid(policy)),
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
