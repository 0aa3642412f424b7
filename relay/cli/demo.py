"""``relay demo``: shows the messages that a chat gets about a crash loop, and about its end.

The clock is simulated, so two minutes take seconds. With ``--to`` the messages are also sent to a
destination of the configuration, by the daemon's own client and without the store.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time_ns

import click
from msgspec.structs import replace

from relay.admin import logs
from relay.cli.options import check_known, complete_destination, config_option, read_config
from relay.cli.output import standard_output
from relay.cli.tables import format_name
from relay.cli.verdict import advise, describe_outcome
from relay.config import Config
from relay.core.event import Event
from relay.core.exchange import Delivered, Outcome, Response
from relay.core.incident import Status
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.core.text import truncate
from relay.core.zone import UTC_ZONE, TimeZone
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.retry import Attempt
from relay.destinations.common.card import Card
from relay.dryrun.incidents import PlannedNotification
from relay.dryrun.story import (
    CHAT,
    DEMONSTRATION,
    Cast,
    Step,
    chat_config,
    list_messages,
    tell_story,
)

Sleep = Callable[[float], Awaitable[None]]
Send = Callable[[Notification], Awaitable[bool]]
"""Sends a message to the destination of ``--to``; returns whether it was delivered."""
PrintLine = Callable[[str], None]

SPEED = 15.0
"""How much faster than the events' clock the story is shown."""
PAUSE_MAX_S = 1.0
"""The longest pause between two steps."""
READING_S = 1.5
"""How long people have for a message."""
SENDING_S = 2.0
"""The time between two messages to a destination, at least."""

INDENT = 10 * " "
WIDTH = 88
"""The width of the text in a message."""
NAME_WIDTH = 16

_FIRST_ATTEMPT = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)
_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


@click.command()
@click.option(
    "--to",
    "destination",
    metavar="DESTINATION",
    shell_complete=complete_destination,
    help="Also send the messages to this destination of the configuration. Their names begin with "
    "[demonstration], and nothing is stored.",
)
@config_option
def demo(destination: str | None, config_file: Path | None) -> None:
    """Show the messages that a chat gets about a container that crashes, loops, and stays up.

    Takes seconds and needs nothing: the events are made up, and the daemon's own code makes the
    messages. With --to, exit code 1 if a message was not delivered.
    """
    logs.configure(sys.stderr, level="warning")
    if destination is None:
        if config_file is not None:
            raise click.UsageError("--config is for --to DESTINATION")
        story = tell_story(chat_config(), CHAT, Cast(), time_ns())
        asyncio.run(play(story, click.echo, zone=UTC_ZONE))
        click.echo("Nothing was sent. The same at your own chat: relay demo --to DESTINATION")
    else:
        config = read_config(config_file)
        check_known("destination", destination, config.destinations)
        if not asyncio.run(play_at(destination, config)):
            raise SystemExit(1)


async def play(
    steps: Sequence[Step],
    print_line: PrintLine,
    sleep: Sleep = asyncio.sleep,
    send: Send | None = None,
    *,
    zone: TimeZone,
) -> bool:
    """Print the steps of a story, with pauses and times in ``zone``; ``send`` each message.

    Return whether all messages were delivered; the first that is not ends the story. If it ends
    early, its last message is still sent, so that no service waits for the end of the problem.
    """
    messages, now_ns, are_sent = list_messages(steps), _time_ns(steps[0]), 0
    last_start = next(step for step in reversed(steps) if _is_start(step))
    try:
        for step in steps:
            await sleep(min(PAUSE_MAX_S, (_time_ns(step) - now_ns) / 1e9 / SPEED))
            now_ns = _time_ns(step)
            if _is_start(step) and step is not last_start:
                continue  # Docker starts it after each crash
            print_line(f"{zone.to_local(now_ns):%H:%M:%S}  {_describe(step, messages)}")
            if not isinstance(step, PlannedNotification):
                continue
            lines = show(Card(step.notification, zone=zone))
            for line in lines if send is None else lines[:1]:
                print_line(f"{INDENT}{line}")
            if send is not None and not await send(step.notification):
                break
            are_sent += 1
            await sleep(READING_S)
    finally:
        last = messages[-1].notification
        if send is not None and 0 < are_sent < len(messages) and last.status is Status.RESOLVED:
            print_line(f"{INDENT}ends early: sends the last message")
            await send(last)
    if are_sent < len(messages):
        return False
    print_line(_summarize(steps, messages))
    return True


