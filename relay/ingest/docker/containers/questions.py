"""Finds out what has to be known before an event can be processed.

Most events need nothing else. Three need an inspection of their container: a signal that may be the
container's own stop signal, a death whose exit code a label may hide, and a death with 137 that
nothing explains: Podman sends no ``oom``, and an engine can omit one. And the events after a death
may prove that somebody asked for it (see `relay.ingest.docker.containers.cause`). Everything here
is pure: the pipeline holds such an event, and those of its container after it, until the answer has
arrived.
"""

from collections.abc import Callable, Sequence

import msgspec

from relay.core.container import Container
from relay.core.event import Event
from relay.ingest.docker.containers.cause import (
    EXIT_CODE_SIGKILL,
    TERMINATING_SIGNALS,
    is_explained,
    may_prove_requested,
    proves_requested,
)

DOUBTFUL_ACTIONS = frozenset({"kill", "die"})
"""Only events with these actions may need an answer, and those of `BEGINNING_ACTIONS`."""

BEGINNING_ACTIONS = frozenset({"create", "start"})
"""Events with these actions need one if a route distinguishes containers by what only an inspection
shows (``interactive``). It is asked early, because ``--rm`` leaves nothing to inspect."""


class Findings(msgspec.Struct, frozen=True):
    """What is known of an event from those that have arrived, and what is missing."""

    needs_inspection: bool = False
    """Whether an inspection of the container can change what the event means."""
    awaits_evidence: bool = False
    """Whether events that are about to arrive can change it."""
    is_requested: bool = False
    """Whether later events prove that somebody asked for this death."""


NOTHING_MISSING = Findings()
"""What `assess` returns if the event can be processed as it is."""

REQUESTED = Findings(is_requested=True)
_NEEDS_INSPECTION = Findings(needs_inspection=True)


class Question(msgspec.Struct, frozen=True):
    """An event that waits for an inspection, for evidence, or for both."""

    event_id: str
    container: str
    needs_inspection: bool
    awaits_evidence: bool


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
    needs_inspection = may_be_hidden or (
        event.exit_code == EXIT_CODE_SIGKILL and not is_explained(known, event.time_ns)
    )
    if known is not None and known.requested_ns is not None:
        return Findings(needs_inspection) if needs_inspection else NOTHING_MISSING
    after = later()
    if after and proves_requested(event, after, podman=podman):
        return Findings(needs_inspection, is_requested=True) if needs_inspection else REQUESTED
    awaits_evidence = may_prove_requested(event, after, known, podman=podman)
    if needs_inspection or awaits_evidence:
        return Findings(needs_inspection, awaits_evidence)
    return NOTHING_MISSING


def _may_be_stop_signal(kill: Event, known: Container | None) -> bool:
    """Whether the signal may be the container's own stop signal, which is not known yet."""
    if kill.signal is None or kill.signal in TERMINATING_SIGNALS:
        return False
    return known is None or (known.stop_signal is None and not known.signal_hidden)
