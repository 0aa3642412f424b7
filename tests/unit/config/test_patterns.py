import pytest

from relay.config.match import Glob, Range
from relay.config.match_parser import parse_exit_code, parse_glob, parse_regex, parse_signal


@pytest.mark.parametrize(
    "text",
    ["", "web", "web-*", "w?b", "[abc]", "[a-z]x[0-9]", "[!abc]", "[]]", "[!]]", "[[]", "a]"],
)
def test_glob(text: str) -> None:
    """A glob keeps its text; a bracket right after the opening one is an ordinary character."""
    assert parse_glob(text) == Glob(text)


@pytest.mark.parametrize("text", ["[", "a[", "[abc", "[]", "[!]", "[a]b[c"])
def test_glob_with_open_bracket(text: str) -> None:
    """A ``[`` that is never closed is an error."""
    with pytest.raises(ValueError, match="never closed"):
        parse_glob(text)


def test_length_is_limited() -> None:
    """A pattern may have at most 4096 characters."""
    assert parse_glob("x" * 4096)
    for read in (parse_glob, parse_regex):
        with pytest.raises(ValueError, match="longer than 4096"):
            read("x" * 4097)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("137", 137, 137),
        ("0", 0, 0),
        ("1-125", 1, 125),
        ("3-3", 3, 3),
        (">=128", 128, None),
        (">128", 129, None),
        ("<=2", None, 2),
        ("<2", None, 1),
        (">= 128", 128, None),
    ],
)
def test_exit_code(text: str, low: int | None, high: int | None) -> None:
    """An exit code is a number or a range, both ends included."""
    assert parse_exit_code(text) == Range(low, high)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1-", "=5", "1,2", "*", "99999999999"])
def test_invalid_exit_code(text: str) -> None:
    """Any other text is refused."""
    with pytest.raises(ValueError, match="is not an exit code or a range"):
        parse_exit_code(text)


@pytest.mark.parametrize("text", ["5-1", "<0"])
def test_empty_range(text: str) -> None:
    """A range that contains no number is refused."""
    with pytest.raises(ValueError, match="holds no exit code"):
        parse_exit_code(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9),
        ("SIGKILL", 9),
        ("KILL", 9),
        ("kill", 9),
        ("sigterm", 15),
        ("RTMIN", 34),
        ("SIGRTMIN+3", 37),
        ("rtmax-1", 63),
    ],
)
def test_signal(text: str, number: int) -> None:
    """A signal is a number or a name, as docker kill accepts it."""
    assert parse_signal(text) == Range(number, number)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SIGKIL", r"did you mean 'KILL'\?"),
        ("", "is not a signal"),
        ("KILL*", "is not a signal"),
        ("0", "from 1 to 64"),
        ("65", "from 1 to 64"),
        ("RTMAX+1", "from 1 to 64"),
    ],
)
def test_invalid_signal(text: str, message: str) -> None:
    """Any other text is refused, with a suggestion if a signal is similar."""
    with pytest.raises(ValueError, match=message):
        parse_signal(text)
