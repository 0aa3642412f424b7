"""A Swarm's tasks: which services cannot start."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.ingest.docker.engine.inspection import ERROR_MAX_CHARS
from relay.ingest.docker.engine.swarm import (
    SERVICES_MAX,
    ServiceFailure,
    parse_failures,
    parse_service_names,
)

NO_BIND = 'invalid mount config for type "bind": bind source path does not exist: /nope'


def task(
    state: str, second: int, err: str = "", *, service: str = "s", slot: int = 1, **other: Any
) -> dict[str, Any]:
    """A task as Engine 20.10 and 28.5 list it, as far as it matters."""
    message = other.pop("message", "preparing")
    status = {"Timestamp": f"2026-11-30T16:46:{second:02}.5Z", "State": state, "Message": message}
    return {
        "ID": f"t{second}",
        "ServiceID": service,
        "Slot": slot,
        "NodeID": other.pop("node", "n"),
        "DesiredState": other.pop("desired", "shutdown"),
        "Status": status | {"Err": err, "ContainerStatus": {"ContainerID": ""}},
    }


def failures(*tasks: dict[str, Any]) -> list[ServiceFailure]:
    found = parse_failures(json.dumps(tasks).encode())
    assert found is not None
    return found


def failing(*tasks: dict[str, Any]) -> list[str]:
    return [failure.id for failure in failures(*tasks)]


def test_a_task_that_was_rejected() -> None:
    """Its folder or its image is missing: the last of its attempts counts, whatever their order."""
    tasks = [task("rejected", 40, "older"), task("rejected", 45, NO_BIND), task("rejected", 35)]
    waiting = task("ready", 50, desired="ready")
    (failure,) = failures(*tasks, waiting)
    assert failure == ServiceFailure("s", None, NO_BIND, 1_796_057_205_500_000_000)


def test_a_task_whose_container_did_not_start() -> None:
    """Its command does not exist; the container was made and not started."""
    error = 'starting container failed: exec: "nosuch": executable file not found in $PATH'
    assert failures(task("failed", 40, error, message="starting"))[0].error == error


@pytest.mark.parametrize(
    "tasks",
    [
        [task("failed", 40, "task: non-zero exit (3)", message="started")],
        [task("rejected", 40, NO_BIND), task("running", 45, desired="running")],
        [task("rejected", 40, NO_BIND), task("complete", 45)],
        [task("rejected", 40, NO_BIND, desired="remove")],
        [task("ready", 40, desired="ready")],
        [],
    ],
    ids=["crashed", "runs again", "completed", "removed", "not tried", "none"],
)
def test_a_service_that_starts(tasks: list[dict[str, Any]]) -> None:
    """Or that has not tried."""
    assert failing(*tasks) == []


def test_each_slot_and_each_node_counts() -> None:
    """One replica that runs does not hide another that cannot; nor one node another."""
    running = task("running", 50, slot=1, desired="running")
    assert failing(running, task("rejected", 40, NO_BIND, slot=2)) == ["s"]
    everywhere = task("running", 50, slot=0, node="a", desired="running")
    assert failing(everywhere, task("rejected", 40, NO_BIND, slot=0, node="b")) == ["s"]


def test_bounds() -> None:
    """Neither many services nor a long error take much memory."""
    many = [task("rejected", 40, "x" * 5000, service=f"s{n}") for n in range(SERVICES_MAX + 1)]
    found = failures(*many)
    assert len(found) == SERVICES_MAX
    assert len(found[0].error) == ERROR_MAX_CHARS


def test_which_of_many_services_are_reported() -> None:
    """The same ones, in whatever order their tasks are listed; others would be reported anew."""
    many = [task("rejected", 40, NO_BIND, service=f"s{n}") for n in range(SERVICES_MAX + 10)]
    assert failing(*many) == failing(*reversed(many))


def test_names() -> None:
    """Services are listed apart from their tasks."""
    listed = [{"ID": "s", "Spec": {"Name": "web"}}, {"ID": "t", "Spec": {}}]
    assert parse_service_names(json.dumps(listed).encode()) == {"s": "web"}


@given(st.binary() | st.text('[{"ServiceID":1,}]').map(str.encode))
def test_any_answer(body: bytes) -> None:
    """An engine or a proxy may answer anything."""
    assert parse_failures(body) in (None, [])
    assert parse_service_names(body) == {}
