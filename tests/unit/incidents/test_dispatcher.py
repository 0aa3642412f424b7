"""What the acceptance table does not show: relay's own problems, reloads, refused messages."""

from relay.core.event import Cause
from relay.core.incident import Audience, Condition, Notify, Resolution
from relay.core.include import FACTS_ONLY, Included
from relay.incidents.actions import SupersededMessages
from relay.incidents.inquiry import Answer
from relay.incidents.policy import PolicyKeys
from tests.unit.incidents.events import crash_loop, die, event, health, ns, own, start
from tests.unit.incidents.world import DIED, Setup, World

DEATHS = {"name": "deaths", "match": {"action": "die"}, "to": ["ops"]}
OWN = {"name": "own", "match": {"type": "relay"}, "to": ["ops"]}
PAGER = {"pager": Audience.PAGER}


def test_after_a_reconnect_nothing_is_reported_before_its_history_is_read() -> None:
    """For thirty seconds at most."""
    world = World().play([], 100)
    world.dispatcher.disconnected("here", world.now)
    world.store.apply(world.dispatcher.connected("here", world.now))
    world.play([die(101)], 200)
    assert world.reported() == [(130.0, "firing", "opened", 1)]


def test_a_problem_that_is_over_before_it_is_reported() -> None:
    """People get one message of both; a pager gets none, and the event is counted as held back."""
    for audience, reported, held in (
        (Audience.PEOPLE, [(203.0, "resolved", "opened", 1)], {}),
        (Audience.PAGER, [], {"brief": 1}),
    ):
        world = World(Setup(DIED, audiences={"ops": audience}))
        world.play([], 200)
        world.dispatcher.disconnected("here", world.now)
        world.store.apply(world.dispatcher.connected("here", world.now))
        world.take(die(20), start(21))  # its history
        world.store.apply(world.dispatcher.caught_up("here", world.now))
        world.run(1000)
        assert world.reported() == reported
        assert world.dispatcher.balance("ops", "died").held == held
        world.check_balance()


def test_the_end_is_not_reported_if_nobody_wants_it() -> None:
    """The events that it would have stood for are counted as held back."""
    setup = Setup(DIED, keys={"died": PolicyKeys(send_resolved=False)})
    world = World(setup).play([die(0), start(0.1), die(10), start(10.1)], 1000)
    assert world.reported() == [(3.0, "firing", "opened", 1)]
    assert world.dispatcher.balance("ops", "died").held == {"send_resolved": 1}
    world.check_balance()
    world.play([die(2000)], 3000)
    assert [message.suppressed for message in world.messages()] == [0, 1]


def test_the_third_clean_exit_within_ten_minutes_is_a_problem() -> None:
    """The first two are plain events; a restart in between changes nothing."""
    world = World(Setup(DEATHS))
    for n in range(3):
        world.play([die(100 * n, cause=Cause.FINISHED)])
        world.restart()
    world.run(250)
    assert [reason for _, _, reason, _ in world.reported()] == ["events", "events", "opened"]
    assert world.messages()[2].update.incidents[0].crash_looping
    world.check_balance()


def test_podman_repeats_unhealthy() -> None:
    """Without being healthy in between it is no further problem, only counted."""
    route = {"name": "ill", "match": {"health": "unhealthy"}, "to": ["ops"]}
    world = World(Setup(route)).play([health(30 * n, "unhealthy") for n in range(20)], 1000)
    assert world.reported() == [(3.0, "firing", "opened", 1)]
    assert world.dispatcher.balance("ops", "ill").waiting == 19


def test_an_incident_is_closed_by_somebody() -> None:
    """It is resolved at every destination, and what is only more of the same opens none."""
    route = {"name": "ill", "match": {"health": "unhealthy"}, "to": ["ops", "pager"]}
    world = World(Setup(route, audiences={"ops": Audience.PEOPLE, **PAGER}))
    world.play([health(0, "unhealthy")], 10)
    (incident, _) = world.dispatcher.list_incidents()
    world.store.apply(world.dispatcher.close(incident.id, world.now))
    world.play([health(100, "unhealthy")], 130)
    assert [status for _, status, *_ in world.reported()] == ["firing", "resolved", "firing"]
    assert world.messages()[1].update.incidents[0].resolution is Resolution.CLOSED
    assert world.messages()[2].update.reason == "events"
    assert [status for _, status, *_ in world.reported("pager")] == ["firing", "resolved"]


