-- Every statement that the store runs, by name. Those that run for each batch or each delivery have
-- positional parameters: each named parameter costs another switch of threads. A multi-row statement
-- is written with one row, (?, ?). `run_for_rows` repeats it for as many rows as are bound, and for
-- some more, which are NULL and left out by the statement.

-- name: checkpoint
SELECT position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity,
    unheard_from_ns, unheard_until_ns, drops, sealed, passed
FROM cursors WHERE engine = :engine;

-- name: recent_events
SELECT number, entries FROM recent_events WHERE engine = :engine ORDER BY number;

-- name: save_checkpoint
INSERT OR REPLACE INTO cursors
    (engine, position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity,
    unheard_from_ns, unheard_until_ns, drops, sealed, passed)
VALUES
    (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: save_recent_events
INSERT OR REPLACE INTO recent_events (engine, number, entries)
SELECT * FROM (VALUES (?, ?, ?)) WHERE column1 IS NOT NULL;

-- name: delete_recent_events
DELETE FROM recent_events WHERE engine = ? AND number < ?;

-- name: containers
SELECT state, started_ns, died_ns, inferred_ns, requested_ns, signal_ns, oom_ns,
    oom_inferred_ns, signal
FROM containers WHERE engine = :engine;

-- name: save_containers
INSERT OR REPLACE INTO containers
    (state, engine, id, started_ns, died_ns, inferred_ns, requested_ns, signal_ns, oom_ns,
    oom_inferred_ns, signal)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL;

-- name: save_times_of_one_container
-- For one row this takes less than half of the time of the statement for many.
UPDATE containers SET
    started_ns = ?, died_ns = ?, inferred_ns = ?, requested_ns = ?, signal_ns = ?,
    oom_ns = ?, oom_inferred_ns = ?, signal = ?
WHERE engine = ? AND id = ?;

-- name: save_container_times
UPDATE containers SET
    started_ns = changed.column3, died_ns = changed.column4, inferred_ns = changed.column5,
    requested_ns = changed.column6, signal_ns = changed.column7,
    oom_ns = changed.column8, oom_inferred_ns = changed.column9, signal = changed.column10
FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)) AS changed
WHERE engine = changed.column1 AND id = changed.column2;

-- name: delete_containers
-- The ids are passed as a JSON array.
DELETE FROM containers WHERE engine = ? AND id IN (SELECT value FROM json_each(?));

-- name: seen
SELECT number, seen_ns, keys FROM seen WHERE engine = :engine ORDER BY number;

-- name: save_seen
INSERT OR REPLACE INTO seen (engine, number, seen_ns, keys)
SELECT * FROM (VALUES (?, ?, ?, ?)) WHERE column1 IS NOT NULL;

-- name: delete_seen
DELETE FROM seen WHERE engine = ? AND number < ?;

-- name: hosts
SELECT host, heard_ns, lost_ns FROM hosts WHERE engine = :engine ORDER BY host;

-- name: save_hosts
INSERT OR REPLACE INTO hosts (engine, host, heard_ns, lost_ns)
SELECT * FROM (VALUES (?, ?, ?, ?)) WHERE column1 IS NOT NULL;

-- name: delete_hosts
-- The names are passed as a JSON array.
DELETE FROM hosts WHERE engine = ? AND host IN (SELECT value FROM json_each(?));

-- name: incident_rows
SELECT kind, key, content FROM incident_rows ORDER BY seq;

-- name: save_incident_rows
INSERT INTO incident_rows (kind, key, content)
SELECT * FROM (VALUES (?, ?, ?)) WHERE column1 IS NOT NULL
ON CONFLICT (kind, key) DO UPDATE SET content = excluded.content;

-- name: delete_incident_rows
-- Not passed as JSON: SQLite ends a text at the first NUL in it.
DELETE FROM incident_rows WHERE (kind, key) IN (VALUES (?, ?));

-- name: waiting_messages
-- The ids are passed as a JSON array.
SELECT destination, message_id FROM deliveries
WHERE message_id IN (SELECT value FROM json_each(:ids));

-- name: dead_messages
SELECT destination, id, reason FROM dead_letters
WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY seq;

-- name: occupied_chains
-- The chains in which a delivery waits already, as one text, because each row that is read costs
-- another switch of threads.
SELECT group_concat(column1)
FROM (VALUES (?))
WHERE EXISTS (SELECT 1 FROM deliveries WHERE deliveries.chain = column1);

-- name: add_deliveries
INSERT INTO deliveries (destination, chain, notification, created_ns, hold_ns, due_ns)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL;

