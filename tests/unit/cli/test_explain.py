"""``relay explain``."""

import json
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

from relay.core.event import Cause
from tests.support.events import make_event
from tests.unit.cli.cli_store import run

DIE = {
    "Type": "container",
    "Action": "die",
    "Actor": {"ID": "c0ffee", "Attributes": {"name": "web-1", "exitCode": "3", "tier": "web"}},
    "timeNano": 1795416514938518046,
}

pytestmark = pytest.mark.usefixtures("file")


def test_explain_in_relays_own_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in relay's own container, such as its health check, goes to no route."""
    explain = import_module("relay.cli.explain")
    monkeypatch.setattr(explain, "find_self_container", lambda: "0123abc")
    result = run("explain", "--action", "exec_start: true", "--id", "0123abc", "--name", "relay")
    assert result.exit_code == 1
    assert result.output == (
        "container exec_start 'relay': "
        "a command in relay's own container, for which relay tries no route\n"
    )


def test_explain_shows_each_route() -> None:
    """Shows where the matching routes send it, and why the others do not match."""
    result = run("explain", "--action", "die", "--label", "tier=web", "--attribute", "exitCode=3")
    assert result.exit_code == 0
    assert (
        result.output
        == """\
container die '' (exit_code 3, cause crashed)
✗ noise      action: wanted 'exec_*', found 'die'
✓ crashed    matches → ops: opens an incident, told in 3 s with others of here; → terminal at once
✓ died       matches, but routes above send it to all its destinations
· unhealthy  not tried: a route above has 'stop: true' or 'drop: true'
"""
    )


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ("", "→ ops: opens an incident (web-1), told in 3 s with others of here/shop"),
        (", group_by: []", "→ ops: opens an incident (web-1), told in 3 s with all others"),
        (
            ", group_by: container, group_wait: 0s",
            "→ ops: opens an incident (web-1), told at once with others of web-1",
        ),
        (
            ", group_wait: 500ms",
            "→ ops: opens an incident (web-1), told in 500 ms with others of here/shop",
        ),
        (", notify: events", "→ ops, terminal at once"),
    ],
)
def test_explain_shows_when_it_is_reported(file: Path, keys: str, shown: str) -> None:
    """At a destination of incidents: whether it opens one, and with what that is reported."""
    file.write_text(file.read_text().replace('services/s3cret"', f'services/s3cret"{keys}'))
    arguments = ("--name", "web-1", "--attribute", "exitCode=3")
    project = ("--label", "com.docker.compose.project=shop")
    result = run("explain", "--action", "die", *arguments, *project)
    assert result.exit_code == 0
    assert f"✓ crashed    matches {shown}" in result.output


def test_explain_shows_what_belongs_to_no_incident(file: Path) -> None:
    """It is reported with its group, except an event of relay's own; a pager gets it at once."""
    text = file.read_text().replace(
        "match: {action: die, label: {tier: web}}", "match: {type: [container, relay]}"
    )
    file.write_text(
        text.replace("to: terminal", "to: [ops, oncall]").replace(
            "  audit:", "  oncall: {type: pagerduty, routing_key: s3cret}\n  audit:"
        )
    )
    started = run("explain", "--action", "start", "--name", "web-1").output
    assert (
        "✓ died       matches → ops: told in 3 s with others of here/web-1; → oncall at once\n"
        in (started)
    )
    own = run("explain", "--type", "relay", "--action", "started").output
    assert "✓ died       matches → ops, oncall at once\n" in own
    died = run("explain", "--action", "die", "--name", "web-1").output
    assert "→ oncall: opens an incident (web-1), told at once" in died


def test_explain_escapes_names() -> None:
    """In the name of an incident and of its group, too."""
    label = "com.docker.compose.project=\x1b[2J" + "x" * 500
    arguments = ("--name", "\x1b[2Jweb", "--attribute", "exitCode=3", "--label", label)
    result = run("explain", "--action", "die", *arguments)
    assert "opens an incident" in result.output
    assert "\x1b" not in result.output
    assert max(map(len, result.output.splitlines())) < 300


def test_explain_ends_with_1_if_no_route_matches() -> None:
    """Scripts can test routes by the exit code."""
    result = run("explain", "--action", "die", "--name", "web-1")
    assert result.exit_code == 1
    assert "✗ died       label.tier: wanted 'web', found nothing" in result.output


def test_explain_shows_a_drop() -> None:
    """A route that drops the event counts as a match."""
    result = run("explain", "--action", "exec_die")
    assert result.exit_code == 0
    assert "✓ noise      matches and drops it" in result.output


def test_explain_takes_a_cause() -> None:
    """--cause sets a cause that does not follow from the event alone."""
    asked = run("explain", "--action", "die", "--attribute", "exitCode=3", "--cause", "requested")
    assert asked.exit_code == 1
    assert "cause: wanted 'crashed', found 'requested'" in asked.output


def test_explain_splits_an_action_from_its_detail() -> None:
    """An action may be written with its detail, as engines do."""
    assert run("explain", "--action", "health_status: unhealthy").exit_code == 0


@pytest.mark.parametrize("end", ["", "\n"])
def test_explain_reads_an_event_of_an_engine(end: str) -> None:
    """Standard input may hold an event as ``docker events --format '{{json .}}'`` prints it."""
    result = run("explain", stdin=json.dumps(DIE) + end)
    assert result.exit_code == 0
    assert result.output.startswith("container die 'web-1' (exit_code 3, cause crashed)\n")


def test_explain_reads_an_event_that_relay_sent() -> None:
    """Standard input may hold an event as receivers get it; its cause is kept."""
    event = make_event(cause=Cause.REQUESTED, exit_code=3)
    result = run("explain", stdin=msgspec.json.encode(event))
    assert result.exit_code == 1
    assert result.output.startswith("container die 'web-1' (exit_code 3, cause requested)\n")


@pytest.mark.parametrize("stdin", ["", "hello\x1b[2J", "{}", "[]", f"{json.dumps(DIE)}\n" * 2])
def test_explain_refuses_what_is_not_one_event(stdin: str) -> None:
    """Anything else is bad usage; control characters in it are escaped."""
    result = run("explain", stdin=stdin)
    assert result.exit_code == 2
    assert "is not one event in JSON" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("pair", ["tier", "=web", ""])
def test_explain_refuses_half_a_label(pair: str) -> None:
    """A pair without a key or without ``=`` is bad usage."""
    result = run("explain", "--action", "die", "--label", pair)
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.output
