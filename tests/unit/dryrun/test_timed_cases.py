"""Tests of incidents in files: the acceptance table, as `relay test` sees it."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from relay.config.origin import built_in
from relay.core.incident import incident_object
from relay.dryrun.compare import run_suite
from relay.dryrun.expectation import INCIDENT_KEYS
from relay.dryrun.suite import load_suite
from tests.unit.destinations.updates import report
from tests.unit.dryrun.suites import write_suite
from tests.unit.incidents.events import crash_loop, ns

CONFIG = """
engines: {here: {}}
destinations:
  ops: {type: slack, url: "${SLACK}"}
  oncall: {type: pagerduty, routing_key: s3cr3t-key}
  audit: {type: http, url: "http://audit/hook"}
routes:
  - {name: out-of-memory, match: {action: oom}, to: [ops, audit]}
  - {name: died, match: {action: die, cause: [crashed, oom]}, to: [ops, audit]}
  - {name: page, match: {action: die, cause: crashed, name: "page-*"}, to: oncall}
  - {name: started, match: {action: start, name: "hook-*"}, to: ops}
"""


def differences(folder: Path, case: str, config: str = CONFIG) -> list[str]:
    """Run one case."""
    file = write_suite(folder, f"tests:\n  - name: it\n{case}", config)
    (result,) = run_suite(load_suite(file, None, built_in, {}))
    return list(result.differences)


def restart(name: str, at_ms: int, project: str = "") -> Iterable[str]:
    """Yield a crash, and the start 100 ms later."""
    label = f"label: {{com.docker.compose.project: {project}}}, " if project else ""
    yield f"{{action: die, name: {name}, exit_code: 3, {label}at: {at_ms}ms}}"
    yield f"{{action: start, name: {name}, {label}at: {at_ms + 100}ms}}"


def listed(events: Iterable[str]) -> str:
    """The events of a case."""
    return "    events:\n" + "".join(f"      - {event}\n" for event in events)


def test_a1_a_crash_that_is_restarted(tmp_path: Path) -> None:
    """Two messages, of which everything that can be expected is expected."""
    case = (
        listed(restart("web-1", 0))
        + """\
    expect:
      - route: died
        to: ops
        match: {name: web-1, cause: crashed}
        at: 3s
        status: firing
        reason: opened
        count: 1
        incidents: [{subject: web-1, state: up, crash_looping: false, ended_at: null}]
      - route: died
        to: ops
        at: 63100ms
        status: resolved
        reason: resolved
        count: 0
        incidents: [{subject: web-1, status: resolved, resolution: recovered, total: 1}]
"""
    )
    assert differences(tmp_path, case) == []


def test_a2_a_reminder_after_a_day(tmp_path: Path) -> None:
    """A wait lets time pass; nobody is reminded after the last event unless the case waits."""
    expected = """\
    expect:
      - {route: died, at: 3s, reason: opened, incidents: [web-1]}
      - {route: died, at: 24h3s, reason: reminder, count: 0, incidents: 1}
"""
    death = "{action: die, name: web-1, exit_code: 3}"
    assert differences(tmp_path, listed([death, "wait: 25h"]) + expected) == []
    (missing, *why) = differences(tmp_path, listed([death]) + expected)
    assert missing == "expected 2: died"
    assert any("found: died → audit: at 0s, container die 'web-1'" in line for line in why)


def test_a4_a_crash_loop_of_an_hour(tmp_path: Path) -> None:
    """69 deaths make two messages, and 69 events for a program."""
    events = [
        f"{{action: {each.action}, name: web-1, at: {(each.time_ns - ns(-0.05)) // 10**6}ms"
        + (", exit_code: 3}" if each.action == "die" else "}")
        for each in crash_loop(-0.05)
    ]
    case = (
        listed(events)
        + """\
    expect:
      - {route: died, to: ops, at: 3050ms, status: firing, count: 5,
         incidents: [{subject: web-1, crash_looping: true, state: down}]}
      - {route: died, to: ops, status: resolved, count: 64, at: 61m48s750ms,
         incidents: [{resolution: recovered, total: 69}]}
"""
    )
    assert differences(tmp_path, case) == []
    audited = "".join("      - {route: died, to: audit, count: 1}\n" for _ in range(70))
    found = differences(tmp_path, listed(events) + "    expect_some:\n" + audited)
    assert found[0] == "expected 70: died → audit"


def test_a10_a_stack(tmp_path: Path) -> None:
    """What fails together is reported together; the incidents are compared in their order."""
    events = [
        *restart("db", 0, "shop"),
        *restart("api", 1500, "shop"),
        *restart("worker", 5000, "shop"),
    ]
    case = (
        listed(events)
        + """\
    expect:
      - {route: died, at: 3s, status: firing, count: 2, match: {name: api}, incidents: [db, api]}
      - {route: died, at: 63s, status: firing, count: 1, incidents:
          [worker, {subject: db, status: resolved}, {subject: api, status: resolved}]}
      - {route: died, at: 123s, status: resolved, count: 0, incidents: [worker]}
"""
    )
    assert differences(tmp_path, case) == []


def test_a11_an_oom_kill(tmp_path: Path) -> None:
    """Two routes, one incident."""
    case = (
        listed(
            [
                "{action: oom, name: web-1, at: 0s}",
                "{action: die, name: web-1, exit_code: 137, cause: oom, at: 50ms}",
                "{action: start, name: web-1, at: 150ms}",
            ]
        )
        + """\
    expect:
      - {route: out-of-memory, at: 3s, status: firing, count: 2}
      - {route: out-of-memory, at: 63150ms, status: resolved, count: 0}
