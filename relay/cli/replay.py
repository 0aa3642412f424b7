"""``relay replay``."""

import asyncio
import logging
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import click

from relay.admin import logs
from relay.cli.options import config_option, convert_duration, read_config
from relay.cli.output import standard_output
from relay.cli.tables import format_name, format_table, format_time
from relay.config import Config
from relay.core.shutdown import Shutdown
from relay.core.text import truncate
from relay.delivery.client import ConsoleOutput
from relay.dryrun.deliver import DeliverySummary, ProgressMonitor, deliver
from relay.dryrun.recording import Recording, read_lines
from relay.dryrun.simulator import PlannedNotification, Simulator

EVENT_MAX = 60
TO_MAX = 60


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@config_option
@click.option("--engine", help="The engine that said it; by default the first.")
@click.option("--podman", is_flag=True, help="That engine is Podman.")
@click.option("--deliver", "really", is_flag=True, help="Send it, too.")
@click.option(
    "--patience",
    metavar="DURATION",
    default="1m",
    show_default=True,
    callback=convert_duration,
    help="With --deliver: end when nothing was delivered or given up for so long.",
)
def replay(
    file: Path,
    chosen: Path | None,
    engine: str | None,
    podman: bool,
    really: bool,
    patience: timedelta,
) -> None:
    """Print what would be sent for recorded events.

    FILE holds one event a line, as `docker events --format '{{json .}}'` prints it; - is standard
    input. Causes, routes and destinations are found by the daemon's own code. No engine is asked,
    so nothing is inspected or included.

    With --deliver it is sent as the daemon sends it, in order, within rate limits and with
    retries, but from memory: what is not delivered when the command ends is forgotten. A
    notification has the same id as when it was first sent, so a receiver that drops repeated ids
    drops it. Exit code 1 if anything was not delivered.
    """
    config = read_config(chosen)
    if engine is not None and engine not in config.engines:
        raise click.UsageError(f"no engine {engine!r}; there are: {', '.join(config.engines)}")
    sent = _simulate(file, Simulator(config, engine, podman=podman))
    for line in format_table([_HEADINGS, *map(_format_row, sent)]) if sent else ():
        click.echo(line)
    count = sum(len(each.destinations) for each in sent)
    if not really:
        click.echo(f"{_plural(count, 'delivery', 'deliveries')}; nothing was sent", err=True)
    elif sent:
        _deliver_and_report(sent, count, config, patience.total_seconds())


_HEADINGS = ("TIME", "EVENT", "CAUSE", "ROUTE", "TO")


def _format_row(sent: PlannedNotification) -> tuple[str, ...]:
    event = sent.notification.events[0]
    what = f"{event.type} {event.action} {event.actor.name or ''}"
    return (
        format_time(event.time_ns),
        truncate(what, EVENT_MAX),
        event.cause or "",
        format_name(sent.notification.route),
        truncate(", ".join(sent.destinations), TO_MAX),
    )


def _simulate(file: Path, rehearsal: Simulator) -> list[PlannedNotification]:
    """All that would be sent; how much was read is said on standard error."""
    with _open(file) as (stream, size), _progress_bar(size, "reading") as advance:
        recording = Recording(rehearsal, _count_bytes(read_lines(stream), advance))
        sent = [each for outcome in rehearsal.run(recording) for each in outcome.planned]
    if recording.invalid and not recording.events:
        raise click.UsageError(f"{file} holds no event: {recording.first_invalid}")
    click.echo(_plural(recording.events, "event", "events"), err=True)
    if recording.invalid:
        passed = _plural(recording.invalid, "line was", "lines were")
        click.echo(f"{passed} passed over: {recording.first_invalid}", err=True)
    return sent


@contextmanager
def _open(file: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """The file, and its size where that can be known."""
    if str(file) == "-":
        yield sys.stdin.buffer, None
        return
    with file.open("rb") as stream:
        found = os.fstat(stream.fileno())
        yield stream, found.st_size if stat.S_ISREG(found.st_mode) else None


def _count_bytes(lines: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    for line in lines:
        advance(len(line))
        yield line


@contextmanager
def _progress_bar(length: int | None, label: str) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal and the length is known."""
    hidden = not length or not sys.stderr.isatty()
    steps = max(1, (length or 0) // 100)
    with click.progressbar(
        length=length or 0, label=label, file=sys.stderr, hidden=hidden, update_min_steps=steps
    ) as bar:
        yield bar.update


def _deliver_and_report(
    sent: list[PlannedNotification], count: int, config: Config, patience_s: float
) -> None:
    """Send it, and say what became of it."""
    logs.configure(sys.stderr, level=logging.WARNING)
    with _progress_bar(count, "sending") as advance:
        watch = ProgressMonitor(patience_s, lambda text: click.echo(text, err=True), advance)
        fates = asyncio.run(_deliver(sent, config, watch))
    rows = [
        (format_name(to), *map(str, _numbers(fate)), _reasons(fate)) for to, fate in fates.items()
    ]
    headings = ("DESTINATION", "DELIVERED", "GIVEN UP", "NOT SENT", "FAILED ATTEMPTS")
    for line in ("", *format_table([headings, *rows])):
        click.echo(line)
    if any(fate.given_up or fate.not_sent for fate in fates.values()):
        raise SystemExit(1)


async def _deliver(
    sent: list[PlannedNotification], config: Config, watch: ProgressMonitor
) -> dict[str, DeliverySummary]:
    stop = Shutdown()
    stop.handle_signals()
    with standard_output() as (stream, colour):
        return await deliver(sent, config, ConsoleOutput(stream, colour), stop, watch)


def _numbers(fate: DeliverySummary) -> tuple[int, int, int]:
    return fate.delivered, fate.given_up, fate.not_sent


def _reasons(fate: DeliverySummary) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(fate.reasons.items()))


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
