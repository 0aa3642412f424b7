"""The event pipeline: events, snapshots of containers and gaps together."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.core.checkpoint import CHUNK_EVENTS
from relay.core.container import Container
from relay.core.event import Cause, Event, GapReason, Origin
from relay.ingest.docker.buffer import RecordsDropped, StreamOpened, parse_record
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.cursor import CLOCK_TOLERANCE_NS, LOOKBACK_NS, MARGIN_NS
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.pipeline import EventPipeline
from relay.store.records import IngestCommit
from tests.streams import ENGINES, read_records
from tests.unit.ingest.docker.pipeline import (
    HERE,
    NOW_NS,
    new_pipeline,
    new_router,
    process,
    records,
    routed,
)

CLOCK_TOLERANCE_S, LOOKBACK_S, MARGIN_S = (
    span_ns // 10**9 for span_ns in (CLOCK_TOLERANCE_NS, LOOKBACK_NS, MARGIN_NS)
)


def line(action: str, second: float = 0, *, id_: str = "c", **attributes: str) -> bytes:
    """The record of a container's event, this many seconds after now."""
    body = {
        "Type": "container",
        "Action": action,
        "Actor": {"ID": id_, "Attributes": {"name": "web", "image": "bb:1", **attributes}},
        "scope": "local",
        "timeNano": at_ns(second),
    }
    return json.dumps(body).encode()


def at_ns(second: float) -> int:
    return NOW_NS + int(second * 10**9)


def stream_opened(second: float, *history: bytes, **how: Any) -> StreamOpened:
    """A stream that was opened at this second, with a history of these records."""
    connection = replace(HERE, opened_ns=at_ns(second), **how)
    parsed = (parse_record(record, connection) for record in history)
    return StreamOpened(connection, tuple(event for event in parsed if isinstance(event, Event)))


def dead_container(finished: float, *, started: float = 0, exit_code: int = 3) -> ContainerSnapshot:
    return ContainerSnapshot(
        id="c",
        name="web",
        image="bb:1",
        labels={},
        is_running=False,
        started_ns=at_ns(started),
        finished_ns=at_ns(finished),
        exit_code=exit_code,
        oom_killed=False,
        stop_signal=None,
    )


def make_snapshot(second: float, *containers: ContainerSnapshot, thorough: bool = True) -> Snapshot:
    return Snapshot("here", "node-1", at_ns(second), containers, is_complete=thorough)


def routed_events(commit: IngestCommit) -> list[Event]:
    return [notification.events[0] for notification, _ in commit.notifications]


def restore_pipeline(pipeline: EventPipeline, commit: IngestCommit) -> EventPipeline:
    """The pipeline of another process, restored from what was committed."""
    assert commit.checkpoint is not None
    containers = [*commit.containers, *commit.container_times]
    registry = ContainerRegistry(containers, commit.checkpoint.reported_until_ns)
    return EventPipeline("here", "now", new_router(), commit.checkpoint, registry)


@given(st.lists(st.integers(1, 40), max_size=12), st.sampled_from(ENGINES))
def test_any_batches_give_the_same_result(sizes: list[int], engine: str) -> None:
    """However the stream is cut into batches, the result is the same."""
    whole, cut = new_pipeline(), new_pipeline()
    items = records(read_records(engine))
    expected = process(whole, items)
    found: list[Any] = []
    for size in [*sizes, len(items)]:
        batch, items = items[:size], items[size:]
        commit = process(cut, batch)
        found += commit.notifications
    assert found == list(expected.notifications)
    assert commit.checkpoint == expected.checkpoint


def test_a_gap_precedes_the_event_that_reveals_it() -> None:
    """It also precedes what a snapshot then reveals."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0), *records([line("start", 1)])])
    moved = line("die", 60, exitCode="3")
    first = process(pipeline, [stream_opened(50, line("start", 1)), *records([moved])])
    assert [event.action for event in routed_events(first)] == ["gap", "die"]
    second = process(pipeline, [stream_opened(90), make_snapshot(91, dead_container(70))])
    assert [event.action for event in routed_events(second)] == ["gap", "die"]
    assert routed_events(second)[0].actor.attributes["why"] == "engine_restarted"


def test_events_before_the_start_only_explain() -> None:
    """A request from before the first start is known, but no event of that time is routed."""
    pipeline = new_pipeline("now")
    before = [
        line("start", -9),
        line("die", -8, id_="d", exitCode="3"),
        line("kill", -1, signal="15"),
    ]
    died = line("die", 1, exitCode="143")
    commit = process(pipeline, [stream_opened(0, *before), *records([*before, died])])
    assert routed(commit) == []
    (known,) = [container for container in commit.containers if container.id == "c"]
    assert (known.started_ns, known.died_ns) == (at_ns(-9), at_ns(1))
    assert known.requested_ns is None
    late = process(pipeline, records([line("kill", -1, signal="15"), line("die", 2, exitCode="1")]))
    assert routed(late) == [("crashed", "web")]


def test_a_snapshot_that_reveals_a_death() -> None:
    """It is reported once, also by a process that continues from what was stored."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0), *records([line("start")])])
    assert pipeline.containers.has_unreported([dead_container(5)])
    commit = process(pipeline, [make_snapshot(9, dead_container(5))])
    (event,) = routed_events(commit)
    assert (event.action, event.origin, event.cause) == ("die", Origin.INFERRED, Cause.CRASHED)
    restored = restore_pipeline(pipeline, commit)
    assert not restored.containers.has_unreported([dead_container(5)])
    assert routed(process(restored, [make_snapshot(19, dead_container(5))])) == []


