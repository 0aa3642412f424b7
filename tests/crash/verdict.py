"""Checks a run: compares what happened with what arrived."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from relay.delivery.worker import MAX_UNACKED
from tests.crash.incidents import find_incident_faults, find_unreported
from tests.crash.plan import EXIT_CODE, INCLUDE_LABELS, ContainerEvent
from tests.crash.receiver import DESTINATIONS, HOOKS, INCIDENT_HOOK, INCLUDE_HOOK, Arrival

CONCURRENCY = 8
"""How many deliveries to one destination are under way at once."""

MAX_REPEATED_PER_KILL = CONCURRENCY + MAX_UNACKED
"""How many deliveries one kill can leave sent and not settled: those under way, and those whose
outcome waits for its commit."""

INCLUDED_FIELD = "RestartCount"
"""What the notifications to `INCLUDE_HOOK` include."""

ACCEPTED_REASONS = frozenset({"could not be had in time", "the container is gone"})
"""Why it may be missing: the hold ended, as after a kill, or the container was removed."""

EventKey = tuple[int, str, str]
"""Time in nanoseconds, action and container."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures over all destinations, and descriptions of what is wrong."""

    events: int
    """How many container events happened, each counted once for each destination."""
    forgotten: int
    """How many of these the engine forgot."""
    arrived: int
    """How many notifications of events arrived, including those that were refused."""
    enriched: int
    """How many notifications arrived with included content."""
    gaps: int
    """How many gaps were declared."""
    reported: int
    """How many messages about incidents were accepted."""
    refused: int
    """How many messages about incidents were refused."""
    repeated: int
    """How many were accepted that had been accepted before."""
    lost: int
    faults: tuple[str, ...]


def count_expected(happened: Collection[ContainerEvent]) -> Counter[tuple[str, str]]:
    """Return how many notifications have to arrive, by destination and type of event."""
    counts = Counter({(name, "container"): len(happened) for name in DESTINATIONS})
    counts[INCLUDE_HOOK, "container"] = sum(_goes_to(INCLUDE_HOOK, it) for it in happened)
    if any(expected.forgotten for expected in happened):
        counts |= {(name, "relay"): 1 for name in DESTINATIONS}
    return counts


def check_run(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival], kills: int
) -> Verdict:
    """Check one run. ``happened`` is in the order in which it happened."""
    about_incidents = [it for it in arrivals if it.destination == INCIDENT_HOOK]
    arrivals = [it for it in arrivals if it.destination != INCIDENT_HOOK]
    container_arrivals = [it for it in arrivals if it.event["type"] == "container"]
    gaps = [it for it in arrivals if it.event["type"] == "relay"]
    expected = count_expected(happened.values())
    missing = [
        *_find_missing(happened, container_arrivals),
        *find_unreported(happened.values(), about_incidents),
    ]
    everything = [*arrivals, *about_incidents]
    repeated = {name: _count_repeated(everything, name) for name in (*HOOKS, INCIDENT_HOOK)}
    faults = (
        *missing,
        *_find_ambiguous_ids(arrivals),
        *_find_changed(arrivals),
        *_find_unexpected(happened, container_arrivals),
        *_find_incomplete(container_arrivals),
        *_find_disorder(happened, container_arrivals),
        *_find_gap_faults(expected, gaps),
        *_find_resent(everything),
        *_find_changed(about_incidents),
        *find_incident_faults(happened.values(), about_incidents),
        *(
            f"{name} got {count} again after {kills} kills"
            for name, count in repeated.items()
            if count > kills * MAX_REPEATED_PER_KILL
        ),
    )
    return Verdict(
        events=sum(count for (_, kind), count in expected.items() if kind == "container"),
        forgotten=sum(
            _goes_to(name, it) for name in HOOKS for it in happened.values() if it.forgotten
        ),
        arrived=len(arrivals),
        enriched=len({it.id for it in container_arrivals if _is_enriched(it)}),
        gaps=len({it.id for it in gaps}),
        reported=len({it.id for it in about_incidents if it.accepted}),
        refused=len({it.id for it in about_incidents if it.refused}),
        repeated=sum(repeated.values()),
        lost=len(missing),
        faults=faults,
    )


def _goes_to(destination: str, expected: ContainerEvent) -> bool:
    return destination != INCLUDE_HOOK or expected.labels == INCLUDE_LABELS


