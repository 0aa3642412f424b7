"""``relay check``."""

from pathlib import Path

import pytest

from tests.unit.cli.cli_store import run

pytestmark = pytest.mark.usefixtures("file")


def test_check_describes_the_configuration(file: Path, tmp_path: Path) -> None:
    """Prints engines, destinations and routes, and no secret."""
    result = run("check")
    assert result.exit_code == 0
    assert (
        result.output
        == f"""\
configuration {file} is valid
store {tmp_path}/.local/state/relay/relay.db

engines
  here: unix:///var/run/docker.sock
  edge: tcp://edge-1:2376

destinations
  terminal: console
  ops: slack https://hooks.slack.com/…
  audit: http http://127.0.0.1:1/…

routes
  noise → (dropped)
  crashed → ops, terminal
  died → terminal with 20 log lines, health, RestartCount (stop: routes below are not tried)
  unhealthy → audit
"""
    )


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("{listen: '127.0.0.1:9321'}", "127.0.0.1:9321, without a token"),
        ("{listen: 'unix:/a.sock', token: TOKEN}", "unix:/a.sock, with a token for /api/"),
        ("{listen: 'h:1', token: TOKEN}", "h:1, with a token for /metrics and /api/"),
        (
            "{listen: '0.0.0.0:1'}",
            "0.0.0.0:1: /metrics and /api/ are refused, as there is no token (admin.token_file)",
        ),
    ],
)
def test_check_describes_the_admin_listener(file: Path, section: str, line: str) -> None:
    """Prints its address, and which paths need a token; not the token."""
    secret = "s3cret-s3cret-s3cret"
    file.write_text(f"{file.read_text()}\nadmin: {section.replace('TOKEN', secret)}\n")
    result = run("check")
    assert result.exit_code == 0
    assert f"/relay.db\nadmin {line}\n\nengines\n" in result.output
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("- {name: all, to: ops}", "nowhere: no route matches (match: {type: relay, action: hea"),
        ("- {name: alive, match: {type: relay}, to: [ops, audit]}", "alive → ops, audit\n"),
    ],
)
def test_check_describes_the_heartbeat(file: Path, route: str, expected: str) -> None:
    """Prints the routes of heartbeats, or that no route matches them."""
    file.write_text(f"{file.read_text()}  {route}\nheartbeat: {{every: 90s}}\n")
    result = run("check")
    assert result.exit_code == 0
    assert f"\n\nheartbeat every 1 min 30 s\n  {expected}" in result.output


def test_check_takes_the_file_as_argument_or_option(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file may be given in one of these ways, but not in both."""
    monkeypatch.delenv("RELAY_CONFIG")
    assert f"configuration {file} is valid" in run("check", str(file)).output
    assert f"configuration {file} is valid" in run("check", "--config", str(file)).output
    assert run("check", str(file), "--config", str(file)).exit_code == 2
