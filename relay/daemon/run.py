"""Builds the daemon, runs it, and shuts it down without losing what is under way.

Everything that can fail is built first, so that a start either succeeds or changes nothing. Then
the daemon's tasks run until a shutdown is requested. The shutdown follows the way of an event: stop
reading, commit what was read, emit ``stopped``, and let the open requests finish. Nothing is lost
that is not finished in time: it is in the store, or the engine sends it again after the next start.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, closing, suppress
from functools import partial
from pathlib import Path
from time import time_ns

import msgspec
import structlog

from relay import __version__
from relay.admin.control_socket import ControlSocketError, serve_control_socket, socket_path
from relay.admin.listener import ListenerSwitch
from relay.admin.operations import DaemonHooks, LocalOperations
from relay.admin.tap import EventTap
from relay.config import AdminConfig, Config, LogLevel
from relay.core.clock import SteadyClock
from relay.core.errors import StoreInUse
from relay.core.event import HEARTBEAT
from relay.core.tasks import DRAIN_S, Shutdown, drain, spawn
from relay.daemon.incidents import load_incidents, settle_lost
from relay.daemon.reload import ConfigSource, FileReader, ReloadController
from relay.daemon.self_events import SelfEvents
from relay.daemon.supervisor import Supervisor
from relay.daemon.systemd import SystemdNotifier, notify_loop
from relay.daemon.topology import Topology, build_topology, load_inputs
from relay.delivery.client import ConsoleOutput
from relay.delivery.runner import retire_destination
from relay.incidents.incidents import EngineClocks
from relay.ingest.docker.stream import ReconnectPolicy
from relay.ingest.source import IngestContext
from relay.routing.router import Router
from relay.store.outbox import Outbox, open_outbox

log = structlog.get_logger()

REPORT_LOSSES_EVERY_S = 60
"""Losses of the store are reported at most this often."""

PRUNE_EVERY_S = 60
"""How often dead letters beyond their limits are deleted."""

STORE_LOCK_TIMEOUT_S = 3
"""How long a command may still use the store when relay starts."""

FINAL_EVENTS_S = 0.5
"""How long emitting the events of the last attempts may take, after everything else has ended."""


class Environment(msgspec.Struct, frozen=True):
    """What the daemon takes from outside, so that a test can replace it."""

    environ: Mapping[str, str]
    console: ConsoleOutput
    reconnect_policy: ReconnectPolicy = msgspec.field(default_factory=ReconnectPolicy)
    set_log_level: Callable[[LogLevel], None] = lambda _: None
    """Called when a reload changes ``log.level``."""


class _Daemon(msgspec.Struct, frozen=True):
    """The parts of the daemon, built and not yet running."""

    supervisor: Supervisor
    reload_controller: ReloadController
    systemd: SystemdNotifier
    tasks: asyncio.TaskGroup
    """Runs the daemon's loops and services. An unexpected error in one of them ends the daemon."""


async def run_daemon(
    config: Config,
    store: Path | None,
    environment: Environment,
    shutdown: Shutdown,
    source: ConfigSource | None = None,
) -> None:
    """Run relay until ``shutdown`` is requested.

    ``store`` None keeps everything in memory. Reloads read the configuration from ``source``.

    Raises `StoreError`, `AdminListenerError`, `TlsError` or `EndpointError` if the store,
    ``admin.listen``, a destination's certificates or an engine that the environment names cannot be
    used. Any other error in a task ends the daemon: the store makes a restart safe.
    """
    async with AsyncExitStack() as resources:
        building = _build(config, store, environment, source, resources)
        daemon = await shutdown.run_unless_stopped(building, "startup")
        if daemon is not None:
            await _run_until_stopped(daemon, store, shutdown)
    log.info("relay.stopped")


# building