def _find_missing(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    for name in HOOKS:
        accepted = {_event_key(it) for it in arrivals if _is_accepted_by(it, name)}
        for key, expected in happened.items():
            if _goes_to(name, expected) and key not in accepted:
                yield f"{name} never accepted {key}"


def _is_accepted_by(arrival: Arrival, destination: str) -> bool:
    return arrival.accepted and arrival.destination == destination


def _event_key(arrival: Arrival) -> EventKey:
    event = arrival.event
    return event["time_ns"], event["action"], event["actor"]["name"]


def _count_repeated(arrivals: Sequence[Arrival], destination: str) -> int:
    ids = [arrival.id for arrival in arrivals if _is_accepted_by(arrival, destination)]
    return len(ids) - len(set(ids))


def _find_resent(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Find what one lifetime of relay sent again after it was accepted: it was stored twice."""
    times = Counter((it.destination, it.lifetime, it.id) for it in arrivals if it.accepted)
    for (destination, lifetime, id_), count in times.items():
        if count > 1:
            yield f"{destination} accepted {id_} {count} times from lifetime {lifetime}"


def _find_ambiguous_ids(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Find events and notifications with two ids, and ids of two events or notifications."""
    ids: defaultdict[tuple[str, EventKey], set[str]] = defaultdict(set)
    for arrival in arrivals:
        ids[arrival.document["route"], _event_key(arrival)].add(arrival.id)
        ids["", _event_key(arrival)].add(arrival.event["id"])
    yield from (f"{what} arrived as {sorted(many)}" for what, many in ids.items() if len(many) > 1)
    uses = Counter(id_ for many in ids.values() for id_ in many)
    yield from (f"{id_} stands for {count} events" for id_, count in uses.items() if count > 1)


def _find_changed(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Find repeated notifications whose bytes differ: they are decided once, at their commit."""
    bodies: dict[str, bytes] = {}
    for arrival in arrivals:
        if bodies.setdefault(arrival.id, arrival.body) != arrival.body:
            yield f"{arrival.id} arrived as {bodies[arrival.id]!r} and as {arrival.body!r}"


def _find_unexpected(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """Find what never happened, happened differently, or has the wrong origin."""
    for arrival in arrivals:
        expected, event = happened.get(_event_key(arrival)), arrival.event
        if expected is None or not _goes_to(arrival.destination, expected):
            yield f"never happened: {event}"
        elif expected.cause != event["cause"]:
            yield f"not {expected.cause}: {event}"
        elif event["exit_code"] != (EXIT_CODE if expected.action == "die" else None):
            yield f"a wrong exit code: {event}"
        elif not expected.in_doubt and expected.forgotten != (event["origin"] == "inferred"):
            yield f"forgotten is {expected.forgotten}: {event}"


def _find_incomplete(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """Find notifications without their included content or an accepted reason why it is missing."""
    for arrival in arrivals:
        included, wants_included = arrival.document["included"], arrival.destination == INCLUDE_HOOK
        if (
            wants_included
            and not _is_enriched(arrival)
            and (included or {}).get("missing") not in ACCEPTED_REASONS
        ):
            yield f"{arrival.id} arrived with {included}"
        if not wants_included and included is not None:
            yield f"{arrival.id} arrived with {included}, which its route does not include"


def _is_enriched(arrival: Arrival) -> bool:
    included = arrival.document["included"]
    return (
        included is not None
        and included["missing"] is None
        and INCLUDED_FIELD in included["inspect"]
    )


def _find_gap_faults(
    expected: Counter[tuple[str, str]], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """Find destinations that got no gap although the engine forgot something, or the reverse.

    A relay that is killed before the engine's next event cannot prove that it missed nothing, so
    each such start declares a gap of its own. These gaps are not counted.
    """
    for name in DESTINATIONS:
        found = {it.id for it in arrivals if _is_accepted_by(it, name) and not _is_unproven(it)}
        if len(found) != expected[name, "relay"]:
            yield f"{name} got {len(found)} gaps instead of {expected[name, 'relay']}"


def _is_unproven(gap: Arrival) -> bool:
    facts: dict[str, str] = gap.event["actor"].get("attributes", {})
    return facts.get("why") == "unproven"


def _find_disorder(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """Find containers whose events arrived out of order; repetitions are ignored."""
    for name in HOOKS:
        accepted = dict.fromkeys(_event_key(it) for it in arrivals if it.destination == name)
        for container in {expected.container for expected in happened.values()}:
            order = [key for key in accepted if key[2] == container]
            if order != sorted(order):
                yield f"{name} got out of order: {order}"
