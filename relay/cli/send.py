"""``relay send``: sends a test notification to one destination."""

import asyncio
import socket
import sys
from pathlib import Path
from time import time_ns

import click

from relay.admin import logs
from relay.cli.options import check_known, config_option, read_config
from relay.cli.output import standard_output
from relay.config import Config
from relay.core.event import RELAY_ENGINE, make_self_event
from relay.core.exchange import Delivered, Outcome, Reason, Response, Retry
from relay.core.notification import build_notification
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.retry import Attempt

_FIRST_ATTEMPT = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)


@click.command()
@click.argument("destination")
@config_option
def send(destination: str, config_file: Path | None) -> None:
    """Send a test notification to DESTINATION, and print its answer.

    The daemon's own code renders and sends it and classifies the answer, once and without the
    store. Exit code 1 if it was not delivered.
    """
    logs.configure(sys.stderr, level="warning")
    config = read_config(config_file)
    check_known("destination", destination, config.destinations)
    response, outcome = asyncio.run(_send(destination, config))
    click.echo(_describe_response(destination, response))
    if not isinstance(outcome, Delivered):
        click.echo(f"{destination}: {_describe_outcome(outcome)}")
        raise SystemExit(1)


async def _send(name: str, config: Config) -> tuple[Response, Outcome]:
    host = socket.gethostname()
    event = make_self_event(
        "test", engine=RELAY_ENGINE, host=host, time_ns=time_ns(), name="relay send"
    )
    to = config.destinations[name]
    with standard_output() as (stream, colour):
        async with open_client(name, to, config.routes, ConsoleOutput(stream, colour)) as client:
            response = await client.send(build_notification("test", event))
            return response, client.classify(response, _FIRST_ATTEMPT)


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


def _describe_outcome(outcome: Outcome) -> str:
    """Say what the daemon would do after an answer that is not a success."""
    if outcome.reason is Reason.GONE:
        return "relay would stop sending to it (gone)"
    if isinstance(outcome, Retry):
        return f"relay would try this again ({outcome.reason})"
    return f"relay would make this a dead letter ({outcome.reason})"
