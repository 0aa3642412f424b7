"""Samples of events that wait for an answer, and a pipeline for them."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from relay.core.event import Event
from relay.destinations.catalog import parse_config
from relay.ingest.docker.buffer import parse_record
from relay.ingest.docker.engine.inspection import ContainerSnapshot, Inspection
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.router import Router
from relay.store.records import IngestCommit
from tests.unit.ingest.docker.pipeline import HERE, NOW_NS

PODMAN = replace(HERE, podman=True)
EVERYTHING = """
destinations: {ops: {type: console}}
routes:
  - {name: all, to: ops}
  - {name: own, match: {type: relay}, to: ops}
"""


def line(
    action: str, number: float, id_: str = "c", *, type_: str = "container", **attributes: str
) -> bytes:
    return msgspec.json.encode(
        {
            "Type": type_,
            "Action": action,
            "timeNano": NOW_NS + int(number * 1e9),
            "Actor": {"ID": id_, "Attributes": {"name": id_, **attributes}},
        }
    )


def die(number: float, id_: str = "c", code: int = 137) -> bytes:
    return line("die", number, id_, exitCode=str(code))


def parse(record: bytes) -> Event:
    """The event of a record."""
    event = parse_record(record, HERE)
    assert isinstance(event, Event)
    return event


def new_pipeline() -> EventPipeline:
    pipeline = EventPipeline("here", "oldest", new_router())
    pipeline.since_ns(NOW_NS)
    return pipeline


def new_router() -> Router:
    return Router(parse_config(EVERYTHING, file="routes", environ={}, folder=Path()).routes)


def routed_actions(commit: IngestCommit) -> list[str]:
    """The action and the container of each routed event."""
    events = [notification.events[0] for notification, _ in commit.notifications]
    return [f"{event.action} {event.actor.name}" for event in events]


def killed_for_memory(id_: str, number: float) -> ContainerSnapshot:
    died_ns = NOW_NS + int(number * 1e9)
    return ContainerSnapshot(
        id=id_,
        name=id_,
        image=None,
        labels={},
        is_running=False,
        started_ns=NOW_NS,
        finished_ns=died_ns,
        exit_code=137,
        oom_killed=True,
        stop_signal=None,
    )


def answer_all(pipeline: EventPipeline) -> None:
    for question in pipeline.questions:
        pipeline.answer(question.event_id, Inspection(None))
    pipeline.give_up_evidence(question.event_id for question in pipeline.questions)
