"""The example configuration on a real engine delivers what its routes match, and nothing else."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Received, Receiver

EXAMPLE = Path(__file__).parents[2] / "config.example.yaml"

EXPECTED = [
    ("died", "die", "broken"),
    ("died", "oom", "greedy"),
    ("died", "die", "greedy"),
    ("unhealthy", "health_status: unhealthy", "ill"),
    ("died", "die", "sentinel"),
]
"""What the example's routes match of `cause_events`: route, the engine's action, container."""

REPORTED = [
    "broken crashed with exit code 3",
    "greedy ran out of memory (OOM) and ended with exit code 137",
    "ill was unhealthy",
    "sentinel crashed with exit code 4",
]
"""What the messages about `cause_events` report: one for each container, which stays down."""

RED = "#d0021b"

RUNS_MAX = 3
"""The events are caused again, at most this often, if the engine sends the death of the OOM kill
first."""


@dataclass(frozen=True, slots=True)
class Result:
    """What happened according to the engine, and what each destination got."""

    engine_name: str
    history: list[dict[str, Any]]
    terminal: list[dict[str, Any]]
    ops: list[Received]
    audit: list[Received]
    exit_code: int

    @property
    def source_events(self) -> list[dict[str, Any]]:
        """The engine's events behind `EXPECTED`, in that order."""
        return [self._find_event(action, name) for _, action, name in EXPECTED]

    def _find_event(self, action: str, name: str) -> dict[str, Any]:
        (found,) = (
            event
            for event in self.history
            if event["Action"] == action and event["Actor"]["Attributes"].get("name") == name
        )
        return found


def cause_events(engine: PrivateEngine, receiver: Receiver) -> None:
    """Let containers end in several ways, and a health check fail.

    The last one ends when there are messages about the others: four together would be reported in
    one message.
    """
    since_ns = int(engine.events()[-1]["timeNano"]) if engine.events() else 0
    labels = {"com.docker.compose.project": "shop", "note": "<!channel> & co"}
    engine.run("sh", "-c", "exit 3", name="broken", labels=labels)
    engine.wait("broken")
    engine.run_out_of_memory("greedy")
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
    receiver.wait_for(lambda requests: len(to_slack(requests)) >= len(REPORTED) - 1)
    engine.run("sh", "-c", "exit 4", name="sentinel")
    engine.wait("sentinel")


def to_slack(requests: Sequence[Received]) -> list[Received]:
    """Return the requests to Slack."""
    return [request for request in requests if request.path == "/slack"]


def write_example_config(folder: Path, engine: PrivateEngine, receiver: Receiver) -> Path:
    """Write the example's configuration, with the test's engine, store and receivers.

    With a concurrency of one each destination gets its notifications in the order of the events, so
    that the last one is known.
    """
    config = yaml.safe_load(EXAMPLE.read_text())
    config["engines"]["here"] = {"url": engine.url}
    config["store"]["path"] = str(folder / "relay.db")
    config["log"] = {"level": "debug"}  # so that each delivery is a line
    config["destinations"]["audit"]["url"] = receiver.url("/audit")
    for destination in config["destinations"].values():
        destination["concurrency"] = 1
    return write_config(folder, **config)


