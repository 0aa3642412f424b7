"""``relay check``."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from relay.cli.connections import ConnectionResult
from relay.core.errors import ConfigError
from tests.unit.cli.cli_store import failure, run

pytestmark = pytest.mark.usefixtures("file")


def test_check_describes_the_configuration(file: Path, tmp_path: Path) -> None:
    """Prints engines, destinations, routes, and what is reported and when; prints no secret."""
    result = run("check")
    assert result.exit_code == 0
    assert (
        result.stdout
        == f"""\
configuration {file} is valid
store {tmp_path}/.local/state/relay/relay.db
time zone UTC

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

notifications
  terminal: every event at once
  ops: incidents, grouped by engine and project: after 3s, then at most every 1m; resolved after \
1m; reminder every 24h
  audit: every event at once
"""
    )


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("", ""),
        (
            "labels: {require: true}",
            "  containers: people are notified of those with the label relay.enable=true only\n",
        ),
        ("labels: {enable: false}", "  containers: their label relay.enable is ignored\n"),
    ],
)
def test_check_says_what_labels_of_containers_do(file: Path, keys: str, line: str) -> None:
    """If that is not the usual."""
    file.write_text(f"{file.read_text()}\n{keys}\n")
    assert run("check").stdout.endswith(f"  audit: every event at once\n{line}")


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
    assert f"/relay.db\ntime zone UTC\nadmin {line}\n\nengines\n" in result.output
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


@pytest.fixture
def engine_socket(file: Path, tmp_path: Path) -> Iterator[Path]:
    """A socket that is there, and a configuration with it that has nothing to warn of."""
    path = tmp_path / "engine.sock"
    file.write_text(
        f"""\
engines: {{here: {{url: "unix://{path}"}}}}
destinations: {{terminal: {{type: console}}, spare: {{type: console}}}}
routes: [{{name: all, to: [terminal, spare]}}]
"""
    )
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        yield path


def test_a_configuration_without_warnings(engine_socket: Path) -> None:
    """Nothing is printed on standard error, and --strict changes nothing."""
    assert run("check").stderr == run("check", "--strict").stderr == ""
    assert run("check", "--strict").exit_code == 0
    assert engine_socket.is_socket()


def test_warnings_have_their_lines(file: Path, engine_socket: Path) -> None:
    """They are printed after the description, on standard error, and the exit code is 0."""
    engine_socket.unlink()
    file.write_text(file.read_text().replace(", spare]", "]") + "heartbeat: {every: 1m}\n")
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"configuration {file} is valid\n")
    assert result.stderr.splitlines() == [
        f"{file}:1:23: warning: engines.here.url: the engine's socket does not exist: "
        f"'{engine_socket}'",
        f"{file}:2:43: warning: destinations.spare: no route sends to it",
        f"{file}:4:1: warning: heartbeat: goes nowhere: no route matches "
        "(match: {type: relay, action: heartbeat})",
    ]


def test_a_host_that_the_hub_cannot_miss(file: Path, engine_socket: Path) -> None:
    """Without heartbeats the hub does not notice that the host is silent."""
    to = "spare: {type: nats, url: nats://a, stream: RELAY, as: web-17}"
    text = file.read_text().replace("spare: {type: console}", to)
    for added in ("", "heartbeat: {every: 1m}\n"):
        file.write_text(text + added)
        assert "destinations.spare: gets no heartbeat" in run("check").stderr
    self_route = "  {name: self, match: {type: relay}, to: spare}]\nheartbeat: {every: 1m}\n"
    file.write_text(text.replace("spare]}]\n", "spare]},\n") + self_route)
    assert run("check").stderr == ""
    assert engine_socket.is_socket()


def test_keys_that_have_no_effect(file: Path, engine_socket: Path) -> None:
    """A key about incidents at a destination of events is a warning with its line."""
    text = file.read_text().replace(
        "spare: {type: console}", "spare: {type: console, group_by: []}"
    )
    file.write_text(text)
    result = run("check")
    assert result.exit_code == 0
    assert result.stderr == (
        f"{file}:2:66: warning: destinations.spare.group_by: does nothing: it is told of events: "
        "write 'notify: incidents' as well\n"
    )
    assert run("check", "--strict").exit_code != 0
    file.write_text(text.replace("group_by", "notify: incidents, group_by"))
    result = run("check", "--strict")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.endswith(
        """\
