"""The incidents with a clock, as the loops use them."""

from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from relay.core.container_facts import ContainerFacts
from relay.core.event import RELAY_ENGINE, Event
from relay.core.incident import Audience
from relay.core.include import Included
from relay.incidents import intake
from relay.incidents.clock import Engines
from relay.incidents.evidence import Evidence, find_evidence
from relay.incidents.incidents import EngineClocks, Incidents, without_incidents
from relay.incidents.inquiry import Answer
from relay.incidents.journal import Journal
from relay.incidents.life import HOUR_NS, SECOND_NS
from relay.incidents.policy import PolicyKeys
from relay.incidents.rows import decode_rows
from relay.incidents.state import Rows
from tests.unit.incidents.events import die, ns, start
from tests.unit.incidents.world import Setup

CRASHES = {"name": "died", "match": {"action": "die"}, "to": ["ops", "pager", "audit"]}
AUDIENCES = {"ops": Audience.PEOPLE, "pager": Audience.PAGER, "audit": Audience.PROGRAMS}
LOGS = {**CRASHES, "include": {"logs": 5}}


class Clock:
    """Both clocks of relay, which a test sets."""

    def __init__(self) -> None:
        self.steady_ns = self.wall_ns = ns(0)

    def advance(self, seconds: float) -> None:
        self.steady_ns += round(seconds * 1e9)
        self.wall_ns += round(seconds * 1e9)


def make(clock: Clock, setup: Setup, rows: Rows | None = None) -> Incidents:
    """Incidents at a connected engine."""
    clocks = EngineClocks(lambda: clock.steady_ns, lambda: clock.wall_ns)
    made = Incidents(rows or Rows(), setup.policies, setup.router, clocks)
    made.stream_opened("here", 0, is_local=True)
    made.caught_up("here")
    return made


def take(incidents: Incidents, setup: Setup, *events: Event) -> list[str]:
    """Take events; return the destinations of what is sent at once."""
    routed = [(each, setup.router.route(each)) for each in events]
    return [to for _, destinations in incidents.take(routed) for to in destinations]


def reported(incidents: Incidents) -> list[Sequence[str]]:
    """The destinations of what is due."""
    return [destinations for _, destinations in incidents.due().notifications]


def test_programs_get_the_event_and_people_a_message_later() -> None:
    """A crash goes to programs at once, to a pager when asked, and to a chat after its wait."""
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    incidents = make(clock, setup)
    assert take(incidents, setup, die(0)) == ["audit"]
    assert incidents.due_in_s == 0
    assert reported(incidents) == [("pager",)]
    assert incidents.due_in_s == 3
    clock.advance(3)
    assert reported(incidents) == [("ops",)]


def test_changes_are_taken_once_and_make_the_same_incidents() -> None:
    """All changes since the last call are enough to go on after a restart."""
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    incidents = make(clock, setup)
    take(incidents, setup, die(0))
    changes = dict(incidents.take_changes())
    assert not incidents.take_changes()
    incidents.due()
    changes.update(incidents.take_changes())
    stored = [(kind, key, content) for (kind, key), content in changes.items() if content]
    again = make(clock, setup, decode_rows(stored))
    clock.advance(3)
    assert reported(again) == [("ops",)]


def test_the_loop_is_woken() -> None:
    """A change calls back; an event of no incident does not."""
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    incidents = make(clock, setup)
    calls: list[int] = []
    incidents.on_change(lambda: calls.append(1))
    take(incidents, setup, start(0))
    assert not calls
    take(incidents, setup, die(1))
    assert calls


def test_a_reload_wakes() -> None:
    """No row changes, but the incident is over sooner."""
    clock, slow = Clock(), PolicyKeys(resolve_after_ns=HOUR_NS)
    before = Setup(CRASHES, audiences=AUDIENCES, keys={"died": slow})
    incidents = make(clock, before)
    take(incidents, before, die(0), start(0.1))
    clock.advance(3)
    for notification, (to,) in incidents.due().notifications:
        incidents.settled(to, notification.id, delivered=True)
    calls: list[int] = []
    incidents.on_change(lambda: calls.append(1))
    after = Setup(CRASHES, audiences=AUDIENCES)
    incidents.reload(after.policies, after.router)
    assert calls


def test_a_new_store_keeps_nothing_that_was_removed() -> None:
    """What is recovered of the store before may contain it."""
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    incidents = make(clock, setup)
    take(incidents, setup, die(0))
    stored = incidents.take_changes()
    nothing = Setup(CRASHES, audiences=AUDIENCES, engines=frozenset())
    incidents.reload(nothing.policies, nothing.router)
    incidents.mark_all_changed()
    changes = incidents.take_changes()
    assert all(changes[key] is None for key in stored if key[0] == "incidents")


