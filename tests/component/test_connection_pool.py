"""The connections to a destination, over real sockets."""

import asyncio
import errno
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from relay.core.exchange import Reason, Request, Response
from relay.delivery.http import connection, pool, resolver
from relay.delivery.http.sender import open_http_sender
from relay.destinations.http import HttpDestination
from tests.support.loopback import serve_connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers request after request, and counts the connections."""

    def __init__(self, answers: Sequence[bytes | Answer]) -> None:
        self.answers = list(answers)
        self.opened = 0
        self.closed = asyncio.Event()
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            while self.answers:
                await reader.readuntil(b"\r\n\r\n")
                answer = self.answers.pop(0)
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(writer)
            await reader.read()
        self.closed.set()


@asynccontextmanager
async def serving(*answers: bytes | Answer) -> AsyncIterator[Server]:
    """Run a server that gives these answers, in order."""
    server = Server(answers)
    async with serve_connections(server.accept) as address:
        server.url = f"http://{address}/"
        yield server


async def send_requests(
    server: Server, times: int, total: str = "5s", *, proxy: bool = False
) -> list[Response]:
    """Send requests one after the other, and return the responses."""
    to = HttpDestination.model_validate(
        {
            "url": server.url,
            "timeout": {"connect": total, "total": total},
            "proxy": server.url if proxy else None,
        }
    )
    async with open_http_sender(to) as http:
        return [await http.send(Request(b"", server.url)) for _ in range(times)]


def statuses(responses: list[Response]) -> list[int | None]:
    return [response.status for response in responses]


async def test_a_connection_is_reused() -> None:
    """One connection serves many deliveries."""
    async with serving(OK, OK, OK) as server:
        assert statuses(await send_requests(server, 3)) == [200, 200, 200]
    assert server.opened == 1


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 500 unexpected\r\n\r\n",
        OK + b"\x00\x01",
        b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz",
    ],
)
async def test_a_connection_with_unread_data_is_not_reused(last: bytes) -> None:
    """Data after a response is never mistaken for the next response."""
    async with serving(last, OK) as server:
        first, second = await send_requests(server, 2)
    assert (first.status or 0) < 300
    assert (second.status, second.body) == (200, b"ok")
    assert server.opened == 2


async def close(writer: asyncio.StreamWriter) -> None:
    """Close the connection without an answer."""
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection, as a host does that no longer knows it."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.close()


async def answer_half(writer: asyncio.StreamWriter) -> None:
    """Close the connection within the head of an answer."""
    writer.write(b"HTTP/1.1 2")
    writer.close()


@pytest.mark.parametrize("proxy", [False, True])
@pytest.mark.parametrize("end", [close, reset])
async def test_an_idle_connection_that_ends_with_the_request(end: Answer, proxy: bool) -> None:
    """The request is sent over a new connection at once, in the same attempt."""
    async with serving(OK, end, OK) as server:
        responses = await send_requests(server, 2, proxy=proxy)
    assert statuses(responses) == [200, 200]
    assert server.opened == 2


@pytest.mark.parametrize("proxy", [False, True])
async def test_a_new_connection_that_ends_is_a_failure(proxy: bool) -> None:
    """There is one new connection, not one after the other."""
    async with serving(OK, close, close, OK) as server:
        _, response = await send_requests(server, 2, proxy=proxy)
    assert (response.status, response.failure) == (None, Reason.CONNECTION)
    assert len(server.answers) == 1


@pytest.mark.parametrize("proxy", [False, True])
async def test_a_request_that_is_sent_again_has_no_more_time(proxy: bool) -> None:
    """``timeout.total`` is for both connections together."""

    async def close_late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.7)
        writer.close()

    async def silent(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    loop = asyncio.get_running_loop()
    async with serving(OK, close_late, silent) as server:
        started_s = loop.time()
        _, response = await send_requests(server, 2, total="1s", proxy=proxy)
        assert loop.time() - started_s < 1.6
    assert response.error == "no answer in 1 s"


async def test_an_answer_that_begins_is_the_answer() -> None:
    """The receiver got the request: to send it again is for the next attempt."""
    async with serving(OK, answer_half, OK) as server:
        _, response = await send_requests(server, 2)
    assert (response.status, response.failure) == (None, Reason.CONNECTION)
    assert len(server.answers) == 1


@pytest.mark.parametrize(("max_idle_s", "opened"), [(9.0, 1), (0.0, 2)])
async def test_a_long_request_needs_a_connection_in_use(
    max_idle_s: float, opened: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not kept, so it cannot be sent again if the connection ends."""
    monkeypatch.setattr(pool, "MAX_IDLE_FOR_LONG_S", max_idle_s)
    async with serving(OK, OK) as server:
        to = HttpDestination.model_validate({"url": server.url})
        async with open_http_sender(to) as http:
            for body in (b"", b"x" * 100_000):
                assert (await http.send(Request(body, server.url))).status == 200
    assert server.opened == opened


