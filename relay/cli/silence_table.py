"""Silences as rows of a table, as sentences and as JSON.

Comments, names and matches come from others: unprintable characters are escaped, long texts cut.
"""

from collections.abc import Iterator

from relay.cli.hold import COMMENT_MAX, format_comment, format_hold
from relay.cli.silence_match import describe_match
from relay.cli.tables import format_count, format_name, time_fields
from relay.core.text import truncate
from relay.core.zone import TimeZone
from relay.incidents.held import HeldReason
from relay.incidents.silence import Silence
from relay.incidents.silence_view import SilenceState, SilenceView

HEADINGS = ("SILENCE", "STATE", "FROM", "UNTIL", "MATCH", "HOLDS NOW", "HELD", "BY", "COMMENT")

MATCH_MAX = 60
"""The longest match in a column, in UTF-16 units."""


def format_row(view: SilenceView, zone: TimeZone, now_ns: int) -> tuple[str, ...]:
    """Return the cells under `HEADINGS`; ``now_ns`` is by the wall clock."""
    is_active = view.state is SilenceState.ACTIVE
    return (
        str(view.id),
        view.state,
        zone.format_minute(view.from_ns, now_ns),
        zone.format_minute(view.end_ns, now_ns),
        truncate(describe_match(view), MATCH_MAX),
        format_held(view.holding_incidents, view.holding_events) if is_active else "",
        format_held(view.held_incidents, view.held_events),
        format_name(view.by),
        truncate(view.comment, COMMENT_MAX),
    )


def format_held(incidents: int, events: int) -> str:
    """Return what is held back: ``1 incident, 5 events``, or ``nothing``."""
    counts = (
        format_count(incidents, "incident", "incidents") if incidents else "",
        format_count(events, "event", "events") if events else "",
    )
    return ", ".join(filter(None, counts)) or "nothing"


def describe_period(silence: Silence, zone: TimeZone, now_ns: int) -> str:
    """Return when a silence is in force: ``until 14:00 CET``."""
    until = f"until {zone.format_minute(silence.until_ns, now_ns)}"
    if not silence.is_to_come(now_ns):
        return until
    return f"from {zone.format_minute(silence.from_ns, now_ns)} {until}"


def describe_silence(silence: Silence, zone: TimeZone, now_ns: int) -> str:
    """Return a silence in a sentence: ``silence 3 until 14:00 CET: project=shop (deploy, ann)``."""
    match = truncate(describe_match(silence), MATCH_MAX)
    period, comment = (
        describe_period(silence, zone, now_ns),
        format_comment(silence.comment, silence.by),
    )
    return f"silence {silence.id} {period}: {match} {comment}"


def describe_silenced(silence: Silence, zone: TimeZone, now_ns: int) -> str:
    """Return how a silence holds back what fits it.

    As in ``held: silenced by 3 until 14:00 CET (deploy, ann)``.
    """
    period, comment = (
        describe_period(silence, zone, now_ns),
        format_comment(silence.comment, silence.by),
    )
    return format_hold(HeldReason.SILENCED, silence.id, period, comment)


def describe_effect(added: SilenceView, *, is_daemon: bool) -> Iterator[str]:
    """Yield what a new silence holds back, and what may be unexpected, a line for each."""
    if added.holding_incidents:
        yield f"it holds back {format_held(added.holding_incidents, added.holding_events)} now"
    elif added.matching:
        incidents = format_count(added.matching, "incident", "incidents")
        yield f"{incidents} that fit it are open, and were told before or are not due"
    elif added.incident is None:
        yield "no incident that is open fits it: it holds back what is to come"
    if not is_daemon:
        yield "no relay is running: it counts when one starts"


def to_document(view: SilenceView) -> dict[str, object]:
    """Return a silence for JSON."""
    return {
        "id": view.id,
        "state": view.state,
        "match": view.match,
        "incident": view.incident,
        "comment": view.comment,
        "by": view.by,
        **time_fields("from", view.from_ns),
        **time_fields("until", view.until_ns),
        **time_fields("made", view.made_ns),
        **time_fields("expired", view.expired_ns),
        "matching": view.matching,
        "holding": {"incidents": view.holding_incidents, "events": view.holding_events},
        "held": {"incidents": view.held_incidents, "events": view.held_events},
    }
