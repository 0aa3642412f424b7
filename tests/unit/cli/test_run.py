"""``relay run``: its event loop, its memory, and the level of its log."""

import asyncio
import ctypes
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from click.testing import CliRunner

from relay import cli
from relay.admin.logs import LogOutput
from relay.cli.run import _loop_factory, return_large_blocks
from relay.config import Config
from relay.daemon.run import Environment

Started = tuple[list[dict[str, object]], Path | None]

CONFIG = """
log: {level: warning}
destinations: {terminal: {type: console}}
routes: [{name: all, to: terminal}]
"""


def test_with_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop is used if it is installed."""
    fake = SimpleNamespace(new_event_loop=asyncio.new_event_loop)
    monkeypatch.setitem(sys.modules, "uvloop", fake)
    assert _loop_factory() is asyncio.new_event_loop


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise asyncio's own loop is used."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert _loop_factory() is None


def test_large_blocks_are_mapped_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """relay sets both thresholds of the C library, so that neither adapts itself any longer."""
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    return_large_blocks()
    assert dict(calls) == {-3: 2**20, -1: 2 * 2**20}


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_another_c_library(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """musl has no such function."""

    def refuse(_: object) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    return_large_blocks()


@pytest.mark.parametrize(
    ("options", "levels"), [((), ["warning", "error"]), (("--debug",), ["debug"])]
)
def test_the_level_of_the_log(
    options: tuple[str, ...], levels: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The configuration's, at the start and after a reload, unless there is ``--debug``."""
    set_levels: list[str] = []

    def configure(_: object, level: str) -> LogOutput:
        set_levels.append(level)
        return LogOutput(io.StringIO(), str)

    async def run_daemon(_: Config, __: Path, environment: Environment, *___: object) -> None:
        environment.set_log_level("error")

    monkeypatch.setattr("relay.admin.logs.configure", configure)
    monkeypatch.setattr("relay.admin.logs.set_level", set_levels.append)
    monkeypatch.setattr("relay.daemon.run.run_daemon", run_daemon)
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    result = CliRunner().invoke(cli.relay, ["run", "--config", str(file), *options])
    assert (result.exit_code, set_levels) == (0, levels)


def test_without_a_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first line says what is used instead, and where a file was looked for."""
    written = io.StringIO()

    async def run_daemon(*_: object) -> None:
        structlog.get_logger().info("relay.started")

    monkeypatch.delenv("RELAY_CONFIG", raising=False)
    nowhere = tmp_path / "config.yaml"
    for module in ("options", "run"):
        monkeypatch.setattr(f"relay.cli.{module}.DEFAULT_FILE", nowhere)
    monkeypatch.setattr("relay.cli.run.StandardError", lambda: written)
    monkeypatch.setattr("relay.daemon.run.run_daemon", run_daemon)
    assert CliRunner().invoke(cli.relay, ["run"]).exit_code == 0
    first, second = map(json.loads, written.getvalue().splitlines())
    assert first["event"] == "relay.without_config"
    assert first["uses"] == "the built-in configuration"
    assert first["looked_at"] == f"$RELAY_CONFIG (not set), {nowhere} (not there)"
    assert second["event"] == "relay.started"


def run_without_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **environ: str) -> Started:
    """Run it where no file is; return its log, and the store that it was given."""
    written, stores = io.StringIO(), []

    async def run_daemon(_: Config, store: Path | None, *__: object) -> None:
        stores.append(store)
        structlog.get_logger().info("relay.started")

    for module in ("options", "run"):
        monkeypatch.setattr(f"relay.cli.{module}.DEFAULT_FILE", tmp_path / "config.yaml")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("relay.cli.run.StandardError", lambda: written)
    monkeypatch.setattr("relay.daemon.run.run_daemon", run_daemon)
    result = CliRunner().invoke(cli.relay, ["run"])
    assert result.exception is None
    return [json.loads(line) for line in written.getvalue().splitlines()], stores[0]


def test_with_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The first line names it, and where the rest can be seen; deliveries are kept on disk."""
    (first, second), store = run_without_a_file(
        monkeypatch, tmp_path, RELAY_NTFY_TOPIC="s3cret", STATE_DIRECTORY=str(tmp_path)
    )
    assert first["event"] == "relay.without_config"
    assert first["uses"] == "the built-in configuration, with RELAY_NTFY_TOPIC"
    assert first["shown_by"] == "relay check --show"
    assert second["event"] == "relay.started"
    assert store == tmp_path / "relay.db"


def test_with_a_whole_configuration_in_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Relative paths start at the current folder."""
    monkeypatch.chdir(tmp_path)
    text = CONFIG.replace("warning", "info") + "store: {path: here.db}"
    (first,), store = run_without_a_file(monkeypatch, tmp_path, RELAY_CONFIG_YAML=text)
    assert first["event"] == "relay.started"
    assert store == tmp_path / "here.db"


def test_a_variable_that_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beside the file of the command line it is mentioned."""
    written = io.StringIO()

    async def run_daemon(*_: object) -> None:
        pass

    monkeypatch.setenv("RELAY_NTFY_TOPIC", "s3cret")
    monkeypatch.setattr("relay.cli.run.StandardError", lambda: written)
    monkeypatch.setattr("relay.daemon.run.run_daemon", run_daemon)
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    assert CliRunner().invoke(cli.relay, ["run", "--config", str(file)]).exit_code == 0
    (line,) = map(json.loads, written.getvalue().splitlines())
    assert (line["event"], line["variables"]) == ("relay.variables_unused", "RELAY_NTFY_TOPIC")
    assert line["reason"] == f"{file} does not refer to them"
