"""``relay send``."""

import asyncio
import logging
import socket
import sys
from pathlib import Path
from time import time_ns

import click

from relay.admin import logs
from relay.cli.options import config_option, read
from relay.cli.output import standard_output
from relay.config import Config
from relay.core.event import OWN_ENGINE, happening
from relay.core.exchange import Delivered, Outcome, Reason, Response, Retry
from relay.core.notification import Notification, notify
from relay.delivery.client import Terminal, channel
from relay.delivery.retry import Attempt

_FIRST = Attempt(earlier=0, age_s=0, chance=0.5)


@click.command()
@click.argument("destination")
@config_option
def send(destination: str, chosen: Path | None) -> None:
    """Send a test notification to DESTINATION and print its answer.

    It is rendered, sent and judged as the daemon does it, once and without the store.
    """
    logs.configure(sys.stderr, level=logging.WARNING)
    config = read(chosen)
    if destination not in config.destinations:
        known = ", ".join(config.destinations)
        raise click.UsageError(f"no destination {destination!r}; there are: {known}")
    response, outcome = asyncio.run(_send(destination, config, _test_notification()))
    click.echo(_answer(destination, response))
    if not isinstance(outcome, Delivered):
        click.echo(f"{destination}: {_meaning(outcome)}")
        raise SystemExit(1)


async def _send(name: str, config: Config, notification: Notification) -> tuple[Response, Outcome]:
    to = config.destinations[name]
    with standard_output() as (stream, colour):
        async with channel(name, to, config.routes, Terminal(stream, colour)) as way:
            response = await way.send(notification)
            return response, way.judge(response, _FIRST)


def _meaning(outcome: Outcome) -> str:
    """What the daemon would make of an answer that is no success."""
    if outcome.reason is Reason.GONE:
        return "it would be stopped (gone)"
    if isinstance(outcome, Retry):
        return f"this would be tried again ({outcome.reason})"
    return f"this would be a dead letter ({outcome.reason})"


def _test_notification() -> Notification:
    host = socket.gethostname()
    event = happening("test", engine=OWN_ENGINE, host=host, time_ns=time_ns(), name="relay send")
    return notify("test", event)


def _answer(name: str, response: Response) -> str:
    if response.status is None:
        return f"{name}: no answer ({response.failure}): {response.error}"
    if response.error:
        return f"{name}: answered {response.status}: {response.error}"
    text = response.body.decode(errors="replace")
    printable = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return f"{name}: answered {response.status}\n{printable}".rstrip()
