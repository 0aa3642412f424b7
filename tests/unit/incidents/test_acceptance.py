"""The acceptance table, row by row, on virtual time.

Rows about what fails or is changed around relay are in `test_acceptance_failures`. Those that need
a process, a store or a renderer are tested where these are.
"""

import pytest

from relay.core.event import Cause
from relay.core.incident import Audience, Condition, Resolution
from tests.unit.incidents.events import crash_loop, die, event, health, ns, own, start
from tests.unit.incidents.world import DIED, Setup, World

PAGER = {"pager": Audience.PAGER, "ops": Audience.PEOPLE, "audit": Audience.PROGRAMS}
UNHEALTHY = {"name": "ill", "match": {"health": "unhealthy"}, "to": ["ops"]}
DAY = 86_400.0


def test_a1_a_crash_that_is_restarted() -> None:
    """Two messages: it crashed, and it has been well for a minute."""
    world = World().play([die(0), start(0.1)], 3600)
    assert world.reported() == [(3.0, "firing", "opened", 1), (63.1, "resolved", "resolved", 0)]
    opened, resolved = (message.update.incidents[0] for message in world.messages())
    assert opened.condition is Condition.UP
    assert not opened.notified_before
    assert resolved.resolution is Resolution.RECOVERED
    assert resolved.id == opened.id
    world.check_balance()
    world.check_total()


def test_a2_a_crash_that_stays_down() -> None:
    """One message, then daily reminders for a week; its end is reported even after that."""
    world = World().play([die(0), event("destroy", 9 * DAY)], 10 * DAY)
    assert world.reported() == [
        (3.0, "firing", "opened", 1),
        *((3.0 + day * DAY, "firing", "reminder", 0) for day in range(1, 7)),
        (9 * DAY + 63, "resolved", "resolved", 0),
    ]
    assert world.messages()[0].update.incidents[0].condition is Condition.DOWN
    assert world.messages()[1].severity == "info"
    assert world.messages()[-1].update.incidents[0].resolution is Resolution.REMOVED


def test_a3_a_container_that_removes_itself() -> None:
    """It is resolved as removed; a pager gets its messages without a wait."""
    route = {**DIED, "to": ["ops", "pager"]}
    world = World(Setup(route, audiences=PAGER)).play([die(0), event("destroy", 0.02)], 600)
    assert world.reported() == [(3.0, "firing", "opened", 1), (63.02, "resolved", "resolved", 0)]
    assert world.reported("pager") == [
        (0.0, "firing", "opened", 1),
        (60.02, "resolved", "resolved", 0),
    ]
    assert world.messages()[1].update.incidents[0].resolution is Resolution.REMOVED
    ids = {message.update.incidents[0].id for _, message in world.sent}
    assert len(ids) == 1  # the same at every destination


def test_a4_a_crash_loop_of_an_hour() -> None:
    """Two messages of 69 deaths; a program gets each event as it happens."""
    route = {**DIED, "to": ["ops", "audit"]}
    world = World(Setup(route)).play(crash_loop(), 8000)
    assert world.reported() == [
        (3.05, "firing", "opened", 5),
        (3708.75, "resolved", "resolved", 64),
    ]
    first, last = (message.update.incidents[0] for message in world.messages())
    assert first.crash_looping
    assert first.condition is Condition.RESTARTING
    assert (last.total, last.deaths) == (69, 69)
    assert len(world.immediate) == 69
    assert {to for _, to, _ in world.immediate} == {"audit"}


def test_a5_a_crash_loop_whose_starts_are_routed_too() -> None:
    """They are counted with the deaths."""
    route = {"name": "died", "match": {"action": ["die", "start"]}, "to": ["ops"]}
    world = World(Setup(route)).play(crash_loop(), 8000)
    assert len(world.reported()) == 2
    assert sum(count for _, _, _, count in world.reported()) == 138
    assert all(message.events[0].action == "die" for message in world.messages())


