"""What an inspection adds to the state of a container: its configuration, and its times."""

from msgspec.structs import replace

from relay.core.container import Container
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.containers.run_time import RUN_TIME_ATTRIBUTE
from relay.ingest.docker.cursor import CLOCK_TOLERANCE_NS
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.engine.parser import MAX_TIME_NS

USUAL_STOP_SIGNAL = 15
"""The stop signal of a container that is configured with none."""


def apply_inspection(container: Container, inspected: ContainerSnapshot) -> Container:
    """Return the state with how the inspected container is configured."""
    return replace(
        container,
        name=inspected.name or container.name,
        image=inspected.image or container.image,
        labels=inspected.labels,
        exit_code_hidden="exitCode" in inspected.hiding_labels,
        signal_hidden="signal" in inspected.hiding_labels,
        run_time_hidden=RUN_TIME_ATTRIBUTE in inspected.hiding_labels,
        # It cannot change, so that one inspection is enough.
        stop_signal=inspected.stop_signal or container.stop_signal or USUAL_STOP_SIGNAL,
        interactive=inspected.interactive,
        auto_remove=inspected.auto_remove,
        restart_policy=inspected.restart_policy,
        max_retries=inspected.max_retries,
        memory_limit=inspected.memory_limit,
    )


def next_start_ns(container: Container, inspected: ContainerSnapshot) -> int:
    """Return the first known start after the death that the inspection shows."""
    started_ns = max(container.started_ns or 0, inspected.started_ns or 0)
    return started_ns if started_ns > (inspected.finished_ns or 0) else MAX_TIME_NS


def mark_inferred(container: Container, inspected: ContainerSnapshot) -> Container:
    """Return the state after the death that the inspection shows was inferred."""
    inferred_ns = inspected.finished_ns or 0
    if not inspected.is_running:
        inferred_ns = max(inferred_ns, inspected.started_ns or 0)
    return replace(
        container,
        inferred_ns=inferred_ns,
        oom_inferred_ns=(
            inspected.finished_ns if inspected.oom_killed else container.oom_inferred_ns
        ),
    )


def update_times(
    container: Container, inspected: ContainerSnapshot, snapshot: Snapshot
) -> Container:
    """Return the state with the inspected times, unless events have reported later ones since."""
    known_ns, shown_ns = container.started_ns or 0, inspected.started_ns or 0
    started_ns = max(known_ns, shown_ns) or None
    if inspected.is_running or inspected.finished_ns is None:
        return replace(container, started_ns=started_ns)
    # A short life can seem to end before it starts: Podman's times are coarse, and Docker sends the
    # event of a start only when the start is complete.
    same_life = (
        known_ns < max(shown_ns, snapshot.taken_ns - 2 * CLOCK_TOLERANCE_NS) + CLOCK_TOLERANCE_NS
    )
    died_ns = max(
        container.died_ns or 0, inspected.finished_ns, shown_ns, known_ns if same_life else 0
    )
    return replace(container, started_ns=started_ns, died_ns=died_ns)
