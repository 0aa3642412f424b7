"""Dead letters as rows of a table, as pages and as JSON.

Texts come from others: unprintable characters are escaped, long texts are cut.
"""

from collections.abc import Iterator

import msgspec

from relay.cli.tables import (
    LINE_MAX,
    describe_failure,
    describe_notification,
    format_duration,
    format_facts,
    format_name,
    format_section,
    format_time,
)
from relay.core.event import Event, Origin, format_rfc3339
from relay.core.incident import Status, Update
from relay.core.notification import resolve_severity
from relay.core.text import truncate
from relay.core.zone import TimeZone
from relay.destinations.common.card import Card
from relay.destinations.common.document import encode_document
from relay.destinations.common.event_text import describe_event
from relay.destinations.common.exit_code import describe_exit_code
from relay.destinations.common.incident_line import describe_incident
from relay.destinations.common.pieces import join
from relay.store.records import DeadLetter

HEADINGS = ("ID", "DIED", "DESTINATION", "ROUTE", "WHAT HAPPENED", "WHY", "ATTEMPTS")


def format_row(dead_letter: DeadLetter, zone: TimeZone) -> tuple[str, ...]:
    """Return the cells under `HEADINGS`."""
    return (
        str(dead_letter.number),
        format_time(dead_letter.died_ns, zone),
        format_name(dead_letter.destination),
        format_name(dead_letter.notification.route),
        describe_notification(dead_letter.notification, zone),
        describe_failure(dead_letter.reason, dead_letter.answer),
        str(dead_letter.attempts),
    )


def to_document(dead_letter: DeadLetter) -> dict[str, object]:
    """Return a dead letter for JSON; the notification is as ``format: json`` sends it."""
    return {
        "number": dead_letter.number,
        "destination": dead_letter.destination,
        "route": dead_letter.notification.route,
        "id": dead_letter.notification.id,
        "created": format_rfc3339(dead_letter.created_ns),
        "created_ns": dead_letter.created_ns,
        "died": format_rfc3339(dead_letter.died_ns),
        "died_ns": dead_letter.died_ns,
        "attempts": dead_letter.attempts,
        "reason": dead_letter.reason,
        "answer": dead_letter.answer,
        "notification": msgspec.Raw(encode_document(dead_letter.notification)),
    }


def format_page(dead_letter: DeadLetter, zone: TimeZone) -> Iterator[str]:
    """Yield everything about a dead letter as lines of text.

    Text from others is indented, so that no line of it can be taken for one of relay's.
    """
    notification, answer = dead_letter.notification, dead_letter.answer
    yield f"dead letter {dead_letter.number}"
    yield from format_facts(_delivery_facts(dead_letter, zone))
    yield from _format_quote("the last answer", answer.text if answer else "")
    yield from _format_incidents(notification.update, zone)
    for event in notification.events:
        yield ""
        yield from format_facts(_event_facts(event, zone))
        yield from format_section("attributes", event.actor.attributes.items())
    card = Card(notification, zone=zone)
    yield from format_section("inspected", card.inspect_fields)
    for output in card.output:
        for name, text in output.texts:
            yield from _format_quote(f"{output.title} of {name}" if name else output.title, text)


def _delivery_facts(dead_letter: DeadLetter, zone: TimeZone) -> list[tuple[str, str | None]]:
    notification, answer = dead_letter.notification, dead_letter.answer
    update = notification.update
    age = format_duration(dead_letter.died_ns - dead_letter.created_ns)
    return [
        ("destination", dead_letter.destination),
        ("route", notification.route),
        ("notification", notification.id),
        ("reason", None if update is None else update.reason.value.replace("_", " ")),
        ("severity", resolve_severity(notification)),
        ("status", notification.status if notification.status is Status.RESOLVED else None),
        ("events", str(notification.count) if notification.count > 1 else None),
        ("created", format_time(dead_letter.created_ns, zone)),
        ("died", f"{format_time(dead_letter.died_ns, zone)}, {age} later"),
        ("attempts", str(dead_letter.attempts)),
        ("reason", dead_letter.reason),
        ("answered", str(answer.status) if answer and answer.status else "nothing"),
        ("error", answer.error if answer else None),
    ]


def _format_incidents(update: Update | None, zone: TimeZone) -> Iterator[str]:
    """Yield what a notification says of each incident, in the words of messages."""
    if update is None or not update.incidents:
        return
    sentences = (
        (it.id, join(describe_incident(it, update.made_ns, zone))) for it in update.incidents
    )
    yield from format_section("incidents", sentences)
    if update.more:
        yield f"    and {update.more:,} more"


def _event_facts(event: Event, zone: TimeZone) -> list[tuple[str, str | None]]:
    return [
        ("happened", describe_event(event)),
        ("event", event.id),
        ("time", format_time(event.time_ns, zone)),
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


def _format_quote(title: str, text: str) -> Iterator[str]:
    if text.strip():
        yield f"  {title}"
        for line in text.splitlines():
            yield f"  │ {truncate(line, LINE_MAX)}".rstrip()
