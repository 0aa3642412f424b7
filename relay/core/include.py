"""What a route includes with an event: what it asks the engine, and the answer."""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

MAX_INCLUDED = 2
"""A message has the answers about this many of its incidents, at most."""


class Include(msgspec.Struct, frozen=True):
    """What a route wants to know about the container in addition to the event."""

    logs: int = 0
    """How many of its last log lines."""
    health: bool = False
    """Whether the output of its last health check is wanted."""
    inspect: tuple[str, ...] = ()
    """Fields of the engine's ``inspect``, as dotted paths: ``RestartCount``, ``State.Pid``."""


FACTS_ONLY = Include()
"""What relay asks about the container of an incident whose route includes nothing: the facts that
its messages need. No message waits for them."""


class Included(msgspec.Struct, frozen=True):
    """The engine's answer to `Include`. The people who run the container control all of it."""

    logs: tuple[str, ...] | None = None
    """The last log lines, oldest first, without control characters; None if there are none."""
    health: str | None = None
    inspect: Mapping[str, object] = {}
    """JSON values by path; None for a field that does not exist."""
    missing: str | None = None
    """Why something that was asked for is missing; None if nothing is."""


NOT_INCLUDED = "not included at the edge"
"""Why something is missing of an event from another host: only the relay there can ask its engine,
and its route has not."""


def select_included(include: Include, found: Included | None) -> Included:
    """Return what a route wants of what came with an event from another host.

    If a part that is wanted did not come, `Included.missing` says so, unless the relay of that host
    said why.
    """
    if found is None:
        return Included(missing=NOT_INCLUDED)
    logs = found.logs[-include.logs :] if include.logs and found.logs is not None else None
    selected = Included(
        logs=logs,
        health=found.health if include.health else None,
        inspect={path: found.inspect[path] for path in include.inspect if path in found.inspect},
        missing=found.missing,
    )
    if found.missing is None and len(selected.inspect) < len(include.inspect):
        return replace(selected, missing=NOT_INCLUDED)
    return selected
