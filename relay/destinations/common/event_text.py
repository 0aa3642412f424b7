"""What happened, in one sentence: the same in every chat, on the terminal and in the commands.

`describe_event` makes the sentence of an event. An engine names some facts only in attributes: the
new state of a node, the container of a network, what a prune reclaimed. They are in the sentence,
and `find_changes` and its like return them by name.
"""

import re
from typing import NamedTuple

from relay.core.event import (
    DEFAULT_ENGINE,
    TYPE_RELAY,
    Cause,
    Event,
    Origin,
    is_about_host,
    is_self_event,
)
from relay.core.text import truncate
from relay.destinations.common.exit_code import describe_end, describe_signal

SUBJECT_MAX = 90
"""The UTF-16 units of a name, so that a long name never hides what happened."""
PREDICATE_MAX = 120
"""The UTF-16 units of what happened."""
ID_MAX = 12
"""How much of an id or a digest is shown: as much as the docker command shows."""

# By type, then by action and, if the sentence depends on it, by cause or health. A container may
# survive an `oom`: the kernel killed one of its processes, not always the first one.
_PREDICATES: dict[str, dict[tuple[str, str | None], str]] = {
    "container": {
        ("attach", None): "was attached to",
        ("create", None): "was created",
        ("destroy", None): "was removed",
        ("die", Cause.CRASHED): "crashed{exit}",
        ("die", Cause.FINISHED): "finished{exit}",
        ("die", Cause.OOM): "ran out of memory (OOM) and ended{exit}",
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
        ("start_failed", None): "cannot be started{error}",
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
_HOST_PREDICATES = {"engine_lost": "is silent{reason}", "engine_back": "is heard again"}
"""Of another host, as a whole."""
_OTHER_PREDICATES: dict[tuple[str, str | None], str] = {  # of all other types
    ("connect", None): "was connected to {container}",
    ("create", None): "was created",
    ("delete", None): "was deleted",
    ("destroy", None): "was removed",
    ("disconnect", None): "was disconnected from {container}",
    ("import", None): "was imported",
    ("load", None): "was loaded",
    ("mount", None): "was mounted by {container}",
    ("pull", None): "was pulled",
    ("push", None): "was pushed",
    ("reload", None): "reloaded its configuration",
    ("remove", None): "was removed",
    ("save", None): "was saved",
    ("start_failed", None): "cannot start its tasks{error}",
    ("tag", None): "was tagged",
    ("unmount", None): "was unmounted by {container}",
    ("untag", None): "was untagged",
    ("update", None): "was updated",
}
_PRUNED = {
    "builder": "the build cache",
    "container": "stopped containers",
    "image": "unused images",
    "network": "unused networks",
    "volume": "unused volumes",
}
_TYPES_WITH_CHANGES = ("node", "service")
"""The types whose attributes are all the engine's, so that no label can look like a change."""
# The attributes of changes (moby, daemon/cluster/events.go), the gravest first: the name of the
# fact, and a sentence for each new value, with "" for all others.
_CHANGES: dict[str, tuple[str, dict[str, str]]] = {
    "state": ("State", {"": "is {new}{was}"}),
    "updatestate": (
        "Update",
        {
            "": "reports its update: {new}",
            "completed": "completed its update",
            "paused": "has its update paused",
            "rollback_completed": "completed its rollback",
            "rollback_paused": "has its rollback paused",
            "rollback_started": "is being rolled back",
            "updating": "is being updated",
        },
    ),
    "replicas": ("Replicas", {"": "was scaled{from_old} to {new} replicas"}),
    "availability": ("Availability", {"": "was set to {new}{was}"}),
    "role": ("Role", {"": "became a {new}{was}"}),
    "image": ("New image", {"": "was updated to {new}{was}"}),
}
_BYTES = re.compile(r"[0-9]{1,18}")
_ERROR_PREFIXES = re.compile(
    r"^(?:(?:starting container failed|failed to create task for container"
    r"|failed to create shim task|OCI runtime create failed|runc create failed"
    r"|unable to start container process|error during container init): )+"
)
"""How an engine's error begins before it says what is wrong (measured with 20.10 to 28.5)."""
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")


class Change(NamedTuple):
    """What an ``update`` changed."""

    attribute: str
    """The attribute without its ``.new``."""
    old: str | None
    """None if the engine does not say it."""
    new: str

    @property
    def name(self) -> str:
        """What changed: ``State``."""
        return _CHANGES[self.attribute][0]

    @property
    def values(self) -> str:
        """Both values: ``ready → down``."""
        return " → ".join(shorten_digests(value) for value in (self.old, self.new) if value)

    @property
    def sentence(self) -> str:
        """What changed, as in ``is down (was ready)``."""
        sentences = _CHANGES[self.attribute][1]
        return sentences.get(self.new, sentences[""]).format(
            new=self.new,
            was=f" (was {self.old})" if self.old else "",
            from_old=f" from {self.old}" if self.old else "",
        )


def find_changes(event: Event) -> list[Change]:
    """Return what the ``update`` of a node or of a service changed, the gravest change first."""
    if event.action != "update" or event.type not in _TYPES_WITH_CHANGES:
        return []
    attributes = event.actor.attributes
    return [
        Change(name, attributes.get(f"{name}.old"), new)
        for name in _CHANGES
        if (new := attributes.get(f"{name}.new"))
    ]


def find_container(event: Event) -> str | None:
    """Return the short id of the container that an event of a network or a volume is about.

    None for every other event, whose attributes may be labels.
    """
    if event.type not in ("network", "volume"):
        return None
    return event.actor.attributes.get("container", "")[:ID_MAX] or None


def find_error(event: Event) -> str | None:
    """Return why a start failed; None for every other event."""
    is_failure = event.action == "start_failed" and event.origin is Origin.INFERRED
    return event.actor.attributes.get("error") if is_failure else None


def shorten_error(error: str) -> str:
    """Return an engine's error without the layers of the engine that passed it on."""
    return _ERROR_PREFIXES.sub("", error)


def find_reclaimed(event: Event) -> str | None:
    """Return the space that a prune freed, as in ``2 MB``; None if the engine does not say it."""
    reclaimed = event.actor.attributes.get("reclaimed", "")
    if event.action != "prune" or event.type == "network" or not _BYTES.fullmatch(reclaimed):
        return None
    return _format_size(int(reclaimed))


def describe_event(event: Event) -> str:
    """Return one printable line without a full stop, as in ``web-1 crashed with exit code 3``.

    It has at most `SUBJECT_MAX` + `PREDICATE_MAX` + 1 UTF-16 units. Actions without a sentence stay
    as the engine names them: ``container web-1: commit``.
    """
    predicate = _describe_predicate(event)
    if predicate is None:
        subject = f"{event.type} {_name(event)}".rstrip() + ":"
        predicate = f"{event.action}: {event.detail}" if event.detail else event.action
    else:
        subject = _describe_subject(event)
    predicate = truncate(shorten_digests(predicate), PREDICATE_MAX)
    return f"{truncate(subject, SUBJECT_MAX)} {predicate}"


def shorten_digests(text: str) -> str:
    """Cut every digest to `ID_MAX` digits: ``shop/web@sha256:f53eb17c442d``."""
    return _DIGEST.sub(r"\1", text) if "sha256:" in text else text


def describe_host(host: str, engine: str) -> str:
    """Return a host, with the engine if its name says more: ``node-1 (engine “here”)``."""
    return host if engine in ("", host, DEFAULT_ENGINE) else f"{host} (engine “{engine}”)"


def describe_image(image: str) -> str:
    """Return an image's reference with its digest apart, so that the rest can be copied.

    ``shop/web:1 (sha256:f53eb17c442d)``; the short id of an image without a name.
    """
    name, _, digest = shorten_digests(image).partition("@sha256:")
    return f"{name} (sha256:{digest})" if digest else name.removeprefix("sha256:")


def _describe_subject(event: Event) -> str:
    if is_about_host(event):
        return f"host {event.host}"
    if event.type == TYPE_RELAY:
        return TYPE_RELAY if is_self_event(event) else f"{TYPE_RELAY} on {event.host}"
    if event.action == "prune":
        return f"a prune of {_PRUNED.get(event.type, event.type)}"
    name = _name(event)
    if event.type == "container":
        return name or "a container"
    return f"{event.type} {name}".rstrip()


def _name(event: Event) -> str:
    name = event.actor.name or event.actor.id.removeprefix("sha256:")[:ID_MAX]
    return shorten_digests(name).removeprefix("sha256:")


def _describe_predicate(event: Event) -> str | None:
    """Return what happened; None if relay has no sentence for it."""
    if changes := find_changes(event):
        return ", ".join(change.sentence for change in changes)
    if event.action == "prune":
        reclaimed = find_reclaimed(event)
        return f"reclaimed {reclaimed}" if reclaimed else "ran"
    if is_about_host(event):
        return _HOST_PREDICATES[event.action].format_map(_placeholders(event))
    predicates = _PREDICATES.get(event.type, _OTHER_PREDICATES)
    specific = predicates.get((event.action, event.cause or event.health))
    template = specific or predicates.get((event.action, None))
    return None if template is None else template.format_map(_placeholders(event))


def _placeholders(event: Event) -> dict[str, str]:
    attributes = event.actor.attributes
    code, reason = event.exit_code, attributes.get("reason")
    container, error = find_container(event), shorten_error(find_error(event) or "")
    return {
        "command": (event.detail or "").strip() or "a command",
        "container": f"container {container}" if container else "a container",
        "destination": attributes.get("destination", "a destination"),
        "engine": attributes.get("engine") or event.engine,
        "error": f": {error}" if error else "",
        "exit": "" if code is None else f" with exit code {describe_end(code, event.cause)}",
        "health": event.health or event.detail or "unknown",
        "old_name": attributes.get("oldName", "another name").removeprefix("/"),
        "reason": f": {reason}" if reason else "",
        # Podman does not name the signal
        "signal": "a signal" if event.signal is None else describe_signal(event.signal),
    }


def _format_size(size: float) -> str:
    """Return bytes as the docker command shows them, in powers of 1,000."""
    units = ("B", "kB", "MB", "GB")
    for unit in units:
        if size < 1_000:
            return f"{size:.4g} {unit}"
        size /= 1_000
    return f"{size:,.0f} TB"
