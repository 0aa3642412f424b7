"""Why a container ended, by what happened before it."""

import pytest

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.containers.cause import (
    OOM_EXPIRY_NS,
    REQUEST_EXPIRY_NS,
    SIGNAL_EXPIRY_NS,
    apply_event,
    clear_requests,
    find_cause,
    is_terminating,
    split_requests,
)
from tests.unit.ingest.docker.samples import NOON_NS, at, make_event

HIDDEN = Container("c", exit_code_hidden=True)
BARE = Container("c")


def state_after(*events: Event, container: Container = BARE) -> Container:
    """Return a container's state after these events."""
    for event in events:
        container = apply_event(container, event)
    return container


@pytest.mark.parametrize("signal", [2, 3, 6, 15])
def test_a_terminating_signal_may_be_ignored(signal: int) -> None:
    """INT, QUIT, ABRT and TERM ask a process to end; whether it did so shows at its death."""
    signalled = state_after(make_event("kill", signal))
    assert signalled == Container("c", signal_ns=NOON_NS, signal=signal)


def test_kill_is_a_request() -> None:
    """No process can ignore it."""
    assert state_after(make_event("kill", 9)) == Container("c", requested_ns=NOON_NS)


@pytest.mark.parametrize("signal", [1, 10, 12, 28])
def test_any_other_signal_is_no_request(signal: int) -> None:
    """HUP, USR1, USR2 and WINCH do not ask a process to end."""
    assert state_after(make_event("kill", signal)) == BARE


@pytest.mark.parametrize("signal", [2, 3, 10])
def test_the_containers_own_stop_signal_is_a_request(signal: int) -> None:
    """A container's stop signal asks it to end, but no other container; no signal is no request."""
    own = Container("c", stop_signal=signal)
    assert state_after(make_event("kill", signal), container=own).requested_ns == NOON_NS
    assert not is_terminating(12, own)
    assert not is_terminating(None, BARE)


def test_term_is_no_stop_signal_of_its_own() -> None:
    """It is the stop signal of every container that has no other."""
    usual = Container("c", stop_signal=15)
    signalled = state_after(make_event("kill", 15), container=usual)
    assert (signalled.requested_ns, signalled.signal_ns) == (None, NOON_NS)


def test_an_unknown_signal_may_be_a_request() -> None:
    """Podman sends no signal, and a label can replace it."""
    assert state_after(make_event("kill")).signal_ns == NOON_NS
    labelled = Container("c", signal_hidden=True, signal=15)
    signalled = state_after(make_event("kill", 15), container=labelled)
    assert (signalled.signal_ns, signalled.signal) == (NOON_NS, None)
    assert signalled.requested_ns is None


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
    requested = state_after(make_event("kill", 9), make_event("kill"), make_event("oom"))
    assert requested == Container("c", requested_ns=NOON_NS, signal_ns=NOON_NS, oom_ns=NOON_NS)
    later = apply_event(requested, make_event(action, second=1))
    assert (later.requested_ns, later.signal_ns, later.oom_ns) == (None, None, None)


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
        (Container("c", signal_ns=NOON_NS), 0, Cause.REQUESTED),
        (Container("c", signal_ns=NOON_NS), 143, Cause.REQUESTED),
        (Container("c", signal_ns=NOON_NS), 137, Cause.REQUESTED),
        (Container("c", signal_ns=NOON_NS), 5, Cause.CRASHED),
        (Container("c", signal_ns=NOON_NS), None, Cause.UNKNOWN),
        (Container("c", signal_ns=NOON_NS, stop_signal=10), 138, Cause.REQUESTED),
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
        (Container("c", signal_ns=NOON_NS), 137, Cause.OOM),
        (BARE, 1, Cause.CRASHED),
    ],
)
def test_a_kill_for_memory_that_inspection_shows(
    known: Container, exit_code: int | None, expected: Cause
) -> None:
    """It explains a 137, or a death without an exit code: its time is unknown."""
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
        find_cause(Container("c", signal_ns=NOON_NS), at(1), 0, may_have_missed_request=True)
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


SIGNALLED = {number: Container("c", signal_ns=NOON_NS, signal=number) for number in (2, 3, 6, 15)}
UNKNOWN = Container("c", signal_ns=NOON_NS)
OWN = Container("c", signal_ns=NOON_NS, stop_signal=10)


