"""Builds all of relay, runs it, and ends it without losing what is under way."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from relay import __version__
from relay.admin.control_socket import ControlSocketError, serve_control_socket, socket_path
from relay.admin.health import LivenessReport
from relay.admin.http import serve_admin
from relay.admin.listener import ListenerSwitch
from relay.admin.operations import AdminOperations, DaemonHooks, LocalOperations
from relay.admin.tap import EventTap
from relay.config import Config
from relay.core.clock import SteadyClock
from relay.core.errors import StoreInUse
from relay.core.event import HEARTBEAT
from relay.core.shutdown import DRAIN_S, Shutdown, drain
from relay.daemon.reload import ConfigSource, FileReader, ReloadController
from relay.daemon.self_events import SelfEvents
from relay.daemon.supervisor import Supervisor
from relay.daemon.systemd import SystemdNotifier, notify_loop
from relay.daemon.topology import Topology, build_topology, load_inputs
from relay.delivery.client import ConsoleOutput
from relay.delivery.runner import retire_destination
from relay.ingest.docker.session import IngestContext
from relay.ingest.docker.stream import ReconnectPolicy
from relay.routing.router import Router
from relay.store.outbox import Outbox, open_outbox

log = structlog.get_logger()

REPORT_LOSSES_EVERY_S = 60
"""How often it is told at most what the store gave up."""

PRUNE_EVERY_S = 60

STORE_LOCK_TIMEOUT_S = 3
"""How long a store may be in use by a command when relay starts."""

FINAL_EVENTS_S = 0.5
"""How long telling of the last attempts may take."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the daemon takes from the world, so that a test or the demo can give it another."""

    environ: Mapping[str, str]
    console: ConsoleOutput
    reconnect_policy: ReconnectPolicy = field(default_factory=ReconnectPolicy)


async def run_daemon(
    config: Config,
    store: Path | None,
    world: Environment,
    stop: Shutdown,
    source: ConfigSource | None = None,
) -> None:
    """Run relay until it is told to stop. ``store`` None keeps everything in memory.

    From ``source`` the configuration is read again whenever that is asked for.

    Raises `StoreError` where the store cannot be used, `AdminListenerError` where ``admin.listen`` cannot,
    `TlsError` where a destination's certificates cannot,
    `EndpointError` where the environment names an engine that cannot be. Whatever else
    fails unexpectedly ends it all: the store makes starting again safe.
    """
    async with AsyncExitStack() as resources:
        built = await stop.run_unless_stopped(_build(config, store, world, source, resources))
        if built is not None:
            await _run_until_stopped(built, store, stop)
    log.info("relay.stopped")


@dataclass(frozen=True, slots=True)
class _Daemon:
    """All of relay, before any of it runs."""

    works: Supervisor
    reloader: ReloadController
    manager: SystemdNotifier
    tasks: asyncio.TaskGroup


async def _build(
    config: Config,
    store: Path | None,
    world: Environment,
    source: ConfigSource | None,
    resources: AsyncExitStack,
) -> _Daemon:
    """Do all that can fail; closed with the resources."""
    tasks, tap, reader = asyncio.TaskGroup(), EventTap(), FileReader()
    door = ListenerSwitch(
        lambda wanted: serve_admin(wanted, desk, tap, works.snapshot, works.liveness)
    )
    works = await _build_supervisor(config, store, world, tap, door, tasks, resources)

    async def prepare(wanted: Config) -> Topology:
        found = await reader.read(partial(load_inputs, wanted, world.environ))
        return await build_topology(wanted, found, works.destinations, door, world.console)

    manager = resources.enter_context(closing(SystemdNotifier(world.environ)))
    reloader = ReloadController(source, works, reader, prepare, manager)
    desk = _build_operations(works, reloader)
    works.apply(await prepare(config))
    if store is not None:
        await _open_control_socket(socket_path(store), desk, tap, works.liveness, resources)
    return _Daemon(works, reloader, manager, tasks)


async def _run_until_stopped(built: _Daemon, store: Path | None, stop: Shutdown) -> None:
    """Run all of it until it is told to stop, and end it."""
    works, tasks = built.works, built.tasks
    async with tasks:
        works.start_delivery()
        chores = [
            tasks.create_task(chore)
            for chore in (
                _start_ingest(works, store),
                works.self_events.run(),
                _prune_dead_letters(works),
                _send_heartbeats(works),
                built.reloader.run(),
                # the last: all else has begun
                notify_loop(built.manager, works.snapshot, works.liveness, works.outbox.pending),
            )
        ]
        await stop.requested.wait()
        built.manager.notify_stopping()
        built.reloader.close()
        for chore in chores:
            chore.cancel()
        await _shut_down(works, stop, tasks)


