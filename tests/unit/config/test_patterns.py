import pytest

from relay.config.errors import InvalidValue
from relay.config.match import Glob, Range
from relay.config.patterns import parse_exit_code, parse_glob, parse_regex, parse_signal


@pytest.mark.parametrize(
    "text",
    ["", "web", "web-*", "w?b", "[abc]", "[a-z]x[0-9]", "[!abc]", "[]]", "[!]]", "[[]", "a]"],
)
def test_glob(text: str) -> None:
    """A glob keeps its text; a bracket first in brackets is one of the characters."""
    assert parse_glob(text) == Glob(text)


@pytest.mark.parametrize("text", ["[", "a[", "[abc", "[]", "[!]", "[a]b[c"])
def test_glob_with_open_bracket(text: str) -> None:
    """A ``[`` that is never closed is an error."""
    with pytest.raises(ValueError, match="never closed"):
        parse_glob(text)


def test_texts_are_bounded() -> None:
    """No pattern is longer than 4096 characters."""
    assert parse_glob("x" * 4096)
    for read in (parse_glob, parse_regex):
        with pytest.raises(ValueError, match="longer than 4096"):
            read("x" * 4097)


def test_regex() -> None:
    """A regular expression comes compiled."""
    found = parse_regex("web-[0-9]+")
    assert found.compiled.fullmatch("web-12")
    assert found.text == "web-[0-9]+"


def test_regex_that_python_would_warn_of() -> None:
    """A regular expression that only earns a warning is taken."""
    assert parse_regex("[[a]").compiled.fullmatch("[")


def test_invalid_regex() -> None:
    """What the re module says, and where, is told; its words apart, as they may quote."""
    with pytest.raises(InvalidValue) as caught:
        parse_regex("ab(c")
    (mistake,) = caught.value.issues
    assert mistake.message == "is not a regular expression at position 2"
    assert mistake.detail == ": missing ), unterminated subpattern"


@pytest.mark.parametrize("text", ["(" * 4000, "a{99999999999999999999}"])
def test_regex_too_complex(text: str) -> None:
    """What breaks the re module in other ways is an error like any other."""
    with pytest.raises(InvalidValue, match="too complex"):
        parse_regex(text)


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
def test_no_exit_code(text: str) -> None:
    """Anything else is none."""
    with pytest.raises(ValueError, match="is not an exit code or a range"):
        parse_exit_code(text)


@pytest.mark.parametrize("text", ["5-1", "<0"])
def test_range_of_nothing(text: str) -> None:
    """A range that holds nothing is a mistake."""
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
    """A signal is a number or a name, as docker kill takes it."""
    assert parse_signal(text) == Range(number, number)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SIGKIL", r"did you mean 'KILL'\?"),
        ("", "is not a signal"),
        ("KILL*", "is not a signal"),
        ("0", "from 1 to 64"),
        ("65", "from 1 to 64"),
        ("RTMAX+1", "from 1 to 64"),
    ],
)
def test_no_signal(text: str, words: str) -> None:
    """Anything else is none, with a suggestion where one is near."""
    with pytest.raises(ValueError, match=words):
        parse_signal(text)
