"""The words that a match can compare with, and whether a text is probably a mistyped one."""

import fnmatch
from collections.abc import Collection, Mapping

from relay.config.errors import did_you_mean, find_closest
from relay.core.event import TYPE_RELAY, Cause, Origin

FIELDS: Mapping[str, str] = {
    "engine": "The engine's name in this file.",
    "host": "The name that people know the engine by.",
    "type": "``container``, ``image``, ``volume``, ``network`` …; ``relay`` for relay's own.",
    "action": "``die``, ``oom``, ``health_status`` …, whatever its detail; or with it, as in "
    "``health_status: unhealthy``.",
    "detail": "What stands behind the action's colon.",
    "scope": "``local`` or ``swarm``.",
    "id": "That of the container, or of whatever the event is about.",
    "name": "That of the container, or of whatever the event is about.",
    "image": "That of the container.",
    "label": "Names of labels, and what each has to be.",
    "attribute": "Names of the engine's attributes, and what each has to be.",
    "exit_code": '``137``, ``"1-125"``, ``">=128"``, ``"<2"``.',
    "signal": "``9``, ``SIGKILL``, ``kill``.",
    "cause": "Of a ``die``: ``requested`` (somebody asked: stop, restart, kill, rm -f), ``oom``, "
    "``crashed`` (non-zero, nobody asked), ``finished`` (zero, nobody asked), ``unknown`` (what is "
    "known does not tell: a stop may have been missed in a gap).",
    "health": "``healthy``, ``unhealthy``.",
    "origin": "``live``, ``replayed`` (from the engine's history), ``inferred`` (no event told of "
    "it).",
}
"""What a match can be about, and what it means."""

FIXED_VALUES: Mapping[str, tuple[str, ...]] = {
    "cause": tuple(cause.value for cause in Cause),
    "origin": tuple(origin.value for origin in Origin),
    "scope": ("local", "swarm"),
}
"""Fields whose values are relay's own or fixed: a pattern that fits none of them is a mistake."""

_TYPES = (
    # https://docs.docker.com/reference/api/engine/, "Monitor events"
    *("container", "image", "volume", "network", "daemon", "plugin", "node", "service"),
    *("secret", "config", "builder"),
    TYPE_RELAY,
)
_ACTIONS = (
    # the same page, and moby's api/types/events/events.go for what it leaves out
    *("attach", "commit", "connect", "copy", "create", "delete", "destroy", "detach", "die"),
    *("disable", "disconnect", "enable", "exec_create", "exec_detach", "exec_die", "exec_start"),
    *("export", "health_status", "import", "install", "kill", "load", "mount", "oom", "pause"),
    *("prune", "pull", "push", "reload", "remove", "rename", "resize", "restart", "save", "start"),
    *("stop", "tag", "top", "unmount", "unpause", "untag", "update", "upgrade"),
    *("archive-path", "extract-to-dir"),
    # Podman's own
    *("init", "cleanup", "exec", "exec_died", "loadfromarchive"),
    # relay's own
    *("started", "stopped", "gap", "engine_lost", "engine_back", "destination_failing"),
    *("destination_recovered", "dead_letter", "heartbeat"),
)
KNOWN_VALUES: Mapping[str, tuple[str, ...]] = {
    "type": _TYPES,
    "action": _ACTIONS,
    "health": ("healthy", "unhealthy", "starting", "running"),
}
"""Fields to which engines add values: only what is nearly a known one is a mistake."""

_TYPO_CUTOFF = 0.75
"""How like a known word (difflib's ratio) another must be to be taken for a slip."""


def check_value(field: str, text: str, engines: Collection[str] | None) -> None:
    """Raise `ValueError` for a glob that can match nothing that ``field`` ever holds.

    ``engines`` are the names that the configuration gives; None where they are not known. The
    words go on after the value and do not hold it.
    """
    if field in FIXED_VALUES:
        _check_fixed(field, text)
    elif field == "engine" and engines is not None:
        if _is_plain(text) and text not in engines:
            raise ValueError(f"is not an engine that is configured{did_you_mean(text, engines)}")
    elif field in KNOWN_VALUES:
        _check_known(field, text.partition(": ")[0] if field == "action" else text)


def _check_fixed(field: str, text: str) -> None:
    known = FIXED_VALUES[field]
    if any(fnmatch.fnmatchcase(word, text) for word in known):
        return
    choice = did_you_mean(text, known) or f": there are {', '.join(known)}"
    raise ValueError(f"matches no {field}{choice}")


def _check_known(field: str, text: str) -> None:
    known = KNOWN_VALUES[field]
    if not _is_plain(text) or text in known:
        return
    if find_closest(text, known, cutoff=_TYPO_CUTOFF):
        raise ValueError(f"is not a known {field}{did_you_mean(text, known)}")


def _is_plain(text: str) -> bool:
    return not any(mark in text for mark in "*?[")