async def _build(
    config: Config,
    store: Path | None,
    environment: Environment,
    source: ConfigSource | None,
    resources: AsyncExitStack,
) -> _Daemon:
    """Build everything that can fail. ``resources`` closes it at the end."""
    tasks, tap, reader = asyncio.TaskGroup(), EventTap(), FileReader()

    def serve(get_config: Callable[[], AdminConfig]) -> AbstractAsyncContextManager[None]:
        # only a relay with `admin` needs it: aiohttp's server takes some 2 MB and 50 ms
        from relay.admin.http import serve_admin  # noqa: PLC0415

        return serve_admin(
            get_config,
            operations,
            tap,
            supervisor.snapshot,
            supervisor.liveness,
            supervisor.incidents.count,
        )

    listener = ListenerSwitch(serve)
    supervisor = await _build_supervisor(
        config, store, environment, tap, listener, tasks, resources
    )

    async def prepare(new_config: Config) -> Topology:
        inputs = await reader.read(
            partial(load_inputs, new_config, environment.environ, environment.reconnect_policy)
        )
        runners = supervisor.destinations
        return await build_topology(
            supervisor.config, new_config, inputs, runners, listener, environment.console
        )

    systemd = resources.enter_context(closing(SystemdNotifier(environment.environ)))
    reload_controller = ReloadController(source, supervisor, reader, prepare, systemd)
    operations = _build_operations(supervisor, reload_controller)
    supervisor.apply(await prepare(config))
    if store is not None:
        serving = serve_control_socket(socket_path(store), operations, tap, supervisor.liveness)
        try:
            await resources.enter_async_context(serving)
        except ControlSocketError as error:  # relay delivers all the same
            log.warning("control.unavailable", error=str(error))
    return _Daemon(supervisor, reload_controller, systemd, tasks)


async def _build_supervisor(
    config: Config,
    store: Path | None,
    environment: Environment,
    tap: EventTap,
    listener: ListenerSwitch,
    tasks: asyncio.TaskGroup,
    resources: AsyncExitStack,
) -> Supervisor:
    """Open the store and build the supervisor. Its router is empty until a topology is applied."""
    losses_pending = asyncio.Event()
    outbox = await _open_store(config, store, losses_pending, resources)
    router, clock = Router((), tap.publish), SteadyClock()
    incidents = await load_incidents(config, outbox, EngineClocks(clock.now_ns, time_ns))
    incidents.watch(tap)
    self_events = SelfEvents(router, outbox, incidents, clock.now_ns, losses_pending)
    ingest_context = IngestContext(
        router,
        outbox,
        clock.now_ns,
        self_events.on_commit,
        self_events.engine_changed,
        incidents,
    )
    supervisor = Supervisor(
        config, ingest_context, self_events, clock, listener, environment.set_log_level, tasks
    )
    resources.push_async_callback(supervisor.close)
    resources.push_async_callback(listener.close)
    return supervisor


def _build_operations(
    supervisor: Supervisor, reload_controller: ReloadController
) -> LocalOperations:
    hooks = DaemonHooks(
        supervisor.destination_status,
        supervisor.enable,
        supervisor.daemon_status,
        reload_controller.reload,
        supervisor.incidents,
    )
    return LocalOperations(
        supervisor.outbox,
        lambda: supervisor.config.destinations,
        supervisor.clock.now_ns,
        hooks,
        zone_name=lambda: supervisor.config.time_zone,
    )