@pytest.fixture(scope="module")
def result(engine: PrivateEngine, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Cause all events once under `relay run`.

    Now and then an engine sends the death of an OOM kill before its ``oom``, or no ``oom`` at all.
    Such a run is repeated, because it has another order or is no OOM.
    """
    for _ in range(RUNS_MAX):
        found = _run_once(engine, tmp_path_factory.mktemp("relay"))
        actions = [
            event["Action"]
            for event in found.history
            if event["Actor"]["Attributes"].get("name") == "greedy"
        ]
        if "oom" in actions[: actions.index("die")]:
            break
    return found


def _run_once(engine: PrivateEngine, folder: Path) -> Result:
    engine.start()
    engine.remove_containers()
    with Receiver() as receiver:
        config = write_example_config(folder, engine, receiver)
        env = {"SLACK_WEBHOOK_URL": receiver.url("/slack"), "AUDIT_TOKEN": "t0ken"}
        with RelayProcess(config, env=env) as relay:
            relay.wait_for_log("engine.connected")
            history_from_ns = _now_ns(engine)
            cause_events(engine, receiver)
            expected = {"terminal": len(EXPECTED), "audit": 4, "ops": len(REPORTED)}
            for destination, number in expected.items():
                relay.wait_for_log("delivery.attempted", destination=destination, at_least=number)
            exit_code = relay.terminate()
            terminal = [json.loads(line) for line in relay.stdout.splitlines()]
        return Result(
            engine_name=engine.get("/info")["Name"],
            history=engine.events(history_from_ns),
            terminal=terminal,
            ops=to_slack(receiver.received),
            audit=[request for request in receiver.received if request.path == "/audit"],
            exit_code=exit_code,
        )


def _now_ns(engine: PrivateEngine) -> int:
    """Return a time after all events that the engine remembers."""
    history = engine.events()
    return int(history[-1]["timeNano"]) + 1 if history else 0


def test_the_terminal_gets_what_the_routes_match_and_no_more(result: Result) -> None:
    """It gets one line of JSON for each crash, OOM kill and failing health check."""
    assert [(it["route"], *_event_summary(it)) for it in result.terminal] == EXPECTED
    assert result.exit_code == 0


def test_every_fact_is_the_engines_own(result: Result) -> None:
    """Times, ids, names, attributes and exit codes are those of the engine's ``GET /events``."""
    assert [_facts(it["events"][0]) for it in result.terminal] == [
        _engine_facts(source_event, result.engine_name) for source_event in result.source_events
    ]


def test_causes_and_exit_codes(result: Result) -> None:
    """A death has an exit code and a cause; an OOM kill and a failing check have neither."""
    events = [it["events"][0] for it in result.terminal]
    assert [(it["cause"], it["exit_code"], it["health"], it["origin"]) for it in events] == [
        ("crashed", 3, None, "live"),
        (None, None, None, "live"),
        ("oom", 137, None, "live"),
        (None, None, "unhealthy", "live"),
        ("crashed", 4, None, "live"),
    ]


def test_the_audit_hook_gets_the_deaths_alone(result: Result) -> None:
    """The HTTP destination gets the same documents, with the notification's id and the token."""
    deaths = [it for it in result.terminal if it["route"] == "died"]
    assert [request.json for request in result.audit] == deaths
    for request, death in zip(result.audit, deaths, strict=True):
        assert request.method == "POST"
        assert request.headers["webhook-id"] == death["id"]
        assert request.headers["authorization"] == "Bearer t0ken"
        assert request.headers["content-type"] == "application/json"


def test_slack_gets_one_message_for_each_container(result: Result) -> None:
    """It is about the container, whatever became of it in the three seconds before."""
    texts = [it.json["text"] for it in result.ops]
    assert len(texts) == len(REPORTED)
    for text, what in zip(texts, REPORTED, strict=True):
        assert text.startswith(f"🔴 {what}")
        assert re.search(rf"\bis down\b.* · {re.escape(result.engine_name)}$", text)
    assert "and is down: it has no restart policy" in texts[0]


def test_slack_gets_messages_of_its_own_shape(result: Result) -> None:
    """A crash is a header block, and a red attachment with blocks for the details."""
    request = result.ops[0]
    message = request.json
    (header,) = message["blocks"]
    (attachment,) = message["attachments"]
    section, command, *_, context = attachment["blocks"]
    fields = "\n".join(field["text"] for field in section["fields"])
    seconds = result.source_events[0]["timeNano"] // 1_000_000_000

    assert header["type"] == "header"
    assert "broken" in header["text"]["text"]
    assert attachment["color"] == RED
    assert f"<!date^{seconds}^" in fields
    assert f"Host\n{result.engine_name}" in fields
    logs = command["elements"][0]["elements"][-1]
    assert logs["style"] == {"code": True}
    assert re.fullmatch(r"docker logs --since \d{4}-\d\d-\d\dT[0-9:]+Z broken", logs["text"])
    assert [it["text"].split("_")[0] for it in context["elements"]] == ["route died", "inc"]
    assert "<!channel>" not in request.body.decode()


def test_everything_else_did_happen(result: Result) -> None:
    """Events that were not delivered did happen: a stop, a clean end, an excluded name."""
    happened = [
        (event["Action"].split(":")[0], event["Actor"]["Attributes"].get("name"))
        for event in result.history
    ]
    for undelivered in (
        *(("die", name) for name in ("stopped", "ill", "test-broken", "done")),
        ("exec_die", "ill"),
    ):
        assert undelivered in happened


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
