"""Silences of a running relay: what they hold back, and the log lines about them."""

from typing import Any

from structlog.testing import capture_logs

from relay.incidents.dispatcher import Dispatcher
from relay.incidents.journal import Journal
from relay.incidents.silence import KEPT_NS, Silence
from relay.incidents.silence_request import SilenceRequest
from tests.unit.incidents.events import die, event, ns, start
from tests.unit.incidents.world import DIED, Setup, World

SECOND_NS = 10**9


def silence(world: World, duration_s: float = 3600, **fields: Any) -> Silence:
    """Add a silence now; by default of everything."""
    given: dict[str, Any] = {"comment": "deploy", "by": "ann", **fields}
    if not given.keys() & {"match", "incident"}:
        given["everything"] = True
    request = SilenceRequest(**given, duration_ns=round(duration_s * SECOND_NS))
    added, changes = world.dispatcher.add_silence(request, world.now)
    world.store.apply(changes)
    return added


def expire(world: World, id_: int, after_s: float = 0) -> None:
    """End a silence now, or after some seconds."""
    _, changes = world.dispatcher.expire_silence(id_, round(after_s * SECOND_NS), world.now)
    world.store.apply(changes)


def get(world: World, id_: int) -> Silence:
    """A silence as it is now."""
    (found,) = (each for each in world.dispatcher.list_silences() if each.id == id_)
    return found


def set_wall_clock(world: World, ahead_s: float) -> None:
    """Somebody sets relay's wall clock, and its loop notices."""
    world.lead_s["relay"] = ahead_s
    assert world.dispatcher.is_wall_clock_set(world.now)
    world.due()


def test_what_is_down_at_its_end_is_reported_then() -> None:
    """B1: within three seconds, with what happened meanwhile."""
    world = World()
    added = silence(world)
    world.play([die(10)], 3610)
    world.check_balance()
    ((t, *reported),) = world.reported()
    assert 3600 <= t <= 3603
    assert reported == ["firing", "opened", 1]
    assert (get(world, added.id).held_incidents, get(world, added.id).held_events) == (0, 0)


def test_what_came_and_went_is_only_counted() -> None:
    """B2: one incident with one event, by the silence that held it back."""
    world = World()
    added = silence(world)
    world.play([die(10), start(10.1)], 7200)
    world.check_balance()
    assert world.reported() == []
    assert (get(world, added.id).held_incidents, get(world, added.id).held_events) == (1, 1)


def test_the_end_of_what_was_reported_is_reported_through_it() -> None:
    """B3."""
    world = World().play([die(10)], 60)
    silence(world)
    world.play([start(1000)], 7200)
    first, (t, *reported) = world.reported()
    assert first[:2] == (13, "firing")
    assert (round(t), *reported) == (1063, "resolved", "resolved", 0)


def test_it_ends_when_somebody_ends_it() -> None:
    """What is open is reported within three seconds, and no later silence is touched."""
    world = World()
    first, second = silence(world), silence(world, match={"name": "db"})
    world.play([die(10), die(10, "db")], 100)
    expire(world, first.id)
    world.run(200)
    ((t, *_),) = world.reported()
    assert 100 <= t <= 103
    (message,) = world.messages()
    assert [each.subject for each in message.update.incidents] == ["web-1"]
    expire(world, second.id, after_s=60)
    world.run(400)
    assert 260 <= world.reported()[1][0] <= 263


def test_an_incident_is_silenced_by_its_id() -> None:
    """Another one of the same project is reported."""
    world = World().play([die(0, "a"), die(0, "b")], 1)
    by_name = {each.name: each.id for each in world.dispatcher.list_incidents()}
    silence(world, incident=by_name["a"])
    world.run(100)
    (message,) = world.messages()
    assert [each.subject for each in message.update.incidents] == ["b"]


def test_plain_events_are_tried_when_they_come() -> None:
    """They are counted, and not reported at its end."""
    match = {"action": ["start", "die"]}
    world = World(Setup({**DIED, "match": match}))
    added = silence(world, 60, match={"name": "web-*"})
    world.play([event("start", 1), event("start", 2, "db")], 100)
    world.check_balance()
    (message,) = world.messages()
    assert message.count == 1
    assert get(world, added.id).held_events == 1


def test_the_wall_clock_is_set() -> None:
    """B11: it is over while the clock is ahead, and in force again when it is back."""
    world = World()
    silence(world)
    world.play([die(10, "a")], 20)
    set_wall_clock(world, 7200)
    world.run(100)
    assert [each[1] for each in world.reported()] == ["firing"]
    set_wall_clock(world, 0)
    world.play([die(110, "b")], 3590)
    assert len(world.reported()) == 1
    world.run(3700)
    assert len(world.reported()) == 2


def test_the_wall_clock_is_set_back() -> None:
    """It lasts longer then: until the clock shows its end."""
    world = World()
    silence(world, 60)
    world.play([die(10)], 20)
    set_wall_clock(world, -3600)
    world.run(3600)
    assert world.reported() == []
    world.run(3700)
    ((t, *_),) = world.reported()
    assert 3660 <= t <= 3663


class LoggedWorld(World):
    """A world whose dispatcher logs."""

    def load(self) -> Dispatcher:
        """A dispatcher of the stored rows."""
        setup = self.setup
        return Dispatcher(
            self.store.load(), setup.policies, setup.router, self.now, journal=Journal()
        )


def test_the_log_says_what_becomes_of_silences() -> None:
    """When one is added, when somebody ends it, and when it ends by itself."""
    with capture_logs() as logs:
        world = LoggedWorld()
        added = silence(world, 70, match={"name": "web-1"})
        silence(world, 30, incident="inc_1")
        ended = silence(world)
        expire(world, ended.id)
        world.play([die(1), start(1.1)], 100)
    lines = [each for each in logs if each["event"].startswith("silence.")]
    assert [(each["event"], each["silence"]) for each in lines] == [
        *(("silence.added", 1), ("silence.added", 2), ("silence.added", 3)),
        *(("silence.expired", 3), ("silence.ended", 2), ("silence.ended", 1)),
    ]
    assert lines[0] == {
        "event": "silence.added",
        "log_level": "info",
        "silence": added.id,
        "match": '{"name":"web-1"}',
        "begin": "2027-01-15T08:00:00.000000000Z",
        "until": "2027-01-15T08:01:10.000000000Z",
        "comment": "deploy",
        "by": "ann",
    }
    assert lines[1]["match"] == "inc_1"


def test_silences_are_no_reason_to_go_on() -> None:
    """A dry run ends although a silence is to come."""
    world = World()
    silence(world, from_ns=ns(100))
    world.run(1)
    assert world.dispatcher.next_due_ns == ns(100)
    assert not world.dispatcher.awaits_change


def test_what_is_over_for_long_is_forgotten() -> None:
    """When the next one ends, or is added."""
    world = World()
    silence(world, 60)
    silence(world, KEPT_NS / SECOND_NS + 100, match={"name": "a"})
    world.run(KEPT_NS / SECOND_NS + 101)
    assert [each.id for each in world.dispatcher.list_silences()] == [2]
