"""Comparing what would be sent with what was expected."""

from pathlib import Path

import pytest

from relay.config.origin import built_in
from relay.dryrun.compare import run_suite
from relay.dryrun.suite import load_suite
from tests.streams import ENGINES
from tests.unit.dryrun.suites import CONFIG, parse_suite, write_suite

STREAMS = Path(__file__).parents[2] / "streams"


def differences(folder: Path, case: str) -> list[str]:
    """Run one case."""
    (result,) = run_suite(parse_suite(folder, f"tests:\n  - name: it\n{case}"))
    return list(result.differences)


def test_everything_as_expected(tmp_path: Path) -> None:
    """Compares routes, destinations in any order, the event, and parts of bodies."""
    case = """\
    events: [{action: die, name: web, exit_code: 1}]
    expect:
      - route: crashed
        to: [audit, ops]
        match: {name: "w*", exit_code: "1-3", host: node-1}
        body: {audit: {route: crashed, events: [{cause: crashed}]}, ops: "web: 7"}
"""
    assert differences(tmp_path, case) == []


def test_a_body_in_a_batch(tmp_path: Path) -> None:
    """A body is compared without the batch that it is sent in."""
    case = """\
    events: [{action: oom, name: db}]
    expect: [{route: out-of-memory, body: {audit: {route: out-of-memory}}}]
"""
    config = CONFIG.replace('http://audit/hook"', 'http://audit/hook", batch: {}')
    file = write_suite(tmp_path, f"tests:\n  - name: it\n{case}", config)
    (result,) = run_suite(load_suite(file, None, built_in, {}))
    assert result.differences == ()


def test_causes_follow_from_earlier_events(tmp_path: Path) -> None:
    """A death after a stop request is not a crash, unless the request is too long ago."""
    case = """\
    events:
      - {action: kill, name: web, signal: SIGTERM}
      - {action: die, name: web, exit_code: 143}
      - {action: kill, name: db, signal: 15, at: 1m}
      - {action: die, name: db, exit_code: 143, at: 12m}
    expect: [{route: crashed, match: {name: db}}]
"""
    assert differences(tmp_path, case) == []


def test_a_given_cause_takes_precedence(tmp_path: Path) -> None:
    """The events before it are ignored."""
    case = """\
    events: [{action: die, name: web, exit_code: 1, cause: requested}]
    expect: []
"""
    assert differences(tmp_path, case) == []


def test_relays_own_events(tmp_path: Path) -> None:
    """relay's own events go to the routes that name them; their engine is relay."""
    case = """\
    events: [{type: relay, action: gap, attribute: {why: unproven}}]
    expect: [{route: own, to: plain, match: {type: relay, engine: relay}}]
"""
    assert differences(tmp_path, case) == []


def test_another_engine(tmp_path: Path) -> None:
    """A case may name another engine than the first."""
    case = """\
    engine: edge
    events: [{action: oom, name: web}]
    expect: [{route: edge, match: {engine: edge, host: edge}}]
"""
    assert differences(tmp_path, case) == []


def test_podman_shows_a_stop_after_the_death(tmp_path: Path) -> None:
    """With ``podman: true`` events are interpreted as Podman's."""
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
    """A case may take its events from a recording."""
    case = f"""\
    recording: {STREAMS / engine}.jsonl
    expect_some:
      - {{route: out-of-memory, match: {{name: oomed}}}}
      - {{route: crashed, match: {{name: shop-web-1}}}}
"""
    assert differences(tmp_path, case) == []


def test_why_a_route_sent_nothing(tmp_path: Path) -> None:
    """Names the condition that the event did not meet, as `relay explain` does."""
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
        ("action: oom", "out-of-memory", "route edge, above it, has 'stop: true'"),
    ],
)
def test_why_an_event_went_no_further(tmp_path: Path, event: str, route: str, reason: str) -> None:
    """Says that the route, or a route above it, drops the event or stops there."""
    case = f"""\
    engine: edge
    events: [{{{event}, name: web}}]
    expect_some: [{route}]
"""
    assert differences(tmp_path, case)[-1].endswith(f": {reason}")


def test_only_the_last_events_are_explained(tmp_path: Path) -> None:
    """Of many events the last three are named, since a recording may hold thousands."""
    events = ", ".join("{action: die, name: web, exit_code: 0}" for _ in range(9))
    found = differences(tmp_path, f"    events: [{events}]\n    expect: [crashed]\n")
    assert len(found) == 6
    assert found[-1] == "  … and 6 earlier events"


def test_what_was_sent_instead(tmp_path: Path) -> None:
    """Shows the notification that the same route sent, and each difference."""
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


def test_the_most_similar_notification_is_shown(tmp_path: Path) -> None:
    """Of several by the same route, the one with the fewest differences is shown."""
    case = """\
    events:
      - {action: die, name: web, exit_code: 1}
      - {action: die, name: db, exit_code: 2}
    expect: [{route: crashed}, {route: crashed, match: {name: db, exit_code: 3}}]
"""
    assert differences(tmp_path, case)[-1] == "  match.exit_code: wanted 3, found 2"


def test_order_matters(tmp_path: Path) -> None:
    """A notification that comes earlier than expected is a difference."""
    case = """\
    events: [{action: oom, name: db}, {action: die, name: web, exit_code: 1}]
    expect: [crashed, out-of-memory]
"""
    assert differences(tmp_path, case) == [
        "expected 2: out-of-memory",
        "  found: out-of-memory → audit: container oom 'db'",
        "  it is sent, but in a different order",
    ]


def test_nothing_else_may_be_sent(tmp_path: Path) -> None:
    """With ``expect`` nothing else may be sent; with ``expect_some`` it may."""
    case = """\
    events: [{action: oom, name: db}, {action: die, name: web, exit_code: 1}]
    expect: [crashed]
"""
    assert differences(tmp_path, case) == [
        "not expected: out-of-memory → audit: container oom 'db'"
    ]
    assert differences(tmp_path, case.replace("expect", "expect_some")) == []


def test_a_body_for_a_destination_that_gets_none(tmp_path: Path) -> None:
    """Names the destinations that get the notification."""
    case = """\
    events: [{action: oom, name: db}]
    expect: [{route: out-of-memory, body: {ops: db}}]
"""
    assert differences(tmp_path, case)[-1] == "  body of ops: it goes to audit only"


def test_a_template_that_fails(tmp_path: Path) -> None:
    """A failing template is a difference, though the daemon would send its default text."""
    case = """\
    events: [{action: die, name: web, exit_code: 0, cause: crashed}]
    expect: [crashed]
"""
    (found,) = differences(tmp_path, case)
    assert found.startswith("the template title of ops fails: ")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    """Secrets in bodies are redacted."""
    case = """\
    engine: edge
    events: [{action: oom, name: web}]
    expect: [{route: edge, body: {oncall: {routing_key: no}}}]
"""
    assert differences(tmp_path, case)[-1] == (
        "  body of oncall.routing_key: wanted 'no', found '•••'"
    )
