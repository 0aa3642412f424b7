"""Compiles the regular expressions of a match with RE2, whose time is linear to the text.

The texts come from labels and names, which anybody who starts a container chooses. With Python's
own engine some expressions take years for a label of 40 characters, and relay would wait. RE2 has
no backreferences and no lookaround. The package takes 3.4 MB and 13 ms to import, so it is imported
only if a configuration has an expression.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from relay.config.errors import ConfigIssue, InvalidValue, IssueScope

MAX_MEMORY_BYTES = 2**20
"""The memory of one compiled expression, with what it caches while it matches. An expression that
needs more is refused; that also bounds its time per character."""

_MAX_SHOWN = 100
"""RE2's messages are cut there: some repeat the whole expression."""

_ZERO_OR_MORE_TIMES = re.compile(r"\{,[0-9]+\}")
_ESCAPE_OR_CLASS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]", re.DOTALL)

_UNSUPPORTED = (
    # the beginnings of RE2's messages (re2/regexp.cc and re2/parse.cc), and what they mean
    (r"invalid perl operator: \(\?<?[=!]", "it uses lookaround, which relay does not support"),
    (r"invalid escape sequence: \\[1-9]", "it uses a backreference, which relay does not support"),
    (r"invalid perl operator: \(\?P=?$", "it uses a backreference, which relay does not support"),
    (r"invalid perl operator: \(\?>", "it uses an atomic group, which relay does not support"),
    (r"invalid perl operator: \(\?#", "it holds a comment, which relay does not support"),
    (r"invalid escape sequence: \\Z", r"write \z for the end of the text"),
    (r"invalid escape sequence: \\[uUN]", r"write \x{20AC} for a character by its number"),
    ("invalid repetition size", "it repeats something more than 1000 times"),
    ("pattern too large", "it is too complex"),
    ("expression nesting depth exceeded", "it is too complex"),
)


@lru_cache(maxsize=1024)  # the check of a configuration compiles what its matcher compiles again
def compile_regex(text: str) -> Callable[[str], bool]:
    """Return a function that says whether the expression matches the whole of a text.

    The function takes time linear to the text. Raises `InvalidValue` for what is not an expression
    in RE2's syntax.
    """
    if _ZERO_OR_MORE_TIMES.search(_ESCAPE_OR_CLASS.sub("x", text)):
        # RE2 takes the braces for plain text, and Python for a repetition.
        raise _invalid(": write {0,3} instead of {,3}", "")
    fullmatch = _compile(text).fullmatch

    def fits(value: str) -> bool:
        # half a surrogate pair has no encoding: it is matched as if it were a "?"
        return fullmatch(value.encode(errors="replace")) is not None

    return fits


def _compile(text: str) -> Any:
    import re2  # noqa: PLC0415 - only a match with an expression needs it

    options = re2.Options()
    options.log_errors = False  # it would write them to standard error, past relay's log
    options.never_capture = True
    options.max_mem = MAX_MEMORY_BYTES
    try:
        return re2.compile(text, options)
    except re2.error as error:
        (message,) = error.args
    except UnicodeEncodeError:
        raise _invalid(": it holds half of a surrogate pair", "") from None
    message = message.decode(errors="replace") if isinstance(message, bytes) else str(message)
    for beginning, meaning in _UNSUPPORTED:
        if re.match(beginning, message):
            raise _invalid(f": {meaning}", "")
    raise _invalid("", f": {message[:_MAX_SHOWN]}")


def _invalid(meaning: str, detail: str) -> InvalidValue:
    message = f"is not a regular expression{meaning}"
    return InvalidValue([ConfigIssue((), message, IssueScope.VALUE, detail=detail)])
