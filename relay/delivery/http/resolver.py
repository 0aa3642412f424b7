"""Where hosts are, as the system's resolver says."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohappyeyeballs import AddrInfoType

KEPT_S = 10.0
"""How long an answer is kept: names that move are followed, and a receiver that closes each
connection does not cost a question each time."""


class NoAddress(OSError):
    """The name of a host leads nowhere."""

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host


class Names:
    """Asks one question at a time for each host, whoever waits: a resolver that hangs holds one of
    the few threads that there are for it."""

    def __init__(self) -> None:
        self._questions: dict[tuple[str, int], asyncio.Task[Sequence[AddrInfoType]]] = {}

    async def find(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """The addresses of a host. Raises `NoAddress`."""
        try:
            return _addresses(host, port, socket.AI_NUMERICHOST)  # nobody is asked for a number
        except NoAddress:
            pass
        question = self._questions.get((host, port))
        if question is None:
            question = asyncio.ensure_future(asyncio.to_thread(_addresses, host, port))
            question.add_done_callback(lambda _: self._keep(host, port))
            self._questions[host, port] = question
        return await asyncio.shield(question)

    def _keep(self, host: str, port: int) -> None:
        """An answer, but no failure."""
        question = self._questions[host, port]
        if question.cancelled() or question.exception() is not None:
            del self._questions[host, port]
        else:
            loop = asyncio.get_running_loop()
            loop.call_later(KEPT_S, self._questions.pop, (host, port))


def _addresses(host: str, port: int, flags: int = socket.AI_ADDRCONFIG) -> Sequence[AddrInfoType]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except socket.gaierror as error:
        raise NoAddress(host) from error


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
