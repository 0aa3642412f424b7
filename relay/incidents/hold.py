"""Decides what holds an update back, and until when. This is the only place that does.

It is asked when a group is due, again when what holds an update back may be over, and when a
reminder is due. The reasons are asked in this order, and the first that applies is the answer:

1. ``opted_out``: a label of the container says so. It has no end.
2. ``silenced``: a silence is in force.
3. ``for``: the incident has not been open for long enough.
4. ``send_resolved``: ends are not reported.
5. ``muted``: an interval is in force.
6. ``brief``: it is over, and the destination wants open problems only.

So what people decided about this one problem comes before what is configured for all, and what is
never reported does not wait for the morning. The end of what was reported is held back by
``send_resolved`` only and, for people, by ``muted``.

An update either waits, or the hold is final: then its events are counted, and it is not reported.
Plain events are tried when they come, by their label and the silences: what is held back then is
never reported. A mute interval lets them wait.
"""

from collections.abc import Callable

import msgspec

from relay.core.event import Event
from relay.core.incident import UpdateReason
from relay.incidents.clock import Now
from relay.incidents.enable_label import read_enable_label
from relay.incidents.held import HeldReason, Hold
from relay.incidents.incident import Incident
from relay.incidents.life import find_end
from relay.incidents.mute import MuteInterval, find_mute, find_mute_end
from relay.incidents.policy import DestinationPolicy, LabelPolicy, RoutePolicy
from relay.incidents.silence import Silences
from relay.incidents.subject import is_own, is_service

MARGIN_NS = 1_000_000


class Circumstances(msgspec.Struct, frozen=True):
    """What decides whether an update is held back."""

    route: RoutePolicy
    destination: DestinationPolicy
    labels: LabelPolicy
    silences: Silences
    now: Now

    def to_wall_ns(self, time_ns: int, engine: str) -> int:
        """Return the time of an engine's clock by the wall clock."""
        return time_ns - self.now.at(engine) + self.now.wall_ns


def find_hold(incident: Incident, at: Circumstances) -> Hold | None:
    """Return what holds back the update of an incident, or a reminder of it; None if nothing."""
    for rule in _RULES:
        hold = rule(incident, at)
        if hold is not None:
            return hold
    return None


def find_plain_hold(event: Event, route: str, at: Circumstances) -> Hold | None:
    """Return what holds back, for good, an event that belongs to no incident; None if nothing."""
    if event.type == "container" and _opts_out(read_enable_label(event), at.labels):
        return Hold(HeldReason.OPTED_OUT, is_final=True)
    silence = at.silences.find(event, route, None, at.now.wall_ns)
    if silence is None:
        return None
    return Hold(HeldReason.SILENCED, silence=silence.id, is_final=True)


def find_mute_hold(intervals: tuple[MuteInterval, ...], wall_ns: int) -> Hold | None:
    """Return what an interval that is in force holds back until its end; None if none is."""
    if not intervals:
        return None
    name = find_mute(intervals, wall_ns)
    if name is None:
        return None
    return Hold(HeldReason.MUTED, find_mute_end(intervals, wall_ns), interval=name)


def _find_opted_out(incident: Incident, at: Circumstances) -> Hold | None:
    """Find out whether people are not notified of a container, because its label says so.

    While it was never reported it waits, in case the configuration or the container changes.
    """
    if is_own(incident.subject) or is_service(incident.subject) or _is_end(incident):
        return None
    if not _opts_out(incident.enable_label, at.labels):
        return None
    return Hold(HeldReason.OPTED_OUT, is_final=not (_is_new(incident) and incident.is_open))


def _opts_out(label: bool | None, policy: LabelPolicy) -> bool:
    if not policy.enable:
        return False
    return label is not True if policy.require else label is False


