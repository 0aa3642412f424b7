"""A night and an escalation on a real engine: a mute interval ends while relay runs, and ``for``.

The night began hours ago and ends with a minute of the wall clock, so the test takes about one.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.receiver import Received, Receiver
from tests.support.services import Services

SOON = timedelta(seconds=20)
"""The least time that the night lasts: for a crash, and what is told of it by day."""
TIMEOUT_S = 120.0
DIED = {"type": "container", "action": "die", "cause": "crashed"}


def make_config(folder: Path, engine: PrivateEngine, receiver: Receiver, morning: datetime) -> Path:
    """A chat that is muted, another that is not, and one that gets what lasts for five seconds."""
    life = {"notify": "incidents", "type": "http", "group_by": [], "resolve_after": "3s"}
    return write_config(
        folder,
        engines={"here": {"url": engine.url}},
        store={"path": "relay.db"},
        mute_time_intervals={
            "night": [{"times": f"{morning - timedelta(hours=8):%H:%M}-{morning:%H:%M}"}]
        },
        destinations={
            "muted": {**life, "url": receiver.url("/muted"), "mute": "night"},
            "chat": {**life, "url": receiver.url("/chat")},
            "later": {**life, "url": receiver.url("/later"), "for": "5s"},
        },
        routes=[{"name": "died", "match": DIED, "to": ["muted", "chat", "later"]}],
    )


def messages(receiver: Receiver, path: str) -> list[Received]:
    return [each for each in receiver.received if each.path == path]


def describe(message: Received) -> tuple[str, int, dict[str, str]]:
    """What a message says: its status, its count, and the status of each container."""
    document: dict[str, Any] = message.json
    incidents = {each["subject"]: each["status"] for each in document["incidents"]}
    return document["status"], document["count"], incidents


def test_a_night_and_an_escalation(
    tmp_path: Path, engine: PrivateEngine, receiver: Receiver
) -> None:
    """In the morning there is one message, of what is down and what came and went."""
    soon = datetime.now(UTC) + SOON
    morning = (soon + timedelta(minutes=1)).replace(second=0, microsecond=0)
    config = make_config(tmp_path, engine, receiver, morning)
    services = Services(engine, "quiet")
    services.run("web")
    services.run("api", options=["--restart=no"])
    with RelayProcess(config) as process:
        process.wait_for_log("engine.connected")
        services.crash("web", "api")
        receiver.wait_for(lambda _: bool(messages(receiver, "/later")), TIMEOUT_S)
        receiver.wait_for(lambda _: bool(messages(receiver, "/muted")), TIMEOUT_S)
    (in_the_morning,) = messages(receiver, "/muted")
    assert describe(in_the_morning) == (
        "firing",
        2,
        {"quiet-api-1": "firing", "quiet-web-1": "resolved"},
    )
    assert 0 <= in_the_morning.time_s - morning.timestamp() < TIMEOUT_S
    first, *_ = messages(receiver, "/chat")
    assert describe(first)[:2] == ("firing", 2)
    assert first.time_s < morning.timestamp()
    (lasting,) = messages(receiver, "/later")
    assert describe(lasting) == ("firing", 1, {"quiet-api-1": "firing"})
