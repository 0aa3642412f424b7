"""``relay outbox``: the deliveries that wait."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from relay.cli.connect import StoreLocation, connect, locate_store
from relay.cli.options import config_option, convert_name
from relay.cli.tables import (
    NOT_CONFIGURED,
    describe_destination,
    describe_failure,
    describe_notification,
    format_due,
    format_duration,
    format_name,
    format_table,
    to_json_line,
)
from relay.core.event import format_rfc3339
from relay.core.status import DestinationStatus
from relay.core.text import truncate
from relay.destinations.common import json_document
from relay.store.records import WaitingDelivery

MAX_LIMIT = 500
"""The most that is shown."""

TYPE_MAX = 20
"""Of an event's type, in UTF-16 units."""

T = TypeVar("T")

_HEADINGS = ("AGE", "DESTINATION", "ROUTE", "WHAT HAPPENED", "ATTEMPTS", "WHY", "NEXT")


@click.group()
def outbox() -> None:
    """Look at the deliveries that wait."""


@outbox.command("list")
@click.option("--destination", callback=convert_name, help="Those for this destination.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=100, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@config_option
def list_(chosen: Path | None, destination: str | None, limit: int, as_json: bool) -> None:
    """Show how each destination is, and what waits: why, and when it is next due.

    The oldest deliveries come first.
    """
    asyncio.run(_list(locate_store(chosen), destination, limit, as_json))


@dataclass(frozen=True, slots=True)
class _View:
    """What was found."""

    now_ns: int
    conditions: Mapping[str, DestinationStatus]
    configured: Collection[str]
    """The destinations to which whoever sends can send."""
    pending: Mapping[str, int]
    waiting: Sequence[WaitingDelivery]


async def _list(kept: StoreLocation, destination: str | None, limit: int, as_json: bool) -> None:
    async with connect(kept) as found:
        conditions = _restrict_to(destination, await found.operations.destination_status())
        pending = _restrict_to(destination, await found.operations.pending())
        waiting = await found.operations.list_waiting(destination, limit)
        now_ns = await found.operations.now_ns()
    configured = conditions if found.is_daemon else kept.outline.destinations
    view = _View(now_ns, conditions, configured, pending, waiting)
    for line in _json_lines(view) if as_json else _table_lines(view):
        click.echo(line)
    if not pending:
        click.echo("nothing waits", err=True)
    elif not found.is_daemon:
        click.echo("no relay is running: nothing is sent", err=True)
    if waiting and (more := sum(pending.values()) - len(waiting)) > 0:
        click.echo(f"… and {more} more", err=True)


def _restrict_to(destination: str | None, all_: Mapping[str, T]) -> Mapping[str, T]:
    if destination is None:
        return all_
    return {to: all_[to] for to in all_ if to == destination}


def _json_lines(view: _View) -> Iterator[str]:
    """A line of JSON for each delivery; the notification is as ``format: json`` tells it."""
    for each in view.waiting:
        yield to_json_line(
            {
                "number": each.seq,
                "destination": each.destination,
                "route": each.notification.route,
                "id": each.notification.id,
                "created": format_rfc3339(each.created_ns),
                "created_ns": each.created_ns,
                "due": None if each.due_ns is None else format_rfc3339(each.due_ns),
                "due_ns": each.due_ns,
                "attempts": each.attempts,
                "reason": each.reason,
                "answer": each.answer,
                "condition": view.conditions.get(each.destination),
                "notification": msgspec.Raw(json_document.encode_document(each.notification)),
            }
        )


def _table_lines(view: _View) -> Iterator[str]:
    names = sorted({*view.conditions, *view.pending})
    if names:
        places = [(format_name(to), str(view.pending.get(to, 0)), _state(to, view)) for to in names]
        yield from format_table([("DESTINATION", "WAITING", "CONDITION"), *places])
    if view.waiting:
        yield ""
        yield from format_table([_HEADINGS, *(_row(each, view) for each in view.waiting)])


def _state(to: str, view: _View) -> str:
    if to not in view.configured:
        return NOT_CONFIGURED
    return describe_destination(to, view.conditions.get(to), view.now_ns)


def _row(each: WaitingDelivery, view: _View) -> tuple[str, ...]:
    return (
        format_duration(view.now_ns - each.created_ns),
        format_name(each.destination),
        format_name(each.notification.route),
        describe_notification(each.notification),
        str(each.attempts),
        describe_failure(each.reason, each.answer) or "not tried yet",
        _next_attempt(each, view),
    )


def _next_attempt(each: WaitingDelivery, view: _View) -> str:
    condition = view.conditions.get(each.destination)
    if each.due_ns is None:
        return (
            f"behind another about the same {truncate(each.notification.events[0].type, TYPE_MAX)}"
        )
    if each.destination not in view.configured:
        return "when it is configured"
    if condition is None:
        return "when relay runs"
    if condition.stopped:
        return "when it is enabled"
    return format_due(max(each.due_ns, condition.resumes_ns or 0), view.now_ns)
