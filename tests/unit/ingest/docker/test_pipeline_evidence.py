"""What ends the wait of a death for evidence of its cause."""

import pytest
from msgspec.structs import replace

from relay.core.event import Cause
from relay.ingest.docker.buffer import StreamOpened
from relay.ingest.docker.containers.later_evidence import PODMAN_WAIT_S
from relay.ingest.docker.engine.inspection import Inspection
from tests.unit.ingest.docker.pipeline import NOW_NS, records
from tests.unit.ingest.docker.waiting_events import (
    PODMAN,
    answer_all,
    die,
    killed_for_memory,
    line,
    new_pipeline,
    routed_actions,
)


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
    """The engine's own event is not reported again."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1)]), NOW_NS)
    pipeline.answer(pipeline.questions[0].event_id, Inspection(killed_for_memory("c", 0.9)))
    assert routed_actions(pipeline.process([], NOW_NS)) == ["oom c", "die c"]
    assert routed_actions(pipeline.process(records([line("oom", 1.002)]), NOW_NS)) == []


def test_a_removed_container_sends_no_oom() -> None:
    """Docker looks a container up before it sends an event: the death waits no longer."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1)]), NOW_NS)
    pipeline.answer(pipeline.questions[0].event_id, Inspection(None, is_removed=True))
    (notification, _), *_ = pipeline.process([], NOW_NS).notifications
    assert notification.events[0].cause is Cause.CRASHED


def test_a_container_that_the_engine_does_not_show_may_send_an_oom() -> None:
    """A proxy may allow no inspection."""
    pipeline = new_pipeline()
    pipeline.process(records([line("start", 0), die(1)]), NOW_NS)
    pipeline.answer(pipeline.questions[0].event_id, Inspection(None))
    assert not pipeline.process([], NOW_NS).notifications


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
    pipeline.answer(pipeline.questions[0].event_id, Inspection(shown))
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
        pipeline.answer(question.event_id, Inspection(shown))
        commit = pipeline.process([], NOW_NS)
    assert commit.notifications[-1][0].events[0].cause is cause


def test_an_oom_soon_after_a_signal_that_podman_does_not_name() -> None:
    """It may have been a HUP: the container is inspected."""
    pipeline = new_pipeline()
    pipeline.process([StreamOpened(PODMAN)], NOW_NS)
    begin = [line("start", 0), line("kill", 0.5), die(1)]
    pipeline.process(records(begin, PODMAN), NOW_NS)
    pipeline.answer(pipeline.questions[0].event_id, Inspection(killed_for_memory("c", 0.9)))
    commit = pipeline.process([], NOW_NS)
    assert routed_actions(commit) == ["oom c", "die c"]
    assert commit.notifications[1][0].events[0].cause is Cause.OOM
