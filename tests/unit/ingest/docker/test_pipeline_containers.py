"""What one engine's stream and the looks at its containers come to."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

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

CLOCK_DOUBT_S, LOOKBACK_S, MARGIN_S = (
    span_ns // 10**9 for span_ns in (CLOCK_TOLERANCE_NS, LOOKBACK_NS, MARGIN_NS)
)


def line(action: str, second: float = 0, *, id_: str = "c", **attributes: str) -> bytes:
    """A record of a container's event, so many seconds after now."""
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
    """A connection, with what the engine remembers of these records."""
    connection = replace(HERE, opened_ns=at_ns(second), **how)
    heard = (parse_record(record, connection) for record in history)
    return StreamOpened(connection, tuple(event for event in heard if isinstance(event, Event)))


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


def make_snapshot(second: float, *sightings: ContainerSnapshot, thorough: bool = True) -> Snapshot:
    return Snapshot("here", "node-1", at_ns(second), sightings, is_complete=thorough)


def routed_events(intake: IngestCommit) -> list[Event]:
    return [notification.events[0] for notification, _ in intake.notifications]


def restore_pipeline(here: EventPipeline, intake: IngestCommit) -> EventPipeline:
    """Another process, which has what was stored."""
    assert intake.checkpoint is not None
    roster = ContainerRegistry(intake.containers, intake.checkpoint.reported_until_ns)
    return EventPipeline("here", "now", new_router(), intake.checkpoint, roster)


@given(st.lists(st.integers(1, 40), max_size=12), st.sampled_from(ENGINES))
def test_any_batches_come_to_the_same(sizes: list[int], engine: str) -> None:
    """However the stream is cut into batches."""
    whole, cut = new_pipeline(), new_pipeline()
    items = records(read_records(engine))
    expected = process(whole, items)
    found: list[Any] = []
    for size in [*sizes, len(items)]:
        batch, items = items[:size], items[size:]
        intake = process(cut, batch)
        found += intake.notifications
    assert found == list(expected.notifications)
    assert intake.checkpoint == expected.checkpoint


def test_a_gap_is_told_before_the_event_that_shows_it() -> None:
    """And before what a look then finds."""
    here = new_pipeline()
    process(here, [stream_opened(0), *records([line("start", 1)])])
    moved = line("die", 60, exitCode="3")
    first = process(here, [stream_opened(50, line("start", 1)), *records([moved])])
    assert [event.action for event in routed_events(first)] == ["gap", "die"]
    second = process(here, [stream_opened(90), make_snapshot(91, dead_container(70))])
    assert [event.action for event in routed_events(second)] == ["gap", "die"]
    assert routed_events(second)[0].actor.attributes["why"] == "engine_restarted"


def test_what_was_before_the_beginning_only_explains() -> None:
    """A request before the first start is known, and nothing of it is told."""
    here = new_pipeline("now")
    before = [
        line("start", -9),
        line("die", -8, id_="d", exitCode="3"),
        line("kill", -1, signal="15"),
    ]
    died = line("die", 1, exitCode="143")
    intake = process(here, [stream_opened(0, *before), *records([*before, died])])
    assert routed(intake) == []
    (known,) = [container for container in intake.containers if container.id == "c"]
    assert (known.started_ns, known.died_ns) == (at_ns(-9), at_ns(1))
    assert known.requested_ns is None
    late = process(here, records([line("kill", -1, signal="15"), line("die", 2, exitCode="1")]))
    assert routed(late) == [("crashed", "web")]


def test_a_look_that_tells_of_a_death() -> None:
    """Once, also to a process that starts over from what was stored."""
    here = new_pipeline()
    process(here, [stream_opened(0), *records([line("start")])])
    assert here.has_unreported([dead_container(5)])
    intake = process(here, [make_snapshot(9, dead_container(5))])
    (event,) = routed_events(intake)
    assert (event.action, event.origin, event.cause) == ("die", Origin.INFERRED, Cause.CRASHED)
    again = restore_pipeline(here, intake)
    assert not again.has_unreported([dead_container(5)])
    assert routed(process(again, [make_snapshot(19, dead_container(5))])) == []


