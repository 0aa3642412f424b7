import pytest

from relay.config.errors import closest, did_you_mean, quoted, spelled


@pytest.mark.parametrize(
    ("word", "wanted"),
    [("ulr", "url"), ("URL", "url"), ("url_fil", "url_file"), ("xyz", None), ("", None)],
)
def test_closest(word: str, wanted: str | None) -> None:
    """The nearest known word is found in any letter case, and none where none is near."""
    assert closest(word, ["url", "url_file", "retry"]) == wanted


def test_did_you_mean() -> None:
    """A suggestion is put so that it can stand behind a message."""
    assert did_you_mean("ulr", ["url"]) == " (did you mean 'url'?)"
    assert did_you_mean("xyz", ["url"]) == ""


def test_quoted() -> None:
    """A shown text is short, printable and on one line."""
    assert quoted("a\nb\x1b[1m\u2028") == r"'a\nb\x1b[1m\u2028'"
    assert quoted("x" * 100) == "'" + "x" * 59 + "…'"


def test_spelled() -> None:
    """A trail is spelled as in JavaScript; odd keys are quoted."""
    trail = ("routes", 2, "match", "label", "com.example.team")
    assert spelled(trail) == "routes[2].match.label['com.example.team']"
    assert (
        spelled(("destinations", "edge-1", "headers", "X-Y")) == "destinations.edge-1.headers.X-Y"
    )
    assert spelled(("a\n",)) == r"['a\n']"
    assert spelled(()) == ""
