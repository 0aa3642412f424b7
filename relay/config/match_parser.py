"""The match language: from plain data to a `Match`, with every mistake in it."""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from relay.config import match_fields, patterns
from relay.config.errors import About, Mistake, Mistakes, Trail, did_you_mean, quoted
from relay.config.match import Exists, Field, Match, Not, Pattern, Range

_MAX_STEPS: Final = 16
"""How deep it may nest: the keys and indices on the way to the innermost pattern."""
_KEYED: Final = ("label", "attribute")
_KEYS: Final = (*match_fields.FIELDS, "any", "all", "not")
_NUMBERS: Final[Mapping[str, Callable[[str], Range]]] = {
    "exit_code": patterns.exit_code,
    "signal": patterns.signal,
}
_SPECIAL: Final = ("regex", "not", "exists")


def parse_match(data: object, *, engines: Collection[str] | None = None) -> Match:
    """The match that plain data (mappings, lists, scalars) stands for.

    ``engines`` are the names that an ``engine`` pattern may take; None leaves them unchecked.
    Raises `Mistakes` with every mistake, the trails relative to ``data``.
    """
    reader = _Reader(engines)
    match = reader.match(data, ())
    if reader.mistakes:
        raise Mistakes(reader.mistakes)
    return match


def scalar_text(value: object) -> str | None:
    """A YAML scalar as it was written; None for what is not one."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case _:
            return None


class _Reader:
    """Reads one match and collects what is wrong with it."""

    def __init__(self, engines: Collection[str] | None) -> None:
        self._engines = engines
        self.mistakes: list[Mistake] = []

    def match(self, data: object, trail: Trail) -> Match:
        """A whole match; what is wrong in it is left out."""
        fields: list[Field] = []
        groups: dict[str, tuple[Match, ...]] = {}
        not_ = None
        for key, value in self._mapping(data, trail).items():
            here = (*trail, key)
            if key in ("any", "all"):
                groups[key] = self._matches(value, here)
            elif key == "not":
                not_ = self._nested(value, here)
            elif key in _KEYED:
                fields += self._keyed(key, value, here)
            elif key in match_fields.FIELDS:
                fields.append(Field(key, None, self._patterns(key, value, here)))
            else:
                self._unknown(here, _KEYS)
        return Match(tuple(fields), groups.get("any", ()), groups.get("all", ()), not_)

    def _matches(self, data: object, trail: Trail) -> tuple[Match, ...]:
        if not isinstance(data, list):
            self._wrong(trail, "must be a list of matches, as in [{name: web}, {name: db}]")
            return ()
        if not data:
            self._wrong(trail, "is an empty list: write at least one match, or remove it")
        return tuple(self._nested(item, (*trail, index)) for index, item in enumerate(data))

    def _nested(self, data: object, trail: Trail) -> Match:
        if data is None or data == {}:
            self._wrong(trail, "is empty and would take everything: write what to match")
            return Match()
        return self.match(data, trail)

    def _keyed(self, name: str, data: object, trail: Trail) -> list[Field]:
        if not isinstance(data, Mapping) or not data:
            self._wrong(trail, "must be a mapping of names to patterns, as in {tier: 'web-*'}")
            return []
        return [
            Field(name, str(key), self._patterns(name, value, (*trail, key)))
            for key, value in data.items()
        ]

    def _patterns(self, field: str, data: object, trail: Trail) -> tuple[Pattern, ...]:
        """Any-of: a list, or one pattern without it."""
        if not isinstance(data, list):
            return self._pattern(field, data, trail)
        if not data:
            self._wrong(trail, "is an empty list: write at least one pattern, or remove it")
        found: list[Pattern] = []
        for index, item in enumerate(data):
            if isinstance(item, list):
                self._wrong((*trail, index), "is a list in a list: write one list")
            else:
                found += self._pattern(field, item, (*trail, index))
        return tuple(found)

    def _pattern(self, field: str, data: object, trail: Trail) -> tuple[Pattern, ...]:
        if isinstance(data, Mapping):
            return self._special(field, data, trail)
        text = scalar_text(data)
        if text is None:
            self._wrong(
                trail, "is empty: write {exists: true} for any value, '\"\"' for an empty one"
            )
            return ()
        return self._read(lambda: self._plain(field, text), trail)

    def _plain(self, field: str, text: str) -> Pattern:
        if field in _NUMBERS:
            return _NUMBERS[field](text)
        found = patterns.glob(text)
        match_fields.check(field, found.text, self._engines)
        return found

    def _special(self, field: str, data: Mapping[str, object], trail: Trail) -> tuple[Pattern, ...]:
        known = [key for key in self._mapping(data, trail) if self._is_special(key, trail)]
        if len(known) != 1:
            if len(known) == len(data):
                self._wrong(trail, "must hold exactly one of 'regex', 'not' and 'exists'")
            return ()
        key, value = known[0], data[known[0]]
        here = (*trail, key)
        match key:
            case "not":
                return (Not(self._patterns(field, value, here)),)
            case "exists":
                return self._exists(value, here)
            case _:
                return self._regex(field, value, here)

    def _is_special(self, key: str, trail: Trail) -> bool:
        if key not in _SPECIAL:
            self._unknown((*trail, key), _SPECIAL)
        return key in _SPECIAL

    def _exists(self, value: object, trail: Trail) -> tuple[Pattern, ...]:
        text = scalar_text(value)
        if text not in ("true", "false"):
            self._wrong(trail, "must be true or false")
            return ()
        return (Exists(text == "true"),)

    def _regex(self, field: str, value: object, trail: Trail) -> tuple[Pattern, ...]:
        text = scalar_text(value)
        if field in _NUMBERS:
            self._wrong(trail, f"has no place here: {field} is a number")
        elif text is None:
            self._wrong(trail, "must be the text of a regular expression")
        else:
            return self._read(lambda: patterns.regex(text), trail)
        return ()

    def _read(self, read: Callable[[], Pattern], trail: Trail) -> tuple[Pattern, ...]:
        try:
            return (read(),)
        except Mistakes as error:
            self.mistakes += (
                Mistake((*trail, *one.trail), one.message, one.about, one.quote)
                for one in error.mistakes
            )
        except ValueError as error:
            self.mistakes.append(Mistake(trail, str(error), About.VALUE))
        return ()

    def _mapping(self, data: object, trail: Trail) -> Mapping[str, object]:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            self._wrong(trail, "must be a mapping, as in {type: container, action: die}")
            return {}
        if len(trail) >= _MAX_STEPS:
            self._wrong(trail, "is nested too deeply")
            return {}
        return data

    def _wrong(self, trail: Trail, message: str) -> None:
        self.mistakes.append(Mistake(trail, message))

    def _unknown(self, trail: Trail, known: Collection[str]) -> None:
        key = str(trail[-1])
        message = f"unknown key {quoted(key)}{did_you_mean(key, known)}"
        self.mistakes.append(Mistake(trail, message, About.KEY))
