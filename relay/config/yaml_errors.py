"""Says what is wrong with a text that is not YAML, and what to do about it.

PyYAML's own messages (``expected <block end>, but found '<block mapping start>'``) name the parts
of a grammar. The messages here name what a person wrote: a line that is indented differently, a
text that has to be in quotes, a brace that is not closed.
"""

import re

import yaml

from relay.config.errors import quote

Position = tuple[int, int]
"""Line and column, both counted from 1; (0, 0) for the whole file."""

_FIXED = (
    (r"'\\t'", "it is indented with a tab: use spaces"),
    (
        "sequence entries are not allowed",
        "a '- ' cannot stand here: begin a new line with it, or write [a, b]",
    ),
    (
        r"expected '<document start>'",
        "a line cannot start with '%', and nothing can follow a line of three dots",
    ),
    (
        r"but found '<scalar>'",
        "text follows a closing quote or brace: put the whole value in quotes",
    ),
    (
        r"but (?:found|got) ','",
        "there is nothing before this ',': remove it, or write what it ends",
    ),
    (
        r"expected escape sequence",
        "it holds an escape that is not complete: write the text in single quotes",
    ),
)
"""What to say if the problem contains an expression; the first one that fits counts."""

_CLOSING = re.compile(r"expected ',' or '([}\]])', but got (.*)")
_CANNOT_START = re.compile(r"found character '(.)' that cannot start any token")
_UNKNOWN_ESCAPE = re.compile(r"found unknown escape character '(.)'")
_UNDEFINED_ALIAS = re.compile(r"found undefined alias '(.*)'", re.DOTALL)
_UNOPENED = re.compile(r"(?:expected <block end>|expected the node content), but found '([}\]])'")
_BLOCK_END = "expected <block end>, but found"
_OPENING = {"}": "{", "]": "["}
_MARKS = {"an alias": "*", "an anchor": "&"}
_ITEM = re.compile(r"(?:- +)+")


def describe_yaml_error(error: yaml.MarkedYAMLError, text: str) -> tuple[str, Position]:
    """Return what is wrong with ``text``, and where."""
    problem, context = error.problem or "it cannot be read", error.context or ""
    at = to_position(error.problem_mark)
    start = to_position(error.context_mark)
    if "another document" in problem:
        return "holds more than one document: remove everything from this '---' on", at
    message, at = _describe(problem, context, at, start, text)
    return f"is not YAML: {message}", at


def to_position(mark: yaml.Mark | None) -> Position:
    """Return the position that a mark of PyYAML stands for."""
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def _describe(
    problem: str, context: str, at: Position, start: Position, text: str
) -> tuple[str, Position]:
    lines = text.split("\n")
    if found := _scanning_problem(problem, context):
        return found, start if start != (0, 0) else at
    if "mapping values" in problem:
        return _second_colon(at, lines), at
    if "got '{'" in problem and lines[at[0] - 1][at[1] - 2 : at[1] - 1] == "$":
        return "a text cannot start with '{' here: write \"${NAME}\" in quotes", at
    for pattern, message in _FIXED:
        if re.search(pattern, problem):
            return message, at
    if found := _brace_problem(problem, at, start):
        return found, at
    if problem.startswith(_BLOCK_END):
        return _indentation_problem(at, start, lines), at
    if start != (0, 0):
        return f"{context} that starts on line {start[0]}: {problem}", at
    return problem, at


def _second_colon(at: Position, lines: list[str]) -> str:
    """Describe a ``:`` where no key can be: in a text, or below a line that has no mapping."""
    line, column = at
    above = next((n for n in range(line - 1, 0, -1) if _content(lines[n - 1])), None)
    if above is None or ":" in lines[line - 1][: column - 1].strip("'\""):
        return "a ':' cannot start a mapping here: quote the text, or fix its indentation"
    if re.search(r":(\s|$)", lines[above - 1]):
        return f"line {above} has a value already: indent this line as that one"
    return f"line {above} is no 'key: value': write a ':' and a space after its key"


def _content(line: str) -> str:
    """Return a line without its indentation; empty if it is a comment."""
    content = line.strip()
    return "" if content.startswith("#") else content


def _scanning_problem(problem: str, context: str) -> str | None:
    """Describe what cannot be read: a character with a meaning in YAML, a quote, a key."""
    scanned = context.removeprefix("while scanning ")
    if scanned == "a tag":
        return _cannot_start("!")
    if scanned == "a simple key":
        return "this line has no 'key: value': write a ':' and a space after the key"
    if scanned in _MARKS:
        return _cannot_start(_MARKS[scanned])
    if scanned == "a block scalar":
        return _cannot_start(">' or '|")
    if found := _CANNOT_START.search(problem):
        return _cannot_start(found[1])
    if scanned == "a directive":
        return "a line cannot start with '%'"
    if found := _UNDEFINED_ALIAS.search(problem):
        return f"{_cannot_start('*')}, as in {quote(f'*{found[1]}')}"
    if found := _UNKNOWN_ESCAPE.search(problem):
        return (
            f"'\\{found[1]}' means nothing in double quotes: write the text in single quotes, "
            f"or '\\\\{found[1]}'"
        )
    if scanned.endswith("quoted scalar") and "unexpected end" in problem:
        return "this quote is never closed"
    return None


def _cannot_start(character: str) -> str:
    return f"a text cannot start with '{character}': put it in quotes"


def _brace_problem(problem: str, at: Position, start: Position) -> str | None:
    if found := _UNOPENED.search(problem):
        return (
            f"this '{found[1]}' closes nothing: remove it, or open it with '{_OPENING[found[1]]}'"
        )
    if found := _CLOSING.search(problem):
        closing, opening = found[1], _OPENING[found[1]]
        if at[0] == start[0]:
            return f"a ',' or a '{closing}' is missing before this"
        return (
            f"the '{opening}' on line {start[0]} is not closed: a '{closing}' or a ',' is missing"
        )
    return None


def _indentation_problem(at: Position, start: Position, lines: list[str]) -> str:
    """Describe a line whose indentation fits no block above it."""
    line, column = at
    is_item = _content(lines[line - 1]).startswith("- ")
    if column == start[1] and is_item != _content(lines[start[0] - 1]).startswith("- "):
        return (
            f"the block that starts on line {start[0]} has items ('- ') and keys ('key: value') "
            "beside each other: indent one of them"
        )
    other, indent = _find_neighbour(lines, line, column - 1, is_item=is_item)
    return (
        f"this line is indented by {_spaces(column - 1)}, line {other} by {_spaces(indent)}: "
        "indent what belongs together equally"
    )


def _spaces(count: int) -> str:
    return "1 space" if count == 1 else f"{count} spaces"


def _find_neighbour(lines: list[str], line: int, indent: int, *, is_item: bool) -> tuple[int, int]:
    """Return the number and the indentation of the line above to which ``line`` should be aligned.

    That is the beginning of the deeper lines above it or, if it is itself the deeper one, the line
    above. A line ``- key: value`` counts from its key, unless ``line`` is an item of a list too.
    """
    found: tuple[int, int] | None = None
    for number in range(line - 1, 0, -1):
        content = _content(lines[number - 1])
        if not content:
            continue
        column = lines[number - 1].index(content)
        if not is_item and (item := _ITEM.match(content)):
            column += item.end()
        if found is not None and (column < indent or column > found[1]):
            break
        found = (number, column)
        if column < indent:
            break
    return found or (line, indent)
