"""``relay send``: sends a test notification to one destination."""

import asyncio
import socket
import sys
from pathlib import Path
from time import time_ns

import click

from relay.admin import logs
from relay.cli.options import check_known, complete_destination, config_option, read_config
from relay.cli.output import standard_output
from relay.cli.tables import format_name
from relay.cli.verdict import advise, describe_outcome
from relay.config import Config
from relay.core.event import RELAY_ENGINE, make_self_event
from relay.core.exchange import Delivered, Outcome, Response
from relay.core.notification import Notification, build_notification
from relay.core.zone import TimeZone
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.retry import Attempt
from relay.dryrun.sample import SampleKind, build_sample

_FIRST_ATTEMPT = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)


@click.command()
@click.argument("destination", shell_complete=complete_destination)
@click.option(
    "--event",
    "kind",
    type=click.Choice([kind.value for kind in SampleKind]),
    help="Send what DESTINATION would get if a container named relay-test had crashed, run out of "
    "memory, or become unhealthy, with the texts and the severity of the route.",
)
@config_option
def send(destination: str, kind: str | None, config_file: Path | None) -> None:
    """Send a test notification to DESTINATION, and print its answer.

    Prints what relay would make of the answer, and what to do about it. The daemon's own code
    renders and sends it and classifies the answer, once and without the store. Exit code 1 if it
    was not delivered.
    """
    logs.configure(sys.stderr, level="warning")
    config = read_config(config_file)
    check_known("destination", destination, config.destinations)
    notification = _build_notification(destination, kind, config)
    response, outcome = asyncio.run(_send(destination, config, notification))
    click.echo(_describe_response(destination, response))
    click.echo(f"{destination}: {describe_outcome(outcome)}")
    if advice := advise(outcome, response):
        click.echo(f"{destination}: {advice}")
    if not isinstance(outcome, Delivered):
        raise SystemExit(1)


def _build_notification(destination: str, kind: str | None, config: Config) -> Notification:
    host, now_ns = socket.gethostname(), time_ns()
    if kind is None:
        event = make_self_event(
            "test", engine=RELAY_ENGINE, host=host, time_ns=now_ns, name="relay send"
        )
        return build_notification("test", event)
    sample = build_sample(SampleKind(kind), config, destination, host, now_ns)
    if sample.route is None:
        click.echo(
            f"{destination}: no route sends such an event to it; this is only a test",
            err=True,
        )
    else:
        click.echo(f"{destination}: as route {format_name(sample.route)} sends it", err=True)
    return sample.notification


async def _send(name: str, config: Config, notification: Notification) -> tuple[Response, Outcome]:
    to = config.destinations[name]
    with standard_output() as (stream, colour):
        console, zone = ConsoleOutput(stream, colour), TimeZone(config.time_zone)
        async with open_client(name, to, config.routes, console, zone=zone) as client:
            response = await client.send(notification)
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
