"""Compiles templates with Jinja. Imported only if there is a template: Jinja takes memory."""

from collections.abc import Callable, Mapping

import jinja2
from jinja2 import meta

from relay.config.templates.builtins import GLOBALS
from relay.config.templates.environment import UnknownNameError, environment
from relay.config.templates.errors import TemplateError, TemplateErrorKind
from relay.config.templates.values import NAMES, unknown_name


def compile_template(source: str) -> Callable[[Mapping[str, object]], str]:
    """Compile a template into a function that renders it for a context.

    Raises `TemplateError` if it is invalid, or uses a name that does not exist.
    """
    try:
        unknown = meta.find_undeclared_variables(environment.parse(source))
        template = environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(
            TemplateErrorKind.SYNTAX, f"line {error.lineno}: {error.message}"
        ) from None
    except TemplateError:
        raise
    except Exception as error:  # Python's compiler refuses it: nested too deep
        message = f"it cannot be compiled ({type(error).__name__})"
        raise TemplateError(TemplateErrorKind.SYNTAX, message) from None
    for name in sorted(unknown - {*NAMES, *GLOBALS}):
        raise TemplateError(TemplateErrorKind.NAME, unknown_name(name, NAMES))

    def render(context: Mapping[str, object]) -> str:
        try:
            return template.render(context)
        except TemplateError:
            raise
        except RecursionError:
            raise TemplateError(TemplateErrorKind.LIMIT, "it is nested too deeply") from None
        except jinja2.UndefinedError as error:
            is_name = isinstance(error, UnknownNameError)
            kind = TemplateErrorKind.NAME if is_name else TemplateErrorKind.VALUE
            raise TemplateError(kind, str(error)) from None
        except Exception as error:  # its message may contain a value
            raise TemplateError(
                TemplateErrorKind.VALUE, f"it fails ({type(error).__name__})"
            ) from None

    return render