notifications
  terminal: every event at once
  spare: incidents, all in one group: after 3s, then at most every 1m; resolved after 1m; \
reminder every 24h
"""
    )
    assert engine_socket.is_socket()


def test_strict_makes_warnings_errors(file: Path, engine_socket: Path) -> None:
    """The exit code is 2, and nothing but the problems is printed."""
    file.write_text(file.read_text().replace(", spare]", "]"))
    result = run("check", "--strict")
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 2
    assert str(result.exception) == f"{file}:2:43: destinations.spare: no route sends to it"
    assert result.output == ""
    assert engine_socket.is_socket()


def test_a_socket_that_is_none(engine_socket: Path) -> None:
    """A file at its place is no engine."""
    engine_socket.unlink()
    engine_socket.touch()
    assert "the engine's socket is not a socket: " in run("check").stderr


def test_an_engine_with_a_certificate_that_cannot_be_used(file: Path, tmp_path: Path) -> None:
    """What would fail at each connection is found before relay runs."""
    (tmp_path / "ca.pem").write_text("no certificate")
    text = file.read_text().replace(
        '{url: "tcp://edge-1:2376"}', '{url: "tcp://edge-1:2376", tls: {ca_file: ca.pem}}'
    )
    file.write_text(text)
    assert "ca.pem: cannot be used for TLS: " in failure(run("check"))


@pytest.mark.usefixtures("engine_socket")
@pytest.mark.parametrize("is_reached", [True, False])
def test_connect(monkeypatch: pytest.MonkeyPatch, is_reached: bool) -> None:
    """Prints what became of each connection; the exit code is 1 if one failed."""

    async def reach_all(*_: object) -> list[ConnectionResult]:
        return [
            ConnectionResult("engine here", "reached", True),
            ConnectionResult("engine far", "…", is_reached),
        ]

    monkeypatch.setattr("relay.cli.check.reach_all", reach_all)
    result = run("check", "--connect")
    assert result.stdout.endswith("\n\nconnections\n  engine here: reached\n  engine far: …\n")
    if is_reached:
        assert result.exit_code == 0
    else:
        assert failure(result) == "1 of 2 cannot be reached or used"


def test_show(file: Path) -> None:
    """Only the configuration is printed, as YAML and without its secrets; problems as ever."""
    result = run("check", "--show")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (
        0,
        f"# {file}, without its secrets",
    )
    shown = yaml.safe_load(result.stdout)
    assert shown["destinations"]["ops"] == {"type": "slack", "url": "(hidden)"}
    assert "s3cret" not in result.output
    assert "is valid" not in result.stdout
    file.write_text("routes: 5")
    assert isinstance(run("check", "--show").exception, ConfigError)


def test_a_variable_beside_the_given_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning, as the command line comes first; beside ``RELAY_CONFIG`` it is an error."""
    monkeypatch.setenv("RELAY_NTFY_TOPIC", "s3cret")
    message = f"RELAY_NTFY_TOPIC: is set, but {file} is the configuration and does not refer to it"
    result = run("check", str(file))
    assert result.exit_code == 0
    assert f"environment: warning: {message}" in result.stderr
    for arguments in (["check", "--strict", str(file)], ["check"], ["explain"], ["send", "ops"]):
        error = run(*arguments).exception
        assert isinstance(error, ConfigError)
        assert f"environment: {message}" in str(error)


def test_variables_in_place_of_a_file(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are named as the configuration; its store is on disk."""
    monkeypatch.delenv("RELAY_CONFIG")
    monkeypatch.setenv("RELAY_NTFY_TOPIC", "s3cret")
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", tmp_path / "none.yaml")
    lines = run("check").stdout.splitlines()
    assert lines[:2] == [
        "configuration (built in, with RELAY_NTFY_TOPIC) is valid",
        f"store {tmp_path}/.local/state/relay/relay.db",
    ]
    assert "  ntfy: ntfy https://ntfy.sh/…" in lines
    assert 'topic: "${RELAY_NTFY_TOPIC}"' in run("check", "--show").stdout
    assert "s3cret" not in run("check", "--show").output


def test_the_built_in_configuration(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its warnings have no line in a file of the user's."""
    monkeypatch.delenv("RELAY_CONFIG")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", tmp_path / "none.yaml")
    file.unlink()
    assert run("check").stderr == (
        f"(built in): warning: the engine's socket does not exist: '{tmp_path}/none.sock'\n"
    )
