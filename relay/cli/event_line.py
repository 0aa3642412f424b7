"""One event and what came of it, on one line for a person; nothing that others wrote is obeyed."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import click

from relay.admin.tap import EventsSkipped, RouteDecision, TappedEvent
from relay.cli.tables import format_name, format_time, to_json_line
from relay.core.event import TYPE_RELAY, Event, Origin
from relay.core.notification import Severity, default_severity
from relay.core.text import truncate
from relay.destinations.common.headline import describe_exit_code
from relay.destinations.common.json_document import event_object
from relay.routing.router import Verdict

EVENT_MAX = 90
DETAILS_MAX = 90
ROUTES_MAX = 200
ID_MAX = 12
_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


@dataclass(frozen=True, slots=True)
class LineStyle:
    """How lines look."""

    colour: bool = False
    show_engine: bool = False
    """Whether each names its engine."""
    show_date: bool = False
    """Whether each has the date before the time."""


def format_line(seen: TappedEvent, look: LineStyle) -> str:
    """The line, without its end."""
    event = seen.event
    parts = [_style(format_time(event.time_ns)[0 if look.show_date else 11 :], look, dim=True)]
    if look.show_engine:
        parts.append(format_name(event.engine))
    what = " ".join(filter(None, (event.type, event.action, _actor_name(event))))
    sent = any(said.verdict is Verdict.SENT for said in seen.routes)
    parts.append(
        _style(
            truncate(what, EVENT_MAX), look, fg=_COLOURS[default_severity(event)] if sent else None
        )
    )
    if known := ", ".join(_details(event)):
        parts.append(f"({truncate(known, DETAILS_MAX)})")
    came = f"→ {truncate('; '.join(map(_describe_decision, seen.routes)) or 'no route takes it', ROUTES_MAX)}"
    parts.append(came if sent else _style(came, look, dim=True))
    return " ".join(parts)


def format_skipped(lost: EventsSkipped) -> str:
    """What stands in place of events."""
    return "… 1 event was not shown" if lost.count == 1 else f"… {lost.count} events were not shown"


def format_json(seen: TappedEvent | EventsSkipped) -> str:
    """The same as JSON, on one line."""
    if isinstance(seen, EventsSkipped):
        return to_json_line({"lost": seen.count})
    return to_json_line({"event": event_object(seen.event), "routes": seen.routes})


def _actor_name(event: Event) -> str:
    """Images without a name are called by their ids, which nobody reads to the end."""
    who = event.actor.name or event.actor.id[:ID_MAX]
    return who.removeprefix("sha256:")[:ID_MAX] if who.startswith("sha256:") else who


def _details(event: Event) -> Iterator[str]:
    """What is known of the event beside what happened to whom."""
    if event.cause is not None:
        yield event.cause
    if event.exit_code is not None:
        yield f"exit code {describe_exit_code(event.exit_code)}"
    if event.signal is not None:
        yield _signal_name(event.signal)
    if event.detail is not None:
        yield event.detail
    if event.type == TYPE_RELAY and "reason" in event.actor.attributes:
        yield event.actor.attributes["reason"]
    if event.origin is not Origin.LIVE:
        yield event.origin


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _describe_decision(said: RouteDecision) -> str:
    match said.verdict:
        case Verdict.SENT:
            return f"{format_name(said.route)}: {', '.join(map(format_name, said.to))}"
        case Verdict.DROPPED:
            return f"{format_name(said.route)} drops it"
        case _:
            return f"{format_name(said.route)}: to nobody else"


def _style(text: str, look: LineStyle, *, fg: str | None = None, dim: bool | None = None) -> str:
    if not look.colour or not (fg or dim):
        return text
    return click.style(text, fg=fg, bold=True if fg else None, dim=dim)
