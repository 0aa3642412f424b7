"""The content of a message for people, before a service formats and truncates it.

A `Card` is the whole content: headline, facts, container output and notes. Its parts are here too:
`get_included` and `format_inspect_fields` read what the route includes, and `template_context` has
the values from which the texts of the configuration are rendered.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from relay.config.templates.context import build_context
from relay.core.event import DEFAULT_ENGINE, Event, Origin, format_rfc3339, format_second
from relay.core.incident import IncidentReport, Status
from relay.core.include import Included
from relay.core.notification import Notification, resolve_severity
from relay.core.severity import Severity
from relay.core.text import escape_unprintable, truncate, truncate_or_blank, utf16_length
from relay.destinations.common.headline import (
    describe_exit_code,
    describe_image,
    find_changes,
    find_container,
    find_error,
    find_reclaimed,
    headline,
)
from relay.destinations.common.pieces import (
    PLAIN,
    Escapes,
    Piece,
    PieceKind,
    Pieces,
    fit,
    join,
    to_line,
)

TEMPLATE_HEADLINE_MAX = 200
"""The UTF-16 units of the headline that templates may use."""
EVENT_ID_MAX = len("evt_") + 12
"""How much of an event's id is shown: enough to find it in the log."""
LOGS = "Last log lines"
HEALTH = "Last health check"
"""The titles of the two kinds of container output."""

_STYLES = {  # emoji and colour
    Severity.CRITICAL: ("🔴", "#d0021b"),
    Severity.WARNING: ("🟠", "#f5a623"),
    Severity.INFO: ("🔵", "#439fe0"),
}
_RESOLVED_STYLE = ("🟢", "#2eb886")
_ORIGINS = {
    Origin.LIVE: "",
    Origin.REPLAYED: "replayed from the engine's history",
    Origin.INFERRED: "found by comparing containers: the engine sent no event",
}


def get_included(notification: Notification) -> Included | None:
    """Return the data of the route's ``include``; None if nothing was asked for."""
    if notification.include is None:  # an incident is asked about on its own
        return notification.included
    return notification.included or Included(missing="could not be had in time")


def format_inspect_fields(included: Included) -> Iterator[tuple[str, str]]:
    """Yield path and value of each inspect field.

    Text stays as it is, null becomes ``none``, anything else becomes JSON.
    """
    for path, value in included.inspect.items():
        match value:
            case None:
                yield path, "none"
            case str():
                yield path, value
            case _:
                yield path, msgspec.json.encode(value).decode()


def template_context(notification: Notification, *, for_people: bool) -> Mapping[str, object]:
    """Return the values that a template may use for a notification, by name.

    ``for_people``: every text that others chose is escaped, and times are to the second.
    """
    return build_context(
        notification,
        headline(notification, TEMPLATE_HEADLINE_MAX),
        get_included(notification) or Included(),
        escape_unprintable if for_people else str,
        format_second if for_people else format_rfc3339,
    )


def _describe_host(event: Event) -> str:
    """Return the host, and the engine if its name says more."""
    if event.engine in ("", event.host, DEFAULT_ENGINE):
        return event.host
    return f"{event.host} (engine “{event.engine}”)"


class Opening(NamedTuple):
    """What opened an incident. It never changes, so keys and labels at services are made of it."""

    route: str
    event: Event
    severity: Severity


