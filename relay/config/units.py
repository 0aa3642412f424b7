"""Durations, sizes and rates as people write them.

Every function raises `ValueError` with words that go on after the value and do not hold it.
"""

import re
from dataclasses import dataclass
from datetime import timedelta

# so few digits that no sum of them overflows a timedelta
_DURATION = re.compile(
    r"(?:([0-9]{1,7})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_MAX_DURATION = timedelta(days=3650)
"""Ten years: far from where adding it to a date overflows."""
_SIZE = re.compile(r"([0-9]{1,12})(B|[kMG]B|[KMG]iB|)")
_BYTES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_RATE = re.compile(r"([0-9]{1,9})/(s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """At most so many in so long."""

    count: int
    per_s: float
    """The stretch of time, in seconds."""


def parse_duration(text: str) -> timedelta:
    """The time that ``500ms``, ``10s``, ``5m``, ``72h``, ``7d`` or ``1h30m`` stands for."""
    if text.isdecimal():
        raise ValueError("has no unit: write a duration as 500ms, 10s, 5m, 72h or 7d")
    found = _DURATION.fullmatch(text)
    if not text or not found:
        raise ValueError("is not a duration: write 500ms, 10s, 5m, 72h or 7d")
    days, hours, minutes, seconds, millis = (int(part or 0) for part in found.groups())
    length = timedelta(
        days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=millis
    )
    if length > _MAX_DURATION:
        raise ValueError("is too long: at most 3650d")
    return length


def parse_size(text: str) -> int:
    """The bytes that ``512``, ``512B``, ``10kB``, ``64MiB`` or ``1GiB`` stands for."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("is not a size: write 512B, 10kB, 64MiB or 1GiB")
    return int(found[1]) * _BYTES[found[2]]


def parse_rate(text: str) -> Rate:
    """The rate that ``5/s``, ``20/min`` or ``100/h`` stands for."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError("is not a rate: write 5/s, 20/min or 100/h")
    if not int(found[1]):
        raise ValueError("lets nothing through: write at least 1")
    return Rate(count=int(found[1]), per_s=_SECONDS[found[2]])
