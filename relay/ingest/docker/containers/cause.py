"""Why a container ended: what was asked of it, and what befell it, before it died."""

from collections.abc import Iterable

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Cause, Event

TERMINATING_SIGNALS = frozenset({2, 3, 6, 9, 15})
"""Those that ask a process to end. HUP, USR1, USR2, WINCH and the like do not, unless one is the
container's own stop signal."""

REQUEST_EXPIRY_NS = 10 * 60 * 1_000_000_000
"""How long a request explains a death that follows it."""

_EXIT_CODE_SIGKILL = 128 + 9


def apply_event(container: Container, event: Event) -> Container:
    """What is known of a container after one more of its events.

    The engine says ``kill`` with the signal and ``stop`` for what somebody asked. Docker from 26 on
    says ``stop`` before ``die``, older ones after it: then it asks for nothing any more. A start
    makes a new life of it, to which no request belongs yet; a death consumes them.
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
            # The stream's order proves that it is over, whatever its clock did meanwhile.
            died_ns = max(time_ns, container.died_ns or 0, container.started_ns or 0)
            return replace(
                container,
                died_ns=died_ns,
                inferred_ns=inferred_ns,
                asked_ns=None,
                killed_ns=None,
                oom_ns=None,
            )
        case "kill" if container.signal_hidden or event.signal is None:
            return replace(container, killed_ns=time_ns)
        case "kill" if is_terminating(event.signal, container):
            return replace(container, asked_ns=time_ns)
        case "stop" if not container.is_dead:
            return replace(container, asked_ns=time_ns)
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
    """Why it died at ``time_ns``, after all that is known of it.

    Of a request and a kill for memory the later counts: a container can outlive the kill of one of
    its processes, and be stopped long after. ``oom_seen``: the engine's inspection calls it a kill
    for memory. ``unheard``: a request could have been missed; then the end of a process that does
    as it is asked proves nothing.
    """
    asked_ns = _unless_expired(container.asked_ns, time_ns)
    oom_ns = _unless_expired(container.oom_ns, time_ns)
    if exit_code != 0 and (oom_ns or 0) > (asked_ns or 0):
        return Cause.OOM
    if asked_ns is not None:
        return Cause.REQUESTED
    if inspection_shows_oom and exit_code != 0:
        return Cause.OOM
    if exit_code is None:
        return Cause.UNKNOWN
    by_signal = is_terminating(exit_code - 128, container)
    if _unless_expired(container.killed_ns, time_ns) is not None and (by_signal or exit_code == 0):
        return Cause.REQUESTED
    if may_have_missed_request and (by_signal or exit_code == 0):
        return Cause.UNKNOWN
    return Cause.CRASHED if exit_code else Cause.FINISHED


def containers_to_inspect(events: Iterable[tuple[Event, Container | None]]) -> set[str]:
    """The ids of the containers that have to be inspected before these events can be judged.

    A signal that may be the container's own stop signal; a death whose exit code is hidden, or
    whose 137 nothing explains: Podman sends no ``oom``, and an engine can skip one.
    """
    plain: set[str] = set()
    explained: set[str] = set()
    asked: set[str] = set()
    for event, known in events:
        id_ = event.actor.id
        match event.action:
            case "create" | "start" if "exitCode" not in event.actor.attributes:
                plain.add(id_)
            case "kill" if event.signal is not None and event.signal not in TERMINATING_SIGNALS:
                if known is None or known.stop_signal is None:
                    asked.add(id_)
            case "kill" | "stop" | "oom":
                explained.add(id_)
            case "die" if id_ not in plain and (known is None or known.exit_code_hidden):
                asked.add(id_)
            case "die" if event.exit_code == _EXIT_CODE_SIGKILL and id_ not in explained:
                if known is None or (known.asked_ns or known.oom_ns) is None:
                    asked.add(id_)
    return asked


def clear_requests(container: Container) -> Container:
    """As it is at the beginning and at the end of a life."""
    return replace(container, asked_ns=None, killed_ns=None, oom_ns=None)


def split_requests(container: Container, start_ns: int) -> tuple[Container, Container]:
    """With what it was asked before a start, and with what it was asked since."""
    asked = {
        name: time_ns
        for name in ("asked_ns", "killed_ns", "oom_ns")
        if (time_ns := getattr(container, name)) is not None
    }
    before = dict.fromkeys(name for name, time_ns in asked.items() if time_ns >= start_ns)
    since = dict.fromkeys(asked.keys() - before.keys())
    return replace(container, **before), replace(container, **since)


def _unless_expired(asked_ns: int | None, time_ns: int) -> int | None:
    return asked_ns if asked_ns is not None and time_ns - asked_ns <= REQUEST_EXPIRY_NS else None
