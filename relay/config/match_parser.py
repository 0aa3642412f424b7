"""Parses the match language: from plain data to a `Match`, or to every problem in it.

The functions for single patterns raise `ValueError`. Its message continues a sentence that starts
with the value, and does not contain the value.
"""

import re
import signal as signals
from collections.abc import Callable, Collection, Mapping
from typing import Final

from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, KeyPath, did_you_mean, quote
from relay.config.match import (
    FIELDS,
    MAPPING_FIELDS,
    Exists,
    Field,
    Glob,
    Match,
    Not,
    Pattern,
    Range,
    Regex,
    check_value,
)
from relay.config.regex import compile_regex
from relay.config.unknown_keys import hint, hint_for_match

_MAX_DEPTH: Final = 16
"""The longest path (keys and indices) to a pattern: the limit of nesting."""
_MAX_CHARS: Final = 4096
"""The longest glob or regular expression."""
_GROUPS: Final = ("any", "all", "not")
_SPECIAL_KEYS: Final = ("regex", "not", "exists")
_NUMBER = re.compile(r"[0-9]{1,10}")
_RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_BOUND = re.compile(r"(>=|<=|>|<) ?([0-9]{1,10})")
_REALTIME_SIGNAL = re.compile(r"RT(MIN|MAX)([+-][0-9]{1,2})")
_SIGNALS = {
    name.removeprefix("SIG"): int(number) for name, number in signals.Signals.__members__.items()
}
_LAST_SIGNAL = 64
"""SIGRTMAX on Linux: signal(7)."""


def parse_match(
    data: object,
    *,
    engines: Collection[str] | None = None,
    fields: Collection[str] = FIELDS,
) -> Match:
    """Parse plain data (mappings, lists, scalars) into a `Match`.

    ``engines`` are the names that an ``engine`` pattern may use; None leaves them unchecked.
    ``fields`` are those that the match may name.
    Raises `InvalidValue` with every problem; paths are relative to ``data``.
    """
    parser = _MatchParser(engines, fields)
    match = parser.parse(data, ())
    if parser.issues:
        raise InvalidValue(parser.issues)
    return match


def scalar_to_text(value: object) -> str | None:
    """Return a YAML scalar as it was written; None if ``value`` is not a scalar."""
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int():
            return str(value)
        case _:
            return None


def parse_glob(text: str) -> Glob:
    """Parse a glob. A ``[`` without a closing ``]`` is an error."""
    _check_length(text)
    at = text.find("[")
    while at >= 0:
        # a "]" right after "[" or "[!" is an ordinary character, as in sh and fnmatch
        first = at + 2 if text[at + 1 : at + 2] == "!" else at + 1
        end = text.find("]", first + 1)
        if end < 0:
            raise ValueError("has a '[' that is never closed: write '[[]' for a plain '['")
        at = text.find("[", end)
    return Glob(text)


def parse_regex(text: str) -> Regex:
    """Parse a regular expression in RE2's syntax."""
    _check_length(text)
    compile_regex(text)
    return Regex(text)


def parse_exit_code(text: str) -> Range:
    """Parse exit codes: ``137``, ``1-125``, ``>=128``, ``>128``, ``<=2`` or ``<2``."""
    if _NUMBER.fullmatch(text):
        return Range(int(text), int(text))
    if span := _RANGE.fullmatch(text):
        codes = Range(int(span[1]), int(span[2]))
    elif bound := _BOUND.fullmatch(text):
        codes = _range_from_bound(bound[1], int(bound[2]))
    else:
        raise ValueError("is not an exit code or a range: write 137, '1-125', '>=128' or '<2'")
    if codes.high is not None and codes.high < (codes.low or 0):
        raise ValueError("holds no exit code: its end is before its start")
    return codes


def parse_signal(text: str) -> Range:
    """Parse a signal of Linux (``9``, ``SIGKILL``, ``KILL`` or ``kill``) into a range of one."""
    name = text.upper().removeprefix("SIG")
    if _NUMBER.fullmatch(text):
        number = int(text)
    elif found := _REALTIME_SIGNAL.fullmatch(name):
        number = _SIGNALS[f"RT{found[1]}"] + int(found[2])
    elif name in _SIGNALS:
        number = _SIGNALS[name]
    else:
        raise ValueError(f"is not a signal: write 9 or SIGKILL{did_you_mean(name, _SIGNALS)}")
    if not 1 <= number <= _LAST_SIGNAL:
        raise ValueError(f"is not a signal: they go from 1 to {_LAST_SIGNAL}")
    return Range(number, number)


def _range_from_bound(sign: str, number: int) -> Range:
    match sign:
        case ">=":
            return Range(number, None)
        case ">":
            return Range(number + 1, None)
        case "<=":
            return Range(None, number)
        case _:
            return Range(None, number - 1)


def _check_length(text: str) -> None:
    if len(text) > _MAX_CHARS:
        raise ValueError(f"is longer than {_MAX_CHARS} characters")


_NUMBER_PARSERS: Final[Mapping[str, Callable[[str], Range]]] = {
    "exit_code": parse_exit_code,
    "signal": parse_signal,
}


