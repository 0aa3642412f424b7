"""``relay status``: how relay is."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import click

from relay.admin.operations import DeskError
from relay.cli.connect import Found, Keeping, desk, keeping
from relay.cli.options import config_option
from relay.cli.tables import NOT_CONFIGURED, columns, json_line, moment, name, span, state
from relay.core.event import rfc3339
from relay.core.status import Condition, EngineReport, Report
from relay.store.records import Backlog

_ENGINES = ("ENGINE", "STREAM", "TAKEN IN UP TO", "BEHIND", "GAPS", "RECONNECTS")
_DESTINATIONS = ("DESTINATION", "WAITING", "OLDEST", "CONDITION")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@config_option
@click.pass_context
def status(context: click.Context, /, chosen: Path | None, as_json: bool) -> None:
    """Show how the engines are heard and what waits for the destinations.

    Exit code 1 if something is wrong: no relay runs, a stream is not open, the store or a
    destination fails. Without a relay it shows what the store knows.
    """
    view = asyncio.run(_look(keeping(chosen)))
    wrong = list(_wrong(view))
    if as_json:
        click.echo(json_line(_document(view, wrong)))
    else:
        for line in _tables(view):
            click.echo(line)
        for line in wrong:
            click.echo(line, err=True)
    context.exit(1 if wrong else 0)


@dataclass(frozen=True, slots=True)
class _View:
    """What was found."""

    store: Path
    now_ns: int
    report: Report
    conditions: Mapping[str, Condition]
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


async def _look(kept: Keeping) -> _View:
    async with desk(kept) as found:
        conditions = await found.desk.conditions()
        report = await found.desk.report()
        backlog = await _backlog(found, report)
        now_ns = await found.desk.now_ns()
    configured = conditions if found.is_running else kept.outline.destinations
    return _View(kept.store, now_ns, report, conditions, configured, backlog)


async def _backlog(found: Found, report: Report) -> Mapping[str, Backlog] | None:
    """A store that fails would not answer; one that begins to fail does not either."""
    if report.store_failing is not None:
        return None
    try:
        return await found.desk.backlog()
    except DeskError:
        return None


def _wrong(view: _View) -> Iterator[str]:
    """What is wrong, a line for each."""
    report = view.report
    if report.version is None:
        yield "no relay is running: nobody listens, and nothing is sent"
    if report.store_failing is not None:
        # a clock that was set back meanwhile does not make it negative
        since_ns = max(0, time_ns() - (report.store_failing_since_ns or 0))
        yield f"store: {report.store_failing.replace('_', ' ')}, for {span(since_ns)}"
    elif view.backlog is None:
        yield "store: it does not say what waits"
    if report.reload_failed is not None:
        first, *more = report.reload_failed.splitlines()
        rest = f" (and {len(more)} more, in its log)" if more else ""
        yield f"configuration: not reloaded, the one from before is in force: {first}{rest}"
    for engine, found in report.engines.items():
        if found.listening is not None and not found.listening.is_open:
            yield f"engine {name(engine)}: its stream is not open"
    for to, condition in view.conditions.items():
        if condition.stopped or condition.failing:
            yield f"destination {name(to)}: {state(to, condition, view.now_ns)}"


def _tables(view: _View) -> Iterator[str]:
    version = view.report.version
    yield f"relay {version or 'is not running'}, store {view.store}"
    yield ""
    rows = [_engine_row(to, found, view.now_ns) for to, found in view.report.engines.items()]
    yield from columns([_ENGINES, *rows])
    yield ""
    yield from columns([_DESTINATIONS, *(_destination_row(to, view) for to in view.destinations)])


def _engine_row(engine: str, found: EngineReport, now_ns: int) -> tuple[str, ...]:
    position_ns, listening = found.position_ns, found.listening
    position = "never heard"
    if position_ns is not None:
        position = f"{moment(position_ns)}, {span(now_ns - position_ns)} ago"
    if listening is None:
        return (name(engine), "no relay is running", position, "", "", "")
    counts = (listening.behind, listening.gaps, listening.reconnects)
    return (name(engine), "open" if listening.is_open else "closed", position, *map(str, counts))


def _destination_row(to: str, view: _View) -> tuple[str, ...]:
    found = view.waiting(to)
    if to in view.configured:
        condition = state(to, view.conditions.get(to), view.now_ns)
    else:
        condition = NOT_CONFIGURED
    if view.backlog is None:
        return (name(to), "?", "?", condition)
    if found is None:
        return (name(to), "0", "", condition)
    return (name(to), str(found.count), span(view.now_ns - found.oldest_ns), condition)


def _document(view: _View, wrong: Collection[str]) -> object:
    report = view.report
    return {
        "well": not wrong,
        "wrong": wrong,
        "running": report.version is not None,
        "version": report.version,
        "time": rfc3339(view.now_ns),
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
                "stream": found.listening
                and {
                    "open": found.listening.is_open,
                    "behind": found.listening.behind,
                    "gaps": found.listening.gaps,
                    "reconnects": found.listening.reconnects,
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
    return None if time_ns is None else rfc3339(time_ns)
