"""Describes an event in one sentence, which is the same in every chat and on the terminal."""

import signal
from collections.abc import Callable

from relay.core.event import TYPE_RELAY, Cause, Event
from relay.core.notification import Notification, Status
from relay.core.text import escape_unprintable, truncate

SUBJECT_MAX = 90
"""The UTF-16 units of a name, so that a long name never hides what happened."""
PREDICATE_MAX = 120
"""The UTF-16 units of what happened."""

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


def describe_event(event: Event) -> str:
    """Return one printable line without a full stop, as in ``web-1 crashed with exit code 3``.

    It has at most `SUBJECT_MAX` + `PREDICATE_MAX` + 1 UTF-16 units. Types and actions that
    `_PREDICATES` does not have stay as the engine names them: ``network n1: connect``.
    """
    predicates = _PREDICATES.get(event.type, {})
    specific = predicates.get((event.action, event.cause or event.health))
    template = specific or predicates.get((event.action, None))
    if template is None:
        subject = f"{event.type} {_subject_name(event)}".rstrip() + ":"
        template = "{action}: {detail}" if event.detail else "{action}"
    else:
        subject = TYPE_RELAY if event.type == TYPE_RELAY else _subject_name(event) or "a container"
    predicate = template.format_map(_placeholders(event))
    return f"{truncate(subject, SUBJECT_MAX)} {truncate(predicate, PREDICATE_MAX)}"


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


def describe_exit_code(code: int) -> str:
    """Return an exit code and, for 128 + n, the signal that it stands for: ``137 (SIGKILL)``.

    Engines get the code from containerd (``pkg/sys/reaper``, ``exitSignalOffset``); shells use the
    same offset.
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
        "exit": _exit_code_suffix(event.exit_code),
        "health": event.health or event.detail or "unknown",
        "old_name": attributes.get("oldName", "another name").removeprefix("/"),
        "reason": f": {reason}" if reason else "",
        "signal": _signal_name(event.signal),
    }


def _exit_code_suffix(code: int | None) -> str:
    return "" if code is None else f" with exit code {describe_exit_code(code)}"


def _signal_name(number: int | None) -> str:
    if number is None:  # Podman does not name the signal
        return "a signal"
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
