"""The example configuration on a real engine: exactly what its routes ask for, and nothing else."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Received, Receiver

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"

OOM = "x=a; while true; do x=$x$x; done"
"""Doubles a string until the kernel ends it."""

ASKED = [
    ("crashed", "die", "broken"),
    ("out-of-memory", "oom", "greedy"),
    ("unhealthy", "health_status: unhealthy", "ill"),
    ("crashed", "die", "sentinel"),
]
"""What the example's routes ask for of `happen`: route, the engine's action, container."""

RED = "#d0021b"


@dataclass(frozen=True, slots=True)
class Story:
    """What happened, by the engine itself, and what each destination got of it."""

    engine_name: str
    history: list[dict[str, Any]]
    terminal: list[dict[str, Any]]
    ops: list[Received]
    audit: list[Received]
    exit_code: int

    @property
    def truths(self) -> list[dict[str, Any]]:
        """The engine's own events behind `ASKED`, in that order."""
        return [self._the_one(action, name) for _, action, name in ASKED]

    def _the_one(self, action: str, name: str) -> dict[str, Any]:
        (found,) = (
            event
            for event in self.history
            if event["Action"] == action and event["Actor"]["Attributes"].get("name") == name
        )
        return found


def run_scenario(engine: PrivateEngine) -> None:
    """Every way for a container to end, and a failing health check."""
    since_ns = int(engine.events()[-1]["timeNano"]) if engine.events() else 0
    labels = {"com.docker.compose.project": "shop", "note": "<!channel> & co"}
    engine.run("sh", "-c", "exit 3", name="broken", labels=labels)
    engine.wait("broken")
    engine.run("sh", "-c", OOM, name="greedy", options=["--memory=16m", "--memory-swap=16m"])
    engine.wait("greedy")
    engine.run("sleep", "60", name="stopped", options=["--init"])
    engine.docker("stop", "stopped")
    health = ["--health-cmd=test -e /ok", "--health-interval=100ms", "--health-retries=1"]
    engine.run("sleep", "60", name="ill", options=health)
    engine.wait_for_event("health_status: unhealthy", "ill", since_ns=since_ns)
    engine.docker("rm", "--force", "ill")
    engine.run("sh", "-c", "exit 3", name="test-broken")
    engine.wait("test-broken")
    engine.run("true", name="done")
    engine.wait("done")
    engine.run("sh", "-c", "exit 4", name="sentinel")
    engine.wait("sentinel")


