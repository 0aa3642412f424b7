-- Every statement that the store runs, by name.

-- name: bookmark
SELECT position_ns, floor_ns, recent FROM cursors WHERE engine = :engine;

-- name: save_bookmark
INSERT INTO cursors (engine, position_ns, floor_ns, recent)
VALUES (:engine, :position_ns, :floor_ns, :recent)
ON CONFLICT (engine) DO UPDATE
SET position_ns = excluded.position_ns, floor_ns = excluded.floor_ns, recent = excluded.recent;

-- name: add_delivery
-- Due at once, unless another about the same subject is before it.
INSERT INTO deliveries (destination, subject, notification, created_ns, due_ns)
VALUES (
    :destination, :subject, :notification, :now_ns,
    CASE WHEN EXISTS (
        SELECT 1 FROM deliveries WHERE destination = :destination AND subject = :subject
    ) THEN NULL ELSE :now_ns END
);

-- name: due
-- Besides those that are under way, whose numbers come as a JSON array.
SELECT seq, destination, notification, created_ns, attempts
FROM deliveries
WHERE destination = :destination AND due_ns <= :now_ns
    AND seq NOT IN (SELECT value FROM json_each(:besides))
ORDER BY due_ns, seq
LIMIT :most;

-- name: next_due
SELECT min(due_ns) FROM deliveries WHERE destination = :destination AND due_ns > :now_ns;

-- name: try_again
UPDATE deliveries SET attempts = attempts + 1, due_ns = :due_ns, reason = :reason
WHERE seq = :seq;

-- name: bury
INSERT INTO dead_letters (destination, notification, created_ns, died_ns, attempts, reason)
SELECT destination, notification, created_ns, :now_ns, attempts + 1, :reason
FROM deliveries WHERE seq = :seq;

-- name: promote_next
-- The successor in the same order becomes due, now that the one before it is settled.
UPDATE deliveries SET due_ns = :now_ns
WHERE due_ns IS NULL AND seq = (
    SELECT min(next.seq)
    FROM deliveries AS done JOIN deliveries AS next
        ON next.destination = done.destination AND next.subject = done.subject
        AND next.seq > done.seq
    WHERE done.seq = :seq
);

-- name: remove
DELETE FROM deliveries WHERE seq = :seq;

-- name: pending
SELECT destination, count(*) FROM deliveries GROUP BY destination;