async def _open_store(
    config: Config, store: Path | None, losses_pending: asyncio.Event, resources: AsyncExitStack
) -> Outbox:
    """Open the store, waiting for a command that uses it at the moment."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + STORE_LOCK_TIMEOUT_S
    while True:
        opening = open_outbox(
            store,
            max_size=config.store.max_size,
            when_full=config.store.when_full,
            unordered=config.unordered,
            on_loss=lambda _: losses_pending.set(),
        )
        try:
            return await resources.enter_async_context(opening)
        except StoreInUse:
            if loop.time() > deadline_s:
                raise
        await asyncio.sleep(0.1)


# running


async def _run_until_stopped(daemon: _Daemon, store: Path | None, shutdown: Shutdown) -> None:
    """Run all tasks until a shutdown is requested, then shut down."""
    supervisor = daemon.supervisor
    async with daemon.tasks as tasks:
        supervisor.start_delivery()
        notifying = notify_loop(
            daemon.systemd, supervisor.snapshot, supervisor.liveness, supervisor.outbox.pending
        )
        services = [
            spawn(_start_ingest(supervisor, store), "startup and losses", tasks),
            spawn(supervisor.self_events.run(), "self events", tasks),
            spawn(supervisor.incident_loop.run(), "incidents", tasks),
            spawn(_prune_dead_letters(supervisor), "dead letter pruning", tasks),
            spawn(_send_heartbeats(supervisor), "heartbeat", tasks),
            spawn(daemon.reload_controller.run(), "reload", tasks),
            # the last one, because it reports that relay is ready
            spawn(notifying, "systemd", tasks),
        ]
        await shutdown.requested.wait()
        daemon.systemd.notify_stopping()
        daemon.reload_controller.close()
        for service in services:
            service.cancel()
        await _shut_down(daemon, shutdown)


async def _start_ingest(supervisor: Supervisor, store: Path | None) -> None:
    """Emit ``started`` and run the engines; from then on report what the store loses.

    All of this waits for the disk, so it is a task of its own that does not hold up the others.
    """
    policies = [destination.retry for destination in supervisor.config.destinations.values()]
    max_wait_s = max(
        max(policy.max * 2, policy.max_after).total_seconds()  # jitter at most doubles a wait
        for policy in policies
    )
    outbox = supervisor.outbox
    await outbox.correct_times(supervisor.clock.now_ns(), int(max_wait_s * 1e9))
    for name in await outbox.pending():
        await retire_destination(
            name, supervisor.delivery_context, partial(supervisor.is_unknown, name)
        )
    await supervisor.self_events.emit("started")
    supervisor.start_ingest()
    log.info("relay.started", version=__version__, store=str(store or "memory"))
    while True:
        await _report_losses(supervisor)
        await asyncio.sleep(REPORT_LOSSES_EVERY_S)
        await supervisor.self_events.losses_pending.wait()


async def _report_losses(supervisor: Supervisor) -> None:
    """Emit what the store has lost. If the store was replaced, let the new one be filled."""
    supervisor.self_events.losses_pending.clear()
    losses = await supervisor.outbox.losses()
    if losses:
        supervisor.on_store_replaced()
        await settle_lost(supervisor.incidents, supervisor.outbox)
    await supervisor.self_events.emit_losses(losses)


async def _prune_dead_letters(supervisor: Supervisor) -> None:
    """Delete dead letters beyond their limits, which are checked once a minute."""
    while True:
        limits = supervisor.config.store.dead_letters
        max_age_ns = int(limits.max_age.total_seconds() * 1e9)
        pruned = await supervisor.outbox.prune_dead_letters(
            supervisor.clock.now_ns() - max_age_ns, limits.max_count
        )
        if pruned:
            log.info("dead_letters.pruned", count=pruned)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _send_heartbeats(supervisor: Supervisor) -> None:
    """Emit heartbeats. Each shows that the event loop runs and that the store commits."""
    while True:
        supervisor.heartbeat_changed.clear()
        heartbeat, interval_s = supervisor.config.heartbeat, None
        if heartbeat is not None:
            await supervisor.self_events.emit(HEARTBEAT)
            interval_s = heartbeat.every.total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(interval_s):
                await supervisor.heartbeat_changed.wait()


# shutting down


async def _shut_down(daemon: _Daemon, shutdown: Shutdown) -> None:
    """Stop ingest, emit ``stopped``, and stop delivery, all within `DRAIN_S`."""
    supervisor, tasks = daemon.supervisor, daemon.tasks
    deadline_s = asyncio.get_running_loop().time() + DRAIN_S
    await drain(supervisor.stop_ingest(), shutdown, deadline_s)
    stopped = spawn(_emit_stopped(supervisor), "emit stopped", tasks)
    await drain([stopped], shutdown, deadline_s)
    await drain(supervisor.stop_delivery(), shutdown, deadline_s)
    # the deliveries of these events are sent after the next start
    remaining = spawn(_emit_remaining(supervisor), "emit remaining", tasks)
    await drain([remaining], shutdown, deadline_s + FINAL_EVENTS_S)


async def _emit_stopped(supervisor: Supervisor) -> None:
    await supervisor.self_events.drain()
    await _report_losses(supervisor)
    await supervisor.self_events.emit("stopped")


async def _emit_remaining(supervisor: Supervisor) -> None:
    """Emit the outages and dead letters that the last attempts led to."""
    await supervisor.self_events.drain()
    await supervisor.self_events.emit_losses([])
    await supervisor.incident_loop.save()
