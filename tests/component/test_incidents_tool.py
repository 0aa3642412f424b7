"""``tools.incidents`` counts and compares what it should; on an engine it is run by hand."""

import json
from pathlib import Path
from typing import Any

from relay.destinations.catalog import load_config
from tests.support.daemon import write_config
from tests.support.incident_rows import full_rows
from tests.support.incident_stage import Row
from tests.support.receiver import Receiver
from tools.incidents import REPOSITORY, STIMULI, compare, make_config, report

FIRST_S = 1_800_000_000.0
ROW = next(row for row in full_rows(60) if row.name == "a1")


def receive(receiver: Receiver, row: Row, kind: str, id_: str, **document: Any) -> None:
    """A request arrives for a row."""
    headers = {"webhook-id": id_}
    receiver.handle("POST", f"/{row.name}/{kind}", headers, json.dumps(document).encode())


def play(receiver: Receiver, *, ended: str | None, count: int = 1) -> None:
    """A crash arrives at the audit, and its incident at the destination of incidents."""
    receive(receiver, ROW, "audit", "ntf_1", events=[{"time_ns": 10**9 * int(FIRST_S)}])
    incident = {"subject": "a1-web-1", "crash_looping": False, "resolution": None}
    message: dict[str, Any] = {"status": "firing", "reason": "opened", "count": count}
    receive(receiver, ROW, "reported", "ntf_2", **message, incidents=[incident])
    if ended is not None:
        message = {"status": "resolved", "reason": "resolved", "count": 0}
        receive(
            receiver,
            ROW,
            "reported",
            "ntf_3",
            **message,
            incidents=[{**incident, "resolution": ended}],
        )


def is_as_expected(receiver: Receiver) -> bool:
    """Whether the tool finds what the row expects, whenever it came."""
    row = Row(ROW.name, ROW.play, ROW.expected)
    text, same = compare(row, receiver, None)
    assert ("DIFFERENT" in text) is not same
    return same


def test_a_row_is_compared() -> None:
    """Another end, a missing message and a wrong count are all different."""
    for ended, count, expected in (
        ("recovered", 1, True),
        ("removed", 1, False),
        (None, 1, False),
        ("recovered", 2, False),
    ):
        with Receiver() as receiver:
            play(receiver, ended=ended, count=count)
            assert is_as_expected(receiver) is expected


def test_a_row_is_timed() -> None:
    """A message that comes years late is different."""
    with Receiver() as receiver:
        play(receiver, ended="recovered")
        assert not compare(ROW, receiver, None)[1]


def test_messages_are_counted() -> None:
    """By stimulus, with their texts."""
    message = {
        "text": "web crashed",
        "blocks": [{"text": {"type": "plain_text", "text": "web\n3"}}],
    }
    with Receiver() as receiver:
        receiver.handle("POST", "/loop", {}, json.dumps(message).encode())
        text = report(STIMULI, receiver, {each.name: 0.0 for each in STIMULI})
    (row,) = (line for line in text.splitlines() if line.startswith("| a crash loop"))
    assert row.endswith("| 1 |")
    assert text.count(" s: web 3") == 1


def test_the_configuration(tmp_path: Path) -> None:
    """It is valid, and each stimulus has the example's routes for its project alone."""
    with Receiver() as receiver:
        example = REPOSITORY / "config.example.yaml"
        parts = make_config(example, "unix:///nowhere.sock", receiver, STIMULI)
    config = load_config(write_config(tmp_path, **parts), environ={"SLACK_WEBHOOK_URL": "unused"})
    assert set(config.destinations) == {f"ops-{each.name}" for each in STIMULI}
    for route in parts["routes"]:
        if not route.get("drop"):
            project = route["match"]["label"]["com.docker.compose.project"]
            assert (route["to"], route["name"].endswith(f"-{project}")) == (f"ops-{project}", True)
