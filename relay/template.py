"""Texts with Jinja expressions in them, rendered within bounds.

Who writes the configuration writes the template; what it is filled with comes from whoever may
start a container. So nothing that a value holds is ever evaluated, and no render takes more than
`STEPS_MAX` steps or writes more than `WRITTEN_MAX` characters, whatever template and values are:
both are counted, so that it needs no clock.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

import jinja2
import msgspec
from jinja2 import nodes
from jinja2.filters import FILTERS
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS
from jinja2.utils import Namespace, missing, pass_context
from jinja2.visitor import NodeTransformer

SOURCE_MAX = 16_384
"""The longest template, in characters."""
STEPS_MAX = 20_000
"""Look-ups, calls, operations and rounds of loops; what works on something long is several."""
WRITTEN_MAX = 65_536
"""The characters that are written, in all places where a template writes."""

_LENGTH_MAX = WRITTEN_MAX
"""Of a text that an operation makes, in characters."""
_ITEMS_MAX = 4_096
"""Of a list."""
_BITS_MAX = 4_096
"""Of a whole number that an operation makes."""
_RANGE_MAX = 1_000
_PRECISION_MAX = 12
_PER_STEP = 64
"""So many characters or items are worked on in a step."""
_WORDS_MAX = 200
"""The longest message."""

_FILTERS = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "int", "items"),
    *("last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse"),
    *("select", "selectattr", "sort", "string", "title", "trim", "truncate", "unique"),
    *("upper", "urlencode", "wordcount"),
)
_TESTS = (
    *("boolean", "defined", "divisibleby", "eq", "even", "false", "float", "ge", "gt", "in"),
    *("integer", "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd"),
    *("sequence", "string", "true", "undefined", "upper", "equalto", "==", "!=", "<", ">", "<="),
    *(">=", "sameas"),
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(
        {"capitalize", "count", "endswith", "find", "isdigit", "lower", "lstrip", "removeprefix"}
        | {"removesuffix", "rstrip", "split", "splitlines", "startswith", "strip", "title", "upper"}
    ),
    dict: frozenset({"get", "items", "keys", "values"}),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
    LoopContext: frozenset(
        {"changed", "cycle", "depth", "depth0", "first", "index", "index0", "last", "length"}
        | {"nextitem", "previtem", "revindex", "revindex0"}
    ),
}
"""What may be asked of a value beside what it holds: nothing that changes it, or makes it grow."""


class TemplateError(Exception):
    """A template that cannot be rendered; its text says why in one line, and holds no value."""


class Facts(dict[str, object]):
    """Values by names that relay gives them: one that is mistyped can be told from them."""


class _Budget:
    """What is left of a render."""

    def __init__(self) -> None:
        self._steps = STEPS_MAX
        self._chars = WRITTEN_MAX

    def step(self, worked_on: object = None) -> None:
        size = len(worked_on) if isinstance(worked_on, str | list | tuple | dict) else 0
        self._steps -= 1 + size // _PER_STEP
        if self._steps < 0:
            raise TemplateError("takes too many steps")

    def write(self, text: str) -> None:
        self._chars -= len(text)
        if self._chars < 0:
            raise TemplateError(f"writes more than {WRITTEN_MAX} characters")


_budget: ContextVar[_Budget] = ContextVar("budget")


def is_template(text: str) -> bool:
    """Whether a text is more than itself."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


class Template:
    """A text, compiled."""

    def __init__(self, source: str) -> None:
        """Raises `TemplateError` for what is no template."""
        if len(source) > SOURCE_MAX:
            raise TemplateError(f"is longer than {SOURCE_MAX} characters")
        _budget.set(_Budget())
        try:
            self._template = _environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(_cut(f"line {error.lineno}: {error.message}")) from None
        except Exception as error:  # what Python's own compiler refuses: nested too deep
            raise TemplateError(f"cannot be compiled ({type(error).__name__})") from None

    def render(self, context: Mapping[str, object]) -> str:
        """The text for a context; raises `TemplateError`."""
        _budget.set(_Budget())
        try:
            return self._template.render(context)
        except TemplateError:
            raise
        except (jinja2.UndefinedError, jinja2.TemplateRuntimeError, TypeError) as error:
            raise TemplateError(_cut(str(error))) from None
        except Exception as error:  # its words may hold a value
            raise TemplateError(f"fails ({type(error).__name__})") from None


def _cut(words: str) -> str:
    line = " ".join(words.split())
    return line if len(line) <= _WORDS_MAX else line[: _WORDS_MAX - 1] + "…"


