"""One event and what came of it, on one line for a person; nothing that others wrote is obeyed."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass

import click

from relay.admin.tap import Lost, Said, Seen
from relay.cli.tables import json_line, moment, name
from relay.core.event import TYPE_RELAY, Event, Origin
from relay.core.notification import Severity, nature
from relay.core.text import fit
from relay.destinations.common.headline import exit_code
from relay.destinations.common.json_document import entry
from relay.routing.router import Verdict

WHAT_MAX = 90
KNOWN_MAX = 90
ROUTES_MAX = 200
ID_MAX = 12
_SHADES = {Severity.CRITICAL: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


@dataclass(frozen=True, slots=True)
class Look:
    """How lines look."""

    colour: bool = False
    engine: bool = False
    """Whether each names its engine."""
    date: bool = False
    """Whether each has the date before the time."""


def line(seen: Seen, look: Look) -> str:
    """The line, without its end."""
    event = seen.event
    parts = [_shade(moment(event.time_ns)[0 if look.date else 11 :], look, dim=True)]
    if look.engine:
        parts.append(name(event.engine))
    what = " ".join(filter(None, (event.type, event.action, _who(event))))
    sent = any(said.verdict is Verdict.SENT for said in seen.routes)
    parts.append(_shade(fit(what, WHAT_MAX), look, fg=_SHADES[nature(event)] if sent else None))
    if known := ", ".join(_known(event)):
        parts.append(f"({fit(known, KNOWN_MAX)})")
    came = f"→ {fit('; '.join(map(_say, seen.routes)) or 'no route takes it', ROUTES_MAX)}"
    parts.append(came if sent else _shade(came, look, dim=True))
    return " ".join(parts)


def lost_line(lost: Lost) -> str:
    """What stands in place of events."""
    return "… 1 event was not shown" if lost.count == 1 else f"… {lost.count} events were not shown"


def document(seen: Seen | Lost) -> str:
    """The same as JSON, on one line."""
    if isinstance(seen, Lost):
        return json_line({"lost": seen.count})
    return json_line({"event": entry(seen.event), "routes": seen.routes})


def _who(event: Event) -> str:
    """Images without a name are called by their ids, which nobody reads to the end."""
    who = event.actor.name or event.actor.id[:ID_MAX]
    return who.removeprefix("sha256:")[:ID_MAX] if who.startswith("sha256:") else who


def _known(event: Event) -> Iterator[str]:
    """What is known of the event beside what happened to whom."""
    if event.cause is not None:
        yield event.cause
    if event.exit_code is not None:
        yield f"exit code {exit_code(event.exit_code)}"
    if event.signal is not None:
        yield _signal(event.signal)
    if event.detail is not None:
        yield event.detail
    if event.type == TYPE_RELAY and "reason" in event.actor.attributes:
        yield event.actor.attributes["reason"]
    if event.origin is not Origin.LIVE:
        yield event.origin


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _say(said: Said) -> str:
    match said.verdict:
        case Verdict.SENT:
            return f"{name(said.route)}: {', '.join(map(name, said.to))}"
        case Verdict.DROPPED:
            return f"{name(said.route)} drops it"
        case _:
            return f"{name(said.route)}: to nobody else"


def _shade(text: str, look: Look, *, fg: str | None = None, dim: bool | None = None) -> str:
    if not look.colour or not (fg or dim):
        return text
    return click.style(text, fg=fg, bold=True if fg else None, dim=dim)
