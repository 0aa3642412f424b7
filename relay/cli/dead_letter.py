"""A dead letter as a row of a table, as a page, and as JSON."""

from collections.abc import Iterable, Iterator

import msgspec

from relay.cli.tables import (
    describe_failure,
    describe_notification,
    format_duration,
    format_name,
    format_time,
)
from relay.core.event import Event, Origin, format_rfc3339
from relay.core.notification import Status, resolve_severity
from relay.core.text import truncate
from relay.destinations.common import json_document
from relay.destinations.common.card import Card
from relay.destinations.common.headline import describe_event, describe_exit_code
from relay.store.records import DeadLetter

HEADINGS = ("ID", "DIED", "DESTINATION", "ROUTE", "WHAT HAPPENED", "WHY", "ATTEMPTS")

LINE_MAX = 1000
"""A line of a page is cut to this, in UTF-16 units."""


def format_row(letter: DeadLetter) -> tuple[str, ...]:
    """Return the cells under `HEADINGS`."""
    return (
        str(letter.number),
        format_time(letter.died_ns),
        format_name(letter.destination),
        format_name(letter.notification.route),
        describe_notification(letter.notification),
        describe_failure(letter.reason, letter.answer),
        str(letter.attempts),
    )


def to_document(letter: DeadLetter) -> dict[str, object]:
    """Return a dead letter for JSON; the notification is as ``format: json`` sends it."""
    return {
        "number": letter.number,
        "destination": letter.destination,
        "route": letter.notification.route,
        "id": letter.notification.id,
        "created": format_rfc3339(letter.created_ns),
        "created_ns": letter.created_ns,
        "died": format_rfc3339(letter.died_ns),
        "died_ns": letter.died_ns,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "answer": letter.answer,
        "notification": msgspec.Raw(json_document.encode_document(letter.notification)),
    }


def format_page(letter: DeadLetter) -> Iterator[str]:
    """Yield everything about a dead letter as lines of text.

    Text from others is indented, so that no line of it can be taken for one of relay's.
    """
    yield f"dead letter {letter.number}"
    yield from _format_facts(_delivery_facts(letter))
    yield from _format_quote("the last answer", letter.answer.text if letter.answer else "")
    for event in letter.notification.events:
        yield ""
        yield from _format_facts(_event_facts(event))
        yield from _format_section("attributes", event.actor.attributes.items())
    card = Card(letter.notification)
    yield from _format_section("inspected", card.inspect_fields)
    for title, text in card.output:
        yield from _format_quote(title, text)


def _delivery_facts(letter: DeadLetter) -> list[tuple[str, str | None]]:
    notification, answer = letter.notification, letter.answer
    age = format_duration(letter.died_ns - letter.created_ns)
    return [
        ("destination", letter.destination),
        ("route", notification.route),
        ("notification", notification.id),
        ("severity", resolve_severity(notification)),
        ("status", notification.status if notification.status is Status.RESOLVED else None),
        ("events", str(notification.count) if notification.count > 1 else None),
        ("created", format_time(letter.created_ns)),
        ("died", f"{format_time(letter.died_ns)}, {age} later"),
        ("attempts", str(letter.attempts)),
        ("reason", letter.reason),
        ("answered", str(answer.status) if answer and answer.status else "nothing"),
        ("error", answer.error if answer else None),
    ]


def _event_facts(event: Event) -> list[tuple[str, str | None]]:
    return [
        ("happened", describe_event(event)),
        ("event", event.id),
        ("time", format_rfc3339(event.time_ns)),
        ("engine", event.engine),
        ("host", event.host),
        ("type", event.type),
        ("action", f"{event.action}: {event.detail}" if event.detail else event.action),
        ("name", event.actor.name),
        ("id", event.actor.id),
        ("image", event.actor.image),
        ("cause", event.cause),
        ("exit code", None if event.exit_code is None else describe_exit_code(event.exit_code)),
        ("signal", None if event.signal is None else str(event.signal)),
        ("health", event.health),
        ("origin", None if event.origin is Origin.LIVE else event.origin),
    ]


def _format_facts(facts: Iterable[tuple[str, str | None]], indent: int = 2) -> Iterator[str]:
    known = [
        (truncate(label, LINE_MAX), truncate(value, LINE_MAX)) for label, value in facts if value
    ]
    width = min(max((len(label) for label, _ in known), default=0), 40)
    for label, value in known:
        yield f"{' ' * indent}{label:{width}}  {value}"


def _format_section(title: str, facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    if lines := list(_format_facts(facts, indent=4)):
        yield f"  {title}"
        yield from lines


def _format_quote(title: str, text: str) -> Iterator[str]:
    if text.strip():
        yield f"  {title}"
        for line in text.splitlines():
            yield f"  │ {truncate(line, LINE_MAX)}".rstrip()
