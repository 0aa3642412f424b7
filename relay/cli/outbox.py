"""``relay outbox``: the deliveries that wait."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from relay.cli.connect import Keeping, desk, keeping
from relay.cli.options import config_option, read_name
from relay.cli.tables import (
    NOT_CONFIGURED,
    columns,
    happened,
    json_line,
    name,
    span,
    state,
    when,
    why,
)
from relay.core.event import rfc3339
from relay.core.status import Condition
from relay.core.text import fit
from relay.destinations.common import json_document
from relay.store.records import Waiting

LIMIT = 500
"""The most that is shown."""

TYPE_MAX = 20
"""Of an event's type, in UTF-16 units."""

T = TypeVar("T")

_HEADINGS = ("AGE", "DESTINATION", "ROUTE", "WHAT HAPPENED", "ATTEMPTS", "WHY", "NEXT")


@click.group()
def outbox() -> None:
    """Look at the deliveries that wait."""


@outbox.command("list")
@click.option("--destination", callback=read_name, help="Those for this destination.")
@click.option("--limit", type=click.IntRange(1, LIMIT), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@config_option
def list_(chosen: Path | None, destination: str | None, limit: int, as_json: bool) -> None:
    """Show how each destination is, and what waits: why, and when it is next due.

    The oldest deliveries come first.
    """
    asyncio.run(_list(keeping(chosen), destination, limit, as_json))


@dataclass(frozen=True, slots=True)
class _View:
    """What was found."""

    now_ns: int
    conditions: Mapping[str, Condition]
    configured: Collection[str]
    """The destinations to which whoever sends can send."""
    pending: Mapping[str, int]
    waiting: Sequence[Waiting]


async def _list(kept: Keeping, destination: str | None, limit: int, as_json: bool) -> None:
    async with desk(kept) as found:
        conditions = _only(destination, await found.desk.conditions())
        pending = _only(destination, await found.desk.pending())
        waiting = await found.desk.waiting(destination, limit)
        now_ns = await found.desk.now_ns()
    configured = conditions if found.is_running else kept.outline.destinations
    view = _View(now_ns, conditions, configured, pending, waiting)
    for line in _lines(view) if as_json else _report(view):
        click.echo(line)
    if not pending:
        click.echo("nothing waits", err=True)
    elif not found.is_running:
        click.echo("no relay is running: nothing is sent", err=True)
    if waiting and (more := sum(pending.values()) - len(waiting)) > 0:
        click.echo(f"… and {more} more", err=True)


def _only(destination: str | None, all_: Mapping[str, T]) -> Mapping[str, T]:
    if destination is None:
        return all_
    return {to: all_[to] for to in all_ if to == destination}


def _lines(view: _View) -> Iterator[str]:
    """A line of JSON for each delivery; the notification is as ``format: json`` tells it."""
    for each in view.waiting:
        yield json_line(
            {
                "number": each.seq,
                "destination": each.destination,
                "route": each.notification.route,
                "id": each.notification.id,
                "created": rfc3339(each.created_ns),
                "created_ns": each.created_ns,
                "due": None if each.due_ns is None else rfc3339(each.due_ns),
                "due_ns": each.due_ns,
                "attempts": each.attempts,
                "reason": each.reason,
                "answer": each.answer,
                "condition": view.conditions.get(each.destination),
                "notification": msgspec.Raw(json_document.document(each.notification)),
            }
        )


def _report(view: _View) -> Iterator[str]:
    names = sorted({*view.conditions, *view.pending})
    if names:
        places = [(name(to), str(view.pending.get(to, 0)), _state(to, view)) for to in names]
        yield from columns([("DESTINATION", "WAITING", "CONDITION"), *places])
    if view.waiting:
        yield ""
        yield from columns([_HEADINGS, *(_row(each, view) for each in view.waiting)])


def _state(to: str, view: _View) -> str:
    if to not in view.configured:
        return NOT_CONFIGURED
    return state(to, view.conditions.get(to), view.now_ns)


def _row(each: Waiting, view: _View) -> tuple[str, ...]:
    return (
        span(view.now_ns - each.created_ns),
        name(each.destination),
        name(each.notification.route),
        happened(each.notification),
        str(each.attempts),
        why(each.reason, each.answer) or "not tried yet",
        _next(each, view),
    )


def _next(each: Waiting, view: _View) -> str:
    condition = view.conditions.get(each.destination)
    if each.due_ns is None:
        return f"behind another about the same {fit(each.notification.events[0].type, TYPE_MAX)}"
    if each.destination not in view.configured:
        return "when it is configured"
    if condition is None:
        return "when relay runs"
    if condition.stopped:
        return "when it is enabled"
    return when(max(each.due_ns, condition.resumes_ns or 0), view.now_ns)
