"""The command line."""

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
    """The configuration that counts, on a machine on which nothing else is set."""
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


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the program."""
    monkeypatch.setattr("sys.argv", ["relay", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


def test_says_its_version() -> None:
    """As scripts read it."""
    assert run("--version").output == f"relay, version {__version__}\n"


def test_check_says_what_goes_where(file: Path, tmp_path: Path) -> None:
    """Where it listens, where it delivers, which route goes where; and no secret."""
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
  died → terminal with 20 log lines, health, RestartCount (the walk ends here)
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
def test_check_says_who_may_ask(file: Path, section: str, line: str) -> None:
    """Where that is, and what takes a token there, which is not shown."""
    secret = "s3cret-s3cret-s3cret"
    file.write_text(f"{CONFIG}\nadmin: {section.replace('TOKEN', secret)}\n")
    result = run("check")
    assert result.exit_code == 0
    assert f"/relay.db\nadmin {line}\n\nengines\n" in result.output
    assert "s3cret" not in result.output


@pytest.mark.parametrize(
    ("route", "way"),
    [
        ("- {name: all, to: ops}", "nowhere: no route takes it (match: {type: relay, action: hea"),
        ("- {name: alive, match: {type: relay}, to: [ops, audit]}", "alive → ops, audit\n"),
    ],
)
def test_check_says_where_heartbeats_go(file: Path, route: str, way: str) -> None:
    """A dead man's switch that nothing reaches is told before it fires."""
    file.write_text(f"{CONFIG}  {route}\nheartbeat: {{every: 90s}}\n")
    result = run("check")
    assert result.exit_code == 0
    assert f"\n\nheartbeat every 1 min 30 s\n  {way}" in result.output


