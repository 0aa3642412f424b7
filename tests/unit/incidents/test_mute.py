"""The intervals of a mute: against a model that looks at every minute, and across the DST changes.

The model compares local times as the documentation says; it knows nothing of weeks and jumps.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.incidents.mute import (
    MuteInterval,
    build_week,
    find_mute,
    find_mute_begin,
    find_mute_end,
)

MINUTE_NS = 60 * 10**9
EVERY_DAY = range(7)
Window = tuple[int, int, int]
"""A weekday, and the minutes of begin and end."""

zones = st.sampled_from(
    # with a change by half an hour, by hours across midnight, and twice a year around Ramadan
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"]
)
minutes = st.integers(0, 24 * 4 - 1).map(lambda quarter: quarter * 15)
windows = st.lists(
    st.tuples(st.integers(0, 6), minutes, minutes).filter(lambda it: it[1] != it[2]),
    min_size=1,
    max_size=6,
)
weeks = st.lists(st.tuples(zones, windows), min_size=1, max_size=3)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31))


def to_ns(moment: datetime) -> int:
    return (
        (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC))
        // timedelta(microseconds=1)
        * 1000
    )


def interval(zone: str, *those: Window, name: str = "nights") -> MuteInterval:
    return MuteInterval(name, (build_week(zone, those),))


def daily(zone: str, begin: int, end: int) -> list[MuteInterval]:
    return [interval(zone, *((day, begin, end) for day in EVERY_DAY))]


def model_is_muted(zone: str, those: list[Window], wall_ns: int) -> bool:
    """Look at the clock on the wall: is it between begin and end of a window of this day?"""
    local = datetime.fromtimestamp(wall_ns // 10**9, ZoneInfo(zone))
    now, today = local.hour * 60 + local.minute, local.weekday()
    for day, begin, end in those:
        if begin < end:
            if day == today and begin <= now < end:
                return True
        elif (day == today and now >= begin) or ((day + 1) % 7 == today and now < end):
            return True
    return False


@given(weeks, moments)
def test_an_interval_is_in_force_when_the_clock_on_the_wall_says_so(
    parts: list[tuple[str, list[Window]]], moment: datetime
) -> None:
    mute = MuteInterval("m", tuple(build_week(*part) for part in parts))
    at_ns = to_ns(moment)
    expected = any(model_is_muted(*part, at_ns) for part in parts)
    assert (find_mute([mute], at_ns) == "m") is expected


@settings(max_examples=60, deadline=None)
@given(weeks, moments)
def test_its_end_and_its_begin_are_the_next_minutes_at_which_the_model_changes(
    parts: list[tuple[str, list[Window]]], moment: datetime
) -> None:
    mutes = [MuteInterval(str(at), (build_week(*part),)) for at, part in enumerate(parts)]
    at_ns = to_ns(moment)
    end_ns, begin_ns = find_mute_end(mutes, at_ns), find_mute_begin(mutes, at_ns)

    def is_muted(wall_ns: int) -> bool:
        return any(model_is_muted(*part, wall_ns) for part in parts)

    if not is_muted(at_ns):
        assert end_ns == at_ns
    else:
        assert begin_ns == at_ns
    change_ns = begin_ns if end_ns == at_ns else end_ns
    # every minute until then, for three days at the most: longer ones take too long
    minute_ns = at_ns // MINUTE_NS * MINUTE_NS + MINUTE_NS
    until_ns = minute_ns + 3 * 24 * 60 * MINUTE_NS
    while minute_ns < (until_ns if change_ns is None else min(change_ns, until_ns)):
        assert is_muted(minute_ns) is is_muted(at_ns)
        minute_ns += MINUTE_NS
    if change_ns is not None:
        assert is_muted(change_ns) is not is_muted(at_ns)


@pytest.mark.parametrize(
    ("day", "minutes_in_force"),
    [("2026-03-29", 0), ("2026-10-25", 120), ("2026-06-01", 60)],
)
def test_a_time_that_is_skipped_does_not_come_and_one_that_is_repeated_comes_twice(
    day: str, minutes_in_force: int
) -> None:
    mutes = daily("Europe/Berlin", 2 * 60, 3 * 60)
    start_ns = to_ns(datetime.fromisoformat(day))
    found = [find_mute(mutes, start_ns + at * MINUTE_NS) for at in range(24 * 60)]
    assert sum(each is not None for each in found) == minutes_in_force


def test_the_end_of_a_repeated_hour_is_after_the_second() -> None:
    mutes = daily("Europe/Berlin", 2 * 60, 3 * 60)
    first = to_ns(datetime(2026, 10, 25, 0, 30))  # 02:30 CEST
    assert find_mute_end(mutes, first) == to_ns(datetime(2026, 10, 25, 2, 0))  # 03:00 CET


def test_after_a_skipped_hour_it_begins_on_the_next_day() -> None:
    mutes = daily("Europe/Berlin", 2 * 60, 3 * 60)
    assert find_mute_begin(mutes, to_ns(datetime(2026, 3, 29, 0, 59))) == to_ns(
        datetime(2026, 3, 30, 0, 0)
    )


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday_night = [interval("UTC", (4, 22 * 60, 7 * 60))]
    saturday = datetime(2026, 11, 28)
    assert find_mute(friday_night, to_ns(saturday - timedelta(hours=2))) == "nights"
    assert find_mute(friday_night, to_ns(saturday + timedelta(hours=6, minutes=59))) == "nights"
    assert find_mute(friday_night, to_ns(saturday + timedelta(hours=7))) is None
    assert find_mute(friday_night, to_ns(saturday - timedelta(hours=18))) is None  # Friday morning


def test_one_from_sunday_to_monday_goes_over_the_end_of_the_week() -> None:
    mutes = [interval("UTC", (6, 22 * 60, 7 * 60))]
    sunday = to_ns(datetime(2026, 11, 29, 23))
    assert find_mute_end(mutes, sunday) == to_ns(datetime(2026, 11, 30, 7))


def test_intervals_that_follow_each_other_end_with_the_last() -> None:
    mutes = [
        interval("UTC", *((day, 22 * 60, 7 * 60) for day in EVERY_DAY)),
        interval("UTC", (5, 0, 24 * 60), (6, 0, 24 * 60), name="weekend"),
    ]
    friday = to_ns(datetime(2026, 11, 27, 23))
    assert find_mute(mutes, friday) == "nights"
    assert find_mute(mutes, friday + 10 * 60 * MINUTE_NS) == "weekend"
    assert find_mute_end(mutes, friday) == to_ns(datetime(2026, 11, 30, 7))


def test_those_that_cover_everything_have_no_end() -> None:
    whole = [interval("UTC", *((day, 0, 24 * 60) for day in EVERY_DAY))]
    together = [*daily("UTC", 0, 12 * 60), *daily("Europe/Berlin", 12 * 60, 2 * 60)]
    for mutes in (whole, together):
        assert find_mute_end(mutes, to_ns(datetime(2026, 11, 27, 23))) is None


def test_those_of_two_zones_may_end_at_another_time_of_the_year() -> None:
    """Until the clocks are changed they cover everything between them; then an hour is left."""
    mutes = [*daily("UTC", 0, 12 * 60), *daily("Europe/Berlin", 13 * 60, 60)]
    winter, summer = datetime(2026, 11, 27, 12), datetime(2027, 3, 28, 23)
    assert find_mute_end(mutes, to_ns(winter)) == to_ns(summer)


def test_without_an_interval_nothing_is_muted() -> None:
    assert find_mute([], 5) is None
    assert find_mute_end([], 5) == 5
    assert find_mute_begin([], 5) is None


def test_a_nanosecond_before_the_end_it_is_still_in_force() -> None:
    mutes = daily("UTC", 0, 60)
    end_ns = to_ns(datetime(2026, 11, 27, 1))
    assert find_mute_end(mutes, end_ns - 1) == end_ns
    assert find_mute_end(mutes, end_ns) == end_ns
    assert find_mute(mutes, end_ns - 1) is not None
    assert find_mute(mutes, end_ns) is None
