"""The environment of templates: Jinja's sandbox, restricted further.

Counters are inserted into each template while it is compiled, so that its steps are counted and no
value grows without limit. `compile_template` turns the errors of Jinja into a `TemplateError`.
"""

from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing
from jinja2.visitor import NodeTransformer

from relay.config.errors import did_you_mean
from relay.config.templates.budget import (
    TemplateError,
    TemplateErrorKind,
    count_work,
    current_budget,
)
from relay.config.templates.builtins import (
    ALLOWED_FILTERS,
    ALLOWED_METHODS,
    ALLOWED_TESTS,
    GLOBALS,
    check_operation,
    finalize,
)
from relay.config.templates.context import NAMES, TemplateValues
from relay.config.templates.parts import FixedText, TemplatePart

_NODES_PER_STEP = 8
"""This many nodes (names, constants, tests ...) in a loop or a macro count as one step a round."""
_MULTI_TEMPLATE_NODES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)


class _Instrumenter(NodeTransformer):
    """Wraps the nodes that take time or memory in counting filters.

    Raises `TemplateError` for syntax that cannot be counted.
    """

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - Jinja's names
        if node.recursive:
            _refuse(node, "a recursive loop")
        steps = nodes.Const(_steps_per_round(node))
        self.generic_visit(node)
        node.iter = _apply_filter(node.iter, "_count_items", steps)
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        steps = nodes.Const(_steps_per_round(node))
        self.generic_visit(node)
        count = _apply_filter(steps, "_count_steps")
        node.body.insert(0, nodes.ExprStmt(count, lineno=node.lineno))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802
        self.generic_visit(node)
        return _apply_filter(nodes.List(node.nodes, lineno=node.lineno), "_join")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        node.expr = _apply_filter(node.expr, "_require_comparable")
        for operand in node.ops:
            is_in = operand.op in ("in", "notin")
            check = "_count_value" if is_in else "_require_comparable"
            operand.expr = _apply_filter(operand.expr, check)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Getitem:  # noqa: N802
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):  # Jinja compiles a slice to plain Python
            node.node = _apply_filter(node.node, "_count_value")
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Call:  # noqa: N802
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            _refuse(node, "arguments with '*'")
        self.generic_visit(node)
        return node

    def visit_TemplateData(self, node: nodes.TemplateData) -> nodes.Filter:  # noqa: N802
        return _apply_filter(nodes.Const(node.data, lineno=node.lineno), "_fixed_text")

    def visit_List(self, node: nodes.List) -> Any:  # noqa: N802
        return _require_constants(node)

    def visit_Tuple(self, node: nodes.Tuple) -> Any:  # noqa: N802
        if node.ctx == "load":
            return _require_constants(node)
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
        if isinstance(node, _MULTI_TEMPLATE_NODES):
            _refuse(node, "another template")
        return super().generic_visit(node, *args, **kwargs)


def _refuse(node: nodes.Node, what: str) -> NoReturn:
    raise TemplateError(
        TemplateErrorKind.SYNTAX,
        f"line {node.lineno}: it holds {what}, which relay does not support",
    )


def _require_constants(node: nodes.List | nodes.Tuple) -> Any:
    items = node.items
    if not all(isinstance(item, nodes.Const) for item in items):
        _refuse(node, "a list of more than constants")
    return node


def _steps_per_round(node: nodes.Node) -> int:
    """Return the steps of a loop's round or a macro's call, without those counted elsewhere."""
    return 1 + sum(1 for _ in node.find_all(nodes.Node)) // _NODES_PER_STEP


def _apply_filter(node: Any, name: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, name, list(args), [], None, None, lineno=node.lineno)


class _UnknownNameError(jinja2.UndefinedError):
    """A template uses a name that does not exist."""


