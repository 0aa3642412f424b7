"""Events that wait for an answer: what passes, what does not, and that nothing gets lost."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.core.container import TIME_FIELDS, Container
from relay.core.event import Cause, Event, format_rfc3339
from relay.destinations.catalog import parse_config
from relay.ingest.docker.buffer import Connection, Item, StreamOpened, parse_record
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.containers.later_evidence import OOM_WAIT_S, PODMAN_WAIT_S
from relay.ingest.docker.containers.questions import Question
from relay.ingest.docker.containers.registry import ContainerRegistry
from relay.ingest.docker.engine.inspection import ContainerSnapshot
from relay.ingest.docker.held import HELD_BYTES_MAX, HELD_EVENTS_MAX
from relay.ingest.docker.pipeline import EventPipeline
from relay.routing.router import Router
from relay.store.records import IngestCommit
from tests.support.profiles import examples
from tests.unit.ingest.docker.pipeline import HERE, NOW_NS, records

if TYPE_CHECKING:
    from relay.core.checkpoint import Checkpoint

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
        pipeline.answer(question.event_id, None)
    pipeline.give_up_evidence(question.event_id for question in pipeline.questions)


def test_only_the_container_of_the_death_waits() -> None:
    """Its later events come after the death, which has the answer."""
    pipeline = new_pipeline()
    batch = [line("start", 0), line("start", 0, "d"), die(1), line("start", 2)]
    commit = pipeline.process(records([*batch, die(2, "d", 3)]), NOW_NS)
    assert routed_actions(commit) == ["start c", "start d", "die d"]
    (question,) = pipeline.questions
    assert question == Question(parse(die(1)).id, "c", needs_inspection=True, evidence_wait_s=0)
    more = pipeline.process(records([line("pause", 3), line("start", 3, "d")]), NOW_NS)
    assert routed_actions(more) == ["start d"]
    pipeline.answer(question.event_id, killed_for_memory("c", 0.9))
    answered = pipeline.process([], NOW_NS)
    assert routed_actions(answered) == ["oom c", "die c", "start c", "pause c"]
    assert answered.notifications[1][0].events[0].cause is Cause.OOM
    assert not pipeline.questions


def test_a_question_without_an_answer() -> None:
    """The engine did not show the container: its death is told without that."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1)]), NOW_NS)
    (question,) = pipeline.questions
    pipeline.answer(question.event_id, None)
    assert not pipeline.process([], NOW_NS).notifications  # an ``oom`` may still follow
    pipeline.give_up_evidence([question.event_id])
    (notification, _), *_ = pipeline.process([], NOW_NS).notifications
    assert notification.events[0].cause is Cause.CRASHED


def test_events_of_other_objects_pass() -> None:
    """Also those of another type with the same id, and relay's own."""
    pipeline = new_pipeline()
    own = parse(line("started", 3, type_="relay"))
    items: list[Item] = [*records([die(1), line("create", 2, type_="volume")]), own]
    assert routed_actions(pipeline.process(items, NOW_NS)) == ["create c", "started c"]


def test_what_is_about_the_whole_stream_waits() -> None:
    """And everything waits behind it; who waits for its commit is told later."""
    pipeline = new_pipeline()
    snapshot, opened = Snapshot("here", "node-1", NOW_NS), StreamOpened(HERE)
    pipeline.process([opened, *records([die(1)])], NOW_NS)
    assert pipeline.take_applied() == [opened]
    items: list[Item] = [*records([line("start", 1, "d")]), snapshot]
    commit = pipeline.process([*items, *records([line("start", 2, "e")])], NOW_NS)
    assert routed_actions(commit) == ["start d"]
    assert pipeline.take_applied() == []
    answer_all(pipeline)
    assert routed_actions(pipeline.process([], NOW_NS)) == ["die c", "start e"]
    assert pipeline.take_applied() == [snapshot]


def test_a_repeated_event_waits_with_the_first() -> None:
    """It is told once."""
    pipeline = new_pipeline()
    pipeline.process(records([die(1), die(1)]), NOW_NS)
    pipeline.process(records([die(1)]), NOW_NS)
    assert len(pipeline.questions) == 1
    answer_all(pipeline)
    assert routed_actions(pipeline.process([], NOW_NS)) == ["die c"]
    assert pipeline.counters.duplicates == 2


def test_a_second_death_asks_again() -> None:
    """Each death of a container is a question of its own, one after the other."""
    pipeline = new_pipeline()
    pipeline.process(records([die(1), line("start", 2), die(3)]), NOW_NS)
    answer_all(pipeline)
    assert routed_actions(pipeline.process([], NOW_NS)) == ["die c", "start c"]
    answer_all(pipeline)
    assert routed_actions(pipeline.process([], NOW_NS)) == ["die c"]


