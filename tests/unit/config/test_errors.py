import pytest

from relay.config.errors import did_you_mean, find_closest, format_path, quote


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("ulr", "url"), ("URL", "url"), ("url_fil", "url_file"), ("xyz", None), ("", None)],
)
def test_closest(word: str, wanted: str | None) -> None:
    """The nearest known word is found in any letter case, and none where none is near."""
    assert find_closest(word, ["url", "url_file", "retry"]) == wanted


def test_did_you_mean() -> None:
    """A suggestion is put so that it can stand behind a message."""
    assert did_you_mean("ulr", ["url"]) == " (did you mean 'url'?)"
    assert did_you_mean("xyz", ["url"]) == ""


def test_quoted() -> None:
    """A shown text is short, printable and on one line."""
    assert quote("a\nb\x1b[1m\u2028") == r"'a\nb\x1b[1m\u2028'"
    assert quote("x" * 100) == "'" + "x" * 59 + "…'"


def test_spelled() -> None:
    """A trail is spelled as in JavaScript; odd keys are quoted."""
    trail = ("routes", 2, "match", "label", "com.example.team")
    assert format_path(trail) == "routes[2].match.label['com.example.team']"
    assert (
        format_path(("destinations", "edge-1", "headers", "X-Y"))
        == "destinations.edge-1.headers.X-Y"
    )
    assert format_path(("a\n",)) == r"['a\n']"
    assert format_path(()) == ""
