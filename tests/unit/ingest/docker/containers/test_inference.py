"""Deaths that no event reported."""

from typing import Any

import pytest
from msgspec.structs import replace

from relay.core.container import Container
from relay.core.event import Cause, Event, Origin
from relay.ingest.docker.containers.cause import REQUEST_EXPIRY_NS
from relay.ingest.docker.containers.inference import (
    BlindWindow,
    infer_death,
    infer_end,
    infer_oom,
    is_unreported,
    matches_inferred,
    matches_inferred_oom,
)
from tests.unit.ingest.docker.samples import (
    NOON_NS,
    at,
    make_container_snapshot,
    make_event,
    make_snapshot,
)

WEB = Container("c", "web", "bb:1", {"tier": "db"}, started_ns=NOON_NS)
DEAD = make_container_snapshot(started=0, finished=5, exit_code=3)
NO_TIME = 0
LABELS = {"tier": "web"}


def infer(
    container: Container = WEB, blind_window: BlindWindow | None = None, **fields: object
) -> list[Event]:
    """Return the events inferred from an inspection of a dead container."""
    as_dead = {"started": 0, "finished": 5, "exit_code": 3, "labels": LABELS} | fields
    return infer_death(container, make_container_snapshot(**as_dead), make_snapshot(), blind_window)  # type: ignore[arg-type]


def test_an_inferred_death_is_complete() -> None:
    """An inferred death has the time, the exit code and the labels that the engine shows."""
    (death,) = infer()
    assert (death.engine, death.host, death.scope) == ("here", "node-1", "local")
    assert (death.type, death.action, death.detail) == ("container", "die", None)
    assert (death.time_ns, death.exit_code, death.cause) == (at(5), 3, Cause.CRASHED)
    assert death.origin is Origin.INFERRED
    assert (death.actor.id, death.actor.name, death.actor.image) == ("c", "web", "bb:1")
    assert death.actor.attributes == {
        "tier": "web",
        "name": "web",
        "image": "bb:1",
        "exitCode": "3",
    }


def test_unknown_facts_are_not_in_the_attributes() -> None:
    """If the engine shows no name and no exit code, the attributes contain neither."""
    (death,) = infer(Container("c"), exit_code=None, labels={"exitCode": "x"})
    assert death.actor.attributes == {"exitCode": "x"}
    assert (death.actor.name, death.exit_code, death.cause) == (None, None, Cause.UNKNOWN)


def test_its_id_is_the_same_however_often_it_is_inferred() -> None:
    """The id depends only on the container and the time of its death."""
    (once,), (again,) = infer(), infer(Container("c"), exit_code=0)
    assert once.id == again.id
    (other,) = infer(finished=6)
    assert other.id != once.id
    assert once.id != make_event("die", 3, second=5).id


def test_a_kill_for_memory_comes_after_its_oom() -> None:
    """The ``oom`` has the time of the death and another id."""
    oom, death = infer(oom_killed=True, exit_code=137)
    assert (oom.action, oom.time_ns, oom.cause, oom.exit_code) == ("oom", at(5), None, None)
    assert oom.origin is Origin.INFERRED
    assert "exitCode" not in oom.actor.attributes
    assert death.cause is Cause.OOM
    assert oom.id != death.id
    assert oom.id == infer(oom_killed=True)[0].id


def test_a_received_oom_is_not_inferred() -> None:
    """If the ``oom`` was received, only the death is inferred."""
    known = Container("c", oom_ns=at(4))
    (death,) = infer(known, oom_killed=True, exit_code=137)
    assert (death.action, death.cause) == ("die", Cause.OOM)


@pytest.mark.parametrize(
    ("blind_window", "cause"),
    [
        (None, Cause.CRASHED),
        (BlindWindow(at(4), at(6)), Cause.UNKNOWN),
        (BlindWindow(at(5), at(6)), Cause.CRASHED),
        (BlindWindow(at(1), at(2)), Cause.UNKNOWN),
        (BlindWindow(at(-2), at(1)), Cause.UNKNOWN),
        (BlindWindow(at(-2), at(0)), Cause.CRASHED),
        (BlindWindow(at(6), at(7)), Cause.CRASHED),
    ],
)
def test_a_request_that_may_have_been_missed_leaves_the_cause_unknown(
    blind_window: BlindWindow | None, cause: Cause
) -> None:
    """Only a blind window that overlaps the life can hide a request for its death."""
    (death,) = infer(blind_window=blind_window, exit_code=137)
    assert death.cause is cause


@pytest.mark.parametrize(("stopped", "cause"), [(True, Cause.REQUESTED), (False, Cause.CRASHED)])
def test_an_engine_that_says_whether_somebody_stopped_the_container(
    stopped: bool, cause: Cause
) -> None:
    """No request can have been missed then."""
    shown = replace(DEAD, exit_code=137, stopped_by_user=stopped)
    (death,) = infer_death(WEB, shown, make_snapshot(), BlindWindow(at(1), at(2)))
    assert death.cause is cause


EXPIRY_S = REQUEST_EXPIRY_NS // 10**9
ALL_ALONG = BlindWindow(at(-100), at(5000))


