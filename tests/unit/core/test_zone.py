"""Times in a zone of people: how they are written."""

import zoneinfo

import pytest

from relay.core.zone import UTC_ZONE, TimeZone, UnknownZone

BERLIN = TimeZone("Europe/Berlin")
CRASH_NS = 1_795_418_989_176_554_321
"""2026-11-23, 07:29:49 in UTC, which is 08:29:49 CET."""
DAY_NS = 24 * 3600 * 10**9


@pytest.mark.parametrize(
    ("zone", "second", "rfc3339"),
    [
        ("UTC", "2026-11-23 07:29:49 UTC", "2026-11-23T07:29:49Z"),
        ("Europe/Berlin", "2026-11-23 08:29:49 CET", "2026-11-23T08:29:49+01:00"),
        ("Asia/Kathmandu", "2026-11-23 13:14:49 UTC+05:45", "2026-11-23T13:14:49+05:45"),
        ("America/Sao_Paulo", "2026-11-23 04:29:49 UTC-03", "2026-11-23T04:29:49-03:00"),
        ("Pacific/Kiritimati", "2026-11-23 21:29:49 UTC+14", "2026-11-23T21:29:49+14:00"),
    ],
)
def test_a_time_is_written_with_its_zone(zone: str, second: str, rfc3339: str) -> None:
    """People see the abbreviation that they know; where there is none, the offset from UTC."""
    assert TimeZone(zone).format_second(CRASH_NS) == second
    assert TimeZone(zone).format_rfc3339(CRASH_NS) == rfc3339


def test_the_day_is_that_of_the_zone() -> None:
    """23:30 in UTC is half past midnight of the next day in Berlin."""
    late_ns = CRASH_NS + 16 * 3600 * 10**9
    assert UTC_ZONE.format_minute(late_ns, CRASH_NS) == "23:29 UTC"
    assert BERLIN.format_minute(late_ns, CRASH_NS) == "2026-11-24 00:29 CET"
    assert BERLIN.format_minute(late_ns, late_ns + DAY_NS // 2) == "00:29 CET"


def test_summer_time_has_its_own_abbreviation() -> None:
    """An hour that the clocks show twice is told apart by it."""
    first_ns = 1_792_888_200_000_000_000  # 2026-10-25, 00:30 in UTC
    shown = [BERLIN.format_second(first_ns + hour * 3600 * 10**9) for hour in range(2)]
    assert shown == ["2026-10-25 02:30:00 CEST", "2026-10-25 02:30:00 CET"]


@pytest.mark.parametrize(
    "name",
    [
        *("CET+1", "europe/berlin", "", "../etc", "/etc/passwd", "Europe", "Europe/Berlin\0"),
        *("Europe/", "localtime", "posixrules", "right/UTC", "posix/Europe/Berlin", "Factory"),
        *("zone.tab", "tzdata.zi", "a" * 5000, "\ud800", "Europe/../Europe/Berlin", "é", "."),
    ],
)
def test_only_names_of_the_database_are_zones(name: str) -> None:
    """What else lies beside the zones is none, and no name leads out of their folder."""
    with pytest.raises(UnknownZone) as caught:
        TimeZone(name)
    assert "Europe/Berlin" in str(caught.value)
    assert {"Europe/Berlin", "UTC"} < set(caught.value.known)


def test_a_system_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install; UTC needs no database."""

    def find_none(_: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError

    monkeypatch.setattr(zoneinfo, "ZoneInfo", find_none)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(UnknownZone, match=r"no database of time zones.*tzdata"):
        TimeZone("Europe/Berlin")
    assert TimeZone().format_minute(CRASH_NS, CRASH_NS) == "07:29 UTC"


def test_zones_are_equal_by_name() -> None:
    """They are part of values that are compared."""
    assert TimeZone("Europe/Berlin") == BERLIN != UTC_ZONE
    assert len({TimeZone("Europe/Berlin"), BERLIN, UTC_ZONE}) == 2
