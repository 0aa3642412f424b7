"""Parses single patterns of a match.

Every function raises `ValueError`. Its message continues a sentence that starts with the value, and
does not contain the value.
"""

import re
import signal as signals
import warnings

from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, did_you_mean
from relay.config.match import Glob, Range, Regex

_MAX_CHARS = 4096
_NUMBER = re.compile(r"[0-9]{1,10}")
_RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")
_BOUND = re.compile(r"(>=|<=|>|<) ?([0-9]{1,10})")
_REALTIME_SIGNAL = re.compile(r"RT(MIN|MAX)([+-][0-9]{1,2})")
_SIGNALS = {
    name.removeprefix("SIG"): int(number) for name, number in signals.Signals.__members__.items()
}
_LAST_SIGNAL = 64
"""SIGRTMAX on Linux: signal(7)."""


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
    """Compile a regular expression in Python's syntax."""
    _check_length(text)
    try:
        with warnings.catch_warnings():
            # a FutureWarning about nested sets; the expression works today
            warnings.simplefilter("ignore")
            return Regex(text, re.compile(text))
    except re.error as error:
        where = "" if error.pos is None else f" at position {error.pos}"
        issue = ConfigIssue(
            (), f"is not a regular expression{where}", IssueScope.VALUE, detail=f": {error.msg}"
        )
    except (OverflowError, RecursionError):
        issue = ConfigIssue((), "is not a regular expression: it is too complex", IssueScope.VALUE)
    raise InvalidValue([issue])


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
