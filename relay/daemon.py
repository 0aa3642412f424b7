"""Builds all of relay, runs it, and ends it without losing what is under way."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import BinaryIO

import structlog

from relay import __version__
from relay.announcer import Announcer
from relay.config import Config, ConsoleDestination, Destination, Route
from relay.delivery.limits import Valve, valves
from relay.delivery.sender import http_sender
from relay.delivery.signing import signer
from relay.delivery.terminal import terminal_sender
from relay.desk import Desk, EngineReport, Listening, OwnDesk, Report, Running
from relay.engine.client import current_context
from relay.engine.endpoint import Endpoint, endpoint
from relay.engine.listener import Pace
from relay.errors import StoreInUse
from relay.event import HEARTBEAT
from relay.formats import renderer
from relay.lanes import Channel, Lane
from relay.ops.admin import admin
from relay.ops.clock import SteadyClock
from relay.ops.control import ControlError, control, socket_path
from relay.ops.progress import Progress
from relay.ops.systemd import Manager, attend
from relay.ops.vitals import Stream, Vitals
from relay.routing.router import Router
from relay.station import Station, station
from relay.store.outbox import Outbox
from relay.store.sqlite import open_outbox
from relay.tally import DestinationTally, EngineTally
from relay.tap import Tap

log = structlog.get_logger()

DECLARE_EVERY_S = 60
"""How often it is told at most what the store gave up."""

PRUNE_EVERY_S = 60

STORE_S = 3
"""How long a store may be in use by a command when relay starts."""

LAST_WORDS_S = 0.5
"""How long telling of the last attempts may take."""

DRAIN_S = 5
"""How long what is under way may take to finish once relay was told to stop."""


@dataclass(slots=True)
class Stop:
    """Being told to stop, once or more."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    hurried: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self) -> None:
        """Stop; asked again, stop without waiting for what is under way."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()

    def on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the daemon takes from the world, so that a test or the demo can give it another."""

    environ: Mapping[str, str]
    terminal: BinaryIO
    """Where the console destination writes."""
    colour: bool
    """Whether somebody looks at it there."""
    pace: Pace = field(default_factory=Pace)


async def run(config: Config, store: Path | None, world: Surroundings, stop: Stop) -> None:
    """Run relay until it is told to stop. ``store`` None keeps everything in memory.

    Raises `StoreError` where the store cannot be used, `AdminError` where ``admin.listen`` cannot,
    `TlsError` where a destination's certificates cannot,
    `EndpointError` where the environment names an engine that cannot be. Whatever else
    fails unexpectedly ends it all: the store makes starting again safe.
    """
    _make_room_for_lookups(config)
    home = Path(world.environ.get("HOME", "/"))
    places = {
        name: endpoint(engine, world.environ, current_context(home))
        for name, engine in config.engines.items()
    }
    async with AsyncExitStack() as resources:
        work = await _opened(config, store, resources)
        lanes = [
            await resources.enter_async_context(_lane(name, work, world))
            for name in config.destinations
        ]
        if store is not None:
            desk = OwnDesk(
                work.outbox, config.destinations, work.clock.now_ns, _running(work, lanes)
            )
            await _listen_to_commands(socket_path(store), desk, work.tap, resources)
        if config.admin is not None:
            vitals = partial(_vitals, work, lanes)
            await resources.enter_async_context(
                admin(config.admin.listen, vitals, work.outbox.backlog)
            )
        manager = resources.enter_context(closing(Manager(world.environ)))
        async with asyncio.TaskGroup() as tasks:
            running = {lane: tasks.create_task(lane.run()) for lane in lanes}
            chores = [
                tasks.create_task(_begin(work, places, world.pace, tasks)),
                tasks.create_task(work.announcer.run()),
                tasks.create_task(_prune(work)),
                tasks.create_task(_beat(work)),
                tasks.create_task(_attend(manager, work, lanes)),  # the last: all else has begun
            ]
            await stop.asked.wait()
            manager.stopping()
            for chore in chores:
                chore.cancel()
            await _wind_down(work, running, stop, tasks)
    log.info("relay.stopped")


