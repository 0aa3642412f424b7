"""What operators see of incidents: what is open, what was reported, and what was held back.

Everything here is computed from rows, so that a command shows the same whether it asks a running
relay or reads the store.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest

import msgspec
from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.core.event import Event
from relay.core.incident import Condition, Resolution, Status, UpdateReason
from relay.core.severity import Severity
from relay.incidents.clock import Now
from relay.incidents.destination import find_budget_time
from relay.incidents.group import Group
from relay.incidents.held import HeldReason
from relay.incidents.incident import SEVERITIES, Incident
from relay.incidents.inquiry import find_current_facts
from relay.incidents.life import find_condition
from relay.incidents.route_counts import RouteCounts
from relay.incidents.silence import Silence
from relay.incidents.state import Rows
from relay.incidents.subject import is_own

MAX_DETAILS = 100
"""Of how many incidents `find_details` returns everything: each has up to two events of 8 KiB."""

_RANKS = {severity: -rank for rank, severity in enumerate(SEVERITIES)}

SilentUntil = Callable[[str], int]
"""Returns until when nothing of an engine is reported: see `Incidents.silent_until_ns`."""

_Order = tuple[bool, int, int, str, str]
"""What incidents are ordered by: see `_find_order`."""


class IncidentView(msgspec.Struct, frozen=True):
    """One incident at one destination. Times are in nanoseconds since 1970."""

    id: str
    """``inc_`` and 32 hex digits; the same at every destination."""
    destination: str
    subject: str
    """The name that people know the subject by."""
    key: str
    """The subject's key, as `relay.incidents.subject` makes it."""
    route: str
    severity: Severity
    status: Status
    condition: Condition
    crash_looping: bool
    started_ns: int
    """When its first event happened, by the engine's clock, as all times of its life."""
    last_event_ns: int
    total: int
    """All its events."""
    unreported: int
    """Its events since it was reported last, or since it was held."""
    deaths: int
    """How often it died without being asked to, or became unhealthy."""
    unhealthy: int
    """How often of these it became unhealthy."""
    message_count: int
    """How many messages reported it."""
    group: Mapping[str, str]
    """What it has in common with the others of its group."""
    reported_ns: int | None = None
    """When the last message that reported it was made or, if it was delivered, when that was; by
    relay's clock."""
    ended_ns: int | None = None
    resolution: Resolution | None = None
    update: UpdateReason | None = None
    """Why it is to be reported; None if there is no reason."""
    due_ns: int | None = None
    """When it is to be reported, by relay's clock; None if that is not known, or nothing is to be
    reported. After a reconnect of its engine it may be earlier."""
    message: str | None = None
    """The id of the last message about it, as long as that waits to be delivered."""
    blocked: bool = False
    """Whether an earlier message of its group waits to be delivered, and nothing else of the
    group is reported until then."""
    given_up: bool = False
    """Whether the last message about it was given up for its age or for want of room."""
    refused: bool = False
    """Whether the destination refused the last message about it."""
    held: HeldReason | None = None
    """Why its update is held back or, without an update, why the last one was not reported; None
    if it was reported, or will be."""
    held_until_ns: int | None = None
    """Until when its update is held back, by the wall clock; None if no end is known, or if the
    update is never reported."""
    mute_interval: str | None = None
    """The name of the mute time interval that holds it back."""
    silence: int | None = None
    """The number of the silence that holds it back, or did so."""
    silence_comment: str = ""
    """Why the silence was added; empty if it is forgotten."""
    silence_by: str = ""
    """Who added it."""
    unknown_since_ns: int | None = None
    """Since when events of it may be missing; None if none are."""
    ending: Resolution | None = None
    """How its subject ended, if it did so by itself or was asked to: its incident is over unless
    the subject is started again."""
    longest_spell_ns: int = 0
    """The longest time that its subject was well before it failed again."""
    host: str = ""
    """The host of its last problem."""
    via: str | None = None
    """The engine that brings the events of that host; None if it is one of this relay's own."""


