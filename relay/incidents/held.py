"""Why something is not reported, or not yet. `relay.incidents.hold` decides that."""

from enum import StrEnum

import msgspec


class HeldReason(StrEnum):
    """Why events are not reported. The word is the same in logs, metrics and commands."""

    OPTED_OUT = "opted_out"
    """A label of the container says that people are not notified of it."""
    SILENCED = "silenced"
    """Somebody has added a silence."""
    FOR = "for"
    """The incident has not been open for as long as the key ``for`` says."""
    SEND_RESOLVED = "send_resolved"
    """The end is not reported, because ``send_resolved`` is false."""
    MUTED = "muted"
    """One of the intervals of the key ``mute`` is in force."""
    BRIEF = "brief"
    """The problem was over before it could be reported, and the destination wants open ones
    only."""
    UNWATCHED = "unwatched"
    """The route, the destination or the engine is no longer configured."""


class Hold(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What holds back the update of an incident, or the plain events of a group."""

    reason: HeldReason
    until_ns: int | None = None
    """Until when, by the wall clock; None if no end is known."""
    silence: int | None = None
    """The number of the silence that holds it back."""
    interval: str | None = None
    """The name of the interval that is in force."""
    is_final: bool = False
    """Whether it is never reported. Its events are counted with the reason."""
