"""The content of a message for people, before a service formats and truncates it.

A `Card` is the whole content: headline, facts, container output and notes. Its parts are here too:
`headline` and `describe_event` say in one sentence what happened, the same in every chat and on the
terminal; `get_included` and `format_inspect_fields` read what the route includes; and
`template_context` has the values from which the texts of the configuration are rendered.
"""

import signal
from collections.abc import Callable, Iterator, Mapping

import msgspec

from relay.config.templates.context import build_context
from relay.core.event import TYPE_RELAY, Cause, Event, Origin, format_rfc3339
from relay.core.notification import Included, Notification, Severity, Status, resolve_severity
from relay.core.text import escape_unprintable, truncate, truncate_or_blank, utf16_length

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

SUBJECT_MAX = 90
"""The UTF-16 units of a name, so that a long name never hides what happened."""
PREDICATE_MAX = 120
"""The UTF-16 units of what happened."""
TEMPLATE_HEADLINE_MAX = 200
"""The UTF-16 units of the ``headline`` that templates may use."""

# By type, then by action and, if the sentence depends on it, by cause or health. A container may
# survive an `oom`: the kernel killed one of its processes, not always the first one.
_PREDICATES: dict[str, dict[tuple[str, str | None], str]] = {
    "container": {
        ("attach", None): "was attached to",
        ("create", None): "was created",
        ("destroy", None): "was removed",
        ("die", Cause.CRASHED): "crashed{exit}",
        ("die", Cause.FINISHED): "finished{exit}",
        ("die", Cause.OOM): "was killed for memory (OOM)",
        ("die", Cause.REQUESTED): "was stopped{exit}",
        ("die", None): "ended{exit}",
        ("exec_create", None): "was asked to run {command}",
        ("exec_die", None): "ended a command{exit}",
        ("exec_start", None): "runs {command}",
        ("health_status", "healthy"): "is healthy",
        ("health_status", "unhealthy"): "is unhealthy",
        ("health_status", None): "reports its health: {health}",
        ("kill", None): "was sent {signal}",
        ("oom", None): "ran out of memory (OOM)",
        ("pause", None): "was paused",
        ("remove", None): "was removed",
        ("rename", None): "was renamed from {old_name}",
        ("restart", None): "was restarted",
        ("start", None): "started",
        ("stop", None): "was stopped",
        ("unpause", None): "was unpaused",
        ("update", None): "was updated",
    },
    TYPE_RELAY: {
        ("dead_letter", None): "gave up deliveries to {destination}{reason}",
        ("destination_failing", None): "cannot deliver to {destination}{reason}",
        ("destination_recovered", None): "delivers to {destination} again{reason}",
        ("engine_back", None): "sees engine {engine} again{reason}",
        ("engine_lost", None): "lost engine {engine}{reason}",
        ("gap", None): "may have missed events of engine {engine}{reason}",
        ("heartbeat", None): "is alive",
        ("started", None): "started{reason}",
        ("stopped", None): "stopped{reason}",
        ("test", None): "is testing this destination",
    },
}


def get_included(notification: Notification) -> Included | None:
    """Return the data of the route's ``include``; None if the route has no ``include``."""
    if notification.include is None:
        return None
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


def describe_event(event: Event) -> str:
    """Return one printable line without a full stop, as in ``web-1 crashed with exit code 3``.

    It has at most `SUBJECT_MAX` + `PREDICATE_MAX` + 1 UTF-16 units. Types and actions that
    `_PREDICATES` does not have stay as the engine names them: ``network n1: connect``.
    """
    name = event.actor.name or event.actor.id.removeprefix("sha256:")[:12]
    predicates = _PREDICATES.get(event.type, {})
    specific = predicates.get((event.action, event.cause or event.health))
    template = specific or predicates.get((event.action, None))
    if template is None:
        subject = f"{event.type} {name}".rstrip() + ":"
        template = "{action}: {detail}" if event.detail else "{action}"
    else:
        subject = TYPE_RELAY if event.type == TYPE_RELAY else name or "a container"
    predicate = template.format_map(_placeholders(event))
    return f"{truncate(subject, SUBJECT_MAX)} {truncate(predicate, PREDICATE_MAX)}"


def _placeholders(event: Event) -> dict[str, str]:
    attributes = event.actor.attributes
    code, reason = event.exit_code, attributes.get("reason")
    return {
        "action": event.action,
        "command": (event.detail or "").strip() or "a command",
        "destination": attributes.get("destination", "a destination"),
        "detail": event.detail or "",
        "engine": attributes.get("engine") or event.engine,
        "exit": "" if code is None else f" with exit code {describe_exit_code(code)}",
        "health": event.health or event.detail or "unknown",
        "old_name": attributes.get("oldName", "another name").removeprefix("/"),
        "reason": f": {reason}" if reason else "",
        # Podman does not name the signal
        "signal": "a signal" if event.signal is None else describe_signal(event.signal),
    }


def describe_signal(number: int) -> str:
    """Return the name of a signal, as in ``SIGKILL``; ``signal 99`` for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_exit_code(code: int) -> str:
    """Return an exit code and, for 128 + n, the signal that it stands for: ``137 (SIGKILL)``.

    Engines get the code from containerd (``pkg/sys/reaper``, ``exitSignalOffset``); shells use the
    same offset.
    """
    try:
        return f"{code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return str(code)


def headline(
    notification: Notification, limit: int, escape: Callable[[str], str] = escape_unprintable
) -> str:
    """Describe the first event, and add whether the trouble is over and how many events follow.

    Returns at most ``limit`` UTF-16 units; ``limit`` is at least 60. ``escape`` is the parameter of
    `relay.core.text.truncate`.
    """
    over = "Resolved: " if notification.status is Status.RESOLVED else ""
    more = f" (and {notification.count - 1} more)" if notification.count > 1 else ""
    rest = limit - len(over) - len(more)
    return over + truncate(describe_event(notification.events[0]), rest, escape) + more


def template_context(
    notification: Notification, escape: Callable[[str], str] = str
) -> Mapping[str, object]:
    """Return the values that a template may use for a notification, by name.

    ``escape`` is applied to every text that others chose.
    """
    return build_context(
        notification,
        headline(notification, TEMPLATE_HEADLINE_MAX),
        get_included(notification) or Included(),
        escape,
    )


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
        event, labels = self.event, self.event.actor.attributes
        compose = [labels.get(f"com.docker.compose.{part}") for part in ("project", "service")]
        at = "" if event.engine in ("", event.host) else f" (engine “{event.engine}”)"
        known = [
            ("Host", f"{event.host}{at}"),
            ("Image", event.actor.image),
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
            self.event.id,
            _ORIGINS[self.event.origin],
            f"{suppressed} held back" if suppressed else "",
            f"not included: {included.missing}" if included and included.missing else "",
        ]
        return [note for note in notes if note]
