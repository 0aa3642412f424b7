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
WITH_INCIDENTS = """
engines: {here: {}, edge: {}}
destinations:
  ops: {type: slack, url: "https://hooks.slack.com/services/T/B/x"}
  oncall: {type: pagerduty, routing_key: "0123456789abcdef0123456789abcdef", send_resolved: false}
routes:
  - {name: page, match: {engine: edge, action: die, cause: crashed}, to: oncall, stop: true}
  - {name: out-of-memory, match: {type: container, action: oom}, to: ops}
  - {name: crashed, match: {type: container, action: die, cause: crashed}, to: ops}
"""
ROOT = Path(__file__).parents[3]
STREAMS = ROOT / "tests/streams"
PULL = b'{"Type": "image", "Action": "pull", "Actor": {"ID": "bb:1"}, "timeNano": 1}\n'


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    monkeypatch.setenv("RELAY_CONFIG", str(path))
    monkeypatch.setattr("relay.admin.logs.configure", lambda stream, level: None)
    return path


@pytest.fixture
def incidents(file: Path) -> None:
    """The configuration has destinations of incidents only."""
    file.write_text(WITH_INCIDENTS)


def _line(action: str, at_s: int, **attributes: str) -> bytes:
    """A record of a container."""
    actor = {"ID": "c0", "Attributes": {"name": "web", **attributes}}
    event = {"Type": "container", "Action": action, "Actor": actor}
    return json.dumps({**event, "timeNano": (at_s + 10**9) * 10**9}).encode() + b"\n"


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(cli.relay, ["replay", *arguments], input=stdin)


def test_a_table_of_notifications() -> None:
    """Shows when what is sent to whom, and what it says."""
    result = run(str(STREAMS / "docker26.jsonl"))
    assert result.exit_code == 0
    assert (
        result.stdout
        == """\
AT                    STATUS  REASON  COUNT  ROUTE          TO               WHAT
2026-11-23 07:29:33Z  event           1      crashed        terminal, audit  failed crashed with exit code 3
2026-11-23 07:29:34Z  event           1      out-of-memory  terminal         oomed ran out of memory (OOM)
2026-11-23 07:29:38Z  event           1      crashed        terminal, audit  hostkilled crashed with exit code 137 (SIGKILL: killed)
2026-11-23 07:29:38Z  event           1      crashed        terminal, audit  looping crashed with exit code 1
2026-11-23 07:29:38Z  event           1      crashed        terminal, audit  looping crashed with exit code 1
2026-11-23 07:29:39Z  event           1      crashed        terminal, audit  looping crashed with exit code 1
2026-11-23 07:29:39Z  event           1      crashed        terminal, audit  looping crashed with exit code 1
2026-11-23 07:29:49Z  event           1      crashed        terminal, audit  shop-web-1 crashed with exit code 42
"""  # noqa: E501
    )
    assert result.stderr == (
        "187 events, 8 notifications to terminal, 7 to audit, 0 held; nothing was sent\n"
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_incidents(engine: str, incidents: None) -> None:
    """A message about incidents has its own time, status, reason and count.

    All containers are removed at the end of the recording, so every incident is resolved; a pager
    gets no message about one that was over before it could be sent.
    """
    result = run(str(STREAMS / f"{engine}.jsonl"))
    rows = [line.split()[2:7] for line in result.stdout.splitlines()[1:]]
    assert rows == [
        ["firing", "opened", "1", "crashed", "ops"],
        ["firing", "opened", "1", "out-of-memory", "ops"],
        ["firing", "opened", "1", "crashed", "ops"],
        ["firing", "opened", "4", "crashed", "ops"],
        ["firing", "opened", "1", "crashed", "ops"],
        ["resolved", "resolved", "0", "crashed", "ops"],
    ]
    assert result.stderr == "187 events, 6 notifications to ops, 0 held; nothing was sent\n"


def test_what_is_not_reported(incidents: None) -> None:
    """Is counted: by its reason if it was held, else as waiting for the next update."""
    beginning = [_line("die", 0, exitCode="1"), _line("start", 1), _line("die", 2, exitCode="1")]
    at_once = run("-", "--engine", "edge", stdin=b"".join(beginning))
    assert "3 events, 1 notification to oncall, 0 held, 1 counted, to be" in at_once.stderr
    ended = run("-", "--engine", "edge", stdin=b"".join([*beginning, _line("destroy", 3)]))
    assert "4 events, 1 notification to oncall, 1 held (send_resolved 1);" in ended.stderr


def test_the_documented_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table in docs/testing.md is that of a recording with the example configuration."""
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/T/B/x")
    monkeypatch.setenv("AUDIT_TOKEN", "test")
    records = [each for each in read_records("docker26") if b'"looping"' in each]
    result = run("-", "--config", str(ROOT / "config.example.yaml"), stdin=b"\n".join(records))
    page = (ROOT / "docs/testing.md").read_text()
    assert f"| relay replay -\n{result.stdout}{result.stderr}```\n" in page


def test_json(incidents: None) -> None:
    """One object a line: notifications as ``format: json`` sends them, then a summary."""
    result = run(str(STREAMS / "docker26.jsonl"), "--json")
    *sent, last = map(json.loads, result.stdout.splitlines())
    assert last == {
        "summary": {"events": 187, "notifications": {"ops": 6}, "held": {}, "waiting": 0}
    }
    assert sent[3]["at"] == "2026-11-23T07:29:41.685858041Z"
    assert sent[3]["to"] == ["ops"]
    notification = sent[3]["notification"]
    assert (notification["reason"], notification["count"]) == ("opened", 4)
    assert notification["incidents"][0]["subject"] == "looping"


def test_json_is_not_delivered() -> None:
    """With --deliver the command prints something else."""
    result = run("-", "--json", "--deliver", stdin=PULL)
    assert result.exit_code == 2
    assert "--json shows what would be sent; leave it out to send it" in result.output


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
    assert result.stderr == "1 event, no notifications, 0 held\n"


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
