"""Parses durations, sizes and rates.

Every function raises `ValueError`. Its message continues a sentence that starts with the value, and
does not contain the value.
"""

import re
from datetime import timedelta

import msgspec

# few enough digits that their sum does not overflow a timedelta
_DURATION = re.compile(
    r"(?:([0-9]{1,7})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_MAX_DURATION = timedelta(days=3650)
"""Ten years: far below the point at which adding it to a date overflows."""
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


class Rate(msgspec.Struct, frozen=True):
    """At most ``count`` in ``per_s`` seconds."""

    count: int
    per_s: float
    """The period, in seconds."""


def parse_duration(text: str) -> timedelta:
    """Parse a duration: ``500ms``, ``10s``, ``5m``, ``72h``, ``7d`` or ``1h30m``."""
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
    """Parse a size (``512``, ``512B``, ``10kB``, ``64MiB`` or ``1GiB``) into bytes."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("is not a size: write 512B, 10kB, 64MiB or 1GiB")
    return int(found[1]) * _BYTES[found[2]]


def parse_rate(text: str) -> Rate:
    """Parse a rate: ``5/s``, ``20/min`` or ``100/h``."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError("is not a rate: write 5/s, 20/min or 100/h")
    if not int(found[1]):
        raise ValueError("lets nothing through: write at least 1")
    return Rate(count=int(found[1]), per_s=_SECONDS[found[2]])
