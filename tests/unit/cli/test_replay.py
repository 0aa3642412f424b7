"""``relay replay``, with destinations on the console."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay import cli
from tests.streams import ENGINES, read_records

CONFIG = """
engines: {here: {}, edge: {}}
destinations: {terminal: {type: console}, audit: {type: console}}
routes:
  - {name: out-of-memory, match: {type: container, action: oom}, to: terminal}
  - {name: crashed, match: {type: container, action: die, cause: crashed}, to: [terminal, audit]}
  - {name: edge, match: {engine: edge, action: pull}, to: audit, include: {logs: 5}}
"""
STREAMS = Path(__file__).parents[2] / "streams"
PULL = b'{"Type": "image", "Action": "pull", "Actor": {"ID": "bb:1"}, "timeNano": 1}\n'


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    monkeypatch.setenv("RELAY_CONFIG", str(path))
    monkeypatch.setattr("relay.admin.logs.configure", lambda stream, level: None)
    return path


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.relay, ["replay", *arguments], input=stdin)


def test_a_table_of_notifications() -> None:
    """Shows the time, the event, its cause, its route and its destinations."""
    result = run(str(STREAMS / "docker26.jsonl"))
    assert result.exit_code == 0
    assert (
        result.stdout
        == """\
TIME                  EVENT                     CAUSE    ROUTE          TO
2026-11-23 07:29:33Z  container die failed      crashed  crashed        terminal, audit
2026-11-23 07:29:34Z  container oom oomed                out-of-memory  terminal
2026-11-23 07:29:38Z  container die hostkilled  crashed  crashed        terminal, audit
2026-11-23 07:29:38Z  container die looping     crashed  crashed        terminal, audit
2026-11-23 07:29:38Z  container die looping     crashed  crashed        terminal, audit
2026-11-23 07:29:39Z  container die looping     crashed  crashed        terminal, audit
2026-11-23 07:29:39Z  container die looping     crashed  crashed        terminal, audit
2026-11-23 07:29:49Z  container die shop-web-1  crashed  crashed        terminal, audit
"""
    )
    assert result.stderr == "187 events\n15 deliveries; nothing was sent\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_standard_input(engine: str) -> None:
    """- reads standard input, with the same result as a file."""
    piped = run("-", stdin=b"\n".join(read_records(engine)))
    assert piped.output == run(str(STREAMS / f"{engine}.jsonl")).output


def test_an_engine() -> None:
    """The events may come from another engine than the first."""
    assert "edge" not in run("-", stdin=PULL).stdout
    assert "edge   audit" in run("-", "--engine", "edge", stdin=PULL).stdout


def test_an_unknown_engine() -> None:
    """Is bad usage; the message lists the engines."""
    result = run("-", "--engine", "hree", stdin=PULL)
    assert result.exit_code == 2
    assert "no engine 'hree'; there are: here, edge" in result.output


def test_podman() -> None:
    """With --podman a second cleanup shows a stop."""
    names = ("die", "cleanup", "cleanup")
    records = b"".join(
        json.dumps(
            {
                "Type": "container",
                "Action": action,
                "Actor": {"ID": "c0", "Attributes": {"name": "web", "containerExitCode": "137"}},
                "timeNano": 10**18 + number,
            }
        ).encode()
        + b"\n"
        for number, action in enumerate(names)
    )
    assert "crashed" in run("-", stdin=records).stdout
    assert run("-", "--podman", stdin=records).stdout == ""


def test_invalid_lines() -> None:
    """Are skipped and counted; the first is named."""
    result = run("-", stdin=b"hello\n\n" + b"\n".join(read_records("docker26")) + b"\n{}\n")
    assert result.exit_code == 0
    assert "skipped 2 lines: line 1 is not an event (not_json)" in result.stderr


def test_a_file_without_events() -> None:
    """Is bad usage."""
    result = run("-", stdin=b"hello\n")
    assert result.exit_code == 2
    assert "- holds no event: line 1 is not an event (not_json)" in result.output


def test_nothing_to_send() -> None:
    """No table is printed, and the command succeeds."""
    result = run("-", "--deliver", stdin=PULL)
    assert result.exit_code == 0
    assert result.stdout == ""


def test_delivered(capfd: pytest.CaptureFixture[str]) -> None:
    """Sends the notification, without what the route includes, and prints a summary."""
    result = run("-", "--engine", "edge", "--deliver", stdin=PULL)
    assert result.exit_code == 0
    (sent,) = capfd.readouterr().out.splitlines()
    assert json.loads(sent)["route"] == "edge"
    assert result.stdout.splitlines()[-1].split() == ["audit", "1", "0", "0"]


def test_hostile_names() -> None:
    """Control characters are escaped, and long names are cut."""
    name = "\x1b[2J" + "x" * 500
    event = {"Type": "container", "Action": "oom", "timeNano": 1}
    event["Actor"] = {"ID": "c0", "Attributes": {"name": name}}
    result = run("-", stdin=json.dumps(event).encode())
    assert "\x1b" not in result.output
    assert len(result.stdout.splitlines()[1]) < 200


def test_a_missing_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the file; the exit code is 1."""
    monkeypatch.setattr("sys.argv", ["relay", "replay", "/gone.jsonl"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == "relay: /gone.jsonl: No such file or directory\n"
