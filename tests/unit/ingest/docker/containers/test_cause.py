"""Why a container ended, and what proves afterwards that somebody asked for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.containers.cause import (
    REQUEST_EXPIRY_NS,
    apply_event,
    clear_requests,
    find_cause,
    is_terminating,
    may_prove_requested,
    proves_requested,
    split_requests,
)
from tests.unit.ingest.docker.samples import NOON_NS, at, make_event

HIDDEN = Container("c", exit_code_hidden=True)
BARE = Container("c")
SIGNALLED = Container("c", unknown_signal_ns=1)


def state_after(*events: Event, container: Container = BARE) -> Container:
    """Return a container's state after these events."""
    for event in events:
        container = apply_event(container, event)
    return container


def later_events(*actions: tuple[str, float]) -> list[Event]:
    """Return events of the same container: each action, and its seconds after the death."""
    return [make_event(action, second=second) for action, second in actions]


@pytest.mark.parametrize("signal", [2, 3, 6, 9, 15])
def test_a_terminating_signal_is_a_request(signal: int) -> None:
    """INT, QUIT, ABRT, KILL and TERM ask a process to end."""
    assert state_after(make_event("kill", signal)).requested_ns == NOON_NS


@pytest.mark.parametrize("signal", [1, 10, 12, 28])
def test_any_other_signal_is_no_request(signal: int) -> None:
    """HUP, USR1, USR2 and WINCH do not ask a process to end."""
    assert state_after(make_event("kill", signal)) == BARE


def test_the_containers_own_stop_signal_is_a_request() -> None:
    """A container's stop signal asks it to end, but no other container; no signal is no request."""
    own = Container("c", stop_signal=10)
    assert state_after(make_event("kill", 10), container=own).requested_ns == NOON_NS
    assert not is_terminating(12, own)
    assert not is_terminating(None, BARE)


def test_an_unknown_signal_may_be_a_request() -> None:
    """Podman sends no signal, and a label can replace it."""
    assert state_after(make_event("kill")).unknown_signal_ns == NOON_NS
    labelled = Container("c", signal_hidden=True)
    assert state_after(make_event("kill", 15), container=labelled).unknown_signal_ns == NOON_NS
    assert state_after(make_event("kill", 15), container=labelled).requested_ns is None


def test_a_stop_is_a_request_while_the_container_runs() -> None:
    """Docker from 26 on sends it before the death, older versions after it."""
    assert state_after(make_event("start"), make_event("stop", second=1)).requested_ns == at(1)
    dead = state_after(
        make_event("start"), make_event("die", 0, second=1), make_event("stop", second=2)
    )
    assert dead.requested_ns is None


@pytest.mark.parametrize("action", ["start", "die"])
def test_the_start_and_the_end_of_a_life_clear_requests(action: str) -> None:
    """A request belongs to one life."""
    requested = state_after(make_event("kill", 15), make_event("kill"), make_event("oom"))
    assert requested == Container(
        "c", requested_ns=NOON_NS, unknown_signal_ns=NOON_NS, oom_ns=NOON_NS
    )
    later = apply_event(requested, make_event(action, second=1))
    assert (later.requested_ns, later.unknown_signal_ns, later.oom_ns) == (None, None, None)


def test_the_times_of_a_container_never_go_back() -> None:
    """A late event does not undo what was known."""
    ended = state_after(make_event("start", second=5), make_event("die", 0, second=6))
    late = state_after(
        make_event("start", second=1), make_event("die", 0, second=2), container=ended
    )
    assert (late.started_ns, late.died_ns) == (at(5), at(6))


def test_an_inferred_death_is_kept_until_its_event_arrives() -> None:
    """The event of an earlier death is not its event."""
    inferred = Container("c", inferred_ns=at(5))
    assert state_after(make_event("die", 1, second=4), container=inferred).inferred_ns == at(5)
    assert state_after(make_event("die", 1, second=5), container=inferred).inferred_ns is None


def test_other_actions_change_nothing() -> None:
    """Actions that say nothing about a container's life do not change its state."""
    assert state_after(make_event("rename"), make_event("pause")) == BARE


