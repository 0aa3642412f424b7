"""Being told to stop."""

import asyncio

import pytest

from relay.core.shutdown import Shutdown


async def hang() -> int:
    await asyncio.Event().wait()
    return 7


async def test_work_that_ends() -> None:
    """What it returns is had."""

    async def work() -> int:
        return 7

    assert await Shutdown().run_unless_stopped(work()) == 7


async def test_work_that_fails() -> None:
    """Its error is raised as it is."""

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Shutdown().run_unless_stopped(work())


async def test_a_stop_ends_work() -> None:
    """Without waiting for it; it is cancelled, and nothing of it is left."""
    stop, before = Shutdown(), asyncio.all_tasks()
    waiting = asyncio.ensure_future(stop.run_unless_stopped(hang()))
    await asyncio.sleep(0)
    stop.request()
    assert await waiting is None
    assert asyncio.all_tasks() <= {*before, waiting}


async def test_whoever_waits_goes() -> None:
    """The work goes with him."""
    before = asyncio.all_tasks()
    waiting = asyncio.ensure_future(Shutdown().run_unless_stopped(hang()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == before
