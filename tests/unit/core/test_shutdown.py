"""Running work until a shutdown is requested."""

import asyncio

import pytest

from relay.core.tasks import Shutdown


async def hang() -> int:
    """Wait forever."""
    await asyncio.Event().wait()
    return 7


async def test_work_that_finishes() -> None:
    """The result of the work is returned."""

    async def work() -> int:
        return 7

    assert await Shutdown().run_unless_stopped(work(), "work") == 7


async def test_work_that_fails() -> None:
    """The error of the work is raised unchanged."""

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await Shutdown().run_unless_stopped(work(), "work")


async def test_a_shutdown_cancels_work() -> None:
    """A shutdown does not wait for the work, and leaves no task."""
    shutdown, before = Shutdown(), asyncio.all_tasks()
    waiting = asyncio.ensure_future(shutdown.run_unless_stopped(hang(), "work"))
    await asyncio.sleep(0)
    shutdown.request()
    assert await waiting is None
    assert asyncio.all_tasks() <= {*before, waiting}


async def test_cancelling_the_caller_cancels_the_work() -> None:
    """No task is left."""
    before = asyncio.all_tasks()
    waiting = asyncio.ensure_future(Shutdown().run_unless_stopped(hang(), "work"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert asyncio.all_tasks() == before
