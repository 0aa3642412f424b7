"""What differs from what was expected."""

from pathlib import Path

import pytest

from relay.dryrun.compare import run_suite
from relay.dryrun.suite_parser import load_suite
from tests.streams import ENGINES
from tests.unit.dryrun.suites import CONFIG, parse_suite, write_suite

STREAMS = Path(__file__).parents[2] / "streams"


def differences(folder: Path, case: str) -> list[str]:
    """Of one case."""
    (judgement,) = run_suite(parse_suite(folder, f"tests:\n  - name: it\n{case}"))
    return list(judgement.differences)


def test_what_is_as_expected_differs_in_nothing(tmp_path: Path) -> None:
    """Routes, destinations whatever their order, the event, parts of bodies."""
    case = """\
    events: [{action: die, name: web, exit_code: 1}]
    expect:
      - route: crashed
        to: [audit, ops]
        match: {name: "w*", exit_code: "1-3", host: node-1}
        body: {audit: {route: crashed, events: [{cause: crashed}]}, ops: "web: 7"}
"""
    assert differences(tmp_path, case) == []


def test_a_body_is_one_document_of_a_batch(tmp_path: Path) -> None:
    """In what company it goes is not its own."""
    case = """\
    events: [{action: oom, name: db}]
    expect: [{route: out-of-memory, body: {audit: {route: out-of-memory}}}]
"""
    config = CONFIG.replace('http://audit/hook"', 'http://audit/hook", batch: {}')
    file = write_suite(tmp_path, f"tests:\n  - name: it\n{case}", config)
    (judgement,) = run_suite(load_suite(file, None, None, {}))
    assert judgement.differences == ()


def test_causes_are_those_of_the_sequence(tmp_path: Path) -> None:
    """What was asked for before is no crash, unless that is too long ago."""
    case = """\
    events:
      - {action: kill, name: web, signal: SIGTERM}
      - {action: die, name: web, exit_code: 143}
      - {action: kill, name: db, signal: 15, at: 1m}
      - {action: die, name: db, exit_code: 143, at: 12m}
    expect: [{route: crashed, match: {name: db}}]
"""
    assert differences(tmp_path, case) == []


def test_a_cause_that_is_given_holds(tmp_path: Path) -> None:
    """Whatever the events say."""
    case = """\
    events: [{action: die, name: web, exit_code: 1, cause: requested}]
    expect: []
"""
    assert differences(tmp_path, case) == []


def test_relays_own_events(tmp_path: Path) -> None:
    """They go to the routes that name them, and come from relay."""
    case = """\
    events: [{type: relay, action: gap, attribute: {why: unproven}}]
    expect: [{route: own, to: plain, match: {type: relay, engine: relay}}]
"""
    assert differences(tmp_path, case) == []


def test_another_engine(tmp_path: Path) -> None:
    """A case can be one of another engine than the first."""
    case = """\
    engine: edge
    events: [{action: oom, name: web}]
    expect: [{route: edge, match: {engine: edge, host: edge}}]
"""
    assert differences(tmp_path, case) == []


def test_podman_tells_a_stop_behind_the_death(tmp_path: Path) -> None:
    """As its events mean it."""
    case = """\
    podman: true
    events:
      - {action: died, name: web}
      - {action: die, name: web, exit_code: 137}
      - {action: cleanup, name: web}
      - {action: cleanup, name: web}
    expect: []
"""
    assert differences(tmp_path, case) == []
    assert differences(tmp_path, case.replace("true", "false")) != []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_recording(tmp_path: Path, engine: str) -> None:
    """Events that an engine really sent."""
    case = f"""\
    recording: {STREAMS / engine}.jsonl
    expect_some:
      - {{route: out-of-memory, match: {{name: oomed}}}}
      - {{route: crashed, match: {{name: shop-web-1}}}}
"""
    assert differences(tmp_path, case) == []


def test_why_a_route_sent_nothing(tmp_path: Path) -> None:
    """The condition that the event did not fulfil, as `relay explain` says it."""
    case = """\
    events:
      - {action: kill, name: web, signal: 9}
      - {action: die, name: web, exit_code: 137}
    expect: [{route: crashed, to: ops}]
"""
    assert differences(tmp_path, case) == [
        "expected 1: crashed → ops",
        "  route crashed sent nothing",
        "  container die 'web' (exit_code 137, cause requested): "
        "cause: wanted 'crashed', found 'requested'",
    ]


