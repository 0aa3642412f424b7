"""Builds all of relay, runs it, and ends it without losing what is under way."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from relay import __version__
from relay.admin.control_socket import ControlError, control, socket_path
from relay.admin.health import Progress
from relay.admin.http import admin
from relay.admin.listener import Door
from relay.admin.operations import Desk, OwnDesk, Running
from relay.admin.tap import Tap
from relay.config import Config
from relay.core.clock import SteadyClock
from relay.core.errors import StoreInUse
from relay.core.event import HEARTBEAT
from relay.core.shutdown import DRAIN_S, Stop, finish
from relay.daemon.reload import Reader, Reloader, Source
from relay.daemon.self_events import Announcer
from relay.daemon.supervisor import Works
from relay.daemon.systemd import Manager, attend
from relay.daemon.topology import Plan, prepared, survey
from relay.delivery.client import Terminal
from relay.delivery.runner import give_up
from relay.ingest.docker.session import Means
from relay.ingest.docker.stream import Pace
from relay.routing.router import Router
from relay.store.outbox import open_outbox
from relay.store.records import Outbox

log = structlog.get_logger()

DECLARE_EVERY_S = 60
"""How often it is told at most what the store gave up."""

PRUNE_EVERY_S = 60

STORE_S = 3
"""How long a store may be in use by a command when relay starts."""

LAST_WORDS_S = 0.5
"""How long telling of the last attempts may take."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the daemon takes from the world, so that a test or the demo can give it another."""

    environ: Mapping[str, str]
    terminal: Terminal
    pace: Pace = field(default_factory=Pace)


async def run(
    config: Config,
    store: Path | None,
    world: Surroundings,
    stop: Stop,
    source: Source | None = None,
) -> None:
    """Run relay until it is told to stop. ``store`` None keeps everything in memory.

    From ``source`` the configuration is read again whenever that is asked for.

    Raises `StoreError` where the store cannot be used, `AdminError` where ``admin.listen`` cannot,
    `TlsError` where a destination's certificates cannot,
    `EndpointError` where the environment names an engine that cannot be. Whatever else
    fails unexpectedly ends it all: the store makes starting again safe.
    """
    async with AsyncExitStack() as resources:
        built = await stop.allows(_build(config, store, world, source, resources))
        if built is not None:
            await _work(built, store, stop)
    log.info("relay.stopped")


@dataclass(frozen=True, slots=True)
class _Built:
    """All of relay, before any of it runs."""

    works: Works
    reloader: Reloader
    manager: Manager
    tasks: asyncio.TaskGroup


async def _build(
    config: Config,
    store: Path | None,
    world: Surroundings,
    source: Source | None,
    resources: AsyncExitStack,
) -> _Built:
    """Do all that can fail; closed with the resources."""
    tasks, tap, reader = asyncio.TaskGroup(), Tap(), Reader()
    door = Door(lambda wanted: admin(wanted, desk, tap, works.vitals, works.progress))
    works = await _works(config, store, world, tap, door, tasks, resources)

    async def prepare(wanted: Config) -> Plan:
        found = await reader.read(partial(survey, wanted, world.environ))
        return await prepared(wanted, found, works.outlets, door, world.terminal)

    manager = resources.enter_context(closing(Manager(world.environ)))
    reloader = Reloader(source, works, reader, prepare, manager)
    desk = _desk(works, reloader)
    works.adopt(await prepare(config))
    if store is not None:
        await _listen_to_commands(socket_path(store), desk, tap, works.progress, resources)
    return _Built(works, reloader, manager, tasks)


async def _work(built: _Built, store: Path | None, stop: Stop) -> None:
    """Run all of it until it is told to stop, and end it."""
    works, tasks = built.works, built.tasks
    async with tasks:
        works.deliver()
        chores = [
            tasks.create_task(chore)
            for chore in (
                _begin(works, store),
                works.announcer.run(),
                _prune(works),
                _beat(works),
                built.reloader.run(),
                # the last: all else has begun
                attend(built.manager, works.vitals, works.progress, works.outbox.pending),
            )
        ]
        await stop.asked.wait()
        built.manager.stopping()
        built.reloader.end()
        for chore in chores:
            chore.cancel()
        await _wind_down(works, stop, tasks)


