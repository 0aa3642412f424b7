"""A dead letter as commands show it: a row, a page, or JSON."""

from collections.abc import Iterable, Iterator

import msgspec

from relay.cli.tables import happened, moment, name, span, why
from relay.core.event import Event, Origin, rfc3339
from relay.core.notification import Status, severity
from relay.core.text import fit
from relay.destinations.common import json_document
from relay.destinations.common.card import Card
from relay.destinations.common.headline import exit_code, sentence
from relay.store.records import DeadLetter

HEADINGS = ("ID", "DIED", "DESTINATION", "ROUTE", "WHAT HAPPENED", "WHY", "ATTEMPTS")

LINE_MAX = 1000
"""A line of a page is cut to this, in UTF-16 units."""


def row(letter: DeadLetter) -> tuple[str, ...]:
    """Its cells under `HEADINGS`."""
    return (
        str(letter.number),
        moment(letter.died_ns),
        name(letter.destination),
        name(letter.notification.route),
        happened(letter.notification),
        why(letter.reason, letter.answer),
        str(letter.attempts),
    )


def document(letter: DeadLetter) -> dict[str, object]:
    """All of it, for programs; the notification is as ``format: json`` tells it."""
    return {
        "number": letter.number,
        "destination": letter.destination,
        "route": letter.notification.route,
        "id": letter.notification.id,
        "created": rfc3339(letter.created_ns),
        "created_ns": letter.created_ns,
        "died": rfc3339(letter.died_ns),
        "died_ns": letter.died_ns,
        "attempts": letter.attempts,
        "reason": letter.reason,
        "answer": letter.answer,
        "notification": msgspec.Raw(json_document.document(letter.notification)),
    }


def page(letter: DeadLetter) -> Iterator[str]:
    """All of it, for people, line by line; what others wrote is indented."""
    yield f"dead letter {letter.number}"
    yield from _listed(_fate(letter))
    yield from _quoted("the last answer", letter.answer.text if letter.answer else "")
    for event in letter.notification.events:
        yield ""
        yield from _listed(_facts(event))
        yield from _below("attributes", event.actor.attributes.items())
    card = Card(letter.notification)
    yield from _below("inspected", card.inspected)
    for title, text in card.printed:
        yield from _quoted(title, text)


def _fate(letter: DeadLetter) -> list[tuple[str, str | None]]:
    notification, answer = letter.notification, letter.answer
    return [
        ("destination", letter.destination),
        ("route", notification.route),
        ("notification", notification.id),
        ("severity", severity(notification)),
        ("status", notification.status if notification.status is Status.RESOLVED else None),
        ("events", str(notification.count) if notification.count > 1 else None),
        ("made", moment(letter.created_ns)),
        ("died", f"{moment(letter.died_ns)}, {span(letter.died_ns - letter.created_ns)} later"),
        ("attempts", str(letter.attempts)),
        ("reason", letter.reason),
        ("answered", str(answer.status) if answer and answer.status else "nothing"),
        ("error", answer.error if answer else None),
    ]


def _facts(event: Event) -> list[tuple[str, str | None]]:
    return [
        ("happened", sentence(event)),
        ("event", event.id),
        ("time", rfc3339(event.time_ns)),
        ("engine", event.engine),
        ("host", event.host),
        ("type", event.type),
        ("action", f"{event.action}: {event.detail}" if event.detail else event.action),
        ("name", event.actor.name),
        ("id", event.actor.id),
        ("image", event.actor.image),
        ("cause", event.cause),
        ("exit code", None if event.exit_code is None else exit_code(event.exit_code)),
        ("signal", None if event.signal is None else str(event.signal)),
        ("health", event.health),
        ("origin", None if event.origin is Origin.LIVE else event.origin),
    ]


def _listed(facts: Iterable[tuple[str, str | None]], indent: int = 2) -> Iterator[str]:
    known = [(fit(name_, LINE_MAX), fit(value, LINE_MAX)) for name_, value in facts if value]
    width = min(max((len(name_) for name_, _ in known), default=0), 40)
    for name_, value in known:
        yield f"{' ' * indent}{name_:{width}}  {value}"


def _below(title: str, facts: Iterable[tuple[str, str]]) -> Iterator[str]:
    if listed := list(_listed(facts, indent=4)):
        yield f"  {title}"
        yield from listed


def _quoted(title: str, text: str) -> Iterator[str]:
    if text.strip():
        yield f"  {title}"
        for line in text.splitlines():
            yield f"  │ {fit(line, LINE_MAX)}".rstrip()
