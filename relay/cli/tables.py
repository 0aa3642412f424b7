"""How commands show what others wrote: in columns, on lines, as JSON; nothing of it is obeyed."""

import json
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from relay.core.event import format_rfc3339
from relay.core.exchange import Answer
from relay.core.notification import Notification
from relay.core.status import DestinationStatus
from relay.core.text import truncate
from relay.destinations.common.headline import headline

NAME_MAX = 30
"""Of destinations and routes in columns, in UTF-16 units, as all that follow."""
SUMMARY_MAX = 90
FAILURE_MAX = 60

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def format_table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The rows as lines, the first of them the headings; each cell on one line already."""
    kept = list(rows)
    widths = [max(map(len, cells)) for cells in zip(*kept, strict=True)]
    for row in kept:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def format_time(time_ns: int) -> str:
    """A time for people, to the second, in UTC."""
    return f"{format_rfc3339(time_ns)[:19].replace('T', ' ')}Z"


def format_duration(length_ns: int) -> str:
    """How long that is, in its two largest units: ``4 s``, ``12 min 30 s``, ``2 d 4 h``."""
    left = max(0, round(length_ns / 1e9))
    parts: list[str] = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts) or "0 s"


def format_name(text: str) -> str:
    """A destination's or a route's."""
    return truncate(text, NAME_MAX)


def describe_notification(notification: Notification) -> str:
    """The sentence of a notification."""
    return headline(notification, SUMMARY_MAX)


def describe_failure(reason: str | None, answer: Answer | None) -> str:
    """Why an attempt failed: the reason, and what was answered or went wrong."""
    if reason is None:
        return ""
    said = "" if answer is None else str(answer.status or answer.error or "")
    return truncate(f"{reason}: {said}" if said else reason, FAILURE_MAX)


def to_json_line(value: object) -> str:
    """The value as JSON, in which every character prints: those that do not are escaped."""
    text = msgspec.json.encode(value).decode()
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


NOT_CONFIGURED = "not configured: what waits becomes dead letters when relay starts"


def describe_destination(to: str, condition: DestinationStatus | None, now_ns: int) -> str:
    """What holds up a destination; ``condition`` is None where no relay runs."""
    if condition is None:
        return "no relay is running"
    resumes_ns = condition.resumes_ns or 0
    if condition.stopped:
        return f"stopped, it wants no more (410): relay destination enable {format_name(to)}"
    if condition.failing:
        return f"failing, next probe {format_due(resumes_ns, now_ns)}"
    if resumes_ns > now_ns:
        return f"asks to be left alone until {format_time(resumes_ns)}"
    return "working"


def format_due(time_ns: int, now_ns: int) -> str:
    """A time from now on."""
    return "now" if time_ns <= now_ns else f"in {format_duration(time_ns - now_ns)}"