class _Undefined(jinja2.StrictUndefined):
    """What is not there: using it fails, in words."""

    @property
    def _undefined_message(self) -> str:
        name, known = self._undefined_name, tuple(_NAMES)
        if self._undefined_hint:
            return self._undefined_hint
        if self._undefined_obj is not missing:
            known = tuple(self._undefined_obj) if isinstance(self._undefined_obj, Facts) else ()
        near = difflib.get_close_matches(str(name), known, n=1)
        meant = f" (did you mean {near[0]!r}?)" if near else ""
        return f"there is no {name!r}{meant}"


_NAMES = ("event", "events", "notification", "severity", "headline", "included")


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with every step counted and nothing in it that can grow without bounds."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            undefined=_Undefined,
            autoescape=False,
            finalize=_written,
            keep_trailing_newline=True,
            optimized=False,  # an expression is worked out when its steps are counted
        )
        self.filters = {name: _counted(FILTERS[name]) for name in _FILTERS} | _OWN_FILTERS
        self.tests = {name: TESTS[name] for name in _TESTS}
        self.globals = {"range": _range, "namespace": Namespace}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        paced: nodes.Template = _Pacing().visit(tree)
        return paced

    def getattr(self, obj: Any, attribute: str) -> Any:
        _budget.get().step()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        _budget.get().step(obj if isinstance(argument, slice) else None)
        return super().getitem(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        _budget.get().step(getattr(__obj, "__self__", None))
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _budget.get().step(left)
        _budget.get().step(right)
        _refuse_what_grows(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: object) -> None:
        """No text is formatted: a width could make it as long as it likes."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        methods = next((known for kind, known in _METHODS.items() if isinstance(obj, kind)), ())
        return attr in methods and super().is_safe_attribute(obj, attr, value)


class _Pacing(NodeTransformer):
    """Has every round of a loop, every joining of texts and every literal go through a counter."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's names
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_paced")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Const:  # noqa: N802
        return nodes.Const(node.data, lineno=node.lineno)


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


@pass_context  # so that Jinja writes nothing while it compiles
def _written(_: object, value: object) -> object:
    text = "" if value is None else value if isinstance(value, str) else str(value)
    _budget.get().write(text)
    return text


def _counted(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """The filter, its steps counted by what it works on."""
    is_given_more = hasattr(filter_, "jinja_pass_arg")

    @wraps(filter_)
    def counting(*args: Any, **kwargs: Any) -> Any:
        _budget.get().step(args[1 if is_given_more else 0])
        return filter_(*args, **kwargs)

    return counting


def _paced(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        _budget.get().step()
        yield value


def _joined(values: Iterable[object], separator: str = "") -> str:
    """Also the filter ``join``."""
    texts, length = [], 0
    for value in values:
        texts.append("" if value is None else str(value))
        length += len(texts[-1]) + len(separator)
        _budget.get().step(texts[-1])
        if length > _LENGTH_MAX + len(separator):
            raise TemplateError(f"makes a text of more than {_LENGTH_MAX} characters")
    return separator.join(texts)


def _replaced(text: object, old: str, new: str) -> str:
    shown = str(text)
    _budget.get().step(shown)
    if len(shown) + shown.count(old) * (len(new) - len(old)) > _LENGTH_MAX:
        raise TemplateError(f"makes a text of more than {_LENGTH_MAX} characters")
    return shown.replace(old, new)


def _rounded(number: float, precision: int = 0) -> float:
    _budget.get().step()
    return round(number, max(0, min(precision, _PRECISION_MAX)))


def _as_json(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    _budget.get().step(text)
    return text


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > _RANGE_MAX:
        raise TemplateError(f"has a range of more than {_RANGE_MAX} numbers")
    return numbers


_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "join": _joined,
    "replace": _replaced,
    "round": _rounded,
    "tojson": _as_json,
    "_joined": _joined,
    "_paced": _paced,
}


def _refuse_what_grows(operator: str, left: Any, right: Any) -> None:
    """Raise before an operation is done whose result could be of any size."""
    length = bits = 0
    most = _LENGTH_MAX if isinstance(left, str) or isinstance(right, str) else _ITEMS_MAX
    match operator:
        case "%" if isinstance(left, str):
            raise TemplateError("formats with '%': join texts with '~'")
        case "*" if hasattr(left, "__len__") or hasattr(right, "__len__"):
            many, times = (left, right) if hasattr(left, "__len__") else (right, left)
            length = len(many) * times if isinstance(times, int) else 0
        case "+" if hasattr(left, "__len__") and hasattr(right, "__len__"):
            length = len(left) + len(right)
        case "*" if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() + right.bit_length()
        case "**" if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * max(right, 0)
    if length > most or bits > _BITS_MAX:
        raise TemplateError("makes something too large")


_environment = _Environment()
