"""What one engine's stream comes to."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.config import StartFrom, parse
from relay.core.checkpoint import Checkpoint, encode_seen
from relay.core.event import Cause, Event, GapReason, Origin, format_rfc3339, make_self_event
from relay.core.notification import build_notification
from relay.ingest.docker.buffer import Connection, RecordsDropped, StreamOpened, parse_record
from relay.ingest.docker.cursor import LOOKBACK_NS, MARGIN_NS
from relay.ingest.docker.pipeline import EventPipeline, resolve_start_ns
from relay.routing.router import Router
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


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recorded_stream(engine: str) -> None:
    """Of everything that happened on an engine, what the routes ask for, in its order."""
    intake = process(new_pipeline(), records(read_records(engine)), NOW_NS)
    assert routed(intake) == [
        ("crashed", "failed"),
        ("out-of-memory", "oomed"),
        ("crashed", "hostkilled"),
        *[("crashed", "looping")] * 4,
        ("unhealthy", "sick"),
        ("crashed", "shop-web-1"),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_make_no_difference(engine: str) -> None:
    """One record at a time comes to what all at once come to."""
    whole, piecemeal = new_pipeline(), new_pipeline()
    all_at_once = process(whole, records(read_records(engine)), NOW_NS)
    one_by_one = [process(piecemeal, [item], NOW_NS) for item in records(read_records(engine))]
    assert [pair for intake in one_by_one for pair in intake.notifications] == list(
        all_at_once.notifications
    )
    assert one_by_one[-1].checkpoint == all_at_once.checkpoint


def test_a_notification_goes_where_its_route_says() -> None:
    """With the event in relay's words, its cause among them."""
    intake = process(new_pipeline(), records(read_records("docker26")), NOW_NS)
    notification, destinations = next(
        pair for pair in intake.notifications if pair[0].route == "crashed"
    )
    (event,) = notification.events
    assert destinations == ("ops", "audit")
    assert notification == build_notification("crashed", event)
    assert (event.engine, event.host, event.action) == ("here", "node-1", "die")
    assert (event.cause, event.exit_code) == (Cause.CRASHED, 3)


def test_what_came_before_the_stream_was_opened_is_replayed() -> None:
    """The engine repeated it out of its history."""
    later = Connection("here", "node-1", opened_ns=NOW_NS, since_ns=1)
    intake = process(new_pipeline(), records(read_records("docker26"), later), NOW_NS)
    assert {n.events[0].origin for n, _ in intake.notifications} == {Origin.REPLAYED}


def test_a_repetition_comes_to_nothing() -> None:
    """Neither in one process nor in the next, which has only what was stored."""
    first = new_pipeline()
    intake = process(first, records(read_records("docker26")), NOW_NS)
    assert routed(process(first, records(read_records("docker26")), NOW_NS)) == []
    assert intake.checkpoint is not None
    second = EventPipeline("here", "now", new_router(), intake.checkpoint)
    assert routed(process(second, records(read_records("docker26")), NOW_NS)) == []


def test_the_cursor_moves_with_what_is_taken_in() -> None:
    """What the intake carries is where the next connection goes on from."""
    here = new_pipeline()
    event = b'{"Type":"volume","Action":"create","timeNano":%d}' % NOW_NS
    intake = process(here, [StreamOpened(HERE), *records([event])], NOW_NS)
    assert intake.engine == "here"
    assert intake.checkpoint is not None
    assert intake.checkpoint.position_ns == NOW_NS
    assert here.since_ns(NOW_NS + 1) == NOW_NS - MARGIN_NS


def test_remembers_what_was_taken_in() -> None:
    """Before the first connection that is nothing."""
    here = new_pipeline()
    intake = process(here, records(read_records("docker26")), NOW_NS)
    (event,) = intake.notifications[-1][0].events
    assert here.remembers(event)
    assert not EventPipeline("here", "now", new_router()).remembers(event)