-- name: add_messages
-- The same for notifications that report incidents. A statement for both would take a tenth longer
-- for all others.
INSERT INTO deliveries
    (destination, chain, notification, created_ns, hold_ns, due_ns, message_id)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL;

-- name: add_long_deliveries
-- The same for deliveries of a long notification, which is stored by itself: theirs is empty.
INSERT INTO deliveries
    (destination, chain, notification, created_ns, hold_ns, due_ns, message_id, long_seq, long_bytes)
SELECT * FROM (VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)) WHERE column1 IS NOT NULL;

-- name: add_long_notification
INSERT INTO long_notifications (notification) VALUES (:notification);

-- name: replace_heartbeat
-- Deletes the older heartbeats, which the new one replaces.
DELETE FROM deliveries WHERE chain = :chain;

-- name: end_hold
-- Ends the hold of the deliveries that are still held; their numbers are passed as a JSON array. One
-- that waits for another keeps waiting.
UPDATE deliveries SET hold_ns = 0, due_ns = min(due_ns, :now_ns)
WHERE seq IN (SELECT value FROM json_each(:seqs)) AND hold_ns > :now_ns
RETURNING seq, destination;

-- name: replace_notification
-- The numbers are passed as a JSON array.
UPDATE deliveries SET notification = :notification, long_seq = :long_seq, long_bytes = :long_bytes
WHERE seq IN (SELECT value FROM json_each(:seqs));

-- name: fetch_due
-- The deliveries that are due, except those in memory, whose numbers are passed as a JSON array; how
-- many would be due without the limit in bytes; and when the next one will be due. All are in one row,
-- the deliveries as a JSON array, because each row that is read costs another switch of threads. A
-- corrupt number or notification makes the array invalid JSON, so that decoding it fails. The sizes are
-- added up first, so that only notifications that are returned are read. Long ones are left out, and
-- read one by one: building the array copies it at each step.
WITH due AS MATERIALIZED (
    SELECT due_ns, seq, length(notification) + long_bytes AS size
    FROM deliveries
    WHERE destination = :destination AND due_ns <= :now_ns
        AND seq NOT IN (SELECT value FROM json_each(:exclude))
    ORDER BY due_ns, seq
    LIMIT :max_count
),
fitting AS (
    SELECT seq, sum(size) OVER (ORDER BY due_ns, seq ROWS UNBOUNDED PRECEDING) - size AS before
    FROM due
)
SELECT
    CAST('[' || coalesce(group_concat(
        '[' || quote(due_ns) || ',' || quote(seq) || ',' || quote(created_ns) || ','
        || quote(attempts) || ',' || quote(chain) || ','
        || EXISTS (
            SELECT 1 FROM deliveries AS next
            WHERE next.chain = deliveries.chain AND next.seq > deliveries.seq
        ) || ',' || coalesce(length(notification) + long_bytes, 'null') || ','
        || CASE WHEN length(notification) + long_bytes > :long THEN 'null'
            ELSE coalesce(CAST(notification AS TEXT), 'null') END || ']'
    ), '') || ']' AS BLOB),
    (SELECT count(*) FROM due),
    (SELECT min(due_ns) FROM deliveries WHERE destination = :destination AND due_ns > :now_ns)
FROM deliveries
WHERE seq IN (SELECT seq FROM fitting WHERE before = 0 OR before < :max_bytes);

-- name: schedule_retry
UPDATE deliveries SET attempts = attempts + :is_attempt,
    due_ns = :due_ns, reason = :reason, answer = :answer
WHERE seq = :seq;

-- name: insert_dead_letter
INSERT INTO dead_letters
    (destination, id, route, notification, created_ns, died_ns, attempts, reason, answer,
    long_seq, long_bytes)
SELECT destination, :id, :route, notification, created_ns, :now_ns, :attempts, :reason, :answer,
    long_seq, long_bytes
FROM deliveries WHERE seq = :seq;

-- name: add_dead_letter
-- One that was never a delivery.
INSERT INTO dead_letters
    (destination, id, route, notification, created_ns, died_ns, attempts, reason, answer,
    long_seq, long_bytes)
VALUES
    (:destination, :id, :route, :notification, :now_ns, :now_ns, 0, :reason, :answer,
    :long_seq, :long_bytes);

-- name: prune_unreadable
-- Keeps the newest. The reason is written out, so that the index of these is used.
DELETE FROM dead_letters WHERE reason = 'unreadable' AND seq <= (
    SELECT seq FROM dead_letters WHERE reason = 'unreadable'
    ORDER BY seq DESC LIMIT 1 OFFSET :max_count
);

