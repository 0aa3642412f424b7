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


def test_what_it_changed(place: Installation) -> None:
    """It is printed, in a line."""
    changes = ["destination hook added", "routes changed"]
    with running_relay(place.store, reload=lambda: changes):
        result = run("reload")
    assert result.output == "reloaded: destination hook added, routes changed\n"
    assert result.exit_code == 0


def test_nothing(place: Installation) -> None:
    """That is said, too."""
    with running_relay(place.store):
        result = run("reload")
    assert (result.exit_code, result.output) == (0, "reloaded: nothing has changed\n")


def test_a_file_with_mistakes(place: Installation) -> None:
    """Every problem is told with its line, and that nothing has changed; the exit code is 1."""

    def refuse() -> list[str]:
        raise ConfigError(PROBLEMS)

    with running_relay(place.store, reload=refuse):
        result = run("reload")
    assert isinstance(result.exception, NotReloaded)
    assert failure(result) == (
        "not reloaded; the configuration from before stays in force\n"
        "config.yaml:3:7: routes[0].to: 'hok' is not a destination\n"
        "config.yaml:9:1: admn: unknown key 'admn'"
    )


@pytest.mark.parametrize("kept", [False, True])
def test_without_a_relay(place: Installation, kept: bool) -> None:
    """There is none that could read it; or it has another store, which a start alone changes."""
    if kept:
        place.store.touch()
    assert failure(run("reload")) == (
        f"no relay is running with the store {place.store}: when one starts, it reads the "
        "configuration. If store.path was changed, restart the one that runs"
    )


def test_a_file_that_is_no_yaml(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say where the store is: the relay at the usual place is asked all the same."""
    place.file.write_text("routes: [")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))

    def refuse() -> list[str]:
        raise ConfigError(PROBLEMS)

    with running_relay(place.store, reload=refuse):
        assert "config.yaml:9:1: admn" in failure(run("reload"))


def test_a_file_that_is_no_yaml_without_a_relay(
    place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with it is told."""
    place.file.write_text("routes: [")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    result = run("reload")
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception).startswith(f"{place.file}:1:")
