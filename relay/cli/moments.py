"""Times in the past, as people give them to commands."""

import re
from datetime import UTC, datetime, timedelta

import click

from relay.config.units import duration
from relay.rehearsal.hindsight import Time

_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-]\d\d:\d\d))", re.ASCII
)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(2262, 1, 1, tzinfo=UTC)
"""About where 64 bits of nanoseconds end."""


def read_time(_: click.Context, __: click.Parameter, value: str | None) -> Time | None:
    """A duration before now, or a time as RFC 3339 writes it; a callback of click's."""
    if value is None:
        return None
    found = _RFC3339.fullmatch(value)
    try:
        return duration(value) if found is None else _instant(*found.groups())
    except ValueError as error:
        words = str(error) if found is None else "is no time that there is"
        more = "" if found else "; or a time as 2026-11-23T06:48:34Z"
        raise click.BadParameter(f"{value!r} {words}{more}") from error


def _instant(day: str, clock: str, fraction: str | None, zone: str | None) -> int:
    moment = datetime.fromisoformat(f"{day}T{clock}{zone or '+00:00'}")
    if not _FIRST < moment < _LAST:
        raise ValueError
    seconds = (moment - _FIRST) // timedelta(seconds=1)
    return seconds * 10**9 + int((fraction or "").ljust(9, "0"))
