"""All that is at work, as the configuration has it that is in force."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import time_ns
from typing import TypeVar

from relay import __version__
from relay.admin.health import LivenessReport
from relay.admin.listener import ListenerSwitch
from relay.admin.status import ReloadStatus, StatusSnapshot
from relay.config import Config
from relay.core.clock import SteadyClock
from relay.core.status import DaemonStatus, DestinationStatus
from relay.daemon.self_events import SelfEvents
from relay.daemon.topology import Topology
from relay.delivery.http.resolver import ResolverThreads
from relay.delivery.rate_limit import RateLimiter, RateLimiters
from relay.delivery.runner import DeliveryContext, DestinationRunner
from relay.ingest.docker.session import IngestContext
from relay.ingest.runner import EngineRunner
from relay.store.outbox import Outbox
from relay.store.records import Quota

Runner = TypeVar("Runner", EngineRunner, DestinationRunner)


class Supervisor:
    """Everything that runs, and how it is."""

    def __init__(
        self,
        config: Config,
        means: IngestContext,
        announcer: SelfEvents,
        clock: SteadyClock,
        door: ListenerSwitch,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """``config`` is what a first plan is made of; ``tasks`` are those of the daemon."""
        self.config = config
        self.ingest_context = means
        self.self_events = announcer
        self.clock = clock
        self._listener = door
        self.reload_status = ReloadStatus(time_ns())
        self.heartbeat_changed = asyncio.Event()
        self.engines: dict[str, EngineRunner] = {}
        self.destinations: dict[str, DestinationRunner] = {}
        """By name, those too that are ending because they are configured no more."""
        self._runner_tasks: dict[EngineRunner | DestinationRunner, asyncio.Task[None]] = {}
        self._task_group = tasks
        self._delivery_started = False
        self._ingest_started = False
        self._rate_limiters = RateLimiters()
        self._ended_engine_matches: Counter[str] = Counter()
        """Events of engines that are no more, by the name of a route that matched them."""
        self._lookups = ResolverThreads()

    @property
    def outbox(self) -> Outbox:
        """The store."""
        return self.ingest_context.outbox

    @property
    def delivery_context(self) -> DeliveryContext:
        """What all lanes work with."""
        return DeliveryContext(self.outbox, self.self_events, self.clock.now_ns)

    def apply(self, plan: Topology) -> AsyncExitStack:
        """From here on the plan holds. None of it can fail, nor waits: no event comes in between.

        What is unchanged goes on untouched. A destination that was stopped (410) is tried again.
        Returns what closes that which is no more in use.
        """
        before, self.config = self.config, plan.config
        closing = AsyncExitStack()
        self.ingest_context.router.replace_routes(plan.router)
        self._set_store_limits()
        self._lookups.reserve(len(plan.config.destinations))
        valves = self._rate_limiters.assign(plan.config.destinations)
        for name in plan.config.destinations:
            self._update_destination(name, valves[name], plan, closing)
        for name, outlet in self.destinations.items():
            if name not in plan.config.destinations:
                closing.push_async_callback(outlet.replace(None).aclose)
        self._update_engines(plan)
        self._drop_old_route_counts()
        if before.heartbeat != plan.config.heartbeat:
            self.heartbeat_changed.set()
        closing.push_async_callback(
            self._listener.switch(plan.config.admin, plan.new_listener).aclose
        )
        return closing

    def start_delivery(self) -> None:
        """Begin to deliver."""
        self._delivery_started = True
        for outlet in self.destinations.values():
            self._spawn(outlet, self.destinations)

    def start_ingest(self) -> None:
        """Begin to listen to the engines."""
        self._ingest_started = True
        for inlet in self.engines.values():
            self._spawn(inlet, self.engines)

    def stop_ingest(self) -> list[asyncio.Task[None]]:
        """Read no more; returns what ends when all that was read is committed."""
        return [
            self._stop_runner(inlet)
            for inlet in self.engines.values()
            if inlet in self._runner_tasks
        ]

    def stop_delivery(self) -> list[asyncio.Task[None]]:
        """See `DeliveryWorker.stop`; returns what ends when all that is under way is settled."""
        return [
            self._stop_runner(outlet)
            for outlet in self.destinations.values()
            if outlet in self._runner_tasks
        ]

    async def close(self) -> None:
        """Close the connections of what never ran."""
        for outlet in self.destinations.values():
            if outlet.attachment is not None:
                await outlet.attachment.connections.aclose()

    def is_unknown(self, name: str) -> bool:
        """Whether a destination is neither configured, nor was so and is not settled yet."""
        return name not in self.destinations

    def on_store_replaced(self) -> None:
        """The store is a new one: it is told again what is known."""
        for inlet in self.engines.values():
            inlet.on_store_replaced()

    def snapshot(self) -> StatusSnapshot:
        """How all of it is at this moment."""
        outlets = self._configured
        return StatusSnapshot(
            streams={
                name: inlet.stream
                for name, inlet in self.engines.items()
                if name in self.config.engines
            },
            destination_counters={name: outlet.counters for name, outlet in outlets.items()},
            destination_status=self.destination_status(),
            store=self.outbox.status,
            route_matches=self._route_matches(),
            removed_deliveries=self.self_events.removed_deliveries,
            reload=self.reload_status,
            now_ns=self.clock.now_ns(),
        )

    def destination_status(self) -> Mapping[str, DestinationStatus]:
        """How the destinations are."""
        return {name: outlet.status for name, outlet in self._configured.items()}

    def liveness(self) -> LivenessReport:
        """Whether all of it comes round."""
        return LivenessReport(
            loops_busy_s={
                **{f"engine {name}": each.busy_s for name, each in self.engines.items()},
                **{f"destination {name}": each.busy_s for name, each in self.destinations.items()},
            },
            store_is_alive=self.outbox.is_alive,
            store_wait_s=self.outbox.oldest_wait_s,
        )

    def daemon_status(self) -> DaemonStatus:
        """How it is with the engines, the store and the configuration."""
        state = self.outbox.status
        return DaemonStatus(
            {name: self.engines[name].status for name in self.config.engines},
            version=__version__,
            store_failing=state.reason,
            store_failing_since_ns=state.failing_since_ns,
            reload_failed=self.reload_status.last_error,
        )

    def enable(self, name: str) -> bool:
        """See `relay.admin.operations.AdminOperations.enable`; of a destination that is configured."""
        return self.destinations[name].enable()

    @property
    def _configured(self) -> dict[str, DestinationRunner]:
        return {name: self.destinations[name] for name in self.config.destinations}

    def _route_matches(self) -> Mapping[str, int]:
        counted = sum(self._match_counters, Counter[str]())
        return {route.name: counted[route.name] for route in self.config.routes}

    def _drop_old_route_counts(self) -> None:
        """Count none that is no more, so that there are never more than there are routes."""
        known = {route.name for route in self.config.routes}
        for counts in self._match_counters:
            for name in counts.keys() - known:
                del counts[name]

    @property
    def _match_counters(self) -> list[Counter[str]]:
        """Of events that routes matched."""
        tallies = [inlet.counters.matches for inlet in self.engines.values()]
        return [self.self_events.matches, self._ended_engine_matches, *tallies]

    def _update_destination(
        self, name: str, valve: RateLimiter, plan: Topology, closing: AsyncExitStack
    ) -> None:
        """Let one destination be what the plan says."""
        opened, outlet = plan.new_clients.get(name), self.destinations.get(name)
        if opened is None:
            assert outlet is not None, "what was not opened stands"
            if name in plan.new_renderers:
                outlet.set_renderer(plan.new_renderers[name])
            if outlet.status.stopped:
                outlet.enable()
            return
        way = opened(valve)
        if outlet is not None and not outlet.is_closed:
            closing.push_async_callback(outlet.replace(way).aclose)
        else:
            self.destinations[name] = DestinationRunner(way, self.delivery_context)
            if self._delivery_started:
                self._spawn(self.destinations[name], self.destinations)

    def _update_engines(self, plan: Topology) -> None:
        for name, inlet in self.engines.items():
            inlet.replace(plan.engine_specs.get(name))
        for name, setup in plan.engine_specs.items():
            if name not in self.engines or self.engines[name].is_closed:
                self.engines[name] = EngineRunner(name, setup, self.ingest_context)
                if self._ingest_started:
                    self._spawn(self.engines[name], self.engines)

    def _set_store_limits(self) -> None:
        store, destinations = self.config.store, self.config.destinations
        unordered = [name for name, to in destinations.items() if to.ordering == "none"]
        self.outbox.set_limits(Quota(store.max_size, store.when_full), unordered)

    def _spawn(self, one: Runner, among: dict[str, Runner]) -> None:
        """Run it until it ends; what is no more goes from ``among`` then."""
        task = self._task_group.create_task(one.run())
        self._runner_tasks[one] = task

        def ended(_: asyncio.Task[None]) -> None:
            del self._runner_tasks[one]
            if not one.is_closed:
                return
            if among.get(one.name) is one:
                del among[one.name]
            if isinstance(one, EngineRunner):
                self._ended_engine_matches.update(one.counters.matches)

        task.add_done_callback(ended)

    def _stop_runner(self, one: EngineRunner | DestinationRunner) -> asyncio.Task[None]:
        one.stop()
        return self._runner_tasks[one]
