"""The match of a route as a tree of values, with the fields and the values that it may name.

`relay.config.match_parser` reads it, and `relay.routing` evaluates it.
"""

import fnmatch
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from relay.config.errors import did_you_mean, find_closest
from relay.core.event import TYPE_RELAY, Cause, Origin


class Glob(msgspec.Struct, frozen=True):
    """A case-sensitive glob with ``*``, ``?``, ``[abc]``, ``[a-z]`` and ``[!abc]``."""

    text: str


class Regex(msgspec.Struct, frozen=True):
    """A regular expression that has to match the whole text: see `relay.config.regex`."""

    text: str


class Range(msgspec.Struct, frozen=True):
    """A range of whole numbers, both ends included. None leaves that end open."""

    low: int | None
    high: int | None


class Exists(msgspec.Struct, frozen=True):
    """Matches if a value is there (``expected`` is True) or absent (False)."""

    expected: bool


class Not(msgspec.Struct, frozen=True):
    """Matches if none of the patterns does."""

    patterns: "tuple[Pattern, ...]"


Pattern = Glob | Regex | Range | Exists | Not


class Field(msgspec.Struct, frozen=True):
    """A field of an event, and its patterns. At least one of them has to match."""

    name: str
    """``type``, ``exit_code``, ``label`` …, as in the configuration."""
    key: str | None
    """The name of the label or attribute; None for other fields."""
    patterns: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """Matches if all of its parts do; an empty one matches every event."""

    fields: tuple[Field, ...] = ()
    any: "tuple[Match, ...]" = ()
    """At least one of these has to match, unless the tuple is empty."""
    all: "tuple[Match, ...]" = ()
    not_: "Match | None" = None


FIELDS: Mapping[str, str] = {
    "engine": "The engine's name in this file.",
    "host": "The host name of the engine.",
    "type": "``container``, ``image``, ``volume``, ``network`` …; ``relay`` for relay's own.",
    "action": "``die``, ``oom``, ``health_status`` …, whatever its detail; or with it, as in "
    "``health_status: unhealthy``.",
    "detail": "The text after the colon of the action.",
    "scope": "``local`` or ``swarm``.",
    "id": "The id of the container, or of another object that the event is about.",
    "name": "The name of the container, or of another object that the event is about.",
    "image": "The image of the container.",
    "label": "Names of labels, each with the patterns for its value.",
    "attribute": "Names of the engine's attributes, each with the patterns for its value.",
    "exit_code": '``137``, ``"1-125"``, ``">=128"``, ``"<2"``.',
    "signal": "``9``, ``SIGKILL``, ``kill``.",
    "cause": "Of a ``die``: ``requested`` (somebody asked: stop, restart, kill, rm -f), ``oom``, "
    "``crashed`` (non-zero, nobody asked), ``finished`` (zero, nobody asked), ``unknown`` (relay "
    "cannot tell: it may have missed a stop in a gap).",
    "health": "``healthy``, ``unhealthy``.",
    "interactive": "``true`` if the container was started in the foreground with a terminal "
    "(``docker run -it``), or is an intermediate container of a build: somebody sees how it ends. "
    "``false`` if not, and if relay cannot find out.",
    "origin": "``live``, ``replayed`` (from the engine's history), ``inferred`` (found by "
    "inspecting containers, without an event).",
}
"""The fields of a match and their descriptions, for the schema."""

SILENCE_FIELDS: Mapping[str, str] = {
    **FIELDS,
    "project": "The compose project, else the stack of the Swarm, else the name.",
    "service": "The service of compose or of the Swarm, else the name.",
    "route": "The name of the route that takes the event.",
}
"""The fields of a silence's match and their descriptions."""

MAPPING_FIELDS = ("label", "attribute")
"""Fields whose value is a mapping of names to patterns."""

NOT_LABELS = ("image", "name")
"""Attributes that are never a label: the engine overwrites labels of these names."""

NUMBER_FIELDS = ("exit_code", "signal")
"""Fields with numbers: their patterns are ranges, not globs."""

