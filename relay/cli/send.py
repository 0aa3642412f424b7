"""``relay send``."""

import asyncio
import os
import socket
from pathlib import Path
from time import time_ns

import click

from relay import daemon
from relay.cli.configuration import config_option, read
from relay.cli.output import standard_output
from relay.config import Config
from relay.delivery.retry import Attempt, judge
from relay.event import OWN_ENGINE, happening
from relay.exchange import Delivered, Response
from relay.notification import Notification, notify


@click.command()
@click.argument("destination")
@config_option
def send(destination: str, chosen: Path | None) -> None:
    """Send a test notification to DESTINATION and print its answer.

    It is rendered, sent and judged as the daemon does it, once and without the store.
    """
    config = read(chosen)
    if destination not in config.destinations:
        known = ", ".join(config.destinations)
        raise click.UsageError(f"no destination {destination!r}; there are: {known}")
    to = config.destinations[destination]
    response = asyncio.run(_send(destination, config, _test_notification()))
    outcome = judge(response, Attempt(earlier=0, age_s=0, chance=0.5), to.retry)
    click.echo(_answer(destination, response))
    if not isinstance(outcome, Delivered):
        raise SystemExit(1)


async def _send(name: str, config: Config, notification: Notification) -> Response:
    with standard_output() as (stream, colour):
        world = daemon.Surroundings(os.environ, stream, colour)
        async with daemon.channel(name, config.destinations[name], config.routes, world) as channel:
            return await channel.send(notification)


def _test_notification() -> Notification:
    host = socket.gethostname()
    event = happening("test", engine=OWN_ENGINE, host=host, time_ns=time_ns(), name="relay send")
    return notify("test", event)


def _answer(name: str, response: Response) -> str:
    if response.status is None:
        return f"{name}: no answer ({response.failure}): {response.error}"
    text = response.body.decode(errors="replace")
    printable = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return f"{name}: answered {response.status}\n{printable}".rstrip()
