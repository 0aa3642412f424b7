"""Jinja's sandbox, restricted further: steps are counted, and no value grows without limit."""

from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, missing

from relay.config.templates.budget import count_work, current_budget
from relay.config.templates.builtins import (
    ALLOWED_FILTERS,
    ALLOWED_METHODS,
    ALLOWED_TESTS,
    GLOBALS,
    check_operation,
    finalize,
)
from relay.config.templates.step_counter import instrument
from relay.config.templates.values import NAMES, TemplateValues, unknown_name


class UnknownNameError(jinja2.UndefinedError):
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
            raise UnknownNameError(unknown_name(shown, known) if shown else "there is no such name")
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
        return instrument(super()._parse(source, name, filename))

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


environment = _Environment()
