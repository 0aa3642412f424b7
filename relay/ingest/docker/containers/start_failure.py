"""Finds containers that should run, do not, and will not be started again by themselves.

An engine that cannot start a container (its bind source, command or image is gone) sends no event.
It does so when it restarts a container by its policy, or starts all of them after its own restart.
Only an inspection shows it: the policy, the state, and Docker's ``State.Error``. Podman shows no
error; there a container counts if its policy keeps it running, it ended without a request, and it
was not started again for a while. Everything here is pure.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.engine.inspection import RESTART_POLICIES, ContainerSnapshot

_KEPT_RUNNING = frozenset({"always", "unless-stopped"})
"""The restart policies of a container that should run until somebody stops it."""

_NOBODY_ASKED = frozenset({Cause.CRASHED, Cause.FINISHED, Cause.OOM})

RESTART_GRACE_NS = 10_000_000_000
"""How long after its death a container may not run although nothing is wrong. Docker shows one that
waits for its next restart as such; Podman starts it again at once (measured with 4.3)."""

NOT_STARTED_AGAIN = "it ended and was not started again"
"""The error that is reported if the engine gives none."""


def note_end(container: Container, event: Event, emitted: Sequence[Event]) -> Container:
    """Return the state with what the event says about whether the container should still run.

    ``emitted`` ends with the event as it is reported, so with its cause.
    """
    match event.action:
        case "start" if container.start_failed:
            return replace(container, start_failed=False)
        case "stop" if container.ended_unasked:  # somebody stopped it before its next restart
            return replace(container, ended_unasked=False)
        case "die" if emitted and container.restart_policy in _KEPT_RUNNING:
            return replace(container, ended_unasked=emitted[-1].cause in _NOBODY_ASKED)
        case _:
            return container


def may_fail_to_start(container: Container) -> bool:
    """Whether an inspection of this container, which does not run, may show a failed start."""
    if container.restart_policy is None:
        return True
    return container.restart_policy in RESTART_POLICIES and not container.start_failed


def find_start_failure(
    container: Container, inspected: ContainerSnapshot, taken_ns: int
) -> str | None:
    """Return why a container that should run does not; None if it runs, or need not run."""
    if inspected.is_running or inspected.is_restarting:
        return None
    if inspected.restart_policy in RESTART_POLICIES and inspected.start_error:
        return inspected.start_error
    if (
        inspected.restart_policy in _KEPT_RUNNING
        and container.ended_unasked
        and inspected.finished_ns is not None
        and inspected.finished_ns < taken_ns - RESTART_GRACE_NS
    ):
        return NOT_STARTED_AGAIN
    return None
