"""Checks what a run reported about incidents: each crash once, and its end if it has one.

Every container crashes once at most. So one message reports its incident and counts its
crash, and perhaps in a later one that does not.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from relay.core.event import Cause
from relay.incidents.state import Rows
from tests.crash.plan import OPTED_OUT_LABELS, SILENCED, ContainerEvent
from tests.crash.receiver import Arrival


def find_crashed(happened: Collection[ContainerEvent]) -> set[str]:
    """Return the containers whose crash is reported: not silenced, and not opted out."""
    crashed = {it.container for it in happened if _is_crash(it) and it.labels != OPTED_OUT_LABELS}
    return crashed - {SILENCED}


def _is_crash(event: ContainerEvent) -> bool:
    return event.cause is Cause.CRASHED


def find_ended(happened: Collection[ContainerEvent]) -> set[str]:
    """Return the containers that crashed and were removed, so that their incident is over."""
    removed = {it.container for it in happened if it.action == "destroy"}
    return find_crashed(happened) & removed


def find_unreported(
    happened: Collection[ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """Find crashes, and ends, that no message reported which was accepted or refused for good."""
    opened: set[str] = set()
    ended: set[str] = set()
    for arrival in arrivals:
        for incident in arrival.document["incidents"] if _is_answered(arrival) else ():
            (opened if incident["count"] else set()).add(incident["subject"])
            (ended if incident["ended_at"] else set()).add(incident["subject"])
    yield from (f"nobody was told that {name} crashed" for name in find_crashed(happened) - opened)
    yield from (f"the end of {name} was not told" for name in find_ended(happened) - ended)


def find_incident_faults(
    happened: Collection[ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """Find what was reported twice under different ids, in the wrong order, or of no crash."""
    counts: Counter[str] = Counter()
    ids: defaultdict[str, set[str]] = defaultdict(set)
    ended: set[str] = set()
    crashed, over = find_crashed(happened), find_ended(happened)
    for arrival in _first_answers(arrivals):
        for incident in arrival.document["incidents"]:
            name = incident["subject"]
            ids[name].add(incident["id"])
            counts[name] += incident["count"] if arrival.accepted else 0
            if name not in crashed or (incident["ended_at"] and name not in over):
                yield f"never happened: {incident}"
            if name in ended:
                yield f"{name} is told again after its end: {incident}"
            if incident["ended_at"]:
                ended.add(name)
            if incident["notified_before"] != _was_accepted(name, arrival, arrivals):
                yield f"{name} was told before, or was not: {incident}"
        yield from _find_wrong_sum(arrival.document)
    yield from (f"{name} was told {count} times" for name, count in counts.items() if count > 1)
    yield from (f"{name} has ids {sorted(each)}" for name, each in ids.items() if len(each) > 1)


def find_count_faults(happened: Collection[ContainerEvent], rows: Rows) -> Iterator[str]:
    """Find crashes that are not counted once, as reported, as waiting, or with their reason.

    ``rows`` are those in the store at the end.
    """
    taken = sum(each.taken for each in rows.route_counts)
    if taken != (crashes := sum(map(_is_crash, happened))):
        yield f"of {crashes} crashes {taken} are counted"
    reported = sum(each.reported for each in rows.route_counts)
    held = Counter[str]()
    for each in rows.route_counts:
        held.update(each.held)
    waiting = sum(each.unreported for each in rows.incidents)
    if taken != reported + waiting + held.total():
        yield f"{taken} crashes are not {reported} told, {waiting} waiting, held {dict(held)}"
    opted_out = sum(_is_crash(it) and it.labels == OPTED_OUT_LABELS for it in happened)
    if held["opted_out"] + waiting < opted_out:
        yield f"of {opted_out} opted out only {held['opted_out']} are counted"


def _is_answered(arrival: Arrival) -> bool:
    return arrival.accepted or arrival.refused


def _first_answers(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Return each message once, in the order in which they were answered for good."""
    found: dict[str, Arrival] = {}
    for arrival in arrivals:
        if _is_answered(arrival):
            found.setdefault(arrival.id, arrival)
    return list(found.values())


def _was_accepted(name: str, arrival: Arrival, arrivals: Sequence[Arrival]) -> bool:
    """Whether an earlier message about a container was accepted."""
    before = arrivals[: next(at for at, it in enumerate(arrivals) if it.id == arrival.id)]
    return any(
        incident["subject"] == name
        for it in before
        if it.accepted
        for incident in it.document["incidents"]
    )


def _find_wrong_sum(document: dict[str, Any]) -> Iterator[str]:
    total = sum(incident["count"] for incident in document["incidents"])
    if document["more"] == 0 and document["count"] != total:
        yield f"the counts make {total}: {document}"
