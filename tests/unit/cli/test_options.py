"""Times in the past, as options take them."""

from datetime import timedelta
from typing import Any, cast

import click
import pytest

from relay.cli.options import convert_time
from relay.dryrun.history import Window
from tests.unit.cli.cli_store import SECOND_NS, THEN_NS

NOBODY = cast("Any", None)


def test_a_duration() -> None:
    """A duration means so long before now."""
    assert convert_time(NOBODY, NOBODY, "1h30m") == timedelta(minutes=90)
    assert convert_time(NOBODY, NOBODY, None) is None


@pytest.mark.parametrize(
    ("text", "after_ns"),
    [
        ("2026-11-23T06:48:34Z", 0),
        ("2026-11-23 06:48:34Z", 0),
        ("2026-11-23t06:48:34.5z", SECOND_NS // 2),
        ("2026-11-23T06:48:34.000000001Z", 1),
        ("2026-11-23T08:18:34+01:30", 0),
    ],
)
def test_a_time(text: str, after_ns: int) -> None:
    """A time may be written as in RFC 3339 or in relay's own output, to the nanosecond."""
    assert convert_time(NOBODY, NOBODY, text) == THEN_NS + after_ns


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yesterday", "is not a duration: write 500ms, 10s, 5m, 72h or 7d; or a time as 2026-11"),
        ("5", "has no unit"),
        ("", "is not a duration"),
        ("2026-11-23T06:48:34", "is not a duration"),  # of which zone?
        ("2026-13-23T06:48:34Z", "is not a valid time"),
        ("2026-11-23T06:48:34+99:00", "is not a valid time"),
        ("1969-12-31T23:59:59Z", "is not a valid time"),
        ("9999-12-31T23:59:59Z", "is not a valid time"),
        ("0001-01-01T00:00:00+23:00", "is not a valid time"),
        ("٢٠٢٦-11-23T06:48:34Z", "is not a duration"),
        ("\x1b[2J", "is not a duration"),
    ],
)
def test_an_invalid_time(text: str, words: str) -> None:
    """The message says what can be written, without control characters."""
    with pytest.raises(click.BadParameter, match=words) as caught:
        convert_time(NOBODY, NOBODY, text)
    assert str(caught.value).isprintable()


def test_a_window() -> None:
    """A window includes both its ends, and begins at 1970 or later."""
    window = Window(timedelta(seconds=10), timedelta(seconds=2)).to_range(THEN_NS)
    assert THEN_NS - 10 * SECOND_NS in window
    assert THEN_NS - 2 * SECOND_NS in window
    assert THEN_NS - 2 * SECOND_NS + 1 not in window
    assert THEN_NS in Window(1).to_range(THEN_NS)
    assert Window(timedelta(days=3650)).to_range(THEN_NS).start > 0
    assert not Window(THEN_NS, THEN_NS - 1).to_range(THEN_NS)
