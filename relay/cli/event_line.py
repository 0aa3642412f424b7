"""One event and the decisions of the routes, on one line, as text or as JSON.

Names and details come from others: unprintable characters are escaped, long texts are cut.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import click

from relay.admin.tap import EventsSkipped, RouteDecision, TappedEvent
from relay.cli.hold import format_hold
from relay.cli.tables import format_name, format_ordinal, format_time, to_json_line
from relay.core.event import TYPE_RELAY, Event, Origin
from relay.core.severity import Severity, default_severity
from relay.core.text import truncate
from relay.core.zone import UTC_ZONE, TimeZone
from relay.destinations.common.document import event_object
from relay.destinations.common.event_text import (
    ID_MAX,
    describe_host,
    find_changes,
    find_container,
    find_reclaimed,
)
from relay.destinations.common.exit_code import describe_exit_code, describe_signal
from relay.incidents.effect import EffectKind
from relay.routing.router import Verdict

EVENT_MAX = 90
DETAILS_MAX = 90
ROUTES_MAX = 200

_COLOURS = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


@dataclass(frozen=True, slots=True)
class LineStyle:
    """What a line shows, and how."""

    colour: bool = False
    show_engine: bool = False
    show_date: bool = False
    """Whether the time of day has its date before it."""
    zone: TimeZone = UTC_ZONE


def format_line(tapped: TappedEvent, style: LineStyle) -> str:
    """Return the line, as in ``06:48:34Z container die web (crashed) → crashed: ops``."""
    event = tapped.event
    is_sent = any(decision.verdict is Verdict.SENT for decision in tapped.routes)
    time = format_time(event.time_ns, style.zone)[0 if style.show_date else 11 :]
    parts = [_style(time, style, dim=True)]
    if event.via is not None:
        parts.append(format_name(describe_host(event.host, event.engine)))
    elif style.show_engine:
        parts.append(format_name(event.engine))
    colour = _COLOURS[default_severity(event)] if is_sent else None
    parts.append(_style(summarize_event(event, EVENT_MAX), style, fg=colour))
    if details := ", ".join(_details(event)):
        parts.append(f"({truncate(details, DETAILS_MAX)})")
    decisions = "; ".join(map(_describe_decision, tapped.routes)) or "no route matches"
    result = f"→ {truncate(decisions, ROUTES_MAX)}"
    parts.append(result if is_sent else _style(result, style, dim=True))
    return " ".join(parts)


def format_skipped(skipped: EventsSkipped) -> str:
    """Return the line that stands in place of skipped events."""
    verb = "was" if skipped.count == 1 else "were"
    return f"… {skipped.count} event{'' if skipped.count == 1 else 's'} {verb} not shown"


def format_json(item: TappedEvent | EventsSkipped) -> str:
    """Return the same as JSON, on one line; the event is as ``format: json`` has it."""
    if isinstance(item, EventsSkipped):
        return to_json_line({"lost": item.count})
    return to_json_line({"event": event_object(item.event), "routes": item.routes})


def summarize_event(event: Event, limit: int) -> str:
    """Return the type, the action and the actor, in at most ``limit`` UTF-16 units."""
    actor = event.actor.name or event.actor.id[:ID_MAX]
    if actor.startswith("sha256:"):  # an image without a name has its digest as its name
        actor = actor.removeprefix("sha256:")[:ID_MAX]
    return truncate(" ".join(filter(None, (event.type, event.action, actor))), limit)


def _details(event: Event) -> Iterator[str]:
    """Yield what is known of the event beyond its type, its action and its actor."""
    if event.cause is not None:
        yield event.cause
    if event.exit_code is not None:
        yield f"exit code {describe_exit_code(event.exit_code)}"
    if event.signal is not None:
        yield describe_signal(event.signal)
    if event.detail is not None:
        yield event.detail
    for change in find_changes(event):
        yield f"{change.name.lower()} {change.values}"
    if container := find_container(event):
        yield f"container {container}"
    if reclaimed := find_reclaimed(event):
        yield f"reclaimed {reclaimed}"
    if event.type == TYPE_RELAY and "reason" in event.actor.attributes:
        yield event.actor.attributes["reason"]
    if event.origin is not Origin.LIVE:
        yield event.origin


def _describe_decision(decision: RouteDecision) -> str:
    route = format_name(decision.route)
    match decision.verdict:
        case Verdict.SENT:
            return (
                f"{route}: {', '.join(_describe_destination(to, decision) for to in decision.to)}"
            )
        case Verdict.DROPPED:
            return f"{route} drops it"
        case _:
            return f"{route}: already sent"


def _describe_destination(name: str, decision: RouteDecision) -> str:
    """Return the destination, with what the event did if it is notified of incidents."""
    effects = decision.incidents
    if not isinstance(effects, Mapping) or name not in effects:
        return format_name(name)
    effect = effects[name]
    match effect.kind:
        case EffectKind.OPENED:
            what = "opens an incident"
        case EffectKind.REOPENED:
            what = "reopens an incident"
        case EffectKind.COUNTED:
            what = f"counted, {format_ordinal(effect.total)}"
        case EffectKind.HELD:
            what = ""
        case EffectKind.GROUPED:
            what = "told with its group"
    hold = ""
    if effect.hold is not None:
        by = effect.hold.interval if effect.hold.silence is None else effect.hold.silence
        hold = format_hold(effect.hold.reason, by)
    return f"{format_name(name)} ({', '.join(filter(None, (what, hold)))})"


def _style(text: str, style: LineStyle, *, fg: str | None = None, dim: bool | None = None) -> str:
    if not style.colour or not (fg or dim):
        return text
    return click.style(text, fg=fg, bold=True if fg else None, dim=dim)
