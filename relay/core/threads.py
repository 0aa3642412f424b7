"""Work in a thread of its own, which ends with the work.

asyncio's pool is for short work: its threads stay, and one that hangs is missing for all others.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")


async def import_in_thread(module: str) -> None:
    """Import a module that only some configurations or requests need; meanwhile the loop goes on.

    The caller then imports from it as usual, which takes no time.
    """
    if module not in sys.modules:
        await run_in_thread(partial(import_module, module), f"import of {module}")


def run_in_thread(work: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Run ``work`` in a new thread of this name; the future gets its result."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()
    result.add_done_callback(_retrieve_exception)

    def report(set_result: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(set_result)

    def run() -> None:
        try:
            returned = work()
        except Exception as error:
            report(partial(result.set_exception, error))
        else:
            report(partial(result.set_result, returned))

    threading.Thread(target=run, name=name, daemon=True).start()
    return result


def _retrieve_exception(result: asyncio.Future[Any]) -> None:
    """Mark an exception as retrieved: asyncio would log one that comes after the timeout."""
    if not result.cancelled():
        result.exception()