def test_check_takes_the_file_either_way(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument or an option, but not twice."""
    monkeypatch.delenv("RELAY_CONFIG")
    assert f"configuration {file} is valid" in run("check", str(file)).output
    assert f"configuration {file} is valid" in run("check", "--config", str(file)).output
    assert run("check", str(file), "--config", str(file)).exit_code == 2


@pytest.mark.parametrize("command", ["check", "explain", "run"])
def test_problems_end_with_2(
    command: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each on a line of its own with its place, on standard error, without a secret."""
    wrong = CONFIG.replace("to: audit", "to: audti").replace("action: die,", "acton: die,")
    file.write_text(wrong)
    assert ended(monkeypatch, command) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 3
    assert all(line.startswith(f"{file}:") for line in err.splitlines())
    assert "s3cret" not in err


def test_a_missing_file_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which."""
    missing = tmp_path / "missing.yaml"
    assert ended(monkeypatch, "check", str(missing)) == 2
    assert str(missing) in capsys.readouterr().err


def test_a_store_that_cannot_be_used_ends_with_1(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says why, with no traceback."""
    (tmp_path / "relay.db").write_bytes(b"dear diary, " * 1000)
    file.write_text(f"store: {{path: {tmp_path}/relay.db}}\n{CONFIG}")
    monkeypatch.setattr(
        "relay.admin.logs.configure", lambda *_, **__: LogOutput(io.StringIO(), str)
    )
    assert ended(monkeypatch, "run") == 1
    assert capsys.readouterr().err.startswith("relay: store ")


def test_a_port_that_is_taken_ends_with_1(
    file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It says which, and leaves neither a socket nor a lock behind."""
    monkeypatch.setattr(
        "relay.admin.logs.configure", lambda *_, **__: LogOutput(io.StringIO(), str)
    )
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        section = f"admin: {{listen: '{place}'}}\nstore: {{path: {tmp_path}/relay.db}}\n"
        file.write_text(section + CONFIG)
        for _ in range(2):
            assert ended(monkeypatch, "run") == 1
            assert capsys.readouterr().err == (
                f"relay: admin.listen {place} cannot be opened: it is taken by another program or, "
                "as a path, by a file: free it, or set another\n"
            )
    assert not list(tmp_path.glob("*.sock"))


def test_explain_knows_what_no_route_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in the container that relay runs in, as its health check is."""
    explain = sys.modules["relay.cli.explain"]  # by its name there is the command
    monkeypatch.setattr(explain, "find_self_container", lambda: "0123abc")
    result = run("explain", "--action", "exec_start: true", "--id", "0123abc", "--name", "relay")
    assert result.exit_code == 1
    assert result.output == (
        "container exec_start 'relay': "
        "a command in relay's own container, which no route is asked\n"
    )


def test_explain_says_what_every_route_says() -> None:
    """Which takes it and where it goes, which does not and why, which is not reached."""
    result = run("explain", "--action", "die", "--label", "tier=web", "--attribute", "exitCode=3")
    assert result.exit_code == 0
    assert (
        result.output
        == """\
container die '' (exit_code 3, cause crashed)
✗ noise      action: wanted 'exec_*', found 'die'
✓ crashed    matches → ops, terminal
✓ died       matches, but goes to nobody else
· unhealthy  not reached: a route above ends the walk
"""
    )


def test_explain_ends_with_1_where_no_route_matches() -> None:
    """For scripts that test their routes."""
    result = run("explain", "--action", "die", "--name", "web-1")
    assert result.exit_code == 1
    assert "✗ died       label.tier: wanted 'web', found nothing" in result.output


def test_explain_says_what_is_dropped() -> None:
    """A route takes it, though it sends nothing."""
    result = run("explain", "--action", "exec_die")
    assert result.exit_code == 0
    assert "✓ noise      matches and drops it" in result.output


def test_explain_takes_a_cause() -> None:
    """The event alone does not tell what happened before it."""
    asked = run("explain", "--action", "die", "--attribute", "exitCode=3", "--cause", "requested")
    assert asked.exit_code == 1
    assert "cause: wanted 'crashed', found 'requested'" in asked.output


def test_explain_reads_an_action_as_the_engine_says_it() -> None:
    """With its detail."""
    assert run("explain", "--action", "health_status: unhealthy").exit_code == 0


@pytest.mark.parametrize("end", ["", "\n"])
def test_explain_takes_an_engines_event(end: str) -> None:
    """As ``docker events --format '{{json .}}'`` prints it."""
    result = run("explain", stdin=json.dumps(DIE) + end)
    assert result.exit_code == 0
    assert result.output.startswith("container die 'web-1' (exit_code 3, cause crashed)\n")


def test_explain_takes_relays_own_event() -> None:
    """As receivers get it, with the cause that it was given."""
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
    """With usage, and nothing of it that a terminal would obey."""
    result = run("explain", stdin=stdin)
    assert result.exit_code == 2
    assert "is not one event in JSON" in result.output
    assert "\x1b" not in result.output


@pytest.mark.parametrize("pair", ["tier", "=web", ""])
def test_explain_refuses_half_a_label(pair: str) -> None:
    """Instead of matching something else."""
    result = run("explain", "--action", "die", "--label", pair)
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.output


def test_send_to_nobody_names_those_there_are() -> None:
    """It is bad usage."""
    result = run("send", "opps")
    assert result.exit_code == 2
    assert "no destination 'opps'; there are: terminal, ops, audit" in result.output


def test_send_prints_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    """What goes to the terminal is there, and that it was taken."""
    result = run("send", "terminal")
    assert result.exit_code == 0
    assert json.loads(capfd.readouterr().out)["route"] == "test"
    assert result.stdout == "terminal: answered 200\n"


def test_send_ends_with_1_where_it_is_not_taken(file: Path) -> None:
    """It says why and what that means, without the secrets of the destination."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{bound.getsockname()[1]}/"
        file.write_text(CONFIG.replace("127.0.0.1:1/", place))
        result = run("send", "audit")
    assert result.exit_code == 1
    assert result.output == (
        "audit: no answer (connection): Connection refused\n"
        "audit: this would be tried again (connection)\n"
    )
