"""Supervises everything that runs, as the configuration in force describes it.

The supervisor exists so that a reload can replace one part of relay while the rest goes on. It owns
a runner for each engine and destination, and runs each in a task. `Supervisor.apply` moves from the
topology in force to a new one: it gives each runner its new configuration, adds and removes
runners, and switches the admin listener. It neither fails nor waits, so no event is handled partly
by the old configuration and partly by the new one.

A runner that is no longer configured stays until it has finished what is under way; it is removed
when its task ends. The supervisor ends with the daemon, which stops ingest first and delivery after
it (see `relay.daemon.run`).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from time import time_ns
from typing import NamedTuple, TypeVar

from relay import __version__
from relay.admin.health import LivenessReport, ReloadStatus, StatusSnapshot
from relay.admin.listener import ListenerSwitch
from relay.config import Config, LogLevel
from relay.core.clock import SteadyClock
from relay.core.status import DaemonStatus, DestinationStatus
from relay.core.tasks import spawn
from relay.daemon.incidents import IncidentLoop
from relay.daemon.self_events import SelfEvents
from relay.daemon.topology import Topology
from relay.delivery.http.resolver import ResolverThreads
from relay.delivery.rate_limit import RateLimiter, RateLimiters
from relay.delivery.runner import DeliveryContext, DestinationRunner
from relay.incidents.incidents import Incidents
from relay.ingest.runner import EngineRunner
from relay.ingest.source import IngestContext
from relay.store.outbox import Outbox
from relay.store.records import CommitResult, IngestCommit, Quota

Runner = TypeVar("Runner", EngineRunner, DestinationRunner)


class Applied(NamedTuple):
    """The result of putting a topology in force."""

    obsolete: AsyncExitStack
    """Closes the clients and the listener that are no longer used."""
    unwatched: int
    """How many open incidents the configuration no longer watches."""


class Supervisor:
    """Runs all engines and destinations, and reports their status."""

    def __init__(
        self,
        config: Config,
        ingest_context: IngestContext,
        self_events: SelfEvents,
        clock: SteadyClock,
        listener: ListenerSwitch,
        set_log_level: Callable[[LogLevel], None],
        tasks: asyncio.TaskGroup,
    ) -> None:
        """``config`` is that of the first topology; ``tasks`` runs the runners."""
        self.config = config
        self.self_events = self_events
        self.clock = clock
        self.reload_status = ReloadStatus(time_ns())
        self.heartbeat_changed = asyncio.Event()
        self.engines: dict[str, EngineRunner] = {}
        """By name, including those that are ending because they are no longer configured."""
        self.destinations: dict[str, DestinationRunner] = {}
        """By name, including those that are ending because they are no longer configured."""
        self.delivery_context = DeliveryContext(ingest_context.outbox, self_events, clock.now_ns)
        self.incident_loop = IncidentLoop(
            ingest_context.incidents,
            ingest_context.outbox,
            clock.now_ns,
            self._on_messages_committed,
            self._refresh,
        )
        self._ingest_context = ingest_context
        self._listener = listener
        self._set_log_level = set_log_level
        self._tasks = tasks
        self._runner_tasks: dict[EngineRunner | DestinationRunner, asyncio.Task[None]] = {}
        self._ingest_started = False
        self._delivery_started = False
        self._rate_limiters = RateLimiters()
        self._resolver_threads = ResolverThreads()
        self._ended_engine_matches: Counter[str] = Counter()
        """How many events of engines that are no longer configured each route matched."""

    @property
    def outbox(self) -> Outbox:
        """The store."""
        return self._ingest_context.outbox

    @property
    def incidents(self) -> Incidents:
        """The incidents of all destinations."""
        return self._ingest_context.incidents

    # what runs

    def start_delivery(self) -> None:
        """Run the destinations, and from now on those that are added."""
        self._delivery_started = True
        for runner in self.destinations.values():
            self._spawn_runner("destination", runner, self.destinations)

    def start_ingest(self) -> None:
        """Run the engines, and from now on those that are added."""
        self._ingest_started = True
        for runner in self.engines.values():
            self._spawn_runner("engine", runner, self.engines)

    def stop_ingest(self) -> list[asyncio.Task[None]]:
        """Stop reading. The returned tasks end when everything that was read is committed."""
        return self._stop_runners(self.engines)

    def stop_delivery(self) -> list[asyncio.Task[None]]:
        """See `DeliveryWorker.stop`. The returned tasks end when all outcomes are committed."""
        return self._stop_runners(self.destinations)

    async def close(self) -> None:
        """Close the clients of destinations that never ran."""
        for runner in self.destinations.values():
            if runner.attachment is not None:
                await runner.attachment.connections.aclose()

    def _spawn_runner(self, kind: str, runner: Runner, runners: dict[str, Runner]) -> None:
        """Run a runner in a task. If the runner is closed at the end, drop it from ``runners``."""

        def on_end(_: asyncio.Task[None]) -> None:
            del self._runner_tasks[runner]
            if not runner.is_closed:
                return
            if runners.get(runner.name) is runner:
                del runners[runner.name]
            if isinstance(runner, EngineRunner):
                self._ended_engine_matches.update(runner.counters.matches)

        task = spawn(runner.run(), f"{kind} {runner.name}: runner", self._tasks)
        self._runner_tasks[runner] = task
        task.add_done_callback(on_end)

    def _stop_runners(self, runners: Mapping[str, Runner]) -> list[asyncio.Task[None]]:
        running = [runner for runner in runners.values() if runner in self._runner_tasks]
        for runner in running:
            runner.stop()
        return [self._runner_tasks[runner] for runner in running]

    def _on_messages_committed(self, commit: IngestCommit, result: CommitResult) -> None:
        """Note what was evicted, and let the engines complete the messages that wait for them."""
        self.self_events.on_commit(result)
        engines = {
            notification.events[0].engine
            for notification, _ in commit.notifications
            if notification.include is not None and notification.events[0].via is None
        }
        for engine in engines & self.engines.keys():
            self.engines[engine].include(commit, result)

    def _refresh(self, destinations: Sequence[str]) -> None:
        """Repeat the open incidents of these destinations."""
        for name in destinations:
            if (runner := self.destinations.get(name)) is not None:
                runner.refresh(self.incidents.report_open(name))

    # the topology in force

    def apply(self, topology: Topology) -> Applied:
        """Put a topology in force. Neither fails nor waits.

        Unchanged parts go on undisturbed, except that a destination that was stopped (410) is tried
        again.
        """
        before, self.config = self.config, topology.config
        destinations = self.config.destinations
        obsolete = AsyncExitStack()
        self._ingest_context.router.replace_routes(topology.router)
        unwatched = self.incidents.reload(topology.policies, topology.router)
        store = self.config.store
        self.outbox.set_limits(Quota(store.max_size, store.when_full), self.config.unordered)
        self._resolver_threads.reserve(len(destinations))
        rate_limiters = self._rate_limiters.assign(destinations)
        for name in destinations:
            self._update_destination(name, rate_limiters[name], topology, obsolete)
        for name, runner in self.destinations.items():
            if name not in destinations:
                obsolete.push_async_callback(runner.replace(None).aclose)
        self._update_engines(topology)
        self._drop_old_route_counts()
        if before.heartbeat != self.config.heartbeat:
            self.heartbeat_changed.set()
        if before.log != self.config.log:
            self._set_log_level(self.config.log.level)
        old_listener = self._listener.switch(self.config.admin, topology.new_listener)
        obsolete.push_async_callback(old_listener.aclose)
        return Applied(obsolete, unwatched)

    def _update_destination(
        self, name: str, rate_limiter: RateLimiter, topology: Topology, obsolete: AsyncExitStack
    ) -> None:
        make_client, runner = topology.new_clients.get(name), self.destinations.get(name)
        if make_client is None:
            assert runner is not None, "a destination without a new client has a runner"
            if name in topology.new_renderers:
                runner.set_renderer(topology.new_renderers[name])
            if runner.status.stopped:
                runner.enable()
            return
        attachment = make_client(rate_limiter)
        if runner is not None and not runner.is_closed:
            obsolete.push_async_callback(runner.replace(attachment).aclose)
            return
        self.destinations[name] = runner = DestinationRunner(attachment, self.delivery_context)
        if self._delivery_started:
            self._spawn_runner("destination", runner, self.destinations)

    def _update_engines(self, topology: Topology) -> None:
        for name, runner in self.engines.items():
            runner.replace(topology.engine_specs.get(name))
        for name, spec in topology.engine_specs.items():
            if name in self.engines and not self.engines[name].is_closed:
                continue
            self.engines[name] = EngineRunner(name, spec, self._ingest_context)
            if self._ingest_started:
                self._spawn_runner("engine", self.engines[name], self.engines)

    def _drop_old_route_counts(self) -> None:
        """Forget the counts of routes that are no longer configured: they must not pile up."""
        configured = {route.name for route in self.config.routes}
        for counter in self._match_counters:
            for name in counter.keys() - configured:
                del counter[name]

    # status and requests

    def is_unknown(self, name: str) -> bool:
        """Whether there is no runner for this destination, not even one that is ending."""
        return name not in self.destinations

    def enable(self, name: str) -> bool:
        """Enable a configured destination; see `relay.admin.operations.AdminOperations.enable`."""
        return self.destinations[name].enable()

    def on_store_replaced(self) -> None:
        """Let everything about containers and incidents be written again, to a new store."""
        self.incidents.mark_all_changed()
        for runner in self.engines.values():
            runner.on_store_replaced()

    def snapshot(self) -> StatusSnapshot:
        """Return what metrics and readiness are computed from."""
        matches = sum(self._match_counters, Counter[str]())
        return StatusSnapshot(
            streams={
                name: runner.stream
                for name, runner in self.engines.items()
                if name in self.config.engines
            },
            destination_counters={
                name: runner.counters for name, runner in self._configured.items()
            },
            destination_status=self.destination_status(),
            store=self.outbox.status,
            route_matches={route.name: matches[route.name] for route in self.config.routes},
            removed_deliveries=self.self_events.removed_deliveries,
            reload=self.reload_status,
            now_ns=self.clock.now_ns(),
        )

    def destination_status(self) -> Mapping[str, DestinationStatus]:
        """Return the status of each configured destination."""
        return {name: runner.status for name, runner in self._configured.items()}

    def daemon_status(self) -> DaemonStatus:
        """Return the status of the engines, the store and the configuration."""
        store = self.outbox.status
        return DaemonStatus(
            {name: self.engines[name].status for name in self.config.engines},
            version=__version__,
            store_failing=store.reason,
            store_failing_since_ns=store.failing_since_ns,
            reload_failed=self.reload_status.last_error,
        )

    def liveness(self) -> LivenessReport:
        """Return how long each loop has been busy, and whether the store works."""
        return LivenessReport(
            loops_busy_s={
                "incidents": self.incident_loop.loop_monitor.busy_s,
                **{f"engine {name}": runner.busy_s for name, runner in self.engines.items()},
                **{
                    f"destination {name}": runner.busy_s
                    for name, runner in self.destinations.items()
                },
            },
            store_is_alive=self.outbox.is_alive,
            store_wait_s=self.outbox.oldest_wait_s,
        )

    @property
    def _configured(self) -> dict[str, DestinationRunner]:
        return {name: self.destinations[name] for name in self.config.destinations}

    @property
    def _match_counters(self) -> list[Counter[str]]:
        engines = [runner.counters.matches for runner in self.engines.values()]
        return [self.self_events.matches, self._ended_engine_matches, *engines]
