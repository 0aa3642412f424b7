"""The counters of an engine's stream and of the attempts to reach a destination."""

import msgspec
from msgspec.structs import replace

from relay.core.counters import (
    LATENCY_BUCKETS_S,
    DestinationCounters,
    EngineCounters,
    LatencyHistogram,
)
from relay.core.event import GapReason
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.ingest.docker.buffer import Connection, Item, RecordsDropped, StreamOpened
from tests.unit.ingest.docker.pipeline import HERE, NOW_NS, new_pipeline, process, records
from tests.unit.ingest.docker.samples import make_container_snapshot, make_snapshot


def volume_record(number: int, action: str = "create") -> bytes:
    """Return a volume event as an engine sends it."""
    actor = {"ID": f"volume-{number}", "Attributes": {}}
    event = {"Type": "volume", "Action": action, "Actor": actor, "timeNano": NOW_NS + number}
    return msgspec.json.encode(event)


def oom_record(number: int) -> bytes:
    """Return an ``oom`` of a container as an engine sends it."""
    actor = {"ID": f"container-{number}", "Attributes": {}}
    event = {"Type": "container", "Action": "oom", "Actor": actor, "timeNano": NOW_NS + number}
    return msgspec.json.encode(event)


def count_batch(*items: Item) -> EngineCounters:
    """Return the counters after one batch."""
    pipeline = new_pipeline()
    process(pipeline, list(items))
    return pipeline.counters


def test_all_counters_start_at_zero() -> None:
    """Nothing was counted before the first batch."""
    assert new_pipeline().counters == EngineCounters()


def test_new_and_duplicate_events() -> None:
    """An event that comes twice is received twice and accepted once."""
    counters = count_batch(*records([volume_record(1), volume_record(2), volume_record(1)]))
    assert (counters.received, counters.accepted, counters.duplicates) == (3, 2, 1)
    assert counters.last_event_ns == NOW_NS + 2


def test_events_before_the_first_start() -> None:
    """An event from before a first start is received, and neither accepted nor a duplicate."""
    pipeline = new_pipeline("now")
    process(pipeline, records([volume_record(-1), volume_record(1)]))
    assert (
        pipeline.counters.received,
        pipeline.counters.accepted,
        pipeline.counters.duplicates,
    ) == (2, 1, 0)


def test_invalid_records() -> None:
    """Invalid records are counted by the kind of their error, and not as events."""
    counters = count_batch(*records([b"<html>", b"[]", b"<p>"]))
    assert counters.malformed == {"not_json": 2, "odd_type": 1}
    assert counters.received == 0


def test_dropped_records() -> None:
    """All dropped records are counted; together they leave one gap."""
    counters = count_batch(RecordsDropped(HERE, 7, GapReason.BUFFER_FULL))
    assert counters.dropped == {"buffer_full": 7}
    assert counters.gaps == {"buffer_full": 1}


def test_opened_streams() -> None:
    """Every opened stream counts; if another engine answers on it, that also counts as a gap."""
    counters = count_batch(
        *(
            StreamOpened(Connection("here", "node-1", NOW_NS, 1, identity=identity), ())
            for identity in ("a", "a", "b")
        )
    )
    assert counters.opened == 3
    assert counters.gaps == {"another_engine": 1}


def test_inferred_events() -> None:
    """Deaths that no event reported are counted as inferred, not as received."""
    counters = count_batch(
        make_snapshot(
            make_container_snapshot(started=1, finished=2, exit_code=137, oom_killed=True)
        )
    )
    assert counters.inferred == {"oom": 1, "die": 1}
    assert counters.received == 0


def test_an_inferred_oom_beside_a_received_death() -> None:
    """The engine reported the death, and only an inspection shows that it was for memory."""
    actor = {"ID": "c", "Attributes": {"exitCode": "137"}}
    die = {"Type": "container", "Action": "die", "Actor": actor, "timeNano": NOW_NS}
    inspected = replace(
        make_container_snapshot(exit_code=137, oom_killed=True),
        started_ns=NOW_NS - 2,
        finished_ns=NOW_NS - 1,
    )
    pipeline = new_pipeline()
    pipeline.process(records([msgspec.json.encode(die)]), NOW_NS, {"c": inspected})
    assert pipeline.counters.inferred == {"oom": 1}
    assert pipeline.counters.accepted == 1


def test_matches() -> None:
    """Every event counts once for every route that matches it."""
    assert count_batch(*records([oom_record(1), oom_record(2), oom_record(2)])).matches == {
        "out-of-memory": 2
    }


def test_attempts() -> None:
    """Attempts count by outcome and reason; deliveries that were given up are dead letters."""
    counters = DestinationCounters()
    for outcome in (
        Delivered(),
        Retry(1.0, Reason.UNAVAILABLE),
        Retry(2.0, Reason.UNAVAILABLE),
        Retry(1.0, Reason.TIMEOUT),
        Dead(Reason.EXPIRED),
    ):
        counters.count_attempt(outcome)
    assert counters.attempts == {
        ("delivered", Reason.OK): 1,
        ("retry", Reason.UNAVAILABLE): 2,
        ("retry", Reason.TIMEOUT): 1,
        ("dead", Reason.EXPIRED): 1,
    }
    assert counters.dead_letters == 1


def test_latencies() -> None:
    """A latency counts in the first bucket whose bound it does not exceed, else in the last."""
    latencies = LatencyHistogram()
    for seconds in (
        0.0,
        LATENCY_BUCKETS_S[0],
        LATENCY_BUCKETS_S[0] + 0.01,
        LATENCY_BUCKETS_S[-1],
        10**9,
    ):
        latencies.observe(seconds)
    assert latencies.bucket_counts == [2, 1, *[0] * (len(LATENCY_BUCKETS_S) - 3), 1, 1]
    assert latencies.cumulative_counts[-1] == 5
