"""Parsing durations, sizes and rates."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.types import Rate, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("500ms", timedelta(milliseconds=500)),
        ("0s", timedelta()),
        ("10s", timedelta(seconds=10)),
        ("5m", timedelta(minutes=5)),
        ("72h", timedelta(hours=72)),
        ("7d", timedelta(days=7)),
        ("1h30m", timedelta(minutes=90)),
        ("1d2h3m4s5ms", timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=5)),
    ],
)
def test_duration(text: str, wanted: timedelta) -> None:
    """A duration is one or more numbers with units, the largest unit first."""
    assert parse_duration(text) == wanted


@pytest.mark.parametrize(
    "text", ["", "s", "1.5h", "-1s", "10 s", "5S", "30m1h", "5m5m", "1h ", "١s"]
)
def test_invalid_duration(text: str) -> None:
    """Any other text is refused."""
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["10", "0", "1500"])
def test_duration_without_unit(text: str) -> None:
    """The error for a number without a unit says so."""
    with pytest.raises(ValueError, match="has no unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3651d", "9999999d", "9999999d999999999h", "999999999h"])
def test_duration_too_long(text: str) -> None:
    """More than ten years is refused, long before a date could overflow."""
    with pytest.raises(ValueError, match="is too long"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("512B", 512),
        ("512", 512),
        ("10kB", 10_000),
        ("3MB", 3_000_000),
        ("1GB", 10**9),
        ("2KiB", 2048),
        ("64MiB", 67_108_864),
        ("1GiB", 2**30),
    ],
)
def test_size(text: str, wanted: int) -> None:
    """A size is a number of bytes, or has a decimal or a binary unit."""
    assert parse_size(text) == wanted


@pytest.mark.parametrize("text", ["", "MiB", "1.5MiB", "64mib", "64 MiB", "-1B", "10KB"])
def test_invalid_size(text: str) -> None:
    """Any other text is refused, also a unit in the wrong letter case."""
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("5/s", Rate(5, 1.0)), ("20/min", Rate(20, 60.0)), ("100/h", Rate(100, 3600.0))],
)
def test_rate(text: str, wanted: Rate) -> None:
    """A rate is a count for a second, a minute or an hour."""
    assert parse_rate(text) == wanted


@pytest.mark.parametrize("text", ["", "5", "5/m", "/s", "5 / s", "1.5/s", "-1/s", "5/day"])
def test_invalid_rate(text: str) -> None:
    """Any other text is refused; ``m`` could mean minute or month."""
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


def test_rate_of_zero() -> None:
    """A rate of zero is refused."""
    with pytest.raises(ValueError, match="lets nothing through"):
        parse_rate("0/s")


@given(st.text(alphabet="0123456789smhdkKMGiB/.- ") | st.text())
def test_messages_do_not_contain_the_value(text: str) -> None:
    """A message never contains the value, which may be a secret."""
    assert {
        _message(parse_duration, text),
        _message(parse_size, text),
        _message(parse_rate, text),
    } <= _MESSAGES


def _message(read: Callable[[str], object], text: str) -> str:
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""


_MESSAGES = {
    "",
    "has no unit: write a duration as 500ms, 10s, 5m, 72h or 7d",
    "is not a duration: write 500ms, 10s, 5m, 72h or 7d",
    "is too long: at most 3650d",
    "is not a size: write 512B, 10kB, 64MiB or 1GiB",
    "is not a rate: write 5/s, 20/min or 100/h",
    "lets nothing through: write at least 1",
}
