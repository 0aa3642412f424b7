-- Every statement that the store runs, by name. Those that run for each batch or each delivery have
-- their values by place: a value by name costs another change of threads. Where they are for rows,
-- the one that is written here, (?, ?), stands for many.

-- name: bookmark
SELECT position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity,
    unheard_from_ns, unheard_until_ns, drops
FROM cursors WHERE engine = :engine;

-- name: save_bookmark
INSERT OR REPLACE INTO cursors
    (engine, position_ns, floor_ns, recent, began_ns, anchored, assumed_ns, identity,
    unheard_from_ns, unheard_until_ns, drops)
VALUES
    (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: containers
SELECT state FROM containers WHERE engine = :engine;

-- name: save_containers
INSERT OR REPLACE INTO containers (engine, id, state) VALUES (?, ?, ?);

-- name: forget_containers
DELETE FROM containers WHERE (engine, id) IN (VALUES (?, ?));

-- name: occupied
-- Those of the places at which a delivery waits, as one text: each row that is read is another
-- change of threads.
WITH places (number, destination, subject) AS (VALUES (?, ?, ?))
SELECT group_concat(number)
FROM places
WHERE EXISTS (
    SELECT 1 FROM deliveries
    WHERE deliveries.destination = places.destination AND deliveries.subject = places.subject
);

-- name: add_deliveries
INSERT INTO deliveries (destination, subject, notification, created_ns, hold_ns, due_ns)
VALUES (?, ?, ?, ?, ?, ?);

-- name: supersede
DELETE FROM deliveries WHERE destination = :destination AND subject = :subject;

-- name: enrich
-- What it waited for is here in time. One that waits for another before it goes on waiting.
UPDATE deliveries SET notification = :notification, hold_ns = 0, due_ns = min(due_ns, :now_ns)
WHERE seq = :seq AND hold_ns > :now_ns
RETURNING seq, destination;

-- name: rewrite
UPDATE deliveries SET notification = :notification WHERE seq = :seq;

-- name: due
-- Besides those that are under way, whose numbers come as a JSON array; with when the first is due
-- that is not due yet. All in one row, as a JSON array: each row that is read is another change of
-- threads. What can be no number or no notification makes it none.
SELECT
    CAST('[' || coalesce(group_concat(
        '[' || quote(due_ns) || ',' || quote(seq) || ',' || quote(created_ns) || ','
        || quote(attempts) || ',' || coalesce(CAST(notification AS TEXT), 'null') || ']'
    ), '') || ']' AS BLOB),
    (SELECT min(due_ns) FROM deliveries WHERE destination = :destination AND due_ns > :now_ns)
FROM (
    SELECT due_ns, seq, created_ns, attempts, notification
    FROM deliveries
    WHERE destination = :destination AND due_ns <= :now_ns
        AND seq NOT IN (SELECT value FROM json_each(:besides))
    ORDER BY due_ns, seq
    LIMIT :most
);

-- name: try_again
UPDATE deliveries SET attempts = attempts + 1,
    due_ns = :due_ns, reason = :reason, answer = :answer
WHERE seq = :seq;

-- name: bury
INSERT INTO dead_letters
    (destination, id, route, notification, created_ns, died_ns, attempts, reason, answer)
SELECT destination, :id, :route, notification, created_ns, :now_ns, :attempts, :reason, :answer
FROM deliveries WHERE seq = :seq;

-- name: too_old
-- Those that were made before a time, whether they are due or not; older ones have lower numbers.
-- What stands behind one that is under way stays there.
SELECT seq, destination, notification, created_ns, attempts, answer
FROM (SELECT * FROM deliveries WHERE destination = :destination ORDER BY seq LIMIT :most)
WHERE created_ns <= :before_ns AND subject NOT IN (
    SELECT subject FROM deliveries WHERE seq IN (SELECT value FROM json_each(:besides))
);

-- name: of_destination
SELECT seq, destination, notification, created_ns, attempts, answer
FROM deliveries WHERE destination = :destination ORDER BY seq LIMIT :most;

-- name: hurry
-- What waits for another try, and nothing that waits for one before it.
UPDATE deliveries SET due_ns = :now_ns
WHERE destination = :destination AND due_ns > :now_ns AND attempts > 0;

-- name: pause
INSERT INTO pauses (destination, until_ns) VALUES (:destination, :until_ns)
ON CONFLICT (destination) DO UPDATE SET until_ns = max(until_ns, excluded.until_ns);

-- name: pauses
SELECT destination, until_ns FROM pauses WHERE until_ns > :now_ns;

-- name: end_pauses
-- Those that are over, and those that are longer than any can be: a clock was wrong.
DELETE FROM pauses WHERE until_ns <= :now_ns OR until_ns > :now_ns + :most_ns;

-- name: begin_episode
INSERT OR IGNORE INTO episodes (destination, since_ns) VALUES (:destination, :now_ns);

-- name: end_episode
DELETE FROM episodes WHERE destination = :destination;

-- name: episodes
SELECT destination, since_ns FROM episodes;

-- name: end_pause
DELETE FROM pauses WHERE destination = :destination;

-- name: promote_next
-- The successors of those whose numbers come as a JSON array become due, now that these are settled.
-- One that is among them itself may become due by it, which ends with it.
UPDATE deliveries SET due_ns = max(?, hold_ns)
WHERE due_ns IS NULL AND seq IN (
    SELECT (
        SELECT min(next.seq) FROM deliveries AS next
        WHERE next.destination = done.destination AND next.subject = done.subject
            AND next.seq > done.seq
    )
    FROM deliveries AS done
    WHERE done.seq IN (SELECT value FROM json_each(?))
);

-- name: remove
-- Those whose numbers come as a JSON array.
DELETE FROM deliveries WHERE seq IN (SELECT value FROM json_each(?));

-- name: waiting
SELECT seq, destination, notification, created_ns, attempts, due_ns, reason, answer
FROM deliveries
WHERE :destination IS NULL OR destination = :destination
ORDER BY seq
LIMIT :most;

-- name: letters
-- Those between two numbers; an order and a limit follow. What is not asked for is null; ids are
-- numbers and notifications' ids, and destinations those that may be meant, as JSON.
SELECT seq, destination, notification, created_ns, died_ns, attempts, reason, answer
FROM dead_letters
WHERE (:destination IS NULL OR destination = :destination)
    AND (:route IS NULL OR route = :route)
    AND (:since_ns IS NULL OR died_ns >= :since_ns)
    AND (:ids IS NULL OR seq IN (SELECT value FROM json_each(:ids))
        OR id IN (SELECT value FROM json_each(:ids)))
    AND (:destinations IS NULL OR destination IN (SELECT value FROM json_each(:destinations)))
    AND seq > :above AND seq < :below

-- name: newest_letter
SELECT coalesce(max(seq), 0) FROM dead_letters;

-- name: drop_letter
DELETE FROM dead_letters WHERE seq = :seq;

-- name: drop_old_letters
DELETE FROM dead_letters WHERE died_ns < :before_ns;

-- name: drop_surplus_letters
DELETE FROM dead_letters
WHERE seq <= (SELECT seq FROM dead_letters ORDER BY seq DESC LIMIT 1 OFFSET :most);

-- name: backlog
-- Counted in the index alone; older ones have lower numbers.
SELECT waiting.destination, waiting.count, oldest.created_ns
FROM (
    SELECT destination, count(*) AS count, min(seq) AS seq FROM deliveries GROUP BY destination
) AS waiting
JOIN deliveries AS oldest ON oldest.seq = waiting.seq;

-- name: drop_oldest
DELETE FROM deliveries WHERE seq IN (SELECT seq FROM deliveries ORDER BY seq LIMIT :most)
RETURNING seq, destination, subject;

-- name: drop_letters
DELETE FROM dead_letters WHERE seq IN (SELECT seq FROM dead_letters ORDER BY seq LIMIT :most);

-- name: promote_head
-- The first in an order becomes due, if it waited for another that is there no more.
UPDATE deliveries SET due_ns = max(:now_ns, hold_ns)
WHERE due_ns IS NULL AND seq = (
    SELECT min(seq) FROM deliveries WHERE destination = :destination AND subject = :subject
);

-- name: promote_heads
-- The same, in every order.
UPDATE deliveries SET due_ns = max(:now_ns, hold_ns)
WHERE due_ns IS NULL
    AND seq IN (SELECT min(seq) FROM deliveries GROUP BY destination, subject);

-- name: settle_clock
-- What was made later than now, or waits longer than anything may, was so by a clock that was wrong.
UPDATE deliveries SET
    created_ns = min(created_ns, :now_ns),
    hold_ns = CASE WHEN hold_ns > :now_ns + :held_ns THEN :now_ns ELSE hold_ns END,
    due_ns = CASE WHEN due_ns > :now_ns + :most_ns THEN :now_ns ELSE due_ns END
WHERE created_ns > :now_ns OR hold_ns > :now_ns + :held_ns OR due_ns > :now_ns + :most_ns;

-- name: add_loss
INSERT INTO losses (file, carried, reason) VALUES (:file, :carried, :reason);

-- name: losses
SELECT seq, file, carried, reason FROM losses ORDER BY seq;

-- name: declare_loss
DELETE FROM losses WHERE seq = :seq;

-- name: count
INSERT INTO counters (name, value) VALUES (:name, max(0, :change))
ON CONFLICT (name) DO UPDATE SET value = max(0, value + :change);

-- name: standing
-- The pages that are in use, by the transaction that is under way, the bytes of one, and how many
-- deliveries were given up that no event has told of.
SELECT
    page_count - freelist_count,
    page_size,
    (SELECT coalesce(sum(value), 0) FROM counters WHERE name = 'undeclared_shed')
FROM pragma_page_count, pragma_freelist_count, pragma_page_size;