async def _build_supervisor(
    config: Config,
    store: Path | None,
    world: Environment,
    tap: EventTap,
    door: ListenerSwitch,
    tasks: asyncio.TaskGroup,
    resources: AsyncExitStack,
) -> Supervisor:
    """All that is at work, before anything is; closed with the resources. A plan brings routes."""
    lost = asyncio.Event()
    outbox = await _open_store(config, store, lost, resources)
    router, clock = Router((), tap.publish), SteadyClock()
    announcer = SelfEvents(router, outbox, clock.now_ns, lost)
    means = IngestContext(router, outbox, clock.now_ns, announcer.on_commit, world.reconnect_policy)
    works = Supervisor(config, means, announcer, clock, door, tasks)
    resources.push_async_callback(works.close)
    resources.push_async_callback(door.close)
    return works


def _build_operations(works: Supervisor, reloader: ReloadController) -> AdminOperations:
    running = DaemonHooks(
        works.destination_status, works.enable, works.daemon_status, reloader.reload
    )
    return LocalOperations(
        works.outbox, lambda: works.config.destinations, works.clock.now_ns, running
    )


async def _open_control_socket(
    socket: Path,
    desk: AdminOperations,
    tap: EventTap,
    progress: Callable[[], LivenessReport],
    resources: AsyncExitStack,
) -> None:
    """A relay that cannot be asked delivers all the same."""
    try:
        await resources.enter_async_context(serve_control_socket(socket, desk, tap, progress))
    except ControlSocketError as error:
        log.warning("control.unavailable", error=str(error))


async def _open_store(
    config: Config, store: Path | None, lost: asyncio.Event, resources: AsyncExitStack
) -> Outbox:
    """The store; one that a command has at the moment is waited for."""
    ends_s = asyncio.get_running_loop().time() + STORE_LOCK_TIMEOUT_S
    while True:
        opening = open_outbox(
            store,
            max_size=config.store.max_size,
            when_full=config.store.when_full,
            unordered=[name for name, to in config.destinations.items() if to.ordering == "none"],
            on_loss=lambda _: lost.set(),
        )
        try:
            return await resources.enter_async_context(opening)
        except StoreInUse:
            if asyncio.get_running_loop().time() > ends_s:
                raise
        await asyncio.sleep(0.1)


async def _start_ingest(works: Supervisor, store: Path | None) -> None:
    """Start to listen; then declare what the store loses. All of it waits for the disk."""
    retries = [to.retry for to in works.config.destinations.values()]
    longest_s = max(max(it.max * 2, it.max_after).total_seconds() for it in retries)
    await works.outbox.correct_times(works.clock.now_ns(), int(longest_s * 1e9))
    for name in await works.outbox.pending():
        await retire_destination(name, works.delivery_context, partial(works.is_unknown, name))
    await works.self_events.emit("started")
    works.start_ingest()
    log.info("relay.started", version=__version__, store=str(store or "memory"))
    while True:
        await _report_losses(works)
        await asyncio.sleep(REPORT_LOSSES_EVERY_S)
        await works.self_events.losses_pending.wait()


async def _prune_dead_letters(works: Supervisor) -> None:
    """Keep the dead letters within their bounds, which are looked at once a minute."""
    while True:
        bounds = works.config.store.dead_letters
        age_ns = int(bounds.max_age.total_seconds() * 1e9)
        gone = await works.outbox.prune_dead_letters(
            works.clock.now_ns() - age_ns, bounds.max_count
        )
        if gone:
            log.info("dead_letters.pruned", count=gone)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _send_heartbeats(works: Supervisor) -> None:
    """Tell that relay lives: that it is scheduled, and that its store takes something in."""
    while True:
        works.heartbeat_changed.clear()
        heartbeat, pause_s = works.config.heartbeat, None
        if heartbeat is not None:
            await works.self_events.emit(HEARTBEAT)
            pause_s = heartbeat.every.total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await works.heartbeat_changed.wait()


async def _report_losses(works: Supervisor) -> None:
    """Tell what the store lost since it was told last, and the store what it lost of that."""
    works.self_events.losses_pending.clear()
    losses = await works.outbox.losses()
    if losses:
        works.on_store_replaced()
    await works.self_events.emit_losses(losses)


async def _shut_down(works: Supervisor, stop: Shutdown, tasks: asyncio.TaskGroup) -> None:
    """Read no more, commit what was read, say so, and let the lanes finish: all in `DRAIN_S`."""
    ends_s = asyncio.get_running_loop().time() + DRAIN_S
    await drain(works.stop_ingest(), stop, ends_s)
    await drain([tasks.create_task(_emit_stopped(works))], stop, ends_s)
    await drain(works.stop_delivery(), stop, ends_s)
    # what came of the last attempts is told at the next start
    await drain([tasks.create_task(_emit_remaining(works))], stop, ends_s + FINAL_EVENTS_S)


async def _emit_remaining(works: Supervisor) -> None:
    await works.self_events.drain()
    await works.self_events.emit_losses([])


async def _emit_stopped(works: Supervisor) -> None:
    await works.self_events.drain()
    await _report_losses(works)
    await works.self_events.emit("stopped")