def test_a_problem_more_than_an_hour_later_is_another_incident() -> None:
    """The old one is forgotten."""
    world = World().play([die(0), start(0.1), die(3661), start(3661.1)], 3665)
    assert [message.update.reason for message in world.messages()] == [
        "opened",
        "resolved",
        "opened",
    ]
    assert len({message.update.incidents[0].id for message in world.messages()}) == 2


def test_a_lost_engine() -> None:
    """It is reported when it is lost and when it is back; a short outage is only counted."""
    world = World(Setup(OWN)).play([own("engine_lost", 0), own("engine_back", 100)], 300)
    assert world.reported() == [(3.0, "firing", "opened", 1), (163.0, "resolved", "resolved", 1)]
    world = World(Setup(OWN, keys={"ops": PolicyKeys(group_wait_ns=90 * 10**9)}))
    world.play([own("engine_lost", 0), own("engine_back", 1)], 300)
    assert world.reported() == []
    assert world.dispatcher.balance("ops", "own").held == {"brief": 2}


def test_relay_is_started_again_while_an_engine_is_lost() -> None:
    """That its stream is open shows that it is back, without an event."""
    world = World(Setup(OWN)).play([own("engine_lost", 0)], 100)
    world.restart()
    world.run(300)
    assert world.reported()[1:] == [(163.0, "resolved", "resolved", 0)]


def test_a_failing_destination() -> None:
    """Another one is reported; that it takes a message shows that it is no longer failing."""
    routes = (
        {**OWN, "to": ["ops", "chat"]},
        {**DIED, "to": ["chat"]},
    )
    people = {"ops": Audience.PEOPLE, "chat": Audience.PEOPLE}
    world = World(Setup(*routes, audiences=people))
    world.broken.add("chat")
    world.play([die(0), own("destination_failing", 10, engine="relay", destination="chat")], 100)
    assert world.reported() == [(13.0, "firing", "opened", 1)]
    world.repair("chat")
    world.run(300)
    assert world.reported()[1:] == [(163.0, "resolved", "resolved", 0)]


def test_plain_events_of_relay_go_at_once() -> None:
    """As do all plain events at a pager."""
    routes = (OWN, {"name": "all", "match": {"type": "container"}, "to": ["pager"]})
    world = World(Setup(*routes, audiences={"ops": Audience.PEOPLE, **PAGER}))
    world.play([own("started", 0, engine="relay"), start(1)], 100)
    assert world.immediate == [(0.0, "ops", "started"), (1.0, "pager", "start")]
    assert world.reported() == []
    world.check_balance()


def test_a_route_with_events_bypasses_incidents() -> None:
    """An event goes as it is, even if its subject has an incident at the destination."""
    routes = (DIED, {"name": "starts", "match": {"action": "start"}, "to": ["ops"]})
    world = World(Setup(*routes, keys={"starts": PolicyKeys(notify=Notify.EVENTS)}))
    world.play([die(0), start(0.1)], 100)
    assert world.immediate == [(0.1, "ops", "start")]
    assert world.reported() == [(3.0, "firing", "opened", 1), (63.1, "resolved", "resolved", 0)]


def test_a_destination_of_alerts_is_refreshed() -> None:
    """Every four minutes while something is open; and it is not reminded."""
    world = World(Setup(DIED, audiences={"ops": Audience.ALERTS})).play([die(0), start(500)], 2000)
    assert world.refreshes == [(240.0, "ops"), (480.0, "ops")]
    assert world.dispatcher.list_reported("ops") == []
    (alert,) = world.messages()[0].update.incidents
    assert alert.opening_event == die(0)
    assert world.reported() == [(0.0, "firing", "opened", 1), (560.0, "resolved", "resolved", 0)]
    world.check_store()


def test_a_refresh_says_what_is_the_case_now() -> None:
    """It is made when it is sent, and not for an incident that is over by then."""
    world = World(Setup(DIED, audiences={"ops": Audience.ALERTS}))
    world.play([die(0), start(0.1), die(1), start(1.1), die(2), start(2.1)], 3)
    (key,) = world.dispatcher.list_reported("ops")
    repeated = world.dispatcher.repeat(key, world.now)
    assert repeated is not None
    (reported,) = repeated.update.incidents
    assert (repeated.status, repeated.update.reason) == ("firing", "crash_looping")
    assert (reported.reason, reported.total, reported.opening_event) == ("crash_looping", 3, die(0))
    assert repeated.events == (die(2),)
    world.play([], 1000)
    assert world.dispatcher.repeat(key, world.now) is None
    assert world.dispatcher.list_reported("ops") == []


