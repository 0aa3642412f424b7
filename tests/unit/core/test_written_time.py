"""Times as people write them, in a zone whose clocks change twice a year."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.written_time import parse_written_time
from relay.core.zone import UTC_ZONE, TimeZone

BERLIN = TimeZone("Europe/Berlin")
LORD_HOWE = TimeZone("Australia/Lord_Howe")
"""Its clocks change by half an hour."""
SECOND_NS = 10**9
ZONES = [UTC_ZONE, BERLIN, LORD_HOWE, *map(TimeZone, ("America/New_York", "Asia/Kathmandu"))]
TIMES = st.integers(86_400, 2 * 10**9).map(lambda seconds: seconds * SECOND_NS)


def ns(text: str) -> int:
    """Return a time in UTC, written by RFC 3339."""
    return round(datetime.fromisoformat(text).timestamp()) * SECOND_NS


NOW_NS = ns("2026-11-23T11:00:00Z")
"""Noon in Berlin."""


def read(text: str, zone: TimeZone = BERLIN, *, ahead: bool = False, now_ns: int = NOW_NS) -> int:
    return parse_written_time(text).to_ns(zone, now_ns, ahead=ahead)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-23T07:29:49Z", "2026-11-23T07:29:49Z"),
        ("2026-11-23t07:29:49z", "2026-11-23T07:29:49Z"),
        ("2026-11-23T07:29:49+05:30", "2026-11-23T01:59:49Z"),
        ("2026-11-23 07:29:49 UTC", "2026-11-23T07:29:49Z"),
        ("2026-11-23 07:29 UTC-03", "2026-11-23T10:29:00Z"),
        ("2026-11-23 08:29:49", "2026-11-23T07:29:49Z"),
        ("2026-07-23 08:29:49", "2026-07-23T06:29:49Z"),
        ("2026-11-23 08:29:49 CET", "2026-11-23T07:29:49Z"),
        ("2026-11-23T08:29", "2026-11-23T07:29:00Z"),
        ("2026-11-23", "2026-11-22T23:00:00Z"),
        ("08:29", "2026-11-23T07:29:00Z"),
        ("12:00", "2026-11-23T11:00:00Z"),
        ("12:01", "2026-11-22T11:01:00Z"),
        ("12:01:30", "2026-11-22T11:01:30Z"),
        ("09:00Z", "2026-11-23T09:00:00Z"),
        ("12:00Z", "2026-11-22T12:00:00Z"),
    ],
)
def test_a_time_of_the_past(text: str, utc: str) -> None:
    """Without an offset it is in the zone, and without a day it is the last such time."""
    assert read(text) == ns(utc)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("12:00", "2026-11-24T11:00:00Z"),
        ("12:01", "2026-11-23T11:01:00Z"),
        ("08:29 CET", "2026-11-24T07:29:00Z"),
        ("2026-11-23 08:29", "2026-11-23T07:29:00Z"),
    ],
)
def test_a_time_of_the_future(text: str, utc: str) -> None:
    """Without a day it is the next such time; with one, it is that day."""
    assert read(text, ahead=True) == ns(utc)


def test_nanoseconds_are_kept() -> None:
    """A time can be copied from a payload."""
    assert read("2026-11-23T07:29:49.123456789Z") == ns("2026-11-23T07:29:49Z") + 123_456_789
    assert read("2026-11-23T08:29:49.5") == ns("2026-11-23T07:29:49Z") + 500_000_000


def test_a_time_that_clocks_show_twice_is_the_first() -> None:
    """The abbreviation, or an offset, says which of the two is meant."""
    assert read("2026-10-25 02:30") == ns("2026-10-25T00:30:00Z")
    assert read("2026-10-25 02:30 CEST") == ns("2026-10-25T00:30:00Z")
    assert read("2026-10-25 02:30 CET") == ns("2026-10-25T01:30:00Z")
    assert read("2026-10-25 02:30+01:00") == ns("2026-10-25T01:30:00Z")


def test_without_a_day_both_of_them_are_times() -> None:
    """Within the hour that is repeated, the nearer of the two is meant."""
    first, second = ns("2026-10-25T00:30:00Z"), ns("2026-10-25T01:30:00Z")
    between_ns = ns("2026-10-25T00:45:00Z")
    assert read("02:30", now_ns=between_ns) == first
    assert read("02:30", now_ns=between_ns, ahead=True) == second
    assert read("02:30", now_ns=second) == second


def test_a_time_that_clocks_skip() -> None:
    """With a day it is an error; without one it is that of another day."""
    with pytest.raises(ValueError, match=r"^is skipped by the clocks of Europe/Berlin: they then "):
        read("2026-03-29 02:30")
    after_ns = ns("2026-03-29T09:00:00Z")
    assert read("02:30", now_ns=after_ns) == ns("2026-03-28T01:30:00Z")
    assert read("02:30", now_ns=after_ns, ahead=True) == ns("2026-03-30T00:30:00Z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a time"),
        ("noon", "is not a time: write 2026-11-23 08:29, 2026-11-23T07:29:49Z or 14:00"),
        ("CET", "is not a time"),
        ("2026-11-23T", "is not a time"),
        ("8:29", "is not a time"),
        ("08:29 cet", "is not a time"),
        ("08:29\n", "is not a time"),
        ("٠٨:29", "is not a time"),
        ("24:00", "is not a valid time"),
        ("23:59:60", "is not a valid time"),
        ("2026-02-30", "is not a valid time"),
        ("12:00+24:00", "is not a valid time"),
        ("12:00+01:60", "is not a valid time"),
        ("1969-12-31 12:00", "is not between 1970 and 2261"),
        ("2262-01-01", "is not between 1970 and 2261"),
        ("0001-01-01", "is not between 1970 and 2261"),
        ("2026-07-23 08:29 CET", "is in CET; in Europe/Berlin it is then CEST"),
        ("08:29 CEST", "is in CEST; in Europe/Berlin it is then CET"),
        ("08:29 EST", "is in EST; in Europe/Berlin it is then CET"),
    ],
)
def test_what_is_no_time(text: str, message: str) -> None:
    """The message follows the text."""
    with pytest.raises(ValueError, match="is") as caught:
        read(text)
    assert str(caught.value).startswith(message)


@given(TIMES, st.sampled_from(ZONES))
def test_what_relay_writes_is_read_as_the_same_time(time_ns: int, zone: TimeZone) -> None:
    """The abbreviation tells the hours apart that the clocks show twice."""
    assert read(zone.format_second(time_ns), zone) == time_ns
    assert read(zone.format_rfc3339(time_ns), zone) == time_ns


@given(TIMES, st.sampled_from(ZONES), st.times())
def test_a_time_of_day_is_the_nearest(now_ns: int, zone: TimeZone, clock: datetime) -> None:
    """Clocks show it then, and do not show it between then and now."""
    text = f"{clock:%H:%M}"
    last, following = (read(text, zone, now_ns=now_ns, ahead=ahead) for ahead in (False, True))
    assert last <= now_ns < following
    assert {f"{zone.to_local(it):%H:%M:%S}" for it in (last, following)} == {f"{text}:00"}
    minutes = range(last + 60 * SECOND_NS, following, 60 * SECOND_NS)
    assert not any(f"{zone.to_local(it):%H:%M}" == text for it in minutes)
    assert following - last <= timedelta(days=2.1) // timedelta(microseconds=1) * 1000


def test_bounds() -> None:
    """The first and the last day can be written in every zone."""
    for zone in ZONES:
        assert read("1970-01-02 00:00", zone) > 0
        assert read("2261-12-31", zone) < 2**63
        assert UTC is UTC_ZONE.tzinfo
