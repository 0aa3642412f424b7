"""Why a container ended: what was asked of it before it died."""

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from relay.event import Cause, Event

TERMINATING_SIGNALS = frozenset({2, 3, 6, 9, 15})
"""Those that ask a process to end. HUP, USR1, USR2, WINCH and the like do not."""

EXPIRY_NS = 10 * 60 * 1_000_000_000
"""How long a request explains a death that follows it."""

MEMORY = 10_000
"""How many containers are kept in mind; the longest untouched are forgotten first."""


@dataclass(slots=True)
class _Trail:
    """What happened to one container since it started, by the engine's time."""

    asked_ns: int | None = None
    oom_ns: int | None = None


class Causes:
    """Gives each ``die`` of one engine its cause.

    The engine says ``kill`` with the signal and ``stop`` for what somebody asked; Docker from 26 on
    says ``stop`` before ``die``, older ones after it, so a ``stop`` alone decides only where it
    comes first.
    """

    def __init__(self) -> None:
        self._trails: OrderedDict[str, _Trail] = OrderedDict()

    def judge(self, event: Event) -> Event:
        """The event, a ``die`` with its cause. Takes every event, in the order of the stream."""
        if event.type != "container":
            return event
        match event.action:
            case "kill" if event.signal in TERMINATING_SIGNALS:
                self._trail(event).asked_ns = event.time_ns
            case "stop":
                self._trail(event).asked_ns = event.time_ns
            case "oom":
                self._trail(event).oom_ns = event.time_ns
            case "start" | "destroy":
                self._trails.pop(event.actor.id, None)
            case "die":
                trail = self._trails.pop(event.actor.id, _Trail())
                return msgspec.structs.replace(event, cause=_cause(event, trail))
        return event

    def _trail(self, event: Event) -> _Trail:
        trail = self._trails.setdefault(event.actor.id, _Trail())
        self._trails.move_to_end(event.actor.id)
        if len(self._trails) > MEMORY:
            self._trails.popitem(last=False)
        return trail


def _cause(death: Event, trail: _Trail) -> Cause:
    """Of a request and a kill for memory the later counts.

    A container can outlive the kill of one of its processes, and be stopped long after.
    """
    oom_ns = trail.oom_ns if _recent(trail.oom_ns, death) else None
    asked_ns = trail.asked_ns if _recent(trail.asked_ns, death) else None
    if oom_ns is not None and death.exit_code != 0 and (asked_ns is None or asked_ns < oom_ns):
        return Cause.OOM
    if asked_ns is not None:
        return Cause.REQUESTED
    if death.exit_code is None:
        return Cause.UNKNOWN
    return Cause.CRASHED if death.exit_code else Cause.FINISHED


def _recent(time_ns: int | None, death: Event) -> bool:
    return time_ns is not None and death.time_ns - time_ns <= EXPIRY_NS