-- name: select_to_give_up
-- The oldest deliveries to a destination, due or not, that were created up to a time; null means
-- any. Those in flight, whose numbers are passed as a JSON array, and their successors are left out.
-- The sum of the sizes is limited, except that one is always returned; no notification is read.
SELECT seq, attempts, answer, message_id
FROM (
    SELECT *, sum(size) OVER (ORDER BY seq) - size AS size_before
    FROM (
        SELECT seq, chain, created_ns, attempts, answer, message_id,
            length(notification) + long_bytes AS size
        FROM deliveries WHERE destination = :destination ORDER BY seq LIMIT :limit
    )
    WHERE (:before_ns IS NULL OR created_ns <= :before_ns) AND chain NOT IN (
        SELECT chain FROM deliveries WHERE seq IN (SELECT value FROM json_each(:exclude))
    )
)
WHERE size_before < :max_bytes ORDER BY seq;

-- name: notification
SELECT coalesce(long.notification, deliveries.notification)
FROM deliveries LEFT JOIN long_notifications AS long ON long.seq = long_seq
WHERE deliveries.seq = :seq;

-- name: retry_now
-- Only deliveries that wait for another attempt, none that wait for one before them.
UPDATE deliveries SET due_ns = :now_ns
WHERE destination = :destination AND due_ns > :now_ns AND attempts > 0;

-- name: pause
INSERT INTO pauses (destination, until_ns) VALUES (:destination, :until_ns)
ON CONFLICT (destination) DO UPDATE SET until_ns = max(until_ns, excluded.until_ns);

-- name: pauses
SELECT destination, until_ns FROM pauses WHERE until_ns > :now_ns;

-- name: end_pauses
-- Pauses that are over, and those longer than any can be, because the clock was wrong.
DELETE FROM pauses WHERE until_ns <= :now_ns OR until_ns > :now_ns + :max_wait_ns;

-- name: begin_outage
INSERT OR IGNORE INTO episodes (destination, since_ns) VALUES (:destination, :now_ns);

-- name: end_outage
DELETE FROM episodes WHERE destination = :destination;

-- name: outages
SELECT destination, since_ns FROM episodes;

-- name: end_pause
DELETE FROM pauses WHERE destination = :destination;

-- name: release_next
-- The successors of settled deliveries, whose numbers are passed as a JSON array, become due. A
-- successor may be among the settled ones itself; then it is deleted right after this.
UPDATE deliveries SET due_ns = max(?, hold_ns)
WHERE due_ns IS NULL AND seq IN (
    SELECT (SELECT min(next.seq) FROM deliveries AS next
            WHERE next.chain = done.chain AND next.seq > done.seq)
    FROM deliveries AS done
    WHERE done.seq IN (SELECT value FROM json_each(?))
);

-- name: delete_deliveries
-- The numbers are passed as a JSON array.
DELETE FROM deliveries WHERE seq IN (SELECT value FROM json_each(?));

-- name: waiting
-- The oldest deliveries. The sum of the sizes is limited, except that one is always returned.
WITH narrow AS (
    SELECT seq, length(notification) + long_bytes AS size
    FROM deliveries
    WHERE :destination IS NULL OR destination = :destination
    ORDER BY seq
    LIMIT :limit
)
SELECT deliveries.seq, destination, coalesce(long.notification, deliveries.notification),
    created_ns, attempts, due_ns, reason, answer
FROM deliveries LEFT JOIN long_notifications AS long ON long.seq = long_seq
WHERE deliveries.seq IN (
    SELECT seq FROM (SELECT seq, sum(size) OVER (ORDER BY seq) - size AS size_before FROM narrow)
    WHERE size_before < :max_bytes
)
ORDER BY deliveries.seq;

-- name: selected_dead_letters
-- The selected dead letters between two numbers, to be put between SELECT with its columns and what
-- follows. A parameter that is null matches all; ids (numbers and notification ids) and destinations
-- are passed as JSON arrays.
FROM dead_letters
WHERE (:destination IS NULL OR destination = :destination)
    AND (:route IS NULL OR route = :route)
    AND (:since_ns IS NULL OR died_ns >= :since_ns)
    AND (:ids IS NULL OR seq IN (SELECT value FROM json_each(:ids))
        OR id IN (SELECT value FROM json_each(:ids)))
    AND (:destinations IS NULL OR destination IN (SELECT value FROM json_each(:destinations)))
    AND (NOT :about_incidents OR long_seq IS NOT NULL OR instr(notification, '"update":{') > 0)
    AND seq > :above AND seq < :below

-- name: dead_letter
SELECT destination, coalesce(long.notification, dead_letters.notification), created_ns, died_ns,
    attempts, reason, answer, long_seq
