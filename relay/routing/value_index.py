"""Which of many hooks one value hangs on, without trying each."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from relay.routing.index_keys import PART_MIN, IndexKey, KeyKind

PREFIX_LENGTHS_MAX = 6
"""So many lengths of beginnings are looked for; longer ones are cut to the next of these."""

GRAM_MAX = 8
"""So many characters of a part are looked for at most."""

POSITIONS_PER_MATCH = 10
"""To try a match costs as much as to look for parts at so many places of a text: in a text that is
longer than this for each match, none is looked for."""


class ValueIndex:
    """From a value to the numbers that have a hook for it.

    All of them, and some others: beginnings and parts are looked for with few of their characters.
    """

    __slots__ = (
        "_exact",
        "_gram_length",
        "_grams",
        "_lengths",
        "_parts",
        "_prefixes",
        "_present",
        "_searches_text",
    )

    def __init__(self, wanted: Sequence[tuple[IndexKey, int]]) -> None:
        by_kind: defaultdict[KeyKind, list[tuple[IndexKey, int]]] = defaultdict(list)
        for hook, number in wanted:
            by_kind[hook.kind].append((hook, number))
        self._present = [number for _, number in by_kind[KeyKind.PRESENT]]
        self._exact = _group_numbers(
            (hook.value, number) for hook, number in by_kind[KeyKind.EXACT]
        )
        prefixes = [(str(hook.value), number) for hook, number in by_kind[KeyKind.PREFIX]]
        self._lengths = _choose_lengths([len(text) for text, _ in prefixes])
        self._prefixes = _group_numbers(
            (text[: max(it for it in self._lengths if it <= len(text))], number)
            for text, number in prefixes
        )
        parts = [(str(hook.value), number) for hook, number in by_kind[KeyKind.PART]]
        self._parts = [number for _, number in parts]
        self._gram_length = min((len(text) for text, _ in parts), default=PART_MIN)
        self._gram_length = min(self._gram_length, GRAM_MAX)
        self._grams = _group_numbers(_rarest_grams(parts, self._gram_length))
        self._searches_text = bool(prefixes or parts)

    def collect(self, value: object, found: list[int]) -> None:
        """Add the numbers to ``found``, in any order, some of them twice."""
        if self._present:
            found += self._present
        if value in self._exact:
            found += self._exact[value]
        if self._searches_text and isinstance(value, str):
            prefixes = self._prefixes
            for length in self._lengths:
                beginning = value[:length]
                if beginning in prefixes:
                    found += prefixes[beginning]
            if self._parts:
                self._collect_parts(value, found)

    def _collect_parts(self, text: str, found: list[int]) -> None:
        if len(text) > POSITIONS_PER_MATCH * len(self._parts):
            found += self._parts
            return
        grams, length = self._grams, self._gram_length
        for at in range(len(text) - length + 1):
            gram = text[at : at + length]
            if gram in grams:
                found += grams[gram]


def _group_numbers(wanted: Iterable[tuple[object, int]]) -> dict[object, tuple[int, ...]]:
    groups: defaultdict[object, list[int]] = defaultdict(list)
    for key, number in wanted:
        groups[key].append(number)
    return {key: tuple(numbers) for key, numbers in groups.items()}


def _choose_lengths(of_prefixes: Sequence[int]) -> tuple[int, ...]:
    """The lengths to look for: the least, so that none is too short, and the most frequent."""
    frequent = [length for length, _ in Counter(of_prefixes).most_common()]
    if not frequent:
        return ()
    least = min(frequent)
    frequent.remove(least)
    return tuple(sorted((least, *frequent[: PREFIX_LENGTHS_MAX - 1])))


def _rarest_grams(parts: Sequence[tuple[str, int]], length: int) -> Iterator[tuple[str, int]]:
    """Each number with the piece of its part that the fewest others hold."""
    common = Counter(gram for text, _ in parts for gram in set(_split_grams(text, length)))
    for text, number in parts:
        yield min(_split_grams(text, length), key=common.__getitem__), number


def _split_grams(text: str, length: int) -> list[str]:
    return [text[at : at + length] for at in range(len(text) - length + 1)]