def show(card: Card) -> list[str]:
    """Return the lines of a message as chats show it: a coloured bar, headline, facts, output."""
    bar = click.style("┃", fg="green" if card.is_resolved else _COLOURS[card.severity])
    facts = [("Time", card.readable_time), *card.fit_facts(WIDTH)]
    lines = [click.style(f"{card.emoji} {card.title(WIDTH)}", bold=True)]
    lines += [f"{name:<{NAME_WIDTH}}{value}" for name, value in facts]
    for output in card.output:
        lines += [output.title, *(f"  {line}" for line in output.fit(10 * WIDTH).split("\n"))]
    lines.append(click.style(" · ".join(truncate(note, WIDTH) for note in card.notes), dim=True))
    return [f"{bar} {line}" for line in lines]


def _is_start(step: Step) -> bool:
    return isinstance(step, Event) and step.action == "start"


def _time_ns(step: Step) -> int:
    return step.at_ns if isinstance(step, PlannedNotification) else step.time_ns


def _describe(step: Step, messages: Sequence[PlannedNotification]) -> str:
    if isinstance(step, PlannedNotification):
        return click.style(f"message {messages.index(step) + 1} of {len(messages)}", bold=True)
    name = step.actor.name or ""
    if step.action == "start":
        return f"{name} is started, and stays up"
    return f"{name} crashes with exit code {step.exit_code}"


def _summarize(steps: Sequence[Step], messages: Sequence[PlannedNotification]) -> str:
    crashes = sum(isinstance(step, Event) and step.action == "die" for step in steps)
    return f"{crashes} crashes, {len(messages)} messages."


async def play_at(destination: str, config: Config, sleep: Sleep = asyncio.sleep) -> bool:
    """Play the story at a destination, as one that ends now; return whether all was delivered."""
    first_ns = time_ns()
    messages = list_messages(tell_story(config, destination, DEMONSTRATION, first_ns))
    start_ns = 2 * first_ns - messages[-1].at_ns
    async with _open_sending(destination, config, sleep) as send:
        steps = tell_story(config, destination, DEMONSTRATION, start_ns)
        click.echo(f"Sends {len(messages)} messages to {format_name(destination)}.")
        zone = TimeZone(config.time_zone)
        return await play(steps, click.echo, sleep, send, zone=zone)


@asynccontextmanager
async def _open_sending(name: str, config: Config, sleep: Sleep) -> AsyncIterator[Send]:
    """Give a function that sends a message once, not before the destination's rate allows it."""
    to = config.destinations[name]
    rate, loop = to.rate_limit, asyncio.get_running_loop()
    interval_s = SENDING_S if rate is None else max(SENDING_S, rate.per_s / rate.count)
    next_s = 0.0

    async def send(notification: Notification) -> bool:
        nonlocal next_s
        await sleep(next_s - loop.time())
        next_s = loop.time() + interval_s
        response = await client.send(_make_recent(notification))
        return _report(name, response, client.classify(response, _FIRST_ATTEMPT))

    with standard_output() as (stream, colour):
        console, zone = ConsoleOutput(stream, colour), TimeZone(config.time_zone)
        async with open_client(name, to, config.routes, console, zone=zone) as client:
            yield send


def _make_recent(notification: Notification) -> Notification:
    """Return a message as made just now, so that it does not say that it is delayed."""
    update = notification.update
    if update is None:
        return notification
    return replace(notification, update=replace(update, made_ns=time_ns()))


def _report(name: str, response: Response, outcome: Outcome) -> bool:
    """Print what became of a message; return whether it was delivered."""
    click.echo(f"{INDENT}{format_name(name)}: {describe_outcome(outcome)}")
    if advice := advise(outcome, response):
        reason = response.error or response.failure or f"answered {response.status}"
        click.echo(f"{INDENT}{format_name(name)}: {reason}: {advice}")
    return isinstance(outcome, Delivered)
