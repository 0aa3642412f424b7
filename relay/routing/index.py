"""Finds the routes that an event may match, without trying every route.

With hundreds of routes, trying each matcher on every event would be the largest cost of an event.
The index sorts matches into buckets by the types and actions that they name. Inside a bucket each
match is indexed by one of its other fields: the one whose key the fewest other matches share. A
match without such a field is a candidate for every event of its bucket. The index may return a
match that does not fit, and never leaves out one that does. It is built with the router and never
changes; a reload builds a new one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import msgspec

from relay.config.match import Match, Pattern, selects_relay_events
from relay.core.event import TYPE_RELAY, Event
from relay.routing.matcher import value_reader
from relay.routing.value_index import IndexKey, KeyKind, ValueIndex, find_keys

BUCKETS_MAX = 64
"""A match that names more pairs of type and action is stored as if it named none."""

FieldRef = tuple[str, str | None]
"""The name of a field, and the attribute's name if the field is ``attribute``, else None."""

Requirements = Mapping[FieldRef, tuple[Pattern, ...]]
"""What a match requires of an event: in each of these fields one of the patterns must fit."""

_TYPE: FieldRef = ("type", None)
_ACTION: FieldRef = ("action", None)


class Index:
    """Maps an event to the numbers of the matches that it may fit."""

    def __init__(self, matches: Sequence[Match]) -> None:
        """The number of a match is its position in ``matches``."""
        required = [(number, _find_requirements(match)) for number, match in enumerate(matches)]
        self._engine_events = _BucketTable(required)
        self._relay_events = _BucketTable(
            [(number, found) for number, found in required if selects_relay_events(matches[number])]
        )

    def candidates(self, event: Event) -> Sequence[int]:
        """Return the numbers of all matches that the event fits, and possibly of some others.

        Each number occurs once; they increase.
        """
        table = self._relay_events if event.type == TYPE_RELAY else self._engine_events
        return table.candidates(event)


class _BucketTable:
    """Buckets of matches, by the pairs of type and action that they name."""

    def __init__(self, required: Iterable[tuple[int, Requirements]]) -> None:
        by_key: defaultdict[tuple[str | None, str | None], list[_Candidate]] = defaultdict(list)
        for number, requirements in required:
            candidate = _make_candidate(number, requirements)
            for key in _bucket_keys(requirements):
                by_key[key].append(candidate)
        # Pairs with the same matches share one bucket.
        shared: dict[tuple[int, ...], _Bucket] = {}
        self._buckets: dict[tuple[str | None, str | None], _Bucket] = {}
        for key, candidates in by_key.items():
            numbers = tuple(candidate.number for candidate in candidates)
            if numbers not in shared:
                shared[numbers] = _Bucket(candidates)
            self._buckets[key] = shared[numbers]

    def candidates(self, event: Event) -> Sequence[int]:
        found: list[int] = []
        type_, action = event.type, event.action
        # None stands for any type or action
        for key in ((type_, action), (type_, None), (None, action), (None, None)):
            bucket = self._buckets.get(key)
            if bucket is not None:
                bucket.collect(event, found)
        return found if len(found) < 2 else sorted(set(found))


class _Candidate(msgspec.Struct, frozen=True):
    """A match, and the index keys by which it can be found."""

    number: int
    fields: Mapping[FieldRef, tuple[tuple[IndexKey, ...], ...]]
    """The keys of each pattern, by field. A value that fits the pattern has all keys of its entry,
    so one of them is enough to find the match. One of a field's patterns has to fit."""


class _Bucket:
    """Matches that name the same type and action, indexed by their other fields."""

    def __init__(self, candidates: Sequence[_Candidate]) -> None:
        always: list[int] = []
        by_field: defaultdict[FieldRef, list[tuple[IndexKey, int]]] = defaultdict(list)
        selector = _KeySelector(candidates)
        for candidate in candidates:
            ref = selector.best_field(candidate)
            if ref is None:
                always.append(candidate.number)
            else:
                keys = selector.best_keys(candidate, ref)
                by_field[ref] += ((key, candidate.number) for key in keys)
        self._always = tuple(always)
        indexes = {ref: ValueIndex(entries) for ref, entries in by_field.items()}
        self._fields = [
            (value_reader(name), index) for (name, key), index in indexes.items() if key is None
        ]
        self._attributes = {key: index for (_, key), index in indexes.items() if key is not None}

    def collect(self, event: Event, found: list[int]) -> None:
        """Add the numbers of the candidates to ``found``."""
        found += self._always
        for read, index in self._fields:
            value = read(event)
            if value is not None:
                index.collect(value, found)
        if self._attributes:
            self._collect_attributes(event.actor.attributes, found)

    def _collect_attributes(self, attributes: Mapping[str, str], found: list[int]) -> None:
        """Iterate over the shorter of the two: the event's attributes or those of the matches."""
        if len(attributes) < len(self._attributes):
            for key, value in attributes.items():
                index = self._attributes.get(key)
                if index is not None:
                    index.collect(value, found)
        else:
            for key, index in self._attributes.items():
                if (text := attributes.get(key)) is not None:
                    index.collect(text, found)


