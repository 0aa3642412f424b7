"""Evidence after a death that somebody asked for it.

Some engines report the request only after the ``die``. Docker before 26 sends ``stop`` after it,
which matters if a label hides the signal. Podman (measured with 4.3) does not say which signal was
sent, and does not send ``stop`` at every stop. But whoever stops a container also cleans it up, and
so does the container's monitor: two ``cleanup`` follow the ``die`` within some 90 ms, and only one
follows any other death. ``rm -f`` shows by a ``remove`` that comes sooner than anybody could have
noticed the death. The wait for evidence ends when the container starts again or is removed, or when
the worker has waited long enough (`relay.ingest.docker.worker`).
"""

from collections.abc import Sequence
from itertools import takewhile

from relay.core.container import Container
from relay.core.event import Event

EVIDENCE = frozenset({"stop", "remove", "cleanup"})
"""At least one of these actions follows every death for which `proves_requested` is true."""

_KILLED_OR_TERMINATED = frozenset({128 + 9, 128 + 15})
_START_ACTIONS = frozenset({"init", "start", "restart"})
_REMOVAL_ACTIONS = frozenset({"remove", "destroy"})
_FORCED_REMOVAL_NS = 100_000_000
"""Podman's ``rm -f`` removes the container 25 to 83 ms after the death; somebody who waits for the
death first takes 200 ms or more."""

_STOP_DELAY_NS = 1_000_000_000
"""Docker sends ``stop`` right after the death. If it comes later, somebody stopped a container that
had crashed before and was waiting for its next restart."""


def proves_requested(death: Event, later: Sequence[Event], *, podman: bool) -> bool:
    """Whether the container's events after its ``die`` prove that somebody asked for it."""
    same_life = list(takewhile(lambda event: event.action not in _START_ACTIONS, later))
    if any(
        event.action == "stop" and event.time_ns - death.time_ns <= _STOP_DELAY_NS
        for event in same_life
    ):
        return True
    if not podman:
        return False
    removed = any(
        event.action == "remove" and event.time_ns - death.time_ns <= _FORCED_REMOVAL_NS
        for event in same_life
    )
    cleanups = sum(event.action == "cleanup" for event in same_life)
    return cleanups > 1 or (removed and death.exit_code in _KILLED_OR_TERMINATED)


def may_prove_requested(
    death: Event, later: Sequence[Event], known: Container | None, *, podman: bool
) -> bool:
    """Whether further events may still prove that somebody asked for a ``die``.

    ``known`` is the container's state before its death.
    """
    if podman:
        undecided = known is None or known.requested_ns is None
    else:
        undecided = (
            known is not None and known.unknown_signal_ns is not None and known.requested_ns is None
        )
    if not undecided:
        return False
    is_over = any(
        event.action in _START_ACTIONS or event.action in _REMOVAL_ACTIONS for event in later
    )
    return not (is_over or proves_requested(death, later, podman=podman))