def test_doubt_lasts_until_a_complete_snapshot() -> None:
    """Deaths may be missing from the start and from every gap until a complete snapshot."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0), *records([line("start")])])
    process(pipeline, [make_snapshot(1, thorough=False)])
    assert pipeline.containers.may_have_missed_deaths
    process(pipeline, [make_snapshot(1)])
    assert not pipeline.containers.may_have_missed_deaths
    with capture_logs():
        process(pipeline, [RecordsDropped(HERE, 1, GapReason.BUFFER_FULL)], at_ns(5))
    assert pipeline.containers.may_have_missed_deaths
    process(pipeline, [make_snapshot(4)])
    assert pipeline.containers.may_have_missed_deaths
    process(pipeline, [make_snapshot(5)])
    assert not pipeline.containers.may_have_missed_deaths


def test_a_death_in_a_gap_has_no_known_cause() -> None:
    """A death by a terminating signal in a gap has no known cause."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0), *records([line("start")])])
    with capture_logs():
        process(pipeline, [RecordsDropped(HERE, 1, GapReason.BUFFER_FULL)], at_ns(9))
    commit = process(pipeline, [make_snapshot(10, dead_container(5, exit_code=143))])
    (known,) = commit.containers
    assert known.inferred_ns == at_ns(5)
    assert routed(commit) == []  # the route wants crashes


def test_which_containers_are_inspected() -> None:
    """Those that run, those not known to be dead, and those whose restart policy is not known.

    If deaths may be missing, all of them are.
    """
    pipeline = new_pipeline()
    process(
        pipeline,
        [
            stream_opened(0),
            *records([line("start"), line("die", 1, exitCode="0"), line("start", id_="d")]),
        ],
    )
    listed = {"c": "exited", "d": "exited", "e": "exited", "f": "running"}
    assert pipeline.containers.select_for_inspection(listed, thorough=False) == ["c", "d", "e", "f"]
    process(pipeline, [make_snapshot(2, dead_container(1), thorough=False)])
    assert pipeline.containers.select_for_inspection(listed, thorough=False) == ["d", "e", "f"]
    assert pipeline.containers.select_for_inspection(listed, thorough=True) == ["c", "d", "e", "f"]
    assert pipeline.containers.select_for_inspection({"c": "running"}, thorough=False) == ["c"]
    assert pipeline.containers.find_missing(listed) == set()
    assert pipeline.containers.find_missing({"c": "exited"}) == {"d"}


def test_another_engine_is_declared_and_starts_from_nothing() -> None:
    """Another engine is a gap, and starts without known containers or unreported deaths."""
    pipeline = new_pipeline()
    known = process(pipeline, [stream_opened(0, identity="A"), *records([line("start")])])
    assert known.checkpoint is not None
    assert known.checkpoint.identity == "A"
    assert routed(process(pipeline, [stream_opened(1, line("start"), identity="A")])) == []
    commit = process(
        pipeline, [stream_opened(5, identity="B"), make_snapshot(6, dead_container(4))]
    )
    (gap,) = routed_events(commit)
    assert gap.actor.attributes["why"] == "another_engine"
    assert commit.checkpoint is not None
    assert (commit.checkpoint.identity, commit.checkpoint.reported_until_ns) == ("B", at_ns(5))
    assert routed(process(pipeline, [stream_opened(7, identity="B")])) == []