class _Undefined(jinja2.StrictUndefined):
    """An absent value: using it raises an error that says what is missing."""

    def _fail_with_undefined_error(self, *_: object, **__: object) -> NoReturn:
        name, owner = self._undefined_name, self._undefined_obj
        # a name that is not in the source was computed: it is a value, which no message contains
        budget = current_budget.get()
        in_source = budget is not None and isinstance(name, str) and name in budget.source
        shown = str(name) if in_source else None
        is_refused = self._undefined_exception is SecurityError  # not an allowed method
        if self._undefined_hint and not is_refused:
            raise jinja2.UndefinedError(self._undefined_hint)
        if owner is missing or isinstance(owner, TemplateValues) or is_refused:
            known = tuple(owner) if isinstance(owner, TemplateValues) else ()
            known = NAMES if owner is missing else known
            raise _UnknownNameError(
                f"there is no {shown!r}{did_you_mean(shown, known)}"
                if shown
                else "there is no such name"
            )
        raise jinja2.UndefinedError(f"there is no {shown!r}" if shown else "there is no such value")

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


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with the restrictions of this module."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            undefined=_Undefined,
            autoescape=False,
            finalize=finalize,
            keep_trailing_newline=True,
            optimized=False,  # constants are evaluated while rendering, when steps are counted
        )
        self.filters = dict(ALLOWED_FILTERS)
        self.tests = dict(ALLOWED_TESTS)
        self.globals = dict(GLOBALS)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Instrumenter().visit(super()._parse(source, name, filename))
        return tree

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Look up a key of a mapping first, then an allowed method."""
        count_work()
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        count_work()
        if isinstance(obj, dict):  # its keys only, never its methods
            return obj[argument] if argument in obj else self.undefined(obj=obj, name=argument)
        return super().getitem(obj, argument)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        count_work(getattr(__obj, "__self__", None), *args, *kwargs.values())
        result = super().call(__context, __obj, *args, **kwargs)
        count_work(result)
        return result

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        count_work(left, right)
        check_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def wrap_str_format(self, value: object) -> None:
        """Disable ``str.format``: a width in the format could make a text of any length."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, Namespace):
            return not attr.startswith("_")
        allowed = (names for type_, names in ALLOWED_METHODS.items() if isinstance(obj, type_))
        methods = next(allowed, frozenset())
        return attr in methods and super().is_safe_attribute(obj, attr, value)


class _NameFinder(meta.TrackingCodeGenerator):
    """Finds the names that a template takes from its context, and evaluates nothing.

    Jinja's own `meta.find_undeclared_variables` evaluates all constants, in branches that are never
    rendered too.
    """

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        self.optimizer = None


_environment = _Environment()


class CompiledTemplate(NamedTuple):
    """A template, ready to render."""

    render: Callable[[Mapping[str, object]], list[TemplatePart]]
    """Renders it for a context, in parts."""
    names: frozenset[str]
    """What it takes from the context: ``event.name``, or ``event`` where it takes all of it."""


def _find_names(tree: nodes.Template, undeclared: Set[str]) -> frozenset[str]:
    """Return the names that a template takes from its context, each with the key it looks up.

    ``undeclared`` are those that it does not define itself.
    """
    looked_up: dict[int, str] = {}
    for node in tree.find_all((nodes.Getattr, nodes.Getitem)):
        match node:
            case nodes.Getattr(node=nodes.Name() as owner, attr=str(key)):
                looked_up[id(owner)] = key
            case nodes.Getitem(node=nodes.Name() as owner, arg=nodes.Const(value=str(key))):
                looked_up[id(owner)] = key
    return frozenset(
        f"{name.name}.{looked_up[id(name)]}" if id(name) in looked_up else name.name
        for name in tree.find_all(nodes.Name)
        if name.name in undeclared
    )


def compile_template(source: str) -> CompiledTemplate:
    """Compile a template.

    Raises `TemplateError` if it is invalid, or uses a name that does not exist.
    """
    try:
        tree = _environment.parse(source)
        finder = _NameFinder(_environment)
        finder.visit(tree)
        names = _find_names(tree, finder.undeclared_identifiers)
        template = _environment.from_string(tree)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            TemplateErrorKind.SYNTAX, f"line {error.lineno}: {error.message}"
        ) from None
    except TemplateError:
        raise
    except Exception as error:  # Python's compiler refuses it: nested too deep
        message = f"it cannot be compiled ({type(error).__name__})"
        raise TemplateError(TemplateErrorKind.SYNTAX, message) from None
    for name in sorted(finder.undeclared_identifiers - {*NAMES, *GLOBALS}):
        message = f"there is no {name!r}{did_you_mean(name, NAMES)}"
        raise TemplateError(TemplateErrorKind.NAME, message)

    def render(context: Mapping[str, object]) -> list[TemplatePart]:
        try:
            # outside of macros and of blocks that are captured, Jinja yields each text by itself
            texts = template.root_render_func(template.new_context(dict(context)))
            return [TemplatePart(text, isinstance(text, FixedText)) for text in texts]
        except TemplateError:
            raise
        except RecursionError:
            raise TemplateError(TemplateErrorKind.LIMIT, "it is nested too deeply") from None
        except jinja2.UndefinedError as error:
            is_name = isinstance(error, _UnknownNameError)
            kind = TemplateErrorKind.NAME if is_name else TemplateErrorKind.VALUE
            raise TemplateError(kind, str(error)) from None
        except Exception as error:  # its message may contain a value
            raise TemplateError(
                TemplateErrorKind.VALUE, f"it fails ({type(error).__name__})"
            ) from None

    return CompiledTemplate(render, names)
