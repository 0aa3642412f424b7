"""Hosts that send heartbeats, and those that fall silent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.core.event import Event
from relay.ingest.nats import hosts as hosts_module
from relay.ingest.nats.hosts import FORGET_NS, HostWatch
from relay.store.records import HostRow
from tests.unit.ingest.nats.samples import ENGINE, MINUTE_NS, make_death, make_heartbeat

SECOND_NS = 10**9
SILENT_NS = 5 * MINUTE_NS


def beat(watch: HostWatch, host: str, now_ns: int) -> Event | None:
    """Let a host send a heartbeat."""
    return watch.hear(replace(make_heartbeat(), host=host), now_ns, now_ns)


def lost(watch: HostWatch, now_ns: int) -> list[str]:
    """The hosts that are reported as lost now."""
    return [event.host for event in watch.find_lost(now_ns, now_ns)]


def watching(*hosts: str, silent_after_ns: int = SILENT_NS) -> HostWatch:
    """A watch over hosts that sent a heartbeat at the time 0."""
    watch = HostWatch(ENGINE, silent_after_ns)
    watch.resume(0)
    for host in hosts:
        beat(watch, host, 0)
    return watch


def test_a_host_that_falls_silent_is_reported_once() -> None:
    """And once more when it is back."""
    watch = watching("a", "b")
    assert beat(watch, "b", 3 * MINUTE_NS) is None
    assert lost(watch, SILENT_NS - 1) == []
    (event,) = watch.find_lost(SILENT_NS, 77)
    assert (event.action, event.host, event.via, event.time_ns) == ("engine_lost", "a", ENGINE, 77)
    assert event.actor.attributes == {"host": "a", "reason": "no heartbeat for 5m"}
    assert lost(watch, SILENT_NS) == []
    back = beat(watch, "a", SILENT_NS + MINUTE_NS)
    assert back is not None
    assert (back.action, back.host, back.via) == ("engine_back", "a", ENGINE)
    assert back.actor.attributes == {"host": "a", "down_s": "360.0"}
    assert beat(watch, "a", SILENT_NS + MINUTE_NS) is None


def test_only_a_heartbeat_begins_the_watch() -> None:
    """A host without heartbeats may be silent for days. Later every event shows that it lives."""
    watch = HostWatch(ENGINE, SILENT_NS)
    watch.resume(0)
    watch.hear(make_death(host="quiet"), 0, 0)
    assert lost(watch, 99 * SILENT_NS) == []
    beat(watch, "a", 0)
    watch.hear(make_death(host="a"), SILENT_NS - 1, 0)
    assert lost(watch, SILENT_NS) == []
    assert lost(watch, 2 * SILENT_NS) == ["a"]


def test_silence_counts_only_while_hosts_can_be_heard() -> None:
    """A hub that was away, or stands by, cannot say that any host is silent."""
    watch = watching("a")
    watch.pause()
    assert lost(watch, 9 * SILENT_NS) == []
    watch.resume(10 * SILENT_NS)
    watch.resume(12 * SILENT_NS)  # it goes on
    assert lost(watch, 11 * SILENT_NS - 1) == []
    assert lost(watch, 11 * SILENT_NS) == ["a"]


def test_a_restart_repeats_no_event() -> None:
    """What is committed with the event is known after it; a lost host may come back."""
    watch = watching("a", "b")
    assert watch.take_changes().rows == [HostRow("a", 0), HostRow("b", 0)]
    assert watch.take_changes() == ((), ())
    beat(watch, "b", SILENT_NS)
    assert lost(watch, SILENT_NS) == ["a"]
    (row,) = watch.take_changes().rows
    assert row == HostRow("a", 0, SILENT_NS)
    again = HostWatch(ENGINE, SILENT_NS, [row, HostRow("b", 0)], now_ns=SILENT_NS)
    again.resume(SILENT_NS)
    assert again.lost_count == 1
    assert beat(again, "b", SILENT_NS + 1) is None
    assert lost(again, 2 * SILENT_NS) == []
    assert beat(again, "a", 2 * SILENT_NS) is not None
    assert again.take_changes().rows == [HostRow("a", 2 * SILENT_NS)]


def test_a_stored_time_in_the_future_is_that_of_a_wrong_clock() -> None:
    """The host is not trusted for longer because of it."""
    watch = HostWatch(ENGINE, SILENT_NS, [HostRow("a", 99 * SILENT_NS)], now_ns=0)
    watch.resume(0)
    assert lost(watch, SILENT_NS) == ["a"]


@pytest.mark.parametrize("every_ns", [MINUTE_NS, 100 * SECOND_NS, SILENT_NS // 3])
def test_hosts_of_a_rack_are_lost_together(every_ns: int) -> None:
    """Although their last heartbeats came at different times, and never to the second."""
    names = [f"h{number:02}" for number in range(30)]
    watch = watching()
    for beat_number in range(3):
        for phase, name in enumerate(names):
            late_ns = (beat_number + phase) % 2 * SECOND_NS // 2
            beat(watch, name, beat_number * every_ns + phase * every_ns // 30 + late_ns)
    first_ns = 2 * every_ns
    beat(watch, "alive", first_ns - every_ns // 4)
    beat(watch, "alive", first_ns + every_ns // 4)
    beat(watch, "alive", first_ns + SILENT_NS - every_ns)
    assert lost(watch, first_ns + SILENT_NS) == names


def test_a_host_with_few_heartbeats_is_no_part_of_it() -> None:
    """Its next one is not overdue."""
    watch = watching("gone", "slow")
    beat(watch, "slow", 4 * MINUTE_NS)
    beat(watch, "gone", 3 * MINUTE_NS)
    assert lost(watch, 8 * MINUTE_NS) == ["gone"]
    assert lost(watch, 9 * MINUTE_NS) == ["slow"]


def test_a_host_that_never_comes_back_is_forgotten() -> None:
    """After a month nobody wants to know of it."""
    watch = watching("a")
    assert lost(watch, SILENT_NS) == ["a"]
    watch.take_changes()
    assert lost(watch, SILENT_NS + FORGET_NS) == []
    assert watch.take_changes() == ([], ["a"])
    assert watch.lost_count == 0


def test_hosts_are_looked_at_only_when_one_may_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of one message does not cost a look at 10,000 hosts."""
    watch = watching("a", "b")
    assert lost(watch, 2 * MINUTE_NS) == lost(watch, SILENT_NS - 1) == []
    with monkeypatch.context() as patched:
        patched.setattr(watch, "_hosts", None)
        assert lost(watch, SILENT_NS - 1) == []
    beat(watch, "b", SILENT_NS - 1)
    assert lost(watch, SILENT_NS) == ["a"]
    beat(watch, "a", SILENT_NS + 1)
    assert lost(watch, 2 * SILENT_NS - 1) == ["b"]
    assert lost(watch, 2 * SILENT_NS + 1) == ["a"]


