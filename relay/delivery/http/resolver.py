"""Where hosts are, as the system's resolver says."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohappyeyeballs import AddrInfoType

CACHE_TTL_S = 10.0
"""How long an answer is kept: names that move are followed, and a receiver that closes each
connection does not cost a question each time."""


class NoAddress(OSError):
    """The name of a host leads nowhere."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host


class Resolver:
    """Asks one question at a time for each host, whoever waits: a resolver that hangs holds one of
    the few threads that there are for it."""

    def __init__(self) -> None:
        self._lookups: dict[tuple[str, int], asyncio.Task[Sequence[AddrInfoType]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """The addresses of a host. Raises `NoAddress`."""
        try:
            return _get_addresses(host, port, socket.AI_NUMERICHOST)  # nobody is asked for a number
        except NoAddress:
            pass
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = asyncio.ensure_future(asyncio.to_thread(_get_addresses, host, port))
            lookup.add_done_callback(lambda _: self._keep_for_ttl(host, port))
            self._lookups[host, port] = lookup
        return await asyncio.shield(lookup)

    def _keep_for_ttl(self, host: str, port: int) -> None:
        """An answer, but no failure."""
        lookup = self._lookups[host, port]
        if lookup.cancelled() or lookup.exception() is not None:
            del self._lookups[host, port]
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(CACHE_TTL_S, self._lookups.pop, (host, port))


def _get_addresses(
    host: str, port: int, flags: int = socket.AI_ADDRCONFIG
) -> Sequence[AddrInfoType]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        raise NoAddress(host) from error


SPARE_THREADS = 8
THREADS_PER_DESTINATION = 4
"""So many names a destination looks up at once at most, with what hangs of earlier ones."""


class ResolverThreads:
    """Makes room for them in the loop's executor, so that no destination waits for another's."""

    def __init__(self) -> None:
        self._count = 0

    def reserve(self, destinations: int) -> None:
        """For so many destinations; what was made before is not taken back."""
        needed = SPARE_THREADS + THREADS_PER_DESTINATION * destinations
        if needed > self._count:
            self._count = needed
            pool = ThreadPoolExecutor(needed, "lookup")
            asyncio.get_running_loop().set_default_executor(pool)
