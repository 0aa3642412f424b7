"""``relay status``: shows the state of the daemon, its engines and its destinations."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import click

from relay.admin.operation import OperationError
from relay.cli.connect import Connection, StoreLocation, connect, locate_store
from relay.cli.incident_table import HEADINGS, describe_counts, format_row, to_document
from relay.cli.options import config_option, json_option
from relay.cli.tables import (
    describe_destination,
    format_count,
    format_duration,
    format_name,
    format_optional_rfc3339,
    format_table,
    format_time,
    to_json_line,
)
from relay.core.event import format_rfc3339
from relay.core.status import (
    DaemonStatus,
    DestinationStatus,
    EngineStatus,
    SourceBacklog,
    StreamStatus,
)
from relay.core.text import escape_unprintable
from relay.core.zone import TimeZone
from relay.incidents.view import IncidentPage
from relay.store.records import Backlog, Selection

INCIDENTS_SHOWN = 5
"""How many incidents are shown."""

_ENGINE_HEADINGS = ("ENGINE", "STREAM", "PROCESSED UP TO", "BEHIND", "GAPS", "RECONNECTS")
_DESTINATION_HEADINGS = ("DESTINATION", "WAITING", "OLDEST", "DEAD LETTERS", "CONDITION")


@click.command()
@json_option
@config_option
@click.pass_context
def status(context: click.Context, /, config_file: Path | None, as_json: bool) -> None:
    """Show each engine's stream, what waits for each destination, and what incidents are open.

    Exit code 1 if something is wrong with relay: none is running, a stream is not open, the store
    or a destination fails, or a new destination has accepted nothing yet. An open incident is none
    of that. If no relay is running, it shows what the store knows.
    """
    view = asyncio.run(_fetch_view(locate_store(config_file)))
    problems = list(_find_problems(view))
    if as_json:
        click.echo(to_json_line(_to_document(view, problems)))
    else:
        for line in _table_lines(view):
            click.echo(line)
        for line in problems:
            click.echo(line, err=True)
    context.exit(1 if problems else 0)


@dataclass(frozen=True, slots=True)
class _View:
    """What is shown."""

    store: Path
    now_ns: int
    zone: TimeZone
    daemon: DaemonStatus
    statuses: Mapping[str, DestinationStatus]
    configured: Collection[str]
    """The destinations that are configured: in the running relay, else in the file."""
    backlog: Mapping[str, Backlog] | None
    """What waits, by destination; None if the store does not answer."""
    dead_letters: Mapping[str, int]
    """How many dead letters there are, by destination; empty if the store does not answer."""
    incidents: IncidentPage
    """The most severe of those that are open."""

    @property
    def destinations(self) -> list[str]:
        return sorted({*self.configured, *(self.backlog or ())})

    def waiting(self, destination: str) -> Backlog | None:
        """Return what waits for a destination; None if nothing does, or that is unknown."""
        return (self.backlog or {}).get(destination)


async def _fetch_view(location: StoreLocation) -> _View:
    async with connect(location) as connection:
        statuses = await connection.operations.destination_status()
        daemon = await connection.operations.daemon_status()
        backlog, dead_letters = await _fetch_counts(connection, daemon)
        incidents = await connection.operations.list_incidents(INCIDENTS_SHOWN)
        now_ns = await connection.operations.now_ns()
    configured = statuses if connection.is_daemon else location.outline.destinations
    return _View(
        location.path,
        now_ns,
        connection.zone,
        daemon,
        statuses,
        configured,
        backlog,
        dead_letters,
        incidents,
    )


async def _fetch_counts(
    connection: Connection, daemon: DaemonStatus
) -> tuple[Mapping[str, Backlog] | None, Mapping[str, int]]:
    """Fetch what waits, and how many dead letters there are.

    A failing store is not asked, as it would not answer.
    """
    if daemon.store_failing is not None:
        return None, {}
    try:
        backlog = await connection.operations.backlog()
        return backlog, await connection.operations.count_dead_letters(Selection())
    except OperationError:  # it may have begun to fail just now
        return None, {}


def _find_problems(view: _View) -> Iterator[str]:
    """Yield what is wrong, a line for each."""
    daemon = view.daemon
    if daemon.version is None:
        yield "no relay is running: no events are received, and nothing is sent"
    if daemon.store_failing is not None:
        # The clock may have been set back since.
        since_ns = max(0, time_ns() - (daemon.store_failing_since_ns or 0))
        yield f"store: {daemon.store_failing.replace('_', ' ')}, for {format_duration(since_ns)}"
    elif view.backlog is None:
        yield "store: it did not answer how many deliveries wait"
    if daemon.reload_failed is not None:
        first, *more = daemon.reload_failed.splitlines()
        rest = f" (and {len(more)} more, in its log)" if more else ""
        yield f"configuration: not reloaded, the previous one stays in force: {first}{rest}"
    for engine, found in daemon.engines.items():
        if found.stream is not None and (problem := _describe_problem(found.stream)):
            yield f"engine {format_name(engine)}: {problem}"
    for to, found_status in view.statuses.items():
        if not found_status.is_well:
            condition = describe_destination(
                to, found_status, view.now_ns, view.zone, is_configured=True
            )
            yield f"destination {format_name(to)}: {condition}"


def _describe_problem(stream: StreamStatus) -> str:
    """Return what is wrong with a stream; empty if nothing is."""
    problem = escape_unprintable(stream.problem or "")
    if stream.is_open:
        return problem
    return f"its stream is not open{': ' if problem else ''}{problem}"


def _table_lines(view: _View) -> Iterator[str]:
    yield f"relay {view.daemon.version or 'is not running'}, store {view.store}"
    yield ""
    rows = [_engine_row(name, it, view) for name, it in view.daemon.engines.items()]
    yield from format_table([_ENGINE_HEADINGS, *rows])
    for name, engine in view.daemon.engines.items():
        if engine.stream is not None and engine.stream.backlog is not None:
            yield f"{format_name(name)}: {_describe_backlog(engine.stream.backlog)}"
    yield ""
    yield from format_table(
        [_DESTINATION_HEADINGS, *(_destination_row(to, view) for to in view.destinations)]
    )
    yield ""
    yield from _incident_lines(view)
    if lines := list(_hold_lines(view)):
        yield from ("", *lines)


def _hold_lines(view: _View) -> Iterator[str]:
    """Yield how many silences are in force, and how many containers people are not notified of."""
    counts = view.incidents.counts
    if counts.silences_until_ns is not None:
        silences = format_count(counts.silences, "silence", "silences")
        until = view.zone.format_minute(counts.silences_until_ns, time_ns())
        yield f"{silences}, {'the last ' if counts.silences > 1 else ''}until {until}"
    if counts.opted_out:
        yield f"{format_count(counts.opted_out, 'container', 'containers')} opted out by label"


def _incident_lines(view: _View) -> Iterator[str]:
    """Yield how many incidents are open, and the most severe of them."""
    page = view.incidents
    if not page.incidents:
        yield "no incident is open"
        return
    yield f"open incidents: {describe_counts(page.counts.open)}"
    is_daemon = view.daemon.version is not None
    rows = (
        format_row(each, view.now_ns, view.zone, is_daemon=is_daemon) for each in page.incidents
    )
    yield from format_table([HEADINGS, *rows])
    if (more := page.count - len(page.incidents)) > 0:
        yield f"… and {more} more: relay incidents shows them"


def _engine_row(engine: str, found: EngineStatus, view: _View) -> tuple[str, ...]:
    position_ns, stream = found.position_ns, found.stream
    position = "nothing yet" if stream is not None and stream.is_open else "never connected"
    if position_ns is not None:
        age = format_duration(view.now_ns - position_ns)
        position = f"{format_time(position_ns, view.zone)}, {age} ago"
    if stream is None:
        return (format_name(engine), "no relay is running", position, "", "", "")
    state = "closed"
    if stream.is_open:
        state = "standby" if stream.is_standby else "open"
    counts = map(str, (stream.behind, stream.gaps, stream.reconnects))
    return (format_name(engine), state, position, *counts)


def _describe_backlog(backlog: SourceBacklog) -> str:
    """Say what waits in a stream of NATS."""
    if not backlog.lag:
        return "nothing waits in the stream"
    words = f"{format_count(backlog.lag, 'message waits', 'messages wait')} in the stream"
    if backlog.unacknowledged:
        words += f", {backlog.unacknowledged} of them delivered and not committed yet"
    if backlog.redelivered:
        words += f", {backlog.redelivered} delivered more than once"
    return words


def _destination_row(to: str, view: _View) -> tuple[str, ...]:
    waiting, dead = view.waiting(to), str(view.dead_letters.get(to, 0))
    if view.backlog is None:
        count, oldest, dead = "?", "?", "?"
    elif waiting is None:
        count, oldest = "0", ""
    else:
        count, oldest = str(waiting.count), format_duration(view.now_ns - waiting.oldest_ns)
    condition = describe_destination(
        to, view.statuses.get(to), view.now_ns, view.zone, is_configured=to in view.configured
    )
    return (format_name(to), count, oldest, dead, condition)


def _to_document(view: _View, problems: Collection[str]) -> object:
    daemon, counts = view.daemon, view.incidents.counts
    return {
        "well": not problems,
        "wrong": problems,
        "running": daemon.version is not None,
        "version": daemon.version,
        "time": format_rfc3339(view.now_ns),
        "time_ns": view.now_ns,
        "store": {
            "path": str(view.store),
            "failing": daemon.store_failing,
            "failing_since": format_optional_rfc3339(daemon.store_failing_since_ns),
        },
        "reload_failed": daemon.reload_failed,
        "engines": {name: _engine_document(found) for name, found in daemon.engines.items()},
        "destinations": {to: _destination_document(to, view) for to in view.destinations},
        "incidents": {
            "open": counts.open,
            "first": [to_document(incident) for incident in view.incidents.incidents],
            "opted_out": counts.opted_out,
        },
        "silences": {
            "active": counts.silences,
            "until": format_optional_rfc3339(counts.silences_until_ns),
            "until_ns": counts.silences_until_ns,
        },
    }


def _engine_document(found: EngineStatus) -> object:
    return {
        "position": format_optional_rfc3339(found.position_ns),
        "position_ns": found.position_ns,
        "stream": found.stream
        and {
            "open": found.stream.is_open,
            "behind": found.stream.behind,
            "gaps": found.stream.gaps,
            "reconnects": found.stream.reconnects,
            "problem": found.stream.problem,
            "standby": found.stream.is_standby,
            "backlog": found.stream.backlog,
        },
    }


def _destination_document(to: str, view: _View) -> object:
    waiting = view.waiting(to)
    nothing = None if view.backlog is None else 0
    oldest_ns = None if waiting is None else waiting.oldest_ns
    return {
        "configured": to in view.configured,
        "waiting": nothing if waiting is None else waiting.count,
        "oldest": format_optional_rfc3339(oldest_ns),
        "oldest_ns": oldest_ns,
        "dead_letters": view.dead_letters.get(to, nothing),
        "condition": view.statuses.get(to),
    }
