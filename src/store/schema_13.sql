-- Replaced secrets of endpoints before the one in old_secret: each signs until its own time is over, however often the secret
-- is replaced meanwhile. The newest has the highest number.
CREATE TABLE webhook_older_secret (
    endpoint TEXT NOT NULL REFERENCES webhook_endpoint,
    number   INTEGER NOT NULL CHECK (number > 0),
    secret   BLOB NOT NULL CHECK (length(secret) = 32),
    until_at INTEGER NOT NULL,
    row_hash BLOB CHECK (length(row_hash) = 32),
    PRIMARY KEY (endpoint, number)
) STRICT, WITHOUT ROWID;

-- Where events go, and what signs them.
ALTER TABLE webhook_endpoint ADD COLUMN row_hash BLOB CHECK (length(row_hash) = 32);
