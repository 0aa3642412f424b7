"""Heartbeats, from relay to a webhook."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from relay.config import Config, HeartbeatConfig
from relay.store.outbox import open_outbox
from tests.component.daemon import make_config, running_daemon
from tests.component.scripted_engine import ScriptedEngine
from tests.component.webhook import Webhook

ALIVE = "{name: alive, match: {type: relay, action: heartbeat}, to: hook}"


def with_quick_heartbeat(config: Config) -> Config:
    """Heartbeats more often than a configuration allows."""
    often = HeartbeatConfig.model_construct(every=timedelta(milliseconds=10))
    return config.model_copy(update={"heartbeat": often})


async def test_heartbeats_repeat(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """They begin with the start, each under an id of its own, also without an engine."""
    async with running_daemon(with_quick_heartbeat(make_config(url, engine, routes=ALIVE)), store):
        await webhook.wait_for(lambda summaries: summaries.count("heartbeat") >= 3)
    assert set(webhook.summaries()) == {"heartbeat"}
    assert len({received.id for received in webhook.received}) == len(webhook.received)
    assert webhook.received[0].event["actor"]["name"] == "relay"


async def test_they_do_not_pile_up(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """While the destination hangs, one is under way, and only the newest waits."""
    webhook.hold()
    async with running_daemon(
        with_quick_heartbeat(make_config(url, engine, routes=ALIVE)), store
    ) as shutdown:
        await webhook.wait_for(lambda summaries: summaries.count("heartbeat") == 1)
        while newest_number(store) < 4:
            await asyncio.sleep(0.01)
        shutdown.request()
        shutdown.request()
    assert len(webhook.received) == 1
    async with open_outbox(store) as outbox:
        assert await outbox.pending() == {"hook": 1}


def newest_number(store: Path) -> int:
    """The number of the newest delivery that was ever stored."""
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        query = "SELECT max(seq) FROM sqlite_sequence WHERE name = 'deliveries'"
        return connection.execute(query).fetchone()[0] or 0
