"""Texts with Jinja expressions in them, rendered within bounds.

Who writes the configuration writes the template; what it is filled with comes from whoever may
start a container. So nothing that a value holds is ever evaluated, and no render takes more than
`STEPS_MAX` steps, or makes or writes more than `CHARS_MAX` characters, whatever template and values
are: both are counted, so that it needs no clock. What could grow in other ways is not there: lists
and mappings are those of the context, or written out with constants in them.
"""

import difflib
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from contextvars import ContextVar
from enum import Enum
from functools import wraps
from typing import Any, NoReturn, cast

import jinja2
import msgspec
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
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
CHARS_MAX = 65_536
"""The characters that are made or written, in all places where a template does so."""

_BITS_MAX = 4_096
"""Of a whole number that an operation makes."""
_RANGE_MAX = 1_000
_PRECISION_MAX = 12
_PER_STEP = 64
"""So many characters are worked on in a step."""
_NODES_PER_STEP = 8
"""So many names, constants, tests and the like of a loop or a macro are one."""
_ITEM = 4
"""As many characters an item of a list is worth."""
_WORDS_MAX = 200
"""The longest message."""

NAMES = ("event", "events", "notification", "severity", "headline", "included")
"""What a template may be filled with: see `relay.context`."""

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
_METHODS: Mapping[type, frozenset[str]] = {
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


class Fault(Enum):
    """What is wrong with a template, in words that are about any."""

    SYNTAX = "it is no template"
    NAME = "it names what there is not"
    KIND = "it takes a list or a mapping for a text"
    BOUNDS = "it does or makes too much"
    VALUE = "it fails for these values"


class TemplateError(Exception):
    """A template that cannot be rendered; its text says why in one line, and holds no value.

    It may hold names and texts of the template's source.
    """

    def __init__(self, fault: Fault, words: str) -> None:
        line = " ".join(words.split())
        super().__init__(line if len(line) <= _WORDS_MAX else line[: _WORDS_MAX - 1] + "…")
        self.fault = fault


class Facts(dict[str, object]):
    """Values by names that relay gives them: one that is mistyped can be told from them."""


class Budget:
    """What is left of a render, or of several that are to share one."""

    def __init__(self, steps: int = STEPS_MAX, chars: int = CHARS_MAX) -> None:
        self._steps = steps
        self._chars = chars
        self.source = ""
        """Of the template that is being rendered."""

    def step(self, *worked_on: object) -> None:
        """Do something with values. Mappings weigh nothing: what is large counts what it gives."""
        self.spend(1 + sum(map(_size, worked_on)) // _PER_STEP)

    def spend(self, steps: int) -> None:
        """Take so many steps."""
        self._steps -= steps
        if self._steps < 0:
            raise TemplateError(Fault.BOUNDS, "it takes too many steps")

    def make(self, length: int) -> None:
        """Make so many characters."""
        self._chars -= length
        if self._chars < 0:
            raise TemplateError(Fault.BOUNDS, "it makes or writes too many characters")


def _size(value: object) -> int:
    """How much work a value is, in characters."""
    match value:
        case str():
            return len(value)
        case int() if value.bit_length() > _BITS_MAX:
            raise TemplateError(Fault.BOUNDS, "it makes too large a number")
        case list() | tuple() | KeysView() | ValuesView() | ItemsView():
            return sum(_ITEM + len(it) if isinstance(it, str) else _ITEM for it in value)
        case range():
            return _ITEM * len(value)
        case _:
            return 0


_budget: ContextVar[Budget | None] = ContextVar("budget", default=None)


def step(*worked_on: object) -> None:
    """Count what is done with values in the render that goes on, if one does."""
    if (budget := _budget.get()) is not None:
        budget.step(*worked_on)


def _make(length: int) -> None:
    if (budget := _budget.get()) is not None:
        budget.make(length)


def is_template(text: str) -> bool:
    """Whether a text is more than itself."""
    return any(mark in text for mark in ("{{", "{%", "{#"))


class Template:
    """A text, compiled."""

    def __init__(self, source: str) -> None:
        """Raises `TemplateError` for what is no template, or can never be filled."""
        if len(source) > SOURCE_MAX:
            raise TemplateError(Fault.BOUNDS, f"it is longer than {SOURCE_MAX} characters")
        self._source = source
        try:
            unknown = meta.find_undeclared_variables(_environment.parse(source))
            self._template = _environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(Fault.SYNTAX, f"line {error.lineno}: {error.message}") from None
        except TemplateError:
            raise
        except Exception as error:  # what Python's own compiler refuses: nested too deep
            words = f"it cannot be compiled ({type(error).__name__})"
            raise TemplateError(Fault.SYNTAX, words) from None
        for name in sorted(unknown - {*NAMES, *_GLOBALS}):
            raise TemplateError(Fault.NAME, _no(name, NAMES))

    def render(self, context: Mapping[str, object], budget: Budget | None = None) -> str:
        """The text for a context; raises `TemplateError`."""
        measure = Budget() if budget is None else budget
        measure.source = self._source
        rendering = _budget.set(measure)
        try:
            text = self._template.render(context)
        except TemplateError:
            raise
        except RecursionError:
            raise TemplateError(Fault.BOUNDS, "it nests too deep") from None
        except jinja2.UndefinedError as error:
            fault = Fault.NAME if isinstance(error, _Misnamed) else Fault.VALUE
            raise TemplateError(fault, str(error)) from None
        except Exception as error:  # its words may hold a value
            raise TemplateError(Fault.VALUE, f"it fails ({type(error).__name__})") from None
        finally:
            _budget.reset(rendering)
        # halves of a character, as in "\ud83d\ude00", are put together, or can be written at least
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _no(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no {name!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


class _Misnamed(jinja2.UndefinedError):
    """A name that relay does not give."""


class _Undefined(jinja2.StrictUndefined):
    """What is not there: using it fails, in words."""

    def _fail_with_undefined_error(self, *_: object, **__: object) -> NoReturn:
        name, held = self._undefined_name, self._undefined_obj
        # a name that was worked out is a value
        budget = _budget.get()
        in_source = budget is not None and isinstance(name, str) and name in budget.source
        shown = str(name) if in_source else None
        is_refused = self._undefined_exception is SecurityError
        if self._undefined_hint and not is_refused:
            raise jinja2.UndefinedError(self._undefined_hint)
        if held is missing or isinstance(held, Facts) or is_refused:
            known = NAMES if held is missing else tuple(held) if isinstance(held, Facts) else ()
            raise _Misnamed(_no(shown, known) if shown else "there is no such name")
        raise jinja2.UndefinedError(f"there is no {shown!r}" if shown else "it is not there")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _fail_with_undefined_error
    __truediv__ = __rtruediv__ = __floordiv__ = __rfloordiv__ = _fail_with_undefined_error
    __mod__ = __rmod__ = __pow__ = __rpow__ = __pos__ = __neg__ = _fail_with_undefined_error
    __call__ = __getitem__ = __lt__ = __le__ = __gt__ = __ge__ = _fail_with_undefined_error
    __int__ = __float__ = __complex__ = _fail_with_undefined_error
    __iter__ = __str__ = __len__ = __eq__ = __ne__ = __bool__ = _fail_with_undefined_error
    __hash__ = _fail_with_undefined_error
    __contains__ = _fail_with_undefined_error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._fail_with_undefined_error()


class _Notes(Namespace):
    """What a template keeps from one round of a loop to the next: single values."""

    def __init__(self, **values: object) -> None:
        for value in values.values():
            _single(value)
        super().__init__(**values)

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, _single(value))


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
        self.filters = {name: _counted(FILTERS[name], name) for name in _FILTERS} | _OWN_FILTERS
        self.tests = {name: _counted(_test(name), name) for name in _TESTS}
        self.globals = dict(_GLOBALS)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        paced: nodes.Template = _Pacing().visit(tree)
        return paced

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Of a mapping what it holds comes before what it can do."""
        step()
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        step()
        if isinstance(obj, dict):  # never what it can do
            return obj[argument] if argument in obj else self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        step(getattr(__obj, "__self__", None), *args, *kwargs.values())
        result = super().call(__context, __obj, *args, **kwargs)
        step(result)
        return result

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        step(left, right)
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
    """Has all that takes time or room go through a counter, and refuses what cannot be counted."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's names
        if node.recursive:
            _refuse(node, "a recursive loop")
        weight = nodes.Const(_weight(node))
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_paced", weight)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        weight = nodes.Const(_weight(node))
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filtered(weight, "_spent"), lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_joined")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, "_compared")
        for operand in node.ops:
            is_in = operand.op in ("in", "notin")
            operand.expr = _filtered(operand.expr, "_weighed" if is_in else "_compared")
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):  # which Jinja leaves to Python
            node.node = _filtered(node.node, "_weighed")
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Call:  # noqa: N802
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            _refuse(node, "arguments with '*'")
        self.generic_visit(node)
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Const:  # noqa: N802
        return nodes.Const(node.data, lineno=node.lineno)

    def visit_List(self, node: nodes.List) -> Any:  # noqa: N802
        return _of_constants(node)

    def visit_Tuple(self, node: nodes.Tuple) -> Any:  # noqa: N802
        if node.ctx == "load":
            return _of_constants(node)
        return node

    def visit_Dict(self, node: nodes.Dict) -> NoReturn:  # noqa: N802
        _refuse(node, "a mapping")

    def visit_Name(self, node: nodes.Name) -> nodes.Name:  # noqa: N802
        if node.name in ("varargs", "kwargs", "caller", "self", "super"):
            _refuse(node, repr(node.name))
        return node

    def visit_ScopedEvalContextModifier(self, node: nodes.Node) -> NoReturn:  # noqa: N802
        _refuse(node, "'autoescape'")

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if isinstance(node, _OF_OTHERS):
            _refuse(node, "another template")
        return super().generic_visit(node, *args, **kwargs)


_OF_OTHERS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


def _refuse(node: nodes.Node, what: str) -> NoReturn:
    raise TemplateError(Fault.SYNTAX, f"line {node.lineno}: it holds {what}, which is not there")


def _of_constants(node: nodes.List | nodes.Tuple) -> Any:
    items = node.items
    if not all(isinstance(item, nodes.Const) for item in items):
        _refuse(node, "a list of more than constants")
    return node


def _weight(node: nodes.Node) -> int:
    """The steps of a round of a loop, or of a call, beside those that count themselves."""
    return 1 + sum(1 for _ in node.find_all(nodes.Node)) // _NODES_PER_STEP


def _filtered(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


def _single(value: object) -> object:
    """A value that can be written; raises for a list, a mapping, or what can be called."""
    if isinstance(value, (*_SCALARS, jinja2.Undefined)):
        return value
    raise TemplateError(Fault.KIND, "it writes what is no text or number: use 'join' or 'tojson'")


def _text(value: object) -> str:
    return "" if value is None else str(_single(value))


@pass_context  # so that Jinja writes nothing while it compiles
def _written(_: object, value: object) -> str:
    text = _text(value)
    _make(len(text))
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
        _spent(weight)
        yield value


def _spent(steps: int) -> None:
    if (budget := _budget.get()) is not None:
        budget.spend(steps)


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
        _make(len(texts[-1]) + len(separator))
    return separator.join(texts)


def _replaced(text: object, old: str, new: str) -> str:
    shown = _text(text)
    step(shown)
    _make(len(shown) + shown.count(old) * max(0, len(new) - len(old)))
    return shown.replace(old, new)


def _rounded(number: float, precision: int = 0) -> float:
    step()
    return round(number, max(0, min(precision, _PRECISION_MAX)))


def _as_json(value: object) -> str:
    text = msgspec.json.encode(_plain(value)).decode()
    step(text)
    _make(len(text))
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


_GLOBALS: Mapping[str, object] = {"range": _range, "namespace": _Notes}
_OWN_FILTERS: dict[str, Callable[..., Any]] = {
    "join": _joined,
    "replace": _replaced,
    "round": _rounded,
    "tojson": _as_json,
    "_joined": _joined,
    "_paced": _paced,
    "_compared": _compared,
    "_weighed": _weighed,
    "_spent": _spent,
}


def _refuse_what_grows(operator: str, left: Any, right: Any) -> None:
    """Raise before an operation is done whose result could be of any size."""
    for value in (left, right):
        _single(value)
    match operator, left, right:
        case "%", str(), _:
            raise TemplateError(Fault.SYNTAX, "it formats with '%': join texts with '~'")
        case ("*", str(), int()) | ("*", int(), str()):
            text, times = (left, right) if isinstance(left, str) else (right, left)
            _make(len(text) * max(0, times))
        case "+", str(), str():
            _make(len(left) + len(right))
        case (("*" | "**"), int(), int()):
            times = max(1, right) if operator == "**" else 1
            if left.bit_length() * times + right.bit_length() > _BITS_MAX:
                raise TemplateError(Fault.BOUNDS, "it makes too large a number")


_environment = _Environment()
