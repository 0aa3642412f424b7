"""What a run came to: what happened against what arrived."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from relay.delivery.worker import MAX_UNACKED
from tests.crash.plan import EXIT_CODE, INCLUDE_LABEL, ContainerEvent
from tests.crash.receiver import DESTINATIONS, HOOKS, INCLUDE_HOOK, Arrival

CONCURRENCY = 8
"""Deliveries under way at once to one destination."""

MAX_REPEATED_PER_KILL = CONCURRENCY + MAX_UNACKED
"""As many as one kill can leave sent and not settled: those, and what was answered."""

INCLUDED_FIELD = "RestartCount"
"""What `CURIOUS` wants to know besides."""

ACCEPTED_REASONS = frozenset({"could not be had in time", "the container is gone"})
"""Why it may not be there: the hold was over, as after a kill, or the container was removed."""

EventKey = tuple[int, str, str]
"""Time in nanoseconds, action and container."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures over all destinations, and what is wrong in words."""

    events: int
    """How many of containers happened, each counted once for each destination."""
    forgotten: int
    """Those among them that the engine forgot."""
    arrived: int
    """How many requests came, those that were refused included."""
    enriched: int
    """How many notifications came with more than their event."""
    gaps: int
    """How many stretches were declared incomplete."""
    repeated: int
    """How many were accepted that had been accepted before."""
    lost: int
    faults: tuple[str, ...]


def count_expected(happened: Collection[ContainerEvent]) -> Counter[tuple[str, str]]:
    """How many notifications are to arrive, by destination and the type of the event."""
    counts = Counter({(name, "container"): len(happened) for name in DESTINATIONS})
    counts[INCLUDE_HOOK, "container"] = sum(_goes_to(INCLUDE_HOOK, it) for it in happened)
    if any(happening.forgotten for happening in happened):
        counts |= {(name, "relay"): 1 for name in DESTINATIONS}
    return counts


def check_run(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival], kills: int
) -> Verdict:
    """Judge one run: ``told`` in the order in which it happened."""
    of_containers = [it for it in arrivals if it.event["type"] == "container"]
    gaps = [it for it in arrivals if it.event["type"] == "relay"]
    expected = count_expected(happened.values())
    missing = list(_find_missing(happened, of_containers))
    faults = (
        *missing,
        *_find_ambiguous_ids(arrivals),
        *_find_changed(arrivals),
        *_find_unexpected(happened, of_containers),
        *_find_incomplete(of_containers),
        *_find_disorder(happened, of_containers),
        *_find_gap_faults(expected, gaps),
        *_find_resent(arrivals),
        *(
            f"{name} got {count} again after {kills} kills"
            for name in HOOKS
            if (count := _count_repeated(arrivals, name)) > kills * MAX_REPEATED_PER_KILL
        ),
    )
    return Verdict(
        events=sum(count for (_, kind), count in expected.items() if kind == "container"),
        forgotten=sum(
            _goes_to(name, it) for name in HOOKS for it in happened.values() if it.forgotten
        ),
        arrived=len(arrivals),
        enriched=len({it.id for it in of_containers if _is_enriched(it)}),
        gaps=len({it.id for it in gaps}),
        repeated=sum(_count_repeated(arrivals, name) for name in HOOKS),
        lost=len(missing),
        faults=faults,
    )


def _goes_to(destination: str, happening: ContainerEvent) -> bool:
    return destination != INCLUDE_HOOK or happening.labels == INCLUDE_LABEL


