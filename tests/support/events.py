"""A sample event, for tests that need one whose details do not matter."""

from typing import Any

import msgspec

from relay.core.event import Actor, Event

_DEATH = Event(
    id="evt_1",
    engine="here",
    host="node-1",
    type="container",
    action="die",
    detail=None,
    scope="local",
    time_ns=1,
    actor=Actor("c0ffee", "web-1", "bb:1", {}),
)


def make_event(**fields: Any) -> Event:
    """The death of container ``web-1``; ``fields`` replace fields of the event."""
    return msgspec.structs.replace(_DEATH, **fields)