@pytest.mark.parametrize(
    ("stretch", "started", "died", "may"),
    [
        (BlindWindow(at(0), at(5)), None, 6, True),
        (BlindWindow(at(0), at(5)), None, 5 + EXPIRY_S - 1, True),
        (BlindWindow(at(0), at(5)), None, 5 + EXPIRY_S, False),
        (BlindWindow(at(0), at(5)), 4, 6, True),
        (BlindWindow(at(0), at(5)), 5, 6, False),
        (BlindWindow(at(0), at(5)), 7, 6, True),
        (BlindWindow(at(6), at(9)), None, 6, False),
        (BlindWindow(at(5), at(5)), 0, 6, True),
        (ALL_ALONG, 0, 3000, True),
    ],
)
def test_a_request_explains_a_death_of_its_life_for_ten_minutes(
    stretch: BlindWindow, started: float | None, died: float, may: bool
) -> None:
    """The window must overlap the life and the ten minutes before the death."""
    container = Container("c", started_ns=None if started is None else at(started))
    assert stretch.may_hide_request(container, at(died)) is may


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ({}, Cause.UNKNOWN),
        ({"container": Container("c", requested_ns=at(4))}, Cause.REQUESTED),
        ({"oom_killed": True}, Cause.OOM),
    ],
)
def test_the_exit_code_of_an_end_that_the_engine_did_not_observe(
    how: dict[str, Any], cause: Cause
) -> None:
    """255 does not explain the end; it is reported unchanged."""
    *_, death = infer(**how, exit_code=255)
    assert (death.exit_code, death.cause) == (255, cause)


def test_a_container_that_is_gone_died() -> None:
    """Its exit code and time are unknown, so the id depends on its last start."""
    end = infer_end(WEB, make_snapshot(second=9))
    assert (end.action, end.time_ns, end.exit_code) == ("die", at(9), None)
    assert (end.cause, end.origin) == (Cause.UNKNOWN, Origin.INFERRED)
    assert end.actor.attributes == {"tier": "db", "name": "web", "image": "bb:1"}
    assert end.id == infer_end(WEB, make_snapshot(second=99)).id


def test_a_container_that_was_asked_to_end_and_is_gone() -> None:
    """The cause of its death is the request."""
    requested = Container("c", started_ns=NOON_NS, requested_ns=at(8))
    assert infer_end(requested, make_snapshot(second=9)).cause is Cause.REQUESTED


def test_an_oom_that_the_engine_did_not_send() -> None:
    """It has the time of the death and the same actor."""
    death = make_event("die", 137, second=5, labels={"tier": "web"})
    oom = infer_oom(death)
    assert (oom.action, oom.time_ns, oom.origin) == ("oom", at(5), Origin.INFERRED)
    assert (oom.engine, oom.host, oom.exit_code) == ("here", "node-1", None)
    assert (oom.actor.id, oom.actor.name, oom.actor.image) == ("c", "web", "bb:1")
    assert oom.actor.attributes["tier"] == "web"
    assert oom.id == infer_oom(death).id


@pytest.mark.parametrize(
    ("known", "reported_until_ns", "unreported"),
    [
        (None, NO_TIME, True),
        (None, at(4), True),
        (None, at(5), False),
        (Container("c"), NO_TIME, True),
        (Container("c", died_ns=at(4)), NO_TIME, True),
        (Container("c", died_ns=at(5)), NO_TIME, False),
        (Container("c", died_ns=at(6)), NO_TIME, False),
        (Container("c", inferred_ns=at(5)), NO_TIME, False),
        (Container("c", inferred_ns=at(4)), NO_TIME, True),
    ],
)
def test_which_deaths_are_unreported(
    known: Container | None, reported_until_ns: int, unreported: bool
) -> None:
    """A death is unreported if it is later than any that was, or counts as, reported."""
    assert is_unreported(known, DEAD, reported_until_ns) is unreported


def test_a_container_that_never_died() -> None:
    """A container that never died has nothing to report."""
    assert not is_unreported(None, make_container_snapshot(started=0), NO_TIME)


@pytest.mark.parametrize(
    ("inferred", "started", "died", "same"),
    [
        (5, 0, 5, True),
        (5, 0, 6, True),
        (5, None, 6, True),
        (5, 0, 4, False),
        (5, 6, 7, False),
        (5, 6, 6, False),
        (5, 5, 6, True),
        (5, 8, 6, True),
    ],
)
def test_whether_a_death_is_the_one_that_was_inferred(
    inferred: float, started: float | None, died: float, same: bool
) -> None:
    """A death matches if it is not earlier than the inferred one and no start is between them."""
    started_ns = None if started is None else at(started)
    known = Container("c", inferred_ns=at(inferred), started_ns=started_ns)
    assert matches_inferred(known, make_event("die", 1, second=died)) is same


@pytest.mark.parametrize(
    ("inferred", "started", "oom", "same"),
    [
        (5, 0, 4, True),
        (5, 0, 5, True),
        (5, 0, 6, True),
        (5, 3, 2, False),
        (5, 6, 7, False),
        (5, 6, 4, True),
    ],
)
def test_whether_an_oom_is_the_one_that_was_inferred(
    inferred: float, started: float, oom: float, same: bool
) -> None:
    """An ``oom`` matches if no start is between it and the inferred one; either may be earlier."""
    known = Container("c", oom_inferred_ns=at(inferred), started_ns=at(started))
    assert matches_inferred_oom(known, make_event("oom", second=oom)) is same


def test_without_an_inferred_death_nothing_matches_it() -> None:
    """A container without an inferred death matches no event."""
    assert not matches_inferred(WEB, make_event("die", 1, second=1))
    assert not matches_inferred_oom(WEB, make_event("oom", second=1))
