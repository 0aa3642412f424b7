"""``relay tail``, where it is used wrongly or nobody is there."""

import signal

import pytest

from tests.unit.cli.cli_store import Installation, failure, run

PAST_INSTEAD = "read what the engines remember with --since 10m"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--until", "5m"], "--until goes with --since"),
        (["--since", "1m", "--until", "2m"], "--since is not before --until"),
        (["--since", "2200-01-01T00:00:00Z"], "--since is not before --until"),
        (["--since", "soon"], "'soon' is not a duration"),
        (["--since", "1m", "--engine", "hree"], "no engine 'hree'; there are: local"),
        (["--engine", "a\x1b"], r"no engine 'a\x1b'; there are: local"),
    ],
)
def test_wrong_usage(place: Installation, arguments: list[str], words: str) -> None:
    """It is said what is wrong, before anybody is asked."""
    result = run("tail", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_no_relay_runs(place: Installation) -> None:
    """It says so, and what can be done without one; no store is made."""
    words = failure(run("tail"))
    assert words.startswith(f"no relay is running (nobody listens at {place.store}.sock: ")
    assert words.endswith(f"start one, or {PAST_INSTEAD}")
    assert not place.store.exists()


def test_without_a_configuration(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no relay that could be found."""
    monkeypatch.delenv("RELAY_CONFIG")
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", place.file.parent / "none.yaml")
    words = failure(run("tail"))
    assert "no relay can be asked without a configuration file" in words
    assert words.endswith(PAST_INSTEAD)


def test_an_engine_that_cannot_be_reached(place: Installation) -> None:
    """It is told, with exit code 1."""
    engines = 'engines: {gone: {url: "unix:///nowhere/docker.sock"}}\n'
    place.file.write_text(engines + place.file.read_text())
    result = run("tail", "--since", "10m")
    assert result.exit_code == 1
    assert result.output == "engine gone: /nowhere/docker.sock: No such file or directory\n"


def test_signals_are_left_as_they_were(place: Installation) -> None:
    """Whatever comes of it."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run("tail")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