"""
    )
    assert differences(tmp_path, case) == []


def test_a_pager_is_notified_at_once(tmp_path: Path) -> None:
    """Its incidents are not grouped."""
    case = (
        listed(restart("page-1", 0))
        + """\
    expect_some:
      - {route: page, to: oncall, at: 0s, status: firing}
      - {route: page, to: oncall, at: 60100ms, status: resolved}
"""
    )
    assert differences(tmp_path, case) == []


def test_events_that_belong_to_no_incident(tmp_path: Path) -> None:
    """Are reported together, without incidents."""
    case = (
        listed(["{action: start, name: hook-1}", "{action: start, name: hook-1}"])
        + """\
    expect: [{route: started, to: ops, reason: events, at: 3s, count: 2, incidents: []}]
"""
    )
    assert differences(tmp_path, case) == []


def test_what_differs(tmp_path: Path) -> None:
    """Each difference is named, and so is each message that was not expected."""
    case = (
        listed(restart("web-1", 0))
        + """\
    expect:
      - {route: died, to: ops, at: 4s, status: resolved, reason: worse, count: 2, incidents: [db]}
"""
    )
    assert differences(tmp_path, case) == [
        "expected 1: died → ops",
        "  found: died → ops: at 1m3s100ms, resolved, resolved, count 0: 'web-1'",
        "  reason: wanted worse, found resolved",
        "  count: wanted 2, found 0",
        "  at: wanted 4s, found 1m3s100ms",
        "  incidents[0].subject: wanted 'db', found 'web-1'",
        "not expected: died → ops: at 3s, firing, opened, count 1: 'web-1'",
    ]


@pytest.mark.parametrize(
    ("incidents", "difference"),
    [
        ("2", "  incidents: wanted 2, found 1 ('web-1')"),
        ("[]", "  incidents: wanted 0, found 1 ('web-1')"),
        ("[{state: up}]", "  incidents[0].state: wanted 'up', found 'down'"),
        ("[{total: 3}]", "  incidents[0].total: wanted 3, found 1"),
    ],
)
def test_other_incidents(tmp_path: Path, incidents: str, difference: str) -> None:
    """A number is that of all incidents; a list names each."""
    case = listed(["{action: die, name: web-1, exit_code: 3}"]) + (
        f"    expect: [{{route: died, to: ops, incidents: {incidents}}}]\n"
    )
    assert difference in differences(tmp_path, case)


def test_an_event_by_itself_has_no_reason(tmp_path: Path) -> None:
    """The difference says that a destination of events gets no message about incidents."""
    case = (
        listed(["{action: die, name: web-1, exit_code: 3}"])
        + """\
    expect_some: [{route: died, to: audit, reason: opened}]
"""
    )
    assert differences(tmp_path, case)[1:] == [
        "  found: died → audit: at 0s, container die 'web-1' (exit_code 3, cause crashed)",
        "  reason: wanted opened, found nothing: it is an event by itself",
    ]


def test_many_incidents_in_one_message(tmp_path: Path) -> None:
    """Not all of them are named in a difference."""
    events = [f"{{action: die, name: web-{n}, exit_code: 3, at: {n}ms}}" for n in range(8)]
    case = listed(events) + "    expect: [{route: died, to: audit, count: 7}]\n"
    assert differences(tmp_path, case)[-1] == (
        "not expected: died → ops: at 3s, firing, opened, count 8: "
        "'web-0', 'web-1', 'web-2', 'web-3', 'web-4' and 3 more"
    )


def test_a_wait_between_events(tmp_path: Path) -> None:
    """The next event happens at its end."""
    events = ["{action: die, name: web-1, exit_code: 3}", "wait: 10m", "wait: 5s"]
    case = (
        listed([*events, "{action: start, name: web-1}"])
        + """\
    expect:
      - {route: died, at: 3s}
      - {route: died, at: 11m8s, status: resolved}
"""
    )
    assert differences(tmp_path, case) == []


def test_an_engine_that_is_lost(tmp_path: Path) -> None:
    """While it is out of reach nothing is confirmed, as the daemon does it (A24)."""
    case = (
        listed(
            [
                *restart("web-1", 0),
                "{type: relay, action: engine_lost, at: 20s}",
                "{type: relay, action: engine_back, at: 400s}",
            ]
        )
        + """\
    engine: here
    expect:
      - {route: died, at: 3s}
      - {route: died, at: 403s, status: resolved}
"""
    )
    assert differences(tmp_path, case) == []


def test_without_these_keys_each_event_counts_as_the_first(tmp_path: Path) -> None:
    """So a case need not know which events are reported together, and older files stay valid."""
    case = (
        listed([*restart("web-1", 0), *restart("web-1", 500)])
        + """\
    expect:
      - {route: died, to: [ops, audit], body: {ops: web-1}}
      - {route: died, to: [ops, audit], body: {ops: web-1, audit: {count: 1}}}
"""
    )
    assert differences(tmp_path, case) == []


def test_the_keys_of_an_incident() -> None:
    """Those that can be expected are those of the JSON."""
    assert tuple(incident_object(report())) == INCIDENT_KEYS