class IncidentDetails(msgspec.Struct, frozen=True):
    """Everything that is known of one incident at one destination."""

    incident: IncidentView
    first: Event
    """The event that opened it. A long one has lost attributes."""
    last: Event | None
    """The last problem after that; None if there was none."""
    failures_ns: tuple[int, ...]
    """When it died without being asked to, or became unhealthy: the last few times."""
    well_since_ns: int | None
    """Since when it is well; None if it is not."""
    container: ContainerFacts | None = None
    """What is known of the container; None if nothing is."""


class IncidentCounts(msgspec.Struct, frozen=True):
    """How many incidents are open, and how many events were not reported."""

    open: Mapping[str, Mapping[Severity, int]] = {}
    """How many are open, by destination and severity."""
    held: Mapping[str, Mapping[str, int]] = {}
    """How many events were held back since the first start, by destination and reason."""
    silences: int = 0
    """How many silences are in force."""
    silences_until_ns: int | None = None
    """When the last of these ends, by the wall clock; None if there are none."""
    opted_out: int = 0
    """How many containers have an incident, open or remembered, that people are not notified of
    because of a label: it says so, or one that has to be there is missing."""


class IncidentPage(msgspec.Struct, frozen=True):
    """A part of a list of incidents, and how many there are."""

    incidents: list[IncidentView]
    count: int
    """How many incidents the whole list has."""
    counts: IncidentCounts
    next: str | None = None
    """The list goes on here: the ``after`` of the next page; None at its end."""


def never_silent(_: str) -> int:
    """Of every engine everything is reported at once."""
    return 0


def list_page(
    rows: Rows,
    now: Now,
    limit: int,
    *,
    include_ended: bool = False,
    after: str | None = None,
    about: Callable[[Incident], bool] = lambda _: True,
    silent_until_ns: SilentUntil = never_silent,
) -> IncidentPage:
    """Return incidents: open ones first, then by severity, then the latest.

    ``include_ended`` includes those that are over and remembered, and ``about`` chooses some of
    them. Raises `msgspec.MsgspecError` if ``after`` is not from a page.
    """
    known = [each for each in rows.incidents if (include_ended or each.is_open) and about(each)]
    following: Iterable[Incident] = known
    if after is not None:
        last = msgspec.json.decode(after, type=_Order)
        following = (each for each in known if _find_order(each) > last)
    found = nsmallest(limit + 1, following, _find_order)  # one more shows that the list goes on
    page, goes_on = found[:limit], len(found) > limit
    groups, silences = _index_groups(rows, page), _index_silences(rows)
    return IncidentPage(
        [_make_view(each, groups, silences, now, silent_until_ns) for each in page],
        len(known),
        count_incidents(rows.incidents, rows.route_counts, rows.silences, now),
        msgspec.json.encode(_find_order(page[-1])).decode() if goes_on else None,
    )


def find_details(
    rows: Rows, now: Now, beginning: str, silent_until_ns: SilentUntil = never_silent
) -> list[IncidentDetails]:
    """Return the incidents whose ids begin like this, at most `MAX_DETAILS`."""
    matching = (each for each in rows.incidents if each.id.startswith(beginning))
    found = nsmallest(MAX_DETAILS, matching, _find_order)
    groups, silences = _index_groups(rows, found), _index_silences(rows)
    return [
        IncidentDetails(
            _make_view(each, groups, silences, now, silent_until_ns),
            each.first.decode(),
            None if each.later is None else each.later.decode(),
            each.life.failures_ns,
            each.life.well_since_ns,
            find_current_facts(each),
        )
        for each in found
    ]


