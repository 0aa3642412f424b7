"""What a template may ask for: filters, tests, functions and methods, their steps counted."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any, cast

import jinja2
import msgspec
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext
from jinja2.tests import TESTS
from jinja2.utils import Namespace, pass_context

from relay.config.templates.budget import BITS_MAX, make, spend, step
from relay.config.templates.errors import Fault, TemplateError

_RANGE_MAX = 1_000
_PRECISION_MAX = 12

_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items"),
    *("last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "string", "title", "trim", "truncate", "unique", "upper"),
    *("urlencode", "wordcount"),
)
_TESTS = (
    *("boolean", "defined", "divisibleby", "eq", "even", "false", "float", "ge", "gt", "in"),
    *("integer", "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd"),
    *("sequence", "string", "true", "undefined", "upper", "equalto", "==", "!=", "<", ">", "<="),
    *(">=", "sameas"),
)
_OF_TEXTS = frozenset(
    {"capitalize", "lower", "string", "title", "trim", "truncate", "upper", "urlencode"}
    | {"wordcount"}
)
"""The filters and tests that make a text of what they are given."""
METHODS: Mapping[type, frozenset[str]] = {
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
"""What may be asked of a value beside what it holds: nothing that changes it, or makes it grow."""
_SCALARS = (str, int, float, type(None))
_ORDERS = frozenset(
    {"eq", "ne", "lt", "le", "gt", "ge", "equalto", "==", "!=", "<", "<=", ">", ">="}
)
"""The tests that compare two values."""
_OF_NUMBERS = frozenset({"divisibleby", "even", "odd"})
"""The tests that divide. Of a text Python makes a format, and a label says how wide."""


class _Notes(Namespace):
    """What a template keeps from one round of a loop to the next: single values."""

    def __init__(self, **values: object) -> None:
        for value in values.values():
            _single(value)
        super().__init__(**values)

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, _single(value))


def _single(value: object) -> object:
    """A value that can be written; raises for a list, a mapping, or what can be called."""
    if isinstance(value, (*_SCALARS, jinja2.Undefined)):
        return value
    raise TemplateError(Fault.KIND, "it writes what is no text or number: use 'join' or 'tojson'")


def _text(value: object) -> str:
    return "" if value is None else str(_single(value))


@pass_context  # so that Jinja writes nothing while it compiles
def written(_: object, value: object) -> str:
    """What an expression writes, its characters counted."""
    text = _text(value)
    make(len(text))
    return text


def _counted(work: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A filter or a test, its steps counted by what it works on and what it makes."""
    given = 1 if hasattr(work, "jinja_pass_arg") else 0

    @wraps(work)
    def counting(*args: Any, **kwargs: Any) -> Any:
        before, values = args[:given], args[given:]
        if name in _OF_TEXTS and values:
            values = (_text(values[0]), *values[1:])
        step(*values, *kwargs.values())
        made = work(*before, *values, **kwargs)
        if isinstance(made, Iterator):
            return _paced(made)
        step(made)
        return made

    return counting


def _test(name: str) -> Callable[..., Any]:
    """A test; one that compares is for single values only."""
    test: Callable[..., Any] = cast("Any", TESTS[name])
    if name == "in":
        return lambda value, values: test(_compared(value), values)
    if name in _ORDERS:
        return lambda value, other: test(_compared(value), _compared(other))
    if name in _OF_NUMBERS:
        return lambda value, *by: test(*map(_number, (value, *by)))
    return test


def _paced(values: Iterable[object], weight: int = 1) -> Iterator[object]:
    for value in values:
        spend(weight)
        yield value


def _number(value: object) -> object:
    if isinstance(value, int | float | jinja2.Undefined):
        return value
    raise TemplateError(Fault.VALUE, "it divides what is no number: use 'int'")


def _compared(value: object) -> object:
    """One of two that are: lists and mappings could hold anything, and be compared all through."""
    if not isinstance(value, (*_SCALARS, jinja2.Undefined)):
        raise TemplateError(Fault.KIND, "it compares what is no text or number")
    step(value)
    return value


def _weighed(value: object) -> object:
    step(value)
    return value


def _joined(values: Iterable[object], separator: str = "") -> str:
    """Also the filter ``join``."""
    texts = []
    for value in values:
        texts.append(_text(value))
        step(texts[-1])
        make(len(texts[-1]) + len(separator))
    return separator.join(texts)


def _replaced(text: object, old: str, new: str) -> str:
    shown = _text(text)
    step(shown)
    make(len(shown) + shown.count(old) * max(0, len(new) - len(old)))
    return shown.replace(old, new)


def _rounded(number: float, precision: int = 0) -> float:
    step()
    return round(number, max(0, min(precision, _PRECISION_MAX)))


def _as_json(value: object) -> str:
    text = msgspec.json.encode(_plain(value)).decode()
    step(text)
    make(len(text))
    return text


def _plain(value: object) -> object:
    """The value as it gives itself to a template."""
    step()
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case _:
            return value


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _RANGE_MAX:
        raise TemplateError(Fault.BOUNDS, f"it has a range of more than {_RANGE_MAX} numbers")
    return numbers


GLOBALS: Mapping[str, object] = {"range": _range, "namespace": _Notes}


_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "join": _joined,
    "replace": _replaced,
    "round": _rounded,
    "tojson": _as_json,
    "_joined": _joined,
    "_paced": _paced,
    "_compared": _compared,
    "_weighed": _weighed,
    "_spent": spend,
}


def refuse_what_grows(operator: str, left: Any, right: Any) -> None:
    """Raise before an operation is done whose result could be of any size."""
    for value in (left, right):
        _single(value)
    match operator, left, right:
        case "%", str(), _:
            raise TemplateError(Fault.SYNTAX, "it formats with '%': join texts with '~'")
        case ("*", str(), int()) | ("*", int(), str()):
            text, times = (left, right) if isinstance(left, str) else (right, left)
            make(len(text) * max(0, times))
        case "+", str(), str():
            make(len(left) + len(right))
        case (("*" | "**"), int(), int()):
            times = max(1, right) if operator == "**" else 1
            if left.bit_length() * times + right.bit_length() > BITS_MAX:
                raise TemplateError(Fault.BOUNDS, "it makes too large a number")


FILTERS_KNOWN = {name: _counted(FILTERS[name], name) for name in _FILTERS} | _OWN_FILTERS
TESTS_KNOWN = {name: _counted(_test(name), name) for name in _TESTS}
