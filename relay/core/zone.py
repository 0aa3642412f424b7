"""The time zone in which people read and write times: ``time_zone`` of the configuration.

Only what people read is in it. What programs read stays in UTC: payloads, the API, logs, metrics.
The database of time zones is read when a zone other than UTC is looked up.
"""

import re
import zoneinfo
from collections.abc import Collection
from datetime import UTC, datetime, tzinfo
from functools import lru_cache

UTC_NAME = "UTC"
"""The name of the zone of a configuration without ``time_zone``. It needs no database."""

_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_MAX_NAME_CHARS = 60
_NOT_ZONES = re.compile(r"(posix|right)/.*|localtime|posixrules|Factory")
"""Files of the database that are no zones of their own (zoneinfo's `available_timezones` omits the
first two folders and the third; tz's theory.html, "Timezone identifiers")."""
_UNKNOWN = "is not a time zone: write its name in the IANA database, as in Europe/Berlin"
_NO_DATABASE = (
    "cannot be looked up: this system has no database of time zones. Install its package tzdata, "
    "or Python's (pip install tzdata)"
)
_NUMERIC = re.compile(r"[+-]\d+")
_SECOND_NS = 10**9


class UnknownZone(ValueError):
    """There is no time zone of this name. The message follows the name: ``is not a time zone …``.

    `known` has the names that there are; it is empty if the system has no database of time zones.
    """

    def __init__(self, message: str, known: Collection[str]) -> None:
        super().__init__(message)
        self.known = known


class TimeZone:
    """A time zone, in which times are written for people. Times are nanoseconds since 1970."""

    def __init__(self, name: str = UTC_NAME) -> None:
        """Look up a zone by its IANA name. Raises `UnknownZone`."""
        self.name = name
        self.tzinfo: tzinfo = UTC if name == UTC_NAME else _load(name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimeZone) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"TimeZone({self.name!r})"

    def to_local(self, time_ns: int) -> datetime:
        """Return a time as the clocks of the zone show it, to the second."""
        return _to_local(self.tzinfo, time_ns // _SECOND_NS)

    def format_second(self, time_ns: int) -> str:
        """Return a time to the second, as in ``2026-11-23 07:29:49 CET``."""
        local = self.to_local(time_ns)
        return f"{local:%Y-%m-%d %H:%M:%S} {_abbreviate(local)}"

    def format_minute(self, time_ns: int, now_ns: int) -> str:
        """Return a time to the minute, as in ``07:29 CET``.

        The day is before it if it is not that of ``now_ns``: ``2026-11-22 07:29 CET``.
        """
        local = self.to_local(time_ns)
        is_today = local.date() == self.to_local(now_ns).date()
        return f"{local:{'%H:%M' if is_today else '%Y-%m-%d %H:%M'}} {_abbreviate(local)}"

    def format_rfc3339(self, time_ns: int) -> str:
        """Return a time to the second by RFC 3339, as in ``2026-11-23T07:29:49+01:00``.

        In UTC it ends with ``Z``.
        """
        return self.to_local(time_ns).isoformat().replace("+00:00", "Z")


UTC_ZONE = TimeZone()


def _load(name: str) -> tzinfo:
    if len(name) <= _MAX_NAME_CHARS and _NAME.fullmatch(name) and not _NOT_ZONES.fullmatch(name):
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass  # not there, no file of a zone, a folder
    known = {each for each in zoneinfo.available_timezones() if not _NOT_ZONES.fullmatch(each)}
    if not known:
        raise UnknownZone(_NO_DATABASE, known)
    raise UnknownZone(_UNKNOWN, known)


@lru_cache(maxsize=64)  # the times of one message are often the same
def _to_local(zone: tzinfo, seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, zone)


def _abbreviate(local: datetime) -> str:
    """Return the zone's abbreviation: ``CET``, or ``UTC+05:30`` if it has only an offset."""
    name = local.tzname() or ""
    if not _NUMERIC.fullmatch(name):
        return name
    hours, minutes = name[:3], name[3:]
    return f"UTC{hours}:{minutes}" if minutes else f"UTC{hours}"