class _MatchParser:
    """Parses one match and collects the issues in it."""

    def __init__(self, engines: Collection[str] | None, fields: Collection[str]) -> None:
        self._engines = engines
        self._fields = fields
        self.issues: list[ConfigIssue] = []

    def parse(self, data: object, path: KeyPath) -> Match:
        """Parse a whole match. The result lacks the parts that have issues."""
        fields: list[Field] = []
        groups: dict[str, tuple[Match, ...]] = {}
        not_ = None
        for key, value in self._expect_mapping(data, path).items():
            here = (*path, key)
            if key in ("any", "all"):
                groups[key] = self._parse_list(value, here)
            elif key == "not":
                not_ = self._parse_nested(value, here)
            elif key in MAPPING_FIELDS:
                fields += self._parse_mapping_field(key, value, here)
            elif key in self._fields:
                fields.append(Field(key, None, self._parse_patterns(key, value, here)))
            else:
                self._add_unknown_key(here, hint_for_match(key, (*self._fields, *_GROUPS)))
        return Match(tuple(fields), groups.get("any", ()), groups.get("all", ()), not_)

    def _parse_list(self, data: object, path: KeyPath) -> tuple[Match, ...]:
        if not isinstance(data, list):
            self._add_issue(path, "must be a list of matches, as in [{name: web}, {name: db}]")
            return ()
        if not data:
            self._add_issue(path, "is an empty list: write at least one match, or remove it")
        return tuple(self._parse_nested(item, (*path, index)) for index, item in enumerate(data))

    def _parse_nested(self, data: object, path: KeyPath) -> Match:
        if data is None or data == {}:
            self._add_issue(path, "is empty and would match every event: write what to match")
            return Match()
        return self.parse(data, path)

    def _parse_mapping_field(self, name: str, data: object, path: KeyPath) -> list[Field]:
        if not isinstance(data, Mapping) or not data:
            self._add_issue(path, "must be a mapping of names to patterns, as in {tier: 'web-*'}")
            return []
        return [
            Field(name, str(key), self._parse_patterns(name, value, (*path, key)))
            for key, value in data.items()
        ]

    def _parse_patterns(self, field: str, data: object, path: KeyPath) -> tuple[Pattern, ...]:
        """Parse a list of patterns, or a single pattern without a list."""
        if not isinstance(data, list):
            return self._parse_pattern(field, data, path)
        if not data:
            self._add_issue(path, "is an empty list: write at least one pattern, or remove it")
        found: list[Pattern] = []
        for index, item in enumerate(data):
            if isinstance(item, list):
                self._add_issue((*path, index), "is a list in a list: write one list")
            else:
                found += self._parse_pattern(field, item, (*path, index))
        return tuple(found)

    def _parse_pattern(self, field: str, data: object, path: KeyPath) -> tuple[Pattern, ...]:
        if isinstance(data, Mapping):
            return self._parse_special(field, data, path)
        text = scalar_to_text(data)
        if text is None:
            self._add_issue(
                path, "is empty: write {exists: true} for any value, '\"\"' for an empty one"
            )
            return ()
        return self._collect(lambda: self._parse_plain(field, text), path)

    def _parse_plain(self, field: str, text: str) -> Pattern:
        if field in _NUMBER_PARSERS:
            return _NUMBER_PARSERS[field](text)
        found = parse_glob(text)
        check_value(field, found.text, self._engines)
        return found

    def _parse_special(
        self, field: str, data: Mapping[str, object], path: KeyPath
    ) -> tuple[Pattern, ...]:
        known: list[str] = []
        for key in self._expect_mapping(data, path):
            if key in _SPECIAL_KEYS:
                known.append(key)
            else:
                self._add_unknown_key((*path, key), hint(key, _SPECIAL_KEYS))
        if len(known) != 1:
            if len(known) == len(data):
                self._add_issue(path, "must hold exactly one of 'regex', 'not' and 'exists'")
            return ()
        key, value = known[0], data[known[0]]
        here = (*path, key)
        match key:
            case "not":
                return (Not(self._parse_patterns(field, value, here)),)
            case "exists":
                return self._parse_exists(value, here)
            case _:
                return self._parse_regex(field, value, here)

    def _parse_exists(self, value: object, path: KeyPath) -> tuple[Pattern, ...]:
        text = scalar_to_text(value)
        if text not in ("true", "false"):
            self._add_issue(path, "must be true or false")
            return ()
        return (Exists(text == "true"),)

    def _parse_regex(self, field: str, value: object, path: KeyPath) -> tuple[Pattern, ...]:
        text = scalar_to_text(value)
        if field in _NUMBER_PARSERS:
            self._add_issue(path, f"cannot be used here: {field} is a number")
        elif text is None:
            self._add_issue(path, "must be the text of a regular expression")
        else:
            return self._collect(lambda: parse_regex(text), path)
        return ()

    def _collect(self, parse: Callable[[], Pattern], path: KeyPath) -> tuple[Pattern, ...]:
        try:
            return (parse(),)
        except InvalidValue as error:
            self.issues += error.issues_below(path)
        except ValueError as error:
            self.issues.append(ConfigIssue(path, str(error), IssueScope.VALUE))
        return ()

    def _expect_mapping(self, data: object, path: KeyPath) -> Mapping[str, object]:
        if data is None:
            return {}
        if not isinstance(data, Mapping):
            self._add_issue(path, "must be a mapping, as in {type: container, action: die}")
            return {}
        if len(path) >= _MAX_DEPTH:
            self._add_issue(path, "is nested too deeply")
            return {}
        return data

    def _add_issue(self, path: KeyPath, message: str) -> None:
        self.issues.append(ConfigIssue(path, message))

    def _add_unknown_key(self, path: KeyPath, advice: str) -> None:
        message = f"unknown key {quote(str(path[-1]))}{advice}"
        self.issues.append(ConfigIssue(path, message, IssueScope.KEY))
