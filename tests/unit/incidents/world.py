"""A dispatcher on virtual time, with a store of its rows and destinations that take or refuse."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from relay.config import Route
from relay.config.match_parser import parse_match
from relay.core.event import RELAY_ENGINE, Event
from relay.core.incident import Audience
from relay.incidents.clock import Now
from relay.incidents.dispatcher import Dispatcher
from relay.incidents.message import Message
from relay.incidents.observation import Observation
from relay.incidents.policy import (
    LabelPolicy,
    Policies,
    PolicyKeys,
    resolve_destination_policy,
    resolve_route_policy,
)
from relay.incidents.silence_request import SilenceRequest
from relay.incidents.state import Changes, Rows
from relay.incidents.view import IncidentView, list_page
from relay.routing.router import Router
from tests.unit.incidents.events import ns, seconds

DIED = {"name": "died", "match": {"action": "die", "cause": ["crashed", "oom"]}, "to": ["ops"]}
AUDIENCES = {"ops": Audience.PEOPLE, "audit": Audience.PROGRAMS}


class Setup:
    """A configuration: routes with their keys, and destinations with theirs."""

    def __init__(
        self,
        *routes: Mapping[str, Any],
        audiences: Mapping[str, Audience] | None = None,
        keys: Mapping[str, PolicyKeys] | None = None,
        engines: frozenset[str] | None = None,
        labels: LabelPolicy | None = None,
    ) -> None:
        """A route has name, match and to; ``keys`` are those of routes and destinations."""
        keys = keys or {}
        audiences = audiences or AUDIENCES
        none = PolicyKeys()
        self.routes = tuple(
            Route(
                name=each["name"],
                match=parse_match(each["match"]),
                to=tuple(each["to"]),
                severity=each.get("severity"),
                include=each.get("include", {}),
            )
            for each in routes or (DIED,)
        )
        self.policies = Policies(
            {
                name: resolve_destination_policy(keys.get(name, none), audience)
                for name, audience in audiences.items()
            },
            {
                (route.name, to): resolve_route_policy(
                    keys.get(route.name, none), keys.get(to, none), audiences[to]
                )
                for route in self.routes
                for to in route.to
                if to in audiences
            },
            engines,
            labels or LabelPolicy(),
        )

        self.router = Router(self.routes)


class RowStore:
    """The rows that a store would hold, as JSON, kept by changes only."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, bytes]] = {name: {} for name in Rows.__struct_fields__}

    def apply(self, changes: Changes) -> None:
        """Write what changed."""
        for name, table in self.tables.items():
            for row in getattr(changes.rows, name):
                table[self.key(row)] = msgspec.json.encode(row)
        for name in ("incidents", "groups", "finishes", "silences"):
            for key in getattr(changes, f"removed_{name}"):
                self.tables[name].pop(repr(key), None)

    @staticmethod
    def key(row: Any) -> str:
        """The primary key of a row."""
        match type(row).__name__:
            case "Incident":
                return repr((row.destination, row.subject))
            case "Group":
                return repr((row.destination, row.key))
            case "RouteCounts":
                return repr((row.destination, row.route))
            case "Finishes":
                return repr(row.subject)
            case "Silence":
                return repr(row.id)
            case _:
                return repr(row.name)

    def load(self) -> Rows:
        """Read all rows."""
        lists = {name: list(table.values()) for name, table in self.tables.items()}
        content = b"{%s}" % b",".join(
            b'"%s":[%s]' % (name.encode(), b",".join(rows)) for name, rows in lists.items()
        )
        return msgspec.json.decode(content, type=Rows)


