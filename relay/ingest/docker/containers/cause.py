"""Finds out why a container ended, from what happened to it before and after it died.

The ``die`` event of an engine has an exit code and no reason. Whether somebody asked for the end,
the kernel killed the container for memory, or it crashed follows from the events before it:
``kill``, ``stop`` and ``oom``. They are kept in the container's state until its death consumes
them, or until they are too old to explain it. Everything here is pure: state and event in, state or
cause out.

Not everything that precedes a death explains it. A process can ignore every signal but KILL, and
for many of them QUIT is a request for a thread dump. A container can survive the kill of one of its
processes for memory. So these explain only a death that follows soon, or with a fitting exit code.

For what an engine reports only after the ``die``, see `later_evidence`.
"""

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Cause, Event

SIGKILL, SIGTERM = 9, 15

TERMINATING_SIGNALS = frozenset({2, 3, 6, SIGKILL, SIGTERM})
"""Signals that ask a process to end. HUP, USR1, USR2, WINCH and the like do not, unless one of them
is the container's own stop signal."""

REQUEST_EXPIRY_NS = 10 * 60 * 1_000_000_000
"""How long a request, or a kill for memory, explains a death that fits it."""

SIGNAL_EXPIRY_NS = 10 * 1_000_000_000
"""How long a signal explains a death with any exit code: as long as ``docker stop`` waits before it
kills the container."""

OOM_EXPIRY_NS = 1_000_000_000
"""How long the kill of a process for memory explains that the container's main process ends with
another exit code than that of SIGKILL. A process that ends because its child was killed does so
within milliseconds."""

REMOVAL_ACTIONS = frozenset({"destroy", "remove"})
"""The container is gone; ``remove`` is Podman's."""

EXIT_CODE_SIGKILL = 128 + SIGKILL
"""The exit code after SIGKILL: a forced stop, or a kill for memory."""

_SLOW_EXIT_CODES = frozenset({0, 128 + 2, 128 + SIGTERM})
"""The exit codes of a process that takes its time to end on a signal. ABRT, KILL and QUIT end one
at once or, if it handles them, with another exit code."""

_HEALTH_STATES = frozenset({"starting", "healthy", "unhealthy"})

_NO_REQUESTS = dict.fromkeys(("requested_ns", "signal_ns", "oom_ns"))


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
            return replace(container, started_ns=started_ns, health=None, **_NO_REQUESTS)
        case "die":
            inferred_ns = container.inferred_ns
            if inferred_ns is not None and inferred_ns <= time_ns:
                inferred_ns = None
            # The order of the stream proves that it ended, even if the clock was set back.
            died_ns = max(time_ns, container.died_ns or 0, container.started_ns or 0)
            return replace(container, died_ns=died_ns, inferred_ns=inferred_ns, **_NO_REQUESTS)
        case "kill" if container.signal_hidden or event.signal is None:
            return replace(container, signal_ns=time_ns, signal=None)
        case "kill" if _is_like_stop(event.signal, container):
            return replace(container, requested_ns=time_ns)
        case "kill" if is_terminating(event.signal, container):
            return replace(container, signal_ns=time_ns, signal=event.signal)
        case "stop" if not container.is_dead:
            return replace(container, requested_ns=time_ns)
        case "oom":
            return replace(container, oom_ns=time_ns)
        case "health_status" if event.health in _HEALTH_STATES:
            return replace(container, health=event.health)
        case _:
            return container


def is_terminating(signal: int | None, container: Container) -> bool:
    """Whether the signal asks this container to end."""
    return signal in TERMINATING_SIGNALS or signal == container.stop_signal is not None


def is_known_health(container: Container, event: Event) -> bool:
    """Whether a ``health_status`` repeats the known health: Podman sends one after each check.

    ``starting`` counts as known, because Docker sends no event for it.
    """
    return event.health == "starting" or (
        event.health is not None and event.health == container.health
    )


def _is_like_stop(signal: int | None, container: Container) -> bool:
    """Whether the signal asks for the end of the container as clearly as a stop does.

    KILL does, and a stop signal that somebody chose for this container.
    """
    return signal == SIGKILL or (signal == container.stop_signal not in (None, SIGTERM))