def test_doubt_lasts_until_a_thorough_look() -> None:
    """From the start, and from every gap on."""
    here = new_pipeline()
    process(here, [stream_opened(0), *records([line("start")])])
    process(here, [make_snapshot(1, thorough=False)])
    assert here.may_have_missed_deaths
    process(here, [make_snapshot(1)])
    assert not here.may_have_missed_deaths
    with capture_logs():
        process(here, [RecordsDropped(HERE, 1, GapReason.BUFFER_FULL)], at_ns(5))
    assert here.may_have_missed_deaths
    process(here, [make_snapshot(4)])
    assert here.may_have_missed_deaths
    process(here, [make_snapshot(5)])
    assert not here.may_have_missed_deaths


def test_a_death_that_nobody_could_hear_has_no_known_cause() -> None:
    """By a terminating signal, in a gap."""
    here = new_pipeline()
    process(here, [stream_opened(0), *records([line("start")])])
    with capture_logs():
        process(here, [RecordsDropped(HERE, 1, GapReason.BUFFER_FULL)], at_ns(9))
    intake = process(here, [make_snapshot(10, dead_container(5, exit_code=143))])
    (known,) = intake.containers
    assert known.inferred_ns == at_ns(5)
    assert routed(intake) == []  # the route wants crashes


def test_which_containers_are_looked_at() -> None:
    """Those that run and those not known as dead; all of them if in doubt."""
    here = new_pipeline()
    process(
        here,
        [
            stream_opened(0),
            *records([line("start"), line("die", 1, exitCode="0"), line("start", id_="d")]),
        ],
    )
    listed = {"c": "exited", "d": "exited", "e": "exited", "f": "running"}
    assert here.select_for_inspection(listed, thorough=False) == ["d", "e", "f"]
    assert here.select_for_inspection(listed, thorough=True) == ["c", "d", "e", "f"]
    assert here.select_for_inspection({"c": "running"}, thorough=False) == ["c"]
    assert here.find_missing(listed) == set()
    assert here.find_missing({"c": "exited"}) == {"d"}


def test_another_engine_is_told_and_known_anew() -> None:
    """Nothing that was known holds; what died there before it was met is not told."""
    here = new_pipeline()
    known = process(here, [stream_opened(0, identity="A"), *records([line("start")])])
    assert known.checkpoint is not None
    assert known.checkpoint.identity == "A"
    assert routed(process(here, [stream_opened(1, line("start"), identity="A")])) == []
    intake = process(here, [stream_opened(5, identity="B"), make_snapshot(6, dead_container(4))])
    (gap,) = routed_events(intake)
    assert gap.actor.attributes["why"] == "another_engine"
    assert intake.checkpoint is not None
    assert (intake.checkpoint.identity, intake.checkpoint.reported_until_ns) == ("B", at_ns(5))
    assert routed(process(here, [stream_opened(7, identity="B")])) == []


def test_an_engine_that_gives_no_identity_any_more_is_the_same() -> None:
    """A proxy may begin to refuse it."""
    here = new_pipeline()
    process(here, [stream_opened(0, identity="A"), *records([line("start")])])
    intake = process(here, [stream_opened(1, line("start"))])
    assert routed(intake) == []
    assert intake.checkpoint is not None
    assert intake.checkpoint.identity == "A"


def test_containers_are_handed_on_as_they_change() -> None:
    """And all of them once more to a new store."""
    here = new_pipeline()
    first = process(here, [stream_opened(0), *records([line("start")])])
    assert first.containers == [Container("c", name="web", image="bb:1", started_ns=at_ns(0))]
    nothing = process(here, records([line("exec_create: sh", 1)]))
    assert (nothing.containers, nothing.removed_containers) == ([], [])
    here.resend_all()
    assert process(here, []).containers == first.containers
    assert process(here, records([line("destroy", 2)])).removed_containers == ["c"]


def test_what_has_to_be_asked_before_a_batch() -> None:
    """Of what is news; the answers are used."""
    here = new_pipeline()
    hidden = line("die", 1, exitCode="0")
    batch = here.parse([stream_opened(0), *records([hidden])])
    assert here.containers_to_inspect(batch) == {"c"}
    answer = replace(dead_container(0.9, exit_code=7), hiding_labels=frozenset({"exitCode"}))
    (event,) = routed_events(here.process(batch, NOW_NS, {"c": answer}))
    assert (event.exit_code, event.cause) == (7, Cause.CRASHED)
    assert here.containers_to_inspect(batch) == set()


PODMAN = replace(HERE, podman=True)


