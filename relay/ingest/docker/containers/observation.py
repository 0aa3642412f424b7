"""What a snapshot of an engine's containers says about their incidents."""

from relay.incidents.observation import Observation, ObservedContainer
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.engine.inspection import RESTART_POLICIES, ContainerSnapshot


def observe(snapshot: Snapshot, *, podman: bool) -> Observation:
    """Return what a snapshot says about the containers that have an incident."""
    containers = [_observe_container(each, podman=podman) for each in snapshot.containers]
    return Observation(snapshot.engine, snapshot.taken_ns, containers, snapshot.missing)


def _observe_container(inspected: ContainerSnapshot, *, podman: bool) -> ObservedContainer:
    """Return what an inspection says.

    A container that Docker will start again is in the state of restarting. Podman has no such
    state, so there only the policy is known.
    """
    may_restart = podman and inspected.restart_policy in RESTART_POLICIES
    return ObservedContainer(
        inspected.id,
        inspected.name,
        inspected.labels,
        is_running=inspected.is_running,
        started_ns=inspected.started_ns,
        health=inspected.health,
        facts=inspected.facts,
        will_restart=inspected.is_running or inspected.is_restarting or may_restart,
    )