def test_a6_a_crash_loop_that_somebody_stops() -> None:
    """A bare stop while it waits for its next restart ends it."""
    loop = [each for each in crash_loop() if each.time_ns < ns(42.5)]
    world = World().play([*loop, event("stop", 42.5)], 3600)
    assert world.reported() == [(3.05, "firing", "opened", 5), (105.5, "resolved", "resolved", 4)]
    assert world.messages()[1].update.incidents[0].resolution is Resolution.STOPPED


def test_a7_a_crash_every_three_minutes() -> None:
    """It has to be well for six minutes, once it is known to flap."""
    events = [each for n in range(10) for each in (die(180 * n), start(180 * n + 0.1))]
    world = World().play(events, 8000)
    assert world.reported() == [
        (3.0, "firing", "opened", 1),
        (63.1, "resolved", "resolved", 0),
        (183.0, "firing", "reopened", 1),
        (363.0, "firing", "crash_looping", 1),
        (1982.9, "resolved", "resolved", 7),
    ]
    assert len({message.update.incidents[0].id for message in world.messages()}) == 1


def test_a8_a_crash_every_half_hour() -> None:
    """It has to be well for an hour."""
    events = [each for n in range(48) for each in (die(1800 * n), start(1800 * n + 0.1))]
    world = World().play(events, 100_000)
    assert world.reported() == [
        (3.0, "firing", "opened", 1),
        (63.1, "resolved", "resolved", 0),
        (1803.0, "firing", "reopened", 1),
        (88_202.9, "resolved", "resolved", 46),
    ]


def test_a9_flapping_health() -> None:
    """Opened, flapping, resolved."""
    events = [
        each
        for n in range(20)
        for each in (health(40 * n, "unhealthy"), health(40 * n + 20, "healthy"))
    ]
    world = World(Setup(UNHEALTHY)).play(events, 5000)
    assert world.reported() == [
        (3.0, "firing", "opened", 1),
        (83.0, "firing", "crash_looping", 2),
        (843.0, "resolved", "resolved", 17),
    ]


def test_a10_a_stack() -> None:
    """What fails together is reported together, and a group is reported once a minute at most."""
    events = [
        each
        for name, t in (("db", 0), ("api", 1.5), ("worker", 5))
        for each in (die(t, name, project="shop"), start(t + 0.1, name, project="shop"))
    ]
    world = World().play(events, 3600)
    assert world.reported() == [
        (3.0, "firing", "opened", 2),
        (63.0, "firing", "opened", 1),
        (123.0, "resolved", "resolved", 0),
    ]
    second = world.messages()[1]
    assert [(each.subject, each.status.value) for each in second.update.incidents] == [
        ("worker", "firing"),
        ("db", "resolved"),
        ("api", "resolved"),
    ]
    assert second.update.group == {"engine": "here", "project": "shop"}


def test_a11_an_oom_kill() -> None:
    """The kill and the death are one incident, by whatever routes they come."""
    routes = (
        {"name": "out-of-memory", "match": {"action": "oom"}, "to": ["ops"]},
        {"name": "crashed", "match": {"action": "die", "cause": ["crashed", "oom"]}, "to": ["ops"]},
    )
    world = World(Setup(*routes))
    world.play([event("oom", 0), die(0.05, cause=Cause.OOM), start(0.15)], 3600)
    assert world.reported() == [(3.0, "firing", "opened", 2), (63.15, "resolved", "resolved", 0)]
    world.check_balance()


def test_a12_a_pool_whose_children_are_killed() -> None:
    """The container stays up, so it is no crash loop."""
    route = {"name": "oom", "match": {"action": "oom"}, "to": ["ops"]}
    world = World(Setup(route)).play([event("oom", n * 25 / 51) for n in range(52)], 3600)
    assert world.reported() == [(3.0, "firing", "opened", 7), (88.0, "resolved", "resolved", 45)]
    assert world.messages()[0].update.incidents[0].condition is Condition.UP


