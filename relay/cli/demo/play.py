"""Runs the demo: sets up engine, daemon and receiver, and compares the result with what is due."""

import asyncio
import io
import os
import tempfile
from pathlib import Path
from time import monotonic

import click
import msgspec

from relay.cli.demo.engine import Narrate, RecordedEngine, load_recording
from relay.cli.demo.receiver import Receiver
from relay.config import Config
from relay.core.checkpoint import Checkpoint
from relay.core.shutdown import Shutdown
from relay.daemon import run
from relay.delivery.client import ConsoleOutput
from relay.destinations.catalog import parse_config
from relay.ingest.docker.buffer import Connection, Record
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.router import Router

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
    config: Config, store: Path, engine: RecordedEngine, receiver: Receiver
) -> None:
    """Run the daemon until the receiver has everything and the stream is played to its end."""
    shutdown = Shutdown()
    environment = run.Environment(os.environ, console=ConsoleOutput(io.BytesIO(), colour=False))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run.run_daemon(config, store, environment, shutdown), name="demo: daemon")
        playing = tasks.create_task(engine.play(_find_cut(load_recording())), name="demo: engine")
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await receiver.complete.wait()
                await playing
        except TimeoutError:
            playing.cancel()
        shutdown.request()


def _find_cut(events: list[dict[str, object]]) -> range:
    """Return the numbers of the events from the start of `CUT_CONTAINER` to its death."""
    numbers = [
        number
        for number, event in enumerate(events)
        if _container_name(event) == CUT_CONTAINER and event["Action"] in ("start", "die")
    ]
    return range(numbers[0], numbers[-1] + 1)


def _container_name(event: dict[str, object]) -> object:
    actor = event["Actor"]
    return actor["Attributes"].get("name") if isinstance(actor, dict) else None


def _count_expected(events: list[dict[str, object]]) -> int:
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
    return len(pipeline.process(pipeline.parse(records), now_ns=1).notifications)


def _narrate_summary(
    narrate: Narrate, events: int, expected: int, engine: RecordedEngine, receiver: Receiver
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
