"""When a route or a destination is muted: the intervals of ``mute_time_intervals``.

An interval is a set of local times of the week. It is in force at a moment if the clocks of its
time zone show one of them then. So a time that daylight saving skips never comes, and one that it
repeats comes twice. `find_mute` and its siblings are pure. Their work has a bound: they look ahead
for `_find_horizon`, and jump from one possible change to the next.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from functools import lru_cache
from itertools import chain

import msgspec

from relay.core.zone import TimeZone

_SECOND_NS = 10**9
_MINUTE_S = 60
_DAY_S = 24 * 60 * _MINUTE_S
_WEEK_S = 7 * _DAY_S
_EPOCH_WEEKDAY_S = 3 * _DAY_S
"""1970-01-01 was a Thursday, and a week begins on Monday."""
_HORIZON_S = 2 * _WEEK_S + _DAY_S
"""How far to look ahead in one time zone. Local times are the same every week. In one week daylight
saving may skip the only minute that an interval leaves out; in the next it does not."""
_HORIZON_OF_SEVERAL_ZONES_S = 53 * _WEEK_S
"""The difference between two zones changes in the course of a year."""

Span = tuple[int, int]
"""From a local time of the week, in seconds since Monday 00:00, until before another."""


class LocalWeek(msgspec.Struct, frozen=True):
    """Times of the week in one time zone."""

    time_zone: str
    spans: tuple[Span, ...]
    """They are sorted, and neither overlap nor touch each other."""


class MuteInterval(msgspec.Struct, frozen=True):
    """A named set of times: one of ``mute_time_intervals``."""

    name: str
    weeks: tuple[LocalWeek, ...]
    """It is in force if any of them is."""


def build_week(time_zone: str, windows: Iterable[tuple[int, int, int]]) -> LocalWeek:
    """Return the week of some windows, each a weekday (0 for Monday) with its begin and its end.

    Begin and end are minutes of the day. A window whose end is not after its begin goes on until
    that time of the next day.
    """
    spans: list[Span] = []
    for weekday, begin, end in windows:
        length_s = ((end - begin) * _MINUTE_S) % _DAY_S or _DAY_S
        begin_s = weekday * _DAY_S + begin * _MINUTE_S
        end_s = begin_s + length_s
        spans.append((begin_s, min(end_s, _WEEK_S)))
        if end_s > _WEEK_S:  # from Sunday to Monday
            spans.append((0, end_s - _WEEK_S))
    return LocalWeek(time_zone, tuple(_merge(spans)))


def _merge(spans: Iterable[Span]) -> Iterator[Span]:
    """Yield the union of some spans in their order, each as long as possible."""
    begin_s = end_s = 0
    for begin, end in sorted(spans):
        if begin > end_s:
            if end_s:
                yield begin_s, end_s
            begin_s = begin
        end_s = max(end_s, end)
    if end_s:
        yield begin_s, end_s


def find_mute(intervals: Collection[MuteInterval], wall_ns: int) -> str | None:
    """Return the name of the first interval that is in force at a time; None if none is."""
    time_s = wall_ns // _SECOND_NS
    return next((each.name for each in intervals if _is_in_force(each.weeks, time_s)), None)


def find_mute_end(intervals: Collection[MuteInterval], wall_ns: int) -> int | None:
    """Return the first moment from ``wall_ns`` on at which no interval is in force.

    None if there is none: the intervals cover everything.
    """
    weeks = _list_weeks(intervals)
    time_s = wall_ns // _SECOND_NS
    if not _is_in_force(weeks, time_s):
        return wall_ns
    end_s = _find_end(weeks, time_s)
    return None if end_s is None else end_s * _SECOND_NS


def find_mute_begin(intervals: Collection[MuteInterval], wall_ns: int) -> int | None:
    """Return the first moment from ``wall_ns`` on at which an interval is in force.

    None if there is none: daylight saving skips the only time, or there are no intervals.
    """
    weeks = _list_weeks(intervals)
    first_s = time_s = wall_ns // _SECOND_NS
    while weeks and time_s - first_s <= _find_horizon(weeks):
        if _is_in_force(weeks, time_s):
            return max(time_s * _SECOND_NS, wall_ns)
        time_s = min(_find_change(week, time_s) for week in weeks)
    return None


def _list_weeks(intervals: Iterable[MuteInterval]) -> tuple[LocalWeek, ...]:
    return tuple(chain.from_iterable(each.weeks for each in intervals))


def _find_horizon(weeks: Iterable[LocalWeek]) -> int:
    """Return how far to look ahead, in seconds: if nothing changes by then, nothing ever does."""
    is_one_zone = len({week.time_zone for week in weeks}) == 1
    return _HORIZON_S if is_one_zone else _HORIZON_OF_SEVERAL_ZONES_S


@lru_cache(maxsize=64)  # many groups may be due in the same second
def _find_end(weeks: tuple[LocalWeek, ...], time_s: int) -> int | None:
    """Return the first second from a time on at which no week is in force; None for never."""
    first_s, horizon_s = time_s, _find_horizon(weeks)
    while time_s - first_s <= horizon_s:
        ends = [_find_change(week, time_s) for week in weeks if _is_in_force((week,), time_s)]
        if not ends:
            return time_s
        time_s = max(ends)
    return None


def _is_in_force(weeks: Iterable[LocalWeek], time_s: int) -> bool:
    return any(_find_change_in_week(week.spans, _to_local(week, time_s))[0] for week in weeks)


def _find_change_in_week(spans: Sequence[Span], local_s: int) -> tuple[bool, int]:
    """Return whether a time of the week is in one of the spans, and until when that is so."""
    at = bisect_right(spans, (local_s, _WEEK_S))  # the first span that begins later
    if at and local_s < spans[at - 1][1]:
        return True, spans[at - 1][1]
    return False, spans[at][0] if at < len(spans) else _WEEK_S


def _find_change(week: LocalWeek, time_s: int) -> int:
    """Return the next second at which a week may begin or cease to be in force.

    That is where a span begins or ends, at the end of the week, or where the clocks are changed.
    """
    local_s = _to_local(week, time_s)
    _, until_s = _find_change_in_week(week.spans, local_s)
    change_s = time_s + until_s - local_s
    zone = _find_zone(week.time_zone)
    offset_s = _find_offset(zone, time_s)
    if _find_offset(zone, change_s) == offset_s:
        return change_s
    before_s = time_s  # clocks are changed in between: find the second
    while change_s - before_s > 1:
        middle_s = (before_s + change_s) // 2
        if _find_offset(zone, middle_s) == offset_s:
            before_s = middle_s
        else:
            change_s = middle_s
    return change_s


def _to_local(week: LocalWeek, time_s: int) -> int:
    """Return the local time of the week at a time, in seconds since Monday 00:00."""
    offset_s = _find_offset(_find_zone(week.time_zone), time_s)
    return (time_s + offset_s + _EPOCH_WEEKDAY_S) % _WEEK_S


def _find_offset(zone: tzinfo, time_s: int) -> int:
    """Return how far local time is ahead of UTC at a time, in seconds."""
    offset = datetime.fromtimestamp(time_s, zone).utcoffset()
    return 0 if offset is None else offset.days * _DAY_S + offset.seconds


@lru_cache(maxsize=64)
def _find_zone(name: str) -> tzinfo:
    return TimeZone(name).tzinfo