def test_a13_autoheal() -> None:
    """A restart that somebody asks for is no failure, and resets health."""
    events = [
        health(0, "unhealthy"),
        die(30, cause=Cause.REQUESTED),
        start(30),
        health(31.4, "unhealthy"),
        die(90, cause=Cause.REQUESTED),
        start(90),
        health(91.5, "healthy"),
    ]
    world = World(Setup(UNHEALTHY)).play(events, 3600)
    assert world.reported() == [(3.0, "firing", "opened", 1), (154.5, "resolved", "resolved", 1)]


def test_a14_unhealthy_then_dead() -> None:
    """It is reported that it got worse."""
    route = {
        "name": "ill",
        "match": {"any": [{"health": "unhealthy"}, {"action": "die"}]},
        "to": ["ops"],
    }
    world = World(Setup(route)).play([health(0, "unhealthy"), die(60)], 3600)
    assert world.reported() == [(3.0, "firing", "opened", 1), (63.0, "firing", "worse", 1)]
    assert world.messages()[1].update.incidents[0].condition is Condition.DOWN


def test_a15_a_restart_policy_that_gives_up() -> None:
    """Once its next restart is overdue, it is down and no longer restarting."""
    events = [die(0), start(0.1), die(0.2), start(0.4), die(0.45), start(0.85), die(0.9)]
    world = World().play(events, 3600)
    assert world.reported() == [(3.0, "firing", "opened", 4)]
    assert world.messages()[0].update.incidents[0].crash_looping
    assert world.messages()[0].update.incidents[0].condition is Condition.DOWN


def test_a16_a_crash_loop_that_cannot_start_again() -> None:
    """It was reported as restarting, so it is reported once that it stays down."""
    loop = [each for each in crash_loop() if each.time_ns < ns(60)]
    world = World().play(loop[:-1] if loop[-1].action == "start" else loop, 3600)
    (first, second) = world.reported()
    assert first == (3.05, "firing", "opened", 5)
    assert second[1:3] == ("firing", "stays_down")
    assert second[0] < 60 + 180
    assert world.messages()[1].update.incidents[0].condition is Condition.DOWN


def test_a16_an_inspection_shows_that_it_cannot_start() -> None:
    """Then nobody waits for it any longer."""
    route = {"name": "died", "match": {"action": ["die", "start_failed"]}, "to": ["ops"]}
    loop = [each for each in crash_loop() if each.time_ns < ns(51)]
    world = World(Setup(route)).play([*loop, event("start_failed", 70)], 3600)
    assert world.reported() == [(3.05, "firing", "opened", 5), (73.0, "firing", "stays_down", 5)]
    assert world.messages()[1].update.incidents[0].condition is Condition.DOWN


def test_a17_fifty_stacks() -> None:
    """A storm goes as one message."""
    events = []
    for n in range(50):
        name = f"stack-{n}"
        events += [
            die(n * 0.01, name, project=name),
            start(10 + n * 0.1, name, project=name),
        ]
    world = World().play(events, 3600)
    assert world.reported() == [
        (3.0, "firing", "opened", 50),
        (73.0, "resolved", "resolved", 0),
        (76.1, "resolved", "resolved", 0),
    ]
    first, *others = world.messages()
    assert (len(first.update.incidents), len(first.events), first.update.group) == (50, 10, None)
    assert [len(message.update.incidents) for message in others] == [31, 19]


def test_a18_ten_thousand_stacks() -> None:
    """One message, which lists a hundred; a program gets every event."""
    count = 10_000
    world = World(Setup({**DIED, "to": ["ops", "audit"]}))
    for n in range(count):
        if n % 500 == 0:
            world.run(n / count * 0.3)
        world.take(die(n / count * 0.3, f"s{n}", project=f"s{n}"))
    world.run(30)
    world.take(*(start(30, f"s{n}", project=f"s{n}") for n in range(count)))
    world.run(200)
    assert world.reported() == [
        (3.0, "firing", "opened", count),
        (93.0, "resolved", "resolved", 0),
    ]
    first, last = world.messages()
    assert (len(first.update.incidents), first.update.more) == (100, 9_900)
    assert (len(last.update.incidents), last.update.more) == (100, 9_900)
    assert len(world.immediate) == count
    world.run(4000)  # all of it is forgotten
    world.check_store()
    rows = world.dispatcher.export()
    assert (len(rows.incidents), len(rows.groups)) == (0, 0)


