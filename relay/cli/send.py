"""``relay send``."""

import asyncio
import logging
import socket
import sys
from pathlib import Path
from time import time_ns

import click

from relay.admin import logs
from relay.cli.options import config_option, read_config
from relay.cli.output import standard_output
from relay.config import Config
from relay.core.event import RELAY_ENGINE, make_self_event
from relay.core.exchange import Delivered, Outcome, Reason, Response, Retry
from relay.core.notification import Notification, build_notification
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.retry import Attempt

_FIRST_ATTEMPT = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)


@click.command()
@click.argument("destination")
@config_option
def send(destination: str, chosen: Path | None) -> None:
    """Send a test notification to DESTINATION and print its answer.

    It is rendered, sent and judged as the daemon does it, once and without the store.
    """
    logs.configure(sys.stderr, level=logging.WARNING)
    config = read_config(chosen)
    if destination not in config.destinations:
        known = ", ".join(config.destinations)
        raise click.UsageError(f"no destination {destination!r}; there are: {known}")
    response, outcome = asyncio.run(_send(destination, config, _test_notification()))
    click.echo(_describe_response(destination, response))
    if not isinstance(outcome, Delivered):
        click.echo(f"{destination}: {_describe_outcome(outcome)}")
        raise SystemExit(1)


async def _send(name: str, config: Config, notification: Notification) -> tuple[Response, Outcome]:
    to = config.destinations[name]
    with standard_output() as (stream, colour):
        async with open_client(name, to, config.routes, ConsoleOutput(stream, colour)) as way:
            response = await way.send(notification)
            return response, way.classify(response, _FIRST_ATTEMPT)


def _describe_outcome(outcome: Outcome) -> str:
    """What the daemon would make of an answer that is no success."""
    if outcome.reason is Reason.GONE:
        return "it would be stopped (gone)"
    if isinstance(outcome, Retry):
        return f"this would be tried again ({outcome.reason})"
    return f"this would be a dead letter ({outcome.reason})"


def _test_notification() -> Notification:
    host = socket.gethostname()
    event = make_self_event(
        "test", engine=RELAY_ENGINE, host=host, time_ns=time_ns(), name="relay send"
    )
    return build_notification("test", event)


def _describe_response(name: str, response: Response) -> str:
    if response.status is None:
        return f"{name}: no answer ({response.failure}): {response.error}"
    if response.error:
        return f"{name}: answered {response.status}: {response.error}"
    text = response.body.decode(errors="replace")
    printable = "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    return f"{name}: answered {response.status}\n{printable}".rstrip()
