"""Finds out why a container ended, from what happened to it before and after it died.

The ``die`` event of an engine has an exit code and no reason. Whether somebody asked for the end,
the kernel killed the container for memory, or it crashed follows from the events before it:
``kill``, ``stop`` and ``oom``. They are kept in the container's state until its death consumes
them, or until `REQUEST_EXPIRY_NS` has passed. Everything here is pure: state and event in, state or
cause out.

Some engines report the request only after the ``die``. Docker before 26 sends ``stop`` after it,
which matters if a label hides the signal. Podman (measured with 4.3) does not say which signal was
sent, and does not send ``stop`` at every stop. But the command that stops a container also cleans
it up, and so does the container's monitor: two ``cleanup`` follow the ``die`` within some 90 ms,
and only one follows any other death. ``rm -f`` shows by a ``remove`` that comes sooner than
anybody could have noticed the death. The wait for this evidence ends when the container starts
again or is removed, or when it has lasted long enough (`relay.ingest.docker.evidence`).
"""

from collections.abc import Sequence
from itertools import takewhile

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Cause, Event

TERMINATING_SIGNALS = frozenset({2, 3, 6, 9, 15})
"""Signals that ask a process to end. HUP, USR1, USR2, WINCH and the like do not, unless one of them
is the container's own stop signal."""

REQUEST_EXPIRY_NS = 10 * 60 * 1_000_000_000
"""How long a request explains a death that follows it."""

REMOVAL_ACTIONS = frozenset({"destroy", "remove"})
"""The container is gone; ``remove`` is Podman's."""

EXIT_CODE_SIGKILL = 128 + 9
"""The exit code after SIGKILL: a forced stop, or a kill for memory."""

_KILLED_OR_TERMINATED = frozenset({EXIT_CODE_SIGKILL, 128 + 15})
_START_ACTIONS = frozenset({"init", "start", "restart"})
_FORCED_REMOVAL_NS = 100_000_000
"""Podman's ``rm -f`` removes the container 25 to 83 ms after the death; somebody who waits for the
death first takes 200 ms or more."""

_STOP_DELAY_NS = 1_000_000_000
"""Docker sends ``stop`` right after the death. If it comes later, somebody stopped a container that
had crashed before and was waiting for its next restart."""


_NO_REQUESTS = dict.fromkeys(("requested_ns", "unknown_signal_ns", "oom_ns"))


def apply_event(container: Container, event: Event) -> Container:
    """Return the container's state after one more of its events.

    If somebody asks for the end, the engine sends ``kill`` with the signal, and ``stop``. Docker
    from 26 on sends ``stop`` before ``die``, older versions after it; after a death it is no
    request. A start begins a new life without requests; a death consumes the requests.
    """
    time_ns = event.time_ns
    match event.action:
        case "start":
            started_ns = max(time_ns, container.started_ns or 0)
            return replace(container, started_ns=started_ns, **_NO_REQUESTS)
        case "die":
            inferred_ns = container.inferred_ns
            if inferred_ns is not None and inferred_ns <= time_ns:
                inferred_ns = None
            # The order of the stream proves that it ended, even if the clock was set back.
            died_ns = max(time_ns, container.died_ns or 0, container.started_ns or 0)
            return replace(container, died_ns=died_ns, inferred_ns=inferred_ns, **_NO_REQUESTS)
        case "kill" if container.signal_hidden or event.signal is None:
            return replace(container, unknown_signal_ns=time_ns)
        case "kill" if is_terminating(event.signal, container):
            return replace(container, requested_ns=time_ns)
        case "stop" if not container.is_dead:
            return replace(container, requested_ns=time_ns)
        case "oom":
            return replace(container, oom_ns=time_ns)
        case _:
            return container


def is_terminating(signal: int | None, container: Container) -> bool:
    """Whether the signal asks this container to end."""
    return signal in TERMINATING_SIGNALS or signal == container.stop_signal is not None


def find_cause(
    container: Container,
    time_ns: int,
    exit_code: int | None,
    *,
    inspection_shows_oom: bool = False,
    may_have_missed_request: bool = False,
) -> Cause:
    """Return why the container died at ``time_ns``, given its state before that.

    Of a request and a kill for memory the later one counts: a container can survive the kill of one
    of its processes, and be stopped long after that. If a request may have been missed, an exit
    code with which a requested stop can end (0, or a terminating signal) proves nothing.
    """
    requested_ns = _unless_expired(container.requested_ns, time_ns)
    oom_ns = _unless_expired(container.oom_ns, time_ns)
    if exit_code != 0 and (oom_ns or 0) > (requested_ns or 0):
        return Cause.OOM
    if requested_ns is not None:
        return Cause.REQUESTED
    if inspection_shows_oom and exit_code != 0:
        return Cause.OOM
    if exit_code is None:
        return Cause.UNKNOWN
    may_be_requested = exit_code == 0 or is_terminating(exit_code - 128, container)
    if _unless_expired(container.unknown_signal_ns, time_ns) is not None and may_be_requested:
        return Cause.REQUESTED
    if may_have_missed_request and may_be_requested:
        return Cause.UNKNOWN
    return Cause.CRASHED if exit_code else Cause.FINISHED


def is_explained(container: Container | None, time_ns: int) -> bool:
    """Whether a request or a kill for memory explains a death at this time."""
    return container is not None and (
        _unless_expired(container.requested_ns, time_ns) is not None
        or _unless_expired(container.oom_ns, time_ns) is not None
    )


def clear_requests(container: Container) -> Container:
    """Return the state without requests."""
    return replace(container, **_NO_REQUESTS)


def split_requests(container: Container, start_ns: int) -> tuple[Container, Container]:
    """Return the state with the requests before a start, and the state with those since it."""
    times = {
        name: time_ns
        for name in ("requested_ns", "unknown_signal_ns", "oom_ns")
        if (time_ns := getattr(container, name)) is not None
    }
    clear_since = dict.fromkeys(name for name, time_ns in times.items() if time_ns >= start_ns)
    clear_before = dict.fromkeys(times.keys() - clear_since.keys())
    return replace(container, **clear_since), replace(container, **clear_before)


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
        event.action in _START_ACTIONS or event.action in REMOVAL_ACTIONS for event in later
    )
    return not (is_over or proves_requested(death, later, podman=podman))


def _unless_expired(happened_ns: int | None, time_ns: int) -> int | None:
    if happened_ns is None or time_ns - happened_ns > REQUEST_EXPIRY_NS:
        return None
    return happened_ns
