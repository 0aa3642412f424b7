"""A stream that is full, and one that forgets at once what it has stored."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.fleet import STALL_S, Fleet, second_ns
from tests.support.fleet_ledger import is_clean
from tools.backlog import count_queued

CONTAINERS = 5


@contextmanager
def stored_nothing_new(store: Path) -> Iterator[None]:
    """Hold the lock of a store for writing, so that relay can store nothing meanwhile."""
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


async def test_a_full_stream(fleet: Fleet) -> None:
    """The edge keeps what does not fit, and says why; it drains in order once the hub takes it."""
    await fleet.make_stream({"max_bytes": 65_536})
    edge = await fleet.add_edge("web-17")
    for _ in range(40):
        for container in range(CONTAINERS):
            edge.happen(f"web-{container}")
    await edge.wait_for_status("stream RELAY is full")
    stored = (await fleet.stream_info()).state
    assert 0 < stored.messages < fleet.ledger.made.total()
    assert stored.bytes <= 65_536
    await fleet.add_hub()
    await fleet.wait_arrived()
    assert is_clean(fleet.ledger.verdict()), fleet.ledger.verdict()
    assert await fleet.wait_acked() == 0
    assert await edge.count_dead_letters() == 0


async def test_the_stream_has_duplicates(fleet: Fleet) -> None:
    """An edge is killed between the stream's answer and its own commit of it.

    The stream forgets ids after 0.1 s, so it stores what the edge publishes again. The hub does
    not.
    """
    await fleet.make_stream({"duplicate_window": second_ns(0.1)})
    (server,) = fleet.servers
    server.kill()
    config = fleet.edge_config("web-17")
    edge = await fleet.add_edge("web-17", {**config, "routes": config["routes"][:1]})
    count = 4 * CONTAINERS
    for container in range(CONTAINERS):
        edge.happen(f"web-{container}", 4)
    await edge.wait_for(lambda: count_queued(edge.store) >= count, "it did not store the events")
    with stored_nothing_new(edge.store):
        server.start()
        async with asyncio.timeout(STALL_S):
            while not (await fleet.stream_info()).state.messages:
                await asyncio.sleep(0.05)
        await edge.kill()
    stored = (await fleet.stream_info()).state.messages
    assert count_queued(edge.store) == count
    await edge.start()
    await edge.wait_for(edge.is_settled, "it did not publish again")
    assert (await fleet.stream_info()).state.messages == count + stored
    await fleet.add_hub()
    await fleet.wait_arrived()
    assert await fleet.wait_acked() == 0
    assert is_clean(fleet.ledger.verdict()), fleet.ledger.verdict()
    assert fleet.ledger.repeats.total() == 0
