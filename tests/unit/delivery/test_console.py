"""Writing to a terminal or a pipe."""

import asyncio
import io
import os
import threading

from relay.core.exchange import Reason, Request, Response
from relay.delivery.console import open_console_sender


async def test_writes_in_order() -> None:
    """A request is answered when its body is written."""
    stream = io.BytesIO()
    async with open_console_sender(stream) as sender:
        assert await sender.send(Request(b"one\n")) == Response(200)
        assert await sender.send(Request(b"two\n")) == Response(200)
    assert stream.getvalue() == b"one\ntwo\n"


async def test_a_closed_stream_is_a_failed_connection() -> None:
    """The error says what is wrong, and the next attempt is made all the same."""
    stream = io.BytesIO()
    stream.close()
    async with open_console_sender(stream) as sender:
        for _ in range(2):
            response = await sender.send(Request(b"one\n"))
            assert (response.status, response.failure) == (None, Reason.CONNECTION)
            assert response.error


async def test_a_broken_pipe_is_a_failed_connection() -> None:
    """The reader has closed its end."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as stream:
        async with open_console_sender(stream) as sender:
            response = await sender.send(Request(b"one\n"))
    assert (response.status, response.failure) == (None, Reason.CONNECTION)


class PausedStream(io.BytesIO):
    """A terminal on which the output is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.resumed = threading.Event()

    def flush(self) -> None:
        self.resumed.wait()


async def test_a_paused_terminal_does_not_block_the_loop() -> None:
    """Other tasks run meanwhile, and a cancelled request does no harm."""
    stream = PausedStream()
    async with open_console_sender(stream) as sender:
        given_up = asyncio.ensure_future(sender.send(Request(b"one\n")))
        waiting = asyncio.ensure_future(sender.send(Request(b"two\n")))
        await asyncio.sleep(0)
        given_up.cancel()
        assert not waiting.done()
        stream.resumed.set()
        assert await waiting == Response(200)
    assert stream.getvalue() == b"one\ntwo\n"
