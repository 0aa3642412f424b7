"""What relay does when it has no file descriptor left: it waits, and blames no destination."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from relay.core.errors import describe_os_error

log = structlog.get_logger()

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The errors that say that this process or this host lacks something, whatever it connects to."""

POLL_INTERVAL_S = 1.0
"""How often a connection is tried while descriptors are lacking."""

WARNING_INTERVAL_S = 60.0
"""How often a shortage is logged for each destination."""

T = TypeVar("T")


class ShortageWait:
    """Repeats what fails only because relay itself lacks something."""

    def __init__(self) -> None:
        self._next_warning_s = float("-inf")

    async def until_possible(self, action: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        """Return the result of ``action``, which is repeated until ``deadline_s``.

        ``deadline_s`` is in the loop's time. Raises what ``action`` raises, at the end a shortage
        too.
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


def check_descriptors() -> None:
    """Raise `OSError` if no file descriptor is left.

    For what reports such a lack as something else: name lookups and OpenSSL.
    """
    os.close(os.open(os.devnull, os.O_RDONLY))