def test_no_host_is_watched_if_that_is_turned_off() -> None:
    """What is stored of hosts is deleted."""
    watch = HostWatch(ENGINE, 0, [HostRow("a", 1, 2)], now_ns=5)
    watch.resume(5)
    assert beat(watch, "b", 6) is None
    assert lost(watch, 2**60) == []
    assert watch.take_changes() == ([], ["a"])


def test_the_number_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may publish under any name cannot fill the memory."""
    monkeypatch.setattr(hosts_module, "MAX_HOSTS", 3)
    watch = watching(*(f"h{number}" for number in range(10)))
    assert len(watch.take_changes().rows) == 3


def test_a_new_store_gets_all_hosts() -> None:
    """Changed or not."""
    watch = watching("a", "b")
    watch.take_changes()
    watch.mark_all_changed()
    assert [row.host for row in watch.take_changes().rows] == ["a", "b"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 2 * SILENT_NS), st.booleans()), max_size=40
    )
)
def test_lost_and_back_alternate(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever the hosts do, and whenever relay is restarted."""
    watch, now_ns, state = watching(), 0, dict.fromkeys("abc", "back")
    stored: dict[str, HostRow] = {}
    for host, step_ns, is_restart in steps:
        now_ns += step_ns
        events = watch.find_lost(now_ns, now_ns)
        events += [event for event in [beat(watch, host, now_ns)] if event is not None]
        for event in events:
            action = event.action.removeprefix("engine_")
            assert state[event.host] != action
            state[event.host] = action
        stored |= {row.host: row for row in watch.take_changes().rows}
        if is_restart:
            watch = HostWatch(ENGINE, SILENT_NS, stored.values(), now_ns=now_ns)
            watch.resume(now_ns)
    assert {name: row.lost_ns is not None for name, row in stored.items()} == {
        name: state[name] == "lost" for name in stored
    }
