"""What the events after a container's death show of its cause, and how long to wait for them.

Docker before 26 sends ``stop`` right after the ``die``, and every Docker now and then an ``oom``.
Podman does not send ``stop`` at every stop. From 4.8 on, an inspection says whether somebody
stopped the container. Before that (measured with 4.3) only this shows it: the command that stops a
container also cleans it up, and so does the container's monitor, so two ``cleanup`` follow the
``die``, and only one follows any other death. ``rm -f`` shows by a ``remove`` that comes before
the monitor has cleaned up, unless the engine itself removes the container (``--rm``). If it is not
known whether it does, ``rm -f`` shows by a ``remove`` that comes sooner than anybody could have
noticed the death.

Everything here is pure. `relay.ingest.docker.evidence` does the waiting, which ends sooner if the
container starts again or is removed.
"""

from collections.abc import Sequence
from itertools import takewhile

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.containers.cause import (
    EXIT_CODE_SIGKILL,
    REMOVAL_ACTIONS,
    SIGTERM,
    has_signal,
    is_explained,
    may_be_signalled,
)

STOP_WAIT_S = 1.0
"""Docker sends ``stop`` right after the death. If it comes later, somebody stopped a container that
had crashed before and was waiting for its next restart."""

OOM_WAIT_S = 0.5
"""If Docker sends ``oom`` after the ``die``, it does so within some milliseconds; on a busy machine
up to 400 were measured."""

PODMAN_WAIT_S = 10.0
"""How long the second ``cleanup`` of a Podman before 4.8 may take: some 10 to 90 ms on an idle
machine, and more than three seconds on a busy one."""

_QUICK_REMOVAL_NS = 200_000_000
"""Podman's ``rm -f`` removes the container 25 to 83 ms after the death, and up to 150 ms on a busy
machine; somebody who waits for the death first takes 200 ms, and 350 ms on a busy one."""

_AUTO_REMOVAL_NS = 100_000_000
"""The same, if the engine may have removed the container itself, which takes 90 ms or more."""

_REMOVAL_NS = int(PODMAN_WAIT_S * 1e9)
"""How long a removal by force may take, and the monitor's cleanup with it."""

_START_ACTIONS = frozenset({"init", "start", "restart"})
_KILLED_OR_TERMINATED = frozenset({EXIT_CODE_SIGKILL, 128 + SIGTERM})


def find_later_cause(
    death: Event, later: Sequence[Event], known: Container | None, *, podman: bool
) -> Cause | None:
    """Return the cause of a ``die`` that the container's events after it show; None if none do.

    ``known`` is the container's state before its death.
    """
    same_life = list(takewhile(lambda event: event.action not in _START_ACTIONS, later))
    if any(_follows(death, event, "stop", int(STOP_WAIT_S * 1e9)) for event in same_life):
        return Cause.REQUESTED
    if podman and _proves_removal_or_stop(death, same_life, known):
        return Cause.REQUESTED
    killed = death.exit_code == EXIT_CODE_SIGKILL
    return Cause.OOM if killed and any(event.action == "oom" for event in same_life) else None


def _proves_removal_or_stop(
    death: Event, same_life: Sequence[Event], known: Container | None
) -> bool:
    """Whether Podman's events show that somebody stopped the container, or removed it by force."""
    cleanups = [event for event in same_life if event.action == "cleanup"]
    if len(cleanups) > 1:
        return True
    is_kept = known is not None and known.auto_remove is False
    if is_kept and not cleanups:
        return any(_follows(death, event, "remove", _REMOVAL_NS) for event in same_life)
    within_ns = _QUICK_REMOVAL_NS if is_kept else _AUTO_REMOVAL_NS
    removed = any(_follows(death, event, "remove", within_ns) for event in same_life)
    return removed and death.exit_code in _KILLED_OR_TERMINATED


def _follows(death: Event, event: Event, action: str, within_ns: int) -> bool:
    return event.action == action and event.time_ns - death.time_ns <= within_ns


def evidence_wait_s(
    death: Event,
    later: Sequence[Event],
    known: Container | None,
    exit_code: int | None,
    *,
    podman: bool,
) -> float:
    """Return for how long further events may still show the cause of a ``die``; 0 if none can.

    ``known`` is the container's state before its death. ``exit_code`` is None if it is not known.
    """
    is_over = any(
        event.action in _START_ACTIONS or event.action in REMOVAL_ACTIONS for event in later
    )
    if (
        is_over
        or is_explained(known, death.time_ns, exit_code)
        or may_be_signalled(known, death.time_ns, exit_code)
    ):
        return 0
    if podman:
        return PODMAN_WAIT_S
    if has_signal(known, death.time_ns):
        return STOP_WAIT_S
    return OOM_WAIT_S if death.exit_code == EXIT_CODE_SIGKILL else 0