@pytest.mark.parametrize("late_ns", [0, 1])
@pytest.mark.parametrize(
    ("known", "exit_code", "expiry_ns", "in_time"),
    [
        (Container("c", requested_ns=NOON_NS), 143, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (Container("c", requested_ns=NOON_NS), 1, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[15], 143, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[15], 1, SIGNAL_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[15], 137, SIGNAL_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[2], 130, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[2], 143, SIGNAL_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[3], 131, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[3], 139, SIGNAL_EXPIRY_NS, Cause.REQUESTED),
        (SIGNALLED[6], 134, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (UNKNOWN, 143, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (UNKNOWN, 130, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (OWN, 138, REQUEST_EXPIRY_NS, Cause.REQUESTED),
        (UNKNOWN, 137, SIGNAL_EXPIRY_NS, Cause.REQUESTED),
        (UNKNOWN, 134, SIGNAL_EXPIRY_NS, Cause.REQUESTED),
        (UNKNOWN, 131, SIGNAL_EXPIRY_NS, Cause.REQUESTED),
        (Container("c", oom_ns=NOON_NS), 137, REQUEST_EXPIRY_NS, Cause.OOM),
        (Container("c", oom_ns=NOON_NS), 1, OOM_EXPIRY_NS, Cause.OOM),
        (Container("c", oom_ns=NOON_NS), 139, OOM_EXPIRY_NS, Cause.OOM),
    ],
)
def test_how_long_something_explains_a_death(
    known: Container, exit_code: int, expiry_ns: int, in_time: Cause, late_ns: int
) -> None:
    """A signal that may be ignored explains what fits it, or what follows soon; so does an OOM."""
    expected = Cause.CRASHED if late_ns else in_time
    assert find_cause(known, NOON_NS + expiry_ns + late_ns, exit_code) is expected


def test_the_expiries() -> None:
    """Ten minutes, ten seconds, one second."""
    assert (REQUEST_EXPIRY_NS, SIGNAL_EXPIRY_NS, OOM_EXPIRY_NS) == (600 * 10**9, 10**10, 10**9)


@pytest.mark.parametrize("signal", [2, 3, 6, 15])
@pytest.mark.parametrize(("exit_code", "expected"), [(0, Cause.REQUESTED), (None, Cause.UNKNOWN)])
def test_a_slow_end_on_a_signal(signal: int, exit_code: int | None, expected: Cause) -> None:
    """An end without an error fits every signal; one without a known exit code fits none."""
    assert find_cause(SIGNALLED[signal], at(30), exit_code) is expected


def test_a_thread_dump_and_a_later_crash() -> None:
    """SIGQUIT, SIGINT and SIGTERM that the process handled."""
    for signal in (3, 2, 15):
        for exit_code in (1, 139):
            for second in (11, 480):
                found = find_cause(SIGNALLED[signal], at(second), exit_code)
                assert found is Cause.CRASHED, (signal, exit_code, second)


def test_the_end_of_a_child_for_memory() -> None:
    """The container ran on, and ended later for another reason."""
    survived = state_after(make_event("oom"))
    assert find_cause(survived, at(480), 139) is Cause.CRASHED
    assert find_cause(survived, at(3), 1) is Cause.CRASHED
    assert find_cause(survived, at(0.02), 1) is Cause.OOM
    assert find_cause(survived, at(480), 137) is Cause.OOM
    assert find_cause(survived, at(3), 0) is Cause.FINISHED
    assert find_cause(survived, at(3), None) is Cause.UNKNOWN
    stopped = apply_event(survived, make_event("stop", second=2))
    assert find_cause(stopped, at(3), 1) is Cause.REQUESTED


def test_requests_are_split_by_a_start() -> None:
    """Requests since the start belong to the next life."""
    known = Container("c", name="web", requested_ns=at(5), signal_ns=at(4), oom_ns=at(3))
    before, since = split_requests(known, at(4))
    assert before == Container("c", name="web", oom_ns=at(3))
    assert since == Container("c", name="web", requested_ns=at(5), signal_ns=at(4))
    assert split_requests(BARE, at(4)) == (BARE, BARE)
    assert clear_requests(known) == Container("c", name="web")
