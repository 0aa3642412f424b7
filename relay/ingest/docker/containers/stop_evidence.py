"""What comes behind a death and shows that somebody asked for it.

Docker before 26 says ``stop`` behind the ``die``. That matters where a label hides the signal that
was sent. Podman (as measured with 4.3) does not say which signal was sent, and says ``stop`` not at
every stop; but whoever stops a container cleans it up, and so does the container's monitor: two
``cleanup`` come behind the ``die`` within some 90 ms, and one behind any other. ``rm -f`` shows by
a ``remove`` that comes sooner than anybody could have seen the death.
"""

from collections.abc import Sequence
from itertools import takewhile

from relay.core.container import Container
from relay.core.event import Event

EVIDENCE = frozenset({"stop", "remove", "cleanup"})
"""The actions of which one at least is behind a death that `proves_requested`."""

_KILLED_OR_TERMINATED = frozenset({128 + 9, 128 + 15})
_START_ACTIONS = frozenset({"init", "start", "restart"})
_REMOVAL_ACTIONS = frozenset({"remove", "destroy"})
_FORCED_REMOVAL_NS = 100_000_000
"""Podman's ``rm -f`` removes 25 to 83 ms after the death; somebody who waits for the death first
takes 200 ms and more."""

_STOP_DELAY_NS = 1_000_000_000
"""Docker says ``stop`` right behind the death. Later, somebody stopped what crashed before and was
waiting for its next restart."""


def proves_requested(death: Event, later: Sequence[Event], *, podman: bool) -> bool:
    """Whether somebody asked for a ``die``, by the events of its container ``behind`` it."""
    own = _until_next_start(later)
    if any(
        event.action == "stop" and event.time_ns - death.time_ns <= _STOP_DELAY_NS for event in own
    ):
        return True
    if not podman:
        return False
    removed = any(
        event.action == "remove" and event.time_ns - death.time_ns <= _FORCED_REMOVAL_NS
        for event in own
    )
    cleanups = sum(event.action == "cleanup" for event in own)
    return cleanups > 1 or (removed and death.exit_code in _KILLED_OR_TERMINATED)


def may_prove_requested(
    death: Event, later: Sequence[Event], known: Container | None, *, podman: bool
) -> bool:
    """Whether it may still turn out that somebody asked for a ``die``."""
    if podman:
        open_ = known is None or known.asked_ns is None
    else:
        open_ = known is not None and known.killed_ns is not None and known.asked_ns is None
    return open_ and not (_is_over(later) or proves_requested(death, later, podman=podman))


def _until_next_start(later: Sequence[Event]) -> list[Event]:
    """Until its next life."""
    return list(takewhile(lambda event: event.action not in _START_ACTIONS, later))


def _is_over(later: Sequence[Event]) -> bool:
    """Whether nothing more can come behind it."""
    return any(
        event.action in _START_ACTIONS or event.action in _REMOVAL_ACTIONS for event in later
    )
