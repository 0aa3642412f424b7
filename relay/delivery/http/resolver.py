"""Looks up the addresses of hosts, with the system's resolver.

The system's resolver blocks, so each lookup occupies a thread, and for long if the name server does
not answer. So that this does not hold up other destinations, there is one lookup at a time for each
host, its result is cached for `CACHE_TTL_S`, and the pool of threads grows with the number of
destinations.
"""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohappyeyeballs import AddrInfoType, start_connection

from relay.core.descriptors import check_descriptors
from relay.core.tasks import spawn

CACHE_TTL_S = 10.0
"""How long the addresses of a host are kept: short enough to follow a host that moves, long enough
that a receiver which closes each connection does not cost a lookup each time."""

HAPPY_EYEBALLS_DELAY_S = 0.25
"""How long the first address of a host is tried alone (RFC 8305, section 5)."""

SPARE_THREADS = 8
"""Threads for everything else that uses the loop's executor, such as aiohttp's own lookups."""

THREADS_PER_DESTINATION = 4
"""How many lookups a destination can have at once, including those that hang."""


class NoAddress(OSError):
    """The host's name has no address."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host


class Resolver:
    """Resolves hosts for one destination. Requests for the same host share one lookup."""

    def __init__(self) -> None:
        self._lookups: dict[tuple[str, int], asyncio.Task[Sequence[AddrInfoType]]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """Return the addresses of a host. Raises `NoAddress`."""
        try:
            return _get_addresses(host, port, socket.AI_NUMERICHOST)  # an address needs no lookup
        except NoAddress:
            pass
        lookup = self._lookups.get((host, port))
        if lookup is None:
            lookup = spawn(asyncio.to_thread(_get_addresses, host, port), f"resolve {host}")
            lookup.add_done_callback(lambda _: self._keep_for_ttl(host, port))
            self._lookups[host, port] = lookup
        return await asyncio.shield(lookup)

    async def connect(self, host: str, port: int) -> socket.socket:
        """Connect to a host. Raises `NoAddress` and `OSError`."""
        return await start_connection(
            await self.resolve(host, port),
            happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S,
            interleave=1,
        )

    def _keep_for_ttl(self, host: str, port: int) -> None:
        """Keep the result of a lookup for `CACHE_TTL_S`, unless it failed."""
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
        check_descriptors()  # without one, a lookup fails as if the name had no address
        raise NoAddress(host) from error


class ResolverThreads:
    """Sizes the loop's executor for lookups, so that no destination waits for another's."""

    def __init__(self) -> None:
        self._count = 0

    def reserve(self, destinations: int) -> None:
        """Provide threads for this many destinations. The pool never shrinks."""
        needed = SPARE_THREADS + THREADS_PER_DESTINATION * destinations
        if needed > self._count:
            self._count = needed
            pool = ThreadPoolExecutor(needed, "lookup")
            asyncio.get_running_loop().set_default_executor(pool)
