"""Events that wait for an answer: what passes, what waits behind them, and the bounds."""

from msgspec.structs import replace
from structlog.testing import capture_logs

from relay.core.event import Cause, format_rfc3339
from relay.ingest.docker.buffer import Item, StreamOpened
from relay.ingest.docker.containers.inference import Snapshot
from relay.ingest.docker.containers.questions import Question
from relay.ingest.docker.engine.inspection import Inspection
from relay.ingest.docker.held import HELD_BYTES_MAX, HELD_EVENTS_MAX
from tests.unit.ingest.docker.pipeline import HERE, NOW_NS, records
from tests.unit.ingest.docker.waiting_events import (
    PODMAN,
    answer_all,
    die,
    killed_for_memory,
    line,
    new_pipeline,
    parse,
    routed_actions,
)


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
    pipeline.answer(question.event_id, Inspection(killed_for_memory("c", 0.9)))
    answered = pipeline.process([], NOW_NS)
    assert routed_actions(answered) == ["oom c", "die c", "start c", "pause c"]
    assert answered.notifications[1][0].events[0].cause is Cause.OOM
    assert not pipeline.questions


def test_a_question_without_an_answer() -> None:
    """The engine did not show the container: its death is reported without that."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1)]), NOW_NS)
    (question,) = pipeline.questions
    pipeline.answer(question.event_id, Inspection(None))
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
    """And everything waits behind it; who waits for its commit is reported later."""
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
    """It is reported once."""
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


def test_the_end_of_a_session_decides_what_waits() -> None:
    """With the answers that there are."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1), die(1, "d"), line("start", 2)]), NOW_NS)
    question, _ = pipeline.questions
    pipeline.answer(question.event_id, Inspection(killed_for_memory("c", 0.9)))
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
    pipeline.answer(pipeline.questions[0].event_id, Inspection(None))
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