@dataclass(frozen=True, slots=True)
class _Work:
    """What is at work from the start to the end."""

    config: Config
    store: Path | None
    router: Router
    outbox: Outbox
    clock: SteadyClock
    announcer: Announcer
    valves: Mapping[str, Valve]
    """By destination."""
    tap: Tap
    stations: dict[Station, asyncio.Task[None]] = field(default_factory=dict)
    """Those that listen, with what ends when all that they read is committed."""


def _vitals(work: _Work, lanes: list[Lane]) -> Vitals:
    none = Stream(EngineTally(), is_open=False)
    heard = {each.name: Stream(each.tally, each.hears) for each in work.stations}
    return Vitals(
        streams={name: heard.get(name, none) for name in work.config.engines},
        destinations={lane.name: lane.tally for lane in lanes},
        conditions={lane.name: lane.condition for lane in lanes},
        store=work.outbox.state,
        matches=_matches(work),
        now_ns=work.clock.now_ns(),
    )


def _matches(work: _Work) -> Mapping[str, int]:
    counted = Counter(work.announcer.matches)
    for each in work.stations:
        counted.update(each.tally.matches)
    return {route.name: counted[route.name] for route in work.config.routes}


async def _attend(manager: Manager, work: _Work, lanes: list[Lane]) -> None:
    vitals, progress = partial(_vitals, work, lanes), partial(_progress, work, lanes)
    await attend(manager, vitals, progress, work.outbox.pending)


def _progress(work: _Work, lanes: list[Lane]) -> Progress:
    return Progress(
        loops={
            **{f"engine {each.name}": each.pulse.busy_s for each in work.stations},
            **{f"destination {lane.name}": lane.pulse.busy_s for lane in lanes},
        },
        store_lives=work.outbox.lives,
        store_waited_s=work.outbox.waited_s,
    )


async def _listen_to_commands(
    socket: Path, desk: Desk, tap: Tap, resources: AsyncExitStack
) -> None:
    """A relay that cannot be asked delivers all the same."""
    try:
        await resources.enter_async_context(control(socket, desk, tap))
    except ControlError as error:
        log.warning("control.unavailable", error=str(error))


def _running(work: _Work, lanes: list[Lane]) -> Running:
    by_name = {lane.name: lane for lane in lanes}
    return Running(
        conditions=lambda: {name: lane.condition for name, lane in by_name.items()},
        enable=lambda name: by_name[name].enable(),
        report=partial(_report, work),
    )


def _report(work: _Work) -> Report:
    not_yet = EngineReport(None, Listening(is_open=False, behind=0, gaps=0, reconnects=0))
    heard = {each.name: each.report for each in work.stations}
    state = work.outbox.state
    return Report(
        {name: heard.get(name, not_yet) for name in work.config.engines},
        version=__version__,
        store_failing=state.reason,
        store_failing_since_ns=state.failing_since_ns,
    )


async def _opened(config: Config, store: Path | None, resources: AsyncExitStack) -> _Work:
    lost = asyncio.Event()
    outbox = await _outbox(config, store, lost, resources)
    tap, clock = Tap(), SteadyClock()
    router = Router(config.routes, tap.put)
    announcer = Announcer(router, outbox, clock.now_ns, lost)
    return _Work(config, store, router, outbox, clock, announcer, valves(config.destinations), tap)


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


async def _begin(
    work: _Work, places: Mapping[str, Endpoint], pace: Pace, tasks: asyncio.TaskGroup
) -> None:
    """Start to listen; then declare what the store loses. All of it waits for the disk."""
    retries = [to.retry for to in work.config.destinations.values()]
    longest_s = max(max(it.max * 2, it.max_after).total_seconds() for it in retries)
    await work.outbox.settle_clock(work.clock.now_ns(), int(longest_s * 1e9))
    await _warn_of_leftovers(work.config, work.outbox)
    await work.announcer.say("started")
    for name, place in places.items():
        each = await station(
            name, place, work.config, work.router, work.outbox, work.clock.now_ns, pace
        )
        work.stations[each] = each.start(tasks, work.announcer.heed)
    log.info("relay.started", version=__version__, store=str(work.store or "memory"))
    while True:
        await _declare(work)
        await asyncio.sleep(DECLARE_EVERY_S)
        await work.announcer.news.wait()