def test_what_is_no_event_is_shown_once_of_each_kind() -> None:
    """And counted each time; what comes after it is taken in."""
    here = new_pipeline()
    broken = [b"<html>\x1b[2J", b"<html>", b'{"Type":"container"}', b'{"Type":3}', b"[]"]
    with capture_logs() as shown:
        intake = process(here, records([*broken, *read_records("docker26")]), NOW_NS)
    assert [(line["event"], line["flaw"], line["head"]) for line in shown] == [
        ("event.malformed", "not_json", "<html>\x1b[2J"),
        ("event.malformed", "missing_field", '{"Type":"container"}'),
        ("event.malformed", "odd_type", '{"Type":3}'),
    ]
    assert here.counters.malformed == {"not_json": 2, "missing_field": 1, "odd_type": 2}
    assert intake.notifications


def test_what_was_dropped_is_declared() -> None:
    """By an event of relay's own, an error in the log, and the count in both."""
    with capture_logs() as shown:
        intake = process(new_pipeline(), [RecordsDropped(HERE, 7, GapReason.BUFFER_FULL)], NOW_NS)
    ((notification, destinations),) = intake.notifications
    (event,) = notification.events
    assert (notification.route, destinations) == ("own", ("audit",))
    assert (event.type, event.action, event.time_ns) == ("relay", "gap", NOW_NS)
    assert (event.engine, event.host, event.actor.name) == ("here", "node-1", "here")
    assert event.actor.attributes == {
        "why": "buffer_full",
        "reason": "ingest.buffer was full",
        "from": format_rfc3339(1),
        "until": format_rfc3339(NOW_NS),
        "count": "7",
    }
    ((line),) = shown
    assert (line["log_level"], line["event"], line["count"]) == ("error", "events.dropped", 7)


def test_drops_are_told_once_a_minute_and_at_the_end() -> None:
    """With their count; the cursor stays where it is."""
    here, dropped = new_pipeline(), RecordsDropped(HERE, 7, GapReason.BUFFER_FULL)
    with capture_logs() as shown:
        first = process(here, [dropped], NOW_NS)
        silent = process(here, [dropped, dropped], NOW_NS + 1)
        last = here.finish(NOW_NS + 2)
    assert [len(intake.notifications) for intake in (first, silent, last)] == [1, 0, 1]
    ((notification, _),) = last.notifications
    assert notification.events[0].actor.attributes["count"] == "14"
    assert [shed["count"] for shed in shown] == [7, 14]
    assert last.checkpoint is not None
    assert last.checkpoint.position_ns == 1
    assert here.finish(NOW_NS + 3).notifications == []
    assert here.counters.dropped[GapReason.BUFFER_FULL] == 21


def test_drops_that_were_not_told_are_told_by_the_next_process() -> None:
    """Once it knows its engine's host: what was dropped is stored with the cursor."""
    here, dropped = new_pipeline(), RecordsDropped(HERE, 7, GapReason.BUFFER_FULL)
    process(here, [dropped], NOW_NS)
    killed = process(here, [dropped], NOW_NS + 1).checkpoint
    assert killed is not None
    later = EventPipeline("here", "oldest", new_router(), killed)
    own = make_self_event("engine_lost", engine="here", host="here", time_ns=NOW_NS)
    waiting = process(later, [own], NOW_NS + 2).checkpoint
    assert waiting is not None
    assert waiting.unreported_drops == killed.unreported_drops != ()
    intake = process(later, [StreamOpened(HERE)], NOW_NS + 3)
    (facts,) = [notification.events[0].actor.attributes for notification, _ in intake.notifications]
    assert (facts["why"], facts["count"]) == ("buffer_full", "7")
    assert intake.checkpoint is not None
    assert intake.checkpoint.unreported_drops == ()


def test_relays_own_events_are_routed_and_move_no_cursor() -> None:
    """They carry relay's clock."""
    here = new_pipeline()
    before = process(here, [], NOW_NS).checkpoint
    own = make_self_event("engine_lost", engine="here", host="node-1", time_ns=NOW_NS, name="here")
    intake = process(here, [own], NOW_NS)
    assert routed(intake) == [("own", "here")]
    assert intake.checkpoint == before


def test_before_the_first_connection_there_is_no_cursor() -> None:
    """An engine that cannot be reached is told of, and its first start is still to come."""
    own: Event = make_self_event("engine_lost", engine="here", host="here", time_ns=NOW_NS)
    intake = process(EventPipeline("here", "now", new_router()), [own], NOW_NS)
    assert intake.checkpoint is None
    assert routed(intake) == [("own", None)]


