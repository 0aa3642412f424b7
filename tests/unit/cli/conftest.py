from pathlib import Path

import pytest

from tests.unit.cli.cli_store import Installation, clear_variables

CONFIG = """
store: {path: relay.db}
destinations:
  ops: {type: console}
  audit: {type: console, ordering: none}
routes:
  - {name: crashed, to: [ops, audit]}
"""

FULL_CONFIG = """
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


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of relay's is set."""
    clear_variables(monkeypatch)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """A configuration with two destinations, whose store is not there yet."""
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    monkeypatch.setenv("RELAY_CONFIG", str(file))
    monkeypatch.setattr("relay.admin.logs.configure", lambda stream, level: None)
    return Installation(file, tmp_path / "relay.db")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with all kinds of routes, on a machine on which nothing else is set."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "STATE_DIRECTORY", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TOKEN", "s3cret")
    path = tmp_path / "config.yaml"
    path.write_text(FULL_CONFIG)
    monkeypatch.setenv("RELAY_CONFIG", str(path))
    return path
