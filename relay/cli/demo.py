"""``relay demo``: shows that nothing is lost or sent twice when the stream and a delivery fail.

A recorded stream is played through the daemon's own code: a demo engine serves it on a private
socket, and a webhook receiver runs on loopback. The engine cuts its stream while a container dies,
so relay finds that death in the engine's history after it reconnects. The receiver answers its
first request with 503, so relay retries that delivery under the same id.
"""

import asyncio
import io
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from time import monotonic, time_ns
from typing import Any

import click
import msgspec
from aiohttp import web

from relay.admin import logs
from relay.config import Config
from relay.core.checkpoint import Checkpoint
from relay.core.tasks import Shutdown, spawn
from relay.daemon import run
from relay.delivery.client import ConsoleOutput
from relay.destinations.catalog import parse_config
from relay.ingest.docker.buffer import Connection, Record
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.router import Router

Narrate = Callable[[str, str], None]
"""Prints who did what."""

EVENT_INTERVAL_S = 0.06
"""The time between two events."""

TIMEOUT_S = 8
"""How long to wait for the expected notifications before they count as lost."""

CUT_CONTAINER = "failed"
"""The stream is cut from this container's start to its death, so that it is missed live."""

CONFIGURATION = """
engines:
  demo: {{url: "unix://{socket}"}}
reconcile: {{every: 0s, on_reconnect: false}}  # these containers exist only in the stream
destinations:
  receiver: {{type: http, url: "{url}", retry: {{initial: 500ms}}}}
routes:
  - name: out-of-memory
    match: {{type: container, action: die, cause: oom}}
    to: receiver
  - name: crashed
    match: {{type: container, action: die, cause: crashed}}
    to: receiver
  - name: unhealthy
    match: {{type: container, health: unhealthy}}
    to: receiver
"""


@click.command()
def demo() -> None:
    """Show the whole pipeline at work in a few seconds, with nothing installed.

    A recorded stream of a real engine is served on a private socket, a webhook receiver runs on
    loopback, and the daemon's own code runs between them. The stream is cut once and the receiver
    fails once, to show how relay resumes and retries. Exit code 1 if anything is lost or repeated.
    """
    logs.configure(sys.stderr, level="error")
    if not asyncio.run(play(make_narrator())):
        raise SystemExit(1)


async def play(narrate: Narrate) -> bool:
    """Run the demo; return whether each expected notification was accepted exactly once."""
    events = load_recording()
    with tempfile.TemporaryDirectory(prefix="relay-demo-") as folder:
        socket = Path(folder) / "engine.sock"
        engine = RecordedEngine(events, narrate)
        expected = _count_expected(events)
        receiver = Receiver(expected, narrate)
        async with receiver.serve() as url, engine.serve(socket):
            text = CONFIGURATION.format(socket=socket, url=url)
            config = parse_config(text, file="demo", environ={}, folder=Path(folder))
            await _run_daemon(config, Path(folder) / "relay.db", engine, receiver)
    return _narrate_summary(narrate, len(events), expected, engine, receiver)


async def _run_daemon(
    config: Config, store: Path, engine: "RecordedEngine", receiver: "Receiver"
) -> None:
    """Run the daemon until the receiver has everything and the stream is played to its end."""
    shutdown = Shutdown()
    environment = run.Environment(os.environ, console=ConsoleOutput(io.BytesIO(), colour=False))
    async with asyncio.TaskGroup() as tasks:
        spawn(run.run_daemon(config, store, environment, shutdown), "demo: daemon", tasks)
        playing = spawn(engine.play(_find_cut(load_recording())), "demo: engine", tasks)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await receiver.complete.wait()
                await playing
        except TimeoutError:
            playing.cancel()
        shutdown.request()


def _find_cut(events: list[dict[str, Any]]) -> range:
    """Return the numbers of the events from the start of `CUT_CONTAINER` to its death."""
    numbers = [
        number
        for number, event in enumerate(events)
        if event["Action"] in ("start", "die")
        and event["Actor"]["Attributes"].get("name") == CUT_CONTAINER
    ]
    return range(numbers[0], numbers[-1] + 1)


def _count_expected(events: list[dict[str, Any]]) -> int:
    """Return how many notifications the stream causes, by the daemon's own pipeline."""
    config = parse_config(
        CONFIGURATION.format(socket="/demo", url="http://127.0.0.1"),
        file="demo",
        environ={},
        folder=Path("/"),
    )
    pipeline = EventPipeline("demo", "oldest", Router(config.routes), Checkpoint.starting_at(1))
    connection = Connection("demo", "demo-host", opened_ns=1, since_ns=1)
    records = [Record(connection, msgspec.json.encode(event)) for event in events]
    return len(pipeline.process(records, now_ns=1, snapshots={}).notifications)


def _narrate_summary(
    narrate: Narrate, events: int, expected: int, engine: "RecordedEngine", receiver: "Receiver"
) -> bool:
    lost = expected - len(receiver.accepted)
    duplicated = sum(times - 1 for times in receiver.accepted.values())
    narrate(
        "summary",
        f"{events} events played, {engine.repeated} repeated after the cut; "
        f"{expected} notifications expected, {len(receiver.accepted)} accepted "
        f"in {receiver.attempts} attempts; lost {lost}, duplicated {duplicated}",
    )
    return lost == 0 and duplicated == 0