def test_an_engine_that_no_longer_gives_its_id_is_the_same() -> None:
    """An engine whose id a proxy begins to withhold is still the same."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0, identity="A"), *records([line("start")])])
    commit = process(pipeline, [stream_opened(1, line("start"))])
    assert routed(commit) == []
    assert commit.checkpoint is not None
    assert commit.checkpoint.identity == "A"


def test_changed_containers_are_committed() -> None:
    """All of them are committed once more for a new store."""
    pipeline = new_pipeline()
    first = process(pipeline, [stream_opened(0), *records([line("start")])])
    assert first.containers == [Container("c", name="web", image="bb:1", started_ns=at_ns(0))]
    nothing = process(pipeline, records([line("exec_create: sh", 1)]))
    assert (nothing.containers, nothing.removed_containers) == ([], [])
    died = process(pipeline, records([line("die", 1, exitCode="3")]))
    assert (died.containers, [each.died_ns for each in died.container_times]) == ([], [at_ns(1)])
    process(pipeline, records([line("start", 1.5)]))
    pipeline.resend_all()
    (again,) = process(pipeline, []).containers
    assert again == replace(first.containers[0], started_ns=at_ns(1.5), died_ns=at_ns(1))
    assert process(pipeline, records([line("destroy", 2)])).removed_containers == ["c"]


def test_a_new_store_gets_all_remembered_events() -> None:
    """Each commit says which chunks are not stored yet; for a new store none is."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0)])
    events = [line("pause", second) for second in range(3 * CHUNK_EVENTS)]
    first = process(pipeline, records(events[: CHUNK_EVENTS + 1]))
    second = process(pipeline, records(events[CHUNK_EVENTS + 1 :]))
    pipeline.resend_all()
    commits = (first, second, process(pipeline, []), pipeline.finish(NOW_NS))
    assert [commit.first_chunk for commit in commits] == [0, 1, 0, 3]
    assert [commit.checkpoint.sealed_count for commit in commits if commit.checkpoint] == [
        *(1, 3, 3, 3)
    ]


def test_the_blind_window_is_known_to_the_next_process() -> None:
    """A snapshot shows no requests, so a death as if by a request has no known cause."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0), *records([line("start")])])
    with capture_logs():
        process(pipeline, [RecordsDropped(HERE, 1, GapReason.BUFFER_FULL)], at_ns(9))
    commit = process(pipeline, [make_snapshot(10), *records([line("start", 11, id_="d")])])
    assert commit.checkpoint is not None
    assert commit.checkpoint.blind_window == (at_ns(0), at_ns(9))
    pipeline.resend_all()
    restored = restore_pipeline(pipeline, process(pipeline, []))
    died = [line("die", 20, id_=id_, exitCode="143") for id_ in ("c", "d")]
    assert [event.actor.id for event in routed_events(process(restored, records(died)))] == ["d"]


def test_a_removal_that_reveals_a_death() -> None:
    """It is counted as inferred. Its cause is unknown, so a route for crashes does not match."""
    pipeline = new_pipeline()
    process(pipeline, [stream_opened(0), *records([line("start")])])
    commit = process(pipeline, records([line("destroy", 5), line("die", 4, exitCode="3")]))
    assert routed(commit) == []
    assert commit.removed_containers == ["c"]
    assert pipeline.counters.inferred.total() == 1


def test_another_process_without_earlier_events() -> None:
    """It cannot know that nothing happened. A first start and a mere reconnect can."""
    pipeline = new_pipeline("now")
    commit = process(pipeline, [stream_opened(0), stream_opened(1)])
    assert routed(commit) == []
    (gap,) = routed_events(
        process(restore_pipeline(pipeline, commit), [stream_opened(9), stream_opened(10)])
    )
    assert gap.actor.attributes["why"] == "unproven"


def test_a_clock_that_was_set_back() -> None:
    """Events are requested from ten minutes before the engine's time, and accepted."""
    pipeline = new_pipeline()
    commit = process(pipeline, [stream_opened(0), *records([line("start", 3600)])])
    restored = restore_pipeline(pipeline, commit)
    assert restored.since_ns(at_ns(3600 - CLOCK_TOLERANCE_S)) == at_ns(3600 - MARGIN_S)
    assert restored.since_ns(at_ns(1000)) == at_ns(1000 - LOOKBACK_S)
    new_records = records([line("die", 999, exitCode="3"), line("start", 3600)])
    after = process(restored, [stream_opened(1000, line("die", 999, exitCode="3")), *new_records])
    gap, death = routed_events(after)
    assert gap.actor.attributes["why"] == "clock_set_back"
    assert (death.action, death.time_ns) == ("die", at_ns(999))
    assert restored.position_ns == at_ns(999)
    assert restored.since_ns(at_ns(1001)) == at_ns(999 - MARGIN_S)


def test_a_clock_that_is_set_back_a_little_after_the_first_start() -> None:
    """New events are accepted although their times are from before the start."""
    pipeline = new_pipeline("now")
    old = line("die", -2, id_="d", exitCode="3")
    new = line("die", -1, exitCode="3")
    commit = process(pipeline, [stream_opened(0, old), *records([old, new, old])])
    assert routed(commit) == [("crashed", "web")]


def test_the_position() -> None:
    """It is the time of the last event; 0 before the first connection."""
    assert EventPipeline("here", "now", new_router()).position_ns == 0
    pipeline = new_pipeline()
    process(pipeline, records([line("start", 5)]))
    assert pipeline.position_ns == at_ns(5)
