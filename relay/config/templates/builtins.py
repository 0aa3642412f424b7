"""The filters, tests, functions and methods that a template may use, with their steps counted."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, cast

import jinja2
import msgspec
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext
from jinja2.tests import TESTS
from jinja2.utils import Namespace, pass_context

from relay.config.templates.budget import (
    MAX_BITS,
    TemplateError,
    TemplateErrorKind,
    count_chars,
    count_steps,
    count_work,
)
from relay.config.templates.parts import FixedText
from relay.core.written_time import parse_written_time
from relay.core.zone import UTC_ZONE

_MAX_RANGE = 1_000
_MAX_PRECISION = 12

_JINJA_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items"),
    *("last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper"),
    *("urlencode", "wordcount"),
)
_JINJA_TESTS = (
    *("boolean", "defined", "divisibleby", "eq", "even", "false", "float", "ge", "gt", "in"),
    *("integer", "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd"),
    *("sequence", "string", "true", "undefined", "upper", "equalto", "==", "!=", "<", ">", "<="),
    *(">=", "sameas"),
)
_TEXT_FUNCTIONS = frozenset(
    {"capitalize", "lower", "string", "title", "trim", "truncate", "upper", "urlencode"}
    | {"wordcount"}
)
"""The filters and tests that convert their argument to text."""
ALLOWED_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        {"capitalize", "count", "endswith", "find", "isdigit", "lower", "lstrip", "removeprefix"}
        | {"removesuffix", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"}
    ),
    dict: frozenset({"get", "items", "keys", "values"}),
    LoopContext: frozenset(
        {"cycle", "depth", "depth0", "first", "index", "index0", "last", "length", "nextitem"}
        | {"previtem", "revindex", "revindex0"}
    ),
}
"""The methods and attributes that a template may use: none changes a value or makes it larger."""
_SCALARS = (str, int, float, type(None))
_COMPARISONS = frozenset(
    {"eq", "ne", "lt", "le", "gt", "ge", "equalto", "==", "!=", "<", "<=", ">", ">="}
)
"""The tests that compare two values."""
_DIVISIONS = frozenset({"divisibleby", "even", "odd"})
"""The tests that divide. With a text, Python's ``%`` would format instead, and the text, which may
be a label, could ask for any width."""


class _ScalarNamespace(Namespace):
    """Jinja's ``namespace``, restricted to scalar values."""

    def __init__(self, **values: object) -> None:
        for value in values.values():
            _require_scalar(value)
        super().__init__(**values)

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, _require_scalar(value))


def _require_scalar(value: object) -> object:
    """Return a text, a number or None. Raises `TemplateError` for other values."""
    if isinstance(value, (*_SCALARS, jinja2.Undefined)):
        return value
    raise TemplateError(
        TemplateErrorKind.TYPE,
        "it writes a value that is not text or a number: use 'join' or 'tojson'",
    )


def _to_text(value: object) -> str:
    return "" if value is None else str(_require_scalar(value))


@pass_context  # keeps Jinja from evaluating constants while it compiles
def finalize(_: object, value: object) -> str:
    """Convert the value of an expression to the text to write, and count its characters."""
    text = value if isinstance(value, FixedText) else _to_text(value)
    count_chars(len(text))
    return text


