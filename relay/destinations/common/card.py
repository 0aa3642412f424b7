"""What a notification says to a person, before any vendor's form and limits."""

from collections.abc import Callable
from dataclasses import dataclass

from relay.core.event import Event, Origin, rfc3339
from relay.core.notification import Notification, Severity, Status, severity
from relay.core.text import fit, fit_shown, units, visible
from relay.destinations.common.headline import exit_code, headline
from relay.destinations.common.included import facts, included

LOGS = "Last log lines"
HEALTH = "Last health check"
"""What is printed, by its title."""

_LOOKS = {  # emoji and colour
    Severity.CRITICAL: ("🔴", "#d0021b"),
    Severity.WARNING: ("🟠", "#f5a623"),
    Severity.INFO: ("🔵", "#439fe0"),
}
_LOOK_RESOLVED = ("🟢", "#2eb886")
_ORIGINS = {
    Origin.LIVE: "",
    Origin.REPLAYED: "replayed from the engine's history",
    Origin.INFERRED: "found by comparing containers: the engine sent no event",
}


@dataclass(frozen=True, slots=True)
class Card:
    """Headline, facts, what was printed and small print; all of it in other people's words."""

    notification: Notification
    given_title: str | None = None
    """The headline that the configuration makes."""
    text: str | None = None
    """What the configuration says in place of the facts; may have line breaks."""

    @property
    def event(self) -> Event:
        """The first that it tells of."""
        return self.notification.events[0]

    @property
    def time(self) -> str:
        """When that happened, in UTC to the second: ``2026-11-23T07:29:49Z``."""
        return f"{rfc3339(self.event.time_ns)[:19]}Z"

    @property
    def readable_time(self) -> str:
        """Likewise, for those who do not read ISO 8601: ``2026-11-23 07:29:49 UTC``."""
        return self.time.replace("T", " ").replace("Z", " UTC")

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return severity(self.notification)

    @property
    def resolved(self) -> bool:
        """Whether it is over."""
        return self.notification.status is Status.RESOLVED

    @property
    def emoji(self) -> str:
        """One that shows the severity, or that it is over."""
        return self._look[0]

    @property
    def colour(self) -> str:
        """Likewise, as ``#rrggbb``."""
        return self._look[1]

    @property
    def _look(self) -> tuple[str, str]:
        return _LOOK_RESOLVED if self.resolved else _LOOKS[self.severity]

    def title(self, limit: int, spell: Callable[[str], str] = visible) -> str:
        """The headline on one line, in at most ``limit`` UTF-16 units: see `headline`."""
        lines = (line.strip() for line in (self.given_title or "").splitlines())
        if given := " ".join(line for line in lines if line):
            return fit(given, limit, spell)
        return headline(self.notification, limit, spell)

    @property
    def said(self) -> str:
        """The ``text`` where it shows something, else nothing."""
        return self.text if self.text and self.text.strip() else ""

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What somebody needs first, by name; nothing where the ``text`` says it."""
        return [] if self.said else self.all_facts

    @property
    def all_facts(self) -> list[tuple[str, str]]:
        """The same, whatever the ``text`` is."""
        event = self.event
        known = [
            ("Host", _host(event)),
            ("Image", event.actor.image),
            *_orchestrator(event),
            ("Exit code", None if event.exit_code is None else exit_code(event.exit_code)),
            ("Cause", event.cause),
        ]
        return [(name, value) for name, value in known if value]

    @property
    def inspected(self) -> list[tuple[str, str]]:
        """The inspect fields that the route asks for, by path."""
        told = included(self.notification)
        return [] if told is None else list(facts(told))

    def inspect_fields(
        self, together: int, each: int, spell: Callable[[str], str] = visible
    ) -> list[tuple[str, str]]:
        """The `inspected`, cut: a name with its value to ``each`` units, all to ``together``.

        A name has at most half of that. What would show nothing says so.
        """
        inspected = self.inspected
        room = min(each, together // max(1, len(inspected)))
        fields = []
        for path, value in inspected:
            name = fit_shown(path, room // 2, spell)
            fields.append((name, fit_shown(value, room - units(name), spell)))
        return fields

    @property
    def printed(self) -> list[tuple[str, str]]:
        """What the container printed: titles and texts with line breaks, none of them blank."""
        told = included(self.notification)
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
        told = included(self.notification)
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