FIXED_VALUES: Mapping[str, tuple[str, ...]] = {
    "cause": tuple(cause.value for cause in Cause),
    "interactive": ("true", "false"),
    "origin": tuple(origin.value for origin in Origin),
    "scope": ("local", "swarm"),
}
"""Fields with a fixed set of values: a pattern that matches none of them is an error."""

_TYPES = (
    # https://docs.docker.com/reference/api/engine/, "Monitor events"
    *("container", "image", "volume", "network", "daemon", "plugin", "node", "service"),
    *("secret", "config", "builder"),
    # Podman only: libpod/events/config.go
    *("pod", "system", "machine"),
    TYPE_RELAY,
)
CONTAINER_ACTIONS = (
    *("attach", "detach", "die", "exec_create", "exec_detach", "exec_die", "exec_start", "kill"),
    *("health_status", "oom", "pause", "rename", "resize", "restart", "start", "stop", "top"),
    *("unpause", "exec", "exec_died", "init"),
)
"""Actions that only containers have; in Podman, pods have them too."""
RELAY_ACTIONS = (
    *("started", "stopped", "gap", "engine_lost", "engine_back", "destination_failing"),
    *("destination_recovered", "dead_letter", "heartbeat"),
)
"""The actions of relay's own events."""
_ACTIONS = (
    *CONTAINER_ACTIONS,
    # the page above; moby's api/types/events/events.go for those that the page leaves out
    *("commit", "connect", "copy", "create", "delete", "destroy", "disable", "disconnect"),
    *("enable", "export", "import", "install", "load", "mount", "prune", "pull", "push", "reload"),
    *("remove", "save", "tag", "unmount", "untag", "update", "upgrade"),
    *("archive-path", "extract-to-dir"),
    # Podman only: libpod/events/config.go
    *("auto-update", "build", "checkpoint", "cleanup", "history", "loadfromarchive", "refresh"),
    *("renumber", "restore", "sync"),
    # inferred by relay, of containers and services: no engine sends it
    "start_failed",
    *RELAY_ACTIONS,
)
KNOWN_VALUES: Mapping[str, tuple[str, ...]] = {
    "type": _TYPES,
    "action": _ACTIONS,
    "health": ("healthy", "unhealthy", "starting", "running"),
}
"""Fields to which engines may add values: only a value that is similar to a known one, and so
probably mistyped, is an error."""

_TYPO_CUTOFF = 0.75
"""The similarity (difflib's ratio) from which a value counts as a typo of a known one."""


def check_value(field: str, text: str, engines: Collection[str] | None) -> None:
    """Raise `ValueError` for a glob that can match no value of ``field``.

    ``engines`` are the configured names; None if they are not known. The message continues a
    sentence that starts with the value, and does not contain the value.
    """
    if field == "action":
        text = text.partition(": ")[0]  # without a detail
    is_plain = not any(mark in text for mark in "*?[")
    if field in FIXED_VALUES:
        known = FIXED_VALUES[field]
        if not any(fnmatch.fnmatchcase(word, text) for word in known):
            choice = did_you_mean(text, known) or f": there are {', '.join(known)}"
            raise ValueError(f"matches no {field}{choice}")
    elif field == "engine" and engines is not None and is_plain and text not in engines:
        raise ValueError(f"is not a configured engine{did_you_mean(text, engines)}")
    elif field in KNOWN_VALUES and is_plain and text not in KNOWN_VALUES[field]:
        known = KNOWN_VALUES[field]
        if find_closest(text, known, cutoff=_TYPO_CUTOFF):
            raise ValueError(f"is not a known {field}{did_you_mean(text, known)}")


def selects_relay_events(match: Match) -> bool:
    """Whether the match names relay's own events (``type: relay``); no other matches them."""
    return any(
        field.name == "type" and Glob(TYPE_RELAY) in field.patterns for field in match.fields
    ) or any(selects_relay_events(inner) for inner in (*match.any, *match.all))


def names_field(match: Match, name: str) -> bool:
    """Whether a condition of the match tests this field of an event."""
    nested = (*match.any, *match.all, *(() if match.not_ is None else (match.not_,)))
    return any(field.name == name for field in match.fields) or any(
        names_field(inner, name) for inner in nested
    )