def test_evidence_ends_the_wait() -> None:
    """A Podman death waits for it, and for nobody else."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    begin = [line("start", 0), die(1, code=1), line("cleanup", 1.01), line("start", 1, "d")]
    assert routed_actions(pipeline.process(records(begin, PODMAN), NOW_NS)) == [
        "start c",
        "start d",
    ]
    assert [(each.needs_inspection, each.evidence_wait_s) for each in pipeline.questions] == [
        (True, PODMAN_WAIT_S)
    ]
    repeated = records([line("cleanup", 1.01)], PODMAN)
    assert routed_actions(pipeline.process(repeated, NOW_NS)) == []  # this is no second one
    commit = pipeline.process(records([line("cleanup", 1.03)], PODMAN), NOW_NS)
    assert routed_actions(commit) == ["die c", "cleanup c", "cleanup c"]
    assert commit.notifications[0][0].events[0].cause is Cause.REQUESTED


def test_evidence_in_the_same_batch() -> None:
    """Nothing waits."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    stopped = [die(1, code=0), line("cleanup", 1.01), line("cleanup", 1.03)]
    commit = pipeline.process(records(stopped, PODMAN), NOW_NS)
    assert commit.notifications[0][0].events[0].cause is Cause.REQUESTED


def test_evidence_that_does_not_come() -> None:
    """The death is decided without it."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    pipeline.process(records([line("start", 0), die(1, code=1)], PODMAN), NOW_NS)
    answer_all(pipeline)
    (notification, _), *_ = pipeline.process([], NOW_NS).notifications
    assert notification.events[0].cause is Cause.CRASHED


def test_an_oom_after_its_death_ends_the_wait() -> None:
    """The death has the cause, whether or not it was inspected; others do not wait for it."""
    pipeline = new_pipeline()
    batch = [line("start", 0), die(1), line("start", 1, "d")]
    assert routed_actions(pipeline.process(records(batch), NOW_NS)) == ["start c", "start d"]
    commit = pipeline.process(records([line("oom", 1.002)]), NOW_NS)
    assert routed_actions(commit) == ["die c", "oom c"]
    death = commit.notifications[0][0].events[0]
    assert (death.cause, death.exit_code) == (Cause.OOM, 137)
    assert not pipeline.questions
    pipeline.process(records([line("start", 2), line("oom", 3)]), NOW_NS)
    commit = pipeline.process(records([die(3.1, code=1)]), NOW_NS)
    assert commit.notifications[0][0].events[0].cause is Cause.OOM


def test_an_inspection_that_shows_an_oom_ends_the_wait() -> None:
    """The engine's own event is not told again."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1)]), NOW_NS)
    pipeline.answer(pipeline.questions[0].event_id, killed_for_memory("c", 0.9))
    assert routed_actions(pipeline.process([], NOW_NS)) == ["oom c", "die c"]
    assert routed_actions(pipeline.process(records([line("oom", 1.002)]), NOW_NS)) == []


@pytest.mark.parametrize(
    ("stopped", "code", "cause"),
    [
        (True, 1, Cause.REQUESTED),
        (True, 137, Cause.REQUESTED),
        (False, 1, Cause.CRASHED),
        (False, 137, Cause.CRASHED),
        (False, 0, Cause.FINISHED),
    ],
)
def test_podman_says_whether_somebody_stopped_the_container(
    stopped: bool, code: int, cause: Cause
) -> None:
    """Then no other evidence is waited for."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    pipeline.process(records([line("start", 0), die(1, code=code)], PODMAN), NOW_NS)
    shown = replace(killed_for_memory("c", 0.9), oom_killed=False, stopped_by_user=stopped)
    pipeline.answer(pipeline.questions[0].event_id, shown)
    commit = pipeline.process([], NOW_NS)
    assert commit.notifications[0][0].events[0].cause is cause


@pytest.mark.parametrize(("code", "cause"), [(5, Cause.CRASHED), (143, Cause.REQUESTED)])
def test_podman_takes_any_signal_for_a_stop(code: int, cause: Cause) -> None:
    """After a ``kill``, which may have been a HUP, only a fitting exit code shows a request."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    begin = [line("start", 0), line("kill", 0.5), die(1, code=code)]
    commit = pipeline.process(records(begin, PODMAN), NOW_NS)
    for question in pipeline.questions:
        shown = replace(killed_for_memory("c", 0.9), oom_killed=False, stopped_by_user=True)
        pipeline.answer(question.event_id, shown)
        commit = pipeline.process([], NOW_NS)
    assert commit.notifications[-1][0].events[0].cause is cause