async def test_data_without_a_request_closes_the_connection() -> None:
    """Such data must not be mistaken for the response to the next request."""
    may_continue = asyncio.Event()

    async def answer_twice(writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await may_continue.wait()
        writer.write(b"HTTP/1.1 500 late\r\nContent-Length: 0\r\n\r\n")

    async with serving(answer_twice, OK) as server:
        to = HttpDestination.model_validate({"url": server.url})
        async with open_http_sender(to) as http:
            await http.send(Request(b"", server.url))
            may_continue.set()
            await server.closed.wait()
            assert (await http.send(Request(b"", server.url))).status == 200


async def test_a_1xx_response_is_skipped() -> None:
    """Early hints (103) do not say what became of the request."""
    hints = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
    late = b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n"
    async with serving(hints + hints + late) as server:
        (response,) = await send_requests(server, 1)
    assert response == Response(503)


async def test_1xx_responses_are_bounded() -> None:
    """Together they are bounded like a head."""
    async with serving(b"HTTP/1.1 100 Continue\r\n\r\n" * 4000) as server:
        (response,) = await send_requests(server, 1)
    assert response.error == "the answer is not HTTP, or its headers are too long"


@pytest.mark.parametrize("cut", [0, 30])
async def test_an_invalid_body_does_not_change_the_status(cut: int) -> None:
    """The status has said what became of the request, whenever the rest arrives."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    may_continue = asyncio.Event()

    async def invalid(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await may_continue.wait()
        writer.write(b"2\r\nok\r\nno number\r\n")

    async with serving(invalid) as server:
        to = HttpDestination.model_validate({"url": server.url})
        async with open_http_sender(to) as http:
            sending = asyncio.ensure_future(http.send(Request(b"", server.url)))
            await asyncio.sleep(cut / 1000)
            may_continue.set()
            assert (await sending).status == 200


async def test_status_000_is_a_response() -> None:
    """The request does not wait for another response."""
    async with serving(b"HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n") as server:
        (response,) = await send_requests(server, 1)
    assert response.status == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\no\r\n1\r\nk\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    ],
)
async def test_responses_are_read_in_any_framing(answer: bytes) -> None:
    """In chunks, or with the bare line feeds that scripts write."""
    async with serving(answer, answer) as server:
        responses = await send_requests(server, 2)
    assert [response.body for response in responses] == [b"ok", b"ok"]
    assert server.opened == 1


async def test_the_first_of_a_repeated_header_counts() -> None:
    """As in other HTTP clients."""
    twice = b"HTTP/1.1 429 x\r\nRETRY-AFTER: 7\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"
    async with serving(twice) as server:
        (response,) = await send_requests(server, 1)
    assert response.headers == {"retry-after": "7"}


async def test_an_idle_connection_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a proxy or load balancer on the way closes it."""
    monkeypatch.setattr(connection, "IDLE_TIMEOUT_S", 0.05)
    async with serving(OK, OK) as server:
        to = HttpDestination.model_validate({"url": server.url})
        async with open_http_sender(to) as http:
            await http.send(Request(b"", server.url))
            await server.closed.wait()
            assert (await http.send(Request(b"", server.url))).status == 200
    assert server.opened == 2


async def test_each_request_has_its_own_deadline() -> None:
    """It depends in no way on how long the request before took."""

    async def slowly(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.4)
        writer.write(OK)

    async def silent(_: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with serving(slowly, slowly, slowly, silent) as server:
        responses = await send_requests(server, 4, total="1s")
    assert statuses(responses) == [200, 200, 200, None]
    assert responses[-1].error == "no answer in 1 s"
    assert server.opened == 1


async def test_a_cancelled_request_closes_its_connection() -> None:
    """Its response must not be taken for another one."""
    arrived = asyncio.Event()

    async def silent(_: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with serving(silent, OK) as server:
        to = HttpDestination.model_validate({"url": server.url})
        async with open_http_sender(to) as http:
            sending = asyncio.ensure_future(http.send(Request(b"", server.url)))
            await arrived.wait()
            sending.cancel()
            await asyncio.wait([sending])
            assert (await http.send(Request(b"", server.url))).status == 200
    assert server.opened == 2


async def test_a_connect_timeout_has_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that the network is to blame, not the receiver."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(resolver, "start_connection", never)
    timeout = {"connect": "50ms", "total": "5s"}
    to = HttpDestination.model_validate({"url": "http://127.0.0.1:9/", "timeout": timeout})
    async with open_http_sender(to) as http:
        response = await http.send(Request(b"", "http://127.0.0.1:9/"))
    assert (response.failure, response.error) == (Reason.TIMEOUT, "no connection in 0.05 s")


async def test_requests_to_one_host_share_a_lookup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resolver that hangs holds one thread, and its result serves several connections."""
    looked_up: list[str] = []
    answers = threading.Event()
    resolve = socket.getaddrinfo

    def slow(host: str, port: int, **options: Any) -> Any:
        if options["flags"] & socket.AI_NUMERICHOST:
            return resolve(host, port, **options)
        looked_up.append(host)
        answers.wait(10)
        return resolve("127.0.0.1", port, type=options["type"])

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    async with serving(*[OK] * 8) as server:
        url = server.url.replace("127.0.0.1", "hooks.example")
        async with open_http_sender(HttpDestination.model_validate({"url": url})) as http:
            sending = [asyncio.ensure_future(http.send(Request(b"", url))) for _ in range(4)]
            while not looked_up:
                await asyncio.sleep(0)
            answers.set()
            assert statuses(await asyncio.gather(*sending)) == [200] * 4
    assert looked_up == ["hooks.example"]


async def test_a_failed_lookup_is_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt may find the host."""
    looked_up: list[str] = []

    def failing(host: str, port: int, **options: Any) -> Any:
        if not options["flags"] & socket.AI_NUMERICHOST:
            looked_up.append(host)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    to = HttpDestination.model_validate({"url": "http://hooks.example/"})
    async with open_http_sender(to) as http:
        for _ in range(2):
            response = await http.send(Request(b"", "http://hooks.example/"))
            assert response.failure is Reason.NAME_NOT_FOUND
    assert looked_up == ["hooks.example"] * 2


async def test_a_timeout_of_the_system_keeps_its_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not one of relay's own timeouts."""

    async def time_out(*_: object, **__: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "x")

    monkeypatch.setattr(resolver, "start_connection", time_out)
    to = HttpDestination.model_validate({"url": "http://127.0.0.1:9/"})
    async with open_http_sender(to) as http:
        response = await http.send(Request(b"", "http://127.0.0.1:9/"))
    assert (response.failure, response.error) == (Reason.CONNECTION, "Connection timed out")
