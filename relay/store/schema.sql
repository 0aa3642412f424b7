-- The schema, one section for each version. A store is migrated by running the sections that it
-- lacks, in order, in one transaction. The statements of a released section never change.

-- version: 1

-- How far each engine's stream has been ingested. Times are the engine's, in nanoseconds.
CREATE TABLE cursors (
    engine      TEXT PRIMARY KEY,
    position_ns INTEGER NOT NULL,
    floor_ns    INTEGER NOT NULL,
    recent      BLOB NOT NULL           -- 24 bytes an event: its id, then its time
) WITHOUT ROWID;

-- Deliveries to be sent. A settled one is deleted.
CREATE TABLE deliveries (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were committed
    destination  TEXT NOT NULL,
    subject      TEXT NOT NULL,         -- deliveries about one subject stay in order
    notification BLOB NOT NULL,         -- JSON
    created_ns   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_ns       INTEGER,               -- null: waits until the one before it is settled
    reason       TEXT                   -- why the last attempt failed
);
CREATE INDEX deliveries_due ON deliveries (destination, due_ns, seq) WHERE due_ns IS NOT NULL;
CREATE INDEX deliveries_order ON deliveries (destination, subject, seq);

-- Deliveries that were given up.
CREATE TABLE dead_letters (
    seq          INTEGER PRIMARY KEY,
    destination  TEXT NOT NULL,
    notification BLOB NOT NULL,
    created_ns   INTEGER NOT NULL,
    died_ns      INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    reason       TEXT NOT NULL
);

-- version: 2

ALTER TABLE cursors ADD COLUMN began_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cursors ADD COLUMN anchored INTEGER NOT NULL DEFAULT 1;
ALTER TABLE cursors ADD COLUMN assumed_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cursors ADD COLUMN identity TEXT;
-- In this interval a request to a container may have been missed; both are null, or neither.
ALTER TABLE cursors ADD COLUMN unheard_from_ns INTEGER;
ALTER TABLE cursors ADD COLUMN unheard_until_ns INTEGER;
-- Records of the stream that were dropped and not declared by an event yet, as JSON.
ALTER TABLE cursors ADD COLUMN drops TEXT NOT NULL DEFAULT '[]';
UPDATE cursors
SET began_ns = floor_ns, assumed_ns = position_ns, anchored = length(recent) > 0;

-- The state of each engine's containers.
CREATE TABLE containers (
    engine TEXT NOT NULL,
    id     TEXT NOT NULL,
    state  BLOB NOT NULL,               -- JSON
    PRIMARY KEY (engine, id)
) WITHOUT ROWID;

-- No attempt before this time: what the notification is to include is being fetched.
ALTER TABLE deliveries ADD COLUMN hold_ns INTEGER NOT NULL DEFAULT 0;

-- Corrupt stores that were set aside, until an event has declared them.
CREATE TABLE losses (
    seq     INTEGER PRIMARY KEY,
    file    TEXT NOT NULL,
    carried INTEGER NOT NULL,
    reason  TEXT NOT NULL
);

-- undeclared_shed: how many deliveries a full store evicted that no event has declared yet.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

-- version: 3

-- The destination's last answer, as JSON.
ALTER TABLE deliveries ADD COLUMN answer TEXT;

-- As before, but a number is never used twice, and dead letters can be found by id and route.
ALTER TABLE dead_letters RENAME TO dead_letters_before;
CREATE TABLE dead_letters (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    destination  TEXT NOT NULL,
    id           TEXT,                  -- the notification's
    route        TEXT,
    notification BLOB NOT NULL,
    created_ns   INTEGER NOT NULL,
    died_ns      INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    reason       TEXT NOT NULL,
    answer       TEXT                   -- as above
);
INSERT INTO dead_letters
    (seq, destination, id, route, notification, created_ns, died_ns, attempts, reason)
SELECT seq, destination,
    CASE WHEN json_valid(text) THEN json_extract(text, '$.id') END,
    CASE WHEN json_valid(text) THEN json_extract(text, '$.route') END,
    notification, created_ns, died_ns, attempts, reason
FROM (SELECT *, CAST(notification AS TEXT) AS text FROM dead_letters_before);
DROP TABLE dead_letters_before;

-- Failing destinations, and since when. Each outage has been reported once.
CREATE TABLE episodes (
    destination TEXT PRIMARY KEY,
    since_ns    INTEGER NOT NULL
) WITHOUT ROWID;

-- Paused destinations, and until when.
CREATE TABLE pauses (
    destination TEXT PRIMARY KEY,
    until_ns    INTEGER NOT NULL
) WITHOUT ROWID;

-- version: 4

-- The events that a cursor remembers, 32 to a row. The last ones, which do not fill a row yet, are
-- with the cursor, whose row is written with every commit.
CREATE TABLE recent_events (
    engine  TEXT NOT NULL,
    number  INTEGER NOT NULL,           -- in the order in which they were full
    entries BLOB NOT NULL,              -- as in cursors.recent
    PRIMARY KEY (engine, number)
);
ALTER TABLE cursors ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;  -- how many rows were ever full
-- How many of the last events were processed while others waited for an answer.
ALTER TABLE cursors ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;
UPDATE cursors SET sealed = length(recent) / 768;
INSERT INTO recent_events (engine, number, entries)
WITH RECURSIVE numbers (number) AS (
    SELECT 0 UNION ALL
    SELECT number + 1 FROM numbers WHERE number < (SELECT max(sealed) FROM cursors)
)
SELECT engine, number, substr(recent, 768 * number + 1, 768)
FROM cursors JOIN numbers ON number < sealed;
UPDATE cursors SET recent = coalesce(substr(recent, 768 * sealed + 1), x'');  -- null: no bytes