def test_a_refused_message_waits_for_the_next_update() -> None:
    """Sending it again would be refused again."""
    world = World()
    world.broken.add("ops")
    world.play([die(0), die(1)], 10)
    world.give_up(world.waiting[0], refused=True)
    world.repair("ops")
    world.play([die(100)], 200)
    second = world.messages()[1]
    assert (second.update.reason, second.count) == ("opened", 1)
    assert not second.update.incidents[0].notified_before
    superseded = SupersededMessages(world.dispatcher.list_incidents())
    assert superseded.includes("ops", world.messages()[0].update)
    assert not superseded.includes("ops", second.update)


def test_the_end_after_a_refused_beginning() -> None:
    """It was over before the destination refused the message: nobody knows of it yet."""
    world = World()
    world.broken.add("ops")
    world.play([die(0), start(0.1)], 62)
    world.give_up(world.waiting[0], refused=True)
    world.repair("ops")
    world.run(200)
    (report,) = world.messages()[-1].update.incidents
    assert (report.status, report.reason, report.notified_before) == ("resolved", "resolved", False)


def test_what_a_route_includes_is_asked_for_twice() -> None:
    """For the event that opens an incident, and for the one that makes it crash-looping."""
    world = World(Setup({**DIED, "include": {"logs": 5}}))
    requests = []
    for each in crash_loop(deaths=8):
        world.run(each.time_ns / 1e9 - ns(0) / 1e9)
        result = world.dispatcher.take([(each, world.setup.router.route(each))], world.now)
        world.store.apply(result.changes)
        requests += [each for each in result.inquiries if each.include != FACTS_ONLY]
    assert [request.event.time_ns for request in requests] == [ns(0.05), ns(0.45)]
    included = Included(logs=("last words",))
    world.store.apply(world.dispatcher.put_answer(requests[0], Answer(included), world.now))
    world.run(100)
    assert world.messages()[-1].update.incidents[0].included == included


def test_the_clock_was_set_back_while_relay_was_down() -> None:
    """What would be due later than it can be is due now."""
    world = World().play([die(0), start(0.1)], 61)
    world.t = -5_000.0
    world.restart()
    world.run(-4_900)
    world.check_balance()
    assert [status for _, status, *_ in world.reported()] == ["firing", "resolved"]


def test_evidence_older_than_what_is_known_only_counts() -> None:
    """An old start does not bring it up."""
    route = {"name": "life", "match": {"action": ["die", "start"]}, "to": ["ops"]}
    world = World(Setup(route)).play([die(10)], 11)
    world.take(start(5))
    world.run(1000)
    assert world.reported() == [(13.0, "firing", "opened", 2)]


def test_stays_down_is_withdrawn_if_it_starts() -> None:
    """It came back before that was reported."""
    keys = {"ops": PolicyKeys(group_interval_ns=200 * 10**9)}
    world = World(Setup(DIED, keys=keys)).play([die(0), start(0.1), die(20), start(170)], 2000)
    assert [message.update.reason for message in world.messages()] == ["opened", "resolved"]


def test_another_route_takes_over_what_was_unwatched() -> None:
    """A problem that it sends to the pager continues the incident, whose end was not reported
    yet."""
    audiences = {"pager": Audience.PAGER}
    ill = {"name": "ill", "match": {"health": "unhealthy"}, "to": ["pager"]}
    world = World(Setup({**DIED, "to": ["pager"]}, ill, audiences=audiences)).play([die(0)], 10)
    world.setup = Setup(ill, audiences=audiences)
    policies, router = world.setup.policies, world.setup.router
    unwatched, changes = world.dispatcher.reload(policies, router, world.now)
    world.store.apply(changes)
    assert unwatched == 1
    world.take(start(10), health(10, "unhealthy"))
    world.run(100)
    assert [message.status.value for message in world.messages("pager")] == ["firing"]
    (incident,) = world.dispatcher.list_incidents()
    assert (incident.route, incident.is_open) == ("ill", True)
    world.check_balance()


