"""The commands check, explain, send, and exit codes of the command line."""

import io
import json
import socket
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from relay import __version__, cli
from relay.admin.logs import LogOutput
from relay.core.event import Actor, Cause, Event

CONFIG = """
engines:
  here: {}
  edge: {url: "tcp://edge-1:2376"}
destinations:
  terminal: {type: console}
  ops: {type: slack, url: "https://hooks.slack.com/services/s3cret"}
  audit:
    type: http
    url: "http://me:s3cret@127.0.0.1:1/s3cret?token=s3cret"
    headers: {X-Token: "${TOKEN}"}
routes:
  - {name: noise, match: {action: "exec_*"}, drop: true}
  - {name: crashed, match: {type: container, action: die, cause: crashed}, to: [ops, terminal]}
  - name: died
    match: {action: die, label: {tier: web}}
    include: {logs: 20, health: true, inspect: [RestartCount]}
    stop: true
    to: terminal
  - {name: unhealthy, match: {health: unhealthy}, to: audit}
"""
DIE = {
    "Type": "container",
    "Action": "die",
    "Actor": {"ID": "c0ffee", "Attributes": {"name": "web-1", "exitCode": "3", "tier": "web"}},
    "timeNano": 1795416514938518046,
}


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration, on a machine on which nothing else is set."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOKEN", "s3cret")
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    monkeypatch.setenv("RELAY_CONFIG", str(path))
    return path


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli.relay, arguments, input=stdin)


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """Run the program; return its exit code."""
    monkeypatch.setattr("sys.argv", ["relay", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_version() -> None:
    """The version is printed in a form for scripts."""
    assert run("--version").output == f"relay, version {__version__}\n"


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
    file.write_text(f"{CONFIG}\nadmin: {section.replace('TOKEN', secret)}\n")
    result = run("check")
    assert result.exit_code == 0
    assert f"/relay.db\nadmin {line}\n\nengines\n" in result.output
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    ("route", "expected"),
    [
        ("- {name: all, to: ops}", "nowhere: no route takes it (match: {type: relay, action: hea"),
        ("- {name: alive, match: {type: relay}, to: [ops, audit]}", "alive → ops, audit\n"),
    ],
)
def test_check_describes_the_heartbeat(file: Path, route: str, expected: str) -> None:
    """Prints the routes of heartbeats, or that no route takes them."""
    file.write_text(f"{CONFIG}  {route}\nheartbeat: {{every: 90s}}\n")
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


@pytest.mark.parametrize("command", ["check", "explain", "run"])
def test_problems_end_with_2(
    command: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each problem is a line with its location, on standard error, without secrets."""
    wrong = CONFIG.replace("to: audit", "to: audti").replace("action: die,", "acton: die,")
    file.write_text(wrong)
    assert exit_code(monkeypatch, command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert all(line.startswith(f"{file}:") for line in err.splitlines())
    assert "s3cret" not in err


def test_a_missing_file_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the file."""
    missing = tmp_path / "missing.yaml"
    assert exit_code(monkeypatch, "check", str(missing)) == 2
    assert str(missing) in capsys.readouterr().err


def test_a_store_that_cannot_be_used_ends_with_1(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message says why, without a traceback."""
    (tmp_path / "relay.db").write_bytes(b"dear diary, " * 1000)
    file.write_text(f"store: {{path: {tmp_path}/relay.db}}\n{CONFIG}")
    monkeypatch.setattr(
        "relay.admin.logs.configure", lambda *_, **__: LogOutput(io.StringIO(), str)
    )
    assert exit_code(monkeypatch, "run") == 1
    assert capsys.readouterr().err.startswith("relay: store ")


def test_a_port_that_is_taken_ends_with_1(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The message names the port; neither a socket nor a lock is left behind."""
    monkeypatch.setattr(
        "relay.admin.logs.configure", lambda *_, **__: LogOutput(io.StringIO(), str)
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        section = f"admin: {{listen: '{address}'}}\nstore: {{path: {tmp_path}/relay.db}}\n"
        file.write_text(section + CONFIG)
        for _ in range(2):
            assert exit_code(monkeypatch, "run") == 1
            assert capsys.readouterr().err == (
                f"relay: admin.listen {address} cannot be opened: "
                "it is taken by another program or, "
                "as a path, by a file: free it, or set another\n"
            )
    assert not list(tmp_path.glob("*.sock"))


def test_explain_in_relays_own_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in relay's own container, such as its health check, goes to no route."""
    explain = sys.modules["relay.cli.explain"]  # the name in the package is the command
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
✓ crashed    matches → ops, terminal
✓ died       matches, but routes above send it to all its destinations
· unhealthy  not tried: a route above has 'stop: true' or 'drop: true'
"""
    )


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
    event = Event(
        id="evt_1",
        engine="here",
        host="node-1",
        type="container",
        action="die",
        detail=None,
        scope="local",
        time_ns=1,
        actor=Actor("c0ffee", "web-1", None, {}),
        cause=Cause.REQUESTED,
        exit_code=3,
    )
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


def test_send_to_an_unknown_destination() -> None:
    """Is bad usage; the message lists the destinations."""
    result = run("send", "opps")
    assert result.exit_code == 2
    assert "no destination 'opps'; there are: terminal, ops, audit" in result.output


def test_send_prints_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    """A console destination prints the notification; the command prints its answer."""
    result = run("send", "terminal")
    assert result.exit_code == 0
    assert json.loads(capfd.readouterr().out)["route"] == "test"
    assert result.stdout == "terminal: answered 200\n"


def test_send_ends_with_1_if_not_delivered(file: Path) -> None:
    """Prints why, and what relay would do then, without secrets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}/"
        file.write_text(CONFIG.replace("127.0.0.1:1/", address))
        result = run("send", "audit")
    assert result.exit_code == 1
    assert result.output == (
        "audit: no answer (connection): Connection refused\n"
        "audit: relay would try this again (connection)\n"
    )
