"""What a notification says to a person, before any vendor's form and limits."""

from collections.abc import Callable
from dataclasses import dataclass

from relay.core.event import Event, Origin, format_rfc3339
from relay.core.notification import Notification, Severity, Status, resolve_severity
from relay.core.text import escape_unprintable, truncate, truncate_or_blank, utf16_length
from relay.destinations.common.headline import describe_exit_code, headline
from relay.destinations.common.included import format_inspect_fields, get_included

LOGS = "Last log lines"
HEALTH = "Last health check"
"""What is printed, by its title."""

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


@dataclass(frozen=True, slots=True)
class Card:
    """Headline, facts, what was printed and small print; all of it in other people's words."""

    notification: Notification
    custom_title: str | None = None
    """The headline that the configuration makes."""
    custom_text: str | None = None
    """What the configuration says in place of the facts; may have line breaks."""

    @property
    def event(self) -> Event:
        """The first that it tells of."""
        return self.notification.events[0]

    @property
    def time(self) -> str:
        """When that happened, in UTC to the second: ``2026-11-23T07:29:49Z``."""
        return f"{format_rfc3339(self.event.time_ns)[:19]}Z"

    @property
    def readable_time(self) -> str:
        """Likewise, for those who do not read ISO 8601: ``2026-11-23 07:29:49 UTC``."""
        return self.time.replace("T", " ").replace("Z", " UTC")

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return resolve_severity(self.notification)

    @property
    def is_resolved(self) -> bool:
        """Whether it is over."""
        return self.notification.status is Status.RESOLVED

    @property
    def emoji(self) -> str:
        """One that shows the severity, or that it is over."""
        return self._style[0]

    @property
    def colour(self) -> str:
        """Likewise, as ``#rrggbb``."""
        return self._style[1]

    @property
    def _style(self) -> tuple[str, str]:
        return _RESOLVED_STYLE if self.is_resolved else _STYLES[self.severity]

    def title(self, limit: int, escape: Callable[[str], str] = escape_unprintable) -> str:
        """The headline on one line, in at most ``limit`` UTF-16 units: see `headline`."""
        lines = (line.strip() for line in (self.custom_title or "").splitlines())
        if given := " ".join(line for line in lines if line):
            return truncate(given, limit, escape)
        return headline(self.notification, limit, escape)

    @property
    def body(self) -> str:
        """The ``text`` where it shows something, else nothing."""
        return self.custom_text if self.custom_text and self.custom_text.strip() else ""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What somebody needs first, by name; nothing where the ``text`` says it."""
        return [] if self.body else self.all_facts

    @property
    def all_facts(self) -> list[tuple[str, str]]:
        """The same, whatever the ``text`` is."""
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
        """The inspect fields that the route asks for, by path."""
        told = get_included(self.notification)
        return [] if told is None else list(format_inspect_fields(told))

    def fit_inspect_fields(
        self, total: int, each: int, escape: Callable[[str], str] = escape_unprintable
    ) -> list[tuple[str, str]]:
        """The `inspected`, cut: a name with its value to ``each`` units, all to ``together``.

        A name has at most half of that. What would show nothing says so.
        """
        inspected = self.inspect_fields
        room = min(each, total // max(1, len(inspected)))
        fields = []
        for path, value in inspected:
            name = truncate_or_blank(path, room // 2, escape)
            fields.append((name, truncate_or_blank(value, room - utf16_length(name), escape)))
        return fields

    @property
    def output(self) -> list[tuple[str, str]]:
        """What the container printed: titles and texts with line breaks, none of them blank."""
        told = get_included(self.notification)
        if told is None:
            return []
        texts = [
            (LOGS, "\n".join(told.logs or ())),
            (HEALTH, told.health or ""),
        ]
        return [(title, text) for title, text in texts if text.strip()]

    @property
    def notes(self) -> list[str]:
        """The small print: what leads back to the configuration and the event."""
        told = get_included(self.notification)
        suppressed = self.notification.suppressed
        said = [
            f"route {self.notification.route}",
            self.event.id,
            _ORIGINS[self.event.origin],
            f"{suppressed} held back" if suppressed else "",
            f"not included: {told.missing}" if told and told.missing else "",
        ]
        return [words for words in said if words]


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