def count_incidents(
    rows: Iterable[Incident],
    route_counts: Iterable[RouteCounts],
    silences: Iterable[Silence],
    now: Now,
) -> IncidentCounts:
    """Return how many incidents are open, how many events were held back, and how many silences
    are in force."""
    counts: Counter[tuple[str, Severity]] = Counter()
    opted_out: set[str] = set()
    for incident in rows:
        if incident.is_open:
            counts[incident.destination, incident.severity] += 1
        if incident.hold is not None and incident.hold.reason is HeldReason.OPTED_OUT:
            opted_out.add(incident.subject)
    opened: dict[str, dict[Severity, int]] = {}
    for (destination, severity), count in counts.items():
        opened.setdefault(destination, {})[severity] = count
    held: dict[str, Counter[str]] = {}
    for each in route_counts:
        held.setdefault(each.destination, Counter()).update(each.held)
    ends_ns = [each.until_ns for each in silences if each.is_in_force(now.wall_ns)]
    return IncidentCounts(
        opened,
        {to: counts for to, counts in held.items() if counts},
        len(ends_ns),
        max(ends_ns, default=None),
        len(opted_out),
    )


def _find_order(incident: Incident) -> _Order:
    """Return what sorts incidents, and is different for each."""
    latest_ns = incident.started_ns if incident.ended_ns is None else incident.ended_ns
    return (
        not incident.is_open,
        _RANKS[incident.severity],
        -latest_ns,
        incident.id,
        incident.destination,
    )


def _index_groups(rows: Rows, incidents: Iterable[Incident]) -> dict[tuple[str, str], Group]:
    """Return the groups of some incidents, by destination and key.

    None is due before the budget of its destination allows a message.
    """
    wanted = {(each.destination, each.group) for each in incidents}
    budget_ns = {each.name: find_budget_time(each) for each in rows.destinations}
    groups = {}
    for group in rows.groups:
        if (key := (group.destination, group.key)) in wanted:
            due_ns = group.due_ns and max(group.due_ns, budget_ns.get(group.destination, 0))
            groups[key] = replace(group, due_ns=due_ns)
    return groups


def _index_silences(rows: Rows) -> dict[int, Silence]:
    return {each.id: each for each in rows.silences}


def _make_view(
    incident: Incident,
    groups: Mapping[tuple[str, str], Group],
    silences: Mapping[int, Silence],
    now: Now,
    silent_until_ns: SilentUntil,
) -> IncidentView:
    update, destination, last = incident.update, incident.destination, incident.last.decode()
    group = groups.get((destination, incident.group), Group(destination, incident.group))
    hold = incident.hold
    silence = None if hold is None or hold.silence is None else silences.get(hold.silence)
    is_blocked = group.waiting is not None and group.waiting != incident.waiting
    return IncidentView(
        id=incident.id,
        destination=destination,
        subject=incident.name,
        key=incident.subject,
        route=incident.route,
        severity=incident.severity,
        status=incident.status,
        condition=find_condition(incident.life, now.at(incident.life.engine)),
        crash_looping=incident.crash_looping,
        started_ns=incident.started_ns,
        last_event_ns=incident.last_event_ns,
        total=incident.total,
        unreported=incident.unreported,
        deaths=incident.deaths,
        unhealthy=incident.unhealthy,
        message_count=incident.message_count,
        group=group.fields,
        reported_ns=incident.named_ns,
        ended_ns=incident.ended_ns,
        resolution=incident.resolution,
        update=update,
        due_ns=_find_due_ns(incident, group, silent_until_ns),
        message=incident.waiting,
        blocked=update is not None and is_blocked,
        given_up=incident.reported is None and incident.message_count > 0,
        refused=incident.was_refused,
        held=None if hold is None else hold.reason,
        held_until_ns=None if hold is None else hold.until_ns,
        mute_interval=None if hold is None else hold.interval,
        silence=None if hold is None else hold.silence,
        silence_comment="" if silence is None else silence.comment,
        silence_by="" if silence is None else silence.by,
        unknown_since_ns=incident.life.unknown_since_ns,
        ending=incident.life.ended,
        longest_spell_ns=incident.life.longest_spell_ns,
        host=last.host,
        via=last.via,
    )


def _find_due_ns(incident: Incident, group: Group, silent_until_ns: SilentUntil) -> int | None:
    """Return when the update of an incident is due; None if there is none, or it is held back."""
    if incident.update is None or incident.is_held or group.due_ns is None:
        return None
    if is_own(incident.subject):
        return group.due_ns
    return max(group.due_ns, silent_until_ns(incident.life.engine))
