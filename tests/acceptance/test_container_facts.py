"""What a message says of a container of a real engine: its policy, its limit, how long it ran."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Receiver
from tests.support.sandboxed_engine import MEMORY_LIMITS, SandboxedEngine

FACTS = ("restart_policy", "restart_count", "memory_limit", "ran_for")
LIMIT = "--memory=64m"


def write_facts_config(folder: Path, engine: SandboxedEngine, receiver: Receiver) -> Path:
    """Report crashes to a program and to a pager, each container on its own."""
    problems = {"type": "container", "action": "die", "cause": ["crashed", "oom"]}
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={
            "hook": {
                "type": "http",
                "url": receiver.url("/hook"),
                "notify": "incidents",
                "group_by": ["container"],
                "group_wait": "2s",
                "group_interval": "3s",
            },
            "alerts": {"type": "alertmanager", "url": receiver.url("/alerts")},
            "audit": {"type": "http", "url": receiver.url("/audit")},
        },
        routes=[
            {"name": "died", "match": problems, "to": ["hook", "alerts"]},
            {"name": "audit", "match": {"type": "container", "action": "die"}, "to": "audit"},
        ],
    )


@pytest.fixture
def relay(relay_folder: Path, engine: PrivateEngine, receiver: Receiver) -> Iterator[RelayProcess]:
    """A relay that is connected."""
    with RelayProcess(write_facts_config(relay_folder, engine, receiver)) as relay:
        relay.wait_for_log("engine.connected")
        yield relay
        assert relay.terminate() == 0


def wait_for_incident(receiver: Receiver, name: str, reason: str = "opened") -> dict[str, Any]:
    """Wait for the message of that reason about a container; return its incident."""

    def found() -> list[dict[str, Any]]:
        return [
            incident
            for request in receiver.received
            if request.path == "/hook" and request.json["reason"] == reason
            for incident in request.json["incidents"]
            if incident["subject"] == name
        ]

    receiver.wait_for(lambda _: bool(found()), 30)
    return found()[0]


def wait_until_inspected(store: Path) -> None:
    """Wait until a store knows the restart policy of a container."""
    deadline_s = time.monotonic() + 30
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        while not connection.execute(
            "SELECT 1 FROM containers WHERE CAST(state AS TEXT) LIKE '%restart_policy%'"
        ).fetchone():
            assert time.monotonic() < deadline_s, "the container was not inspected"
            time.sleep(0.05)


def facts(incident: dict[str, Any]) -> list[Any]:
    """What an incident says of its container, without how long that ran."""
    return [incident[name] for name in FACTS[:-1]]


def test_a_container_that_is_given_up(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """Three deaths, two restarts, and then nothing: one message, with the last count."""
    options = ["--restart=on-failure:2", LIMIT]
    engine.run("sh", "-c", "sleep 0.3; exit 3", name="flaky", options=options)
    incident = wait_for_incident(receiver, "flaky")
    assert facts(incident) == ["on-failure:2", 2, 64 * 2**20]
    assert 0.2 < incident["ran_for"] < 2
    assert (incident["state"], incident["crash_looping"], incident["count"]) == ("down", True, 3)


def test_a_container_that_loops(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """How often it was restarted is asked when it opens and when it loops."""
    script = "[ -e /once ] && exec sleep 1000; touch /once; sleep 1.2; exit 3"
    engine.run("sh", "-c", script, name="slow", options=["--restart=unless-stopped"])
    incident = wait_for_incident(receiver, "slow")
    assert facts(incident) == ["unless-stopped", 1, None]
    assert 1.1 < incident["ran_for"] < 3
    assert incident["state"] == "up"


def test_out_of_memory(relay: RelayProcess, engine: PrivateEngine, receiver: Receiver) -> None:
    """The limit is there, and that nothing restarts it."""
    engine.run_out_of_memory("hungry")
    incident = wait_for_incident(receiver, "hungry")
    limit = int(MEMORY_LIMITS[0].removeprefix("--memory=").removesuffix("m")) * 2**20
    assert facts(incident) == ["no", 0, limit]
    assert incident["state"] == "down"


def test_a_container_that_is_removed_as_it_ends(
    relay_folder: Path, engine: PrivateEngine, receiver: Receiver
) -> None:
    """What relay knew of it when it ran is there, and how long it ran."""
    script = "while [ ! -e /end ]; do sleep 0.1; done; exit 3"
    engine.run("sh", "-c", script, name="shortlived", options=["--rm", LIMIT])
    config = write_facts_config(relay_folder, engine, receiver)
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected")
        wait_until_inspected(relay_folder / "relay.db")
        engine.docker("exec", "shortlived", "touch", "/end")
        incident = wait_for_incident(receiver, "shortlived")
        assert relay.terminate() == 0
    assert [incident[name] for name in ("restart_policy", "memory_limit")] == ["no", 64 * 2**20]
    assert incident["ran_for"] > 0


def test_a_label_does_not_say_how_long_it_ran(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """In the event it hides what the engine says."""
    options = ["--label=execDuration=86400"]
    engine.run("sh", "-c", "sleep 0.3; exit 3", name="liar", options=options)
    assert 0.2 < wait_for_incident(receiver, "liar")["ran_for"] < 5


def test_the_first_message_of_an_alert(
    relay: RelayProcess, engine: PrivateEngine, receiver: Receiver
) -> None:
    """It is sent at once, and does not say that facts are missing."""
    engine.run("sh", "-c", "exit 3", name="alerting")
    received = receiver.wait_for(
        lambda all_: any(it.path.startswith("/alerts") and b"alerting" in it.body for it in all_),
        30,
    )
    alerts = [it.json[0] for it in received if it.path.startswith("/alerts")]
    assert "not_included" not in alerts[0]["annotations"]