async def _prune(work: _Work) -> None:
    """Keep the dead letters within their bounds, which are looked at once a minute."""
    bounds = work.config.store.dead_letters
    age_ns = int(bounds.max_age.total_seconds() * 1e9)
    while True:
        gone = await work.outbox.prune(work.clock.now_ns() - age_ns, bounds.max_count)
        if gone:
            log.info("dead_letters.pruned", count=gone)
        await asyncio.sleep(PRUNE_EVERY_S)


async def _beat(work: _Work) -> None:
    """Tell that relay lives: that it is scheduled, and that its store takes something in."""
    if work.config.heartbeat is None:
        return
    while True:
        await work.announcer.say(HEARTBEAT)
        await asyncio.sleep(work.config.heartbeat.every.total_seconds())


async def _declare(work: _Work) -> None:
    """Tell what the store lost since it was told last, and the store what it lost of that."""
    work.announcer.news.clear()
    losses = await work.outbox.losses()
    if losses:
        for each in work.stations:
            each.store_was_renewed()
    await work.announcer.declare(losses)


async def _wind_down(
    work: _Work,
    running: dict[Lane, asyncio.Task[None]],
    stop: Stop,
    tasks: asyncio.TaskGroup,
) -> None:
    """Read no more, commit what was read, say so, and let the lanes finish: all in `DRAIN_S`."""
    ends_s = asyncio.get_running_loop().time() + DRAIN_S
    for each in work.stations:
        each.end()
    await _finish(list(work.stations.values()), stop, ends_s)
    await _finish([tasks.create_task(_say_goodbye(work))], stop, ends_s)
    for lane in running:
        lane.stop()
    await _finish(list(running.values()), stop, ends_s)
    # what came of the last attempts is told at the next start
    await _finish([tasks.create_task(_tell_the_rest(work))], stop, ends_s + LAST_WORDS_S)


async def _tell_the_rest(work: _Work) -> None:
    await work.announcer.catch_up()
    await work.announcer.declare([])


async def _say_goodbye(work: _Work) -> None:
    await work.announcer.catch_up()
    await _declare(work)
    await work.announcer.say("stopped")


async def _finish(tasks: list[asyncio.Task[None]], stop: Stop, ends_s: float) -> None:
    """Let the tasks end by themselves until ``ends_s`` or a second request; then cancel them.

    What is not finished is the engine's to repeat or in the store: the next start does it.
    """
    if not tasks:
        return
    hurried = asyncio.ensure_future(stop.hurried.wait())
    finished = asyncio.ensure_future(asyncio.wait(tasks))
    left_s = max(0.0, ends_s - asyncio.get_running_loop().time())
    await asyncio.wait({hurried, finished}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (hurried, finished, *tasks):
        task.cancel()


@asynccontextmanager
async def _lane(name: str, work: _Work, world: Surroundings) -> AsyncIterator[Lane]:
    config = work.config
    async with channel(name, config.destinations[name], config.routes, world) as way:
        yield Lane(
            way,
            work.outbox,
            work.valves[name],
            work.announcer,
            work.clock.now_ns,
            random.random,
        )


@asynccontextmanager
async def channel(
    name: str, destination: Destination, routes: Sequence[Route], world: Surroundings
) -> AsyncIterator[Channel]:
    """The way to a destination, with connections of its own."""
    tally = DestinationTally()

    told_s: dict[str, float] = {}

    def failed(where: str, why: str) -> None:
        tally.template_failures += 1
        if monotonic() >= told_s.get(where, 0.0):
            told_s[where] = monotonic() + DECLARE_EVERY_S
            log.warning("template.failed", destination=name, template=where, error=why)

    render = renderer(destination, routes, colour=world.colour, failed=failed)
    if isinstance(destination, ConsoleDestination):
        async with terminal_sender(world.terminal) as terminal:
            yield Channel(name, destination, render, terminal, tally=tally)
    else:
        async with http_sender(destination) as http:
            yield Channel(name, destination, render, http, signer(destination), tally)


async def _warn_of_leftovers(config: Config, outbox: Outbox) -> None:
    """Say what is kept for destinations that the configuration no longer has."""
    for name, count in (await outbox.pending()).items():
        if name not in config.destinations:
            log.warning("destination.unknown", destination=name, kept=count)


def _make_room_for_lookups(config: Config) -> None:
    """Give every destination threads for name lookups, which can hang, so that none waits."""
    workers = 8 + 4 * len(config.destinations)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(workers, "lookup"))