def test_what_waits_moves_with_the_route() -> None:
    """The events of a renamed route that wait to be reported count for its new name."""
    world = World().play([die(0), die(5)], 10)
    world.setup = Setup({**DIED, "name": "dead"})
    policies, router = world.setup.policies, world.setup.router
    world.store.apply(world.dispatcher.reload(policies, router, world.now)[1])
    assert world.dispatcher.balance("ops", "died").taken == 1
    moved = world.dispatcher.balance("ops", "dead")
    assert (moved.taken, moved.waiting) == (1, 1)
    world.check_balance()


def test_what_happened_before_an_engine_was_lost_is_known() -> None:
    """An incident that was over by then is resolved, although the engine is out of reach."""
    world = World().play([die(0), start(0.1)], 60.05)
    world.dispatcher.disconnected("here", world.now)
    world.run(1000)
    assert len(world.reported()) == 1
    world = World().play([die(0), start(0.1)], 60.05)
    world.t = 60.2  # and the loop has not come to it yet
    world.dispatcher.disconnected("here", world.now)
    world.run(1000)
    assert world.reported()[1:] == [(63.2, "resolved", "resolved", 0)]


def test_a_destination_is_removed() -> None:
    """Its incidents and what waits in its groups are counted as unwatched."""
    routes = ({"name": "all", "match": {"type": "container"}, "to": ["ops"]},)
    world = World(Setup(*routes)).play([die(0), start(1, "other")], 2)
    setup = Setup(
        {"name": "all", "match": {"type": "container"}, "to": ["audit"]},
        audiences={"audit": Audience.PROGRAMS},
    )
    unwatched, changes = world.dispatcher.reload(setup.policies, setup.router, world.now)
    world.store.apply(changes)
    assert unwatched == 1
    assert world.dispatcher.balance("ops", "all").held == {"unwatched": 2}
    world.setup = setup
    world.restart()
    world.run(100)
    assert world.reported() == []
    rows = world.dispatcher.export()
    assert (rows.incidents, rows.groups) == ([], [])


def test_a_destination_comes_back() -> None:
    """It gets reminders, although nobody said what became of one from before it was removed."""
    day = 24 * 3600
    world = World().play([die(0)], 10)
    world.broken.add("ops")
    world.run(day + 10)
    assert world.reported()[-1][2] == "reminder"
    gone = Setup({**DIED, "to": ["audit"]}, audiences={"audit": Audience.PROGRAMS})
    for setup in (gone, Setup()):
        _, changes = world.dispatcher.reload(setup.policies, setup.router, world.now)
        world.store.apply(changes)
    assert world.dispatcher.list_outstanding() == []
    world.waiting.clear()
    world.broken.clear()
    world.play([die(day + 20)], 2 * day + 60)
    assert [reason for _, _, reason, _ in world.reported()[2:]] == ["opened", "reminder"]


def test_an_engine_is_removed() -> None:
    """Its incidents are watched no longer."""
    world = World(Setup(DIED, engines=frozenset({"here"}))).play([die(0)], 10)
    setup = Setup(DIED, engines=frozenset({"there"}))
    assert world.dispatcher.reload(setup.policies, setup.router, world.now)[0] == 1


def test_a_group_by_other_things() -> None:
    """What has to be equal is configured; everything else is reported together."""
    keys = {"ops": PolicyKeys(group_by=("label.team", "service"))}
    world = World(Setup(DIED, keys=keys))
    service = {"com.docker.compose.service": "web", "team": "red"}
    events = [die(0, "a", labels=service), die(0, "b", labels=service), die(0, "c")]
    world.play(events, 10)
    assert sorted((str(each.update.group), each.count) for each in world.messages()) == [
        ("{'label.team': '', 'service': 'c'}", 1),
        ("{'label.team': 'red', 'service': 'web'}", 2),
    ]


def test_an_event_of_another_type() -> None:
    """It is a plain event; two with one name but of different types are different subjects."""
    route = {"name": "all", "match": {}, "to": ["ops"]}
    events = [die(0, "db"), event("destroy", 0.1, "db", type_="volume"), event("pull", 0.2)]
    world = World(Setup(route)).play(events, 10)
    (first, second) = world.messages()
    assert first.update.incidents[0].condition is Condition.DOWN
    assert (first.count, first.update.actions) == (2, {"destroy": 1})
    assert second.update.actions == {"pull": 1}