@pytest.mark.parametrize(
    ("start_from", "start_ns"),
    [
        ("now", NOW_NS),
        ("oldest", 1),
        (timedelta(minutes=10), NOW_NS - 600 * 10**9),
        (timedelta(milliseconds=1), NOW_NS - 10**6),
        (timedelta(days=365 * 100), 1),
    ],
)
def test_where_a_first_start_begins(start_from: StartFrom, start_ns: int) -> None:
    """By the engine's time, and not before there was any."""
    assert resolve_start_ns(start_from, NOW_NS) == start_ns
    asked_ns = EventPipeline("here", start_from, new_router()).since_ns(NOW_NS)
    assert asked_ns == max(1, start_ns - LOOKBACK_NS)


def test_a_first_start_begins_once() -> None:
    """A second connection goes on from there, however long the first took to say something."""
    here = EventPipeline("here", "now", new_router())
    here.since_ns(NOW_NS)
    assert here.since_ns(NOW_NS + 10**12) == NOW_NS - LOOKBACK_NS


def test_a_later_start_goes_on_from_what_was_stored() -> None:
    """``start_from`` is for the first."""
    saved = Checkpoint(NOW_NS - 5, NOW_NS - 9, encode_seen("evt_00", NOW_NS - 5))
    assert EventPipeline("here", "oldest", new_router(), saved).since_ns(NOW_NS) == NOW_NS - 9


OWN = "6" * 64
EVERYTHING = "destinations: {ops: {type: console}}\nroutes: [{name: all, to: ops}]"


def pipeline_in_container(bookmark: Checkpoint | None = None) -> EventPipeline:
    """Of a relay that runs in a container, and tells everything."""
    every = Router(parse(EVERYTHING, file="routes", environ={}, folder=Path()).routes)
    here = EventPipeline("here", "oldest", every, bookmark, own_container=OWN)
    here.since_ns(NOW_NS)
    return here


def container_record(action: str, id_: str, time_ns: int) -> bytes:
    """A record of what happened to a container."""
    actor = {"ID": id_, "Attributes": {"name": id_[:1], "image": "bb:1"}}
    return json.dumps(
        {"Type": "container", "Action": action, "Actor": actor, "timeNano": time_ns}
    ).encode()


PROBE = ("exec_create: python alive", "exec_start: python alive", "exec_die")


def test_probes_of_relays_own_container_are_told_to_nobody() -> None:
    """The same in another container is told, and so is what else happens to relay's own."""
    actions = [*PROBE, "health_status: unhealthy", "die"]
    contents = [
        container_record(action, id_, NOW_NS + number * 2 + order)
        for number, action in enumerate(actions)
        for order, id_ in enumerate((OWN, "7" * 64))
    ]
    here = pipeline_in_container()
    intake = process(here, records(contents), NOW_NS)
    told_of = [(n.events[0].action, n.events[0].actor.name) for n, _ in intake.notifications]
    assert told_of == [
        ("exec_create", "7"),
        ("exec_start", "7"),
        ("exec_die", "7"),
        ("health_status", "6"),
        ("health_status", "7"),
        ("die", "6"),
        ("die", "7"),
    ]
    assert here.counters.accepted == 10
    assert here.counters.matches == {"all": 7}
    assert not here.counters.dropped


def test_probes_of_relays_own_container_move_the_cursor() -> None:
    """relay resumes behind them, and where they come again they are repetitions, not a gap."""
    here = pipeline_in_container()
    contents = [container_record(action, OWN, NOW_NS + n) for n, action in enumerate(PROBE)]
    intake = process(here, records(contents), NOW_NS)
    assert intake.checkpoint is not None
    assert intake.checkpoint.position_ns == NOW_NS + 2
    later, again = (
        pipeline_in_container(intake.checkpoint),
        Connection("here", "node-1", NOW_NS + 9, 1),
    )
    remembered = [parse_record(content, again) for content in contents]
    history = tuple(event for event in remembered if isinstance(event, Event))
    items = [StreamOpened(again, history), *records(contents, again)]
    assert process(later, items, NOW_NS + 9).notifications == []
    assert (later.counters.duplicates, later.counters.gaps.total()) == (3, 0)
