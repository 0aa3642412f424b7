"""Work in threads, whose results come back into the loop."""

import threading

import pytest

from relay.core.tasks import run_in_thread


async def test_a_result_that_nobody_waits_for_any_more(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever waited was cancelled; asyncio logs nothing when the thread is done later."""
    may_end = threading.Event()
    abandoned = run_in_thread(may_end.wait, "test: slow")
    abandoned.cancel()
    may_end.set()
    for thread in threading.enumerate():
        if thread.name == "test: slow":
            thread.join()
    assert await run_in_thread(lambda: 7, "test: next") == 7  # in the loop after the other's result
    assert caplog.records == []


async def test_an_error_is_raised_where_the_result_is_awaited() -> None:
    """As it was raised in the thread."""

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        await run_in_thread(fail, "test: fails")
