"""``relay replay``: shows, or sends, what relay makes of recorded events."""

import asyncio
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from relay.admin import logs
from relay.cli.options import (
    check_known,
    complete_engine,
    config_option,
    convert_duration,
    json_option,
    read_config,
)
from relay.cli.output import standard_output
from relay.cli.tables import (
    describe_notification,
    format_count,
    format_name,
    format_table,
    format_time,
    to_json_line,
)
from relay.config import Config
from relay.core.event import format_rfc3339
from relay.core.tasks import Shutdown
from relay.core.text import truncate
from relay.core.zone import TimeZone
from relay.delivery.client import ConsoleOutput
from relay.destinations.common.document import encode_document
from relay.dryrun.deliver import DeliverySummary, ProgressMonitor, deliver
from relay.dryrun.history import Recording, read_lines
from relay.dryrun.incidents import PlannedNotification, Totals
from relay.dryrun.simulator import Simulator

TO_MAX = 60

_HEADINGS = ("AT", "STATUS", "REASON", "COUNT", "ROUTE", "TO", "WHAT")
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
@json_option
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
    as_json: bool,
    is_delivered: bool,
    patience: timedelta,
) -> None:
    """Print the notifications that relay would send for recorded events, and when.

    FILE holds one event per line, as `docker events --format '{{json .}}'` prints them; - is
    standard input. The daemon's own code finds causes, routes and destinations, and decides which
    messages about incidents are sent. The clock is that of the events; after the last one, time
    passes until nothing but reminders is due. No engine is asked, so no container is inspected and
    nothing is included.

    --json prints one JSON object a line: for each notification `at`, `to` and the `notification` as
    `format: json` sends it, then a `summary`.

    With --deliver they are sent as the daemon does it, in order, within rate limits and with
    retries, but from memory: what is not delivered when the command ends is lost. A notification
    has the same id as when it was first sent, so a receiver that drops repeated ids drops it. Exit
    code 1 if anything was not delivered.
    """
    if as_json and is_delivered:
        raise click.UsageError("--json shows what would be sent; leave it out to send it")
    config = read_config(config_file)
    check_known("engine", engine, config.engines)
    result = _simulate(file, Simulator(config, engine, podman=podman))
    lines = (
        _format_json(result, config)
        if as_json
        else _format_rows(result, TimeZone(config.time_zone))
    )
    for line in lines:
        click.echo(line)
    ending = "" if is_delivered else "; nothing was sent"
    click.echo(f"{_describe(result, config)}{ending}", err=True)
    if is_delivered and result.planned:
        _deliver_and_report(result.planned, config, patience.total_seconds())


@dataclass(frozen=True, slots=True)
class _Result:
    """What relay would do with a recording."""

    events: int
    planned: list[PlannedNotification]
    totals: Totals

    def count_notifications(self, config: Config) -> dict[str, int]:
        """Return the number of notifications by destination, for those that get any."""
        found = Counter(to for each in self.planned for to in each.destinations)
        return {name: found[name] for name in config.destinations if name in found}


def _format_rows(result: _Result, zone: TimeZone) -> Iterator[str]:
    if result.planned:
        yield from format_table([_HEADINGS, *(_format_row(each, zone) for each in result.planned)])


def _format_row(planned: PlannedNotification, zone: TimeZone) -> tuple[str, ...]:
    notification, update = planned.notification, planned.notification.update
    return (
        format_time(planned.at_ns, zone),
        "event" if update is None else notification.status,
        "" if update is None else update.reason,
        str(notification.count),
        format_name(notification.route),
        truncate(", ".join(planned.destinations), TO_MAX),
        describe_notification(notification, zone),
    )


def _format_json(result: _Result, config: Config) -> Iterator[str]:
    for planned in result.planned:
        yield to_json_line(
            {
                "at": format_rfc3339(planned.at_ns),
                "to": planned.destinations,
                "notification": msgspec.Raw(encode_document(planned.notification)),
            }
        )
    summary = {
        "events": result.events,
        "notifications": result.count_notifications(config),
        "held": result.totals.held,
        "waiting": result.totals.waiting,
    }
    yield to_json_line({"summary": summary})


def _describe(result: _Result, config: Config) -> str:
    """Return how many events there were, how many notifications, and how many events were held.

    As in ``13 events, 6 notifications to ops, 13 to audit, 0 held``.
    """
    counts, totals = result.count_notifications(config), result.totals
    parts = [format_count(result.events, "event", "events")]
    for name, count in counts.items():
        noun = f" {'notification' if count == 1 else 'notifications'}" if len(parts) == 1 else ""
        parts.append(f"{count}{noun} to {format_name(name)}")
    by_count = sorted(totals.held.items(), key=lambda each: (-each[1], each[0]))
    reasons = ", ".join(f"{reason} {count}" for reason, count in by_count)
    parts += [] if counts else ["no notifications"]
    parts.append(f"{sum(totals.held.values())} held{f' ({reasons})' if reasons else ''}")
    if totals.waiting:
        parts.append(f"{totals.waiting} counted, to be told with the next update")
    return ", ".join(parts)


def _simulate(file: Path, simulator: Simulator) -> _Result:
    """Return all that would be sent; print on standard error what could not be read."""
    with _open(file) as (stream, size), _progress_bar(size, "reading") as advance:
        recording = Recording(simulator, _count_bytes(read_lines(stream), advance))
        planned = [each for batch in simulator.run(recording) for each in batch.planned]
    if recording.invalid and not recording.events:
        raise click.UsageError(f"{file} holds no event: {recording.first_invalid}")
    if recording.invalid:
        lines = format_count(recording.invalid, "line", "lines")
        click.echo(f"skipped {lines}: {recording.first_invalid}", err=True)
    return _Result(recording.events, planned, simulator.incidents.count_totals())


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
    planned: list[PlannedNotification], config: Config, patience_s: float
) -> None:
    """Send the notifications, and print how that went; exit with 1 if any was not delivered."""
    count = sum(len(each.destinations) for each in planned)
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
