"""Waits while relay has no file descriptor left, which is not the destination's failure."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from relay.core.descriptors import SHORTAGES
from relay.core.errors import describe_os_error

log = structlog.get_logger()

POLL_INTERVAL_S = 1.0
"""How long to wait before an action is repeated."""

WARNING_INTERVAL_S = 60.0
"""How often a shortage is logged for each destination."""

T = TypeVar("T")


class ShortageWait:
    """Repeats an action of one destination that fails because of a shortage."""

    def __init__(self) -> None:
        self._next_warning_s = float("-inf")

    async def until_possible(self, action: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        """Return the result of ``action``; repeat it until ``deadline_s`` if there is a shortage.

        ``deadline_s`` is in the loop's time. Raises what ``action`` raises.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await action()
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise
                self._warn(error, loop.time())
                if loop.time() + POLL_INTERVAL_S >= deadline_s:
                    raise
            await asyncio.sleep(POLL_INTERVAL_S)

    def _warn(self, error: OSError, now_s: float) -> None:
        if now_s >= self._next_warning_s:
            self._next_warning_s = now_s + WARNING_INTERVAL_S
            log.warning(
                "delivery.exhausted",
                error=describe_os_error(error),
                help="raise the limit of open files: LimitNOFILE= of systemd, or ulimit -n",
            )