def _count_calls(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wrap a filter or a test so that its arguments and its result are counted."""
    passed_by_jinja = 1 if hasattr(function, "jinja_pass_arg") else 0  # the context, for example

    @wraps(function)
    def counted(*args: Any, **kwargs: Any) -> Any:
        context, values = args[:passed_by_jinja], args[passed_by_jinja:]
        if name in _TEXT_FUNCTIONS and values:
            values = (_to_text(values[0]), *values[1:])
        count_work(*values, *kwargs.values())
        result = function(*context, *values, **kwargs)
        if isinstance(result, Iterator):
            return _count_items(result)
        count_work(result)
        return result

    return counted


def _guard_test(name: str) -> Callable[..., Any]:
    """Return a test of Jinja. Those that compare accept only scalars, those that divide numbers."""
    test: Callable[..., Any] = cast("Any", TESTS[name])
    if name == "in":
        return lambda value, values: test(_require_comparable(value), values)
    if name in _COMPARISONS:
        return lambda value, other: test(_require_comparable(value), _require_comparable(other))
    if name in _DIVISIONS:
        return lambda value, *by: test(*map(_require_number, (value, *by)))
    return test


def _count_items(values: Iterable[object], steps: int = 1) -> Iterator[object]:
    """Yield the values, and count ``steps`` for each."""
    for value in values:
        count_steps(steps)
        yield value


def _require_number(value: object) -> object:
    if isinstance(value, int | float | jinja2.Undefined):
        return value
    raise TemplateError(
        TemplateErrorKind.VALUE, "it divides a value that is not a number: use 'int'"
    )


def _require_comparable(value: object) -> object:
    """Return a value that may be compared. Comparing lists or mappings could take any time."""
    if not isinstance(value, (*_SCALARS, jinja2.Undefined)):
        raise TemplateError(
            TemplateErrorKind.TYPE, "it compares a value that is not text or a number"
        )
    count_work(value)
    return value


def _count_value(value: object) -> object:
    count_work(value)
    return value


def _join(values: Iterable[object], separator: str = "") -> str:
    """Join values as text. Implements the filter ``join`` and the operator ``~``."""
    texts = []
    for value in values:
        texts.append(_to_text(value))
        count_work(texts[-1])
        count_chars(len(texts[-1]) + len(separator))
    return separator.join(texts)


def _replace(text: object, old: str, new: str) -> str:
    source = _to_text(text)
    count_work(source)
    count_chars(len(source) + source.count(old) * max(0, len(new) - len(old)))
    return source.replace(old, new)


def _round(number: float, precision: int = 0) -> float:
    count_work()
    return round(number, max(0, min(precision, _MAX_PRECISION)))


def _to_utc(time: object) -> str | None:
    """Convert a time by RFC 3339, or in nanoseconds since 1970, to UTC; None stays None."""
    count_work(time)
    if time is None:
        return None
    try:
        if isinstance(time, int):
            return UTC_ZONE.format_rfc3339(time)
        written = parse_written_time(_to_text(time))
        if written.day is None:
            raise ValueError
        return UTC_ZONE.format_rfc3339(written.to_ns(UTC_ZONE, 0, ahead=False))
    except (ValueError, OverflowError, OSError) as error:
        message = "it converts a value to UTC that is no time: use 'event.time'"
        raise TemplateError(TemplateErrorKind.VALUE, message) from error


def _to_json(value: object) -> str:
    text = msgspec.json.encode(_to_plain(value)).decode()
    count_work(text)
    count_chars(len(text))
    return text


def _to_plain(value: object) -> object:
    """Convert a value to plain dicts and lists, as a template sees them."""
    count_work()
    match value:
        case dict():
            return {key: _to_plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_to_plain(inner) for inner in value]
        case _:
            return value


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _MAX_RANGE:
        raise TemplateError(
            TemplateErrorKind.LIMIT, f"it has a range of more than {_MAX_RANGE} numbers"
        )
    return numbers


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Raise `TemplateError` if the result of an operation is too large or has an unknown size."""
    for value in (left, right):
        _require_scalar(value)
    match operator, left, right:
        case "%", str(), _:
            raise TemplateError(
                TemplateErrorKind.SYNTAX, "it formats with '%': join texts with '~'"
            )
        case ("*", str(), int()) | ("*", int(), str()):
            text, times = (left, right) if isinstance(left, str) else (right, left)
            count_chars(len(text) * max(0, times))
        case "+", str(), str():
            count_chars(len(left) + len(right))
        case (("*" | "**"), int(), int()):
            times = max(1, right) if operator == "**" else 1
            if left.bit_length() * times + right.bit_length() > MAX_BITS:
                raise TemplateError(TemplateErrorKind.LIMIT, "it makes too large a number")


GLOBALS: Mapping[str, object] = {"range": _range, "namespace": _ScalarNamespace}

_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "join": _join,
    "replace": _replace,
    "round": _round,
    "tojson": _to_json,
    "utc": _to_utc,
    # those that `environment` inserts
    "_join": _join,
    "_count_items": _count_items,
    "_require_comparable": _require_comparable,
    "_count_value": _count_value,
    "_count_steps": count_steps,
    "_fixed_text": FixedText,
}
ALLOWED_FILTERS = {
    name: _count_calls(FILTERS[name], name) for name in _JINJA_FILTERS
} | _OWN_FILTERS
ALLOWED_TESTS = {name: _count_calls(_guard_test(name), name) for name in _JINJA_TESTS}
