"""Which routes an event has to be tried on: found by what it is, not by trying all of them.

Routes are kept by the types and actions that they name. Among those that name the same, each is
found by that one of its other fields which the fewest of them share. What can be said of no event
beforehand is tried on each.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from operator import attrgetter

from relay.config.match import Field, Match, Pattern
from relay.core.event import TYPE_RELAY, Event
from relay.routing.index_keys import IndexKey, KeyKind, find_keys
from relay.routing.matcher import selects_relay_events
from relay.routing.value_index import ValueIndex

BUCKETS_MAX = 64
"""A route that names more pairs of a type and an action is kept as if it named none."""

FieldRef = tuple[str, str | None]
"""A field, and which attribute of the event where it is one."""

Requirements = Mapping[FieldRef, tuple[Pattern, ...]]
"""What a match asks for in any case: of each field that one of the patterns fits."""

_TYPE: FieldRef = ("type", None)
_ACTION: FieldRef = ("action", None)


class Index:
    """From an event to the numbers of the matches that may take it."""

    def __init__(self, matches: Sequence[Match]) -> None:
        """A match's number is its place among them."""
        needed = [(number, _find_requirements(match)) for number, match in enumerate(matches)]
        self._engines = _BucketTable(needed)
        self._own = _BucketTable(
            [each for each in needed if selects_relay_events(matches[each[0]])]
        )

    def candidates(self, event: Event) -> Sequence[int]:
        """The numbers, each once and in increasing order, of all that take the event.

        With them may be some that do not.
        """
        places = self._own if event.type == TYPE_RELAY else self._engines
        return places.candidates(event)