@pytest.mark.parametrize(
    ("known", "exit_code", "expected"),
    [
        (BARE, 0, Cause.FINISHED),
        (BARE, 3, Cause.CRASHED),
        (BARE, 137, Cause.CRASHED),
        (BARE, None, Cause.UNKNOWN),
        (Container("c", requested_ns=NOON_NS), 0, Cause.REQUESTED),
        (Container("c", requested_ns=NOON_NS), 137, Cause.REQUESTED),
        (Container("c", requested_ns=NOON_NS), None, Cause.REQUESTED),
        (Container("c", oom_ns=NOON_NS), 137, Cause.OOM),
        (Container("c", oom_ns=NOON_NS), 1, Cause.OOM),
        (Container("c", oom_ns=NOON_NS), None, Cause.OOM),
        (Container("c", oom_ns=NOON_NS), 0, Cause.FINISHED),
        (Container("c", requested_ns=NOON_NS, oom_ns=NOON_NS + 1), 137, Cause.OOM),
        (Container("c", requested_ns=NOON_NS + 1, oom_ns=NOON_NS), 137, Cause.REQUESTED),
        (Container("c", requested_ns=NOON_NS, oom_ns=NOON_NS + 1), 0, Cause.REQUESTED),
        (Container("c", unknown_signal_ns=NOON_NS), 0, Cause.REQUESTED),
        (Container("c", unknown_signal_ns=NOON_NS), 143, Cause.REQUESTED),
        (Container("c", unknown_signal_ns=NOON_NS), 137, Cause.REQUESTED),
        (Container("c", unknown_signal_ns=NOON_NS), 5, Cause.CRASHED),
        (Container("c", unknown_signal_ns=NOON_NS), None, Cause.UNKNOWN),
        (Container("c", unknown_signal_ns=NOON_NS, stop_signal=10), 138, Cause.REQUESTED),
    ],
)
def test_the_cause(known: Container, exit_code: int | None, expected: Cause) -> None:
    """The later of a request and a kill for memory, then an unknown signal, then the exit code."""
    assert find_cause(known, at(1), exit_code) is expected


@pytest.mark.parametrize(
    ("known", "exit_code", "expected"),
    [
        (BARE, 137, Cause.OOM),
        (BARE, None, Cause.OOM),
        (BARE, 0, Cause.FINISHED),
        (Container("c", requested_ns=NOON_NS), 137, Cause.REQUESTED),
        (Container("c", unknown_signal_ns=NOON_NS), 137, Cause.OOM),
    ],
)
def test_a_kill_for_memory_that_inspection_shows(
    known: Container, exit_code: int | None, expected: Cause
) -> None:
    """It counts like an ``oom`` of the engine, except that its time is unknown."""
    assert find_cause(known, at(1), exit_code, inspection_shows_oom=True) is expected


@pytest.mark.parametrize(
    ("exit_code", "expected"),
    [
        (137, Cause.UNKNOWN),
        (143, Cause.UNKNOWN),
        (129, Cause.CRASHED),
        (1, Cause.CRASHED),
        (0, Cause.UNKNOWN),
    ],
)
def test_a_request_that_may_have_been_missed(exit_code: int, expected: Cause) -> None:
    """In a blind window, a death that looks requested has an unknown cause."""
    assert find_cause(BARE, at(1), exit_code, may_have_missed_request=True) is expected


def test_known_requests_count_in_a_blind_window() -> None:
    """A request, a kill for memory, and the container's own stop signal."""
    assert (
        find_cause(Container("c", requested_ns=NOON_NS), at(1), 143, may_have_missed_request=True)
        is Cause.REQUESTED
    )
    assert (
        find_cause(
            Container("c", unknown_signal_ns=NOON_NS), at(1), 0, may_have_missed_request=True
        )
        is Cause.REQUESTED
    )
    assert (
        find_cause(Container("c", oom_ns=NOON_NS), at(1), 137, may_have_missed_request=True)
        is Cause.OOM
    )
    assert (
        find_cause(Container("c", stop_signal=10), at(1), 138, may_have_missed_request=True)
        is Cause.UNKNOWN
    )
    assert find_cause(BARE, at(1), 138, may_have_missed_request=True) is Cause.CRASHED


