"""The demo: what is set up, what is expected, and what came of it."""

import asyncio
import io
import os
import tempfile
from pathlib import Path
from time import monotonic

import click
import msgspec

from relay.cli.demo.engine import RecordedEngine, Say, recorded
from relay.cli.demo.receiver import Receiver
from relay.config import Config, parse
from relay.core.checkpoint import Bookmark
from relay.core.shutdown import Stop
from relay.daemon import run
from relay.delivery.client import Terminal
from relay.ingest.docker.buffer import Connection, Record
from relay.ingest.docker.pipeline import Digest
from relay.routing.router import Router

LIMIT_S = 8
"""How long to wait for what is expected before it counts as lost."""

CUT_AT = "failed"
"""The stream is cut when this container starts, so that its death is missed live."""

CONFIGURATION = """
engines:
  demo: {{url: "unix://{socket}"}}
reconcile: {{every: 0s, on_reconnect: false}}  # of these containers there is only the stream
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


async def play(say: Say) -> bool:
    """Play it through; whether all that was expected came, and came once."""
    events = recorded()
    with tempfile.TemporaryDirectory(prefix="relay-demo-") as folder:
        socket = Path(folder) / "engine.sock"
        engine = RecordedEngine(events, say)
        expected = _expected(events)
        receiver = Receiver(expected, say)
        async with receiver.serving() as url, engine.serving(socket):
            text = CONFIGURATION.format(socket=socket, url=url)
            config = parse(text, file="demo", environ={}, folder=Path(folder))
            await _run(config, Path(folder) / "relay.db", engine, receiver)
    return _summary(say, len(events), expected, engine, receiver)


async def _run(config: Config, store: Path, engine: RecordedEngine, receiver: Receiver) -> None:
    """The daemon, between the engine and the receiver, until all has come."""
    stop = Stop()
    world = run.Surroundings(os.environ, terminal=Terminal(io.BytesIO(), colour=False))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run.run(config, store, world, stop))
        playing = tasks.create_task(engine.play(_cut(recorded())))
        try:
            async with asyncio.timeout(LIMIT_S):
                await receiver.complete.wait()
                await playing
        except TimeoutError:
            playing.cancel()
        stop.ask()


def _cut(events: list[dict[str, object]]) -> range:
    """From the start of one container to its death."""
    numbers = [
        number
        for number, event in enumerate(events)
        if _name(event) == CUT_AT and event["Action"] in ("start", "die")
    ]
    return range(numbers[0], numbers[-1] + 1)


def _name(event: dict[str, object]) -> object:
    actor = event["Actor"]
    return actor["Attributes"].get("name") if isinstance(actor, dict) else None


def _expected(events: list[dict[str, object]]) -> int:
    """How many notifications the stream gives rise to, by the daemon's own decisions."""
    config = parse(
        CONFIGURATION.format(socket="/demo", url="http://127.0.0.1"),
        file="demo",
        environ={},
        folder=Path("/"),
    )
    digest = Digest("demo", "oldest", Router(config.routes), Bookmark.beginning(1))
    connection = Connection("demo", "demo-host", opened_ns=1, since_ns=1)
    records = [Record(connection, msgspec.json.encode(event)) for event in events]
    return len(digest.take_in(digest.read(records), now_ns=1).notifications)


def _summary(
    say: Say, events: int, expected: int, engine: RecordedEngine, receiver: Receiver
) -> bool:
    lost = expected - len(receiver.taken)
    doubled = sum(times - 1 for times in receiver.taken.values())
    say(
        "summary",
        f"{events} events played, {engine.repeated} repeated after the cut; "
        f"{expected} notifications expected, {len(receiver.taken)} taken "
        f"in {receiver.attempts} attempts; lost {lost}, doubled {doubled}",
    )
    return lost == 0 and doubled == 0


def narrator() -> Say:
    """Prints who did what, with the seconds since the start."""
    begun_s = monotonic()

    def say(who: str, what: str) -> None:
        click.echo(f"{monotonic() - begun_s:5.2f} s  {who:8}  {what}")

    return say
