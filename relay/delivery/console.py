"""Writes notifications to the console: a terminal, a file or a pipe."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO

from relay.core.exchange import Reason, Request, Response


class ConsoleSender:
    """A `Sender` to an unbuffered stream, such as standard output.

    It writes in a daemon thread of its own: a paused terminal, or a pipe that nobody reads, blocks
    for ever, which must hold up neither the event loop nor the end of the process.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[tuple[bytes, asyncio.Future[Response]] | None] = (
            queue.SimpleQueue()
        )
        threading.Thread(target=self._run, name="console", daemon=True).start()

    async def send(self, request: Request) -> Response:
        """Write the body, and return when the stream has accepted it."""
        done: asyncio.Future[Response] = self._loop.create_future()
        self._jobs.put((request.body, done))
        return await done

    def close(self) -> None:
        """Let the thread end when it has written everything that is queued."""
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            body, done = job
            response = self._write(body)
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(_set_result, done, response)

    def _write(self, body: bytes) -> Response:
        try:
            while body:
                body = body[self._stream.write(body) :]
        except (OSError, ValueError) as error:
            return Response(None, failure=Reason.CONNECTION, error=str(error))
        return Response(200)


def _set_result(done: asyncio.Future[Response], response: Response) -> None:
    if not done.done():
        done.set_result(response)


@asynccontextmanager
async def open_console_sender(stream: BinaryIO) -> AsyncIterator[ConsoleSender]:
    """Open a sender to the stream."""
    sender = ConsoleSender(stream)
    try:
        yield sender
    finally:
        sender.close()