def test_a_podman_death_waits_for_what_shows_its_cause() -> None:
    """In its first batch, too; a repetition of what comes behind it shows nothing."""
    here = new_pipeline()
    died = [line("start"), line("die", 1, exitCode="1"), line("cleanup", 1.01)]
    batch = here.parse([stream_opened(0, podman=True), *records([*died, *died], PODMAN)])
    assert here.awaits_evidence(batch)
    stopped = [*batch, *here.parse(records([line("cleanup", 1.03)], PODMAN))]
    assert not here.awaits_evidence(stopped)
    assert routed(new_pipeline().process(batch, NOW_NS)) == [("crashed", "web")]
    assert routed(here.process(stopped, NOW_NS)) == []


def test_dockers_deaths_do_not_wait() -> None:
    """All that matters stands before them."""
    here = new_pipeline()
    assert not here.awaits_evidence(
        here.parse(records([line("start"), line("die", 1, exitCode="1")]))
    )


def test_what_may_have_been_missed_is_known_to_the_next_process() -> None:
    """A look does not find requests; a death as by a request has no known cause."""
    here = new_pipeline()
    process(here, [stream_opened(0), *records([line("start")])])
    with capture_logs():
        process(here, [RecordsDropped(HERE, 1, GapReason.BUFFER_FULL)], at_ns(9))
    intake = process(here, [make_snapshot(10), *records([line("start", 11, id_="d")])])
    assert intake.checkpoint is not None
    assert intake.checkpoint.blind_window == (at_ns(0), at_ns(9))
    here.resend_all()
    again = restore_pipeline(here, process(here, []))
    died = [line("die", 20, id_=id_, exitCode="143") for id_ in ("c", "d")]
    assert [event.actor.id for event in routed_events(process(again, records(died)))] == ["d"]


def test_a_removal_that_shows_a_death() -> None:
    """It is counted as inferred, and the route that wants crashes wants none of unknown cause."""
    here = new_pipeline()
    process(here, [stream_opened(0), *records([line("start")])])
    intake = process(here, records([line("destroy", 5), line("die", 4, exitCode="3")]))
    assert routed(intake) == []
    assert intake.removed_containers == ["c"]
    assert here.counters.inferred.total() == 1


def test_another_process_that_hears_nothing_of_before() -> None:
    """It cannot know that nothing happened; a first start and a mere reconnect can."""
    here = new_pipeline("now")
    intake = process(here, [stream_opened(0), stream_opened(1)])
    assert routed(intake) == []
    (gap,) = routed_events(
        process(restore_pipeline(here, intake), [stream_opened(9), stream_opened(10)])
    )
    assert gap.actor.attributes["why"] == "unproven"


def test_a_clock_that_was_set_back() -> None:
    """It is asked from ten minutes before its now, and what happens by it is taken in."""
    here = new_pipeline()
    intake = process(here, [stream_opened(0), *records([line("start", 3600)])])
    again = restore_pipeline(here, intake)
    assert again.since_ns(at_ns(3600 - CLOCK_DOUBT_S)) == at_ns(3600 - MARGIN_S)
    assert again.since_ns(at_ns(1000)) == at_ns(1000 - LOOKBACK_S)
    news = records([line("die", 999, exitCode="3"), line("start", 3600)])
    after = process(again, [stream_opened(1000, line("die", 999, exitCode="3")), *news])
    gap, death = routed_events(after)
    assert gap.actor.attributes["why"] == "clock_set_back"
    assert (death.action, death.time_ns) == ("die", at_ns(999))
    assert again.position_ns == at_ns(999)
    assert again.since_ns(at_ns(1001)) == at_ns(999 - MARGIN_S)


def test_a_clock_that_steps_back_a_little_after_the_first_start() -> None:
    """What happens then is news, though its time is before the beginning."""
    here = new_pipeline("now")
    old = line("die", -2, id_="d", exitCode="3")
    news = line("die", -1, exitCode="3")
    intake = process(here, [stream_opened(0, old), *records([old, news, old])])
    assert routed(intake) == [("crashed", "web")]


def test_the_position() -> None:
    """The time of the last event; 0 before the first connection."""
    assert EventPipeline("here", "now", new_router()).position_ns == 0
    here = new_pipeline()
    process(here, records([line("start", 5)]))
    assert here.position_ns == at_ns(5)
