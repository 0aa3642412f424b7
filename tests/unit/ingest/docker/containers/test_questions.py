"""What has to be known before a container's event can be processed."""

import pytest

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS
from relay.ingest.docker.containers.later_evidence import OOM_WAIT_S, PODMAN_WAIT_S, STOP_WAIT_S
from relay.ingest.docker.containers.questions import NOTHING_MISSING, Findings, assess
from tests.unit.ingest.docker.samples import at, make_event

BARE = Container("c")
HIDDEN = Container("c", exit_code_hidden=True)
REQUEST = Container("c", requested_ns=at(0))
SIGNALLED = Container("c", signal_ns=at(0))
INSPECT = Findings(needs_inspection=True)
INSPECT_AND_WAIT = Findings(needs_inspection=True, evidence_wait_s=PODMAN_WAIT_S)


def find(event: Event, known: Container | None, *later: Event, podman: bool = False) -> Findings:
    return assess(event, known, lambda: later, podman=podman)


@pytest.mark.parametrize(
    ("event", "known"),
    [
        (make_event("die", 3), None),
        (make_event("die", 0), None),
        (make_event("die", 3), HIDDEN),
        (make_event("die", 0), HIDDEN),
        (make_event("die", 137), BARE),
        (make_event("die", 137), SIGNALLED),
        (make_event("die", 137, second=11), SIGNALLED),
        (make_event("die", 137, second=11), Container("c", signal_ns=at(0), signal=3)),
        (make_event("die", 137), Container("c", requested_ns=at(0) - REQUEST_EXPIRY_NS - 1)),
        (make_event("kill", 10), BARE),
        (make_event("kill", 3), BARE),
        (make_event("kill", 28), None),
    ],
)
def test_what_needs_an_inspection(event: Event, known: Container | None) -> None:
    """A hidden exit code, an own stop signal, or a 137 that nothing explains."""
    assert find(event, known).needs_inspection


@pytest.mark.parametrize(
    ("event", "known"),
    [
        (make_event("die", 3), BARE),
        (make_event("die", 0), BARE),
        (make_event("die", 137), REQUEST),
        (make_event("die", 143), SIGNALLED),
        (make_event("die", 137), Container("c", signal_ns=at(0), signal=15)),
        (make_event("die", 137), Container("c", oom_ns=at(0))),
        (make_event("kill", 10), Container("c", stop_signal=12)),
        (make_event("kill", 10), Container("c", stop_signal=15)),
        (make_event("kill", 10), Container("c", signal_hidden=True)),
        (make_event("kill", 15), None),
        (make_event("kill", 9), None),
        (make_event("kill"), None),
    ],
)
def test_what_needs_no_inspection(event: Event, known: Container | None) -> None:
    """No answer could change what is reported, so the engine is not asked."""
    assert find(event, known) is NOTHING_MISSING


@pytest.mark.parametrize("exit_code", [0, 3, 137])
@pytest.mark.parametrize("known", [None, BARE])
def test_podmans_deaths(exit_code: int, known: Container | None) -> None:
    """An inspection or the events after it may say that somebody stopped the container."""
    assert find(make_event("die", exit_code), known, podman=True) == INSPECT_AND_WAIT
    assert find(make_event("die", exit_code), REQUEST, podman=True) is NOTHING_MISSING


def test_dockers_deaths_wait_for_what_may_explain_them() -> None:
    """A ``stop``, if a signal explains nothing; an ``oom``, if nothing explains a 137."""
    died = make_event("die", 1, second=11)
    assert find(died, BARE) is NOTHING_MISSING
    assert find(died, REQUEST) is NOTHING_MISSING
    assert find(died, SIGNALLED) == Findings(evidence_wait_s=STOP_WAIT_S)
    assert find(died, SIGNALLED, make_event("start", second=12)) is NOTHING_MISSING
    killed = Findings(needs_inspection=True, evidence_wait_s=OOM_WAIT_S, removal_ends_wait=True)
    assert find(make_event("die", 137), BARE) == killed
    assert find(make_event("die", 137), None) == killed
    assert find(make_event("die", 137), BARE, make_event("start", second=1)) == INSPECT


def test_a_hidden_exit_code_explains_nothing() -> None:
    """The label says 0, which would fit the signal."""
    signalled = Container("c", signal_ns=at(0), signal=15, exit_code_hidden=True)
    found = find(make_event("die", 0, second=11), signalled)
    assert found == Findings(needs_inspection=True, evidence_wait_s=STOP_WAIT_S)


def test_evidence_that_has_arrived() -> None:
    """A cause is shown, whether or not the container has to be inspected too."""
    stop, oom = make_event("stop", second=0.1), make_event("oom", second=0.1)
    requested = Findings(later_cause=Cause.REQUESTED)
    assert find(make_event("die", 1), BARE, stop) == requested
    assert find(make_event("die", 1), SIGNALLED, stop) == requested
    assert find(make_event("die", 1), REQUEST, stop) is NOTHING_MISSING
    assert find(make_event("die", 137), BARE, stop).later_cause is Cause.REQUESTED
    assert find(make_event("die", 137), BARE, oom).later_cause is Cause.OOM
    assert find(make_event("die", 1), BARE, oom) is NOTHING_MISSING
