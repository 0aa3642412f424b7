"""``relay tail``: wrong usage, and without a running relay or engine."""

import signal

import pytest

from tests.unit.cli.cli_store import Installation, failure, run

PAST_INSTEAD = "read what the engines remember with --since 10m"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--until", "5m"], "--until needs --since"),
        (["--since", "1m", "--until", "2m"], "--since is not before --until"),
        (["--since", "2200-01-01T00:00:00Z"], "--since is not before --until"),
        (["--since", "soon"], "'soon' is not a duration"),
        (["--since", "1m", "--engine", "hree"], "no engine 'hree'; there are: local"),
        (["--engine", "a\x1b"], r"no engine 'a\x1b'; there are: local"),
    ],
)
def test_wrong_usage(installation: Installation, arguments: list[str], words: str) -> None:
    """Is reported before anything is connected to."""
    result = run("tail", *arguments)
    assert result.exit_code == 2
    assert words in result.output


def test_the_history_of_other_hosts(installation: Installation) -> None:
    """Only their own relays can ask their engines."""
    text = installation.file.read_text()
    nats = "engines: {fleet: {type: nats, url: nats://a, stream: S, consumer: C}}\n"
    installation.file.write_text(nats + text)
    for arguments in (["--since", "1m"], ["--since", "1m", "--engine", "fleet"]):
        result = run("tail", *arguments)
        assert result.exit_code == 2
        assert "an engine of 'type: nats' remembers nothing" in result.output


def test_without_a_relay(installation: Installation) -> None:
    """Says so, and what works without one; creates no store."""
    message = failure(run("tail"))
    assert message.startswith(f"no relay is running (nobody listens at {installation.store}.sock: ")
    assert message.endswith(f"start one, or {PAST_INSTEAD}")
    assert not installation.store.exists()


def test_without_a_configuration(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Says so, and what works without one."""
    monkeypatch.delenv("RELAY_CONFIG")
    monkeypatch.setattr("relay.cli.options.DEFAULT_FILE", installation.file.parent / "none.yaml")
    message = failure(run("tail"))
    assert "without a configuration file there is no running relay to ask" in message
    assert message.endswith(PAST_INSTEAD)


def test_an_unreachable_engine(installation: Installation) -> None:
    """Is reported, with exit code 1."""
    engines = 'engines: {gone: {url: "unix:///nowhere/docker.sock"}}\n'
    installation.file.write_text(engines + installation.file.read_text())
    result = run("tail", "--since", "10m")
    assert result.exit_code == 1
    assert result.output == "engine gone: /nowhere/docker.sock: No such file or directory\n"


def test_signal_handlers_are_restored(installation: Installation) -> None:
    """The command restores them however it ends."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run("tail")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
