"""Parses a Swarm's tasks, and finds the services whose tasks cannot start.

Swarm starts a task that failed again and again, as a new task each time, and sends no event about
it: a container of the task, if there is one at all, is created and removed. Only a manager knows
why (Docker Engine API, ``GET /tasks``). Everything here is pure.
"""

from collections.abc import Iterable, Mapping

import msgspec

from relay.ingest.docker.engine.inspection import ERROR_MAX_CHARS, parse_time_ns

SERVICES_MAX = 100
"""How many failing services are reported; more than that have one reason in common."""

_SETTLED = frozenset({"running", "complete", "failed", "rejected"})
"""The states (moby, ``api/types/swarm/task.go``) after which it is known how a start went."""


class ServiceFailure(msgspec.Struct, frozen=True):
    """A service whose tasks cannot start."""

    id: str
    name: str | None
    error: str
    """Why its last task did not start."""
    failed_ns: int
    """When that was, by the manager's clock."""


class _Status(msgspec.Struct, rename="pascal"):
    state: str = ""
    timestamp: str = ""
    message: str = ""
    """What it was about to do: it failed ``starting``, or had ``started``."""
    err: str = ""


class _Task(msgspec.Struct, rename="pascal"):
    service_id: str = msgspec.field(default="", name="ServiceID")
    node_id: str = msgspec.field(default="", name="NodeID")
    slot: int = 0
    """0 for a service with one task on each node."""
    desired_state: str = ""
    status: _Status = msgspec.field(default_factory=_Status)


class _Spec(msgspec.Struct, rename="pascal"):
    name: str = ""


class _Service(msgspec.Struct, rename="pascal"):
    id: str = msgspec.field(default="", name="ID")
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decode_tasks = msgspec.json.Decoder(list[_Task]).decode
_decode_services = msgspec.json.Decoder(list[_Service]).decode


def parse_failures(tasks: bytes) -> list[ServiceFailure] | None:
    """Return the failing services in an answer to ``GET /tasks``; None if it cannot be read.

    A service fails if the last task in one of its slots did not start. A task that ran and crashed
    is no failed start: its container's death is an event. Of more than `SERVICES_MAX` services
    these are always the same, however the answer is ordered, so that none is reported again.
    """
    try:
        decoded = _decode_tasks(tasks)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    found: dict[str, ServiceFailure] = {}
    for task, failed_ns in _last_attempts(decoded):
        status = task.status
        did_not_start = status.state == "rejected" or (
            status.state == "failed" and status.message == "starting"
        )
        if did_not_start and task.service_id:
            failure = ServiceFailure(task.service_id, None, status.err[:ERROR_MAX_CHARS], failed_ns)
            found.setdefault(task.service_id, failure)
    return [found[id_] for id_ in sorted(found)[:SERVICES_MAX]]


def _last_attempts(tasks: Iterable[_Task]) -> Iterable[tuple[_Task, int]]:
    """Return the last task in each slot of each service whose start succeeded or failed."""
    last: dict[tuple[str, str | int], tuple[_Task, int]] = {}
    for task in tasks:
        if task.status.state not in _SETTLED or task.desired_state == "remove":
            continue
        time_ns = parse_time_ns(task.status.timestamp) or 0
        slot = (task.service_id, task.slot or task.node_id)
        if slot not in last or time_ns >= last[slot][1]:
            last[slot] = task, time_ns
    return last.values()


def parse_service_names(services: bytes) -> Mapping[str, str]:
    """Return the names in an answer to ``GET /services``, by id; none if it cannot be read."""
    try:
        decoded = _decode_services(services)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return {service.id: service.spec.name for service in decoded if service.spec.name}
