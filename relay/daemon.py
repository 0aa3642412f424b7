"""Builds all of relay, runs it, and ends it without losing what is under way."""

import asyncio
import os
import random
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import time_ns
from typing import BinaryIO

import structlog

from relay import __version__
from relay.config import Config, ConsoleDestination, Destination
from relay.delivery.sender import http_sender
from relay.delivery.terminal import terminal_sender
from relay.engine.client import connect, current_context
from relay.engine.cursor import Cursor
from relay.engine.endpoint import Endpoint, endpoint
from relay.engine.inbox import Inbox
from relay.engine.listener import Listener, Pace
from relay.event import OWN_ENGINE, happening
from relay.formats import renderer
from relay.ingest import Digest, ingest
from relay.lanes import Channel, Lane
from relay.notification import notify
from relay.routing.router import Router
from relay.store.outbox import Intake, Outbox
from relay.store.sqlite import open_outbox

log = structlog.get_logger()

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


def store_path(config: Config, folder: Path, environ: Mapping[str, str]) -> Path:
    """The configured path, else in systemd's ``$STATE_DIRECTORY``, else in the user's state.

    A relative path starts at ``folder``, where the configuration is.

    See systemd.exec(5) and the XDG Base Directory Specification.
    """
    if config.store.path is not None:
        return folder.absolute() / config.store.path
    if folders := environ.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0]) / "relay.db"
    state = environ.get("XDG_STATE_HOME") or Path(environ.get("HOME", "/")) / ".local" / "state"
    return Path(state) / "relay" / "relay.db"


async def run(config: Config, store: Path | None, world: Surroundings, stop: Stop) -> None:
    """Run relay until it is told to stop. ``store`` None keeps everything in memory.

    Raises `StoreError` where the store cannot be used, `EndpointError` where the environment names
    an engine that cannot be. Whatever else fails unexpectedly ends it
    all: the store makes starting again safe.
    """
    _make_room_for_lookups(config)
    router = Router(config.routes)
    home = Path(world.environ.get("HOME", "/"))
    places = {
        name: endpoint(engine, world.environ, current_context(home))
        for name, engine in config.engines.items()
    }
    async with AsyncExitStack() as resources:
        outbox = await resources.enter_async_context(open_outbox(store))
        lanes = [
            Lane(
                await resources.enter_async_context(channel(name, to, world)),
                outbox,
                time_ns,
                random.random,
            )
            for name, to in config.destinations.items()
        ]
        async with asyncio.TaskGroup() as tasks:
            running = {lane: tasks.create_task(lane.run()) for lane in lanes}
            await _warn_of_leftovers(config, outbox)
            await _announce("started", router, outbox)
            intakes = [
                await _listen(name, place, config, router, outbox, world, tasks)
                for name, place in places.items()
            ]
            log.info("relay.started", version=__version__, store=str(store or "memory"))
            await stop.asked.wait()
            await _wind_down(intakes, running, router, outbox, stop)
    log.info("relay.stopped")


async def _wind_down(
    intakes: list["_Intake"],
    running: dict[Lane, asyncio.Task[None]],
    router: Router,
    outbox: Outbox,
    stop: Stop,
) -> None:
    """Read no more, commit what was read, say so, and let the lanes finish: all in `DRAIN_S`."""
    ends_s = asyncio.get_running_loop().time() + DRAIN_S
    for intake in intakes:
        intake.end()
    await _finish([intake.digesting for intake in intakes], stop, ends_s)
    await _announce("stopped", router, outbox)
    for lane in running:
        lane.stop()
    await _finish(list(running.values()), stop, ends_s)


@dataclass(frozen=True, slots=True)
class _Intake:
    """One engine's reader and digester."""

    inbox: Inbox
    listening: asyncio.Task[None]
    digesting: asyncio.Task[None]

    def end(self) -> None:
        """Stop reading; what was read is digested."""
        self.listening.cancel()
        self.inbox.close()


async def _listen(
    name: str,
    place: Endpoint,
    config: Config,
    router: Router,
    outbox: Outbox,
    world: Surroundings,
    tasks: asyncio.TaskGroup,
) -> _Intake:
    engine = config.engines[name]
    saved = await outbox.bookmark(name)
    digest = Digest(name, engine.start_from, router, Cursor(saved) if saved else None)
    inbox = Inbox(config.ingest.buffer)
    listener = Listener(
        name, engine.host, partial(connect, place, time_ns), inbox, digest, time_ns, world.pace
    )
    return _Intake(
        inbox,
        tasks.create_task(listener.run()),
        tasks.create_task(ingest(inbox, digest, outbox, time_ns)),
    )


async def _finish(tasks: list[asyncio.Task[None]], stop: Stop, ends_s: float) -> None:
    """Let the tasks end by themselves until ``ends_s`` or a second request; then cancel them.

    What is not finished is the engine's to repeat or in the store: the next start does it.
    """
    hurried = asyncio.ensure_future(stop.hurried.wait())
    finished = asyncio.ensure_future(asyncio.wait(tasks))
    left_s = max(0.0, ends_s - asyncio.get_running_loop().time())
    await asyncio.wait({hurried, finished}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (hurried, finished, *tasks):
        task.cancel()


@asynccontextmanager
async def channel(
    name: str, destination: Destination, world: Surroundings
) -> AsyncIterator[Channel]:
    """The way to a destination, with connections of its own."""
    render = renderer(destination, colour=world.colour)
    if isinstance(destination, ConsoleDestination):
        async with terminal_sender(world.terminal) as terminal:
            yield Channel(name, destination, render, terminal)
    else:
        async with http_sender(destination.concurrency) as http:
            yield Channel(name, destination, render, http)


async def _announce(action: str, router: Router, outbox: Outbox) -> None:
    """Make an event of what happened to relay, and send it where the routes say."""
    now_ns = time_ns()
    event = happening(
        action,
        engine=OWN_ENGINE,
        host=socket.gethostname(),
        time_ns=now_ns,
        name="relay",
        attributes={"version": __version__, "pid": str(os.getpid())},
    )
    chosen = [(notify(step.route.name, event), step.destinations) for step in router.route(event)]
    await outbox.take_in(Intake(OWN_ENGINE, None, chosen), now_ns)


async def _warn_of_leftovers(config: Config, outbox: Outbox) -> None:
    """Say what is kept for destinations that the configuration no longer has."""
    for name, count in (await outbox.pending()).items():
        if name not in config.destinations:
            log.warning("destination.unknown", destination=name, kept=count)


def _make_room_for_lookups(config: Config) -> None:
    """Give every destination threads for name lookups, which can hang, so that none waits."""
    workers = 8 + 4 * len(config.destinations)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(workers, "lookup"))
