"""What one engine's events come to."""

from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.bookmark import Bookmark
from relay.config import StartFrom, parse
from relay.engine.cursor import MARGIN_NS, Cursor
from relay.engine.inbox import Connection, Dropped, Inbox, Item, Opened, Record
from relay.event import Cause, Event, Origin, happening
from relay.ingest import BATCH, Digest, beginning_ns, ingest
from relay.notification import notify
from relay.routing.router import Router
from relay.store.outbox import Intake
from relay.store.sqlite import open_outbox
from tests.streams import ENGINES, lines

NOW_NS = 1795420000_000000000
HERE = Connection(engine="here", host="node-1", opened_ns=0, since_ns=0)
ROUTES = """
destinations:
  ops: {type: console}
  audit: {type: console}
routes:
  - {name: out-of-memory, match: {type: container, action: oom}, to: ops}
  - name: crashed
    match: {type: container, action: die, cause: crashed, name: {not: "svc.*"}}
    to: [ops, audit]
  - {name: unhealthy, match: {type: container, health: unhealthy}, to: ops}
  - {name: own, match: {type: relay}, to: audit}
"""


def router() -> Router:
    return Router(parse(ROUTES, file="routes", environ={}, folder=Path()).routes)


def digest(start_from: StartFrom = "oldest") -> Digest:
    """One that a connection was opened for."""
    made = Digest("here", start_from, router())
    made.since_ns(NOW_NS)
    return made


def records(contents: list[bytes], connection: Connection = HERE) -> list[Item]:
    return [Record(connection, content) for content in contents]


