"""Comparing a body with an expected part of it."""

import pytest

from relay.dryrun.partial_match import find_missing

BODY = b"""{"text": "web-1 \\u2192 crashed\\n(3)", "count": 2, "share": 1.5,
 "on": true, "none": null, "blocks": [{"type": "header"}, {"type": "section", "fields": ["a", "b"]},
 {"type": "header"}]}"""


@pytest.mark.parametrize(
    "wanted",
    [
        "web-1",
        "web-1 \N{RIGHTWARDS ARROW} crashed\n(3)",
        {},
        {"text": "web-1 \N{RIGHTWARDS ARROW} crashed\n(3)", "count": 2},
        {"share": "1.5"},
        {"on": True, "none": None},
        {"blocks": []},
        {"blocks": [{"type": "section", "fields": ["b"]}]},
        {"blocks": [{"type": "header"}, {"type": "header"}]},
    ],
)
def test_parts_of_json(wanted: object) -> None:
    """The given keys and items must be there, items in order; others may be there too."""
    assert find_missing(wanted, BODY) == []


@pytest.mark.parametrize(
    ("wanted", "lack"),
    [
        ({"count": 3}, ".count: wanted 3, found 2"),
        ({"count": True}, ".count: wanted true, found 2"),
        ({"on": 1}, ".on: wanted 1, found true"),
        ({"none": 0}, ".none: wanted 0, found null"),
        ({"text": None}, ".text: wanted null, found 'web-1 → crashed\\n(3)'"),
        ({"gone": 1}, ".gone: wanted 1, found no such key"),
        ({"count": {"a": 1}}, '.count: wanted {"a":1}, found 2'),
        (
            {"blocks": [{"type": "section", "fields": ["c"]}]},
            ".blocks[1].fields[0]: wanted 'c', found 'a'",
        ),
        (
            {"blocks": [{"type": "header"}, {"type": "header"}, {"type": "header"}]},
            '.blocks: wanted {"type":"header"}, found nothing more in the list',
        ),
        ([1], ": wanted [1], found {"),
        ("shop", ": wanted 'shop' in it, found '{\"text\": "),
    ],
)
def test_what_is_missing_is_named(wanted: object, lack: str) -> None:
    """Names its path, what was wanted, and what is there."""
    (found,) = find_missing(wanted, BODY)
    assert found.startswith(lack)


def test_parts_of_a_text() -> None:
    """A body that is not JSON must contain the text."""
    assert find_missing("web-1", b"web-1 crashed") == []
    assert find_missing("web-2", b"web-1 crashed") == [
        ": wanted 'web-2' in it, found 'web-1 crashed'"
    ]
    assert find_missing({"a": 1}, b"web-1 \x1b\xff") == [
        ": wanted JSON, found 'web-1 \\x1b\N{REPLACEMENT CHARACTER}'"
    ]


def test_what_is_found_is_cut_and_printable() -> None:
    """Long values are cut, and unprintable characters escaped."""
    (lack,) = find_missing({"a": 1}, b'{"a": ["\xe2\x80\xae' + b"x" * 1000 + b'"]}')
    assert len(lack) < 300
    assert lack.isprintable()