def example(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """The example's configuration with its routes as they are, pointed at what the test has.

    With a concurrency of one each destination gets its notifications in the order of the events,
    so what comes last is known.
    """
    config = yaml.safe_load(EXAMPLE.read_text())
    config["engines"]["here"] = {"url": engine.url}
    config["store"]["path"] = str(folder / "relay.db")
    config["destinations"]["audit"]["url"] = receiver.url("/audit")
    for destination in config["destinations"].values():
        destination["concurrency"] = 1
    return write_config(folder, **config)


@pytest.fixture(scope="module")
def story(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Let it all happen once under `relay run`."""
    engine.start()
    engine.remove_containers()
    with Receiver() as receiver:
        config = example(tmp_path_factory.mktemp("relay"), engine, receiver)
        env = {"SLACK_WEBHOOK_URL": receiver.url("/slack"), "AUDIT_TOKEN": "t0ken"}
        with RelayProcess(config, env=env) as relay:
            relay.wait_for_log("engine.connected")
            history_from_ns = _now_ns(engine)
            run_scenario(engine)
            for destination in ("terminal", "ops"):
                relay.wait_for_log(
                    "delivery.attempted", destination=destination, at_least=len(ASKED)
                )
            relay.wait_for_log("delivery.attempted", destination="audit", at_least=2)
            exit_code = relay.terminate()
            terminal = [json.loads(line) for line in relay.stdout.splitlines()]
        yield Story(
            engine_name=engine.get("/info")["Name"],
            history=engine.events(history_from_ns),
            terminal=terminal,
            ops=[request for request in receiver.received if request.path == "/slack"],
            audit=[request for request in receiver.received if request.path == "/audit"],
            exit_code=exit_code,
        )


def _now_ns(engine: PrivateEngine) -> int:
    """The engine's time after all that it remembers."""
    history = engine.events()
    return int(history[-1]["timeNano"]) + 1 if history else 0


def test_the_terminal_gets_what_the_routes_ask_for_and_no_more(story: Story) -> None:
    """A line of JSON each for the crash, the OOM kill, the failing check and the sentinel."""
    assert [(it["route"], *_event_summary(it)) for it in story.terminal] == ASKED
    assert story.exit_code == 0


def test_every_fact_is_the_engines_own(story: Story) -> None:
    """Times, ids, names, attributes and exit codes are those of the engine's ``GET /events``."""
    assert [_facts(it["events"][0]) for it in story.terminal] == [
        _engine_facts(truth, story.engine_name) for truth in story.truths
    ]


def test_causes_and_exit_codes(story: Story) -> None:
    """A crash has its exit code and cause; an oom and a failing check have neither."""
    events = [it["events"][0] for it in story.terminal]
    assert [(it["cause"], it["exit_code"], it["health"], it["origin"]) for it in events] == [
        ("crashed", 3, None, "live"),
        (None, None, None, "live"),
        (None, None, "unhealthy", "live"),
        ("crashed", 4, None, "live"),
    ]


def test_the_audit_hook_gets_the_crashes_alone(story: Story) -> None:
    """The HTTP destination gets the same documents, with the notification's id and the token."""
    crashes = [it for it in story.terminal if it["route"] == "crashed"]
    assert [request.json for request in story.audit] == crashes
    for request, crash in zip(story.audit, crashes, strict=True):
        assert request.method == "POST"
        assert request.headers["webhook-id"] == crash["id"]
        assert request.headers["authorization"] == "Bearer t0ken"
        assert request.headers["content-type"] == "application/json"


def test_slack_gets_the_same_notifications(story: Story) -> None:
    """Slack's requests are about what the terminal showed, in the same order, each once."""
    assert [it.headers["webhook-id"] for it in story.ops] == [it["id"] for it in story.terminal]


def test_slack_gets_messages_of_its_own_shape(story: Story) -> None:
    """A crash is a header block and a red attachment of blocks that say what and why."""
    message = story.ops[0].json
    (header,) = message["blocks"]
    (attachment,) = message["attachments"]
    section, context = attachment["blocks"]
    fields = "\n".join(field["text"] for field in section["fields"])
    seconds = story.truths[0]["timeNano"] // 1_000_000_000

    assert header["type"] == "header"
    assert "broken" in header["text"]["text"]
    assert attachment["color"] == RED
    assert f"<!date^{seconds}^" in fields
    assert "Exit code\n3" in fields
    assert context["elements"][0]["text"] == "route crashed"
    assert "<!channel>" not in story.ops[0].body.decode()


def test_everything_else_did_happen(story: Story) -> None:
    """What was not delivered did happen: stop, clean end, an excluded name, health checks."""
    happened = [
        (event["Action"].split(":")[0], event["Actor"]["Attributes"].get("name"))
        for event in story.history
    ]
    for untold in (
        *(("die", name) for name in ("greedy", "stopped", "ill", "test-broken", "done")),
        ("exec_die", "ill"),
    ):
        assert untold in happened


def _event_summary(notification: dict[str, Any]) -> tuple[str, str]:
    (event,) = notification["events"]
    detail = f": {event['detail']}" if event["detail"] else ""
    return f"{event['action']}{detail}", event["actor"]["name"]


def _facts(event: dict[str, Any]) -> dict[str, Any]:
    detail = f": {event['detail']}" if event["detail"] else ""
    return {
        "host": event["host"],
        "type": event["type"],
        "action": f"{event['action']}{detail}",
        "scope": event["scope"],
        "time_ns": event["time_ns"],
        **event["actor"],
    }


def _engine_facts(event: dict[str, Any], host: str) -> dict[str, Any]:
    actor = event["Actor"]
    return {
        "host": host,
        "type": event["Type"],
        "action": event["Action"],
        "scope": event["scope"],
        "time_ns": event["timeNano"],
        "id": actor["ID"],
        "name": actor["Attributes"]["name"],
        "image": actor["Attributes"]["image"],
        "attributes": actor["Attributes"],
    }
