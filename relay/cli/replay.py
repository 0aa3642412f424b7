"""``relay replay``: shows, or sends, what relay makes of recorded events."""

import asyncio
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
from relay.cli.event_line import summarize_event
from relay.cli.options import (
    check_known,
    complete_engine,
    config_option,
    convert_duration,
    read_config,
)
from relay.cli.output import standard_output
from relay.cli.tables import format_count, format_name, format_table, format_time
from relay.config import Config
from relay.core.tasks import Shutdown
from relay.core.text import truncate
from relay.delivery.client import ConsoleOutput
from relay.dryrun.deliver import DeliverySummary, ProgressMonitor, deliver
from relay.dryrun.history import Recording, read_lines
from relay.dryrun.incidents import PlannedNotification
from relay.dryrun.simulator import Simulator

EVENT_MAX = 60
TO_MAX = 60

_HEADINGS = ("TIME", "EVENT", "CAUSE", "ROUTE", "TO")
_SUMMARY_HEADINGS = ("DESTINATION", "DELIVERED", "GIVEN UP", "NOT SENT", "FAILED ATTEMPTS")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@config_option
@click.option(
    "--engine",
    metavar="NAME",
    shell_complete=complete_engine,
    help="The engine that sent the events. Default: the first configured.",
)
@click.option("--podman", is_flag=True, help="That engine is Podman.")
@click.option("--deliver", "is_delivered", is_flag=True, help="Also send the notifications.")
@click.option(
    "--patience",
    metavar="DURATION",
    default="1m",
    show_default=True,
    callback=convert_duration,
    help="With --deliver: end when no delivery has succeeded or was given up for so long.",
)
def replay(
    file: Path,
    config_file: Path | None,
    engine: str | None,
    podman: bool,
    is_delivered: bool,
    patience: timedelta,
) -> None:
    """Print the notifications that relay would send for recorded events.

    FILE holds one event per line, as `docker events --format '{{json .}}'` prints them; - is
    standard input. The daemon's own code finds causes, routes and destinations. No engine is
    asked, so no container is inspected and nothing is included.

    With --deliver they are sent as the daemon does it, in order, within rate limits and with
    retries, but from memory: what is not delivered when the command ends is lost. A notification
    has the same id as when it was first sent, so a receiver that drops repeated ids drops it. Exit
    code 1 if anything was not delivered.
    """
    config = read_config(config_file)
    check_known("engine", engine, config.engines)
    planned = _simulate(file, Simulator(config, engine, podman=podman))
    if planned:
        for line in format_table([_HEADINGS, *map(_format_row, planned)]):
            click.echo(line)
    count = sum(len(each.destinations) for each in planned)
    if not is_delivered:
        click.echo(f"{format_count(count, 'delivery', 'deliveries')}; nothing was sent", err=True)
    elif planned:
        _deliver_and_report(planned, count, config, patience.total_seconds())


def _format_row(planned: PlannedNotification) -> tuple[str, ...]:
    event = planned.notification.events[0]
    return (
        format_time(event.time_ns),
        summarize_event(event, EVENT_MAX),
        event.cause or "",
        format_name(planned.notification.route),
        truncate(", ".join(planned.destinations), TO_MAX),
    )


def _simulate(file: Path, simulator: Simulator) -> list[PlannedNotification]:
    """Return all that would be sent; print on standard error how much was read."""
    with _open(file) as (stream, size), _progress_bar(size, "reading") as advance:
        recording = Recording(simulator, _count_bytes(read_lines(stream), advance))
        planned = [each for batch in simulator.run(recording) for each in batch.planned]
    if recording.invalid and not recording.events:
        raise click.UsageError(f"{file} holds no event: {recording.first_invalid}")
    click.echo(format_count(recording.events, "event", "events"), err=True)
    if recording.invalid:
        lines = format_count(recording.invalid, "line", "lines")
        click.echo(f"skipped {lines}: {recording.first_invalid}", err=True)
    return planned


@contextmanager
def _open(file: Path) -> Iterator[tuple[BinaryIO, int | None]]:
    """Give the file, and its size if it has one."""
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
    """Show a progress bar on standard error, if that is a terminal and the length is known."""
    hidden = not length or not sys.stderr.isatty()
    steps = max(1, (length or 0) // 100)
    with click.progressbar(
        length=length or 0, label=label, file=sys.stderr, hidden=hidden, update_min_steps=steps
    ) as bar:
        yield bar.update


def _deliver_and_report(
    planned: list[PlannedNotification], count: int, config: Config, patience_s: float
) -> None:
    """Send the notifications, and print how that went; exit with 1 if any was not delivered."""
    logs.configure(sys.stderr, level="warning")
    with _progress_bar(count, "sending") as advance:
        monitor = ProgressMonitor(patience_s, lambda text: click.echo(text, err=True), advance)
        summaries = asyncio.run(_deliver(planned, config, monitor))
    rows = [_format_summary(to, summary) for to, summary in summaries.items()]
    for line in ("", *format_table([_SUMMARY_HEADINGS, *rows])):
        click.echo(line)
    if any(summary.given_up or summary.not_sent for summary in summaries.values()):
        raise SystemExit(1)


async def _deliver(
    planned: list[PlannedNotification], config: Config, monitor: ProgressMonitor
) -> dict[str, DeliverySummary]:
    shutdown = Shutdown()
    shutdown.handle_signals()
    with standard_output() as (stream, colour):
        return await deliver(planned, config, ConsoleOutput(stream, colour), shutdown, monitor)


def _format_summary(destination: str, summary: DeliverySummary) -> tuple[str, ...]:
    return (
        format_name(destination),
        str(summary.delivered),
        str(summary.given_up),
        str(summary.not_sent),
        ", ".join(f"{count} {reason}" for reason, count in sorted(summary.reasons.items())),
    )
