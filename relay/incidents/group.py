"""Groups: the incidents and plain events of one destination that are reported together.

A group has no timer: when it is due is part of its state. All times are those of relay's steady
clock, in nanoseconds.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from relay.core.event import Event, is_about_host
from relay.incidents.plain import PlainEvents
from relay.incidents.policy import DestinationPolicy
from relay.incidents.subject import bounded, display_name, subject_key

PROJECT_LABELS = ("com.docker.compose.project", "com.docker.stack.namespace")
SERVICE_LABELS = ("com.docker.compose.service", "com.docker.swarm.service.name")

OVERFLOW_GROUP = "{}"
"""The key of the group of everything at a destination, for ``group_by: []``, and for new groups
while there are too many."""


class Group(msgspec.Struct, frozen=True, omit_defaults=True):
    """The incidents and plain events of one destination that are reported together."""

    destination: str
    key: str
    """Identifies the group at its destination: its fields as JSON."""
    last_ns: int | None = None
    """When its last message was made; None before the first."""
    due_ns: int | None = None
    """When it is due to be reported; None if there is nothing to report."""
    waiting: str | None = None
    """The id of its message that the destination has not taken yet. No other is made meanwhile."""
    plains: tuple[PlainEvents, ...] = ()
    """The plain events that wait to be reported: together, unless their routes are muted at
    different times."""
    after_mute: bool = False
    """Whether its next message is the first after an interval that held something back."""

    @property
    def fields(self) -> Mapping[str, str]:
        """What its incidents and events have in common."""
        return _decode_fields(self.key)

    @property
    def has_free_plains(self) -> bool:
        """Whether plain events wait that nothing holds back."""
        return any(plain.hold is None for plain in self.plains)

    @property
    def has_held_plains(self) -> bool:
        """Whether plain events wait that something holds back."""
        return any(plain.hold is not None for plain in self.plains)


_decode_fields = msgspec.json.Decoder(dict[str, str]).decode


def make_group_key(event: Event, group_by: Sequence[str]) -> str:
    """Return the key of an event's group."""
    fields = {name: bounded(read_field(event, name)) for name in group_by}
    return msgspec.json.encode(fields, order="sorted").decode()


def read_field(event: Event, name: str) -> str:
    """Return a field of ``group_by``."""
    attributes = event.actor.attributes
    match name:
        case "engine":
            return (event.via if is_about_host(event) else None) or event.engine
        case "host" | "project" | "service" if is_about_host(event):
            return ""  # hosts that are gone are gone together
        case "host":
            return event.host
        case "project":
            return _first_label(attributes, PROJECT_LABELS) or display_name(event)
        case "service":
            return _first_label(attributes, SERVICE_LABELS) or display_name(event)
        case "image":
            return event.actor.image or ""
        case "container":
            return display_name(event)
        case "subject":  # only of destinations that group by themselves
            return subject_key(event)
        case _:
            return attributes.get(name.removeprefix("label."), "")


def _first_label(attributes: Mapping[str, str], labels: Sequence[str]) -> str:
    return next((attributes[name] for name in labels if attributes.get(name)), "")


def find_due(group: Group, policy: DestinationPolicy, now_ns: int) -> int:
    """Return when a group is due that has its first update now."""
    due_ns = now_ns + policy.group_wait_ns
    if group.last_ns is None:
        return due_ns
    return max(due_ns, group.last_ns + policy.group_interval_ns)


def correct_times(group: Group, policy: DestinationPolicy, now_ns: int) -> Group:
    """Return a group as it is after a start: nothing is due later than the longest wait."""
    latest_ns = now_ns + max(policy.group_wait_ns, policy.group_interval_ns)
    due_ns = group.due_ns
    if due_ns is not None and due_ns > latest_ns:
        due_ns = now_ns
    last_ns = None if group.last_ns is None else min(group.last_ns, now_ns)
    if (due_ns, last_ns) == (group.due_ns, group.last_ns):
        return group
    return replace(group, due_ns=due_ns, last_ns=last_ns)
