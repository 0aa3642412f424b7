"""``relay init``."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.config.services import SERVICES, all_settings
from relay.core.errors import ConfigError, RelayError
from relay.destinations.catalog import load_config
from tests.support.profiles import examples
from tests.unit.cli.cli_store import run
from tests.unit.config.test_variables import GOOD

SLACK = GOOD["RELAY_SLACK_URL"]


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual place of a configuration, in a folder that is not there yet."""
    path = tmp_path / "relay" / "config.yaml"
    for module in ("options", "init"):
        monkeypatch.setattr(f"relay.cli.{module}.DEFAULT_FILE", path)
    return path


def failure(*arguments: str) -> str:
    """The error of a command that printed nothing."""
    result = run("init", *arguments)
    assert isinstance(result.exception, RelayError)
    assert result.output == ""
    return str(result.exception)


def mode(file: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(file.stat().st_mode)


def test_from_options(usual: Path) -> None:
    """The values are in the file, which only its owner can read, and `relay check` accepts it."""
    result = run("init", "--slack", SLACK, "--ntfy", "topic", "--project", "shop")
    assert result.stdout == (
        f"wrote {usual}; only its owner can read it, because it holds a secret\n"
        "next: relay check, relay send slack, relay run\n"
    )
    assert mode(usual) == 0o600
    config = load_config(usual, {})
    assert list(config.destinations) == ["slack", "ntfy"]
    assert config.destinations["slack"].endpoint == SLACK
    assert config.routes[0].include.logs == 20
    assert usual.read_text().count('{com.docker.compose.project: ["shop"]}') == 3
    assert f"configuration {usual} is valid" in run("check").stdout


def test_from_variables(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file refers to the variables, so it holds no secret, and needs them."""
    monkeypatch.setenv("RELAY_SLACK_URL", SLACK)
    secret = usual.parent.with_name("token")
    secret.write_text(GOOD["RELAY_GOTIFY_TOKEN"])
    monkeypatch.setenv("RELAY_GOTIFY_URL", GOOD["RELAY_GOTIFY_URL"])
    monkeypatch.setenv("RELAY_GOTIFY_TOKEN_FILE", str(secret))
    monkeypatch.setenv("RELAY_HOST", "node-1")
    result = run("init")
    assert result.stdout == (
        f"wrote {usual}; it refers to RELAY_SLACK_URL, RELAY_GOTIFY_URL, RELAY_GOTIFY_TOKEN_FILE, "
        "which relay needs as well\nnext: relay check, relay send slack, relay run\n"
    )
    text = usual.read_text()
    assert "canary" not in text
    assert 'token_file: "${RELAY_GOTIFY_TOKEN_FILE}"' in text
    assert mode(usual) == 0o644 & ~_umask()
    assert f"configuration {usual} is valid" in run("check").stdout
    config = load_config(usual, os.environ)
    assert list(config.destinations) == ["slack", "gotify"]
    assert config.docker_engines["local"].host == "node-1"


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_options_beside_variables(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service has its values from one of them."""
    monkeypatch.setenv("RELAY_SLACK_URL", SLACK)
    assert failure("--slack", SLACK) == (
        "relay init: --slack: is given, and RELAY_SLACK_URL is set: keep one of the two"
    )
    run("init", "--webhook", "https://example.com/x")
    assert list(load_config(usual, os.environ).destinations) == ["slack", "webhook"]
    assert mode(usual) == 0o600


def test_every_option(tmp_path: Path) -> None:
    """Each value of a service has one, and all of them together make a whole configuration."""
    options = [word for it in all_settings() for word in (f"--{it.option}", GOOD[it.variable])]
    file = tmp_path / "config.yaml"
    assert run("init", *options, "--output", str(file)).exit_code == 0
    config = load_config(file, {})
    assert list(config.destinations) == [service.name for service in SERVICES]
    assert "canary" not in repr(config)


def test_nothing_is_asked_if_nothing_is_given() -> None:
    """Wrong usage, with both ways to say what is wanted."""
    result = run("init")
    assert result.exit_code == 2
    assert "'relay init --slack https://…', or set a variable, as RELAY_SLACK_URL" in result.output


def test_half_of_what_a_service_needs(usual: Path) -> None:
    """The other half is named."""
    error = failure("--telegram", "123456:canary-canary")
    assert error == "relay init: --telegram-chat-id: is missing beside --telegram"
    assert not usual.exists()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--ntfy", "can$ary"], "--ntfy: the value is not a topic: "),
        (["--slack", ""], "--slack: "),
        (["--slack", "'https://canary'"], "--slack: the value has quotes around it"),
        (["--slack", SLACK, "--project", ""], "--project: is empty: name a compose project"),
    ],
)
def test_a_wrong_value(options: list[str], wanted: str, usual: Path) -> None:
    """The error is about the option, and does not show the value; nothing is written."""
    error = failure(*options)
    assert error.startswith(f"relay init: {wanted}")
    assert "canary" not in error
    assert not usual.exists()


