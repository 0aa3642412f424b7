"""What a message says of a container of a real engine: its policy, its limit, how long it ran.

All containers run at the same time, on one engine and with one relay. Each is reported to a
destination of its own, so that none waits for another.
"""

import sqlite3
import time
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
ALERTING = "alerting"
"""The container that is reported to Alertmanager."""
CONTAINERS = ("flaky", "slow", "hungry", "shortlived", "liar")
"""The containers that are reported to a program."""


def write_facts_config(folder: Path, engine: SandboxedEngine, receiver: Receiver) -> Path:
    """Report the crashes of each container to the destination of its name."""
    to_program = {"type": "http", "notify": "incidents"}
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": str(folder / "relay.db")},
        destinations={
            ALERTING: {"type": "alertmanager", "url": receiver.url(f"/{ALERTING}")},
            **{name: {**to_program, "url": receiver.url(f"/{name}")} for name in CONTAINERS},
        },
        routes=[
            {
                "name": name,
                "match": {"action": "die", "cause": ["crashed", "oom"], "name": name},
                "to": name,
            }
            for name in (ALERTING, *CONTAINERS)
        ],
    )


def run_containers(engine: PrivateEngine) -> None:
    """Run all containers except the one that runs already, and end that one."""
    script = "[ -e /once ] && exec sleep 1000; touch /once; sleep 1.2; exit 3"
    engine.run("sh", "-c", script, name="slow", options=["--restart=unless-stopped"])
    options = ["--restart=on-failure:2", LIMIT]
    engine.run("sh", "-c", "sleep 0.3; exit 3", name="flaky", options=options)
    options = ["--label=execDuration=86400"]
    engine.run("sh", "-c", "sleep 0.3; exit 3", name="liar", options=options)
    engine.run("sh", "-c", "exit 3", name=ALERTING)
    engine.docker("exec", "shortlived", "touch", "/end")
    engine.run_out_of_memory("hungry")


@pytest.fixture(scope="module")
def received(
    engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """The messages about each container until all were reported."""
    engine.start()
    engine.remove_containers()
    script = "while [ ! -e /end ]; do sleep 0.1; done; exit 3"
    engine.run("sh", "-c", script, name="shortlived", options=["--rm", LIMIT])
    folder = tmp_path_factory.mktemp("relay")
    with Receiver() as receiver:
        with RelayProcess(write_facts_config(folder, engine, receiver)) as relay:
            relay.wait_for_log("engine.connected")
            wait_until_inspected(folder / "relay.db")
            run_containers(engine)
            names = {ALERTING, *CONTAINERS}
            receiver.wait_for(lambda all_: names <= {find_name(it.path) for it in all_}, 30)
            assert relay.terminate() == 0
        engine.remove_containers()
        return {
            name: [it.json for it in receiver.received if find_name(it.path) == name]
            for name in names
        }


def find_name(path: str) -> str:
    """The name of the container that a request to this path is about."""
    return path.split("/")[1]


def wait_until_inspected(store: Path) -> None:
    """Wait until a store knows the restart policy of a container."""
    deadline_s = time.monotonic() + 30
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        while not connection.execute(
            "SELECT 1 FROM containers WHERE CAST(state AS TEXT) LIKE '%restart_policy%'"
        ).fetchone():
            assert time.monotonic() < deadline_s, "the container was not inspected"
            time.sleep(0.05)


def find_incident(received: dict[str, list[Any]], name: str) -> dict[str, Any]:
    """What the first message about a container says of its incident."""
    first = received[name][0]
    assert first["reason"] in ("opened", "crash_looping")
    (incident,) = first["incidents"]
    assert incident["subject"] == name
    found: dict[str, Any] = incident
    return found


def facts(incident: dict[str, Any]) -> list[Any]:
    """What an incident says of its container, without how long that ran."""
    return [incident[name] for name in FACTS[:-1]]


def test_a_container_that_is_given_up(received: dict[str, list[Any]]) -> None:
    """Three deaths, two restarts, and then nothing: one message, with the last count."""
    incident = find_incident(received, "flaky")
    assert facts(incident) == ["on-failure:2", 2, 64 * 2**20]
    assert 0.2 < incident["ran_for"] < 2
    assert (incident["state"], incident["crash_looping"], incident["count"]) == ("down", True, 3)


def test_a_container_that_is_restarted(received: dict[str, list[Any]]) -> None:
    """How often it was restarted is asked when its incident opens."""
    incident = find_incident(received, "slow")
    assert facts(incident) == ["unless-stopped", 1, None]
    assert 1.1 < incident["ran_for"] < 3
    assert incident["state"] == "up"


def test_out_of_memory(received: dict[str, list[Any]]) -> None:
    """The limit is there, and that nothing restarts it."""
    incident = find_incident(received, "hungry")
    limit = int(MEMORY_LIMITS[0].removeprefix("--memory=").removesuffix("m")) * 2**20
    assert facts(incident) == ["no", 0, limit]
    assert incident["state"] == "down"


def test_a_container_that_is_removed_as_it_ends(received: dict[str, list[Any]]) -> None:
    """What relay knew of it when it ran is there, and how long it ran."""
    incident = find_incident(received, "shortlived")
    assert [incident[name] for name in ("restart_policy", "memory_limit")] == ["no", 64 * 2**20]
    assert incident["ran_for"] > 0


def test_a_label_does_not_say_how_long_it_ran(received: dict[str, list[Any]]) -> None:
    """In the event it hides what the engine says."""
    assert 0.2 < find_incident(received, "liar")["ran_for"] < 5


def test_the_first_message_of_an_alert(received: dict[str, list[Any]]) -> None:
    """It is sent at once, and does not say that facts are missing."""
    alert = received[ALERTING][0][0]
    assert ALERTING in alert["labels"].values()
    assert "not_included" not in alert["annotations"]
