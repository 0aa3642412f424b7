"""The event pipeline: what one engine's stream is turned into."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.config import StartFrom
from relay.core.checkpoint import Checkpoint, encode_seen
from relay.core.event import Cause, Event, GapReason, Origin, format_rfc3339, make_self_event
from relay.core.notification import build_notification
from relay.destinations.catalog import parse_config
from relay.ingest.docker.buffer import Connection, RecordsDropped, StreamOpened, parse_record
from relay.ingest.docker.containers import registry as registry_module
from relay.ingest.docker.cursor import LOOKBACK_NS, MARGIN_NS, resolve_start_ns
from relay.ingest.docker.gaps import REPORT_INTERVAL_NS
from relay.ingest.docker.pipeline import EventPipeline
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
    """Of a recorded stream the events that match a route are routed, in order."""
    commit = process(new_pipeline(), records(read_records(engine)), NOW_NS)
    assert routed(commit) == [
        ("crashed", "failed"),
        ("out-of-memory", "oomed"),
        ("crashed", "hostkilled"),
        *[("crashed", "looping")] * 4,
        ("unhealthy", "sick"),
        ("crashed", "shop-web-1"),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_batches_make_no_difference(engine: str) -> None:
    """One record at a time gives the same result as all at once."""
    whole, piecemeal = new_pipeline(), new_pipeline()
    all_at_once = process(whole, records(read_records(engine)), NOW_NS)
    one_by_one = [process(piecemeal, [item], NOW_NS) for item in records(read_records(engine))]
    assert [pair for commit in one_by_one for pair in commit.notifications] == list(
        all_at_once.notifications
    )
    assert one_by_one[-1].checkpoint == all_at_once.checkpoint


def test_a_notification_goes_to_the_destinations_of_its_route() -> None:
    """It contains the normalised event, including its cause."""
    commit = process(new_pipeline(), records(read_records("docker26")), NOW_NS)
    notification, destinations = next(
        pair for pair in commit.notifications if pair[0].route == "crashed"
    )
    (event,) = notification.events
    assert destinations == ("ops", "audit")
    assert notification == build_notification("crashed", event)
    assert (event.engine, event.host, event.action) == ("here", "node-1", "die")
    assert (event.cause, event.exit_code) == (Cause.CRASHED, 3)


def test_events_from_before_the_connection_are_replayed() -> None:
    """The engine repeated them out of its history."""
    connection = Connection("here", "node-1", opened_ns=NOW_NS, since_ns=1)
    commit = process(new_pipeline(), records(read_records("docker26"), connection), NOW_NS)
    assert {n.events[0].origin for n, _ in commit.notifications} == {Origin.REPLAYED}


def test_a_repeated_event_is_not_routed_again() -> None:
    """A repeated event is not routed again, also not by the next process, which reads the store."""
    first = new_pipeline()
    commit = process(first, records(read_records("docker26")), NOW_NS)
    assert routed(process(first, records(read_records("docker26")), NOW_NS)) == []
    assert commit.checkpoint is not None
    second = EventPipeline("here", "now", new_router(), commit.checkpoint)
    assert routed(process(second, records(read_records("docker26")), NOW_NS)) == []


def test_the_cursor_moves_with_accepted_events() -> None:
    """The next connection continues from the checkpoint of the commit."""
    pipeline = new_pipeline()
    event = b'{"Type":"volume","Action":"create","timeNano":%d}' % NOW_NS
    commit = process(pipeline, [StreamOpened(HERE), *records([event])], NOW_NS)
    assert commit.engine == "here"
    assert commit.checkpoint is not None
    assert commit.checkpoint.position_ns == NOW_NS
    assert pipeline.since_ns(NOW_NS + 1) == NOW_NS - MARGIN_NS


def test_the_pipeline_remembers_accepted_events() -> None:
    """The pipeline remembers accepted events; before the first connection it remembers none."""
    pipeline = new_pipeline()
    commit = process(pipeline, records(read_records("docker26")), NOW_NS)
    (event,) = commit.notifications[-1][0].events
    assert pipeline.remembers(event)
    assert not EventPipeline("here", "now", new_router()).remembers(event)


def test_the_first_invalid_record_of_each_kind_is_logged() -> None:
    """Each invalid record is counted, and the records after it are processed."""
    pipeline = new_pipeline()
    broken = [b"<html>\x1b[2J", b"<html>", b'{"Type":"container"}', b'{"Type":3}', b"[]"]
    with capture_logs() as logged:
        commit = process(pipeline, records([*broken, *read_records("docker26")]), NOW_NS)
    lines = [line for line in logged if line["event"] == "event.malformed"]
    assert [(line["event"], line["flaw"], line["head"]) for line in lines] == [
        ("event.malformed", "not_json", "<html>\x1b[2J"),
        ("event.malformed", "missing_field", '{"Type":"container"}'),
        ("event.malformed", "odd_type", '{"Type":3}'),
    ]
    assert pipeline.counters.malformed == {"not_json": 2, "missing_field": 1, "odd_type": 2}
    assert commit.notifications


def test_records_that_are_no_events_are_declared_once() -> None:
    """A ``gap`` says how many; what the engine repeats after a reconnect is not declared again."""
    pipeline = new_pipeline()
    broken = [b"<html>", b"<p>", b"<html>"]
    with capture_logs():
        first = process(pipeline, records(broken), NOW_NS)
        again = process(pipeline, records(broken), NOW_NS + REPORT_INTERVAL_NS)
        later = process(pipeline, records([b"<b>"]), NOW_NS + 2 * REPORT_INTERVAL_NS)
    commits = (first, again, later)
    found = [each.events[0] for commit in commits for each, _ in commit.notifications]
    assert [event.actor.attributes["why"] for event in found] == ["record_invalid"] * 2
    assert [event.actor.attributes["count"] for event in found] == ["2", "1"]
    assert not again.notifications
    assert pipeline.counters.dropped == {"record_invalid": 3}
    assert pipeline.containers.may_have_missed_deaths


def test_what_is_given_up_of_containers_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``gap`` says of how many containers, once a minute at most."""
    monkeypatch.setattr(registry_module, "LABELS_MAX_BYTES", 1_000)
    pipeline, labels = new_pipeline(), {f"label-{number}": "" for number in range(100)}
    starts = [
        json.dumps(
            {
                **{"Type": "container", "Action": "start", "timeNano": NOW_NS + number},
                "Actor": {"ID": str(number), "Attributes": labels},
            }
        ).encode()
        for number in range(3)
    ]
    with capture_logs():
        first = process(pipeline, [StreamOpened(HERE), *records(starts[:2])], NOW_NS)
        second = process(pipeline, records(starts[2:]), NOW_NS + 1)
        third = process(pipeline, [], NOW_NS + REPORT_INTERVAL_NS)
    gaps = [[each.events[0] for each, _ in it.notifications] for it in (first, second, third)]
    assert [[event.actor.attributes["count"] for event in each] for each in gaps] == [
        ["2"],
        [],
        ["1"],
    ]
    assert gaps[0][0].actor.attributes["why"] == "containers_full"
    assert not pipeline.gap_count


