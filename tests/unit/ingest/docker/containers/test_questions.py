"""What has to be known before a container's event can be processed."""

import pytest

from relay.core.container import Container
from relay.core.event import Event
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS
from relay.ingest.docker.containers.questions import NOTHING_MISSING, REQUESTED, Findings, assess
from tests.unit.ingest.docker.samples import at, make_event

BARE = Container("c")
HIDDEN = Container("c", exit_code_hidden=True)
REQUEST = Container("c", requested_ns=at(0))
SIGNALLED = Container("c", unknown_signal_ns=at(0))
INSPECT = Findings(needs_inspection=True)
WAIT = Findings(awaits_evidence=True)


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
        (make_event("die", 137), Container("c", requested_ns=at(0) - REQUEST_EXPIRY_NS - 1)),
        (make_event("kill", 10), BARE),
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
        (make_event("die", 137), Container("c", oom_ns=at(0))),
        (make_event("kill", 10), Container("c", stop_signal=12)),
        (make_event("kill", 10), Container("c", stop_signal=15)),
        (make_event("kill", 10), Container("c", signal_hidden=True)),
        (make_event("kill", 15), None),
        (make_event("kill"), None),
    ],
)
def test_what_needs_no_inspection(event: Event, known: Container | None) -> None:
    """No answer could change what is told, so the engine is not asked."""
    assert find(event, known) is NOTHING_MISSING


def test_podmans_exit_codes_are_never_hidden() -> None:
    """Of an unknown container only a 137 that nothing explains needs an inspection."""
    died = make_event("die", 3)
    assert find(died, None, podman=True) == WAIT
    assert find(make_event("die", 137), None, podman=True) == Findings(
        needs_inspection=True, awaits_evidence=True
    )


def test_podmans_deaths_await_evidence() -> None:
    """Podman's deaths wait unless a request precedes them; Docker's, if the signal is hidden."""
    died = make_event("die", 1)
    assert find(died, BARE, podman=True) == WAIT
    assert find(died, REQUEST, podman=True) is NOTHING_MISSING
    assert find(died, BARE) is NOTHING_MISSING
    assert find(died, SIGNALLED) == WAIT
    assert find(died, SIGNALLED, make_event("start", second=1)) is NOTHING_MISSING


def test_evidence_that_has_arrived() -> None:
    """A request is proved, whether or not the container has to be inspected too."""
    stop = make_event("stop", second=0.1)
    assert find(make_event("die", 1), BARE, stop) is REQUESTED
    assert find(make_event("die", 1), SIGNALLED, stop) is REQUESTED
    assert find(make_event("die", 137), BARE, stop) == Findings(
        needs_inspection=True, is_requested=True
    )
    assert find(make_event("die", 1), REQUEST, stop) is NOTHING_MISSING
