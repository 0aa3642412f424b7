"""The content of a message for people, before a service formats and truncates it."""

from collections.abc import Callable

import msgspec

from relay.core.event import Event, Origin, format_rfc3339
from relay.core.notification import Notification, Severity, Status, resolve_severity
from relay.core.text import escape_unprintable, truncate, truncate_or_blank, utf16_length
from relay.destinations.common.headline import describe_exit_code, headline
from relay.destinations.common.included import format_inspect_fields, get_included

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


class Card(msgspec.Struct, frozen=True):
    """Headline, facts, container output and notes. Any of these texts may be hostile."""

    notification: Notification
    custom_title: str | None = None
    """The headline of the configuration."""
    custom_text: str | None = None
    """The text of the configuration, which replaces the facts; it may have line breaks."""

    @property
    def event(self) -> Event:
        """The first event of the notification."""
        return self.notification.events[0]

    @property
    def time(self) -> str:
        """The time of the event, in UTC to the second: ``2026-11-23T07:29:49Z``."""
        return f"{format_rfc3339(self.event.time_ns)[:19]}Z"

    @property
    def readable_time(self) -> str:
        """The time of the event for people: ``2026-11-23 07:29:49 UTC``."""
        return self.time.replace("T", " ").replace("Z", " UTC")

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

    def title(self, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
        """Return the headline on one line, in at most ``limit`` UTF-16 units: see `headline`."""
        lines = (line.strip() for line in (self.custom_title or "").splitlines())
        if custom := " ".join(line for line in lines if line):
            return truncate(custom, limit, escape)
        return headline(self.notification, limit, escape)

    @property
    def body(self) -> str:
        """The `custom_text`; empty if it would show nothing."""
        return self.custom_text if self.custom_text and self.custom_text.strip() else ""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The most important facts as names and values; none if there is a `body`."""
        return [] if self.body else self.all_facts

    @property
    def all_facts(self) -> list[tuple[str, str]]:
        """The most important facts, even if there is a `body`."""
        event = self.event
        known = [
            ("Host", _host(event)),
            ("Image", event.actor.image),
            *_orchestrator(event),
            ("Exit code", None if event.exit_code is None else describe_exit_code(event.exit_code)),
            ("Cause", event.cause),
        ]
        return [(name, value) for name, value in known if value]

    @property
    def inspect_fields(self) -> list[tuple[str, str]]:
        """The inspect fields of the route's ``include``, as paths and values."""
        included = get_included(self.notification)
        return [] if included is None else list(format_inspect_fields(included))

    def fit_inspect_fields(
        self, total: int, each: int, escape: Callable[[str], str] = escape_unprintable
    ) -> list[tuple[str, str]]:
        """Return the `inspect_fields`, truncated.

        A path and its value take at most ``each`` UTF-16 units, all fields together ``total``. A
        path takes at most half of its share. `BLANK` replaces a value that would show nothing.
        """
        limit = min(each, total // max(1, len(self.inspect_fields)))
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
            self.event.id,
            _ORIGINS[self.event.origin],
            f"{suppressed} held back" if suppressed else "",
            f"not included: {included.missing}" if included and included.missing else "",
        ]
        return [note for note in notes if note]


def _host(event: Event) -> str:
    if event.engine in ("", event.host):
        return event.host
    return f"{event.host} (engine “{event.engine}”)"


def _orchestrator(event: Event) -> list[tuple[str, str]]:
    labels = event.actor.attributes
    project = labels.get("com.docker.compose.project", "")
    service = labels.get("com.docker.compose.service", "")
    return [
        ("Compose service", " / ".join(part for part in (project, service) if part)),
        ("Swarm service", labels.get("com.docker.swarm.service.name", "")),
    ]
