"""The dispatcher does what the naive model does, whatever happens, and loses nothing."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.core.event import Cause, Event
from relay.core.incident import Audience, Notify
from relay.incidents.message import Message
from relay.incidents.observation import Observation, ObservedContainer
from relay.incidents.policy import LabelPolicy, PolicyKeys
from tests.unit.incidents import events as make
from tests.unit.incidents.events import ns
from tests.unit.incidents.model import Model
from tests.unit.incidents.model_hold import INTERVALS, Silence
from tests.unit.incidents.model_story import MINUTE
from tests.unit.incidents.world import Setup, World

AUDIENCES = {
    "ops": Audience.PEOPLE,
    "all": Audience.PEOPLE,
    "pager": Audience.PAGER,
    "audit": Audience.PROGRAMS,
}
KEYS = {
    "all": PolicyKeys(group_by=(), send_resolved=False, resolve_after_ns=2 * MINUTE),
    "raw": PolicyKeys(notify=Notify.EVENTS),
}
DIED = {"match": {"action": "die", "cause": ["crashed", "oom"]}, "to": ["ops", "pager", "audit"]}
ILL = {"name": "ill", "match": {"health": "unhealthy"}, "to": ["ops"]}
LIFE = {
    "name": "life",
    "match": {"action": ["start", "stop", "destroy", "oom", "die"]},
    "to": ["all"],
    "severity": "warning",
}
OWN = {"name": "own", "match": {"type": "relay"}, "to": ["ops"]}
RAW = {"name": "raw", "match": {"action": "oom"}, "to": ["ops"]}

QUIET = {
    "ops": PolicyKeys(mute=(INTERVALS["early"],)),
    "ill": PolicyKeys(mute=(INTERVALS["late"],), for_ns=3 * MINUTE),
    "pager": PolicyKeys(for_ns=2 * MINUTE, mute=(INTERVALS["late"],)),
}
"""How destinations and routes are kept quiet, besides `KEYS`."""

SETUPS = {
    "quiet": Setup(
        {"name": "died", **DIED}, ILL, LIFE, OWN, RAW, audiences=AUDIENCES, keys=KEYS | QUIET
    ),
    "few": Setup(
        *({"name": "died", **DIED}, ILL, LIFE, OWN, RAW),
        audiences=AUDIENCES,
        keys=KEYS | QUIET,
        labels=LabelPolicy(require=True),
    ),
    "usual": Setup({"name": "died", **DIED}, ILL, LIFE, OWN, RAW, audiences=AUDIENCES, keys=KEYS),
    "renamed": Setup({"name": "dead", **DIED}, ILL, LIFE, OWN, RAW, audiences=AUDIENCES, keys=KEYS),
    "removed": Setup(ILL, LIFE, audiences=AUDIENCES, keys=KEYS),
}

NAMES = {"web": "shop", "api": "shop", "cron": None, "mail": None}


@st.composite
def subjects(draw: st.DrawFn) -> tuple[str, str]:
    """The name of a container and its id: a recreated one has another."""
    name = draw(st.sampled_from(sorted(NAMES)))
    return name, draw(st.sampled_from([f"{name}-a", f"{name}-a", f"{name}-b"]))


CAUSES = st.sampled_from(list(Cause))
SHORT_S = [0.0, 0.1, 0.5, 1.0, 3.0, 10.0, 30.0, 61.0]
PAUSES_S = st.sampled_from([*SHORT_S, *SHORT_S, 130.0, 200.0, 700.0, 4_000.0, 90_000.0])
CONTAINER_ACTIONS = st.sampled_from(
    [*["start"] * 3, *["die"] * 3, "stop", "destroy", "oom", "healthy", "unhealthy"]
)
OPERATIONS = st.one_of(
    *[st.tuples(st.just("event"), CONTAINER_ACTIONS, subjects(), CAUSES)] * 12,
    st.tuples(st.sampled_from(["late", "replayed"]), CONTAINER_ACTIONS, subjects(), CAUSES),
    st.tuples(st.just("own"), st.sampled_from(["destination_failing", "destination_recovered"])),
    st.tuples(st.just("gap")),
    st.tuples(
        st.just("observe"),
        subjects(),
        st.sampled_from([None, "healthy", "unhealthy"]),
        st.sampled_from([None, 1.0, 50.0, 500.0]),
    ),
    st.tuples(st.just("restart")),
    st.tuples(st.sampled_from(["connect", "disconnect", "catch up"])),
    st.tuples(st.sampled_from(["break", "repair"]), st.sampled_from(["ops", "all", "pager"])),
    st.tuples(st.just("give up"), st.booleans()),
    st.tuples(st.just("clock"), st.sampled_from([0.0, 7200.0, -3600.0, -600.0])),
    *[
        st.tuples(
            st.just("silence"),
            st.sampled_from(
                [
                    None,
                    *({"name": "web"}, {"project": "shop"}, {"name": "mail"}),
                    *({"route": "ill"}, {"route": "life"}),
                ]
            ),
            st.sampled_from([60.0, 300.0, 3600.0]),
            st.sampled_from([0.0, 0.0, 30.0, 600.0]),
        )
    ]
    * 2,
    st.tuples(st.just("expire"), st.integers(0, 3)),
    st.tuples(st.just("reload"), st.sampled_from(sorted(SETUPS))),
)
Steps = list[tuple[float, tuple[Any, ...]]]
STEPS = st.lists(st.tuples(PAUSES_S, OPERATIONS), min_size=20, max_size=60)


def make_event(action: str, t: float, subject: tuple[str, str], cause: Cause) -> Event:
    """An event of a container."""
    name, id_ = subject
    labels = {"api-b": {"relay.enable": "false"}, "web-a": {"relay.enable": "true"}}.get(id_)
    fields: dict[str, Any] = {"id_": id_, "project": NAMES[name], "labels": labels}
    if action == "die":
        return make.die(t, name, cause, **fields)
    if action in ("healthy", "unhealthy"):
        return make.health(t, action, name, **fields)
    return make.event(action, t, name, **fields)


class Pair:
    """The dispatcher and the model, to which the same happens."""

    def __init__(self) -> None:
        self.world = World(SETUPS["usual"])
        self.model = Model(self.world.setup.policies, self.world.setup.router, ns(0))
        self.model.connect()
        self.model.catch_up()

    def step(self, pause_s: float, operation: tuple[Any, ...]) -> None:  # noqa: C901
        """Time passes, then something happens."""
        until = round(self.world.t + pause_s, 3)
        self.run(until)
        match operation:
            case "event" | "late" | "replayed" as when, action, subject, cause:
                lag_s = {"event": 0.0, "late": 5.0, "replayed": 3_000.0}[when]
                self.take(make_event(action, until - lag_s, subject, cause))
            case "own", action:
                self.take(make.own(action, until, engine="relay", destination="audit"))
            case ("gap",):
                self.world.take(self.shift(make.own("gap", until)))
                self.model.gap(make.own("gap", until))
            case "observe", subject, state, up_s:
                self.observe(subject, state, up_s)
            case ("restart",):
                self.world.restart(connect=False)
                self.model.restart()
            case "break", destination:
                self.world.broken.add(destination)
            case "repair", destination:
                self.repair(destination)
            case "give up", refused:
                self.give_up(refused=refused)
            case "clock", lead_s:
                self.set_clock(lead_s)
            case "reload", name:
                self.reload(SETUPS[name])
            case (name,):
                self.change_connection(name)
            case _:
                self.change_silences(operation)
        self.world.check_balance()
        self.run(until)
        self.world.check_store()

    def observe(self, subject: tuple[str, str], state: str | None, up_s: float | None) -> None:
        """The engine shows one container, which is running since ``up_s`` ago, or is not."""
        (name, id_), now_ns = subject, ns(self.world.t)
        started_ns = None if up_s is None else ns(self.world.t - up_s)
        lead_ns = round(self.world.lead_s["here"] * 1e9)
        shown = ObservedContainer(
            id_,
            name,
            {},
            is_running=started_ns is not None,
            started_ns=None if started_ns is None else started_ns + lead_ns,
            health=state,
        )
        self.world.observe(Observation("here", now_ns + lead_ns, [shown]))
        self.model.observe(name, id_, state, started_ns)

    def set_clock(self, lead_s: float) -> None:
        """The clocks of this machine and of its engine are set."""
        self.world.set_clock(lead_s)
        self.model.lead = round(lead_s * 1e9)
        self.model.ask_all()
        self.model.run(self.model.now)
        self.settle_model()

    def change_silences(self, operation: tuple[Any, ...]) -> None:
        """Somebody adds a silence, or ends some."""
        match operation:
            case "silence", match, for_s, after_s:
                self.world.silence(match, for_s, after_s)
                wall = self.model.now + self.model.lead + round(after_s * 1e9)
                begin = wall if after_s else 0  # what has begun goes on if the clock is set back
                self.model.silences.append(Silence(match, begin, wall + round(for_s * 1e9)))
                self.model.ask_all()
            case _, number:
                self.expire(number)

    def expire(self, number: int) -> None:
        """Somebody ends some of the silences, if they are not over."""
        wall = self.model.now + self.model.lead
        for id_, silence in enumerate(self.model.silences, 1):
            if id_ % 4 == number and not silence.expired and wall < silence.end:
                self.world.expire(id_)
                silence.expired = True
                self.model.ask_all()

    def reload(self, setup: Setup) -> None:
        """The configuration is replaced."""
        self.world.setup = setup
        _, changes = self.world.dispatcher.reload(setup.policies, setup.router, self.world.now)
        self.world.store.apply(changes)
        self.model.reload(setup.policies, setup.router)

    def change_connection(self, name: str) -> None:
        """The stream of the engine is opened, ends, or has caught up."""
        dispatcher, now = self.world.dispatcher, self.world.now
        match name:
            case "connect":
                self.world.store.apply(dispatcher.connected("here", now))
                self.model.connect()
            case "disconnect":
                dispatcher.disconnected("here", now)
                self.model.disconnect()
            case _:
                self.world.store.apply(dispatcher.caught_up("here", now))
                self.model.catch_up()

    def shift(self, event: Event) -> Event:
        """The event by the clock of the engine, which may be set."""
        lead_s = self.world.lead_s.get("here", 0.0)
        return replace(event, time_ns=event.time_ns + round(lead_s * 1e9))

    def take(self, event: Event) -> None:
        """Both get an event."""
        self.world.take(self.shift(event))
        self.model.take(event)

    def run(self, until: float) -> None:
        """Time passes for both."""
        self.world.run(until)
        target = ns(until)
        while True:  # in the model, too, what is sent is taken before anything else happens
            self.model.act()
            self.settle_model()
            moment = self.model.next_moment()
            if moment is None or moment > target:
                break
            self.model.now = moment
        self.model.now = target

    def settle_model(self) -> None:
        """The destinations that work take what was sent."""
        for number, sent in enumerate(self.model.sent):
            is_waiting = "at once" not in sent and "settled" not in sent
            if is_waiting and sent["to"] not in self.world.broken:
                sent["settled"] = True
                self.model.settle(number)
        self.model.mind_groups()

    def repair(self, destination: str) -> None:
        """A destination works again."""
        self.world.repair(destination)
        self.settle_model()

    def give_up(self, *, refused: bool) -> None:
        """The message that waits longest becomes a dead letter."""
        for number, sent in enumerate(self.model.sent):
            if "at once" not in sent and "settled" not in sent:
                sent["settled"] = True
                key = (sent["now"], sent["to"], sent["cases"])
                message = next(
                    message
                    for t, message in self.world.sent
                    if (ns(t), message.destination, describe(message)["cases"]) == key
                    and message in self.world.waiting
                )
                self.world.give_up(message, refused=refused)
                self.model.give_up(number, refused=refused)
                return

    def check(self) -> None:
        """Both have sent the same, and lost nothing."""
        sent = [{"now": ns(t), **describe(message)} for t, message in self.world.sent]
        sent += [
            {"now": ns(t), "to": to, "at once": action}
            for t, to, action in self.world.immediate
            if to != "audit" and (to, action) != ("ops", "oom")
        ]
        expected = [
            {key: value for key, value in each.items() if key != "settled"}
            for each in self.model.sent
        ]
        only_sent = sorted((each for each in sent if each not in expected), key=str)
        only_expected = sorted((each for each in expected if each not in sent), key=str)
        assert only_sent == only_expected
        assert len(sent) == len(expected)
        ids = [message.id for _, message in self.world.sent]
        assert len(ids) == len(set(ids))
        silences = self.world.dispatcher.list_silences()
        assert [each.held_events for each in silences] == [
            each.held for each in self.model.silences
        ]
        for to in ("ops", "all", "pager"):
            self.world.check_total(to)
            routes = {each.route for each in self.world.dispatcher.export().route_counts}
            balances = [self.world.dispatcher.balance(to, route) for route in routes]
            assert sum(each.waiting for each in balances) == self.model.waiting(to)
            assert sum(each.taken for each in balances) == self.model.taken[to]
            held = [f"{to} {reason}" for each in balances for reason in each.held]
            assert all(self.model.held[key] for key in held)
            assert sum(sum(each.held.values()) for each in balances) == sum(
                count for key, count in self.model.held.items() if key.startswith(f"{to} ")
            )


def describe(message: Message) -> dict[str, Any]:
    """A message as the model describes it."""
    cases = [
        (
            each.subject,
            each.status.value == "firing",
            each.condition.value,
            each.crash_looping,
            each.severity.value,
            each.resolution and each.resolution.value,
            each.count,
            each.total,
            each.reason.value,
            each.notified_before,
        )
        for each in message.update.incidents
    ]
    return {
        "to": message.destination,
        "reason": message.update.reason.value,
        "status": message.status.value,
        "count": message.count,
        "cases": sorted(cases, key=str),
        "plain": Counter(message.update.actions),
    }


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(st.sampled_from(["usual", "quiet", "quiet", "few"]), STEPS)
def test_the_dispatcher_does_what_the_model_does(setup: str, steps: Steps) -> None:
    """Events, restarts, gaps, clocks, reloads, silences, dead destinations: the same messages, and
    nothing is lost."""
    pair = Pair()
    pair.reload(SETUPS[setup])
    for pause_s, operation in steps:
        pair.step(pause_s, operation)
    pair.run(pair.world.t + 10_000)
    pair.check()