def test_a_wrong_variable(usual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is about the variable."""
    monkeypatch.setenv("RELAY_SLACK_URL", "canary")
    assert failure().startswith("environment: RELAY_SLACK_URL: the value is not an http or https")
    monkeypatch.delenv("RELAY_SLACK_URL")
    monkeypatch.setenv("RELAY_SLACK_URL_FILE", "/nowhere/slack")
    assert failure() == (
        "environment: RELAY_SLACK_URL_FILE: '/nowhere/slack' cannot be read: "
        "No such file or directory"
    )
    monkeypatch.delenv("RELAY_SLACK_URL_FILE")
    monkeypatch.setenv("RELAY_SLACK_URL", "")
    assert failure().startswith("environment: RELAY_SLACK_URL: is empty")
    assert not usual.exists()


def test_a_file_is_kept_unless_forced(usual: Path) -> None:
    """Forced, it is replaced as a whole, with the permissions that a secret needs."""
    usual.parent.mkdir()
    usual.write_text("mine")
    assert failure("--slack", SLACK) == (
        f"{usual} is there already: name another file with --output, or replace it with --force"
    )
    assert usual.read_text() == "mine"
    usual.chmod(0o644)
    assert run("init", "--slack", SLACK, "--force").exit_code == 0
    assert mode(usual) == 0o600
    assert load_config(usual, {})
    assert [it.name for it in usual.parent.iterdir()] == ["config.yaml"]


def test_a_place_that_cannot_be_written(usual: Path) -> None:
    """The error says what to do; nothing is left behind."""
    usual.mkdir(parents=True)
    error = failure("--slack", SLACK, "--force")
    assert error == (
        f"{usual} cannot be written: Is a directory; name another file with --output, or - for "
        "standard output"
    )
    assert list(usual.parent.iterdir()) == [usual]
    below = usual / "not" / "there" / "config.yaml"
    assert "No such file" in failure("--slack", SLACK, "--output", str(below))
    file = usual / "file"
    file.touch()
    below_file = failure("--slack", SLACK, "--output", str(file / "config.yaml"))
    assert f"{file}/config.yaml cannot be written: Not a directory" in below_file


def test_to_standard_output(usual: Path) -> None:
    """Only the configuration is printed."""
    result = run("init", "--slack", SLACK, "--output", "-")
    assert result.exit_code == 0
    assert result.stdout.startswith("# relay's configuration.")
    assert result.stdout.endswith("to: [slack]\n")
    assert not usual.exists()


def test_where_it_is_written(usual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where relay will look for it; the next commands name another place."""
    monkeypatch.setenv("RELAY_CONFIG", str(tmp_path / "mine.yaml"))
    assert "next: relay check, " in run("init", "--slack", SLACK).stdout
    assert (tmp_path / "mine.yaml").exists()
    other = tmp_path / "other.yaml"
    result = run("init", "--slack", SLACK, "--output", str(other))
    assert f"next: relay check --config {other}, " in result.stdout
    assert not usual.exists()


@given(st.text(max_size=60), st.lists(st.text(max_size=20), max_size=2))
@settings(max_examples=examples(60))
def test_any_value(url: str, projects: list[str]) -> None:
    """What is written is valid, and there is an error about an option otherwise."""
    options = [word for name in projects for word in ("--project", name)]
    result = run("init", "--webhook", f"https://example.com/{url}", *options, "--output", "-")
    if result.exit_code == 0:
        assert result.stdout.startswith("# relay's configuration.")
    else:
        assert isinstance(result.exception, ConfigError)
        lines = str(result.exception).splitlines()
        assert all(line.startswith("relay init: --") for line in lines), lines


WHAT_IS_SENT = """
config: config.yaml
tests:
  - name: a crash, in its project only
    events:
      - {action: die, name: web, exit_code: 3, label: {com.docker.compose.project: shop}}
      - {action: die, name: other, exit_code: 3, label: {com.docker.compose.project: blog}}
      - {action: die, name: none, exit_code: 3}
    expect: [{route: died, to: webhook, match: {name: web}}]
  - name: an OOM kill
    events: [{action: oom, name: web, label: {com.docker.compose.project: shop}}]
    expect: [{route: died, to: webhook}]
  - name: a failing health check
    events:
      - action: "health_status: unhealthy"
        name: web
        label: {com.docker.compose.project: shop}
    expect: [{route: unhealthy, to: webhook}]
  - name: a lost engine, whatever the project
    events: [{type: relay, action: engine_lost, attribute: {reason: gone}}]
    expect: [{route: engine-lost, to: webhook}]
  - name: not an end by itself
    events:
      - {action: die, name: job, exit_code: 0, label: {com.docker.compose.project: shop}}
    expect: []
"""


def test_what_the_file_sends(tmp_path: Path) -> None:
    """What fails in the project, and the engine that hosts it."""
    file = tmp_path / "config.yaml"
    arguments = ("--webhook", "https://example.com/x", "--project", "shop")
    assert run("init", *arguments, "--output", str(file)).exit_code == 0
    tests = tmp_path / "tests.yaml"
    tests.write_text(WHAT_IS_SENT)
    result = run("test", str(tests))
    assert "5 tests, none failed" in result.output, result.output