-- A container's times and last signal, which change with its events; `state` keeps what does not.
ALTER TABLE containers ADD COLUMN started_ns INTEGER;
ALTER TABLE containers ADD COLUMN died_ns INTEGER;
ALTER TABLE containers ADD COLUMN inferred_ns INTEGER;
ALTER TABLE containers ADD COLUMN requested_ns INTEGER;
ALTER TABLE containers ADD COLUMN signal_ns INTEGER;
ALTER TABLE containers ADD COLUMN oom_ns INTEGER;
ALTER TABLE containers ADD COLUMN oom_inferred_ns INTEGER;
ALTER TABLE containers ADD COLUMN signal INTEGER;
UPDATE containers SET
    started_ns = json_extract(CAST(state AS TEXT), '$.started_ns'),
    died_ns = json_extract(CAST(state AS TEXT), '$.died_ns'),
    inferred_ns = json_extract(CAST(state AS TEXT), '$.inferred_ns'),
    requested_ns = json_extract(CAST(state AS TEXT), '$.asked_ns'),
    signal_ns = json_extract(CAST(state AS TEXT), '$.killed_ns'),
    oom_ns = json_extract(CAST(state AS TEXT), '$.oom_ns'),
    oom_inferred_ns = json_extract(CAST(state AS TEXT), '$.oom_inferred_ns')
WHERE json_valid(CAST(state AS TEXT));

-- The chain of all deliveries about one subject to one destination, as a number instead of two names:
-- the index of names took several times what SQLite keeps in memory, and each delivery changed one of
-- its pages at random.
DROP INDEX deliveries_order;
DROP INDEX deliveries_due;
ALTER TABLE deliveries ADD COLUMN chain INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET chain = chain_of(destination, subject);
ALTER TABLE deliveries DROP COLUMN subject;
CREATE INDEX deliveries_chain ON deliveries (chain, seq);
CREATE INDEX deliveries_due ON deliveries (destination, due_ns, seq);

-- version: 5

-- What is known of incidents. Of the content the store knows no more than that it is JSON.
CREATE TABLE incident_rows (
    seq     INTEGER PRIMARY KEY,
    kind    TEXT NOT NULL,
    key     TEXT NOT NULL,
    content BLOB NOT NULL,              -- JSON
    UNIQUE (kind, key)
);

-- The notification's id if it reports incidents, so that the delivery can be found by it; else null.
ALTER TABLE deliveries ADD COLUMN message_id TEXT;
CREATE INDEX deliveries_message ON deliveries (message_id) WHERE message_id IS NOT NULL;

-- version: 6

-- Long notifications, each stored once for all the deliveries and dead letters that refer to it. These
-- rows have no notification of their own, so that changing or moving them does not copy it. What an
-- older version stored in the rows stays there.
CREATE TABLE long_notifications (
    seq          INTEGER PRIMARY KEY,
    notification BLOB NOT NULL          -- JSON
);
ALTER TABLE deliveries ADD COLUMN long_seq INTEGER;  -- null: the notification is in this row
ALTER TABLE deliveries ADD COLUMN long_bytes INTEGER NOT NULL DEFAULT 0;  -- its length
ALTER TABLE dead_letters ADD COLUMN long_seq INTEGER;
ALTER TABLE dead_letters ADD COLUMN long_bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_long ON deliveries (long_seq) WHERE long_seq IS NOT NULL;
CREATE INDEX dead_letters_long ON dead_letters (long_seq) WHERE long_seq IS NOT NULL;

-- With its last reference a long notification is deleted.
CREATE TRIGGER delivery_deleted AFTER DELETE ON deliveries WHEN old.long_seq IS NOT NULL
BEGIN
    DELETE FROM long_notifications
    WHERE seq = old.long_seq
        AND NOT EXISTS (SELECT 1 FROM deliveries WHERE long_seq = old.long_seq)
        AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE long_seq = old.long_seq);
END;
CREATE TRIGGER delivery_replaced AFTER UPDATE OF long_seq ON deliveries
WHEN old.long_seq IS NOT NULL
BEGIN
    DELETE FROM long_notifications
    WHERE seq = old.long_seq
        AND NOT EXISTS (SELECT 1 FROM deliveries WHERE long_seq = old.long_seq)
        AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE long_seq = old.long_seq);
END;
CREATE TRIGGER dead_letter_deleted AFTER DELETE ON dead_letters WHEN old.long_seq IS NOT NULL
BEGIN
    DELETE FROM long_notifications
    WHERE seq = old.long_seq
        AND NOT EXISTS (SELECT 1 FROM deliveries WHERE long_seq = old.long_seq)
        AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE long_seq = old.long_seq);
END;

-- version: 7

-- Events of other hosts that were committed not long ago, by engine: a row for each commit.
CREATE TABLE seen (
    engine  TEXT NOT NULL,
    number  INTEGER NOT NULL,           -- in the order of the commits
    seen_ns INTEGER NOT NULL,
    keys    BLOB NOT NULL,              -- 8 bytes an event
    PRIMARY KEY (engine, number)
);

-- The hosts that send heartbeats to an engine.
CREATE TABLE hosts (
    engine   TEXT NOT NULL,
    host     TEXT NOT NULL,
    heard_ns INTEGER NOT NULL,
    lost_ns  INTEGER,                   -- null: not lost
    PRIMARY KEY (engine, host)
) WITHOUT ROWID;

-- Messages of other hosts that are no events. They are pruned with each commit that brings some.
CREATE INDEX dead_letters_unreadable ON dead_letters (seq) WHERE reason = 'unreadable';
