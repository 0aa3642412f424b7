"""Nothing that waits for an answer is lost or doubled by a restart, of relay or of a session."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.core.container import CHANGING_FIELDS, Container
from relay.core.event import Event
from relay.ingest.docker.buffer import Connection, Item, StreamOpened, parse_record
from relay.ingest.docker.containers.later_evidence import OOM_WAIT_S
from relay.ingest.docker.containers.questions import Question
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.engine.inspection import Inspection
from relay.ingest.docker.held import HELD_EVENTS_MAX
from relay.ingest.docker.pipeline import EventPipeline
from relay.store.records import IngestCommit
from tests.support.profiles import examples
from tests.unit.ingest.docker.pipeline import NOW_NS, records

if TYPE_CHECKING:
    from relay.core.checkpoint import Checkpoint

from tests.unit.ingest.docker.waiting_events import die, line, new_pipeline, new_router, parse


class Store:
    """What is committed, and what a new process begins with."""

    def __init__(self) -> None:
        self.checkpoint: Checkpoint | None = None
        self.containers: dict[str, Container] = {}
        self.routed: list[Event] = []

    def commit(self, commit: IngestCommit) -> None:
        self.checkpoint = commit.checkpoint
        self.containers.update((each.id, each) for each in commit.containers)
        for each in commit.container_times:
            times = {name: getattr(each, name) for name in CHANGING_FIELDS}
            self.containers[each.id] = replace(self.containers[each.id], **times)
        for id_ in commit.removed_containers:
            del self.containers[id_]
        self.routed += [notification.events[0] for notification, _ in commit.notifications]

    def new_process(self) -> EventPipeline:
        reported_ns = self.checkpoint.reported_until_ns if self.checkpoint else 0
        registry = ContainerRegistry(self.containers.values(), reported_ns)
        return EventPipeline("here", "oldest", new_router(), self.checkpoint, registry)


class Engine:
    """A model of moby's history: 256 events, repeated from the first that is not too old."""

    def __init__(self) -> None:
        self.events: list[tuple[int, bytes]] = []

    def happen(self, kinds: Sequence[tuple[str, str]]) -> list[bytes]:
        first = len(self.events)
        for number, (id_, action) in enumerate(kinds, first):
            second = number / 100
            happened = die(second, id_) if action == "die" else line(action, second, id_)
            self.events.append((NOW_NS + int(second * 1e9), happened))
        return [record for _, record in self.events[first:]]

    def connect(self, pipeline: EventPipeline) -> list[Item]:
        now_ns = NOW_NS + len(self.events) * 10**7
        since_ns = pipeline.since_ns(now_ns)
        repeated = [record for at_ns, record in self.events[-256:] if at_ns >= since_ns]
        connection = Connection("here", "node-1", opened_ns=now_ns, since_ns=since_ns)
        parsed = [parse_record(record, connection) for record in repeated]
        history = tuple(each for each in parsed if isinstance(each, Event))
        return [StreamOpened(connection, history), *records(repeated, connection)]


_kinds = st.tuples(st.sampled_from("abcd"), st.sampled_from(["start", "die", "die", "pause"]))
_steps = st.lists(
    st.tuples(
        st.sampled_from(["happen", "happen", "answer", "crash", "reconnect"]),
        st.lists(_kinds, max_size=12),
        st.integers(0, 3),
    ),
    max_size=16,
)


@settings(max_examples=examples(300), deadline=None)
@given(_steps)
def test_nothing_is_lost_or_told_twice(
    steps: Sequence[tuple[str, Sequence[tuple[str, str]], int]],
) -> None:
    """Whatever waits when a process is killed or a stream is cut; and each container's order stays.

    No more happens than the engine repeats.
    """
    engine, store = Engine(), Store()
    pipeline = store.new_process()
    store.commit(pipeline.process(engine.connect(pipeline), NOW_NS))
    for step, kinds, first in steps:
        items: list[Item] = []
        if step == "answer":
            for question in pipeline.questions[first::2]:
                pipeline.answer(question.event_id, Inspection(None))
        else:
            happened = records(engine.happen(kinds))
            if step == "crash":
                pipeline = store.new_process()
            items = happened if step == "happen" else engine.connect(pipeline)
        store.commit(pipeline.process(items, NOW_NS))
    store.commit(pipeline.finish(NOW_NS))
    expected = [parse(record) for _, record in engine.events]
    for id_ in "abcd":
        times = [each.time_ns for each in store.routed if each.actor.id == id_]
        assert times == [each.time_ns for each in expected if each.actor.id == id_]
    assert not [event for event in store.routed if event.type == "relay"]


@pytest.mark.parametrize("lost", [False, True])
def test_a_waiting_event_that_the_engine_forgot_is_a_gap(lost: bool) -> None:
    """An event that passed is in the history, which need not reach back to the one that waited."""
    engine, store = Engine(), Store()
    pipeline = store.new_process()
    store.commit(pipeline.process(engine.connect(pipeline), NOW_NS))
    begin = engine.happen([("a", "start"), ("b", "die"), *[("a", "pause")] * 200])
    store.commit(pipeline.process(records(begin), NOW_NS))
    assert [question.container for question in pipeline.questions] == ["b"]
    if lost:
        store.commit(pipeline.process(records(engine.happen([("a", "pause")] * 100)), NOW_NS))
    restored = store.new_process()
    with capture_logs():
        store.commit(restored.process(engine.connect(restored), NOW_NS))
        store.commit(restored.finish(NOW_NS))
    gaps = [event.actor.attributes["why"] for event in store.routed if event.action == "gap"]
    assert gaps == (["history_overrun"] if lost else [])
    deaths = [event for event in store.routed if event.action == "die"]
    assert len(deaths) == (0 if lost else 1)
    ids = [event.id for event in store.routed]
    assert len(ids) == len(set(ids))


def test_all_that_passes_is_remembered_by_another_process() -> None:
    """Also if the engine repeats everything, and what waited is accepted in between."""
    engine, store = Engine(), Store()
    engine.happen([("a", "pause")] * 100)
    pipeline = store.new_process()
    store.commit(pipeline.process(engine.connect(pipeline), NOW_NS))
    kinds = [("b", "die"), *[("ab"[number % 3 == 0], "pause") for number in range(HELD_EVENTS_MAX)]]
    store.commit(pipeline.process(records(engine.happen(kinds)[:-1]), NOW_NS))
    restored = store.new_process()
    assert store.checkpoint is not None
    assert 200 < store.checkpoint.passed_count < HELD_EVENTS_MAX
    repeated = records([record for _, record in engine.events[100:]])
    store.commit(restored.process(repeated, NOW_NS, {}))
    ids = [event.id for event in store.routed]
    assert len(ids) == len(set(ids))
    assert len([event for event in store.routed if event.type == "container"]) == len(ids)
    assert len(ids) >= HELD_EVENTS_MAX + 1


def test_a_question_is_a_value() -> None:
    """It names the event that waits, and the container to inspect."""
    pipeline = new_pipeline()
    pipeline.process(records([die(1)]), NOW_NS)
    assert list(pipeline.questions) == [
        Question(parse(die(1)).id, "c", needs_inspection=True, evidence_wait_s=OOM_WAIT_S)
    ]
