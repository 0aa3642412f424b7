import pytest

from relay.config.errors import did_you_mean, find_closest, format_path, quote


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("ulr", "url"), ("URL", "url"), ("url_fil", "url_file"), ("xyz", None), ("", None)],
)
def test_find_closest(word: str, wanted: str | None) -> None:
    """The most similar known word is found in any letter case; None if no word is similar."""
    assert find_closest(word, ["url", "url_file", "retry"]) == wanted


def test_did_you_mean() -> None:
    """A suggestion can be appended to a message."""
    assert did_you_mean("ulr", ["url"]) == " (did you mean 'url'?)"
    assert did_you_mean("xyz", ["url"]) == ""


def test_quote() -> None:
    """A quoted text is short, printable and on one line."""
    assert quote("a\nb\x1b[1m\u2028") == r"'a\nb\x1b[1m\u2028'"
    assert quote("x" * 100) == "'" + "x" * 59 + "…'"


def test_format_path() -> None:
    """A path is written as in JavaScript; unusual keys are quoted."""
    path = ("routes", 2, "match", "label", "com.example.team")
    assert format_path(path) == "routes[2].match.label['com.example.team']"
    assert (
        format_path(("destinations", "edge-1", "headers", "X-Y"))
        == "destinations.edge-1.headers.X-Y"
    )
    assert format_path(("a\n",)) == r"['a\n']"
    assert format_path(()) == ""
