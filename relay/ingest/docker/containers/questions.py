"""Finds out what has to be known before an event can be processed.

Most events need nothing else. Some need an inspection of their container: a signal that may be the
container's own stop signal, a death whose exit code a label may hide, a death with 137 that nothing
explains (an engine can omit an ``oom``, and Podman sends none), and every death in Podman that
nothing explains, because only an inspection says that somebody stopped the container. And the
events after a death may show its cause (see `relay.ingest.docker.containers.later_evidence`).
Everything here is pure: the pipeline holds such an event, and those of its container after it,
until the answer has arrived.
"""

from collections.abc import Callable, Sequence

import msgspec

from relay.core.container import Container
from relay.core.event import Cause, Event
from relay.ingest.docker.containers.cause import (
    EXIT_CODE_SIGKILL,
    SIGKILL,
    SIGTERM,
    is_explained,
)
from relay.ingest.docker.containers.later_evidence import (
    OOM_WAIT_S,
    evidence_wait_s,
    find_later_cause,
)

DOUBTFUL_ACTIONS = frozenset({"kill", "die"})
"""Only events with these actions may need an answer, and those of `BEGINNING_ACTIONS`."""

BEGINNING_ACTIONS = frozenset({"create", "start"})
"""Events with these actions need an inspection if a route has a condition on ``interactive``, which
only an inspection shows. It is made this early because a container with ``--rm`` cannot be
inspected after its death."""


class Findings(msgspec.Struct, frozen=True):
    """What is known of an event from those that have arrived, and what is missing."""

    needs_inspection: bool = False
    """Whether an inspection of the container can change what the event means."""
    evidence_wait_s: float = 0
    """For how long events that are about to arrive can change it."""
    removal_ends_wait: bool = False
    """Whether no such event can arrive once the engine has removed the container."""
    later_cause: Cause | None = None
    """The cause of this death that later events show."""


NOTHING_MISSING = Findings()
"""What `assess` returns if the event can be processed as it is."""

_NEEDS_INSPECTION = Findings(needs_inspection=True)


class Question(msgspec.Struct, frozen=True):
    """An event that waits for an inspection, for evidence, or for both."""

    event_id: str
    container: str
    needs_inspection: bool
    evidence_wait_s: float
    """For how long the event waits for evidence; 0 if it does not."""


def assess(
    event: Event, known: Container | None, later: Callable[[], Sequence[Event]], *, podman: bool
) -> Findings:
    """Return what is known about an event with one of the actions above.

    ``known`` is the container's state before the event; ``later`` returns the events of the same
    container that arrived after it.
    """
    if event.action in BEGINNING_ACTIONS:
        is_known = known is not None and known.interactive is not None
        return NOTHING_MISSING if is_known else _NEEDS_INSPECTION
    if event.action == "kill":
        return _NEEDS_INSPECTION if _may_be_stop_signal(event, known) else NOTHING_MISSING
    # A label may replace the exit code. In Podman's events the real value wins.
    may_be_hidden = not podman if known is None else known.exit_code_hidden
    exit_code = None if may_be_hidden else event.exit_code
    if is_explained(known, event.time_ns, exit_code):
        return _NEEDS_INSPECTION if may_be_hidden else NOTHING_MISSING
    after = later()
    if cause := find_later_cause(event, after, known, podman=podman):
        return Findings(may_be_hidden, later_cause=cause)
    needs_inspection = may_be_hidden or podman or event.exit_code == EXIT_CODE_SIGKILL
    wait_s = evidence_wait_s(event, after, known, exit_code, podman=podman)
    if not (needs_inspection or wait_s):
        return NOTHING_MISSING
    # Docker sends an `oom` of a container that it still has. A `stop` may follow its removal.
    return Findings(needs_inspection, wait_s, removal_ends_wait=wait_s == OOM_WAIT_S)


def _may_be_stop_signal(kill: Event, known: Container | None) -> bool:
    """Whether the signal may be the container's own stop signal, which is not known yet."""
    if kill.signal in (None, SIGKILL, SIGTERM):  # these mean the same in every container
        return False
    return known is None or (known.stop_signal is None and not known.signal_hidden)
