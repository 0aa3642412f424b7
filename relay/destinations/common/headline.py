"""What happened, in the words of a person: the same sentence in every chat and on the terminal."""

import signal
from collections.abc import Callable

from relay.core.event import TYPE_RELAY, Cause, Event
from relay.core.notification import Notification, Status
from relay.core.text import escape_unprintable, truncate

SUBJECT_MAX = 90
"""A name is cut to this, so that a long one never pushes out what happened to it."""
PREDICATE_MAX = 120
"""What is said of it, likewise."""

# By type, then by action and, where it decides, the cause or the health. Of an `oom` the container
# may survive: the kernel killed a process in it, not always the first one.
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


def describe_event(event: Event) -> str:
    """One printable line without a full stop, as in ``web-1 crashed with exit code 3``.

    At most `SUBJECT_MAX` + `SAID_MAX` + 1 UTF-16 units, whatever the event holds. Types and actions
    without words of their own are said as the engine says them: ``network n1: connect``.
    """
    words = _PREDICATES.get(event.type, {})
    template = words.get((event.action, event.cause or event.health)) or words.get(
        (event.action, None)
    )
    if template is None:
        subject = f"{event.type} {_subject_name(event)}".rstrip() + ":"
        template = "{action}: {detail}" if event.detail else "{action}"
    else:
        subject = TYPE_RELAY if event.type == TYPE_RELAY else _subject_name(event) or "a container"
    return f"{truncate(subject, SUBJECT_MAX)} {truncate(template.format_map(_placeholders(event)), PREDICATE_MAX)}"


def headline(
    notification: Notification, limit: int, escape: Callable[[str], str] = escape_unprintable
) -> str:
    """The `sentence` of the first event, whether it is over, and how many more there are.

    At most ``limit`` UTF-16 units (at least 60) of the characters that ``spell`` writes: see
    `relay.core.text.truncate`.
    """
    over = "Resolved: " if notification.status is Status.RESOLVED else ""
    more = f" (and {notification.count - 1} more)" if notification.count > 1 else ""
    room = limit - len(over) - len(more)
    return over + truncate(describe_event(notification.events[0]), room, escape) + more


def describe_exit_code(code: int) -> str:
    """An exit code and, for 128 + n, the signal that it stands for: ``137 (SIGKILL)``.

    Engines get it from containerd (``pkg/sys/reaper``, ``exitSignalOffset``), shells do the same.
    """
    try:
        return f"{code} ({signal.Signals(code - 128).name})"
    except ValueError:
        return str(code)


def _subject_name(event: Event) -> str:
    return event.actor.name or event.actor.id.removeprefix("sha256:")[:12]


def _placeholders(event: Event) -> dict[str, str]:
    attributes = event.actor.attributes
    reason = attributes.get("reason")
    return {
        "action": event.action,
        "command": (event.detail or "").strip() or "a command",
        "destination": attributes.get("destination", "a destination"),
        "detail": event.detail or "",
        "engine": attributes.get("engine") or event.engine,
        "exit": ""
        if event.exit_code is None
        else f" with exit code {describe_exit_code(event.exit_code)}",
        "health": event.health or event.detail or "unknown",
        "old_name": attributes.get("oldName", "another name").removeprefix("/"),
        "reason": f": {reason}" if reason else "",
        "signal": _signal_name(event.signal),
    }


def _signal_name(number: int | None) -> str:
    if number is None:  # Podman does not say which
        return "a signal"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
