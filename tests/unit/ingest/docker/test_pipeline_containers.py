"""What one engine's stream and the looks at its containers come to."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay.core.container import Container
from relay.core.event import Cause, Event, Origin, Why
from relay.ingest.docker.buffer import Dropped, Opened, read
from relay.ingest.docker.containers.inference import Look
from relay.ingest.docker.containers.registry import Roster
from relay.ingest.docker.cursor import CLOCK_DOUBT_NS, LOOKBACK_NS, MARGIN_NS
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.pipeline import Digest
from relay.store.records import Intake
from tests.streams import ENGINES, lines
from tests.unit.ingest.docker.pipeline import HERE, NOW_NS, digest, records, router, taken, told

CLOCK_DOUBT_S, LOOKBACK_S, MARGIN_S = (
    span_ns // 10**9 for span_ns in (CLOCK_DOUBT_NS, LOOKBACK_NS, MARGIN_NS)
)


def line(action: str, second: float = 0, *, id_: str = "c", **attributes: str) -> bytes:
    """A record of a container's event, so many seconds after now."""
    body = {
        "Type": "container",
        "Action": action,
        "Actor": {"ID": id_, "Attributes": {"name": "web", "image": "bb:1", **attributes}},
        "scope": "local",
        "timeNano": later(second),
    }
    return json.dumps(body).encode()


def later(second: float) -> int:
    return NOW_NS + int(second * 10**9)


def opened(second: float, *history: bytes, **how: Any) -> Opened:
    """A connection, with what the engine remembers of these records."""
    connection = replace(HERE, opened_ns=later(second), **how)
    heard = (read(record, connection) for record in history)
    return Opened(connection, tuple(event for event in heard if isinstance(event, Event)))


def dead(finished: float, *, started: float = 0, exit_code: int = 3) -> Sighting:
    return Sighting(
        id="c",
        name="web",
        image="bb:1",
        labels={},
        alive=False,
        started_ns=later(started),
        finished_ns=later(finished),
        exit_code=exit_code,
        oom_killed=False,
        stop_signal=None,
    )


def looked(second: float, *sightings: Sighting, thorough: bool = True) -> Look:
    return Look("here", "node-1", later(second), sightings, thorough=thorough)


def events(intake: Intake) -> list[Event]:
    return [notification.events[0] for notification, _ in intake.notifications]


def resumed(here: Digest, intake: Intake) -> Digest:
    """Another process, which has what was stored."""
    assert intake.bookmark is not None
    roster = Roster(intake.containers, intake.bookmark.assumed_ns)
    return Digest("here", "now", router(), intake.bookmark, roster)


@given(st.lists(st.integers(1, 40), max_size=12), st.sampled_from(ENGINES))
def test_any_batches_come_to_the_same(sizes: list[int], engine: str) -> None:
    """However the stream is cut into batches."""
    whole, cut = digest(), digest()
    items = records(lines(engine))
    expected = taken(whole, items)
    found: list[Any] = []
    for size in [*sizes, len(items)]:
        batch, items = items[:size], items[size:]
        intake = taken(cut, batch)
        found += intake.notifications
    assert found == list(expected.notifications)
    assert intake.bookmark == expected.bookmark


def test_a_gap_is_told_before_the_event_that_shows_it() -> None:
    """And before what a look then finds."""
    here = digest()
    taken(here, [opened(0), *records([line("start", 1)])])
    moved = line("die", 60, exitCode="3")
    first = taken(here, [opened(50, line("start", 1)), *records([moved])])
    assert [event.action for event in events(first)] == ["gap", "die"]
    second = taken(here, [opened(90), looked(91, dead(70))])
    assert [event.action for event in events(second)] == ["gap", "die"]
    assert events(second)[0].actor.attributes["why"] == "engine_restarted"


def test_what_was_before_the_beginning_only_explains() -> None:
    """A request before the first start is known, and nothing of it is told."""
    here = digest("now")
    before = [
        line("start", -9),
        line("die", -8, id_="d", exitCode="3"),
        line("kill", -1, signal="15"),
    ]
    died = line("die", 1, exitCode="143")
    intake = taken(here, [opened(0, *before), *records([*before, died])])
    assert told(intake) == []
    (known,) = [container for container in intake.containers if container.id == "c"]
    assert (known.started_ns, known.died_ns) == (later(-9), later(1))
    assert known.asked_ns is None
    late = taken(here, records([line("kill", -1, signal="15"), line("die", 2, exitCode="1")]))
    assert told(late) == [("crashed", "web")]