class World:
    """Everything around a dispatcher."""

    def __init__(self, setup: Setup | None = None) -> None:
        self.setup = setup or Setup()
        self.t = 0.0
        self.lead_s: dict[str, float] = {"here": 0.0, "relay": 0.0}
        self.host_lead_s: dict[str, float] = {}
        """How far the clocks of other hosts are ahead of ours."""
        self.store = RowStore()
        self.sent: list[tuple[float, Message]] = []
        self.immediate: list[tuple[float, str, str]] = []
        """t, destination and action of what was sent at once."""
        self.waiting: list[Message] = []
        self.broken: set[str] = set()
        """The destinations that take nothing at the moment."""
        self.refreshes: list[tuple[float, str]] = []
        self.immediate_counts: Counter[str] = Counter()
        """How many of them a destination of incidents was sent."""
        self.dispatcher = self.load()
        self.connect()

    @property
    def now(self) -> Now:
        """The present."""
        leads = {engine: round(lead * 1e9) for engine, lead in self.lead_s.items()}
        host_leads = {host: round(lead * 1e9) for host, lead in self.host_lead_s.items()}
        return Now(ns(self.t), leads, host_leads_ns=host_leads)

    def load(self) -> Dispatcher:
        """A dispatcher of the stored rows."""
        outstanding = [(each.destination, each.id) for each in self.waiting]
        return Dispatcher(
            self.store.load(), self.setup.policies, self.setup.router, self.now, outstanding
        )

    def connect(self, engine: str = "here") -> None:
        """An engine is connected, and its history is read."""
        self.store.apply(self.dispatcher.connected(engine, self.now))
        self.store.apply(self.dispatcher.caught_up(engine, self.now))

    def restart(self, *, connect: bool = True) -> None:
        """relay is killed and started again."""
        self.check_store()
        self.dispatcher = self.load()
        if connect:
            self.connect()

    def check_store(self) -> None:
        """The changes so far make exactly the rows in memory."""
        fresh = RowStore()
        fresh.apply(Changes(self.dispatcher.export()))
        assert fresh.tables == self.store.tables

    def take(self, *events: Event) -> None:
        """The dispatcher gets events now."""
        router = self.setup.router
        routed = [(each, router.route(each)) for each in events]
        result = self.dispatcher.take(routed, self.now)
        self.store.apply(result.changes)
        for notification, destinations in result.immediate:
            action = notification.events[0].action
            self.immediate += [(self.t, to, action) for to in destinations]
            self.immediate_counts.update(
                to
                for to in destinations
                if self.setup.policies.takes_incidents(notification.route, to)
            )

    def due(self) -> None:
        """What is due now is sent, and taken by the destinations that work."""
        result = self.dispatcher.due(self.now)
        self.store.apply(result.changes)
        self.refreshes += [(self.t, to) for to in result.refreshes]
        for message in result.messages:
            self.sent.append((self.t, message))
            self.waiting.append(message)
        for message in result.messages:
            if message.destination not in self.broken:
                self.settle(message)

    def settle(self, message: Message) -> None:
        """A destination has taken a message."""
        self.waiting.remove(message)
        self.store.apply(
            self.dispatcher.settled(message.destination, message.id, self.now, delivered=True)
        )

    def give_up(self, message: Message, *, refused: bool = False) -> None:
        """A message becomes a dead letter."""
        self.waiting.remove(message)
        self.store.apply(
            self.dispatcher.dead_lettered(
                message.destination, message.id, self.now, refused=refused
            )
        )

    def repair(self, destination: str) -> None:
        """A destination works again, and takes what waits."""
        self.broken.discard(destination)
        for message in [each for each in self.waiting if each.destination == destination]:
            self.settle(message)

    def silence(self, match: Mapping[str, Any] | None, for_s: float, after_s: float = 0.0) -> int:
        """Somebody adds a silence, which begins after a while; returns its number. Without a match
        it is about everything."""
        wall_ns = self.now.at(RELAY_ENGINE)
        request = SilenceRequest(
            comment="deploy",
            by="ann",
            match=match,
            everything=match is None,
            from_ns=wall_ns + round(after_s * 1e9),
            duration_ns=round(for_s * 1e9),
        )
        silence, changes = self.dispatcher.add_silence(request, self.now)
        self.store.apply(changes)
        return silence.id

    def expire(self, silence: int) -> None:
        """Somebody ends a silence."""
        _, changes = self.dispatcher.expire_silence(silence, 0, self.now)
        self.store.apply(changes)

    def set_clock(self, ahead_s: float) -> None:
        """Somebody sets the clock of this machine; the loop notices."""
        self.lead_s = dict.fromkeys(self.lead_s, ahead_s)
        self.due()

    def held(self, destination: str = "ops") -> dict[str, int]:
        """How many events were held back at a destination, by reason."""
        counts: Counter[str] = Counter()
        for each in self.dispatcher.export().route_counts:
            counts.update(each.held if each.destination == destination else {})
        return dict(counts)

    def waits(self, destination: str = "ops") -> int:
        """How many events wait to be reported at a destination."""
        routes = {route for route, to in self.setup.policies.routes if to == destination}
        return sum(self.dispatcher.balance(destination, route).waiting for route in routes)

    def view(self, subject: str = "web-1", destination: str = "ops") -> IncidentView:
        """What operators see of an incident, which may be over."""
        rows = self.dispatcher.export()
        page = list_page(rows, self.now, 1000, include_ended=True)
        (found,) = [
            each
            for each in page.incidents
            if (each.subject, each.destination) == (subject, destination)
        ]
        return found

    def observe(self, observation: Observation) -> None:
        """A reconciliation of everything: what it does not show is not there."""
        shown = {each.id for each in observation.containers}
        missing = self.dispatcher.list_containers(observation.engine) - shown
        observation = replace(observation, missing=frozenset(missing))
        self.store.apply(self.dispatcher.reconciled(observation, self.now))

    def run(self, until: float) -> None:
        """Let time pass."""
        for _ in range(100_000):
            due_ns = self.dispatcher.next_due_ns
            if due_ns is None or due_ns > ns(until):
                break
            self.t = max(self.t, seconds(due_ns))
            self.due()
        else:
            raise AssertionError("something is due again and again")
        self.t = until

    def play(self, events: Iterable[Event], until: float | None = None) -> "World":
        """Take events when they happen, then let time pass until ``until``."""
        for each in sorted(events, key=lambda each: each.time_ns):
            self.run(seconds(each.time_ns))
            self.take(each)
        if until is not None:
            self.run(until)
        self.check_store()
        return self

    def reported(self, destination: str = "ops") -> list[tuple[float, str, str, int]]:
        """t, status, reason and count of each message of a destination."""
        return [
            (t, message.status.value, message.update.reason.value, message.count)
            for t, message in self.sent
            if message.destination == destination
        ]

    def messages(self, destination: str = "ops") -> list[Message]:
        """The messages of a destination."""
        return [message for _, message in self.sent if message.destination == destination]

    def check_balance(self) -> None:
        """Nothing is lost: taken = reported + waiting + held, for each route and destination."""
        rows = self.dispatcher.export()
        keys = {(each.destination, each.route) for each in rows.route_counts}
        keys |= {(each.destination, each.route) for each in rows.incidents}
        for to, route in keys:
            balance = self.dispatcher.balance(to, route)
            assert balance.is_complete, (route, to, balance)

    def check_total(self, destination: str = "ops") -> None:
        """The counts of all messages add up to what the route_counts say."""
        routes: Sequence[str] = sorted(
            {counts.route for counts in self.dispatcher.export().route_counts}
        )
        reported = sum(self.dispatcher.balance(destination, route).reported for route in routes)
        counts = sum(each.count for each in self.messages(destination))
        assert reported == counts + self.immediate_counts[destination]
