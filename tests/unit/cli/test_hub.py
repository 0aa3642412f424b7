"""The commands at a hub: they show the host of what they show, and take it."""

import json

import pytest

from tests.unit.cli import cli_store
from tests.unit.cli.cli_store import Installation, run, running_relay
from tests.unit.cli.incident_samples import fill
from tests.unit.incidents.events import die, ns
from tests.unit.incidents.fleet import VIA, of, silent
from tests.unit.incidents.test_fleet import hub

CONFIG = """
store: {path: relay.db}
engines:
  fleet: {type: nats, url: [tls://nats1:4222, tls://nats2:4222], stream: RELAY, consumer: HUB}
destinations:
  ops: {type: slack, url: "https://hooks.slack.com/services/T/B/x"}
routes:
  - {name: died, match: {action: die, cause: [crashed, oom]}, to: ops}
  - {name: own, match: {type: relay, action: [engine_lost, engine_back]}, to: ops}
"""


@pytest.fixture
def stored(installation: Installation) -> Installation:
    """Incidents of two hosts, whose containers have the same name, and of one that is silent."""
    installation.file.write_text(CONFIG)
    world = hub()
    world.take(of("web-1", die(0)), of("web-2", die(0)), silent("db-1", 5))
    fill(installation, world)
    return installation


@pytest.fixture(autouse=True)
def _setup(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that runs has the same routes."""
    monkeypatch.setattr(cli_store, "Setup", lambda: hub().setup)


def test_incidents(stored: Installation) -> None:
    with running_relay(stored.store, now_ns=ns(20)):
        subjects = run("incidents").stdout
        chosen = run("incidents", "--json", "--host", "web-*").stdout.splitlines()
        none = run("incidents", "--host", "web-3")
    for words in ("web-1 on web-1 ", "web-1 on web-2 ", " db-1 "):
        assert words in subjects
    assert {json.loads(line)["host"] for line in chosen} == {"web-1", "web-2"}
    assert none.stderr == "no incident is open on web-3\n"


def test_an_incident(stored: Installation) -> None:
    with running_relay(stored.store, now_ns=ns(20)):
        (line,) = run("incidents", "--json", "--host", "db-1").stdout.splitlines()
        page = run("incidents", "show", json.loads(line)["id"]).stdout
    assert "  host         db-1\n" in page
    assert "opened: host db-1 is silent: no heartbeat for 5m" in page


@pytest.mark.parametrize("host", ["web-1", "web-3"])
def test_explain(stored: Installation, host: str) -> None:
    """Whether the container of that host has an incident, and the groups by host."""
    arguments = ("--action", "die", "--attribute", "exitCode=3", "--name", "web-1")
    with running_relay(stored.store, now_ns=ns(20)):
        result = run("explain", "--now", "--host", host, *arguments)
    assert result.exit_code == 0, result.output
    known = "→ ops: open: down" if host == "web-1" else "→ ops: opens an incident (web-1)"
    assert known in result.stdout
    result = run("explain", "--host", host, *arguments)
    assert f"told in 3 s with others of {host}/local/web-1" in result.stdout


def test_explain_the_host_of_a_route(installation: Installation) -> None:
    """Routes may name hosts, and engines of other hosts."""
    match = "match: {host: web-*, engine: podman}"
    installation.file.write_text(
        CONFIG.replace("match: {action: die, cause: [crashed, oom]}", match)
    )
    result = run("explain", "--host", "db-1", "--action", "die")
    assert "host: wanted 'web-*', found 'db-1'" in result.stdout


def test_a_silence(stored: Installation) -> None:
    """It may name a host, and an engine that only the host knows."""
    with running_relay(stored.store, now_ns=ns(20)):
        result = run(
            "silence", "add", "host=web-1", "engine=podman", "--comment", "x", "--by", "ann"
        )
        assert result.exit_code == 0, result.output
        result = run("silence", "list")
    assert "host=web-1 engine=podman" in result.stdout


def test_check(installation: Installation) -> None:
    installation.file.write_text(CONFIG)
    result = run("check")
    assert result.exit_code == 0, result.output
    assert (
        f"  {VIA}: nats stream RELAY, consumer HUB, at tls://nats1:4222, tls://nats2:4222\n"
        in result.stdout
    )
    assert "host, engine" in result.stdout
    assert "falls silent" not in result.stderr


def test_check_warns_of_hosts_that_fall_silent_unnoticed(installation: Installation) -> None:
    installation.file.write_text(CONFIG.replace("[engine_lost, engine_back]", "gap"))
    result = run("check")
    assert "engines.fleet: nobody is notified of a host that falls silent" in result.stderr
    assert run("check", "--strict").exit_code == 1
    never = installation.file.read_text().replace(
        "consumer: HUB", "consumer: HUB, silent_after: 0s"
    )
    installation.file.write_text(never)
    assert run("check", "--strict").exit_code == 0


def test_tests_of_a_hub(installation: Installation) -> None:
    """Their events may be of any host, and of any engine."""
    installation.file.write_text(CONFIG.replace("cause: [crashed, oom]", "host: web-*"))
    tests = installation.file.with_name("tests.yaml")
    tests.write_text(
        f"config: {installation.file.name}\n"
        "tests:\n"
        "  - {name: web, host: web-1, engine: podman, events: [{action: die}], expect: [died]}\n"
        "  - {name: db, host: db-1, events: [{action: die}], expect: []}\n"
    )
    result = run("test", str(tests))
    assert result.exit_code == 0, result.output