def test_a_look_that_tells_of_a_death() -> None:
    """Once, also to a process that starts over from what was stored."""
    here = digest()
    taken(here, [opened(0), *records([line("start")])])
    assert here.untold([dead(5)])
    intake = taken(here, [looked(9, dead(5))])
    (event,) = events(intake)
    assert (event.action, event.origin, event.cause) == ("die", Origin.INFERRED, Cause.CRASHED)
    again = resumed(here, intake)
    assert not again.untold([dead(5)])
    assert told(taken(again, [looked(19, dead(5))])) == []


def test_doubt_lasts_until_a_thorough_look() -> None:
    """From the start, and from every gap on."""
    here = digest()
    taken(here, [opened(0), *records([line("start")])])
    taken(here, [looked(1, thorough=False)])
    assert here.in_doubt
    taken(here, [looked(1)])
    assert not here.in_doubt
    with capture_logs():
        taken(here, [Dropped(HERE, 1, Why.BUFFER_FULL)], later(5))
    assert here.in_doubt
    taken(here, [looked(4)])
    assert here.in_doubt
    taken(here, [looked(5)])
    assert not here.in_doubt


def test_a_death_that_nobody_could_hear_has_no_known_cause() -> None:
    """By a terminating signal, in a gap."""
    here = digest()
    taken(here, [opened(0), *records([line("start")])])
    with capture_logs():
        taken(here, [Dropped(HERE, 1, Why.BUFFER_FULL)], later(9))
    intake = taken(here, [looked(10, dead(5, exit_code=143))])
    (known,) = intake.containers
    assert known.inferred_ns == later(5)
    assert told(intake) == []  # the route wants crashes


def test_which_containers_are_looked_at() -> None:
    """Those that run and those not known as dead; all of them if in doubt."""
    here = digest()
    taken(
        here,
        [
            opened(0),
            *records([line("start"), line("die", 1, exitCode="0"), line("start", id_="d")]),
        ],
    )
    listed = {"c": "exited", "d": "exited", "e": "exited", "f": "running"}
    assert here.to_inspect(listed, thorough=False) == ["d", "e", "f"]
    assert here.to_inspect(listed, thorough=True) == ["c", "d", "e", "f"]
    assert here.to_inspect({"c": "running"}, thorough=False) == ["c"]
    assert here.missing(listed) == set()
    assert here.missing({"c": "exited"}) == {"d"}


def test_another_engine_is_told_and_known_anew() -> None:
    """Nothing that was known holds; what died there before it was met is not told."""
    here = digest()
    known = taken(here, [opened(0, identity="A"), *records([line("start")])])
    assert known.bookmark is not None
    assert known.bookmark.identity == "A"
    assert told(taken(here, [opened(1, line("start"), identity="A")])) == []
    intake = taken(here, [opened(5, identity="B"), looked(6, dead(4))])
    (gap,) = events(intake)
    assert gap.actor.attributes["why"] == "another_engine"
    assert intake.bookmark is not None
    assert (intake.bookmark.identity, intake.bookmark.assumed_ns) == ("B", later(5))
    assert told(taken(here, [opened(7, identity="B")])) == []


def test_an_engine_that_gives_no_identity_any_more_is_the_same() -> None:
    """A proxy may begin to refuse it."""
    here = digest()
    taken(here, [opened(0, identity="A"), *records([line("start")])])
    intake = taken(here, [opened(1, line("start"))])
    assert told(intake) == []
    assert intake.bookmark is not None
    assert intake.bookmark.identity == "A"


def test_containers_are_handed_on_as_they_change() -> None:
    """And all of them once more to a new store."""
    here = digest()
    first = taken(here, [opened(0), *records([line("start")])])
    assert first.containers == [Container("c", name="web", image="bb:1", started_ns=later(0))]
    nothing = taken(here, records([line("exec_create: sh", 1)]))
    assert (nothing.containers, nothing.gone) == ([], [])
    here.tell_all_again()
    assert taken(here, []).containers == first.containers
    assert taken(here, records([line("destroy", 2)])).gone == ["c"]


