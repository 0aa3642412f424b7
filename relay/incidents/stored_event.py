"""Events as incidents and groups keep them: as JSON, and not longer than a limit."""

import msgspec
from msgspec.structs import force_setattr, replace

from relay.core.event import Event
from relay.incidents.subject import bounded

MAX_EVENT_BYTES = 8 * 2**10
"""The longest event that is kept as it is."""

SMALL_EVENT_BYTES = 2**10
"""The longest event that is kept as it is when those kept already take much memory."""

KEPT_ATTRIBUTES = (
    "com.docker.compose.project",
    "com.docker.compose.service",
    "com.docker.stack.namespace",
    "com.docker.swarm.service.id",
    "com.docker.swarm.service.name",
    "destination",
    "error",
    "reason",
    "exitCode",
)
"""The attributes that are kept of a longer event."""


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event as it is kept."""

    content: msgspec.Raw
    """As JSON."""
    is_trimmed: bool = False
    """Whether most of its attributes are missing."""

    def __post_init__(self) -> None:
        # One that was read from a row would keep the whole row in memory.
        force_setattr(self, "content", self.content.copy())

    def decode(self) -> Event:
        """Return the event."""
        return _decode(self.content)


_decode = msgspec.json.Decoder(Event).decode


def store_event(event: Event, limit: int = MAX_EVENT_BYTES) -> StoredEvent:
    """Return an event as it is kept: a longer one loses attributes, and parts of its names."""
    content = msgspec.json.encode(event)
    if len(content) <= limit:
        return StoredEvent(msgspec.Raw(content))
    actor = event.actor
    kept = {name: text for name in KEPT_ATTRIBUTES if (text := actor.attributes.get(name))}
    trimmed = replace(
        event,
        host=bounded(event.host),
        detail=None if event.detail is None else bounded(event.detail),
        actor=replace(
            actor,
            id=bounded(actor.id),
            name=None if actor.name is None else bounded(actor.name),
            image=None if actor.image is None else bounded(actor.image),
            attributes={name: bounded(text) for name, text in kept.items()},
        ),
    )
    return StoredEvent(msgspec.Raw(msgspec.json.encode(trimmed)), is_trimmed=True)
