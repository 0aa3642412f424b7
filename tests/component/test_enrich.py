"""The enricher with an engine's API and a store."""

import asyncio
from time import time_ns

import pytest

from relay.core.counters import EngineCounters
from relay.core.event import Actor
from relay.core.include import Include, Included
from relay.core.notification import build_notification
from relay.ingest.docker.engine.client import LOG_MAX_BYTES, connect
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.enrichment import Enricher
from relay.store.outbox import open_outbox
from relay.store.records import IngestCommit
from tests.component.scripted_engine import Answer, NoAnswer, ScriptedEngine
from tests.support.events import make_event
from tests.support.recording_receiver import RecordingReceiver

INSPECTED = Answer(b'{"RestartCount": 3, "Config": {"Tty": false}}')
CRASH = make_event(actor=Actor("c/1", "web", "bb", {}))
WANTED = Include(logs=5, inspect=("RestartCount",))


async def enrich(engine: ScriptedEngine, timeout_s: float = 60.0) -> Included | None:
    """What is included with a crash, from the commit to the delivery that is due."""
    commit = IngestCommit("here", None, [(build_notification("r", CRASH, WANTED), ["ops"])])
    endpoint = Endpoint(f"unix://{engine.socket}", None, None)
    async with engine.serve(), open_outbox(None) as outbox, connect(endpoint, time_ns) as client:
        await client.handshake()
        enricher = Enricher("here", lambda: client, outbox, lambda: 2, EngineCounters(), timeout_s)
        work = asyncio.create_task(enricher.run())
        enricher.enqueue(commit, await outbox.commit(commit, 1))
        worker = RecordingReceiver(outbox, "ops")
        while not (due := await outbox.fetch_due("ops", 2, 1)).deliveries:
            while not worker.was_informed:
                await asyncio.sleep(0.001)
            worker.clear()
        work.cancel()
        await asyncio.wait([work])
    return due.deliveries[0].notification.included


async def test_everything_is_included(engine: ScriptedEngine) -> None:
    """The delivery is due before its hold ends, with everything that was requested."""
    log = b"\x01\0\0\0\0\0\0\x04one\n\x02\0\0\0\0\0\0\x04two\n"
    engine.answers |= {"inspect": INSPECTED, "logs": Answer(log)}
    assert await enrich(engine) == Included(logs=("one", "two"), inspect={"RestartCount": 3})
    assert [request for request in engine.requests if "containers" in request] == [
        "/v1.45/containers/c%2F1/json",
        "/v1.45/containers/c%2F1/logs?stdout=1&stderr=1&timestamps=1&tail=5",
    ]


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        (Answer(b'{"message": "no such container"}', 404), "the container is gone"),
        (Answer(b"<html>forbidden</html>", 403), "a socket proxy forbids it (403)"),
        (Answer(b'{"message": "no reading"}', 501), "its log driver cannot be read"),
        (
            Answer(b"x" * (LOG_MAX_BYTES + 1)),
            f"the engine could not be asked: an answer of more than {LOG_MAX_BYTES} bytes",
        ),
    ],
    ids=["404", "403", "501", "endless"],
)
async def test_a_log_that_cannot_be_read(
    engine: ScriptedEngine, answer: Answer, missing: str
) -> None:
    """The rest is included all the same, with the reason in plain words."""
    engine.answers |= {"inspect": INSPECTED, "logs": answer}
    assert await enrich(engine) == Included(inspect={"RestartCount": 3}, missing=missing)


@pytest.mark.parametrize("answer", [Answer(b"", 404), Answer(b"", 403), NoAnswer.CLOSE])
async def test_a_container_that_cannot_be_inspected(
    engine: ScriptedEngine, answer: Answer | NoAnswer
) -> None:
    """The log of such a container is not requested, and the enricher continues."""
    engine.answers |= {"inspect": answer}
    found = await enrich(engine)
    assert found is not None
    assert found.missing
    assert found == Included(missing=found.missing)
    assert engine.request_count("logs") == 0


async def test_an_engine_that_does_not_answer(engine: ScriptedEngine) -> None:
    """The timeout ends long before the hold does."""
    engine.answers |= {"inspect": NoAnswer.SILENCE}
    assert await enrich(engine, 0.01) == Included(missing="the engine did not answer in 0.01 s")