def make_narrator() -> Narrate:
    """Return a function that prints who did what, with the seconds since now."""
    started_s = monotonic()

    def narrate(who: str, what: str) -> None:
        click.echo(f"{monotonic() - started_s:5.2f} s  {who:8}  {what}")

    return narrate


def load_recording() -> list[dict[str, Any]]:
    """Return what a Docker 26.1 engine sent while containers were created, failed and removed."""
    recording = files(__package__).joinpath("demo_stream.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in recording.splitlines()]


class RecordedEngine:
    """Plays events, each with the time at which it is played as its time."""

    def __init__(self, events: Sequence[dict[str, Any]], narrate: Narrate) -> None:
        self._events = events
        self._narrate = narrate
        self._history: list[tuple[int, bytes]] = []
        self._streams: set[asyncio.Queue[bytes | None]] = set()
        self._has_client = asyncio.Event()
        self.repeated = 0
        """How many events were sent again from the history because relay asked for them."""

    async def play(self, cut: range) -> None:
        """Play all events once a client is connected; those in ``cut`` without clients."""
        await self._has_client.wait()
        for number, event in enumerate(self._events):
            if number == cut.start:
                missed = f"{len(cut)} events happen before relay reconnects"
                self._narrate("engine", f"cuts the stream; {missed}")
                for stream in self._streams:
                    stream.put_nowait(None)
                self._streams.clear()
            if number not in cut:
                await asyncio.sleep(EVENT_INTERVAL_S)
            self._emit(event)

    def _emit(self, event: dict[str, Any]) -> None:
        now_ns = time_ns()
        played = {**event, "time": now_ns // 1_000_000_000, "timeNano": now_ns}
        line = json.dumps(played).encode() + b"\n"
        self._history.append((now_ns, line))
        for stream in self._streams:
            stream.put_nowait(line)
        if event["Action"] in ("die", "oom") or event["Action"].startswith("health_status"):
            attributes = event["Actor"]["Attributes"]
            code = f", exit code {attributes['exitCode']}" if "exitCode" in attributes else ""
            self._narrate("engine", f"{attributes['name']}: {event['Action']}{code}")

    async def _serve_ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": "1.45"})

    async def _serve_info(self, _: web.Request) -> web.Response:
        return web.json_response({"Name": "demo-host"})

    async def _serve_events(self, request: web.Request) -> web.StreamResponse:
        seconds, _, nanos = request.query["since"].partition(".")
        since_ns = int(seconds) * 1_000_000_000 + int(nanos)
        past = [line for time, line in self._history if time >= since_ns]
        if "until" in request.query:
            return web.Response(body=b"".join(past), content_type="application/json")
        return await self._stream(request, past)

    async def _stream(self, request: web.Request, past: list[bytes]) -> web.StreamResponse:
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add(stream)
        self._has_client.set()
        self.repeated += len(past)
        self._narrate(
            "relay",
            f"listens to the engine, which repeats {len(past)} events"
            if past
            else "listens to the engine",
        )
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for line in past:
            await response.write(line)
        while (chunk := await stream.get()) is not None:
            await response.write(chunk)
        return response

    @asynccontextmanager
    async def serve(self, socket: Path) -> AsyncIterator[None]:
        """Serve the API on a Unix socket."""
        app = web.Application()
        app.router.add_get("/_ping", self._serve_ping)
        app.router.add_get("/{version}/info", self._serve_info)
        app.router.add_get("/{version}/events", self._serve_events)
        async with _running(app) as runner:
            await web.UnixSite(runner, str(socket)).start()
            yield


class Receiver:
    """Accepts notifications, and counts each by its id."""

    def __init__(self, expected: int, narrate: Narrate) -> None:
        self._expected = expected
        self._narrate = narrate
        self._refused: set[str] = set()
        self.accepted: dict[str, int] = {}
        """How often each id was accepted."""
        self.attempts = 0
        self.complete = asyncio.Event()
        """Set when all expected notifications were accepted."""

    async def _receive(self, request: web.Request) -> web.Response:
        self.attempts += 1
        id_ = request.headers["webhook-id"]
        notification = await request.json()
        (event,) = notification["events"]
        what = f"{id_[:12]}… {notification['route']}: {event['actor']['name']} ({event['origin']})"
        if not self._refused:
            self._refused.add(id_)
            self._narrate("receiver", f"{what}: answers 503, on purpose")
            return web.Response(status=503)
        again = ", the same id again" if id_ in self._refused else ""
        self._narrate("receiver", f"{what}: accepts it{again}")
        self.accepted[id_] = self.accepted.get(id_, 0) + 1
        if len(self.accepted) >= self._expected:
            self.complete.set()
        return web.Response(status=204)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Serve on a free port of loopback, and give the webhook's URL."""
        app = web.Application()
        app.router.add_post("/hook", self._receive)
        async with _running(app) as runner:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}/hook"


@asynccontextmanager
async def _running(app: web.Application) -> AsyncIterator[web.AppRunner]:
    """Run an application as long as the context lasts; where it listens is up to the caller."""
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        yield runner
    finally:
        await runner.cleanup()
