"""When an engine's history counts as read."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from relay.config import ReconcileConfig
from relay.ingest.docker import reconciler
from relay.ingest.docker.buffer import EventBuffer
from relay.ingest.docker.engine.inspector import Inspector
from relay.ingest.docker.reconciler import Reconciler
from tests.support.virtual_time import run_in_virtual_time


def test_without_a_reconciliation_the_history_has_time_to_arrive() -> None:
    """Else an incident could end although the history, which is on its way, has another death."""
    reconciled_at_s: list[float] = []

    def reconciled() -> None:
        reconciled_at_s.append(asyncio.get_running_loop().time())

    async def connect() -> None:
        known: Any = SimpleNamespace(reconciled=reconciled)
        client: Any = None
        committed = asyncio.Event()
        committed.set()
        opening = asyncio.get_running_loop().create_future()
        opening.set_result(SimpleNamespace(committed=committed))
        config = ReconcileConfig(every=timedelta(0), on_reconnect=False)
        buffer = EventBuffer(2**20)
        running = Reconciler("here", config, buffer, known, Inspector(), lambda: 0)
        started_s = asyncio.get_running_loop().time()
        task = asyncio.create_task(running.run(client, opening))
        await asyncio.sleep(10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert [at_s - started_s for at_s in reconciled_at_s] == [reconciler.EVENT_GRACE_S]

    run_in_virtual_time(connect())
