"""What operators see of incidents: their order, pages, and why one was not reported."""

import msgspec
import pytest

from relay.core.incident import Audience, Condition, Resolution, Status, UpdateReason
from relay.core.severity import Severity
from relay.incidents.actions import close_incidents
from relay.incidents.destination import BUDGET
from relay.incidents.state import Rows
from relay.incidents.view import IncidentView, find_details, list_page
from tests.unit.incidents.events import die, event, ns, start
from tests.unit.incidents.world import Setup, World

ROUTES = (
    {"name": "oom", "match": {"action": "oom"}, "to": ["ops"], "severity": "warning"},
    {"name": "died", "match": {"action": "die", "cause": ["crashed", "oom"]}, "to": ["ops"]},
)


def look(world: World, *, include_ended: bool = False) -> list[IncidentView]:
    """All incidents, as a command lists them."""
    rows = world.dispatcher.export()
    return list_page(rows, world.now, 100, include_ended=include_ended).incidents


def only(world: World) -> IncidentView:
    """The incident that is there."""
    (found,) = look(world, include_ended=True)
    return found


def test_the_most_severe_come_first_then_the_latest() -> None:
    """What is over comes last, and only if it is asked for."""
    world = World(Setup(*ROUTES))
    world.play(
        [
            *(die(0, "back"), start(0.1, "back")),
            *(event("oom", 100, "child"), die(101, "older"), die(102, "newer")),
        ],
        120,
    )
    assert [each.subject for each in look(world)] == ["newer", "older", "child"]
    everything = look(world, include_ended=True)
    assert [each.subject for each in everything] == ["newer", "older", "child", "back"]
    assert [each.severity for each in everything[1:]] == [
        *(Severity.CRITICAL, Severity.WARNING, Severity.CRITICAL)
    ]
    assert everything[-1].resolution is Resolution.RECOVERED


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_make_the_list(limit: int) -> None:
    """Each goes on where the one before it ended, whatever became of that incident."""
    names = [f"web-{number}" for number in range(7)]
    world = World().play([die(index, name) for index, name in enumerate(names)], 20)
    rows, found, after, pages = world.dispatcher.export(), [], None, 0
    while True:
        page = list_page(rows, world.now, limit, after=after)
        found += [each.subject for each in page.incidents]
        assert len(page.incidents) <= limit
        pages += 1
        if page.next is None:
            break
        gone = {each.id for each in page.incidents}
        kept = [each for each in rows.incidents if each.id not in gone]
        rows, after = msgspec.structs.replace(rows, incidents=kept), page.next
    assert found == names[::-1]
    assert pages == -(-7 // limit)


def test_a_page_that_goes_on_nowhere() -> None:
    """An ``after`` that no page gave is refused."""
    for after in ("", "x", "[1]", '[true,0,"x","y","z"]', "null"):
        with pytest.raises(msgspec.MsgspecError):
            list_page(Rows(), World().now, 1, after=after)


def test_not_reported_yet() -> None:
    """It says when it is due."""
    view = only(World().play([die(0)], 1))
    assert (view.message_count, view.reported_ns, view.held) == (0, None, None)
    assert (view.update, view.due_ns) == (UpdateReason.OPENED, ns(3))
    assert (view.status, view.condition) == (Status.FIRING, Condition.DOWN)
    assert view.group == {"engine": "here", "project": "web-1"}


def test_the_budget_is_used_up() -> None:
    """It is due when its destination may be sent a message again."""
    world = World().play([die(index * 5, f"web-{index}") for index in range(11)], 54)
    assert len(world.sent) == BUDGET
    (waiting,) = (each for each in look(world) if not each.message_count)
    world.run(1000)
    reported_s = next(t for t, message in world.sent[BUDGET:] if message.update.reason == "opened")
    assert waiting.due_ns == ns(reported_s)


def test_reported() -> None:
    """It says when, and that there is nothing else to report."""
    view = only(World().play([die(0), die(5)], 10))
    assert (view.message_count, view.reported_ns, view.message) == (1, ns(3), None)
    assert (view.update, view.due_ns, view.blocked) == (None, None, False)
    assert (view.total, view.unreported, view.deaths) == (2, 1, 2)


def test_its_message_waits() -> None:
    """It names the message, and what is new waits behind that."""
    world = World()
    world.broken.add("ops")
    world.play([die(0), start(0.1)], 10)
    (message,) = world.waiting
    assert only(world).message == message.id
    assert not only(world).blocked
    world.run(100)
    view = only(world)
    assert (view.update, view.message) == (UpdateReason.RESOLVED, message.id)
    world.take(die(100, "other", labels={"com.docker.compose.project": "web-1"}))
    (other,) = (each for each in look(world) if each.subject == "other")
    assert (other.message, other.blocked) == (None, True)
    world.give_up(message, refused=True)


def test_refused() -> None:
    """It says that the destination refused its message."""
    world = World()
    world.broken.add("ops")
    world.play([die(0)], 10)
    world.give_up(world.waiting[0], refused=True)
    view = only(world)
    assert view.refused
    assert view.message is None


def test_held_back() -> None:
    """It says why it was not reported, and no longer once it is reported."""
    setup = Setup(
        {"name": "died", "match": {"action": "die"}, "to": ["pager"]},
        audiences={"pager": Audience.PAGER},
    )
    world = World(setup)
    world.dispatcher.disconnected("here", world.now)
    world.dispatcher.connected("here", world.now)  # nothing is reported before its history is read
    world.take(die(0))
    world.take(start(1))
    world.t = 100
    world.store.apply(world.dispatcher.caught_up("here", world.now))
    world.run(101)
    view = only(world)
    assert (view.held, view.message_count, view.update) == ("brief", 0, None)
    counts = world.dispatcher.count(world.now)
    assert counts.held == {"pager": {"brief": 1}}
    assert counts.open == {}
    world.play([die(110)], 111)
    assert only(world).held is None
    assert world.dispatcher.count(world.now).open == {"pager": {Severity.CRITICAL: 1}}


def test_details() -> None:
    """The first and the last problem, and when it failed; found by the beginning of its id."""
    world = World().play([die(0), start(0.1), die(5), start(6)], 10)
    view = only(world)
    for beginning in (view.id, view.id[:10]):
        (details,) = find_details(world.dispatcher.export(), world.now, beginning)
        assert details.incident == view
        assert (details.first, details.last) == (die(0), die(5))
        assert details.failures_ns == (ns(0), ns(5))
        assert details.well_since_ns == ns(6)
    assert find_details(world.dispatcher.export(), world.now, "inc_x") == []


def test_closing_rows_is_what_the_dispatcher_does() -> None:
    """Whether relay runs or not, the same becomes of an incident."""
    world = World().play([die(0), die(1, "other")], 10)
    incident_id = next(each.id for each in look(world) if each.subject == "web-1")
    (closed,) = close_incidents(world.dispatcher.list_incidents(), incident_id, world.now)
    world.store.apply(world.dispatcher.close(incident_id, world.now))
    assert closed in world.dispatcher.list_incidents()
    assert (closed.resolution, closed.ended_ns) == (Resolution.CLOSED, ns(10))
    assert close_incidents(world.dispatcher.list_incidents(), incident_id, world.now) == []


def test_a_stored_incident_that_was_closed_is_reported_after_the_start() -> None:
    """A command closed it while no relay was running."""
    world = World().play([die(0)], 10)
    rows = world.store.load()
    (closed,) = close_incidents(rows.incidents, rows.incidents[0].id, world.now)
    world.store.tables["incidents"][world.store.key(closed)] = msgspec.json.encode(closed)
    world.dispatcher = world.load()
    world.connect()
    world.run(100)
    assert world.reported()[1:] == [(63.0, "resolved", "resolved", 0)]