FROM dead_letters LEFT JOIN long_notifications AS long ON long.seq = long_seq
WHERE dead_letters.seq = ?;

-- name: newest_dead_letter
SELECT coalesce(max(seq), 0) FROM dead_letters;

-- name: delete_dead_letter
DELETE FROM dead_letters WHERE seq = :seq;

-- name: prune_old_dead_letters
DELETE FROM dead_letters WHERE seq IN (
    SELECT seq FROM dead_letters WHERE died_ns < :before_ns ORDER BY seq LIMIT :limit
);

-- name: prune_surplus_dead_letters
DELETE FROM dead_letters WHERE seq IN (
    SELECT seq FROM dead_letters
    WHERE seq <= (SELECT seq FROM dead_letters ORDER BY seq DESC LIMIT 1 OFFSET :max_count)
    ORDER BY seq LIMIT :limit
);

-- name: backlog
-- Counts in the index alone; older deliveries have lower numbers.
SELECT waiting.destination, waiting.count, oldest.created_ns
FROM (
    SELECT destination, count(*) AS count, min(seq) AS seq FROM deliveries GROUP BY destination
) AS waiting
JOIN deliveries AS oldest ON oldest.seq = waiting.seq;

-- name: evict_oldest
-- At most so many deliveries, and no more than are needed to free so many bytes. A long notification
-- is freed with the last delivery that refers to it.
DELETE FROM deliveries WHERE seq IN (
    SELECT seq
    FROM (
        SELECT seq, sum(size) OVER (ORDER BY seq) - size AS size_before
        FROM (
            SELECT seq, length(notification) + CASE
                WHEN EXISTS (
                    SELECT 1 FROM deliveries AS next
                    WHERE next.long_seq = deliveries.long_seq AND next.seq > deliveries.seq
                ) THEN 0 ELSE long_bytes END AS size
            FROM deliveries ORDER BY seq LIMIT :limit
        )
    )
    WHERE size_before < :max_bytes
)
RETURNING seq, destination, chain, message_id;

-- name: release_head
-- The first delivery of a chain becomes due if it waited for another that no longer exists.
UPDATE deliveries SET due_ns = max(:now_ns, hold_ns)
WHERE due_ns IS NULL AND seq = (
    SELECT min(seq) FROM deliveries WHERE chain = :chain
);

-- name: release_heads
-- The same for all chains.
UPDATE deliveries SET due_ns = max(:now_ns, hold_ns)
WHERE due_ns IS NULL
    AND seq IN (SELECT min(seq) FROM deliveries GROUP BY chain);

-- name: correct_times
-- A creation time in the future, or an impossibly long wait, comes from a clock that was wrong.
UPDATE deliveries SET
    created_ns = min(created_ns, :now_ns),
    hold_ns = CASE WHEN hold_ns > :now_ns + :max_hold_ns THEN :now_ns ELSE hold_ns END,
    due_ns = CASE WHEN due_ns > :now_ns + :max_wait_ns THEN :now_ns ELSE due_ns END
WHERE created_ns > :now_ns OR hold_ns > :now_ns + :max_hold_ns OR due_ns > :now_ns + :max_wait_ns;

-- name: delete_deliveries_without_notification
-- Those that refer to a long notification that is lost.
DELETE FROM deliveries
WHERE notification = x'' AND NOT EXISTS (SELECT 1 FROM long_notifications WHERE seq = long_seq);

-- name: delete_dead_letters_without_notification
DELETE FROM dead_letters
WHERE notification = x'' AND NOT EXISTS (SELECT 1 FROM long_notifications WHERE seq = long_seq);

-- name: delete_unused_notifications
DELETE FROM long_notifications
WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE long_seq = long_notifications.seq)
    AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE long_seq = long_notifications.seq);

-- name: add_loss
INSERT INTO losses (file, carried, reason) VALUES (:file, :carried, :reason);

-- name: undeclared_losses
SELECT seq, file, carried, reason FROM losses ORDER BY seq;

-- name: declare_loss
DELETE FROM losses WHERE seq = :seq;

-- name: add_to_counter
INSERT INTO counters (name, value) VALUES (:name, max(0, :change))
ON CONFLICT (name) DO UPDATE SET value = max(0, value + :change);

-- name: measure
-- The used pages as the current transaction sees them, the bytes of one page, and the number of
-- evicted deliveries that no event has declared yet.
SELECT
    page_count - freelist_count,
    page_size,
    (SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'undeclared_shed')
FROM pragma_page_count, pragma_freelist_count, pragma_page_size;
