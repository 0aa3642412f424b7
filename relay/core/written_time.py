"""A time as somebody writes it: ``2026-11-23 08:29``, ``2026-11-23T07:29:49Z``, ``14:00``.

Everything that relay writes for people is read as well, so that a time can be copied from a
message to the command line.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

import msgspec

from relay.core.zone import TimeZone

FORMS = "2026-11-23 08:29, 2026-11-23T07:29:49Z or 14:00"
"""The forms of a time, for messages."""

_FORM = re.compile(
    r"(?:(?P<day>\d{4}-\d\d-\d\d)(?:[Tt ](?=\d)|\Z))?"
    r"(?P<clock>\d\d:\d\d(?::\d\d(?:\.(?P<fraction>\d{1,9}))?)?)?"
    r"(?: ?(?P<zone>[Zz]|(?:UTC)?[+-]\d\d(?::?\d\d)?|[A-Z]{2,6}))?",
    re.ASCII,
)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS = range(1970, 2262)
"""About what 64 bits of nanoseconds can represent."""
_DAYS_AROUND = range(-3, 4)
"""The days among which the nearest is looked for at which clocks show some time: clocks skip an
hour on one day, and in Samoa they once skipped a day."""


class WrittenTime(msgspec.Struct, frozen=True):
    """A day, a time of day, or both; without an offset a zone has to say when that is."""

    text: str
    """What was written."""
    day: date | None
    clock: time
    nanos: int = 0
    """The nanoseconds after ``clock``, which is to the second."""
    offset: timezone | None = None
    abbreviation: str | None = None
    """The abbreviation of a zone, as in ``CEST``."""

    def to_ns(self, zone: TimeZone, now_ns: int, *, ahead: bool) -> int:
        """Return the nanoseconds since 1970.

        Without an offset it is a time in ``zone``; if its clocks show it twice that day, the first.
        Without a day it is the moment nearest to ``now_ns`` at which the clocks show it: the next
        one if ``ahead``, else the last one. Raises `ValueError` if there is none; the message
        follows the text that was written.
        """
        tz = self.offset or zone.tzinfo
        if self.day is not None:
            found = list(self._find_moments(self.day, tz))
            if not found:
                raise ValueError(self._describe_absence(self.day, tz, zone))
            return found[0]
        today = datetime.fromtimestamp(now_ns // 10**9, tz).date()
        days = (today + timedelta(days=number) for number in _DAYS_AROUND)
        found = [moment for day in days for moment in self._find_moments(day, tz)]
        near = [it for it in found if (it > now_ns if ahead else it <= now_ns)]
        if not near:
            raise ValueError(self._describe_absence(today, tz, zone))
        return min(near) if ahead else max(near)

    def _find_moments(self, day: date, tz: tzinfo) -> Iterator[int]:
        """Yield when clocks show this time on a day: mostly once, sometimes never or twice."""
        written = datetime.combine(day, self.clock)
        last = None
        for fold in (0, 1):
            moment = written.replace(tzinfo=tz, fold=fold).astimezone(UTC)
            local = moment.astimezone(tz)
            is_shown = local.replace(tzinfo=None, fold=0) == written and moment != last
            if is_shown and self.abbreviation in (None, local.tzname()):
                last = moment
                yield (moment - _EARLIEST) // timedelta(seconds=1) * 10**9 + self.nanos

    def _describe_absence(self, day: date, tz: tzinfo, zone: TimeZone) -> str:
        """Return why there is no such time on a day."""
        written = datetime.combine(day, self.clock, tz)
        shown = written.astimezone(UTC).astimezone(tz)
        if shown.replace(tzinfo=None, fold=0) != written.replace(tzinfo=None):
            return f"is skipped by the clocks of {zone.name}: they then show {shown:%H:%M}"
        return f"is in {self.abbreviation}; in {zone.name} it is then {shown.tzname()}"


def parse_written_time(text: str) -> WrittenTime:
    """Read a time as somebody writes it. Raises `ValueError`; the message follows the text."""
    found = _FORM.fullmatch(text)
    if found is None or not (found["day"] or found["clock"]):
        raise ValueError(f"is not a time: write {FORMS}")
    try:
        day = date.fromisoformat(found["day"]) if found["day"] else None
        clock = time.fromisoformat((found["clock"] or "00:00").partition(".")[0])
        offset, abbreviation = _read_zone(found["zone"] or "")
    except ValueError:
        raise ValueError("is not a valid time") from None
    if day is not None and day.year not in _YEARS:
        raise ValueError(f"is not between {_YEARS[0]} and {_YEARS[-1]}")
    nanos = int((found["fraction"] or "").ljust(9, "0"))
    return WrittenTime(text, day, clock, nanos, offset, abbreviation)


def _read_zone(text: str) -> tuple[timezone | None, str | None]:
    """Return the offset, or else the abbreviation of a zone."""
    if text in ("Z", "z", "UTC"):
        return UTC, None
    digits = text.removeprefix("UTC").replace(":", "")
    if digits[:1] not in ("+", "-"):
        return None, text or None
    hours, minutes = int(digits[1:3]), int(digits[3:] or 0)
    if minutes > 59:
        raise ValueError
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if digits[0] == "-" else offset), None
