"""``mute_time_intervals``: how times and weekdays are written, and what is wrong with others."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config import Config
from relay.config.mute_times import TimeRange, parse_days, parse_times
from relay.config.section import list_keys
from relay.core.errors import ConfigError
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from tests.support.schema import VALIDATOR

REST = "destinations: {a: {type: console}}\nroutes: [{name: r, to: a}]\n"


def parse(intervals: str, rest: str = REST) -> Config:
    text = f"mute_time_intervals: {intervals}\n{rest}"
    return parse_config(text, file="f", environ={}, folder=Path())


def problems(intervals: str, rest: str = REST) -> list[str]:
    """What is wrong, as ``path: message``, without its position."""
    with pytest.raises(ConfigError) as caught:
        parse(intervals, rest)
    return [f"{problem.path}: {problem.message}" for problem in caught.value.problems]


def interval_problems(entries: str) -> list[str]:
    """What is wrong with an interval, without the way to it."""
    return [each.removeprefix("mute_time_intervals.m") for each in problems(f"{{m: {entries}}}")]


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("22:00-07:00", 22 * 60, 7 * 60),
        ("7:05 - 8:00", 7 * 60 + 5, 8 * 60),
        ("7:00–8:00", 7 * 60, 8 * 60),
        ("18:00-24:00", 18 * 60, 24 * 60),
        ("22:00-00:00", 22 * 60, 0),
    ],
)
def test_times(text: str, begin: int, end: int) -> None:
    assert parse_times(text) == TimeRange(begin, end)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("sat", (5,)),
        ("Sunday", (6,)),
        ("mon-fri", (0, 1, 2, 3, 4)),
        ("fri - mon", (0, 4, 5, 6)),
        ("mon-sun", tuple(range(7))),
        ("wed-wed", (2,)),
    ],
)
def test_weekdays(text: str, days: tuple[int, ...]) -> None:
    assert parse_days(text) == days


@pytest.mark.parametrize(
    "intervals",
    [
        "{n: [{times: '22:00-07:00'}]}",
        "{n: [{times: ['22:00-07:00', '12:00-13:00'], weekdays: mon-fri}], m: [{weekdays: [sat]}]}",
        "{n: [{times: '22:00-24:00', time_zone: Europe/Berlin}, {weekdays: [Sat, sunday]}]}",
        "{n: [{times: '22:00 – 7:00', weekdays: [FRI – Mon, WEDNESDAY]}]}",
        "{}",
    ],
)
def test_an_editor_takes_what_relay_takes(intervals: str) -> None:
    data = {
        "mute_time_intervals": yaml_of(intervals),
        "destinations": {"a": {"type": "console"}},
        "routes": [{"name": "r", "to": "a"}],
    }
    VALIDATOR.validate(data)
    parse(intervals)


def yaml_of(text: str) -> object:
    import yaml  # noqa: PLC0415

    return yaml.safe_load(text)


@pytest.mark.parametrize(
    "entries",
    [
        "[]",
        "[{}]",
        "[{times: '25:00-26:00'}]",
        "[{weekdays: someday}]",
        "[{times: []}]",
        "22:00-7:00",
    ],
)
def test_an_editor_refuses_what_relay_refuses(entries: str) -> None:
    data = {
        "mute_time_intervals": {"m": yaml_of(entries)},
        "destinations": {"a": {"type": "console"}},
        "routes": [{"name": "r", "to": "a"}],
    }
    assert not VALIDATOR.is_valid(data)
    assert interval_problems(entries)


NO_TIMES = "is no range of times: write 22:00-07:00"
OUT_OF_DAY = "is no range of times of a day: they go from 00:00 to 24:00"
NO_DAY = "is no weekday: write mon, tue, wed, thu, fri, sat or sun, or a range such as mon-fri"
EMPTY = "is empty, so the interval never comes: write a value, or remove it"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("[]", [": is empty, so it never comes: write when, as in [{times: '22:00-07:00'}]"]),
        ("[{}]", ["[0]: needs 'times' or 'weekdays'"]),
        ("[{time_zone: UTC}]", ["[0]: needs 'times' or 'weekdays'"]),
        (
            "[{times: '02:00-2:00'}]",
            [
                "[0].times: '02:00-2:00' never comes: it ends when it begins. "
                "The whole day is 00:00-24:00"
            ],
        ),
        ("[{times: []}]", [f"[0].times: {EMPTY}"]),
        ("[{weekdays: []}]", [f"[0].weekdays: {EMPTY}"]),
        ("[{times: 22:00}]", [f"[0].times: '22:00' {NO_TIMES}"]),
        ("[{times: 7}]", [f"[0].times: '7' {NO_TIMES}"]),
        ("[{times: {from: 7}}]", ["[0].times: must be a list, with '- ' before each item"]),
        ("[{times: [[1]]}]", [f"[0].times[0]: the value {NO_TIMES}"]),
        ("[{times: ['24:00-07:00']}]", [f"[0].times[0]: '24:00-07:00' {OUT_OF_DAY}"]),
        ("[{times: '10:00-24:01'}]", [f"[0].times: '10:00-24:01' {OUT_OF_DAY}"]),
        ("[{times: '10:60-11:00'}]", [f"[0].times: '10:60-11:00' {OUT_OF_DAY}"]),
        ("[{weekdays: [sat, son]}]", [f"[0].weekdays[1]: 'son' {NO_DAY}"]),
        ("[{weekdays: 'mon:fri'}]", [f"[0].weekdays: 'mon:fri' {NO_DAY}"]),
        ("[{weekdays: mon-}]", [f"[0].weekdays: 'mon-' {NO_DAY}"]),
        ("[{weekdays: true}]", [f"[0].weekdays: 'true' {NO_DAY}"]),
        (
            "[{weekdays: sat, time_zone: Berlin}]",
            [
                "[0].time_zone: 'Berlin' is not a time zone: write its name in the IANA database, "
                "as in Europe/Berlin (did you mean 'Europe/Berlin'?)"
            ],
        ),
        (
            "[{weekdays: sat, location: UTC}]",
            ["[0].location: unknown key 'location' (did you mean 'time_zone'?)"],
        ),
        ("[{days: sat}]", ["[0].days: unknown key 'days' (did you mean 'weekdays'?)"]),
        ("22:00-07:00", [": must be a list, with '- ' before each item"]),
        ("{times: 1}", [": must be a list, with '- ' before each item"]),
        ("", [": is empty: write a value, or remove it"]),
    ],
)
def test_what_is_wrong_with_an_interval(entries: str, expected: list[str]) -> None:
    found = interval_problems(entries)
    assert [each for each in found if "needs 'times'" not in each or len(found) == 1] == expected


def test_too_many() -> None:
    entry = "{times: '01:00-02:00'}"
    assert interval_problems(f"[{', '.join([entry] * 51)}]") == [": has more than 50 entries"]
    times = ", ".join(["'01:00-02:00'"] * 51)
    assert interval_problems(f"[{{times: [{times}]}}]") == ["[0].times: has more than 50 entries"]
    many = ", ".join(f"m{at}: [{entry}]" for at in range(101))
    assert problems(f"{{{many}}}") == ["mute_time_intervals: has more than 100 intervals"]


def test_a_name_that_is_not_there() -> None:
    """It is probably a typo, or the intervals are missing altogether."""
    rest = "destinations: {a: {type: ntfy, topic: t, mute: %s}}\n"
    rest += "routes: [{name: r, to: a, mute: %s}]\n"
    interval = "{nights: [{weekdays: sat}], '7': [{weekdays: sun}]}"
    parse(interval, rest % ("nights", "[]"))
    parse(interval, rest % ("[nights, 7]", "7"))
    assert problems(interval, rest % ("nigths", "[nights, x]")) == [
        "destinations.a.mute: 'nigths' is not one of the 'mute_time_intervals' "
        "(did you mean 'nights'?)",
        "routes[0].mute[1]: 'x' is not one of the 'mute_time_intervals'",
    ]
    assert problems("{}", rest % ("nights", "[]")) == [
        "destinations.a.mute: 'nights' is not one of the 'mute_time_intervals', and there are none"
    ]
    with pytest.raises(ConfigError, match="'mute_time_intervals', and there are none"):
        parse_config(rest % ("nights", "[]"), file="f", environ={}, folder=Path())


def test_a_mistyped_section_is_one_mistake() -> None:
    text = "mute_time_interval: {nights: [{weekdays: sat}]}\n" + REST.replace(
        "to: a", "to: a, mute: nights"
    )
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="f", environ={}, folder=Path())
    assert [each.message for each in caught.value.problems] == [
        "unknown key 'mute_time_interval' (did you mean 'mute_time_intervals'?)"
    ]


def test_keys_that_are_words_of_python_are_listed_as_they_are_written() -> None:
    """``for`` cannot be the name of a field."""
    assert "for" in list_keys(DESTINATION_TYPES.models["ntfy"])


@given(st.text(max_size=20))
def test_any_text_is_times_and_weekdays_or_neither(text: str) -> None:
    for parse_one in (parse_times, parse_days):
        try:
            parse_one(text)
        except ValueError as error:
            assert str(error).startswith(("is no", "never comes"))  # noqa: PT017
