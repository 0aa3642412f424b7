"""What a run came to: what happened against what arrived."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.crash.plan import Happening
from tests.crash.receiver import DESTINATIONS, Arrival

CONCURRENCY = 8
"""Deliveries under way at once to one destination: as many as one kill can leave sent and not
settled."""

Fact = tuple[int, str, str]
"""Time in nanoseconds, action and container."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures over both destinations, and what is wrong in words."""

    events: int
    """How many happened, each counted once for each destination."""
    arrived: int
    """How many requests came, those that were refused included."""
    repeated: int
    """How many were accepted that had been accepted before."""
    lost: int
    faults: tuple[str, ...]


def judge(told: dict[Fact, Happening], arrivals: Sequence[Arrival], kills: int) -> Verdict:
    """Judge one run: ``told`` in the order in which it happened."""
    repeated = {name: _repeated(arrivals, name) for name in DESTINATIONS}
    missing = [
        f"{name} never accepted {fact}"
        for name in DESTINATIONS
        for fact in told.keys() - {_fact(it) for it in arrivals if _accepted(it, name)}
    ]
    faults = (
        *missing,
        *_names(arrivals),
        *_changes(arrivals),
        *_inventions(told, arrivals),
        *_disorder(told, arrivals),
        *_second_helpings(arrivals),
        *(
            f"{name} got {count} again after {kills} kills"
            for name, count in repeated.items()
            if count > kills * CONCURRENCY
        ),
    )
    events = len(told) * len(DESTINATIONS)
    return Verdict(events, len(arrivals), sum(repeated.values()), len(missing), faults)


def _accepted(arrival: Arrival, destination: str) -> bool:
    return arrival.accepted and arrival.destination == destination


def _fact(arrival: Arrival) -> Fact:
    event = arrival.event
    return event["time_ns"], event["action"], event["actor"]["name"]


def _repeated(arrivals: Sequence[Arrival], destination: str) -> int:
    ids = [arrival.id for arrival in arrivals if _accepted(arrival, destination)]
    return len(ids) - len(set(ids))


def _second_helpings(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """What one life of relay sent again after it had been accepted: it was there twice."""
    times = Counter((it.destination, it.life, it.id) for it in arrivals if it.accepted)
    for (destination, life, id_), count in times.items():
        if count > 1:
            yield f"{destination} accepted {id_} {count} times from life {life}"


def _names(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """An event under two ids, or two under one."""
    ids: defaultdict[Fact, set[str]] = defaultdict(set)
    for arrival in arrivals:
        ids[_fact(arrival)].add(arrival.id)
    yield from (f"{fact} came as {sorted(many)}" for fact, many in ids.items() if len(many) > 1)
    uses = Counter(id_ for many in ids.values() for id_ in many)
    yield from (f"{id_} stands for {count} events" for id_, count in uses.items() if count > 1)


def _changes(arrivals: Sequence[Arrival]) -> Iterator[str]:
    """What is repeated is the same to the byte: it was decided once, at its commit."""
    bodies: dict[str, bytes] = {}
    for arrival in arrivals:
        if bodies.setdefault(arrival.id, arrival.body) != arrival.body:
            yield f"{arrival.id} came as {bodies[arrival.id]!r} and as {arrival.body!r}"


def _inventions(told: dict[Fact, Happening], arrivals: Sequence[Arrival]) -> Iterator[str]:
    """What never happened, and deaths with another cause than theirs."""
    for arrival in arrivals:
        happening = told.get(_fact(arrival))
        if happening is None:
            yield f"never happened: {arrival.event}"
        elif happening.cause != arrival.event["cause"]:
            yield f"not {happening.cause}: {arrival.event}"


def _disorder(told: dict[Fact, Happening], arrivals: Sequence[Arrival]) -> Iterator[str]:
    """What happens to one container is first heard of in its order."""
    for name in DESTINATIONS:
        here = dict.fromkeys(_fact(it) for it in arrivals if it.destination == name)
        for container in {happening.container for happening in told.values()}:
            heard = [fact for fact in here if fact[2] == container]
            if heard != sorted(heard):
                yield f"{name} heard out of order: {heard}"
