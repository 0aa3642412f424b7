"""Threads for looking up names, which can hang."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

SPARE = 8
EACH = 4
"""So many names a destination looks up at once at most, with what hangs of earlier ones."""


class Lookups:
    """Makes room for them in the loop's executor, so that no destination waits for another's."""

    def __init__(self) -> None:
        self._room = 0

    def make_room(self, destinations: int) -> None:
        """For so many destinations; what was made before is not taken back."""
        needed = SPARE + EACH * destinations
        if needed > self._room:
            self._room = needed
            pool = ThreadPoolExecutor(needed, "lookup")
            asyncio.get_running_loop().set_default_executor(pool)