def find_cause(
    container: Container,
    time_ns: int,
    exit_code: int | None,
    *,
    inspection_shows_oom: bool = False,
    may_have_missed_request: bool = False,
) -> Cause:
    """Return why the container died at ``time_ns``, given its state before that.

    Of a request and a kill for memory the later one counts. The time of a kill for memory that only
    ``inspection_shows_oom`` is unknown. If a request may have been missed, an exit code with which
    a requested stop can end (0, or a terminating signal) proves nothing.
    """
    requested_ns = _request_ns(container, time_ns, exit_code)
    oom_ns = _oom_ns(container, time_ns, exit_code)
    if (oom_ns or 0) > (requested_ns or 0):
        return Cause.OOM
    if requested_ns is not None:
        return Cause.REQUESTED
    if inspection_shows_oom and exit_code in (None, EXIT_CODE_SIGKILL):
        return Cause.OOM
    if exit_code is None:
        return Cause.UNKNOWN
    if may_be_signalled(container, time_ns, exit_code):
        return Cause.REQUESTED
    if may_have_missed_request and (exit_code == 0 or is_terminating(exit_code - 128, container)):
        return Cause.UNKNOWN
    return Cause.CRASHED if exit_code else Cause.FINISHED


def is_explained(container: Container | None, time_ns: int, exit_code: int | None) -> bool:
    """Whether a request or a kill for memory explains a death at this time.

    ``exit_code`` is None if it is not known. A signal whose number is not known explains no 137,
    because the kernel may have killed the container for memory.
    """
    return container is not None and (
        _request_ns(container, time_ns, exit_code) is not None
        or _oom_ns(container, time_ns, exit_code) is not None
        or (exit_code != EXIT_CODE_SIGKILL and may_be_signalled(container, time_ns, exit_code))
    )


def _request_ns(container: Container, time_ns: int, exit_code: int | None) -> int | None:
    """Return the time of the last request that explains a death; None if none does."""
    requested_ns = _unless_older(container.requested_ns, time_ns, REQUEST_EXPIRY_NS)
    signal_ns = None
    if container.signal is not None:
        is_fitting = exit_code in (0, 128 + container.signal)
        expiry_ns = REQUEST_EXPIRY_NS if is_fitting else SIGNAL_EXPIRY_NS
        signal_ns = _unless_older(container.signal_ns, time_ns, expiry_ns)
    return max(requested_ns or 0, signal_ns or 0) or None


def _oom_ns(container: Container, time_ns: int, exit_code: int | None) -> int | None:
    """Return the time of the kill for memory that explains a death; None if it does not."""
    if exit_code == 0:
        return None
    expiry_ns = REQUEST_EXPIRY_NS if exit_code == EXIT_CODE_SIGKILL else OOM_EXPIRY_NS
    return _unless_older(container.oom_ns, time_ns, expiry_ns)


def may_be_signalled(container: Container | None, time_ns: int, exit_code: int | None) -> bool:
    """Whether the container died as it would of a signal whose number is not known."""
    if container is None or container.signal is not None or exit_code is None:
        return False
    is_own = exit_code - 128 == container.stop_signal is not None
    if exit_code in _SLOW_EXIT_CODES or is_own:
        expiry_ns = REQUEST_EXPIRY_NS
    elif exit_code - 128 in TERMINATING_SIGNALS:
        expiry_ns = SIGNAL_EXPIRY_NS
    else:
        return False
    return _unless_older(container.signal_ns, time_ns, expiry_ns) is not None


def has_signal(container: Container | None, time_ns: int) -> bool:
    """Whether a signal that may have asked for the end is not too old to explain a death."""
    return (
        container is not None
        and _unless_older(container.signal_ns, time_ns, REQUEST_EXPIRY_NS) is not None
    )


def clear_requests(container: Container) -> Container:
    """Return the state without requests."""
    return replace(container, **_NO_REQUESTS)


def split_requests(container: Container, start_ns: int) -> tuple[Container, Container]:
    """Return the state with the requests before a start, and the state with those since it."""
    times = {
        name: time_ns for name in _NO_REQUESTS if (time_ns := getattr(container, name)) is not None
    }
    clear_since = dict.fromkeys(name for name, time_ns in times.items() if time_ns >= start_ns)
    clear_before = dict.fromkeys(times.keys() - clear_since.keys())
    return replace(container, **clear_since), replace(container, **clear_before)


def _unless_older(happened_ns: int | None, time_ns: int, expiry_ns: int) -> int | None:
    if happened_ns is None or time_ns - happened_ns > expiry_ns:
        return None
    return happened_ns