@pytest.mark.parametrize(("late_ns", "expected"), [(0, Cause.REQUESTED), (1, Cause.CRASHED)])
@pytest.mark.parametrize("field", ["requested_ns", "unknown_signal_ns"])
def test_a_request_expires(field: str, late_ns: int, expected: Cause) -> None:
    """After ten minutes it no longer explains a death."""
    known = Container("c", **{field: NOON_NS})  # type: ignore[arg-type]
    assert REQUEST_EXPIRY_NS == 600 * 10**9
    assert find_cause(known, NOON_NS + REQUEST_EXPIRY_NS + late_ns, 143) is expected


def test_a_kill_for_memory_expires_too() -> None:
    """An ``oom`` explains no death that is long after it."""
    known = Container("c", oom_ns=NOON_NS)
    assert find_cause(known, NOON_NS + REQUEST_EXPIRY_NS, 1) is Cause.OOM
    assert find_cause(known, NOON_NS + REQUEST_EXPIRY_NS + 1, 1) is Cause.CRASHED


def test_requests_are_split_by_a_start() -> None:
    """Requests since the start belong to the next life."""
    known = Container("c", name="web", requested_ns=at(5), unknown_signal_ns=at(4), oom_ns=at(3))
    before, since = split_requests(known, at(4))
    assert before == Container("c", name="web", oom_ns=at(3))
    assert since == Container("c", name="web", requested_ns=at(5), unknown_signal_ns=at(4))
    assert split_requests(BARE, at(4)) == (BARE, BARE)
    assert clear_requests(known) == Container("c", name="web")


@pytest.mark.parametrize("podman", [False, True])
def test_a_stop_right_after_the_death(podman: bool) -> None:
    """Docker before 26 sends ``stop`` right after the death: that proves a request."""
    stop = later_events(("stop", 0.01))
    assert proves_requested(make_event("die", 0), stop, podman=podman)


def test_a_stop_long_after_the_death() -> None:
    """A late ``stop`` ended the wait of a crashed container for its restart: it proves nothing."""
    assert proves_requested(make_event("die", 1), later_events(("stop", 1)), podman=False)
    assert not proves_requested(make_event("die", 1), later_events(("stop", 1.001)), podman=False)


@pytest.mark.parametrize("podman", [False, True])
def test_no_later_event(podman: bool) -> None:
    """Without a later event, no request is proved."""
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
    """Podman's deaths await evidence, unless a request is already known."""
    assert may_prove_requested(make_event("die", 0), [], None, podman=True)
    assert may_prove_requested(
        make_event("die", 0), later_events(("cleanup", 0.01)), SIGNALLED, podman=True
    )
    assert not may_prove_requested(
        make_event("die", 0), [], Container("c", requested_ns=1), podman=True
    )


def test_docker_may_send_evidence_if_the_signal_is_hidden() -> None:
    """Docker's deaths await evidence only if a label hides the signal."""
    assert may_prove_requested(make_event("die", 0), [], SIGNALLED, podman=False)
    assert not may_prove_requested(make_event("die", 0), [], None, podman=False)
    assert not may_prove_requested(make_event("die", 0), [], Container("c"), podman=False)
    requested = Container("c", unknown_signal_ns=1, requested_ns=1)
    assert not may_prove_requested(make_event("die", 0), [], requested, podman=False)


@pytest.mark.parametrize("action", ["start", "init", "restart", "remove", "destroy", "stop"])
def test_no_evidence_follows_the_end_of_a_life(action: str) -> None:
    """If the container is gone, runs again, or a request is proved, there is no need to wait."""
    assert not may_prove_requested(
        make_event("die", 7), later_events((action, 0.01)), SIGNALLED, podman=False
    )
    assert not may_prove_requested(
        make_event("die", 7), later_events((action, 0.01)), SIGNALLED, podman=True
    )


ACTIONS = ["stop", "remove", "cleanup", "start", "init", "restart", "kill", "destroy", "die", "oom"]


@given(st.lists(st.sampled_from(ACTIONS), max_size=6), st.sampled_from([0, 1, 137]), st.booleans())
def test_no_other_action_proves_a_request(actions: list[str], exit_code: int, podman: bool) -> None:
    """Only ``stop``, ``remove`` and ``cleanup`` can prove a request."""
    death = make_event("die", exit_code)
    if proves_requested(
        death, later_events(*((action, 0.01) for action in actions)), podman=podman
    ):
        assert {"stop", "remove", "cleanup"} & set(actions)
