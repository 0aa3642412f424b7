"""Silences in a run: one from the start holds back a crash, others are added while relay runs.

Whatever relay was killed at, the silence holds the crash back, and counts it once. A silence that
relay has said to have added is there at the end.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import time_ns

from relay.admin.client import connect_to_daemon
from relay.admin.control_socket import socket_path
from relay.admin.operation import OperationError
from relay.admin.operations import AdminOperations, LocalOperations
from relay.core.event import Cause
from relay.incidents.silence_request import SilenceRequest
from relay.store.outbox import open_outbox
from tests.crash.plan import SILENCED, ContainerEvent

SILENCED_STORY = [
    ContainerEvent(SILENCED, "start"),
    ContainerEvent(SILENCED, "die", Cause.CRASHED),
    ContainerEvent(SILENCED, "destroy"),
]
"""A container whose crash is silenced: it came and went."""

RETRY_S = 0.02


def _request(name: str) -> SilenceRequest:
    return SilenceRequest("crash", "tests", {"name": name})


@asynccontextmanager
async def _open(store: Path) -> AsyncIterator[AdminOperations]:
    """The operations on a store, while no relay runs."""
    async with open_outbox(store) as outbox:
        yield LocalOperations(outbox, tuple, time_ns)


async def silence_before_start(store: Path) -> None:
    """Add the silence that holds back the crash of `SILENCED`."""
    async with _open(store) as operations:
        await operations.add_silence(_request(SILENCED))


async def add_to_running(store: Path, lifetime: int) -> int:
    """Add a silence to the relay that runs or is about to; return its number."""
    while True:
        try:
            async with connect_to_daemon(socket_path(store)) as operations:
                return (await operations.add_silence(_request(f"lifetime-{lifetime}"))).id
        except OperationError:  # it is starting, or was killed
            await asyncio.sleep(RETRY_S)


async def wait_until_counted(store: Path, has_ended: Callable[[], bool]) -> None:
    """Wait until the relay that runs has counted the silenced crash, or has ended."""
    while not has_ended():
        with suppress(OperationError):  # it is busy
            async with connect_to_daemon(socket_path(store)) as operations:
                if any(each.held_events for each in await operations.list_silences()):
                    return
        await asyncio.sleep(RETRY_S)


async def find_silence_faults(store: Path, added: Collection[int]) -> list[str]:
    """Return what is wrong with the silences at the end of a run."""
    async with _open(store) as operations:
        found = {each.id: each for each in await operations.list_silences(include_over=True)}
    faults = [f"silence {each} was added, and is gone" for each in added if each not in found]
    first = found.get(1)
    if first is None or first.match != {"name": SILENCED}:
        return [*faults, f"the first silence is {first}"]
    if (first.held_incidents, first.held_events) != (1, 1):
        counts = f"{first.held_incidents} incidents, {first.held_events} events"
        faults.append(f"the silence has counted {counts}")
    return faults
