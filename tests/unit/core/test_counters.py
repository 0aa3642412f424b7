"""What is counted of an engine's stream, and of the attempts to reach a destination."""

from dataclasses import replace

import msgspec

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
    """A volume event, as an engine sends it."""
    actor = {"ID": f"volume-{number}", "Attributes": {}}
    event = {"Type": "volume", "Action": action, "Actor": actor, "timeNano": NOW_NS + number}
    return msgspec.json.encode(event)


def oom_record(number: int) -> bytes:
    """A container's, as an engine sends it."""
    actor = {"ID": f"container-{number}", "Attributes": {}}
    event = {"Type": "container", "Action": "oom", "Actor": actor, "timeNano": NOW_NS + number}
    return msgspec.json.encode(event)


def count(*items: Item) -> EngineCounters:
    """What is counted of one batch."""
    here = new_pipeline()
    process(here, list(items))
    return here.counters


def test_nothing_yet() -> None:
    """All counts begin with zero."""
    assert new_pipeline().counters == EngineCounters()


def test_new_and_repeated_events() -> None:
    """An event that comes again is received twice and taken in once."""
    tally = count(*records([volume_record(1), volume_record(2), volume_record(1)]))
    assert (tally.received, tally.accepted, tally.duplicates) == (3, 2, 1)
    assert tally.last_event_ns == NOW_NS + 2


def test_events_from_before_the_start() -> None:
    """What a first start looks back on is received, and neither new nor repeated."""
    here = new_pipeline("now")
    process(here, records([volume_record(-1), volume_record(1)]))
    assert (here.counters.received, here.counters.accepted, here.counters.duplicates) == (2, 1, 0)


def test_malformed_records() -> None:
    """They are counted by what is wrong with them, and are no events."""
    tally = count(*records([b"<html>", b"[]", b"<p>"]))
    assert tally.malformed == {"not_json": 2, "odd_type": 1}
    assert tally.received == 0


def test_dropped_records() -> None:
    """All that were dropped are counted; the gap that they leave is one."""
    tally = count(RecordsDropped(HERE, 7, GapReason.BUFFER_FULL))
    assert tally.dropped == {"buffer_full": 7}
    assert tally.gaps == {"buffer_full": 1}


def test_opened_streams() -> None:
    """Each counts, and one that another engine answers over is a gap besides."""
    tally = count(
        *(
            StreamOpened(Connection("here", "node-1", NOW_NS, 1, identity=identity), ())
            for identity in ("a", "a", "b")
        )
    )
    assert tally.opened == 3
    assert tally.gaps == {"another_engine": 1}


def test_inferred_events() -> None:
    """Deaths that no event told of are counted, and are none that came."""
    tally = count(
        make_snapshot(
            make_container_snapshot(started=1, finished=2, exit_code=137, oom_killed=True)
        )
    )
    assert tally.inferred == {"oom": 1, "die": 1}
    assert tally.received == 0


def test_an_inferred_event_beside_one_that_came() -> None:
    """The engine told of the death, and an inspection that it was for memory."""
    actor = {"ID": "c", "Attributes": {"exitCode": "137"}}
    die = {"Type": "container", "Action": "die", "Actor": actor, "timeNano": NOW_NS}
    shown = replace(
        make_container_snapshot(exit_code=137, oom_killed=True),
        started_ns=NOW_NS - 2,
        finished_ns=NOW_NS - 1,
    )
    here = new_pipeline()
    here.process(here.parse(records([msgspec.json.encode(die)])), NOW_NS, {"c": shown})
    assert here.counters.inferred == {"oom": 1}
    assert here.counters.accepted == 1


def test_matches() -> None:
    """Every event counts at every route that matches it, once."""
    assert count(*records([oom_record(1), oom_record(2), oom_record(2)])).matches == {
        "out-of-memory": 2
    }


def test_attempts() -> None:
    """They are counted by outcome and reason; those that were given up are dead letters."""
    tally = DestinationCounters()
    for outcome in (
        Delivered(),
        Retry(1.0, Reason.UNAVAILABLE),
        Retry(2.0, Reason.UNAVAILABLE),
        Retry(1.0, Reason.TIMEOUT),
        Dead(Reason.EXPIRED),
    ):
        tally.count_attempt(outcome)
    assert tally.attempts == {
        ("delivered", Reason.OK): 1,
        ("retry", Reason.UNAVAILABLE): 2,
        ("retry", Reason.TIMEOUT): 1,
        ("dead", Reason.EXPIRED): 1,
    }
    assert tally.dead_letters == 1


def test_latencies() -> None:
    """One counts at the first bound that it does not exceed; what exceeds the last, behind it."""
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
