"""What the events after a death show of its cause, and how long they are waited for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.containers.later_evidence import (
    OOM_WAIT_S,
    PODMAN_WAIT_S,
    STOP_WAIT_S,
    evidence_wait_s,
    find_later_cause,
)
from tests.unit.ingest.docker.samples import NOON_NS, at, make_event

BARE = Container("c")
UNKNOWN_SIGNAL = Container("c", signal_ns=NOON_NS)
STOPPED = Container("c", requested_ns=NOON_NS)


def later_events(*actions: tuple[str, float]) -> list[Event]:
    """Return events of the same container: each action, and its seconds after the death."""
    return [make_event(action, second=second) for action, second in actions]


def wait_s(
    known: Container | None,
    exit_code: int,
    *later: tuple[str, float],
    second: float = 0,
    podman: bool = False,
) -> float:
    """Return for how long a death with this exit code waits."""
    death = make_event("die", exit_code, second=second)
    return evidence_wait_s(death, later_events(*later), known, exit_code, podman=podman)


@pytest.mark.parametrize("podman", [False, True])
def test_a_stop_right_after_the_death(podman: bool) -> None:
    """Docker before 26 sends ``stop`` right after the death: that proves a request."""
    stop = later_events(("stop", 0.01))
    assert find_later_cause(make_event("die", 0), stop, None, podman=podman) is Cause.REQUESTED


def test_a_stop_long_after_the_death() -> None:
    """A late ``stop`` ended the wait of a crashed container for its restart: it proves nothing."""
    death = make_event("die", 1)
    in_time = find_later_cause(death, later_events(("stop", 1)), None, podman=False)
    assert in_time is Cause.REQUESTED
    assert find_later_cause(death, later_events(("stop", 1.001)), None, podman=False) is None


@pytest.mark.parametrize("podman", [False, True])
def test_no_later_event(podman: bool) -> None:
    """Without a later event, nothing is shown."""
    assert find_later_cause(make_event("die", 137), [], None, podman=podman) is None


@pytest.mark.parametrize(
    ("exit_code", "actions", "expected"),
    [
        (137, [("oom", 0.002)], Cause.OOM),
        (137, [("oom", 0.4)], Cause.OOM),
        (1, [("oom", 0.002)], None),
        (0, [("oom", 0.002)], None),
        (137, [("start", 0.1), ("oom", 0.2)], None),
        (137, [("oom", 0.002), ("stop", 0.01)], Cause.REQUESTED),
    ],
)
def test_an_oom_after_the_death(
    exit_code: int, actions: list[tuple[str, float]], expected: Cause | None
) -> None:
    """It explains a 137 of the same life."""
    death = make_event("die", exit_code)
    assert find_later_cause(death, later_events(*actions), None, podman=False) is expected


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
    death, later = make_event("die", exit_code), later_events(*actions)
    expected = Cause.REQUESTED if requested else None
    assert find_later_cause(death, later, None, podman=True) is expected
    assert find_later_cause(death, later, None, podman=False) is None


@pytest.mark.parametrize("exit_code", [0, 3, 137])
def test_a_removal_before_the_monitor_has_cleaned_up(exit_code: int) -> None:
    """It is by force, however long it takes, unless the engine removes the container itself."""
    death, removal = make_event("die", exit_code), later_events(("remove", 4))
    kept, removed = Container("c", auto_remove=False), Container("c", auto_remove=True)
    assert find_later_cause(death, removal, kept, podman=True) is Cause.REQUESTED
    for known in (None, BARE, removed):
        assert find_later_cause(death, removal, known, podman=True) is None
    cleaned = later_events(("cleanup", 3.9), ("remove", 4))
    assert find_later_cause(death, cleaned, kept, podman=True) is None
    soon = later_events(("cleanup", 0.05), ("remove", 0.19))
    expected = Cause.REQUESTED if exit_code == 137 else None
    assert find_later_cause(death, soon, kept, podman=True) is expected
    assert find_later_cause(death, soon, removed, podman=True) is None
    assert find_later_cause(death, removal, kept, podman=False) is None
    assert find_later_cause(death, later_events(("remove", 11)), kept, podman=True) is None


def test_the_waits() -> None:
    """Half a second for an ``oom``, one for a ``stop``, ten for the second ``cleanup``."""
    assert (OOM_WAIT_S, STOP_WAIT_S, PODMAN_WAIT_S) == (0.5, 1, 10)


def test_podman_may_send_evidence_after_any_death_that_is_not_explained() -> None:
    """A stop or a fitting signal before it explains it."""
    assert wait_s(None, 0, podman=True) == PODMAN_WAIT_S
    assert wait_s(UNKNOWN_SIGNAL, 5, ("cleanup", 0.01), podman=True) == PODMAN_WAIT_S
    assert wait_s(UNKNOWN_SIGNAL, 0, podman=True) == 0
    assert wait_s(UNKNOWN_SIGNAL, 137, podman=True) == 0
    assert wait_s(STOPPED, 0, podman=True) == 0


@pytest.mark.parametrize("signal", [None, 3, 15])
def test_docker_may_send_a_stop_after_a_signal_that_explains_nothing(signal: int | None) -> None:
    """Docker before 26: ``kill``, and half a minute later ``die`` and ``stop``."""
    signalled = Container("c", signal_ns=NOON_NS, signal=signal)
    assert wait_s(signalled, 5, second=30) == STOP_WAIT_S
    assert wait_s(signalled, 0, second=30) == 0
    assert wait_s(signalled, 5, second=601) == 0


def test_docker_may_send_an_oom_after_a_137_that_nothing_explains() -> None:
    """No other death waits for one."""
    assert wait_s(None, 137) == OOM_WAIT_S
    assert wait_s(BARE, 137) == OOM_WAIT_S
    assert wait_s(BARE, 1) == 0
    assert wait_s(BARE, 0) == 0
    assert wait_s(STOPPED, 137) == 0
    assert wait_s(Container("c", oom_ns=at(-1)), 137) == 0


@pytest.mark.parametrize("action", ["start", "init", "restart", "remove", "destroy"])
@pytest.mark.parametrize("podman", [False, True])
def test_no_evidence_follows_the_end_of_a_life(action: str, podman: bool) -> None:
    """If the container is gone or runs again, there is no need to wait."""
    assert wait_s(UNKNOWN_SIGNAL, 7, (action, 0.01), podman=podman) == 0
    assert wait_s(BARE, 137, (action, 0.01), podman=podman) == 0


ACTIONS = ["stop", "remove", "cleanup", "start", "init", "restart", "kill", "destroy", "die", "oom"]


@given(st.lists(st.sampled_from(ACTIONS), max_size=6), st.sampled_from([0, 1, 137]), st.booleans())
def test_no_other_action_shows_a_cause(actions: list[str], exit_code: int, podman: bool) -> None:
    """Only ``stop``, ``remove`` and ``cleanup`` can prove a request, and only ``oom`` an OOM."""
    death = make_event("die", exit_code)
    later = later_events(*((action, 0.01) for action in actions))
    match find_later_cause(death, later, None, podman=podman):
        case Cause.REQUESTED:
            assert {"stop", "remove", "cleanup"} & set(actions)
        case Cause.OOM:
            assert (exit_code, "oom" in actions) == (137, True)
        case other:
            assert other is None