def test_a19_a_new_stack_crashes_every_ten_seconds() -> None:
    """Ten messages, then one a minute with all that waits."""
    events = []
    for n in range(30):
        name = f"stack-{n}"
        t = 10.0 * n
        events += [die(t, name, project=name), start(t + 0.1, name, project=name)]
    world = World().play(events, 3600)
    times = [t for t, *_ in world.reported()]
    assert times == [
        *(3.0, 13.0, 23.0, 33.0, 43.0, 53.0, 63.0, 63.1, 73.0, 73.1, 83.0),
        *(123.0, 183.0, 243.0, 303.0, 363.0),
    ]
    assert [t for t, status, *_ in world.reported() if status == "resolved"] == [63.1, 73.1, 363.0]
    assert sum(count for *_, count in world.reported()) == 30


def test_a20_a_crash_just_before_resolved_is_reported() -> None:
    """Resolved is withdrawn."""
    world = World().play([die(0), start(0.2), die(61.0), start(61.2)], 3600)
    assert world.reported() == [(3.0, "firing", "opened", 1), (185.8, "resolved", "resolved", 1)]


def test_a21_compose_recreates_it() -> None:
    """The new container has the same name."""
    events = [die(0, id_="a"), event("destroy", 5, id_="a"), start(8, id_="b")]
    world = World().play(events, 3600)
    assert world.reported() == [(3.0, "firing", "opened", 1), (71.0, "resolved", "resolved", 0)]
    assert world.messages()[1].update.incidents[0].resolution is Resolution.RECOVERED


@pytest.mark.parametrize("engine", ["here", "there"])
def test_a22_a_swarm_task_is_replaced(engine: str) -> None:
    """The removal of the old task resolves nothing, wherever the new one runs."""
    labels = {"com.docker.swarm.service.id": "svc"}
    events = [
        die(0, "web.1.aaa", id_="a", labels=labels),
        start(5, "web.1.bbb", id_="b", labels=labels, engine=engine),
        event("destroy", 30, "web.1.aaa", id_="a", labels=labels),
    ]
    world = World()
    world.connect("there")
    world.play(events, 3600)
    assert world.reported() == [(3.0, "firing", "opened", 1), (68.0, "resolved", "resolved", 0)]
    assert world.messages()[1].update.incidents[0].resolution is Resolution.RECOVERED
    assert world.messages()[0].update.incidents[0].subject == "web.1"


def test_a25_a_recreated_stack() -> None:
    """Plain events are reported by group; a route for crashes says nothing."""
    routes = (
        {"name": "all", "match": {"action": ["start", "die", "destroy"]}, "to": ["ops"]},
        {**DIED, "to": ["chat"]},
    )
    world = World(Setup(*routes, audiences={"ops": Audience.PEOPLE, "chat": Audience.PEOPLE}))
    events = []
    for n, name in enumerate(("db", "api", "web")):
        t = 7.0 * n
        events += [
            die(t, name, Cause.REQUESTED, project="shop", id_=f"{name}-a"),
            event("destroy", t + 0.5, name, project="shop", id_=f"{name}-a"),
            start(t + 7.5, name, project="shop", id_=f"{name}-b"),
        ]
    world.play(events, 3600)
    assert [reported[0] for reported in world.reported()] == [3.0, 63.0]
    assert sum(reported[3] for reported in world.reported()) == 9
    assert world.messages()[1].update.actions == {"start": 3, "die": 2, "destroy": 2}
    assert set(world.messages()[1].update.names) == {"db", "api", "web"}
    assert world.reported("chat") == []


def test_a26_good_news_without_an_incident() -> None:
    """No incident, and no row."""
    world = World()
    world.play([start(0), health(1, "healthy"), own("engine_back", 2), event("unpause", 3)], 100)
    assert world.reported() == []
    rows = world.dispatcher.export()
    assert (rows.incidents, rows.groups, rows.route_counts) == ([], [], [])
