"""Containers that run in somebody's terminal: asked about early, and remembered."""

from pathlib import Path

from msgspec.structs import replace

from relay.destinations.catalog import parse_config
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.engine.inspection import Inspection
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.router import Router
from relay.store.records import IngestCommit
from tests.unit.ingest.docker.pipeline import NOW_NS, records
from tests.unit.ingest.docker.samples import make_container_snapshot
from tests.unit.ingest.docker.waiting_events import die, line

USES_IT = """
destinations: {ops: {type: console}}
routes:
  - {name: seen, match: {interactive: true}, stop: true, to: ops}
  - {name: unseen, to: ops}
"""
IGNORES_IT = """
destinations: {ops: {type: console}}
routes: [{name: all, to: ops}]
"""
SHELL = replace(make_container_snapshot(started=1), interactive=True)
SERVICE = make_container_snapshot(started=1)


def new_pipeline(text: str = USES_IT, before: IngestCommit | None = None) -> EventPipeline:
    """Return a pipeline that goes on where the commit ``before`` ended."""
    config = parse_config(text, file="routes", environ={}, folder=Path())
    checkpoint, containers = (before.checkpoint, before.containers) if before else (None, ())
    registry = ContainerRegistry(containers)
    pipeline = EventPipeline("here", "oldest", Router(config.routes), checkpoint, registry)
    pipeline.since_ns(NOW_NS)
    return pipeline


def process(pipeline: EventPipeline, *lines: bytes) -> IngestCommit:
    return pipeline.process(records(list(lines)), NOW_NS)


def routed(commit: IngestCommit) -> list[tuple[str, str]]:
    """The route and the action of each notification."""
    return [(each.route, each.events[0].action) for each, _ in commit.notifications]


def test_it_is_asked_when_the_container_begins() -> None:
    """All events of the container wait for the answer; then it counts for each of them."""
    pipeline = new_pipeline()
    attach = line("attach", 2)
    assert routed(process(pipeline, line("create", 1), attach, line("start", 3))) == []
    (question,) = pipeline.questions
    assert question.needs_inspection
    pipeline.answer(question.event_id, Inspection(SHELL))
    assert routed(process(pipeline)) == [("seen", it) for it in ("create", "attach", "start")]
    ended = process(pipeline, die(4, code=130), line("destroy", 5))
    assert routed(ended) == [("seen", "die"), ("seen", "destroy")]
    assert not pipeline.questions


def test_it_is_asked_only_if_a_route_distinguishes_by_it() -> None:
    """Otherwise nothing waits and nothing is asked."""
    pipeline = new_pipeline(IGNORES_IT)
    assert routed(process(pipeline, line("create", 1), line("start", 2))) == [
        ("all", "create"),
        ("all", "start"),
    ]
    assert not pipeline.questions


def test_it_is_remembered_with_the_container() -> None:
    """The next process neither asks again, nor forgets what was reported."""
    pipeline = new_pipeline()
    process(pipeline, line("create", 1))
    (question,) = pipeline.questions
    pipeline.answer(question.event_id, Inspection(SHELL))
    later = new_pipeline(before=process(pipeline))
    assert routed(process(later, line("start", 2), die(3, code=127))) == [
        ("seen", "start"),
        ("seen", "die"),
    ]
    assert not later.questions


def test_a_service_is_asked_about_once() -> None:
    """A container that is known not to be interactive is not inspected at each of its starts."""
    pipeline = new_pipeline()
    process(pipeline, line("start", 1))
    (question,) = pipeline.questions
    pipeline.answer(question.event_id, Inspection(SERVICE))
    restarts = process(pipeline, die(2, code=3), line("start", 3))
    assert routed(restarts) == [("unseen", it) for it in ("start", "die", "start")]


def test_what_nobody_can_tell_counts_as_false() -> None:
    """A container that is gone before it can be inspected is reported like any other."""
    pipeline = new_pipeline()
    process(pipeline, line("start", 1), die(2, code=3))
    (question,) = pipeline.questions
    pipeline.answer(question.event_id, Inspection(None))
    assert routed(process(pipeline)) == [("unseen", "start"), ("unseen", "die")]
