"""``relay outbox``: shows the deliveries that wait."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from relay.admin.requests import PAGE_SIZE
from relay.cli.connect import StoreLocation, connect, locate_store
from relay.cli.group import Group
from relay.cli.options import (
    check_known,
    complete_destination,
    config_option,
    convert_name,
    json_option,
    limit_option,
)
from relay.cli.tables import (
    describe_destination,
    describe_failure,
    describe_notification,
    format_due,
    format_duration,
    format_name,
    format_optional_rfc3339,
    format_table,
    to_json_line,
)
from relay.core.event import format_rfc3339
from relay.core.status import DestinationStatus
from relay.core.text import truncate
from relay.core.zone import TimeZone
from relay.destinations.common.document import encode_document
from relay.store.records import WaitingDelivery

TYPE_MAX = 20
"""Longest type of an event, in UTF-16 units."""

T = TypeVar("T")

_HEADINGS = ("AGE", "DESTINATION", "ROUTE", "WHAT HAPPENED", "ATTEMPTS", "WHY", "NEXT")


@click.group(cls=Group)
def outbox() -> None:
    """Show the deliveries that wait."""


@outbox.command("list")
@click.option(
    "--destination",
    metavar="NAME",
    callback=convert_name,
    shell_complete=complete_destination,
    help="Only this destination.",
)
@limit_option("deliveries", PAGE_SIZE)
@json_option
@config_option
def list_(config_file: Path | None, destination: str | None, limit: int, as_json: bool) -> None:
    """Show each destination's condition, and the deliveries that wait, the oldest first.

    For each delivery it says why it waits, and when it is next due.
    """
    asyncio.run(_list(locate_store(config_file), destination, limit, as_json))


@dataclass(frozen=True, slots=True)
class _View:
    """What is shown."""

    now_ns: int
    zone: TimeZone
    statuses: Mapping[str, DestinationStatus]
    configured: Collection[str]
    """The destinations that are configured: in the running relay, else in the file."""
    pending: Mapping[str, int]
    waiting: Sequence[WaitingDelivery]

    def describe(self, destination: str) -> str:
        """Return the condition of a destination."""
        return describe_destination(
            destination,
            self.statuses.get(destination),
            self.now_ns,
            self.zone,
            is_configured=destination in self.configured,
        )


async def _list(
    location: StoreLocation, destination: str | None, limit: int, as_json: bool
) -> None:
    async with connect(location) as connection:
        operations = connection.operations
        statuses, pending = await operations.destination_status(), await operations.pending()
        configured = statuses if connection.is_daemon else location.outline.destinations
        check_known("destination", destination, sorted({*configured, *pending}))
        statuses, pending = _restrict_to(destination, statuses), _restrict_to(destination, pending)
        waiting = await operations.list_waiting(destination, limit)
        now_ns = await operations.now_ns()
    view = _View(now_ns, connection.zone, statuses, configured, pending, waiting)
    for line in _json_lines(view) if as_json else _table_lines(view):
        click.echo(line)
    if not pending:
        click.echo("nothing waits", err=True)
    elif not connection.is_daemon:
        click.echo("no relay is running: nothing is sent", err=True)
    if waiting and (more := sum(pending.values()) - len(waiting)) > 0:
        click.echo(f"… and {more} more", err=True)


def _restrict_to(destination: str | None, by_destination: Mapping[str, T]) -> Mapping[str, T]:
    """Keep the entry of one destination; all entries if ``destination`` is None."""
    if destination is None:
        return by_destination
    return {to: value for to, value in by_destination.items() if to == destination}


def _json_lines(view: _View) -> Iterator[str]:
    """Yield a line for each delivery; the notification is as ``format: json`` sends it."""
    for delivery in view.waiting:
        yield to_json_line(
            {
                "number": delivery.seq,
                "destination": delivery.destination,
                "route": delivery.notification.route,
                "id": delivery.notification.id,
                "created": format_rfc3339(delivery.created_ns),
                "created_ns": delivery.created_ns,
                "due": format_optional_rfc3339(delivery.due_ns),
                "due_ns": delivery.due_ns,
                "attempts": delivery.attempts,
                "reason": delivery.reason,
                "answer": delivery.answer,
                "condition": view.statuses.get(delivery.destination),
                "notification": msgspec.Raw(encode_document(delivery.notification)),
            }
        )


def _table_lines(view: _View) -> Iterator[str]:
    if names := sorted({*view.statuses, *view.pending}):
        rows = [(format_name(to), str(view.pending.get(to, 0)), view.describe(to)) for to in names]
        yield from format_table([("DESTINATION", "WAITING", "CONDITION"), *rows])
    if view.waiting:
        yield ""
        yield from format_table([_HEADINGS, *(_format_row(it, view) for it in view.waiting)])


def _format_row(delivery: WaitingDelivery, view: _View) -> tuple[str, ...]:
    return (
        format_duration(view.now_ns - delivery.created_ns),
        format_name(delivery.destination),
        format_name(delivery.notification.route),
        describe_notification(delivery.notification, view.zone),
        str(delivery.attempts),
        describe_failure(delivery.reason, delivery.answer) or "not tried yet",
        _next_attempt(delivery, view),
    )


def _next_attempt(delivery: WaitingDelivery, view: _View) -> str:
    status = view.statuses.get(delivery.destination)
    if delivery.due_ns is None:
        if delivery.notification.update is not None:
            return "after an earlier one about the same group"
        type_ = truncate(delivery.notification.events[0].type, TYPE_MAX)
        return f"after an earlier one about the same {type_}"
    if delivery.destination not in view.configured:
        return "when it is configured"
    if status is None:
        return "when relay runs"
    if status.stopped:
        return "when it is enabled"
    return format_due(max(delivery.due_ns, status.resumes_ns or 0), view.now_ns)
