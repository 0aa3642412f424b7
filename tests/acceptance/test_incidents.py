"""Which messages services of a real engine cause: one problem is one message.

All rows run at the same time, on one engine, with short waits; `tools.incidents` runs them with the
default waits.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.docker import PrivateEngine
from tests.support.incident_rows import LOOP, RECREATION, short_rows
from tests.support.incident_stage import (
    Outage,
    Row,
    describe,
    messages,
    play_all,
    prepare_all,
    run_relay_for,
)
from tests.support.receiver import Receiver

ROWS = {row.name: row for row in short_rows()}
BEHIND_PROXY = "a24"
"""The row whose engine is out of reach for a while. It has a relay of its own."""

KILLS_S = (1.0, 6.02)
"""When a relay is killed, after the first death of `LOOP`: before the first message is due, and
just after."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What arrived, and when rows say that something happened."""

    receiver: Receiver
    killed: Receiver
    """Of the relay that was killed, which reports `LOOP` only."""
    anchors_s: dict[str, float | None]


def _kill_twice(
    row: Row, engine_url: str, outcome: Outcome, folder: Path, ready: threading.Event
) -> None:
    """Run a relay for one row, and kill it twice while the row is played."""
    with run_relay_for([row], engine_url, outcome.killed, folder):
        ready.set()
        outcome.receiver.wait_for(lambda _: bool(messages(outcome.receiver, row.name, "audit")), 60)
        first_s = (
            messages(outcome.receiver, row.name, "audit")[0].json["events"][0]["time_ns"] / 1e9
        )
        time.sleep(max(0.0, first_s + KILLS_S[0] - time.time()))
    with run_relay_for([row], engine_url, outcome.killed, folder):
        time.sleep(max(0.0, first_s + KILLS_S[1] - time.time()))
    with run_relay_for([row], engine_url, outcome.killed, folder):
        number = len(row.expected)
        outcome.killed.wait_for(lambda _: len(messages(outcome.killed, row.name)) >= number, 180)


@pytest.fixture(scope="module")
def outcome(
    engine: PrivateEngine, haproxy: str, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """Play all rows once. No relay runs afterwards, since the containers are removed."""
    engine.start()
    engine.remove_containers()
    rows = list(ROWS.values())
    direct = [row for row in rows if row.name != BEHIND_PROXY]
    prepare_all(engine, rows)
    with ExitStack() as stack:
        receiver, killed = stack.enter_context(Receiver()), stack.enter_context(Receiver())
        found = Outcome(receiver, killed, {})
        outage = Outage(haproxy, engine)
        stack.callback(outage.close)
        for shown, url in ((direct, engine.url), ([ROWS[BEHIND_PROXY]], outage.url)):
            folder = tmp_path_factory.mktemp("relay")
            stack.enter_context(run_relay_for(shown, url, receiver, folder))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        ready = threading.Event()
        folder = tmp_path_factory.mktemp("relay")
        killing = pool.submit(_kill_twice, ROWS[LOOP.name], engine.url, found, folder, ready)
        assert ready.wait(30), killing.result()
        found.anchors_s.update(play_all(engine, receiver, rows, outage))
        killing.result()
    engine.remove_containers()
    return found


@pytest.mark.parametrize("name", [name for name in ROWS if name != RECREATION.name])
def test_row(outcome: Outcome, name: str) -> None:
    """The messages are exactly these, in this order: A1, A4, A6, A10, A11, A13, A15, A21, A24."""
    row = ROWS[name]
    reported = [each.json for each in messages(outcome.receiver, name)]
    assert [describe(each, counts=row.counts) for each in reported] == row.expected


@pytest.mark.parametrize("name", ROWS)
def test_every_event_is_counted_once(outcome: Outcome, name: str) -> None:
    """The messages stand for all events that the routes took, and for no other."""
    reported = [each.json for each in messages(outcome.receiver, name)]
    audit = messages(outcome.receiver, name, "audit")
    assert sum(each["count"] for each in reported) == len(audit) > 0


@pytest.mark.parametrize("name", ROWS)
def test_a_chat_gets_the_same_messages(outcome: Outcome, name: str) -> None:
    """One message each, whose words say when it is over."""
    reported = [each.json for each in messages(outcome.receiver, name)]
    chat = [each.body.decode() for each in messages(outcome.receiver, name, "chat")]
    assert len(chat) == len(reported)
    assert ["Resolved: " in each for each in chat] == [
        it["status"] == "resolved" for it in reported
    ]


def test_a_loop_is_called_a_crash_loop(outcome: Outcome) -> None:
    """The chat says it in its first message, and how it ended in the second."""
    first, second = (it.body.decode() for it in messages(outcome.receiver, LOOP.name, "chat"))
    assert "a4-web-1 is crash-looping" in first
    assert "a4-web-1 is up again" in second


def test_what_gave_up_is_down(outcome: Outcome) -> None:
    """Its restart policy does not start it a fourth time."""
    (reported,) = (each.json for each in messages(outcome.receiver, "a15"))
    (chat,) = (each.body.decode() for each in messages(outcome.receiver, "a15", "chat"))
    assert [it["state"] for it in reported["incidents"]] == ["down"]
    assert "is down" in chat


def test_nothing_is_resolved_while_the_engine_is_out_of_reach(outcome: Outcome) -> None:
    """The service was well all the time, but nobody could know."""
    back_s = outcome.anchors_s[BEHIND_PROXY]
    assert back_s is not None
    first, second = messages(outcome.receiver, BEHIND_PROXY)
    assert first.time_s < back_s < second.time_s


def test_a_recreated_stack(outcome: Outcome) -> None:
    """At most two messages say what was started, stopped and removed; nobody hears of a crash."""
    reported = [each.json for each in messages(outcome.receiver, RECREATION.name)]
    assert len(reported) in (1, 2)
    assert {(it["reason"], it["route"]) for it in reported} == {("events", "a25-changed")}
    assert sum(it["count"] for it in reported) == 9
    assert all(it["incidents"] == [] for it in reported)


def test_kills_change_nothing(outcome: Outcome) -> None:
    """A relay that is killed twice sends the same two messages, under the same ids (A23)."""
    for kind in ("reported", "chat"):
        expected = messages(outcome.receiver, LOOP.name, kind)
        found = messages(outcome.killed, LOOP.name, kind)
        assert [it.headers["webhook-id"] for it in found] == [
            it.headers["webhook-id"] for it in expected
        ]
    counts = [each.json["count"] for each in messages(outcome.killed, LOOP.name)]
    assert sum(counts) == len(messages(outcome.killed, LOOP.name, "audit"))
