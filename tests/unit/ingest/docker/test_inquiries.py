"""Inquiries: what an engine knows of the container of an incident."""

import asyncio
from typing import Any

import msgspec
import pytest

from relay.core.container_facts import ContainerFacts
from relay.core.include import FACTS_ONLY, Include, Included
from relay.incidents.inquiry import Answer, Inquiry
from relay.ingest.docker.engine.errors import EngineRefused, EngineUnavailable
from relay.ingest.docker.enrichment import Engine
from tests.unit.destinations.updates import OPENED
from tests.unit.ingest.docker.enricher import (
    FakeEngine,
    FakeOutbox,
    crash,
    make_commit,
    run_enricher,
)

ENDED_AT, STARTED_AT = "2026-11-23T06:48:35.1Z", "2026-11-23T06:48:34.1Z"
DIED_NS = 1795416515_200000000


def inspected(
    policy: str = "on-failure",
    *,
    count: int = 2,
    started: str = STARTED_AT,
    ended: str = ENDED_AT,
    **state: object,
) -> dict[str, Any]:
    """An inspection of a container that may be restarted twice and use 64 MiB."""
    return {
        "Id": "c1",
        "RestartCount": count,
        "State": {"StartedAt": started, "FinishedAt": ended, **state},
        "Config": {"Tty": False},
        "HostConfig": {
            "Memory": 2**26,
            "RestartPolicy": {"Name": policy, "MaximumRetryCount": 2},
        },
    }


async def inquire(engine: Engine | None, *includes: Include, timeout_s: float = 60) -> list[Answer]:
    """The answers to questions about the same death."""
    event = msgspec.structs.replace(crash(), time_ns=DIED_NS)
    answers: asyncio.Queue[tuple[Inquiry, Answer]] = asyncio.Queue()
    inquiries = [Inquiry(f"inc_{n}", event, include) for n, include in enumerate(includes)]
    async with run_enricher(engine, FakeOutbox(), timeout_s) as enricher:
        enricher.enqueue_inquiries(inquiries, lambda *it: answers.put_nowait(it))
        received = [await answers.get() for _ in inquiries]
    by_incident = {inquiry.incident: answer for inquiry, answer in received}
    return [by_incident[inquiry.incident] for inquiry in inquiries]


async def test_the_facts_of_a_container() -> None:
    """One inspection, and nothing else is requested."""
    engine = FakeEngine(inspected())
    (answer,) = await inquire(engine, FACTS_ONLY)
    assert answer == Answer(None, ContainerFacts("on-failure", 2, 2, 2**26), is_final=True)
    assert engine.requests == ["inspect c1"]


async def test_one_inspection_for_the_facts_and_for_what_is_included() -> None:
    """Equal questions about one event share their answer."""
    engine = FakeEngine(inspected())
    logs = Include(logs=2)
    first, second = await inquire(engine, logs, logs)
    assert first == second
    assert first.facts == ContainerFacts("on-failure", 2, 2, 2**26)
    assert first.included == Included(logs=("two", "three"))
    assert engine.requests == ["inspect c1", "logs c1 2"]


@pytest.mark.parametrize(
    ("inspection", "is_final"),
    [
        (inspected(), True),
        (inspected(count=1), False),
        (inspected(Restarting=True, Running=True), False),  # Docker counts the one to come
        (inspected(started="2026-11-23T06:48:36Z"), False),  # another life, which has ended too
        (inspected(started="2026-11-23T06:48:36Z", Running=True), False),
        (inspected(""), True),
        (inspected("no"), True),
        (inspected("always"), False),  # somebody stops it; events say that
    ],
)
async def test_a_container_that_is_not_restarted(
    inspection: dict[str, Any], is_final: bool
) -> None:
    """Only the inspection of the life that ended with the event says so."""
    (answer,) = await inquire(FakeEngine(inspection), FACTS_ONLY)
    assert answer.is_final is is_final


@pytest.mark.parametrize(
    "answer",
    [
        None,
        EngineRefused("no", 403),
        EngineUnavailable("broken"),
        ["no inspection"],
        {"Id": "c1", "RestartCount": "many"},
    ],
)
async def test_no_facts(answer: object) -> None:
    """Nobody asked for them, so no message says why they are missing."""
    assert await inquire(FakeEngine(answer), FACTS_ONLY) == [Answer()]
    assert await inquire(None, FACTS_ONLY) == [Answer()]


async def test_the_facts_of_a_slow_engine() -> None:
    """They are not waited for."""
    engine = FakeEngine(inspected())
    engine.may_answer.clear()
    assert await inquire(engine, FACTS_ONLY, timeout_s=0) == [Answer()]


async def test_the_facts_stay_if_the_log_fails() -> None:
    """The message says what is missing of what the route includes."""
    engine = FakeEngine(inspected(), EngineRefused("no", 403))
    (answer,) = await inquire(engine, Include(logs=2))
    assert answer.facts is not None
    assert answer.included == Included(missing="a socket proxy forbids it (403)")


async def test_a_message_that_waits_for_what_its_route_includes() -> None:
    """Its incident gets the facts of the same inspection."""
    message = msgspec.structs.replace(OPENED, include=Include(inspect=("RestartCount",)))
    assert message.update is not None
    outbox, engine = FakeOutbox(), FakeEngine(inspected())
    async with run_enricher(engine, outbox) as enricher:
        enricher.enqueue(*make_commit(message))
        _, complete, _ = await outbox.enriched.get()
    assert complete.included == Included(inspect={"RestartCount": 2})
    assert complete.update is not None
    assert complete.update.incidents[0].container == ContainerFacts("on-failure", 2, 2, 2**26)
