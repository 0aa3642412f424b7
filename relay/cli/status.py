"""``relay status``: how relay is."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import click

from relay.admin.operations import OperationError
from relay.cli.connect import Connection, StoreLocation, connect, locate_store
from relay.cli.options import config_option
from relay.cli.tables import (
    NOT_CONFIGURED,
    describe_destination,
    format_duration,
    format_name,
    format_table,
    format_time,
    to_json_line,
)
from relay.core.event import format_rfc3339
from relay.core.status import DaemonStatus, DestinationStatus, EngineStatus
from relay.store.records import Backlog

_ENGINE_HEADINGS = ("ENGINE", "STREAM", "TAKEN IN UP TO", "BEHIND", "GAPS", "RECONNECTS")
_DESTINATION_HEADINGS = ("DESTINATION", "WAITING", "OLDEST", "CONDITION")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@config_option
@click.pass_context
def status(context: click.Context, /, chosen: Path | None, as_json: bool) -> None:
    """Show how the engines are heard and what waits for the destinations.

    Exit code 1 if something is wrong: no relay runs, a stream is not open, the store or a
    destination fails. Without a relay it shows what the store knows.
    """
    view = asyncio.run(_fetch_view(locate_store(chosen)))
    wrong = list(_find_problems(view))
    if as_json:
        click.echo(to_json_line(_to_document(view, wrong)))
    else:
        for line in _table_lines(view):
            click.echo(line)
        for line in wrong:
            click.echo(line, err=True)
    context.exit(1 if wrong else 0)


@dataclass(frozen=True, slots=True)
class _View:
    """What was found."""

    store: Path
    now_ns: int
    report: DaemonStatus
    conditions: Mapping[str, DestinationStatus]
    configured: Collection[str]
    """The destinations to which whoever sends can send."""
    backlog: Mapping[str, Backlog] | None
    """None where the store does not say."""

    @property
    def destinations(self) -> list[str]:
        return sorted({*self.configured, *(self.backlog or ())})

    def waiting(self, to: str) -> Backlog | None:
        """What waits for a destination; None where nothing does, or nobody knows."""
        return (self.backlog or {}).get(to)


async def _fetch_view(kept: StoreLocation) -> _View:
    async with connect(kept) as found:
        conditions = await found.operations.destination_status()
        report = await found.operations.daemon_status()
        backlog = await _fetch_backlog(found, report)
        now_ns = await found.operations.now_ns()
    configured = conditions if found.is_daemon else kept.outline.destinations
    return _View(kept.path, now_ns, report, conditions, configured, backlog)


async def _fetch_backlog(found: Connection, report: DaemonStatus) -> Mapping[str, Backlog] | None:
    """A store that fails would not answer; one that begins to fail does not either."""
    if report.store_failing is not None:
        return None
    try:
        return await found.operations.backlog()
    except OperationError:
        return None


def _find_problems(view: _View) -> Iterator[str]:
    """What is wrong, a line for each."""
    report = view.report
    if report.version is None:
        yield "no relay is running: nobody listens, and nothing is sent"
    if report.store_failing is not None:
        # a clock that was set back meanwhile does not make it negative
        since_ns = max(0, time_ns() - (report.store_failing_since_ns or 0))
        yield f"store: {report.store_failing.replace('_', ' ')}, for {format_duration(since_ns)}"
    elif view.backlog is None:
        yield "store: it does not say what waits"
    if report.reload_failed is not None:
        first, *more = report.reload_failed.splitlines()
        rest = f" (and {len(more)} more, in its log)" if more else ""
        yield f"configuration: not reloaded, the one from before is in force: {first}{rest}"
    for engine, found in report.engines.items():
        if found.stream is not None and not found.stream.is_open:
            yield f"engine {format_name(engine)}: its stream is not open"
    for to, condition in view.conditions.items():
        if condition.stopped or condition.failing:
            yield f"destination {format_name(to)}: {describe_destination(to, condition, view.now_ns)}"


def _table_lines(view: _View) -> Iterator[str]:
    version = view.report.version
    yield f"relay {version or 'is not running'}, store {view.store}"
    yield ""
    rows = [_engine_row(to, found, view.now_ns) for to, found in view.report.engines.items()]
    yield from format_table([_ENGINE_HEADINGS, *rows])
    yield ""
    yield from format_table(
        [_DESTINATION_HEADINGS, *(_destination_row(to, view) for to in view.destinations)]
    )


def _engine_row(engine: str, found: EngineStatus, now_ns: int) -> tuple[str, ...]:
    position_ns, listening = found.position_ns, found.stream
    position = "never heard"
    if position_ns is not None:
        position = f"{format_time(position_ns)}, {format_duration(now_ns - position_ns)} ago"
    if listening is None:
        return (format_name(engine), "no relay is running", position, "", "", "")
    counts = (listening.behind, listening.gaps, listening.reconnects)
    return (
        format_name(engine),
        "open" if listening.is_open else "closed",
        position,
        *map(str, counts),
    )


def _destination_row(to: str, view: _View) -> tuple[str, ...]:
    found = view.waiting(to)
    if to in view.configured:
        condition = describe_destination(to, view.conditions.get(to), view.now_ns)
    else:
        condition = NOT_CONFIGURED
    if view.backlog is None:
        return (format_name(to), "?", "?", condition)
    if found is None:
        return (format_name(to), "0", "", condition)
    return (
        format_name(to),
        str(found.count),
        format_duration(view.now_ns - found.oldest_ns),
        condition,
    )


def _to_document(view: _View, wrong: Collection[str]) -> object:
    report = view.report
    return {
        "well": not wrong,
        "wrong": wrong,
        "running": report.version is not None,
        "version": report.version,
        "time": format_rfc3339(view.now_ns),
        "time_ns": view.now_ns,
        "store": {
            "path": str(view.store),
            "failing": report.store_failing,
            "failing_since": _time(report.store_failing_since_ns),
        },
        "reload_failed": report.reload_failed,
        "engines": {
            engine: {
                "position": _time(found.position_ns),
                "position_ns": found.position_ns,
                "stream": found.stream
                and {
                    "open": found.stream.is_open,
                    "behind": found.stream.behind,
                    "gaps": found.stream.gaps,
                    "reconnects": found.stream.reconnects,
                },
            }
            for engine, found in report.engines.items()
        },
        "destinations": {to: _destination_document(to, view) for to in view.destinations},
    }


def _destination_document(to: str, view: _View) -> object:
    found = view.waiting(to)
    count = None if view.backlog is None else 0
    return {
        "configured": to in view.configured,
        "waiting": count if found is None else found.count,
        "oldest": _time(None if found is None else found.oldest_ns),
        "oldest_ns": None if found is None else found.oldest_ns,
        "condition": view.conditions.get(to),
    }


def _time(time_ns: int | None) -> str | None:
    return None if time_ns is None else format_rfc3339(time_ns)
