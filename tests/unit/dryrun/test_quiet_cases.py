"""Tests of what is held back, in files: part B of the acceptance table, as `relay test` sees it."""

from pathlib import Path

import pytest

from tests.unit.dryrun.test_timed_cases import differences, listed, restart

CONFIG = """
time_zone: Europe/Berlin
engines: {here: {}}
mute_time_intervals:
  hour: [{times: "12:00-13:00"}]
  spring: [{times: "02:00-03:00"}]
destinations:
  ops: {type: slack, url: "https://hooks.slack.com/services/T0/B0/c", group_by: []}
  muted: {type: slack, url: "https://hooks.slack.com/services/T0/B0/m", mute: hour, group_by: []}
  night: {type: slack, url: "https://hooks.slack.com/services/T0/B0/n", mute: spring}
  oncall: {type: pagerduty, routing_key: s3cr3t-key, mute: hour}
  later: {type: slack, url: "https://hooks.slack.com/services/T0/B0/l", for: 2m, group_by: []}
  audit: {type: http, url: "http://audit/hook"}
routes:
  - {name: died, match: {action: die, cause: [crashed, oom], name: "ops-*"}, to: [ops, audit]}
  - {name: muted, match: {action: die, cause: crashed, name: "muted-*"}, to: [muted, audit]}
  - {name: paged, match: {action: die, cause: crashed, name: "paged-*"}, to: oncall}
  - {name: lasts, match: {action: die, cause: crashed, name: "late-*"}, to: later}
  - {name: night, match: {action: die, cause: crashed, name: "night-*"}, to: night}
  - {name: started, match: {action: start, name: "plain-*"}, to: [muted, ops]}
"""
NOON = "    wall: '2026-11-24 12:00'\n"
"""When the interval ``hour`` begins."""
SILENCE = "    silence: {match: {name: 'ops-*'}}\n"


def check(folder: Path, events: list[str], rest: str) -> list[str]:
    return differences(folder, listed(events) + rest, CONFIG)


def crash(name: str, at: str) -> str:
    return f"{{action: die, name: {name}, exit_code: 3, at: {at}}}"


def start(name: str, at: str) -> str:
    return f"{{action: start, name: {name}, at: {at}}}"


def test_b1_what_stays_down_is_reported_when_its_silence_ends(tmp_path: Path) -> None:
    expected = """\
    expect: [{route: died, to: ops, at: 1h, status: firing, reason: opened, count: 1}]
    held: {}
"""
    assert check(tmp_path, [crash("ops-1", "10s")], SILENCE + expected) == []


def test_b2_what_came_and_went_under_a_silence_is_never_reported(tmp_path: Path) -> None:
    expected = "    expect: []\n    held: {silenced: 1}\n"
    events = [crash("ops-1", "10s"), start("ops-1", "10100ms")]
    assert check(tmp_path, events, SILENCE + expected) == []


def test_b3_what_was_reported_is_resolved_through_a_silence(tmp_path: Path) -> None:
    rest = """\
    silence: {match: {name: ops-1}, from: 60s}
    expect:
      - {route: died, to: ops, at: 13s, status: firing}
      - {route: died, to: ops, at: 1063s, status: resolved}
    held: {}
"""
    assert check(tmp_path, [crash("ops-1", "10s"), start("ops-1", "1000s")], rest) == []


def test_b5_at_the_end_of_a_mute_one_message_says_what_came_and_went(tmp_path: Path) -> None:
    events = [crash("muted-web", "10s"), crash("muted-api", "20s"), start("muted-api", "21s")]
    rest = """\
    expect:
      - {route: muted, to: muted, at: 1h, status: firing, count: 2,
         incidents: [{subject: muted-web, status: firing}, {subject: muted-api, status: resolved}]}
    held: {}
"""
    assert check(tmp_path, events, NOON + rest) == []


def test_b6_the_end_of_what_was_reported_waits_for_people_but_not_for_a_pager(
    tmp_path: Path,
) -> None:
    events = [
        *(crash("muted-1", "10s"), crash("paged-1", "10s")),
        *(start("muted-1", "1000s"), start("paged-1", "1000s")),
    ]
    rest = """\
    wall: "2026-11-24 11:59"
    expect:
      - {route: paged, to: oncall, at: 10s, status: firing}
      - {route: muted, to: muted, at: 13s, status: firing}
      - {route: paged, to: oncall, at: 1060s, status: resolved}
      - {route: muted, to: muted, at: 3660s, status: resolved}
    held: {}
"""
    assert check(tmp_path, events, rest) == []


def test_what_came_and_went_while_a_pager_was_muted_is_counted(tmp_path: Path) -> None:
    events = [crash("paged-1", "10s"), start("paged-1", "11s")]
    assert check(tmp_path, events, NOON + "    expect: []\n    held: {muted: 1}\n") == []


def test_b7_what_lasts_long_enough_is_reported(tmp_path: Path) -> None:
    events = [*restart("late-1", 0), crash("late-2", "1000s"), crash("late-2", "1030s")]
    rest = """\
    expect: [{route: lasts, to: later, at: 1120s, status: firing, count: 2, incidents: [late-2]}]
    held: {for: 1}
"""
    assert check(tmp_path, events, rest) == []


@pytest.mark.parametrize(
    ("day", "crashed", "expected"),
    [
        ("2026-03-29", "2h", "2h3s"),  # at 02:00 it is 03:00
        ("2026-10-25", "2h30m", "4h"),  # 02:30 comes twice
        ("2026-10-26", "2h30m", "3h"),
    ],
)
def test_b10_a_skipped_hour_is_never_in_force_and_a_repeated_one_for_two(
    tmp_path: Path, day: str, crashed: str, expected: str
) -> None:
    rest = f"    wall: '{day} 00:00'\n    expect: [{{route: night, to: night, at: {expected}}}]\n"
    assert check(tmp_path, [crash("night-1", crashed)], rest) == []


def test_plain_events_wait_for_the_end_of_a_mute(tmp_path: Path) -> None:
    rest = """\
    expect:
      - {route: started, to: ops, at: 13s, reason: events, count: 1}
      - {route: started, to: muted, at: 1h, reason: events, count: 1}
"""
    assert check(tmp_path, [start("plain-1", "10s")], NOON + rest) == []


def test_a_label_opts_out(tmp_path: Path) -> None:
    """A program gets everything."""
    event = "{action: die, name: ops-1, exit_code: 3, label: {relay.enable: 'false'}}"
    rest = "    expect: [{route: died, to: audit}]\n    held: {opted_out: 1}\n"
    assert check(tmp_path, [event], rest) == []


def test_what_is_held_back_otherwise(tmp_path: Path) -> None:
    """Each reason whose number differs has a line."""
    rest = "    expect: []\n    held: {silenced: 2, muted: 1}\n"
    events = [crash("ops-1", "10s"), start("ops-1", "10100ms")]
    assert check(tmp_path, events, SILENCE + rest) == [
        "held.muted: wanted 1; found 0",
        "held.silenced: wanted 2; found 1",
    ]
