"""What engines are asked about the containers of incidents, and what becomes of the answers."""

import pytest
from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.core.event import Event
from relay.core.incident import Audience, Condition, IncidentReport
from relay.core.include import FACTS_ONLY, Include, Included
from relay.incidents.inquiry import INQUIRIES, Answer, Inquiries, Inquiry
from relay.incidents.message import add_answer
from relay.incidents.observation import Observation
from tests.unit.incidents.events import die, event, health, ns, start
from tests.unit.incidents.test_reconciliation import seen
from tests.unit.incidents.world import DIED, Setup, World

LIMITED = ContainerFacts("on-failure", 2, 1, 2**26)
FOREVER = ContainerFacts("always", 0, 1)
NEVER = ContainerFacts("no", 0, 0)
SWARM = {"com.docker.swarm.service.id": "svc1"}


class Engine:
    """Answers the inquiries of a world, or does not."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: list[Inquiry] = []

    def take(self, happened: Event, answer: Answer | None = None) -> None:
        """Let an event happen, and answer what is asked about it."""
        world = self._world
        world.run(happened.time_ns / 1e9 - ns(0) / 1e9)
        result = world.dispatcher.take([(happened, world.setup.router.route(happened))], world.now)
        world.store.apply(result.changes)
        self.asked += result.inquiries
        for inquiry in result.inquiries:
            if answer is not None:
                world.store.apply(world.dispatcher.put_answer(inquiry, answer, world.now))


def report_of(world: World) -> IncidentReport:
    """The first incident of the last message."""
    return world.messages()[-1].update.incidents[0]


def times(engine: Engine) -> list[float]:
    """The seconds of the events about which an engine was asked."""
    return [round((each.event.time_ns - ns(0)) / 1e9, 3) for each in engine.asked]


def test_the_facts_are_in_the_message() -> None:
    """They stay with the incident's row, so a restart of relay does not lose them."""
    world = World()
    engine = Engine(world)
    engine.take(replace(die(0), ran_ns=5_000_000_000), Answer(facts=FOREVER))
    world.restart()
    world.run(10)
    found = report_of(world)
    assert found.container == FOREVER
    assert found.problem.ran_ns == 5_000_000_000
    assert (found.given_up, found.ending) == (False, None)
    assert [each.include for each in engine.asked] == [FACTS_ONLY]


def test_no_answer_leaves_what_is_known() -> None:
    """No facts, but how long it ran."""
    world = World()
    Engine(world).take(replace(die(0), ran_ns=1_000_000_000), Answer())
    world.run(10)
    found = report_of(world)
    assert (found.container, found.problem.ran_ns) == (None, 1_000_000_000)


def test_a_restart_count_holds_until_the_next_death() -> None:
    """A message after that does not have it, and a later answer has the new one."""
    world = World()
    engine = Engine(world)
    engine.take(die(0), Answer(facts=FOREVER))
    engine.take(start(0.1))
    engine.take(die(1))
    world.run(10)
    assert report_of(world).container == replace(FOREVER, restart_count=None)
    engine.take(start(10))
    engine.take(die(11), Answer(facts=replace(FOREVER, restart_count=3)))
    world.run(80)
    assert report_of(world).container == replace(FOREVER, restart_count=3)


def test_when_an_engine_is_asked() -> None:
    """When an incident opens, when it loops, and when a death comes ten minutes later."""
    world = World()
    engine = Engine(world)
    for at_s in range(0, 1300, 30):
        engine.take(die(at_s), Answer(facts=FOREVER))
        engine.take(start(at_s + 0.1))
    assert times(engine) == [0, 60, 690]


def test_a_policy_that_may_be_exhausted() -> None:
    """Before that no answer is worth a question; then each death may be the last."""
    world = World()
    engine = Engine(world)
    facts = ContainerFacts("on-failure", 10, 1)
    engine.take(die(0), Answer(facts=facts))
    for number in range(1, 12):
        engine.take(start(100 * number - 1))
        engine.take(die(100 * number), Answer(facts=replace(facts, restart_count=number + 1)))
    # at 200 it loops, at 900 and 1000 this may be the last; then it is counted anew
    assert times(engine) == [0, 200, 900, 1000, 1100]