def told(intake: Intake) -> list[tuple[str, str | None]]:
    """Which route told of whom."""
    return [
        (notification.route, notification.events[0].actor.name)
        for notification, _ in intake.notifications
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recorded_stream(engine: str) -> None:
    """Of everything that happened on an engine, what the routes ask for, in its order."""
    intake = digest().take_in(records(lines(engine)), NOW_NS)
    assert told(intake) == [
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
    whole, piecemeal = digest(), digest()
    all_at_once = whole.take_in(records(lines(engine)), NOW_NS)
    one_by_one = [piecemeal.take_in([item], NOW_NS) for item in records(lines(engine))]
    assert [pair for intake in one_by_one for pair in intake.notifications] == list(
        all_at_once.notifications
    )
    assert one_by_one[-1].bookmark == all_at_once.bookmark


def test_a_notification_goes_where_its_route_says() -> None:
    """With the event in relay's words, its cause among them."""
    intake = digest().take_in(records(lines("docker26")), NOW_NS)
    notification, destinations = next(
        pair for pair in intake.notifications if pair[0].route == "crashed"
    )
    (event,) = notification.events
    assert destinations == ("ops", "audit")
    assert notification == notify("crashed", event)
    assert (event.engine, event.host, event.action) == ("here", "node-1", "die")
    assert (event.cause, event.exit_code) == (Cause.CRASHED, 3)


def test_what_came_before_the_stream_was_opened_is_replayed() -> None:
    """The engine repeated it out of its history."""
    later = Connection("here", "node-1", opened_ns=NOW_NS, since_ns=1)
    intake = digest().take_in(records(lines("docker26"), later), NOW_NS)
    assert {n.events[0].origin for n, _ in intake.notifications} == {Origin.REPLAYED}


def test_a_repetition_comes_to_nothing() -> None:
    """Neither in one process nor in the next, which has only what was stored."""
    first = digest()
    intake = first.take_in(records(lines("docker26")), NOW_NS)
    assert told(first.take_in(records(lines("docker26")), NOW_NS)) == []
    assert intake.bookmark is not None
    second = Digest("here", "now", router(), Cursor(intake.bookmark))
    assert told(second.take_in(records(lines("docker26")), NOW_NS)) == []


def test_the_cursor_moves_with_what_is_taken_in() -> None:
    """What the intake carries is where the next connection goes on from."""
    here = digest()
    event = b'{"Type":"volume","Action":"create","timeNano":%d}' % NOW_NS
    intake = here.take_in([Opened(HERE), *records([event])], NOW_NS)
    assert intake.engine == "here"
    assert intake.bookmark is not None
    assert intake.bookmark.position_ns == NOW_NS
    assert here.since_ns(NOW_NS + 1) == NOW_NS - MARGIN_NS


def test_remembers_what_was_taken_in() -> None:
    """Before the first connection that is nothing."""
    here = digest()
    intake = here.take_in(records(lines("docker26")), NOW_NS)
    (event,) = intake.notifications[-1][0].events
    assert here.remembers(event)
    assert not Digest("here", "now", router()).remembers(event)


def test_what_is_no_event_is_shown_once_of_each_kind() -> None:
    """And counted each time; what comes after it is taken in."""
    here = digest()
    broken = [b"<html>\x1b[2J", b"<html>", b'{"Type":"container"}', b'{"Type":3}', b"[]"]
    with capture_logs() as shown:
        intake = here.take_in(records([*broken, *lines("docker26")]), NOW_NS)
    assert [(line["event"], line["flaw"], line["head"]) for line in shown] == [
        ("event.malformed", "not_json", "<html>\x1b[2J"),
        ("event.malformed", "missing_field", '{"Type":"container"}'),
        ("event.malformed", "odd_type", '{"Type":3}'),
    ]
    assert here.malformed == {"not_json": 2, "missing_field": 1, "odd_type": 2}
    assert intake.notifications


def test_what_was_dropped_is_declared() -> None:
    """By an event of relay's own, an error in the log, and the count in both."""
    with capture_logs() as shown:
        intake = digest().take_in([Dropped(HERE, 7, "ingest.buffer is full")], NOW_NS)
    ((notification, destinations),) = intake.notifications
    (event,) = notification.events
    assert (notification.route, destinations) == ("own", ("audit",))
    assert (event.type, event.action, event.time_ns) == ("relay", "gap", NOW_NS)
    assert (event.engine, event.host, event.actor.name) == ("here", "node-1", "here")
    assert event.actor.attributes == {"count": "7", "reason": "ingest.buffer is full"}
    ((line),) = shown
    assert (line["log_level"], line["event"], line["count"]) == ("error", "events.dropped", 7)


def test_relays_own_events_are_routed_and_move_no_cursor() -> None:
    """They carry relay's clock."""
    here = digest()
    before = here.take_in([], NOW_NS).bookmark
    own = happening("engine_lost", engine="here", host="node-1", time_ns=NOW_NS, name="here")
    intake = here.take_in([own], NOW_NS)
    assert told(intake) == [("own", "here")]
    assert intake.bookmark == before


def test_before_the_first_connection_there_is_no_cursor() -> None:
    """An engine that cannot be reached is told of, and its first start is still to come."""
    own: Event = happening("engine_lost", engine="here", host="here", time_ns=NOW_NS)
    intake = Digest("here", "now", router()).take_in([own], NOW_NS)
    assert intake.bookmark is None
    assert told(intake) == [("own", None)]


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
    assert beginning_ns(start_from, NOW_NS) == start_ns
    assert Digest("here", start_from, router()).since_ns(NOW_NS) == start_ns


def test_a_first_start_begins_once() -> None:
    """A second connection goes on from there, however long the first took to say something."""
    here = Digest("here", "now", router())
    here.since_ns(NOW_NS)
    assert here.since_ns(NOW_NS + 10**12) == NOW_NS


def test_a_later_start_goes_on_from_what_was_stored() -> None:
    """``start_from`` is for the first."""
    saved = Cursor(Bookmark.beginning(NOW_NS - 5))
    assert Digest("here", "oldest", router(), saved).since_ns(NOW_NS) == NOW_NS - 5


async def test_all_that_was_read_is_committed_before_the_end() -> None:
    """Batch by batch, until the inbox is closed and empty."""
    inbox, here = Inbox(2**20), digest()
    contents = [
        b'{"Type":"container","Action":"oom","Actor":{"ID":"%d"},"timeNano":%d}' % (n, NOW_NS + n)
        for n in range(BATCH + 1)
    ]
    inbox.put_records(HERE, contents)
    inbox.close()
    async with open_outbox(None) as outbox:
        await ingest(inbox, here, outbox, lambda: NOW_NS)
        assert await outbox.pending() == {"ops": BATCH + 1}
        bookmark = await outbox.bookmark("here")
    assert bookmark is not None
    assert bookmark.position_ns == NOW_NS + BATCH