def _find_silenced(incident: Incident, at: Circumstances) -> Hold | None:
    """Find out whether a silence is in force, or was so when a problem came that is well by now.

    What is well when its silence ends has time to be over, and is not reported if it is.
    """
    if _is_end(incident):
        return None
    silence = None
    if at.silences.may_hold(at.now.wall_ns):
        event = incident.last.decode()
        silence = at.silences.find(event, incident.route, incident.id, at.now.wall_ns)
    if silence is not None:
        is_final = _is_missed(incident)
        until_ns = None if is_final else silence.until_ns
        return Hold(HeldReason.SILENCED, until_ns, silence.id, is_final=is_final)
    before = incident.hold
    if before is None or not incident.is_held or before.reason is not HeldReason.SILENCED:
        return None
    if _is_missed(incident):
        return Hold(HeldReason.SILENCED, silence=before.silence, is_final=True)
    engine = incident.life.engine
    end = find_end(incident.life, at.route.resolve_after_ns)
    if not _is_new(incident) or end is None or end[0] < at.now.at(engine):
        return None  # it failed again, or nobody knows whether it did
    until_ns = at.to_wall_ns(end[0], engine) + MARGIN_NS  # then it is known whether it is over
    return Hold(HeldReason.SILENCED, until_ns, before.silence)


def _find_too_short(incident: Incident, at: Circumstances) -> Hold | None:
    """Find out whether an incident has been open for shorter than the key ``for`` says."""
    if not at.route.for_ns or not _is_new(incident):
        return None
    until_ns = incident.opened_ns + at.route.for_ns
    if not incident.is_open:
        is_short = incident.ended_ns is not None and incident.ended_ns < until_ns
        return Hold(HeldReason.FOR, is_final=True) if is_short else None
    engine = incident.life.engine
    if until_ns <= at.now.at(engine):
        return None
    return Hold(HeldReason.FOR, at.to_wall_ns(until_ns, engine))


def _find_unsent_end(incident: Incident, at: Circumstances) -> Hold | None:
    """Find out whether the end is not reported, as ``send_resolved`` says."""
    if _is_end(incident) and not at.route.send_resolved:
        return Hold(HeldReason.SEND_RESOLVED, is_final=True)
    return None


def _find_muted(incident: Incident, at: Circumstances) -> Hold | None:
    """Find out whether an interval is in force.

    Services that group by themselves get ends at once, and nothing of what came and went: nobody
    is to be called for that, and Alertmanager would notify nobody (``DedupStage.needsUpdate`` in
    its ``notify/notify.go``: not "if we only have resolved alerts").
    """
    groups_by_itself = at.destination.audience.groups_by_itself
    if _is_end(incident) and groups_by_itself:
        return None
    hold = find_mute_hold(at.route.mute, at.now.wall_ns)
    if hold is None:
        return None
    if _is_brief(incident, at) or (_is_missed(incident) and groups_by_itself):
        return Hold(HeldReason.MUTED, interval=hold.interval, is_final=True)
    return hold


def _find_brief(incident: Incident, at: Circumstances) -> Hold | None:
    """Find out whether a problem was over before it could be reported, and is worth no message."""
    return Hold(HeldReason.BRIEF, is_final=True) if _is_brief(incident, at) else None


_RULES: tuple[Callable[[Incident, Circumstances], Hold | None], ...] = (
    _find_opted_out,
    _find_silenced,
    _find_too_short,
    _find_unsent_end,
    _find_muted,
    _find_brief,
)


def _is_new(incident: Incident) -> bool:
    """Whether the destination does not know that the incident is open."""
    return incident.update in (UpdateReason.OPENED, UpdateReason.REOPENED)


def _is_end(incident: Incident) -> bool:
    """Whether the incident is over, and the destination knows of it as open."""
    return incident.update is UpdateReason.RESOLVED


def _is_missed(incident: Incident) -> bool:
    """Whether the incident was over before it was reported."""
    return not incident.is_open and _is_new(incident)


def _is_brief(incident: Incident, at: Circumstances) -> bool:
    """Whether an incident was over before it was reported, and is therefore not reported.

    An outage of an engine or of a destination is reported nowhere then.
    """
    wants_open_only = not at.destination.reports_brief or is_own(incident.subject)
    return wants_open_only and _is_missed(incident)
