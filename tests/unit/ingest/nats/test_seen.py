"""Which events of other hosts are known, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.core.event import Actor
from relay.ingest.nats.seen import SeenEvents, seen_key
from relay.store.records import SEEN_KEY_BYTES, SeenChunk
from tests.unit.ingest.nats.samples import HOUR_NS, MINUTE_NS, make_death


def key(number: int) -> bytes:
    """The key of an event."""
    return number.to_bytes(SEEN_KEY_BYTES)


def test_an_event_is_known_for_the_time_that_is_configured() -> None:
    """And not longer; the chunks that are too old are to be deleted."""
    seen = SeenEvents(HOUR_NS)
    assert key(1) not in seen
    seen.add([key(1), key(2)], 0)
    assert key(1) in seen
    assert key(2) in seen
    seen.add([key(3)], HOUR_NS - 1)
    assert key(1) in seen
    assert seen.oldest_number == 0
    seen.add([key(4)], HOUR_NS)
    assert key(1) not in seen
    assert key(3) in seen
    assert seen.oldest_number == 1


def test_the_oldest_are_forgotten_if_there_are_too_many() -> None:
    """However many hosts there are, the memory is bounded."""
    seen = SeenEvents(HOUR_NS, max_events=3)
    for number in range(5):
        seen.add([key(number)], 0)
    assert [number for number in range(5) if key(number) in seen] == [2, 3, 4]
    assert seen.oldest_number == 2


def test_the_stored_chunks_are_continued() -> None:
    """With their numbers, and their times unless these are in the future."""
    chunks = [SeenChunk(7, 5, key(1)), SeenChunk(9, HOUR_NS * 99, key(2) + key(3))]
    seen = SeenEvents(HOUR_NS, chunks, now_ns=MINUTE_NS)
    assert all(key(number) in seen for number in (1, 2, 3))
    assert seen.oldest_number == 7
    assert seen.add([key(4)], MINUTE_NS) == SeenChunk(10, MINUTE_NS, key(4))
    assert [chunk.number for chunk in seen.export()] == [7, 9, 10]
    seen.add([key(5)], HOUR_NS + MINUTE_NS)
    assert key(2) not in seen


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 30), unique=True), st.integers(0, HOUR_NS)), max_size=30
    )
)
def test_a_restart_changes_nothing(batches: list[tuple[list[int], int]]) -> None:
    """What the store has after any commits gives the same memory as the one that went on."""
    going_on, now_ns = SeenEvents(HOUR_NS, max_events=20), 0
    stored: dict[int, SeenChunk] = {}
    for numbers, step_ns in batches:
        now_ns += step_ns
        restarted = SeenEvents(HOUR_NS, stored.values(), now_ns=now_ns, max_events=20)
        assert [key(number) in going_on for number in range(31)] == [
            key(number) in restarted for number in range(31)
        ]
        new = [key(number) for number in numbers if key(number) not in going_on]
        chunk = going_on.add(new, now_ns)
        assert restarted.add(new, now_ns).keys == chunk.keys
        stored[chunk.number] = chunk
        stored = {
            number: each for number, each in stored.items() if number >= going_on.oldest_number
        }
        assert list(stored.values()) == going_on.export()
        assert sum(len(each.keys) for each in stored.values()) <= 20 * SEEN_KEY_BYTES + len(
            chunk.keys
        )


def test_the_host_is_part_of_the_key() -> None:
    """No host can make relay drop what another one sends."""
    one, other = (seen_key(make_death(1, host=host)) for host in ("web-1", "web-2"))
    assert one != other
    assert one == seen_key(make_death(1, host="web-1"))
    assert len(one) == SEEN_KEY_BYTES


def test_the_managers_of_a_swarm_report_the_same_event() -> None:
    """At different times, if a service is removed."""
    first = make_death(1, scope="swarm", host="m1", action="remove")
    assert seen_key(first) == seen_key(replace(first, host="m2", time_ns=99, engine="other"))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "evt_" + "0" * 32},
        {"type": "service"},
        {"action": "update"},
        {"detail": "x"},
        {"actor": Actor("other", "web", "bb:1", {"number": "1"})},
        {"actor": Actor("web", "web", "bb:1", {"number": "2"})},
        {"scope": "local"},
    ],
)
def test_a_swarm_event_that_differs_is_another_one(fields: dict[str, object]) -> None:
    """So a forged id makes relay drop nothing but what the forger has reported himself."""
    event = make_death(1, scope="swarm", host="m1")
    assert seen_key(event) != seen_key(replace(event, host="evil", **fields))