def _find_missing(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    for name in HOOKS:
        here = {_event_key(it) for it in arrivals if _is_accepted_by(it, name)}
        for fact, happening in happened.items():
            if _goes_to(name, happening) and fact not in here:
                yield f"{name} never accepted {fact}"


def _is_accepted_by(arrival: Arrival, destination: str) -> bool:
    return arrival.accepted and arrival.destination == destination


def _event_key(arrival: Arrival) -> EventKey:
    event = arrival.event
    return event["time_ns"], event["action"], event["actor"]["name"]


def _count_repeated(arrivals: Sequence[Arrival], destination: str) -> int:
    ids = [arrival.id for arrival in arrivals if _is_accepted_by(arrival, destination)]
    return len(ids) - len(set(ids))


def _find_resent(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """What one life of relay sent again after it had been accepted: it was there twice."""
    times = Counter((it.destination, it.lifetime, it.id) for it in arrivals if it.accepted)
    for (destination, life, id_), count in times.items():
        if count > 1:
            yield f"{destination} accepted {id_} {count} times from life {life}"


def _find_ambiguous_ids(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """An event under two ids, or two under one; so for what one route makes of it."""
    ids: defaultdict[tuple[str, EventKey], set[str]] = defaultdict(set)
    for arrival in arrivals:
        ids[arrival.document["route"], _event_key(arrival)].add(arrival.id)
        ids["", _event_key(arrival)].add(arrival.event["id"])
    yield from (f"{what} came as {sorted(many)}" for what, many in ids.items() if len(many) > 1)
    uses = Counter(id_ for many in ids.values() for id_ in many)
    yield from (f"{id_} stands for {count} events" for id_, count in uses.items() if count > 1)


def _find_changed(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """What is repeated is the same to the byte: it was decided once, at its commit."""
    bodies: dict[str, bytes] = {}
    for arrival in arrivals:
        if bodies.setdefault(arrival.id, arrival.body) != arrival.body:
            yield f"{arrival.id} came as {bodies[arrival.id]!r} and as {arrival.body!r}"


def _find_unexpected(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """What never happened, or not so; and what was inferred though it was to be heard."""
    for arrival in arrivals:
        happening, event = happened.get(_event_key(arrival)), arrival.event
        if happening is None or not _goes_to(arrival.destination, happening):
            yield f"never happened: {event}"
        elif happening.cause != event["cause"]:
            yield f"not {happening.cause}: {event}"
        elif event["exit_code"] != (EXIT_CODE if happening.action == "die" else None):
            yield f"a wrong exit code: {event}"
        elif not happening.in_doubt and happening.forgotten != (event["origin"] == "inferred"):
            yield f"unheard is {happening.forgotten}: {event}"


def _find_incomplete(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """What came without what its route wants besides, and with no good reason for that."""
    for arrival in arrivals:
        more, curious = arrival.document["included"], arrival.destination == INCLUDE_HOOK
        if (
            curious
            and not _is_enriched(arrival)
            and (more or {}).get("missing") not in ACCEPTED_REASONS
        ):
            yield f"{arrival.id} came with {more}"
        if not curious and more is not None:
            yield f"{arrival.id} came with {more}, which nobody wanted"


def _is_enriched(arrival: Arrival) -> bool:
    more = arrival.document["included"]
    return more is not None and more["missing"] is None and INCLUDED_FIELD in more["inspect"]


def _find_gap_faults(
    expected: Counter[tuple[str, str]], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """A gap that was not declared where the engine forgot, or one that was where it did not.

    A relay that is killed before the engine says anything again cannot prove what it missed: each
    such start is a gap of its own.
    """
    for name in DESTINATIONS:
        found = {it.id for it in arrivals if _is_accepted_by(it, name) and not _is_unproven(it)}
        if len(found) != expected[name, "relay"]:
            yield f"{name} was told of {len(found)} gaps and not of {expected[name, 'relay']}"


def _is_unproven(gap: Arrival) -> bool:
    facts: dict[str, str] = gap.event["actor"].get("attributes", {})
    return facts.get("why") == "unproven"


def _find_disorder(
    happened: dict[EventKey, ContainerEvent], arrivals: Sequence[Arrival]
) -> Iterator[str]:
    """What happens to one container is first heard of in its order."""
    for name in HOOKS:
        here = dict.fromkeys(_event_key(it) for it in arrivals if it.destination == name)
        for container in {happening.container for happening in happened.values()}:
            heard = [fact for fact in here if fact[2] == container]
            if heard != sorted(heard):
                yield f"{name} heard out of order: {heard}"