def test_a_policy_that_is_exhausted() -> None:
    """It was reported as restarting: that it stays down is reported at once."""
    world = World()
    engine = Engine(world)
    engine.take(die(0), Answer(facts=ContainerFacts("on-failure", 1, 1)))
    engine.take(start(0.1))
    engine.take(die(30), Answer(facts=ContainerFacts("on-failure", 1, 1), is_final=True))
    world.run(70)
    found = report_of(world)
    assert (found.reason, found.condition, found.given_up) == ("stays_down", "down", True)
    engine.take(start(71))
    world.run(400)
    assert (report_of(world).given_up, report_of(world).condition) == (False, "up")


def test_a_final_answer_about_an_earlier_life() -> None:
    """Somebody has started it since."""
    world = World()
    engine = Engine(world)
    engine.take(die(0))
    engine.take(start(0.5))
    late = Answer(facts=NEVER, is_final=True)
    world.store.apply(world.dispatcher.put_answer(engine.asked[0], late, world.now))
    world.run(10)
    assert (report_of(world).condition, report_of(world).given_up) == ("up", False)
    engine.take(die(20))
    world.store.apply(world.dispatcher.put_answer(engine.asked[0], late, world.now))
    (incident,) = world.dispatcher.list_incidents()
    assert incident.life.will_restart


def test_a_policy_that_says_no() -> None:
    """Docker does not restart it, but somebody else may: it does not count as staying down."""
    world = World()
    engine = Engine(world)
    engine.take(die(0), Answer(facts=NEVER))
    world.run(10)
    assert report_of(world).given_up
    engine.take(start(11))
    world.run(12)
    engine.take(die(80))
    world.run(90)
    assert len(world.messages()) == 2, "opened, and resolved after a minute"


def test_a_container_that_somebody_stopped() -> None:
    """It is not given up: it ended as asked."""
    world = World()
    engine = Engine(world)
    engine.take(die(0), Answer(facts=NEVER))
    engine.take(event("stop", 1))
    world.run(4)
    assert (report_of(world).given_up, report_of(world).ending) == (False, "stopped")


def test_a_container_that_was_created_anew() -> None:
    """What was known of the old one does not hold for it; its engine is asked again."""
    world = World()
    engine = Engine(world)
    engine.take(die(0), Answer(facts=LIMITED))
    engine.take(start(1, id_="another"))
    (incident,) = world.dispatcher.list_incidents()
    assert incident.container is None
    engine.take(die(2, id_="another"), Answer(facts=FOREVER))
    assert [each.event.actor.id for each in engine.asked] == ["id-of-web-1", "another"]
    (incident,) = world.dispatcher.list_incidents()
    assert incident.container == FOREVER
    old = Inquiry(incident.id, die(0), FACTS_ONLY)
    world.store.apply(world.dispatcher.put_answer(old, Answer(facts=LIMITED), world.now))
    assert world.dispatcher.list_incidents() == [incident]


def test_a_task_of_a_swarm() -> None:
    """Not its policy but its service replaces it, so that says nothing."""
    world = World()
    task = die(0, "web.1.x", labels=SWARM)
    Engine(world).take(task, Answer(facts=replace(NEVER, memory_limit=5), is_final=True))
    world.run(10)
    found = report_of(world)
    assert (found.container, found.given_up) == (ContainerFacts(memory_limit=5), False)


def test_a_reconciliation_shows_the_facts() -> None:
    """They count like an answer; of another container they do not."""
    world = World()
    Engine(world).take(die(0))
    shown = seen(is_running=False, facts=LIMITED)
    another = seen("web-2", is_running=False, facts=FOREVER)
    world.observe(Observation("here", ns(5), (shown, another)))
    (incident,) = world.dispatcher.list_incidents()
    assert incident.container == LIMITED
    world.observe(Observation("here", ns(6), (seen(id_="new", is_running=False, facts=NEVER),)))
    assert world.dispatcher.list_incidents()[0].container == LIMITED


