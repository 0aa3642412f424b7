"""``relay reload``."""

from pathlib import Path

import pytest

from relay.admin.operations import NotReloaded
from relay.core.errors import ConfigError, Problem
from tests.unit.cli.cli_store import Installation, failure, run, running_relay

PROBLEMS = [
    Problem("config.yaml", 3, 7, "routes[0].to", "'hok' is not a destination"),
    Problem("config.yaml", 9, 1, "admn", "unknown key 'admn'"),
]


def test_changes(installation: Installation) -> None:
    """Are printed on one line."""
    changes = ["destination hook added", "routes changed"]
    with running_relay(installation.store, reload=lambda: changes):
        result = run("reload")
    assert result.output == "reloaded: destination hook added, routes changed\n"
    assert result.exit_code == 0


def test_no_changes(installation: Installation) -> None:
    """Says that nothing has changed."""
    with running_relay(installation.store):
        result = run("reload")
    assert (result.exit_code, result.output) == (0, "reloaded: nothing has changed\n")


def test_a_wrong_configuration(installation: Installation) -> None:
    """Prints every problem, and that the old configuration stays; the exit code is 1."""

    def refuse() -> list[str]:
        raise ConfigError(PROBLEMS)

    with running_relay(installation.store, reload=refuse):
        result = run("reload")
    assert isinstance(result.exception, NotReloaded)
    assert failure(result) == (
        "not reloaded; the configuration from before stays in force\n"
        "config.yaml:3:7: routes[0].to: 'hok' is not a destination\n"
        "config.yaml:9:1: admn: unknown key 'admn'"
    )


@pytest.mark.parametrize("has_store", [False, True])
def test_without_a_relay(installation: Installation, has_store: bool) -> None:
    """Fails, and says what to do if the store's path was changed."""
    if has_store:
        installation.store.touch()
    assert failure(run("reload")) == (
        f"no relay is running with the store {installation.store}: when one starts, it reads the "
        "configuration. If store.path was changed, restart the running one"
    )


def test_a_file_that_is_not_yaml(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay at the default location is asked, since the file does not name the store."""
    installation.file.write_text("routes: [")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))

    def refuse() -> list[str]:
        raise ConfigError(PROBLEMS)

    with running_relay(installation.store, reload=refuse):
        assert "config.yaml:9:1: admn" in failure(run("reload"))


def test_a_file_that_is_not_yaml_without_a_relay(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails with the problems of the file."""
    installation.file.write_text("routes: [")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    result = run("reload")
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"{installation.file}:1:")
