"""Evidence after a death that somebody requested for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.container import Container
from relay.core.event import Event
from relay.ingest.docker.containers.stop_evidence import (
    EVIDENCE,
    may_prove_requested,
    proves_requested,
)
from tests.unit.ingest.docker.samples import make_event

SIGNALLED = Container("c", unknown_signal_ns=1)


def later_events(*actions: tuple[str, float]) -> list[Event]:
    """Return actions of the same container, so many seconds after its death."""
    return [make_event(action, second=second) for action, second in actions]


@pytest.mark.parametrize("podman", [False, True])
def test_a_stop_right_after_the_death(podman: bool) -> None:
    """As Docker before 26 sends it."""
    stop = later_events(("stop", 0.01))
    assert proves_requested(make_event("die", 0), stop, podman=podman)


def test_a_stop_long_after_the_death() -> None:
    """It stopped a container that had crashed and was waiting for its restart."""
    assert proves_requested(make_event("die", 1), later_events(("stop", 1)), podman=False)
    assert not proves_requested(make_event("die", 1), later_events(("stop", 1.001)), podman=False)


@pytest.mark.parametrize("podman", [False, True])
def test_no_later_event(podman: bool) -> None:
    """Nothing is proved yet."""
    assert not proves_requested(make_event("die", 137), [], podman=podman)


@pytest.mark.parametrize(
    ("exit_code", "actions", "requested"),
    [
        (0, [("cleanup", 0.01), ("cleanup", 0.09)], True),
        (137, [("cleanup", 0.01), ("cleanup", 0.03), ("remove", 0.05)], True),
        (7, [("cleanup", 0.01)], False),
        (7, [("cleanup", 0.01), ("start", 3), ("cleanup", 4)], False),
        (7, [("cleanup", 0.01), ("init", 3), ("cleanup", 4)], False),
        (7, [("restart", 0.002), ("cleanup", 1), ("cleanup", 2)], False),
        (137, [("remove", 0.02)], True),
        (143, [("remove", 0.02)], True),
        (137, [("cleanup", 0.01), ("remove", 0.08)], True),
        (137, [("cleanup", 0.01), ("remove", 0.2)], False),
        (7, [("remove", 0.02)], False),
        (0, [("remove", 0.02)], False),
    ],
)
def test_podman(exit_code: int, actions: list[tuple[str, float]], requested: bool) -> None:
    """Two cleanups in one life prove a stop, an immediate removal a forced one."""
    death = make_event("die", exit_code)
    assert proves_requested(death, later_events(*actions), podman=True) is requested
    assert not proves_requested(death, later_events(*actions), podman=False)


def test_podman_may_send_evidence_after_any_death() -> None:
    """Unless a request is known before it."""
    assert may_prove_requested(make_event("die", 0), [], None, podman=True)
    assert may_prove_requested(
        make_event("die", 0), later_events(("cleanup", 0.01)), SIGNALLED, podman=True
    )
    assert not may_prove_requested(
        make_event("die", 0), [], Container("c", requested_ns=1), podman=True
    )


def test_docker_may_send_evidence_if_the_signal_is_hidden() -> None:
    """Any other death is decided."""
    assert may_prove_requested(make_event("die", 0), [], SIGNALLED, podman=False)
    assert not may_prove_requested(make_event("die", 0), [], None, podman=False)
    assert not may_prove_requested(make_event("die", 0), [], Container("c"), podman=False)
    requested = Container("c", unknown_signal_ns=1, requested_ns=1)
    assert not may_prove_requested(make_event("die", 0), [], requested, podman=False)


@pytest.mark.parametrize("action", ["start", "init", "restart", "remove", "destroy", "stop"])
def test_no_evidence_follows_the_end_of_a_life(action: str) -> None:
    """A container that is gone, runs again or has proved it needs no waiting."""
    assert not may_prove_requested(
        make_event("die", 7), later_events((action, 0.01)), SIGNALLED, podman=False
    )
    assert not may_prove_requested(
        make_event("die", 7), later_events((action, 0.01)), SIGNALLED, podman=True
    )


ACTIONS = ["stop", "remove", "cleanup", "start", "init", "restart", "kill", "destroy", "die", "oom"]


@given(st.lists(st.sampled_from(ACTIONS), max_size=6), st.sampled_from([0, 1, 137]), st.booleans())
def test_no_other_action_proves_a_request(actions: list[str], exit_code: int, podman: bool) -> None:
    """Without one of these actions, no death has to be examined."""
    death = make_event("die", exit_code)
    if proves_requested(
        death, later_events(*((action, 0.01) for action in actions)), podman=podman
    ):
        assert EVIDENCE & set(actions)