def test_what_is_no_container_is_not_asked_about() -> None:
    """Nor is an event that is no problem."""
    route = {"name": "all", "match": {}, "to": ["ops"]}
    world = World(Setup(route))
    engine = Engine(world)
    engine.take(event("start_failed", 0, "web", type_="service"))
    engine.take(start(1))
    assert engine.asked == []
    engine.take(health(2, "unhealthy"))
    engine.take(event("oom", 3, "other"))
    assert times(engine) == [2, 3]


def test_one_question_for_all_incidents_of_an_event() -> None:
    """Two routes and three destinations; the route that includes something is asked for it."""
    audiences = {"ops": Audience.PEOPLE, "team": Audience.PEOPLE, "pager": Audience.PAGER}
    plain = {**DIED, "to": ["ops", "team"]}
    logs = {**DIED, "name": "page", "to": ["pager"], "include": {"logs": 5}}
    for routes in ((plain, logs), (logs, plain)):
        world = World(Setup(*routes, audiences=audiences))
        engine = Engine(world)
        engine.take(die(0), Answer(Included(logs=("bye",)), FOREVER))
        (inquiry,) = engine.asked
        assert inquiry.include == Include(logs=5)
        incidents = world.dispatcher.list_incidents()
        assert {each.container for each in incidents} == {FOREVER}
        assert [each.destination for each in incidents if each.included] == ["pager"]


def test_the_limit_is_one_for_all_questions() -> None:
    """And each engine has its own."""
    inquiries = Inquiries()
    asked = [
        inquiries.ask(f"inc_{n}", die(0, f"web-{n}"), None, ns(0)) for n in range(INQUIRIES + 5)
    ]
    assert asked == [True] * INQUIRIES + [False] * 5
    assert inquiries.ask("inc_x", die(0, "x", engine="other"), None, ns(0))
    assert not inquiries.ask("inc_y", die(0, "y"), None, ns(2.9))
    assert inquiries.ask("inc_y", die(0, "y"), None, ns(3))
    assert len(inquiries.take()) == INQUIRIES + 2
    assert inquiries.take() == []


@pytest.mark.parametrize(
    ("facts", "exhausted", "option"),
    [
        (ContainerFacts("no"), True, "no"),
        (ContainerFacts("always", 0, 9), False, "always"),
        (ContainerFacts("unless-stopped"), False, "unless-stopped"),
        (ContainerFacts("on-failure", 0, 9), False, "on-failure"),
        (ContainerFacts("on-failure", 2, 1), False, "on-failure:2"),
        (ContainerFacts("on-failure", 2, 2), True, "on-failure:2"),
        (ContainerFacts("on-failure", 2), False, "on-failure:2"),
        (ContainerFacts(), False, None),
    ],
)
def test_policies(facts: ContainerFacts, exhausted: bool, option: str | None) -> None:
    """``on-failure:N`` restarts so often, ``on-failure`` always, and ``no`` never."""
    assert (facts.is_exhausted, facts.restart_option) == (exhausted, option)


def test_a_message_that_waits_for_the_answer() -> None:
    """A pager's is made at once: the facts are added with what its route includes."""
    audiences = {"pager": Audience.PAGER}
    for labels, expected, given_up in (
        ({}, LIMITED, True),
        (SWARM, ContainerFacts(memory_limit=2**26), None),
    ):
        world = World(Setup({**DIED, "to": ["pager"]}, audiences=audiences))
        world.take(die(0, "web.1.x", labels=labels))
        world.run(1)
        waiting = world.messages("pager")[0].to_notification()
        complete = add_answer(waiting, Answer(facts=LIMITED, is_final=given_up is True))
        assert complete.update is not None
        (found,) = complete.update.incidents
        assert found.container == expected
        assert (found.condition, found.given_up) == (Condition.DOWN, bool(given_up))
        assert complete.included is None
        assert add_answer(waiting, Answer()) == waiting
