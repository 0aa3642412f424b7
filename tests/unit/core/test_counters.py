"""What is counted of an engine's stream, and of the attempts to reach a destination."""

from dataclasses import replace

import msgspec

from relay.core.counters import LATENCIES_S, DestinationTally, EngineTally, Latencies
from relay.core.event import Why
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.ingest.docker.buffer import Connection, Dropped, Item, Opened
from tests.unit.ingest.docker.pipeline import HERE, NOW_NS, digest, records, taken
from tests.unit.ingest.docker.samples import look, seen


def line(number: int, action: str = "create") -> bytes:
    """A volume event, as an engine sends it."""
    actor = {"ID": f"volume-{number}", "Attributes": {}}
    event = {"Type": "volume", "Action": action, "Actor": actor, "timeNano": NOW_NS + number}
    return msgspec.json.encode(event)


def oom(number: int) -> bytes:
    """A container's, as an engine sends it."""
    actor = {"ID": f"container-{number}", "Attributes": {}}
    event = {"Type": "container", "Action": "oom", "Actor": actor, "timeNano": NOW_NS + number}
    return msgspec.json.encode(event)


def counted(*items: Item) -> EngineTally:
    """What is counted of one batch."""
    here = digest()
    taken(here, list(items))
    return here.tally


def test_nothing_yet() -> None:
    """All counts begin with zero."""
    assert digest().tally == EngineTally()


def test_new_and_repeated_events() -> None:
    """An event that comes again is received twice and taken in once."""
    tally = counted(*records([line(1), line(2), line(1)]))
    assert (tally.received, tally.taken_in, tally.repeated) == (3, 2, 1)
    assert tally.last_event_ns == NOW_NS + 2


def test_events_from_before_the_start() -> None:
    """What a first start looks back on is received, and neither new nor repeated."""
    here = digest("now")
    taken(here, records([line(-1), line(1)]))
    assert (here.tally.received, here.tally.taken_in, here.tally.repeated) == (2, 1, 0)


def test_malformed_records() -> None:
    """They are counted by what is wrong with them, and are no events."""
    tally = counted(*records([b"<html>", b"[]", b"<p>"]))
    assert tally.malformed == {"not_json": 2, "odd_type": 1}
    assert tally.received == 0


def test_dropped_records() -> None:
    """All that were dropped are counted; the gap that they leave is one."""
    tally = counted(Dropped(HERE, 7, Why.BUFFER_FULL))
    assert tally.dropped == {"buffer_full": 7}
    assert tally.gaps == {"buffer_full": 1}


def test_opened_streams() -> None:
    """Each counts, and one that another engine answers over is a gap besides."""
    tally = counted(
        *(
            Opened(Connection("here", "node-1", NOW_NS, 1, identity=identity), ())
            for identity in ("a", "a", "b")
        )
    )
    assert tally.opened == 3
    assert tally.gaps == {"another_engine": 1}


def test_inferred_events() -> None:
    """Deaths that no event told of are counted, and are none that came."""
    tally = counted(look(seen(started=1, finished=2, exit_code=137, oom_killed=True)))
    assert tally.inferred == {"oom": 1, "die": 1}
    assert tally.received == 0


def test_an_inferred_event_beside_one_that_came() -> None:
    """The engine told of the death, and an inspection that it was for memory."""
    actor = {"ID": "c", "Attributes": {"exitCode": "137"}}
    die = {"Type": "container", "Action": "die", "Actor": actor, "timeNano": NOW_NS}
    shown = replace(
        seen(exit_code=137, oom_killed=True), started_ns=NOW_NS - 2, finished_ns=NOW_NS - 1
    )
    here = digest()
    here.take_in(here.read(records([msgspec.json.encode(die)])), NOW_NS, {"c": shown})
    assert here.tally.inferred == {"oom": 1}
    assert here.tally.taken_in == 1


def test_matches() -> None:
    """Every event counts at every route that matches it, once."""
    assert counted(*records([oom(1), oom(2), oom(2)])).matches == {"out-of-memory": 2}


def test_attempts() -> None:
    """They are counted by outcome and reason; those that were given up are dead letters."""
    tally = DestinationTally()
    for outcome in (
        Delivered(),
        Retry(1.0, Reason.UNAVAILABLE),
        Retry(2.0, Reason.UNAVAILABLE),
        Retry(1.0, Reason.TIMEOUT),
        Dead(Reason.EXPIRED),
    ):
        tally.count(outcome)
    assert tally.attempts == {
        ("delivered", Reason.OK): 1,
        ("retry", Reason.UNAVAILABLE): 2,
        ("retry", Reason.TIMEOUT): 1,
        ("dead", Reason.EXPIRED): 1,
    }
    assert tally.dead == 1


def test_latencies() -> None:
    """One counts at the first bound that it does not exceed; what exceeds the last, behind it."""
    latencies = Latencies()
    for seconds in (0.0, LATENCIES_S[0], LATENCIES_S[0] + 0.01, LATENCIES_S[-1], 10**9):
        latencies.add(seconds)
    assert latencies.counts == [2, 1, *[0] * (len(LATENCIES_S) - 3), 1, 1]
    assert latencies.up_to[-1] == 5
