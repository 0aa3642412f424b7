"""Times as options take them."""

from datetime import timedelta
from typing import Any, cast

import click
import pytest

from relay.cli.options import Filters, convert_time, resolve_time
from relay.core.zone import UTC_ZONE, TimeZone
from relay.dryrun.history import Window
from tests.unit.cli.cli_store import SECOND_NS, THEN_NS

NOBODY = cast("Any", None)
BERLIN = TimeZone("Europe/Berlin")


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
    assert find_time(text, UTC_ZONE) == THEN_NS + after_ns


def find_time(text: str, zone: TimeZone, *, ahead: bool = False) -> int:
    value = convert_time(NOBODY, NOBODY, text)
    assert value is not None
    return resolve_time("--at", value, zone, THEN_NS, ahead=ahead)


def test_a_time_in_a_zone() -> None:
    """Without an offset it is a time in the zone, and without a day the last or the next one."""
    assert find_time("2026-11-23 07:48:34", BERLIN) == THEN_NS
    assert find_time("07:48:34", BERLIN) == THEN_NS
    assert find_time("07:48:34", BERLIN, ahead=True) == THEN_NS + 24 * 3600 * SECOND_NS
    assert find_time("10s", BERLIN) == THEN_NS - 10 * SECOND_NS
    assert find_time("10s", BERLIN, ahead=True) == THEN_NS + 10 * SECOND_NS


def test_a_time_that_does_not_exist() -> None:
    """The message names the option, what was written, and the zone."""
    skipped = "--at '2026-03-29 02:30' is skipped by the clocks of Europe/Berlin"
    with pytest.raises(click.UsageError, match=skipped):
        find_time("2026-03-29 02:30", BERLIN)
    abroad = "--at '08:29 EST' is in EST; in Europe/Berlin it is then CET"
    with pytest.raises(click.UsageError, match=abroad):
        find_time("08:29 EST", BERLIN)


def test_since_selects_dead_letters_in_the_zone() -> None:
    """It may be a time or a duration."""
    for text in ("07:48:34", "0s"):
        filters = Filters((), None, None, convert_time(NOBODY, NOBODY, text))
        assert filters.to_selection(BERLIN, THEN_NS).since_ns == THEN_NS


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("yesterday", "is not a duration: write 500ms, 10s, 5m, 72h or 7d; or a time as 2026-11"),
        ("5", "has no unit"),
        ("", "is not a duration"),
        ("2026-13-23T06:48:34Z", "is not a valid time"),
        ("2026-11-23T06:48:34+99:00", "is not a valid time"),
        ("1969-12-31T23:59:59Z", "is not between 1970 and 2261"),
        ("9999-12-31T23:59:59Z", "is not between 1970 and 2261"),
        ("0001-01-01T00:00:00+23:00", "is not between 1970 and 2261"),
        ("24:30", "is not a valid time"),
        ("٢٠٢٦-11-23T06:48:34Z", "is not a time"),
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
