"""Columns, times, durations and JSON as commands print them.

Names, answers and errors come from others: unprintable characters are escaped, so that a terminal
does not obey them, and each text stays on one line.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from relay.core.event import format_rfc3339
from relay.core.exchange import Answer
from relay.core.notification import Notification
from relay.core.status import DestinationStatus
from relay.core.text import escape_json, truncate
from relay.core.zone import TimeZone
from relay.destinations.common.headline import headline

NAME_MAX = 30
"""Longest name of a destination or a route in a column; in UTF-16 units, as the following."""
SUMMARY_MAX = 90
FAILURE_MAX = 60
CONDITION_MAX = 200
"""For why a destination does not work, in the last column."""
LINE_MAX = 1000
"""A line of a page is cut to this."""

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def format_table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the rows, of which the first holds the headings, as lines with aligned columns."""
    lines = list(rows)
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    for row in lines:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def format_facts(facts: Iterable[tuple[str, str | None]], indent: int = 2) -> Iterator[str]:
    """Yield a line for each label with its value, aligned; those without a value are left out."""
    known = [
        (truncate(label, LINE_MAX), truncate(value, LINE_MAX)) for label, value in facts if value
    ]
    width = min(max((len(label) for label, _ in known), default=0), 40)
    for label, value in known:
        yield f"{' ' * indent}{label:{width}}  {value}"


def format_section(title: str, facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the lines of facts under a title; nothing if there are none."""
    if lines := list(format_facts(facts, indent=4)):
        yield f"  {title}"
        yield from lines


def format_time(time_ns: int, zone: TimeZone) -> str:
    """Return a time to the second: ``2026-11-23 06:48:34Z``, or ``2026-11-23 07:48:34 CET``."""
    text = zone.format_second(time_ns)
    return f"{text[:-4]}Z" if text.endswith(" UTC") else text


def format_optional_rfc3339(time_ns: int | None) -> str | None:
    """Return a time for JSON; None for None."""
    return None if time_ns is None else format_rfc3339(time_ns)


def time_fields(name: str, time_ns: int | None) -> dict[str, object]:
    """Return a time for an object of JSON: as text, and in nanoseconds since 1970."""
    return {f"{name}_at": format_optional_rfc3339(time_ns), f"{name}_ns": time_ns}


def format_duration(duration_ns: int) -> str:
    """Return a duration in its two largest units: ``4 s``, ``12 min 30 s``, ``2 d 4 h``."""
    left = max(0, round(duration_ns / 1e9))
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts) or "0 s"


def format_due(time_ns: int, now_ns: int) -> str:
    """Return when something is due: ``now``, or ``in 4 s``."""
    return "now" if time_ns <= now_ns else f"in {format_duration(time_ns - now_ns)}"


def format_count(count: int, noun: str, plural: str) -> str:
    """Return ``1 event``, ``2 events``, ``no events``; ``noun`` is the singular."""
    return f"{count or 'no'} {noun if count == 1 else plural}"


def format_ordinal(number: int) -> str:
    """Return ``1st``, ``2nd``, ``3rd``, ``4th``, ``11th``."""
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else suffix}"


def format_name(text: str) -> str:
    """Return the name of an engine, a destination or a route for a column."""
    return truncate(text, NAME_MAX)


def describe_notification(notification: Notification, zone: TimeZone) -> str:
    """Return the headline of a notification."""
    return headline(notification, SUMMARY_MAX, zone=zone)


def describe_failure(reason: str | None, answer: Answer | None) -> str:
    """Return why an attempt failed: the reason, and the status or else the error.

    Empty without a reason.
    """
    if reason is None:
        return ""
    detail = "" if answer is None else str(answer.status or answer.error or "")
    return truncate(f"{reason}: {detail}" if detail else reason, FAILURE_MAX)


def describe_destination(
    name: str,
    status: DestinationStatus | None,
    now_ns: int,
    zone: TimeZone,
    *,
    is_configured: bool,
) -> str:
    """Return what holds up a destination, and what to do; ``status`` is None if no relay runs."""
    if not is_configured:
        return "not configured: all become dead letters when relay starts"
    if status is None:
        return "no relay is running"
    resumes_ns = status.resumes_ns or 0
    if status.stopped:
        return f"stopped by its answer 410; to resume: relay destination enable {format_name(name)}"
    if status.failing:
        why = f": {truncate(status.last_failure, CONDITION_MAX)}" if status.last_failure else ""
        return f"failing, next probe {format_due(resumes_ns, now_ns)}{why}"
    if status.not_connected is not None:
        return f"not connected: {truncate(status.not_connected, CONDITION_MAX)}"
    if resumes_ns > now_ns:
        return f"paused at its request until {format_time(resumes_ns, zone)}"
    if status.first_failure is not None:
        return f"has accepted nothing yet: {truncate(status.first_failure, CONDITION_MAX)}"
    return "working"


def to_json_line(value: object) -> str:
    """Return the value as JSON on one line; characters that do not print are escaped."""
    return escape_json(msgspec.json.encode(value).decode())