class Card(msgspec.Struct, frozen=True):
    """Headline, facts, container output and notes. Any of these texts may be hostile."""

    notification: Notification
    custom_title: Pieces = ()
    """The headline of the configuration."""
    custom_text: Pieces = ()
    """The text of the configuration, which replaces the facts; it may have line breaks."""

    @property
    def event(self) -> Event:
        """The first event of the notification."""
        return self.notification.events[0]

    @property
    def incident(self) -> IncidentReport | None:
        """The first incident that the notification tells of; None if it tells of events alone."""
        update = self.notification.update
        return update.incidents[0] if update is not None and update.incidents else None

    @property
    def opening(self) -> Opening | None:
        """How the `incident` was opened; None without one, or if the destination needs no key."""
        report = self.incident
        if report is None or report.opening_event is None:
            return None
        severity = report.opening_severity or report.severity
        return Opening(report.opening_route, report.opening_event, severity)

    @property
    def time(self) -> str:
        """The time of the event, in UTC to the second: ``2026-11-23T07:29:49Z``."""
        return format_second(self.event.time_ns)

    @property
    def readable_time(self) -> str:
        """The time of the event for people: ``2026-11-23 07:29:49 UTC``."""
        return self.time.replace("T", " ").replace("Z", " UTC")

    @property
    def precise_time(self) -> str:
        """The time of the event, in UTC to the millisecond: ``2026-11-23T07:29:49.176Z``."""
        return f"{format_rfc3339(self.event.time_ns)[:23]}Z"

    @property
    def severity(self) -> Severity:
        """The severity of the notification."""
        return resolve_severity(self.notification)

    @property
    def is_resolved(self) -> bool:
        """Whether the trouble is over."""
        return self.notification.status is Status.RESOLVED

    @property
    def emoji(self) -> str:
        """An emoji that shows the severity, or that the trouble is over."""
        return self._style[0]

    @property
    def colour(self) -> str:
        """A colour that shows the same, as ``#rrggbb``."""
        return self._style[1]

    @property
    def _style(self) -> tuple[str, str]:
        return _RESOLVED_STYLE if self.is_resolved else _STYLES[self.severity]

    def title(self, limit: int, escapes: Escapes = PLAIN) -> str:
        """Return the headline on one line, in at most ``limit`` UTF-16 units: see `headline`."""
        return join(self.title_pieces(limit, escapes))

    def title_pieces(self, limit: int, escapes: Escapes = PLAIN) -> list[Piece]:
        """Return the `title` in pieces, for services that write each kind differently."""
        if custom := to_line(self.custom_title):
            return fit(custom, limit, escapes)
        return [Piece(PieceKind.FILLED, headline(self.notification, limit, escapes.filled))]

    @property
    def body(self) -> Pieces:
        """The `custom_text`; empty if it would show nothing."""
        return self.custom_text if join(self.custom_text).strip() else ()

    def body_pieces(self, limit: int, escapes: Escapes = PLAIN) -> list[Piece]:
        """Return the `body` escaped, in at most ``limit`` UTF-16 units."""
        return fit(self.body, limit, escapes)

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The most important facts as names and values; none if there is a `body`."""
        return [] if self.body else self.all_facts

    @property
    def all_facts(self) -> list[tuple[str, str]]:
        """The most important facts, even if there is a `body`."""
        event, labels = self.event, self.event.actor.attributes
        compose = [labels.get(f"com.docker.compose.{part}") for part in ("project", "service")]
        known = [
            ("Host", _describe_host(event)),
            *((change.name, change.values) for change in find_changes(event)),
            ("Container", find_container(event)),
            ("Reclaimed", find_reclaimed(event)),
            ("Error", find_error(event)),
            ("Image", describe_image(event.actor.image or "")),
            ("Compose service", " / ".join(part for part in compose if part)),
            ("Swarm service", labels.get("com.docker.swarm.service.name")),
            ("Exit code", None if event.exit_code is None else describe_exit_code(event.exit_code)),
            ("Cause", event.cause),
        ]
        return [(name, value) for name, value in known if value]

    def fit_facts(
        self, each: int, escape: Callable[[str], str] = escape_unprintable
    ) -> list[tuple[str, str]]:
        """Return the `facts`, each value in at most ``each`` UTF-16 units; no value is blank."""
        return [(name, truncate_or_blank(value, each, escape)) for name, value in self.facts]

    @property
    def inspect_fields(self) -> list[tuple[str, str]]:
        """The inspect fields of the route's ``include``, as paths and values."""
        included = get_included(self.notification)
        return [] if included is None else list(format_inspect_fields(included))

    def share_inspect(self, total: int) -> int:
        """Return how much of ``total`` each of the `inspect_fields` may take."""
        return total // max(1, len(self.inspect_fields))

    def inspect_lines(self, each: int) -> list[str]:
        """Return a line for each inspect field, whose path takes at most half of ``each``.

        The line itself is not truncated yet, nor is its value escaped.
        """
        return [f"{truncate(path, each // 2)}: {value}" for path, value in self.inspect_fields]

    def fit_inspect_fields(
        self, total: int, each: int, escape: Callable[[str], str] = escape_unprintable
    ) -> list[tuple[str, str]]:
        """Return the `inspect_fields`, truncated.

        A path and its value take at most ``each`` UTF-16 units, all fields together ``total``. A
        path takes at most half of its share. `BLANK` replaces a value that would show nothing.
        """
        limit = min(each, self.share_inspect(total))
        fields = []
        for path, value in self.inspect_fields:
            name = truncate_or_blank(path, limit // 2, escape)
            fields.append((name, truncate_or_blank(value, limit - utf16_length(name), escape)))
        return fields

    @property
    def output(self) -> list[tuple[str, str]]:
        """What the container printed, as titles and texts with line breaks; no text is blank."""
        included = get_included(self.notification)
        if included is None:
            return []
        texts = [(LOGS, "\n".join(included.logs or ())), (HEALTH, included.health or "")]
        return [(title, text) for title, text in texts if text.strip()]

    @property
    def notes(self) -> list[str]:
        """Short notes that lead back to the configuration and the event."""
        included = get_included(self.notification)
        suppressed = self.notification.suppressed
        notes = [
            f"route {self.notification.route}",
            self.event.id[:EVENT_ID_MAX],
            _ORIGINS[self.event.origin],
            f"{suppressed} held back" if suppressed else "",
            f"not included: {included.missing}" if included and included.missing else "",
        ]
        return [note for note in notes if note]