def test_dropped_records_are_declared() -> None:
    """Dropped records are declared by a ``gap`` event and a log entry, each with the count."""
    with capture_logs() as logged:
        commit = process(new_pipeline(), [RecordsDropped(HERE, 7, GapReason.BUFFER_FULL)], NOW_NS)
    ((notification, destinations),) = commit.notifications
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
    ((line),) = logged
    assert (line["log_level"], line["event"], line["count"]) == ("error", "events.dropped", 7)


def test_drops_are_reported_once_a_minute_and_at_the_end() -> None:
    """Drops are reported once a minute and at the end, with their count; the cursor stays."""
    pipeline, dropped = new_pipeline(), RecordsDropped(HERE, 7, GapReason.BUFFER_FULL)
    with capture_logs() as logged:
        first = process(pipeline, [dropped], NOW_NS)
        silent = process(pipeline, [dropped, dropped], NOW_NS + 1)
        last = pipeline.finish(NOW_NS + 2)
    assert [len(commit.notifications) for commit in (first, silent, last)] == [1, 0, 1]
    ((notification, _),) = last.notifications
    assert notification.events[0].actor.attributes["count"] == "14"
    assert [line["count"] for line in logged] == [7, 14]
    assert last.checkpoint is not None
    assert last.checkpoint.position_ns == 1
    assert pipeline.finish(NOW_NS + 3).notifications == []
    assert pipeline.counters.dropped[GapReason.BUFFER_FULL] == 21


def test_unreported_drops_are_reported_by_the_next_process() -> None:
    """Once it knows the engine's host: drops are stored with the cursor."""
    pipeline, dropped = new_pipeline(), RecordsDropped(HERE, 7, GapReason.BUFFER_FULL)
    process(pipeline, [dropped], NOW_NS)
    killed = process(pipeline, [dropped], NOW_NS + 1).checkpoint
    assert killed is not None
    restored = EventPipeline("here", "oldest", new_router(), killed)
    own = make_self_event("engine_lost", engine="here", host="here", time_ns=NOW_NS)
    waiting = process(restored, [own], NOW_NS + 2).checkpoint
    assert waiting is not None
    assert waiting.unreported_drops == killed.unreported_drops != ()
    commit = process(restored, [StreamOpened(HERE)], NOW_NS + 3)
    (facts,) = [notification.events[0].actor.attributes for notification, _ in commit.notifications]
    assert (facts["why"], facts["count"]) == ("buffer_full", "7")
    assert commit.checkpoint is not None
    assert commit.checkpoint.unreported_drops == ()