class _BucketTable:
    """Matches by the pairs of a type and an action that they name."""

    def __init__(self, needed: Iterable[tuple[int, Requirements]]) -> None:
        found: defaultdict[tuple[str | None, str | None], list[_Candidate]] = defaultdict(list)
        for number, needs in needed:
            wanted = _make_candidate(number, needs)
            for place in _bucket_keys(needs):
                found[place].append(wanted)
        alike: dict[tuple[int, ...], _Bucket] = {}
        for them in found.values():
            numbers = tuple(each.number for each in them)
            alike[numbers] = alike.get(numbers) or _Bucket(them)
        self._places = {
            place: alike[tuple(each.number for each in them)] for place, them in found.items()
        }

    def candidates(self, event: Event) -> Sequence[int]:
        found: list[int] = []
        type_, action = event.type, event.action
        # None stands for whatever it is
        for key in ((type_, action), (type_, None), (None, action), (None, None)):
            place = self._places.get(key)
            if place is not None:
                place.collect(event, found)
        return found if len(found) < 2 else sorted(set(found))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What one match can be found by."""

    number: int
    fields: Mapping[FieldRef, tuple[tuple[IndexKey, ...], ...]]
    """By field: of each pattern of which one has to fit, hooks of which one is enough."""


class _Bucket:
    """Matches that name the same type and action, by what else they ask for."""

    def __init__(self, wanted: Sequence[_Candidate]) -> None:
        always: list[int] = []
        by_field: defaultdict[FieldRef, list[tuple[IndexKey, int]]] = defaultdict(list)
        choice = _KeySelector(wanted)
        for each in wanted:
            where = choice.best_field(each)
            if where is None:
                always.append(each.number)
            else:
                by_field[where] += ((it, each.number) for it in choice.best_keys(each, where))
        self._always = tuple(always)
        lookups = {where: ValueIndex(them) for where, them in by_field.items()}
        self._fields = [
            (_reader(name), lookup) for (name, key), lookup in lookups.items() if key is None
        ]
        self._attributes = {key: lookup for (_, key), lookup in lookups.items() if key is not None}

    def collect(self, event: Event, found: list[int]) -> None:
        found += self._always
        for read, lookup in self._fields:
            value = read(event)
            if value is not None:
                lookup.collect(value, found)
        if self._attributes:
            self._find_attributes(event.actor.attributes, found)

    def _find_attributes(self, attributes: Mapping[str, str], found: list[int]) -> None:
        if len(attributes) < len(self._attributes):
            for key, value in attributes.items():
                lookup = self._attributes.get(key)
                if lookup is not None:
                    lookup.collect(value, found)
        else:
            for key, lookup in self._attributes.items():
                if (text := attributes.get(key)) is not None:
                    lookup.collect(text, found)


class _KeySelector:
    """By what to find each of some matches: what the fewest of them share."""

    def __init__(self, wanted: Sequence[_Candidate]) -> None:
        self._asked = Counter(where for each in wanted for where in each.fields)
        self._shared = Counter(
            (where, hook)
            for each in wanted
            for where, patterns in each.fields.items()
            for hook in {hook for pattern in patterns for hook in pattern}
        )

    def best_field(self, wanted: _Candidate) -> FieldRef | None:
        """The best field; None if there is none."""
        return min(wanted.fields, key=lambda where: self._rank(wanted, where), default=None)

    def best_keys(self, wanted: _Candidate, where: FieldRef) -> set[IndexKey]:
        """The best hook for each of its patterns."""
        return {
            min(pattern, key=lambda hook: self._cost(where, hook))
            for pattern in wanted.fields[where]
        }

    def _rank(self, wanted: _Candidate, where: FieldRef) -> tuple[int, KeyKind, int]:
        """Of what costs the same, the field that most ask for: then fewer are looked at."""
        cost, kind = max(self._cost(where, hook) for hook in self.best_keys(wanted, where))
        return cost, kind, -self._asked[where]

    def _cost(self, where: FieldRef, hook: IndexKey) -> tuple[int, KeyKind]:
        return self._shared[where, hook], hook.kind


def _make_candidate(number: int, needs: Requirements) -> _Candidate:
    fields = {
        where: tuple(find_keys(pattern, absent_fits=where[1] is not None) for pattern in patterns)
        for where, patterns in needs.items()
        if where not in (_TYPE, _ACTION)
    }
    # where one of the patterns takes what is not there, the field finds nothing
    return _Candidate(number, {where: each for where, each in fields.items() if each and all(each)})


def _bucket_keys(needs: Requirements) -> Iterable[tuple[str | None, str | None]]:
    """The pairs of type and action; None for whatever it is."""
    types = set(_exact_texts(needs.get(_TYPE, ())))
    actions = {
        head for text in _exact_texts(needs.get(_ACTION, ())) for head in _action_prefixes(text)
    }
    if len(types) * len(actions) > BUCKETS_MAX:
        return [(None, None)]
    return product(types or [None], actions or [None])


def _exact_texts(patterns: Iterable[Pattern]) -> list[str]:
    """The values that it may be; none if they cannot be listed."""
    found = []
    for pattern in patterns:
        match find_keys(pattern, absent_fits=False):
            case (IndexKey(kind=KeyKind.EXACT, value=str(text)),):
                found.append(text)
            case _:
                return []
    return found


def _action_prefixes(action: str) -> Iterable[str]:
    """The action as it is written, and what may be the event's if its end is a detail."""
    words = action.split(": ")
    return (": ".join(words[:many]) for many in range(1, len(words) + 1))


def _find_requirements(match: Match) -> Requirements:
    found: dict[FieldRef, tuple[Pattern, ...]] = {}
    for field in match.fields:
        found.setdefault(_field_ref(field), field.patterns)
    for every in match.all:
        for where, patterns in _find_requirements(every).items():
            found.setdefault(where, patterns)
    for where, patterns in _common_requirements(
        [_find_requirements(choice) for choice in match.any]
    ).items():
        found.setdefault(where, patterns)
    return found


def _common_requirements(choices: Sequence[Requirements]) -> Requirements:
    """What any of the choices needs: of the fields that each asks for, the patterns of all."""
    if not choices:
        return {}
    first, *rest = choices
    return {
        where: tuple(pattern for choice in choices for pattern in choice[where])
        for where in first
        if all(where in choice for choice in rest)
    }


def _field_ref(field: Field) -> FieldRef:
    """Labels stand among the attributes."""
    return (field.name if field.key is None else "attribute", field.key)


def _reader(name: str) -> Callable[[Event], object]:
    return attrgetter(f"actor.{name}" if name in ("id", "name", "image") else name)
