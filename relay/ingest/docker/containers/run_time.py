"""Finds out how long a container had run when it died.

Docker says it in whole seconds from version 23 on, in an attribute that a label can hide; the last
known start says it exactly, if no later start was missed. Podman does not say it: there an
attribute of that name is a label.
"""

from relay.core.container import Container
from relay.core.event import Event
from relay.ingest.docker.engine.inspection import ContainerSnapshot

RUN_TIME_ATTRIBUTE = "execDuration"
"""See ``handleContainerExit`` in moby's ``daemon/monitor.go``."""

_SECOND_NS = 1_000_000_000

TOLERANCE_NS = _SECOND_NS
"""By how much the last known start may differ from the start that the engine means: its events are
a little later than what they report."""

MAX_DIGITS = 10
"""A longer number of seconds is a label's."""


def find_run_time(container: Container, death: Event, *, podman: bool) -> int | None:
    """Return how long the life had lasted that ended with this ``die``; None if it is not known.

    ``container`` is its state before that.
    """
    known_ns = find_known_run_time(container, death.time_ns)
    shown_ns = None if podman or container.run_time_hidden else _parse(death)
    if shown_ns is None or known_ns is None:
        return known_ns if shown_ns is None else shown_ns
    is_same = -TOLERANCE_NS < known_ns - shown_ns < _SECOND_NS + TOLERANCE_NS
    return known_ns if is_same else shown_ns


def find_inspected_run_time(container: Container, inspected: ContainerSnapshot) -> int | None:
    """Return how long the life had lasted whose end an inspection shows; None if it is not known.

    The engine shows the start of that life until the next start; after that, relay may know it.
    """
    shown_ns, died_ns = inspected.started_ns, inspected.finished_ns
    if shown_ns is not None and died_ns is not None and shown_ns <= died_ns:
        return died_ns - shown_ns
    return None if died_ns is None else find_known_run_time(container, died_ns)


def find_known_run_time(container: Container, died_ns: int) -> int | None:
    """Return the time from the last known start to a death; None if it had died since then."""
    started_ns = container.started_ns
    if started_ns is None or container.is_dead or started_ns > died_ns:
        return None
    return died_ns - started_ns


def _parse(death: Event) -> int | None:
    text = death.actor.attributes.get(RUN_TIME_ATTRIBUTE, "")
    if len(text) > MAX_DIGITS or not (text.isascii() and text.isdecimal()):
        return None
    run_ns = int(text) * _SECOND_NS
    return run_ns if run_ns < death.time_ns else None