def test_what_has_to_be_asked_before_a_batch() -> None:
    """Of what is news; the answers are used."""
    here = digest()
    hidden = line("die", 1, exitCode="0")
    batch = here.read([opened(0), *records([hidden])])
    assert here.questions(batch) == {"c"}
    answer = replace(dead(0.9, exit_code=7), hiding=frozenset({"exitCode"}))
    (event,) = events(here.take_in(batch, NOW_NS, {"c": answer}))
    assert (event.exit_code, event.cause) == (7, Cause.CRASHED)
    assert here.questions(batch) == set()


PODMAN = replace(HERE, podman=True)


def test_a_podman_death_waits_for_what_shows_its_cause() -> None:
    """In its first batch, too; a repetition of what comes behind it shows nothing."""
    here = digest()
    died = [line("start"), line("die", 1, exitCode="1"), line("cleanup", 1.01)]
    batch = here.read([opened(0, podman=True), *records([*died, *died], PODMAN)])
    assert here.unsettled(batch)
    stopped = [*batch, *here.read(records([line("cleanup", 1.03)], PODMAN))]
    assert not here.unsettled(stopped)
    assert told(digest().take_in(batch, NOW_NS)) == [("crashed", "web")]
    assert told(here.take_in(stopped, NOW_NS)) == []


def test_dockers_deaths_do_not_wait() -> None:
    """All that matters stands before them."""
    here = digest()
    assert not here.unsettled(here.read(records([line("start"), line("die", 1, exitCode="1")])))


def test_what_may_have_been_missed_is_known_to_the_next_process() -> None:
    """A look does not find requests; a death as by a request has no known cause."""
    here = digest()
    taken(here, [opened(0), *records([line("start")])])
    with capture_logs():
        taken(here, [Dropped(HERE, 1, Why.BUFFER_FULL)], later(9))
    intake = taken(here, [looked(10), *records([line("start", 11, id_="d")])])
    assert intake.bookmark is not None
    assert intake.bookmark.unheard == (later(0), later(9))
    here.tell_all_again()
    again = resumed(here, taken(here, []))
    died = [line("die", 20, id_=id_, exitCode="143") for id_ in ("c", "d")]
    assert [event.actor.id for event in events(taken(again, records(died)))] == ["d"]


def test_a_removal_that_shows_a_death() -> None:
    """It is counted as inferred, and the route that wants crashes wants none of unknown cause."""
    here = digest()
    taken(here, [opened(0), *records([line("start")])])
    intake = taken(here, records([line("destroy", 5), line("die", 4, exitCode="3")]))
    assert told(intake) == []
    assert intake.gone == ["c"]
    assert here.tally.inferred.total() == 1


def test_another_process_that_hears_nothing_of_before() -> None:
    """It cannot know that nothing happened; a first start and a mere reconnect can."""
    here = digest("now")
    intake = taken(here, [opened(0), opened(1)])
    assert told(intake) == []
    (gap,) = events(taken(resumed(here, intake), [opened(9), opened(10)]))
    assert gap.actor.attributes["why"] == "unproven"


def test_a_clock_that_was_set_back() -> None:
    """It is asked from ten minutes before its now, and what happens by it is taken in."""
    here = digest()
    intake = taken(here, [opened(0), *records([line("start", 3600)])])
    again = resumed(here, intake)
    assert again.since_ns(later(3600 - CLOCK_DOUBT_S)) == later(3600 - MARGIN_S)
    assert again.since_ns(later(1000)) == later(1000 - LOOKBACK_S)
    news = records([line("die", 999, exitCode="3"), line("start", 3600)])
    after = taken(again, [opened(1000, line("die", 999, exitCode="3")), *news])
    gap, death = events(after)
    assert gap.actor.attributes["why"] == "clock_set_back"
    assert (death.action, death.time_ns) == ("die", later(999))
    assert again.position_ns == later(999)
    assert again.since_ns(later(1001)) == later(999 - MARGIN_S)


def test_a_clock_that_steps_back_a_little_after_the_first_start() -> None:
    """What happens then is news, though its time is before the beginning."""
    here = digest("now")
    old = line("die", -2, id_="d", exitCode="3")
    news = line("die", -1, exitCode="3")
    intake = taken(here, [opened(0, old), *records([old, news, old])])
    assert told(intake) == [("crashed", "web")]


def test_the_position() -> None:
    """The time of the last event; 0 before the first connection."""
    assert Digest("here", "now", router()).position_ns == 0
    here = digest()
    taken(here, records([line("start", 5)]))
    assert here.position_ns == later(5)
