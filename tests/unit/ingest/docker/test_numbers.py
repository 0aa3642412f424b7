"""Numbers from an engine: whatever it sends, what is to be committed fits into the store."""

import json
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.ingest.docker.buffer import Connection, StreamOpened
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.client import clock_ahead_ns
from relay.ingest.docker.engine.inspection import parse_inspection
from relay.ingest.docker.engine.parser import MAX_TIME_NS
from relay.store.outbox import open_outbox
from tests.unit.ingest.docker.pipeline import NOW_NS, new_pipeline, records

EDGES = (*(2**bits for bits in (31, 32, 53, 62, 63, 64, 100)), NOW_NS, MAX_TIME_NS)
numbers = (
    st.sampled_from([edge + change for edge in EDGES for change in (-1, 0, 1)])
    | st.integers(-(2**65), 2**65)
    | st.sampled_from([0, -1, 1.5, 1e300, "7", None])
)
years = st.sampled_from([1, 1969, 1970, 2026, 2199, 2200, 2261, 2262, 2263, 5000, 9999])
times = years.map(lambda year: f"{year:04}-11-23T06:48:34.123456789Z")


def as_record(event: dict[str, Any]) -> bytes:
    exit_code, *rest = event.pop("numbers")
    attributes = {"name": "web", "exitCode": exit_code, "signal": exit_code}
    actor = {"ID": "075a", "Attributes": attributes}
    seconds, nanoseconds = rest
    return json.dumps({**event, "Actor": actor, "time": seconds, "timeNano": nanoseconds}).encode()


events = st.fixed_dictionaries(
    {
        "Type": st.just("container"),
        "Action": st.sampled_from(["start", "kill", "oom", "die", "destroy", "create"]),
        "numbers": st.tuples(numbers, numbers, numbers),
    }
).map(as_record)
inspections = st.fixed_dictionaries(
    {
        "Id": st.just("075a"),
        "State": st.fixed_dictionaries(
            {
                "Running": st.booleans(),
                "ExitCode": numbers,
                "OOMKilled": st.booleans(),
                "StartedAt": times,
                "FinishedAt": times,
            }
        ),
        "Config": st.fixed_dictionaries({"StopSignal": numbers}),
    }
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(years, st.lists(events, max_size=8), st.lists(inspections, max_size=3))
async def test_the_store_takes_whatever_an_engine_sends(
    year: int, sent: list[bytes], inspected: list[dict[str, Any]]
) -> None:
    """Dates, times, exit codes and signals beyond 64 bits are not believed, and end nothing."""
    ahead_ns = clock_ahead_ns(f"Mon, 23 Nov {year:04} 06:48:34 GMT", NOW_NS)
    opened_ns = NOW_NS + ahead_ns
    connection = Connection("here", "node-1", opened_ns, since_ns=1, ahead_ns=ahead_ns)
    pipeline = new_pipeline("now")
    pipeline.since_ns(opened_ns)
    found = [parse_inspection(json.dumps(each).encode()) for each in inspected]
    snapshots = tuple(each for each in found if each is not None)
    items = [
        StreamOpened(connection, ()),
        *records(sent, connection),
        Snapshot("here", "node-1", opened_ns, snapshots, is_complete=True),
    ]
    async with open_outbox(None) as outbox:
        commit = pipeline.process(items, NOW_NS, {each.id: each for each in snapshots})
        msgspec.json.encode(commit.notifications)
        await outbox.commit(commit, NOW_NS)
        await outbox.commit(pipeline.finish(NOW_NS), NOW_NS)
        assert await outbox.checkpoint("here") is not None
