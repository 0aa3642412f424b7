"""Finds out why a container ended, from what happened to it before it died.

The ``die`` event of an engine has an exit code and no reason. Whether somebody asked for the end,
the kernel killed the container for memory, or it crashed follows from the events before it:
``kill``, ``stop`` and ``oom``. They are kept in the container's state until its death consumes
them, or until `REQUEST_EXPIRY_NS` has passed. Everything here is pure: state and event in, state or
cause out.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Cause, Event

TERMINATING_SIGNALS = frozenset({2, 3, 6, 9, 15})
"""Signals that ask a process to end. HUP, USR1, USR2, WINCH and the like do not, unless one of them
is the container's own stop signal."""

REQUEST_EXPIRY_NS = 10 * 60 * 1_000_000_000
"""How long a request explains a death that follows it."""

_EXIT_CODE_SIGKILL = 128 + 9


def apply_event(container: Container, event: Event) -> Container:
    """Return the container's state after one more of its events.

    The engine sends ``kill`` with the signal, and ``stop``, if somebody asked for it. Docker from
    26 on sends ``stop`` before ``die``, older versions after it: then it no longer asks for
    anything. A start begins a new life, to which no request belongs yet; a death consumes the
    requests.
    """
    time_ns = event.time_ns
    match event.action:
        case "start":
            started_ns = max(time_ns, container.started_ns or 0)
            return clear_requests(replace(container, started_ns=started_ns))
        case "die":
            inferred_ns = container.inferred_ns
            if inferred_ns is not None and inferred_ns <= time_ns:
                inferred_ns = None
            # The order of the stream proves that it ended, whatever the clock did meanwhile.
            died_ns = max(time_ns, container.died_ns or 0, container.started_ns or 0)
            return replace(
                container,
                died_ns=died_ns,
                inferred_ns=inferred_ns,
                requested_ns=None,
                unknown_signal_ns=None,
                oom_ns=None,
            )
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
    of its processes, and be stopped long after that. If a request may have been missed, the end of
    a process that does what it is asked to do proves nothing.
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
    ends_as_asked = exit_code == 0 or is_terminating(exit_code - 128, container)
    if _unless_expired(container.unknown_signal_ns, time_ns) is not None and ends_as_asked:
        return Cause.REQUESTED
    if may_have_missed_request and ends_as_asked:
        return Cause.UNKNOWN
    return Cause.CRASHED if exit_code else Cause.FINISHED


def containers_to_inspect(events: Iterable[tuple[Event, Container | None]]) -> set[str]:
    """Return the ids of the containers to inspect before these events are processed.

    Each event comes with its container's state, if that is known. Three things need an inspection:
    a signal that may be the container's own stop signal, a death whose exit code is hidden, and a
    death with 137 that nothing explains: Podman sends no ``oom``, and an engine can omit one.
    """
    not_hidden: set[str] = set()
    explained: set[str] = set()
    found: set[str] = set()
    for event, known in events:
        id_ = event.actor.id
        match event.action:
            case "create" | "start" if "exitCode" not in event.actor.attributes:
                not_hidden.add(id_)
            case "kill" if event.signal is not None and event.signal not in TERMINATING_SIGNALS:
                if known is None or known.stop_signal is None:
                    found.add(id_)
            case "kill" | "stop" | "oom":
                explained.add(id_)
            case "die" if id_ not in not_hidden and (known is None or known.exit_code_hidden):
                found.add(id_)
            case "die" if event.exit_code == _EXIT_CODE_SIGKILL and id_ not in explained:
                if known is None or (known.requested_ns or known.oom_ns) is None:
                    found.add(id_)
    return found


def clear_requests(container: Container) -> Container:
    """Return the state without requests, as at the start and at the end of a life."""
    return replace(container, requested_ns=None, unknown_signal_ns=None, oom_ns=None)


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


def _unless_expired(requested_ns: int | None, time_ns: int) -> int | None:
    if requested_ns is None or time_ns - requested_ns > REQUEST_EXPIRY_NS:
        return None
    return requested_ns