class _KeySelector:
    """Chooses the keys by which each match of a bucket is found: those that the fewest share."""

    def __init__(self, candidates: Sequence[_Candidate]) -> None:
        self._field_counts = Counter(ref for candidate in candidates for ref in candidate.fields)
        self._key_counts = Counter(
            (ref, key)
            for candidate in candidates
            for ref, patterns in candidate.fields.items()
            for key in {key for pattern in patterns for key in pattern}
        )

    def best_field(self, candidate: _Candidate) -> FieldRef | None:
        """Return the field by which to find the match; None if there is none."""
        return min(candidate.fields, key=lambda ref: self._rank(candidate, ref), default=None)

    def best_keys(self, candidate: _Candidate, ref: FieldRef) -> set[IndexKey]:
        """Return the best key of each of the field's patterns."""
        return {
            min(pattern, key=lambda key: self._cost(ref, key)) for pattern in candidate.fields[ref]
        }

    def _rank(self, candidate: _Candidate, ref: FieldRef) -> tuple[int, KeyKind, int]:
        """Prefer the cheapest field; of equal ones the most common, so that few fields are read."""
        cost, kind = max(self._cost(ref, key) for key in self.best_keys(candidate, ref))
        return cost, kind, -self._field_counts[ref]

    def _cost(self, ref: FieldRef, key: IndexKey) -> tuple[int, KeyKind]:
        return self._key_counts[ref, key], key.kind


def _make_candidate(number: int, requirements: Requirements) -> _Candidate:
    fields = {
        ref: tuple(find_keys(pattern, absent_fits=ref[1] is not None) for pattern in patterns)
        for ref, patterns in requirements.items()
        if ref not in (_TYPE, _ACTION)
    }
    # A field with a pattern that fits an absent value cannot be used to find the match.
    return _Candidate(number, {ref: keys for ref, keys in fields.items() if keys and all(keys)})


def _bucket_keys(requirements: Requirements) -> Iterable[tuple[str | None, str | None]]:
    """Return the pairs of type and action that a match names; None stands for any."""
    types = set(_exact_texts(requirements.get(_TYPE, ())))
    actions: set[str] = set()
    for text in _exact_texts(requirements.get(_ACTION, ())):
        # The end of the text may be a detail: "health_status: healthy" also fits the action
        # "health_status" with the detail "healthy".
        parts = text.split(": ")
        actions.update(": ".join(parts[:length]) for length in range(1, len(parts) + 1))
    if len(types) * len(actions) > BUCKETS_MAX:
        return [(None, None)]
    return product(types or [None], actions or [None])


def _exact_texts(patterns: Iterable[Pattern]) -> list[str]:
    """Return the values that the patterns allow; none if they cannot be listed."""
    found = []
    for pattern in patterns:
        match find_keys(pattern, absent_fits=False):
            case (IndexKey(kind=KeyKind.EXACT, value=str(text)),):
                found.append(text)
            case _:
                return []
    return found


def _find_requirements(match: Match) -> Requirements:
    found: dict[FieldRef, tuple[Pattern, ...]] = {}
    for field in match.fields:
        name = field.name if field.key is None else "attribute"  # labels are among the attributes
        found.setdefault((name, field.key), field.patterns)
    for inner in match.all:
        for ref, patterns in _find_requirements(inner).items():
            found.setdefault(ref, patterns)
    choices = [_find_requirements(choice) for choice in match.any]
    for ref, patterns in _common_requirements(choices).items():
        found.setdefault(ref, patterns)
    return found


def _common_requirements(choices: Sequence[Requirements]) -> Requirements:
    """Return the fields that every choice requires, each with the patterns of all choices."""
    if not choices:
        return {}
    first, *rest = choices
    return {
        ref: tuple(pattern for choice in choices for pattern in choice[ref])
        for ref in first
        if all(ref in choice for choice in rest)
    }
