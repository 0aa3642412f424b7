"""Regular expressions of a match: what they mean, what is refused, and what hostile texts cost."""

import subprocess
import sys

import pytest

from relay.config.errors import InvalidValue
from relay.config.match import Regex
from relay.config.match_parser import parse_regex
from relay.config.regex import compile_regex

HALF_A_PAIR = "\ud83d"


@pytest.mark.parametrize(
    ("regex", "text", "fits"),
    [
        ("web-[0-9]+", "web-12", True),
        ("web-[0-9]+", "web-12-", False),  # the whole text has to fit
        ("web|db", "db", True),
        ("(?i)WEB", "web", True),
        ("caf.", "café", True),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        (r"\w+", "web_1", True),
        (r"\w+", "café", False),  # \w, \d and \b are ASCII
        (r"[\pL]+", "café", True),
        ("[[a]", "[", True),
        (".", HALF_A_PAIR, True),
        ("[^a]b", HALF_A_PAIR + "b", True),
    ],
)
def test_an_expression_fits_a_whole_text(regex: str, text: str, fits: bool) -> None:
    """An expression is RE2's, and has to match the text from its beginning to its end."""
    assert parse_regex(regex) == Regex(regex)
    assert compile_regex(regex)(text) is fits


@pytest.mark.parametrize(
    ("regex", "message"),
    [
        ("(?=web)a", "uses lookaround"),
        ("(?!web)a", "uses lookaround"),
        ("a(?<=web)", "uses lookaround"),
        ("a(?<!web)", "uses lookaround"),
        (r"(a)\1", "uses a backreference"),
        ("(?P<a>a)(?P=a)", "uses a backreference"),
        ("(?>a)", "uses an atomic group"),
        ("(?#why)a", "holds a comment"),
        (r"web\Z", r"write \z for the end"),
        (r"\u20ac", r"write \x{20AC}"),
        (r"\N{EURO SIGN}", r"write \x{20AC}"),
        ("a{1001}", "more than 1000 times"),
        ("a{,3}", "write {0,3} instead of {,3}"),
        ("(.{1000}){10}", "more than 1000 times"),
        ("|".join([r"\pL{900}"] * 400), "too complex"),
        ("(" * 4000, "is not a regular expression"),
        (HALF_A_PAIR, "half of a surrogate pair"),
    ],
)
def test_what_is_not_supported_says_so(regex: str, message: str) -> None:
    """What RE2 does not have is an error that names it, and never repeats the value."""
    with pytest.raises(InvalidValue) as caught:
        parse_regex(regex)
    assert message in str(caught.value)
    assert regex not in str(caught.value).removesuffix(message)


@pytest.mark.parametrize("regex", [r"a\{,3}", "[{,3}]", r"[\]{,3}]"])
def test_braces_that_repeat_nothing(regex: str) -> None:
    """Braces that are escaped or in a class are plain text for both engines."""
    assert parse_regex(regex) == Regex(regex)


def test_the_engine_s_message_is_a_detail() -> None:
    """The message of an invalid expression may quote the value, and is kept apart."""
    with pytest.raises(InvalidValue) as caught:
        parse_regex("ab(c")
    (issue,) = caught.value.issues
    assert (issue.message, issue.detail) == ("is not a regular expression", ": missing ): ab(c")


@pytest.mark.parametrize(
    ("regex", "text"),
    [
        ("([a-z]+-?)+", "a" * 40 + "!"),
        ("(a+)+", "a" * 60_000 + "!"),
        (".*prod.*web.*", "prod" * 32_000),
        ("(x+x+)+y", "x" * 60_000),
        ("(.*)*,", "a" * 60_000),
    ],
)
def test_a_hostile_text_takes_linear_time(regex: str, text: str) -> None:
    """With Python's engine this test would not end."""
    assert not compile_regex(regex)(text)


def test_the_engine_writes_nothing_and_is_imported_for_the_first_expression() -> None:
    """RE2's own messages stay off standard error, and globs do not need it."""
    program = (
        "import sys; from relay.config.match_parser import parse_match, parse_regex\n"
        "parse_match({'name': ['a*b*', 'web']}); assert 're2' not in sys.modules\n"
        "try: parse_regex('(')\n"
        "except ValueError: assert 're2' in sys.modules\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (ran.stdout, ran.stderr) == (b"", b"")