def test_an_oom_soon_after_a_signal_that_podman_does_not_name() -> None:
    """It may have been a HUP: the container is inspected."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    begin = [line("start", 0), line("kill", 0.5), die(1)]
    pipeline.process(records(begin, PODMAN), NOW_NS)
    pipeline.answer(pipeline.questions[0].event_id, killed_for_memory("c", 0.9))
    commit = pipeline.process([], NOW_NS)
    assert routed_actions(commit) == ["oom c", "die c"]
    assert commit.notifications[1][0].events[0].cause is Cause.OOM


def test_the_end_of_a_session_decides_what_waits() -> None:
    """With the answers that there are."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1), die(1, "d"), line("start", 2)]), NOW_NS)
    question, _ = pipeline.questions
    pipeline.answer(question.event_id, killed_for_memory("c", 0.9))
    assert routed_actions(pipeline.finish(NOW_NS)) == ["oom c", "die c", "die d", "start c"]


def test_what_passes_is_bounded() -> None:
    """The rest waits until the answer is there; then nothing waits any longer."""
    pipeline = new_pipeline()
    others = [line("pause", number / 1000, "d") for number in range(HELD_EVENTS_MAX + 60)]
    commit = pipeline.process(records([die(0), *others[:-50]]), NOW_NS)
    assert len(commit.notifications) == HELD_EVENTS_MAX - 1
    assert pipeline.is_full
    assert pipeline.process([], NOW_NS).notifications == []
    answer_all(pipeline)
    assert len(pipeline.process(records(others[-50:]), NOW_NS).notifications) == 62
    assert not pipeline.is_full


def test_what_waits_is_bounded_in_bytes() -> None:
    """A long record counts by its length."""
    pipeline = new_pipeline()
    long = line("pause", 1, text="x" * HELD_BYTES_MAX)
    pipeline.process(records([die(0), long, line("pause", 2)]), NOW_NS)
    assert pipeline.is_full
    answer_all(pipeline)
    assert len(pipeline.process([], NOW_NS).notifications) == 3


def test_evidence_that_cannot_arrive_is_not_awaited() -> None:
    """Nothing is taken in any more, so a death is decided without it; an inspection is awaited."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    others = [line("pause", 2 + number / 1000, "d") for number in range(HELD_EVENTS_MAX)]
    deaths = [die(1, code=1), die(1, "e")]
    pipeline.process(records(deaths, PODMAN), NOW_NS)
    pipeline.answer(pipeline.questions[0].event_id, None)
    commit = pipeline.process(records(others, PODMAN), NOW_NS)
    assert routed_actions(commit)[-1] != "die e"
    assert "die c" in routed_actions(commit)
    (question,) = pipeline.questions
    assert (question.container, question.evidence_wait_s) == ("e", 0)


def test_the_cursor_stays_where_the_first_death_waits() -> None:
    """What passes is remembered, but moves nothing until nothing waits any longer."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 1)]), NOW_NS)
    commit = pipeline.process(records([die(2), line("start", 3, "d")]), NOW_NS)
    assert commit.checkpoint is not None
    assert (commit.checkpoint.position_ns, commit.checkpoint.passed_count) == (NOW_NS + 10**9, 1)
    assert pipeline.position_ns == NOW_NS + 10**9
    answer_all(pipeline)
    commit = pipeline.process([], NOW_NS)  # the death is the last that was accepted
    assert commit.checkpoint is not None
    assert (commit.checkpoint.position_ns, commit.checkpoint.passed_count) == (
        NOW_NS + 2 * 10**9,
        0,
    )


def test_a_gap_behind_a_waiting_event_moves_the_cursor() -> None:
    """The events that passed before the gap do not move it back, and prove nothing after it."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 1)]), NOW_NS)
    pipeline.process(records([die(2), line("start", 3, "d")]), NOW_NS)
    later = parse(line("start", 100, "e"))
    with capture_logs():
        connection = replace(HERE, opened_ns=later.time_ns)
        pipeline.process([StreamOpened(connection, (later,))], NOW_NS)
        answer_all(pipeline)
        commit = pipeline.process([], NOW_NS)
    assert routed_actions(commit) == ["die c", "gap here"]
    gap = commit.notifications[1][0].events[0]
    assert gap.actor.attributes["from"] == format_rfc3339(NOW_NS + 2 * 10**9)
    assert (pipeline.position_ns, pipeline.is_continuous) == (later.time_ns, False)


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
            times = {name: getattr(each, name) for name in TIME_FIELDS}
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
                pipeline.answer(question.event_id, None)
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