def test_relays_own_events_are_routed_and_move_no_cursor() -> None:
    """They carry the time of relay's clock."""
    pipeline = new_pipeline()
    before = process(pipeline, [], NOW_NS).checkpoint
    own = make_self_event("engine_lost", engine="here", host="node-1", time_ns=NOW_NS, name="here")
    commit = process(pipeline, [own], NOW_NS)
    assert routed(commit) == [("own", "here")]
    assert commit.checkpoint == before


def test_before_the_first_connection_there_is_no_cursor() -> None:
    """An unreachable engine is reported, and its first start is still to come."""
    own: Event = make_self_event("engine_lost", engine="here", host="here", time_ns=NOW_NS)
    commit = process(EventPipeline("here", "now", new_router()), [own], NOW_NS)
    assert commit.checkpoint is None
    assert routed(commit) == [("own", None)]


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
    """A first start begins by the engine's time, and never before 1."""
    assert resolve_start_ns(start_from, NOW_NS) == start_ns
    since_ns = EventPipeline("here", start_from, new_router()).since_ns(NOW_NS)
    assert since_ns == max(1, start_ns - LOOKBACK_NS)


def test_a_first_start_begins_once() -> None:
    """A second connection continues from there, even if no event arrived for long."""
    pipeline = EventPipeline("here", "now", new_router())
    pipeline.since_ns(NOW_NS)
    assert pipeline.since_ns(NOW_NS + 10**12) == NOW_NS - LOOKBACK_NS


def test_a_later_start_continues_from_the_checkpoint() -> None:
    """``start_from`` applies only to the first start."""
    saved = Checkpoint(NOW_NS - 5, NOW_NS - 9, encode_seen("evt_00", NOW_NS - 5))
    assert EventPipeline("here", "oldest", new_router(), saved).since_ns(NOW_NS) == NOW_NS - 9


OWN = "6" * 64
EVERYTHING = "destinations: {ops: {type: console}}\nroutes: [{name: all, to: ops}]"


def pipeline_in_container(checkpoint: Checkpoint | None = None) -> EventPipeline:
    """The pipeline of a relay that runs in a container and routes everything."""
    every = Router(parse_config(EVERYTHING, file="routes", environ={}, folder=Path()).routes)
    pipeline = EventPipeline("here", "oldest", every, checkpoint)
    pipeline.own_container = OWN
    pipeline.since_ns(NOW_NS)
    return pipeline


def container_record(action: str, id_: str, time_ns: int) -> bytes:
    """The record of an event of a container."""
    actor = {"ID": id_, "Attributes": {"name": id_[:1], "image": "bb:1"}}
    return json.dumps(
        {"Type": "container", "Action": action, "Actor": actor, "timeNano": time_ns}
    ).encode()


PROBE = ("exec_create: python alive", "exec_start: python alive", "exec_die")


def test_probes_of_relays_own_container_are_not_routed() -> None:
    """Probes of the own container are not routed; those of others and its other events are."""
    actions = [*PROBE, "health_status: unhealthy", "die"]
    contents = [
        container_record(action, id_, NOW_NS + number * 2 + order)
        for number, action in enumerate(actions)
        for order, id_ in enumerate((OWN, "7" * 64))
    ]
    pipeline = pipeline_in_container()
    commit = process(pipeline, records(contents), NOW_NS)
    routed_actions = [(n.events[0].action, n.events[0].actor.name) for n, _ in commit.notifications]
    assert routed_actions == [
        ("exec_create", "7"),
        ("exec_start", "7"),
        ("exec_die", "7"),
        ("health_status", "6"),
        ("health_status", "7"),
        ("die", "6"),
        ("die", "7"),
    ]
    assert pipeline.counters.accepted == 10
    assert pipeline.counters.matches == {"all": 7}
    assert not pipeline.counters.dropped


def test_probes_of_relays_own_container_move_the_cursor() -> None:
    """If they are repeated after a restart, they are duplicates and no gap."""
    pipeline = pipeline_in_container()
    contents = [container_record(action, OWN, NOW_NS + n) for n, action in enumerate(PROBE)]
    commit = process(pipeline, records(contents), NOW_NS)
    assert commit.checkpoint is not None
    assert commit.checkpoint.position_ns == NOW_NS + 2
    restored, reconnected = (
        pipeline_in_container(commit.checkpoint),
        Connection("here", "node-1", NOW_NS + 9, 1),
    )
    parsed = [parse_record(content, reconnected) for content in contents]
    history = tuple(event for event in parsed if isinstance(event, Event))
    items = [StreamOpened(reconnected, history), *records(contents, reconnected)]
    assert process(restored, items, NOW_NS + 9).notifications == []
    assert (restored.counters.duplicates, restored.counters.gaps.total()) == (3, 0)
