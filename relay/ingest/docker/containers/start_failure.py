"""Finds containers that should run, do not, and will not be started again by themselves.

An engine that cannot start a container (its bind source, command or image is gone) sends no event.
It does so when it restarts a container by its policy, or starts all of them after its own restart.
Only an inspection shows it: the policy, the state, and Docker's ``State.Error``. Podman shows no
error; there a container counts if its policy keeps it running, it ended without a request, and it
was not started again for a while. Everything here is pure.
"""

from relay.core.container import Container
from relay.core.event import Cause
from relay.ingest.docker.engine.inspection import ContainerSnapshot

KEPT_RUNNING = frozenset({"always", "unless-stopped"})
"""The restart policies of a container that ends only if somebody asks for it."""

RESTARTED = KEPT_RUNNING | {"on-failure"}
"""The restart policies by which an engine starts a container again."""

NOBODY_ASKED = frozenset({Cause.CRASHED, Cause.FINISHED, Cause.OOM})

RESTART_GRACE_NS = 10_000_000_000
"""How long after its death a container may not run although nothing is wrong. Docker shows one that
waits for its next restart as such; Podman starts it again at once (measured with 4.3)."""

NOT_STARTED_AGAIN = "it ended and was not started again"
"""The error of a container of which the engine gives none."""


def may_fail_to_start(container: Container) -> bool:
    """Whether an inspection of this container, which does not run, may show a failed start."""
    if container.restart_policy is None:
        return True
    return container.restart_policy in RESTARTED and not container.start_failed


def find_start_failure(
    container: Container, inspected: ContainerSnapshot, taken_ns: int
) -> str | None:
    """Return why a container that should run does not; None if it runs, or need not run."""
    if inspected.is_running or inspected.is_restarting:
        return None
    if inspected.restart_policy in RESTARTED and inspected.start_error:
        return inspected.start_error
    if (
        inspected.restart_policy in KEPT_RUNNING
        and container.ended_unasked
        and inspected.finished_ns is not None
        and inspected.finished_ns < taken_ns - RESTART_GRACE_NS
    ):
        return NOT_STARTED_AGAIN
    return None