@pytest.mark.parametrize(
    ("event", "route", "reason"),
    [
        ("action: exec_die", "noise", "the route drops it"),
        ("action: exec_die", "crashed", "route noise, above it, drops it"),
        ("action: oom", "out-of-memory", "route edge, above it, ends the walk"),
    ],
)
def test_why_an_event_went_no_further(tmp_path: Path, event: str, route: str, reason: str) -> None:
    """A route drops it, or ends the walk."""
    case = f"""\
    engine: edge
    events: [{{{event}, name: web}}]
    expect_some: [{route}]
"""
    assert differences(tmp_path, case)[-1].endswith(f": {reason}")


def test_of_many_events_the_last_are_named(tmp_path: Path) -> None:
    """A recording may hold thousands."""
    events = ", ".join("{action: die, name: web, exit_code: 0}" for _ in range(9))
    found = differences(tmp_path, f"    events: [{events}]\n    expect: [crashed]\n")
    assert len(found) == 6
    assert found[-1] == "  … and 6 events before these"


def test_what_was_sent_in_place_of_it(tmp_path: Path) -> None:
    """By the same route: where it differs, part by part."""
    case = """\
    events: [{action: die, name: web, exit_code: 1}]
    expect:
      - route: crashed
        to: ops
        match: {name: db}
        body: {ops: "db: 7"}
"""
    assert differences(tmp_path, case)[:-1] == [
        "expected 1: crashed → ops",
        "  found: crashed → ops, audit: container die 'web' (exit_code 1, cause crashed)",
        "  to: wanted ops; found ops, audit",
        "  match.name: wanted 'db', found 'web'",
    ]


def test_the_nearest_is_taken_for_it(tmp_path: Path) -> None:
    """Of several by the same route."""
    case = """\
    events:
      - {action: die, name: web, exit_code: 1}
      - {action: die, name: db, exit_code: 2}
    expect: [{route: crashed}, {route: crashed, match: {name: db, exit_code: 3}}]
"""
    assert differences(tmp_path, case)[-1] == "  match.exit_code: wanted 3, found 2"


def test_order_matters(tmp_path: Path) -> None:
    """What comes earlier than expected is not in its place."""
    case = """\
    events: [{action: oom, name: db}, {action: die, name: web, exit_code: 1}]
    expect: [crashed, out-of-memory]
"""
    assert differences(tmp_path, case) == [
        "expected 2: out-of-memory",
        "  found: out-of-memory → audit: container oom 'db'",
        "  it is sent, but not in this place of the order",
    ]


def test_nothing_else_may_be_sent(tmp_path: Path) -> None:
    """Unless only some of it is expected."""
    case = """\
    events: [{action: oom, name: db}, {action: die, name: web, exit_code: 1}]
    expect: [crashed]
"""
    assert differences(tmp_path, case) == [
        "not expected: out-of-memory → audit: container oom 'db'"
    ]
    assert differences(tmp_path, case.replace("expect", "expect_some")) == []


def test_a_body_of_whom_it_does_not_go_to(tmp_path: Path) -> None:
    """It says to whom it goes."""
    case = """\
    events: [{action: oom, name: db}]
    expect: [{route: out-of-memory, body: {ops: db}}]
"""
    assert differences(tmp_path, case)[-1] == "  body of ops: it goes to audit only"


def test_a_template_that_fails(tmp_path: Path) -> None:
    """In the daemon relay's own words go out then; whoever tests wants to know."""
    case = """\
    events: [{action: die, name: web, exit_code: 0, cause: crashed}]
    expect: [crashed]
"""
    (found,) = differences(tmp_path, case)
    assert found.startswith("the template title of ops fails: ")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """What a destination is sent can hold some."""
    case = """\
    engine: edge
    events: [{action: oom, name: web}]
    expect: [{route: edge, body: {oncall: {routing_key: no}}}]
"""
    assert differences(tmp_path, case)[-1] == (
        "  body of oncall.routing_key: wanted 'no', found '•••'"
    )
