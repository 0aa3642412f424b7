"""``mute_time_intervals``: when nobody is notified, in local times of the week.

`relay.incidents.mute` decides whether such a time has come.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from relay.config.errors import invalid
from relay.config.known_names import check_known, get_known_names
from relay.config.section import Schema, Section
from relay.config.types import NAME, Name, TimeZoneName, as_list, text_like

MAX_INTERVALS = 100
"""The most named intervals, and the most names in a ``mute``."""
MAX_WINDOWS = 50
"""The most entries of an interval, and the most times of one of them."""

MINUTES_PER_DAY = 24 * 60
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
EVERY_DAY: Final = tuple(range(len(WEEKDAYS)))
_SHORT_WEEKDAYS: Final = tuple(name[:3] for name in WEEKDAYS)
_TIMES = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*[-–]\s*([0-9]{1,2}):([0-9]{2})")

TIMES: Final[Schema] = text_like(
    r"([01]?[0-9]|2[0-3]):[0-5][0-9] *[-–] *(([01]?[0-9]|2[0-3]):[0-5][0-9]|24:00)", "22:00-07:00"
)
_DAY_PATTERN = re.sub(
    "[a-z]",
    lambda letter: f"[{letter[0].upper()}{letter[0]}]",  # JSON Schema has no flag for any case
    "|".join(f"{full[:3]}({full[3:]})?" for full in WEEKDAYS),
)
DAYS: Final[Schema] = text_like(rf"({_DAY_PATTERN})( *[-–] *({_DAY_PATTERN}))?", "mon-fri")


class TimeRange(msgspec.Struct, frozen=True):
    """From one minute of the day until before another; over midnight if that is not later."""

    begin: int
    end: int


WHOLE_DAY = TimeRange(0, MINUTES_PER_DAY)


def parse_times(value: object) -> TimeRange:
    """Parse a range of times, such as ``22:00-07:00``."""
    if isinstance(value, TimeRange):
        return value
    found = _TIMES.fullmatch(str(value).strip()) if isinstance(value, str | int) else None
    if not found:
        raise ValueError("is no range of times: write 22:00-07:00")
    begin_hour, begin_minute, end_hour, end_minute = map(int, found.groups())
    begin, end = begin_hour * 60 + begin_minute, end_hour * 60 + end_minute
    if max(begin_minute, end_minute) > 59 or begin >= MINUTES_PER_DAY or end > MINUTES_PER_DAY:
        raise ValueError("is no range of times of a day: they go from 00:00 to 24:00")
    if begin == end:
        raise ValueError("never comes: it ends when it begins. The whole day is 00:00-24:00")
    return TimeRange(begin, end)


def parse_days(value: object) -> tuple[int, ...]:
    """Parse a weekday or a range of them, ``sat`` or ``mon-fri``, into numbers; 0 for Monday."""
    if isinstance(value, tuple):
        return value
    first, dash, last = str(value).strip().casefold().replace("–", "-").partition("-")
    begin = _parse_day(first)
    end = _parse_day(last) if dash else begin
    length = (end - begin) % len(WEEKDAYS) + 1
    return tuple(sorted((begin + at) % len(WEEKDAYS) for at in range(length)))


def _parse_day(text: str) -> int:
    name = text.strip()
    for names in (_SHORT_WEEKDAYS, WEEKDAYS):
        if name in names:
            return names.index(name)
    raise ValueError(
        "is no weekday: write mon, tue, wed, thu, fri, sat or sun, or a range such as mon-fri"
    )


Times = Annotated[TimeRange, PlainValidator(parse_times)]
Days = Annotated[tuple[int, ...], PlainValidator(parse_days)]


def _one_or_list(one: Schema, least: int, most: int) -> WithJsonSchema:
    many = {"type": "array", "items": one, "minItems": least, "maxItems": most}
    return WithJsonSchema({"anyOf": [one, many]})


def _check_count(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise invalid("is empty, so the interval never comes: write a value, or remove it")
    if len(values) > MAX_WINDOWS:
        raise invalid(f"has more than {MAX_WINDOWS} entries")
    return values


TimesList = Annotated[
    tuple[Times, ...],
    AfterValidator(_check_count),
    BeforeValidator(as_list),
    _one_or_list(TIMES, 1, MAX_WINDOWS),
]
DaysList = Annotated[
    tuple[Days, ...],
    AfterValidator(_check_count),
    BeforeValidator(as_list),
    _one_or_list(DAYS, 1, MAX_WINDOWS),
]


class MuteTimes(Section):
    """Times of the week. All that stands here has to be true; of a list, one entry."""

    schema_rules = ({"anyOf": [{"required": ["times"]}, {"required": ["weekdays"]}]},)

    times: TimesList | None = None
    """Times of the day, such as ``22:00-07:00``, or a list of such; the second time is no longer
    a part of it. Over midnight it belongs to the day on which it begins. Default: the whole day."""
    weekdays: DaysList | None = Field(default=None, validate_default=True)
    """Days of the week, such as ``sat`` or ``mon-fri``, or a list of such. Default: every day."""
    time_zone: TimeZoneName | None = None
    """The zone of the times. Default: ``time_zone`` of the configuration."""

    @field_validator("weekdays")
    @classmethod
    def _check_says_when(cls, value: DaysList | None, info: ValidationInfo) -> DaysList | None:
        if value is None and info.data.get("times", ()) is None:
            raise invalid("needs 'times' or 'weekdays'")
        return value

    def list_windows(self) -> list[tuple[int, int, int]]:
        """Return the windows, each as a weekday (0 for Monday) and the minutes of begin and end."""
        days = sorted({day for days in self.weekdays or (EVERY_DAY,) for day in days})
        return [(day, each.begin, each.end) for day in days for each in self.times or (WHOLE_DAY,)]


def _check_windows(windows: tuple[MuteTimes, ...]) -> tuple[MuteTimes, ...]:
    if not windows:
        raise invalid("is empty, so it never comes: write when, as in [{times: '22:00-07:00'}]")
    if len(windows) > MAX_WINDOWS:
        raise invalid(f"has more than {MAX_WINDOWS} entries")
    return windows


def _check_intervals(intervals: Mapping[str, object]) -> Mapping[str, object]:
    if len(intervals) > MAX_INTERVALS:
        raise invalid(f"has more than {MAX_INTERVALS} intervals")
    return intervals


MuteTimeIntervals = Annotated[
    dict[
        Name,
        Annotated[
            tuple[MuteTimes, ...],
            AfterValidator(_check_windows),
            Field(json_schema_extra={"minItems": 1, "maxItems": MAX_WINDOWS}),
        ],
    ],
    AfterValidator(_check_intervals),
]


def _check_mute(names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
    known = get_known_names(info).mute_time_intervals
    there_are_none = "" if known is None or known else ", and there are none"
    check_known(names, known, f"is not one of the 'mute_time_intervals'{there_are_none}")
    if len(names) > MAX_INTERVALS:
        raise invalid(f"has more than {MAX_INTERVALS} names")
    return names


Mute = Annotated[
    tuple[Name, ...],
    BeforeValidator(as_list),
    AfterValidator(_check_mute),
    _one_or_list(NAME, 0, MAX_INTERVALS),
]