def test_an_event_that_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged and sent by itself; those before and after it are counted, each once."""
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    clocks = EngineClocks(lambda: clock.steady_ns, lambda: clock.wall_ns)
    incidents = Incidents(Rows(), setup.policies, setup.router, clocks, journal=Journal())

    def fail(event: Event) -> Evidence | None:
        if event.actor.name == "bad":
            raise OverflowError("too large")
        return find_evidence(event)

    monkeypatch.setattr(intake, "find_evidence", fail)
    with capture_logs() as logs:
        sent = take(incidents, setup, die(0, "a"), die(1, "bad"), die(2, "b"))
    assert sent == ["audit", "ops", "pager", "audit", "audit"]
    assert [each.name for each in incidents.list_incidents("ops")] == ["a", "b"]
    assert [each["event"] for each in logs if each["log_level"] == "error"] == [
        "incident.event_failed"
    ]


def test_a_pager_waits_in_the_store_for_what_its_route_includes() -> None:
    """A pager gets one message, so that includes the request; a chat gets the answer
    later."""
    clock, setup = Clock(), Setup(LOGS, audiences=AUDIENCES)
    incidents = make(clock, setup)
    take(incidents, setup, die(0))
    assert incidents.take_inquiries("elsewhere") == []
    (inquiry,) = incidents.take_inquiries("here")
    assert inquiry.include.logs == 5
    assert incidents.take_inquiries("here") == []
    ((to_pager, _),) = incidents.due().notifications
    assert to_pager.include is not None
    answer = Included(logs=("out of luck",))
    incidents.answered(inquiry, Answer(answer))
    clock.advance(3)
    ((to_ops, _),) = incidents.due().notifications
    assert (to_ops.include, to_ops.included) == (None, answer)


def test_a_pager_does_not_wait_for_facts() -> None:
    """Its message is sent at once, with what relay knows without asking the engine."""
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    for known in (ContainerFacts("always", memory_limit=2**26), None):
        incidents = make(clock, setup)
        death = die(0)
        incidents.take([(death, setup.router.route(death))], {death.actor.id: known}.get)
        ((to_pager, _),) = incidents.due().notifications
        assert to_pager.include is None
        assert to_pager.update is not None
        assert to_pager.update.incidents[0].container == known


def test_a_large_flood_is_reported_in_slices() -> None:
    """One call checks a part of what is due, so that others get their turn; nothing is reported
    twice.

    All incidents end up in the same message as without slices.
    """
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    incidents = make(clock, setup)
    for number in range(1_200):
        name = f"web-{number}"
        take(incidents, setup, die(0, name, project=name), start(0.1, name, project=name))
    clock.advance(3)
    for notification, (to,) in incidents.due().notifications:
        incidents.settled(to, notification.id, delivered=True)
    clock.advance(60)
    slices = 1
    while not incidents.due().is_complete:
        slices += 1
    assert slices > 2
    clock.advance(3)
    resolved = [each for each, to in incidents.due().notifications if to == ("ops",)]
    (message,) = resolved
    assert message.update is not None
    assert len(message.update.incidents) + message.update.more == 1_200


def test_the_wall_clock_of_a_remote_engine_is_its_own() -> None:
    """Setting this machine's clock moves a local engine's time, and not a remote one's."""
    clock = Clock()
    clocks = EngineClocks(lambda: clock.steady_ns, lambda: clock.wall_ns)
    clocks.set_lead("local", 0, is_local=True)
    clocks.set_lead("remote", 5_000_000_000, is_local=False)
    clock.wall_ns += 3_600_000_000_000
    now = clocks.now()
    assert now.at("local") - now.steady_ns == 3_600_000_000_000
    assert now.at("remote") - now.steady_ns == 5_000_000_000


def test_engines_whose_clocks_were_set() -> None:
    """Those on this machine with the wall clock; another one if a new connection shows it."""
    clock = Clock()
    clocks = EngineClocks(lambda: clock.steady_ns, lambda: clock.wall_ns)
    clocks.set_lead("local", 0, is_local=True)
    clocks.set_lead("remote", 0, is_local=False)
    engines = Engines(clock.steady_ns)
    assert engines.find_set_clocks(clocks.now()) == {}
    clock.advance(100)
    clock.wall_ns += SECOND_NS  # within the tolerance
    assert engines.find_set_clocks(clocks.now()) == {}
    clock.wall_ns += 60 * SECOND_NS
    assert engines.find_set_clocks(clocks.now()) == dict.fromkeys(
        (RELAY_ENGINE, "local"), 60 * SECOND_NS
    )
    assert engines.find_set_clocks(clocks.now()) == {}
    clocks.set_lead("remote", 0, is_local=False)  # by as much as the wall clock
    clocks.set_lead("new", 0, is_local=False)
    assert engines.find_set_clocks(clocks.now()) == {"remote": 61 * SECOND_NS}


def test_without_incidents_every_event_is_sent_by_itself() -> None:
    """Dry runs of a single stream need no policies."""
    setup = Setup(CRASHES, audiences=AUDIENCES)
    assert take(without_incidents(), setup, die(0)) == ["ops", "pager", "audit"]


def test_closing_ends_an_open_incident_only() -> None:
    """Closing says whether there was an open one."""
    clock, setup = Clock(), Setup(CRASHES, audiences=AUDIENCES)
    incidents = make(clock, setup)
    take(incidents, setup, die(0))
    (incident, _) = incidents.list_incidents()
    assert incidents.close(incident.id)
    assert not incidents.close(incident.id)
    assert not incidents.close("inc_of_nobody")
