"""Events that several engines report: each manager of a Swarm reports all of its Swarm's events.

They have the same id whichever engine reports them, and what is reported second is dropped. An
engine that reports them after a restart of relay, because it was not read up to them before, has
them sent again, with the same id.
"""

from relay.core.event import SCOPE_SWARM, Event

MAX_EVENTS = 10_000
"""How many are remembered: beyond that, the oldest are forgotten."""


class SharedEvents:
    """Which engine was the first to report each of the last events of Swarms."""

    def __init__(self) -> None:
        self._engines: dict[str, str] = {}
        """By the id of the event."""

    def is_repeated(self, event: Event) -> bool:
        """Whether another engine has reported this event already; remembers it."""
        if event.scope != SCOPE_SWARM:
            return False
        if len(self._engines) >= MAX_EVENTS and event.id not in self._engines:
            del self._engines[next(iter(self._engines))]
        return self._engines.setdefault(event.id, event.engine) != event.engine