async def _works(
    config: Config,
    store: Path | None,
    world: Surroundings,
    tap: Tap,
    door: Door,
    tasks: asyncio.TaskGroup,
    resources: AsyncExitStack,
) -> Works:
    """All that is at work, before anything is; closed with the resources. A plan brings routes."""
    lost = asyncio.Event()
    outbox = await _outbox(config, store, lost, resources)
    router, clock = Router((), tap.put), SteadyClock()
    announcer = Announcer(router, outbox, clock.now_ns, lost)
    means = Means(router, outbox, clock.now_ns, announcer.heed, world.pace)
    works = Works(config, means, announcer, clock, door, tasks)
    resources.push_async_callback(works.close)
    resources.push_async_callback(door.close)
    return works


def _desk(works: Works, reloader: Reloader) -> Desk:
    running = Running(works.conditions, works.enable, works.report, reloader.reload)
    return OwnDesk(works.outbox, lambda: works.config.destinations, works.clock.now_ns, running)


async def _listen_to_commands(
    socket: Path,
    desk: Desk,
    tap: Tap,
    progress: Callable[[], Progress],
    resources: AsyncExitStack,
) -> None:
    """A relay that cannot be asked delivers all the same."""
    try:
        await resources.enter_async_context(control(socket, desk, tap, progress))
    except ControlError as error:
        log.warning("control.unavailable", error=str(error))


async def _outbox(
    config: Config, store: Path | None, lost: asyncio.Event, resources: AsyncExitStack
) -> Outbox:
    """The store; one that a command has at the moment is waited for."""
    ends_s = asyncio.get_running_loop().time() + STORE_S
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


async def _begin(works: Works, store: Path | None) -> None:
    """Start to listen; then declare what the store loses. All of it waits for the disk."""
    retries = [to.retry for to in works.config.destinations.values()]
    longest_s = max(max(it.max * 2, it.max_after).total_seconds() for it in retries)
    await works.outbox.settle_clock(works.clock.now_ns(), int(longest_s * 1e9))
    for name in await works.outbox.pending():
        await give_up(name, works.sources, partial(works.is_gone, name))
    await works.announcer.say("started")
    works.listen()
    log.info("relay.started", version=__version__, store=str(store or "memory"))
    while True:
        await _declare(works)
        await asyncio.sleep(DECLARE_EVERY_S)
        await works.announcer.news.wait()


async def _prune(works: Works) -> None:
    """Keep the dead letters within their bounds, which are looked at once a minute."""
    while True:
        bounds = works.config.store.dead_letters
        age_ns = int(bounds.max_age.total_seconds() * 1e9)
        gone = await works.outbox.prune(works.clock.now_ns() - age_ns, bounds.max_count)
        if gone:
            log.info("dead_letters.pruned", count=gone)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _beat(works: Works) -> None:
    """Tell that relay lives: that it is scheduled, and that its store takes something in."""
    while True:
        works.heartbeat_changed.clear()
        heartbeat, pause_s = works.config.heartbeat, None
        if heartbeat is not None:
            await works.announcer.say(HEARTBEAT)
            pause_s = heartbeat.every.total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await works.heartbeat_changed.wait()


async def _declare(works: Works) -> None:
    """Tell what the store lost since it was told last, and the store what it lost of that."""
    works.announcer.news.clear()
    losses = await works.outbox.losses()
    if losses:
        works.store_was_renewed()
    await works.announcer.declare(losses)


async def _wind_down(works: Works, stop: Stop, tasks: asyncio.TaskGroup) -> None:
    """Read no more, commit what was read, say so, and let the lanes finish: all in `DRAIN_S`."""
    ends_s = asyncio.get_running_loop().time() + DRAIN_S
    await finish(works.stop_listening(), stop, ends_s)
    await finish([tasks.create_task(_say_goodbye(works))], stop, ends_s)
    await finish(works.stop_delivering(), stop, ends_s)
    # what came of the last attempts is told at the next start
    await finish([tasks.create_task(_tell_the_rest(works))], stop, ends_s + LAST_WORDS_S)


async def _tell_the_rest(works: Works) -> None:
    await works.announcer.catch_up()
    await works.announcer.declare([])


async def _say_goodbye(works: Works) -> None:
    await works.announcer.catch_up()
    await _declare(works)
    await works.announcer.say("stopped")
