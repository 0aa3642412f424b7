"""``relay send``."""

import json
import socket
from pathlib import Path

import pytest

from relay.core.include import Included
from relay.core.severity import Severity
from relay.destinations.catalog import load_config
from relay.dryrun.sample import SampleKind, build_sample
from tests.unit.cli.cli_store import run

pytestmark = pytest.mark.usefixtures("file")


def test_send_to_an_unknown_destination() -> None:
    """Is bad usage; the message lists the destinations."""
    result = run("send", "opps")
    assert result.exit_code == 2
    assert "no destination 'opps'; there are: terminal, ops, audit" in result.output


def test_send_prints_the_answer(capfd: pytest.CaptureFixture[str]) -> None:
    """A console destination prints the notification; the command prints its answer."""
    result = run("send", "terminal")
    assert result.exit_code == 0
    assert json.loads(capfd.readouterr().out)["route"] == "test"
    assert result.stdout == "terminal: answered 200\nterminal: delivered\n"


def test_send_ends_with_1_if_not_delivered(file: Path) -> None:
    """Prints why, and what relay would do then, without secrets."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}/"
        file.write_text(file.read_text().replace("127.0.0.1:1/", address))
        result = run("send", "audit")
    assert result.exit_code == 1
    assert result.output == (
        "audit: no answer (connection): Connection refused\n"
        "audit: relay would try this again (connection)\n"
        "audit: check the host, the port, the proxy and the firewall; in a container, localhost is "
        "the container itself\n"
    )


@pytest.mark.parametrize(
    ("kind", "route", "expected"),
    [
        ("crash", "crashed", {"action": "die", "exit_code": 1, "cause": "crashed"}),
        ("oom", None, {"action": "die", "exit_code": 137, "cause": "oom"}),
        ("unhealthy", None, {"action": "health_status", "health": "unhealthy", "cause": None}),
    ],
)
def test_a_sample(
    capfd: pytest.CaptureFixture[str], kind: str, route: str | None, expected: dict[str, object]
) -> None:
    """``--event`` sends what a real one looks like, as the route does that would send it."""
    result = run("send", "terminal", "--event", kind)
    assert result.exit_code == 0
    document = json.loads(capfd.readouterr().out)
    assert document["route"] == (route or "test")
    (event,) = document["events"]
    assert event | expected == event
    assert event["actor"]["name"] == "relay-test"
    assert (event["type"], event["engine"], event["origin"]) == ("container", "here", "live")
    words = f"as route {route} sends it" if route else "no route sends such an event to it"
    assert words in result.stderr


def test_a_sample_of_a_route_with_its_own_words(file: Path) -> None:
    """Its severity counts, and what it includes is described."""
    text = file.read_text().replace(
        "match: {action: die, label: {tier: web}}", "match: {action: oom}"
    )
    file.write_text(text.replace("stop: true", "severity: warning"))
    config = load_config(file, {"TOKEN": "s3cret"})
    sample = build_sample(SampleKind.OOM, config, "terminal", "node-1", 7)
    assert sample.route == "died"
    notification = sample.notification
    assert (notification.severity, notification.events[0].host) == (Severity.WARNING, "node-1")
    assert notification.included == Included(
        logs=("(the last lines that the container wrote)",),
        health="(the output of its last health check)",
        inspect={"RestartCount": "(its value)"},
    )


def test_a_sample_of_an_incident(file: Path) -> None:
    """A destination of incidents gets the message that opens one, with what its route includes."""
    text = file.read_text().replace("to: terminal\n", "to: ops\n")
    file.write_text(
        text.replace("match: {action: die, label: {tier: web}}", "match: {action: oom}")
    )
    config = load_config(file, {"TOKEN": "s3cret"})
    notification = build_sample(SampleKind.OOM, config, "ops", "node-1", 7).notification
    assert notification.update is not None
    (report,) = notification.update.incidents
    assert (report.subject, report.reason, report.count) == ("relay-test", "opened", 1)
    assert report.included is not None
    assert notification.included == report.included
    assert report.included.logs == ("(the last lines that the container wrote)",)
