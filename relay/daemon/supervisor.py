"""All that is at work, as the configuration has it that is in force."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import time_ns
from typing import TypeVar

from relay import __version__
from relay.admin.health import Progress
from relay.admin.listener import Door
from relay.admin.status import Loading, Vitals
from relay.config import Config
from relay.core.clock import SteadyClock
from relay.core.status import Condition, Report
from relay.daemon.self_events import Announcer
from relay.daemon.topology import Plan
from relay.delivery.http.resolver import Lookups
from relay.delivery.rate_limit import Valve, Valves
from relay.delivery.runner import Outlet, Sources
from relay.ingest.docker.session import Means
from relay.ingest.runner import Inlet
from relay.store.records import Outbox, Room

One = TypeVar("One", Inlet, Outlet)


class Works:
    """Everything that runs, and how it is."""

    def __init__(
        self,
        config: Config,
        means: Means,
        announcer: Announcer,
        clock: SteadyClock,
        door: Door,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """``config`` is what a first plan is made of; ``tasks`` are those of the daemon."""
        self.config = config
        self.means = means
        self.announcer = announcer
        self.clock = clock
        self._door = door
        self.loading = Loading(time_ns())
        self.heartbeat_changed = asyncio.Event()
        self.inlets: dict[str, Inlet] = {}
        self.outlets: dict[str, Outlet] = {}
        """By name, those too that are ending because they are configured no more."""
        self._running: dict[Inlet | Outlet, asyncio.Task[None]] = {}
        self._tasks = tasks
        self._delivers = False
        self._listens = False
        self._valves = Valves()
        self._matched: Counter[str] = Counter()
        """Events of engines that are no more, by the name of a route that matched them."""
        self._lookups = Lookups()

    @property
    def outbox(self) -> Outbox:
        """The store."""
        return self.means.outbox

    @property
    def sources(self) -> Sources:
        """What all lanes work with."""
        return Sources(self.outbox, self.announcer, self.clock.now_ns)

    def adopt(self, plan: Plan) -> AsyncExitStack:
        """From here on the plan holds. None of it can fail, nor waits: no event comes in between.

        What is unchanged goes on untouched. A destination that was stopped (410) is tried again.
        Returns what closes that which is no more in use.
        """
        before, self.config = self.config, plan.config
        closing = AsyncExitStack()
        self.means.router.adopt(plan.router)
        self._bound_store()
        self._lookups.make_room(len(plan.config.destinations))
        valves = self._valves.arrange(plan.config.destinations)
        for name in plan.config.destinations:
            self._arrange(name, valves[name], plan, closing)
        for name, outlet in self.outlets.items():
            if name not in plan.config.destinations:
                closing.push_async_callback(outlet.follow(None).aclose)
        self._arrange_inlets(plan)
        self._forget_routes()
        if before.heartbeat != plan.config.heartbeat:
            self.heartbeat_changed.set()
        closing.push_async_callback(self._door.adopt(plan.config.admin, plan.entrance).aclose)
        return closing

    def deliver(self) -> None:
        """Begin to deliver."""
        self._delivers = True
        for outlet in self.outlets.values():
            self._run(outlet, self.outlets)

    def listen(self) -> None:
        """Begin to listen to the engines."""
        self._listens = True
        for inlet in self.inlets.values():
            self._run(inlet, self.inlets)

    def stop_listening(self) -> list[asyncio.Task[None]]:
        """Read no more; returns what ends when all that was read is committed."""
        return [self._stop(inlet) for inlet in self.inlets.values() if inlet in self._running]

    def stop_delivering(self) -> list[asyncio.Task[None]]:
        """See `Lane.stop`; returns what ends when all that is under way is settled."""
        return [self._stop(outlet) for outlet in self.outlets.values() if outlet in self._running]

    async def close(self) -> None:
        """Close the connections of what never ran."""
        for outlet in self.outlets.values():
            if outlet.way is not None:
                await outlet.way.connections.aclose()

    def is_gone(self, name: str) -> bool:
        """Whether a destination is neither configured, nor was so and is not settled yet."""
        return name not in self.outlets

    def store_was_renewed(self) -> None:
        """The store is a new one: it is told again what is known."""
        for inlet in self.inlets.values():
            inlet.store_was_renewed()

    def vitals(self) -> Vitals:
        """How all of it is at this moment."""
        outlets = self._configured
        return Vitals(
            streams={
                name: inlet.stream
                for name, inlet in self.inlets.items()
                if name in self.config.engines
            },
            destinations={name: outlet.tally for name, outlet in outlets.items()},
            conditions=self.conditions(),
            store=self.outbox.state,
            matches=self._matches(),
            removed=self.announcer.removed,
            loading=self.loading,
            now_ns=self.clock.now_ns(),
        )

    def conditions(self) -> Mapping[str, Condition]:
        """How the destinations are."""
        return {name: outlet.condition for name, outlet in self._configured.items()}

    def progress(self) -> Progress:
        """Whether all of it comes round."""
        return Progress(
            loops={
                **{f"engine {name}": each.busy_s for name, each in self.inlets.items()},
                **{f"destination {name}": each.busy_s for name, each in self.outlets.items()},
            },
            store_lives=self.outbox.lives,
            store_waited_s=self.outbox.waited_s,
        )

    def report(self) -> Report:
        """How it is with the engines, the store and the configuration."""
        state = self.outbox.state
        return Report(
            {name: self.inlets[name].report for name in self.config.engines},
            version=__version__,
            store_failing=state.reason,
            store_failing_since_ns=state.failing_since_ns,
            reload_failed=self.loading.failed,
        )

    def enable(self, name: str) -> bool:
        """See `relay.admin.operations.Desk.enable`; of a destination that is configured."""
        return self.outlets[name].enable()

    @property
    def _configured(self) -> dict[str, Outlet]:
        return {name: self.outlets[name] for name in self.config.destinations}

    def _matches(self) -> Mapping[str, int]:
        counted = sum(self._counts, Counter[str]())
        return {route.name: counted[route.name] for route in self.config.routes}

    def _forget_routes(self) -> None:
        """Count none that is no more, so that there are never more than there are routes."""
        known = {route.name for route in self.config.routes}
        for counts in self._counts:
            for name in counts.keys() - known:
                del counts[name]

    @property
    def _counts(self) -> list[Counter[str]]:
        """Of events that routes matched."""
        tallies = [inlet.tally.matches for inlet in self.inlets.values()]
        return [self.announcer.matches, self._matched, *tallies]

    def _arrange(self, name: str, valve: Valve, plan: Plan, closing: AsyncExitStack) -> None:
        """Let one destination be what the plan says."""
        opened, outlet = plan.opened.get(name), self.outlets.get(name)
        if opened is None:
            assert outlet is not None, "what was not opened stands"
            if name in plan.reworded:
                outlet.reword(plan.reworded[name])
            if outlet.condition.stopped:
                outlet.enable()
            return
        way = opened(valve)
        if outlet is not None and not outlet.is_closed:
            closing.push_async_callback(outlet.follow(way).aclose)
        else:
            self.outlets[name] = Outlet(way, self.sources)
            if self._delivers:
                self._run(self.outlets[name], self.outlets)

    def _arrange_inlets(self, plan: Plan) -> None:
        for name, inlet in self.inlets.items():
            inlet.follow(plan.setups.get(name))
        for name, setup in plan.setups.items():
            if name not in self.inlets or self.inlets[name].is_closed:
                self.inlets[name] = Inlet(name, setup, self.means)
                if self._listens:
                    self._run(self.inlets[name], self.inlets)

    def _bound_store(self) -> None:
        store, destinations = self.config.store, self.config.destinations
        unordered = [name for name, to in destinations.items() if to.ordering == "none"]
        self.outbox.bound(Room(store.max_size, store.when_full), unordered)

    def _run(self, one: One, among: dict[str, One]) -> None:
        """Run it until it ends; what is no more goes from ``among`` then."""
        task = self._tasks.create_task(one.run())
        self._running[one] = task

        def ended(_: asyncio.Task[None]) -> None:
            del self._running[one]
            if not one.is_closed:
                return
            if among.get(one.name) is one:
                del among[one.name]
            if isinstance(one, Inlet):
                self._matched.update(one.tally.matches)

        task.add_done_callback(ended)

    def _stop(self, one: Inlet | Outlet) -> asyncio.Task[None]:
        one.stop()
        return self._running[one]
