"""Receivers that misbehave, over real sockets: each gives a reason, in bounded time and memory."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from relay.core.exchange import Dead, Delivered, Reason, Request, Response, Retry
from relay.delivery.http import connection
from relay.delivery.http.response import KEPT_BODY_BYTES
from relay.delivery.http.sender import open_http_sender
from relay.destinations.discord import DiscordDestination
from tests.component.receivers import (
    OK,
    SECRET,
    Behaviour,
    classify_first,
    destination,
    send_once,
    serving,
)
from tests.support.loopback import serve_connections

SendTo = Callable[[Behaviour], Awaitable[Response]]


@pytest.fixture(params=["directly", "through a proxy"])
def send_to(request: pytest.FixtureRequest) -> SendTo:
    """Sends one request to a receiver, directly or as if the receiver were a proxy."""

    async def send(behave: Behaviour) -> Response:
        async with serving(behave) as address:
            proxy = None if request.param == "directly" else f"http://{address}"
            return await send_once(f"http://{address}/{SECRET}", proxy=proxy)

    return send


async def test_one_that_does_not_answer(send_to: SendTo) -> None:
    """It accepts the request and keeps the connection open."""

    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    response = await send_to(silent)
    assert classify_first(response) == Retry(1.0, Reason.TIMEOUT)
    assert response.error == "no answer in 0.5 s"


async def test_one_that_answers_a_byte_at_a_time(send_to: SendTo) -> None:
    """The deadline holds although data keeps arriving."""

    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for byte in OK + b"X: " + b"x" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)

    assert classify_first(await send_to(dribble)) == Retry(1.0, Reason.TIMEOUT)


async def test_one_that_sends_a_body_a_byte_at_a_time(
    send_to: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status has said what became of the request."""
    monkeypatch.setattr(connection, "BODY_TIMEOUT_S", 0.1)

    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    response = await send_to(dribble)
    assert classify_first(response) == Delivered()
    assert response.body.strip(b"x") == b""


async def test_one_that_sends_gigabytes(send_to: SendTo) -> None:
    """relay reads no more than it keeps, apart from what the system buffers."""
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK + b"Content-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    response = await send_to(flood)
    assert response.body == b"x" * KEPT_BODY_BYTES
    assert written < 32 * 2**20


async def test_one_whose_headers_never_end(send_to: SendTo) -> None:
    """relay stops reading them, and reports an invalid response."""
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK)
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()
            written += 1010

    response = await send_to(flood)
    assert classify_first(response) == Retry(1.0, Reason.CONNECTION)
    assert written < 32 * 2**20


async def test_one_that_closes_after_the_headers(send_to: SendTo) -> None:
    """The response counts without the body that was announced."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 10\r\n\r\n")
        await writer.drain()

    assert classify_first(await send_to(cut)) == Delivered()


async def test_one_that_closes_after_the_headers_has_not_said_it_all() -> None:
    """A service that has to name an id may not have accepted the message: it is sent again."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 10\r\n\r\n")
        await writer.drain()

    async with serving(cut) as address:
        to = DiscordDestination.model_validate({"url": f"http://{address}/"})
        async with open_http_sender(to) as http:
            response = await http.send(Request(b"{}", to.endpoint))
    assert classify_first(response) == Retry(1.0, Reason.UNEXPECTED)
    assert response.error == "without the id of a message: no body came"


async def test_one_that_closes_before_an_answer(send_to: SendTo) -> None:
    """It may have accepted the delivery, which is tried again under the same id."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    assert classify_first(await send_to(cut)) == Retry(1.0, Reason.CONNECTION)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 100, b"HTTP/1.1 abc\r\n\r\n"]
)
async def test_one_that_does_not_speak_http(send_to: SendTo, answer: bytes) -> None:
    """Another protocol is spoken on that port."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    response = await send_to(speak)
    assert classify_first(response) == Retry(1.0, Reason.CONNECTION)
    assert response.error == "the answer is not HTTP, or its headers are too long"


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("file:///etc/shadow", "a redirect to file:, which is not followed"),
        ("http://127.0.0.1:9/x", "a redirect to http://127.0.0.1:9, which is not followed"),
        (
            f"https://a.example/{SECRET}",
            "a redirect to https://a.example, which is not followed",
        ),
        ("/elsewhere", "a redirect to the same server, which is not followed"),
        (f"https://{SECRET}.example/", "a redirect to https:/•••.example, which is not followed"),
        (
            f"https://{'a' * 4_000}.example/",
            f"a redirect to https://{'a' * 91}…, which is not followed",
        ),
        ("http://[", "a redirect to an invalid URL, which is not followed"),
    ],
)
async def test_one_that_redirects(send_to: SendTo, location: str, error: str) -> None:
    """The redirect is not followed, and the error says where it leads, without secrets."""

    async def redirect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 307 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()

    response = await send_to(redirect)
    assert classify_first(response) == Dead(Reason.REDIRECT)
    assert response.error == error


async def test_one_whose_redirect_is_expected() -> None:
    """A form may answer in this way: it is a success, and no error."""

    async def redirect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 303 x\r\nLocation: /thanks\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(redirect) as address:
        response = await send_once(f"http://{address}/", expect={"status": 303})
    assert classify_first(response) == Delivered()
    assert response.error is None


LOGIN_PAGE = (
    b"""<!DOCTYPE html>
<html><head><title>Sign in &middot; """
    + SECRET.encode()
    + b"""</title></head></html>"""
)


async def test_one_behind_a_login(send_to: SendTo) -> None:
    """A page with the status 200 is no success, and the error says which page it is."""

    async def show_login(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"Content-Type: text/html\r\nContent-Length: {len(LOGIN_PAGE)}\r\n\r\n"
        writer.write(OK + head.encode() + LOGIN_PAGE)
        await writer.drain()

    response = await send_to(show_login)
    assert classify_first(response) == Retry(1.0, Reason.UNEXPECTED)
    assert response.error == ("a web page, such as a login or a proxy shows: Sign in &middot; •••")


async def test_one_that_repeats_a_long_message() -> None:
    """Its id stands behind the message, far behind what is kept of the response."""
    echo = msgspec.json.encode({"embeds": [{"title": "\\u00fc" * 10_000}], "id": "1"})

    async def repeat(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + f"Content-Length: {len(echo)}\r\n\r\n".encode() + echo)
        await writer.drain()

    async with serving(repeat) as address:
        url = f"http://{address}/"
        to = DiscordDestination.model_validate({"url": url})
        async with open_http_sender(to) as http:
            response = await http.send(Request(b"{}", url))
    assert classify_first(response) == Delivered()
    assert len(response.body) == KEPT_BODY_BYTES < len(echo)


async def test_one_whose_name_has_no_address() -> None:
    """The error holds the name: it is the first thing to check."""
    response = await send_once(f"http://nowhere.invalid/{SECRET}")
    assert classify_first(response) == Retry(1.0, Reason.NAME_NOT_FOUND)
    assert response.error == "the name 'nowhere.invalid' has no address"


async def test_a_proxy_that_cannot_be_reached() -> None:
    """The error names the proxy, without its password."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        proxy = f"http://user:canary-password@127.0.0.1:{bound.getsockname()[1]}"
        response = await send_once(f"http://hooks.example/{SECRET}", proxy=proxy)
    assert classify_first(response) == Retry(1.0, Reason.CONNECTION)
    assert response.error == "the proxy cannot be reached: Connection refused"


async def test_a_proxy_gets_the_whole_url() -> None:
    """The proxy gets its own password, and resolves the receiver's name itself."""
    requests: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 2\r\n\r\nok")

    async with serve_connections(accept) as address:
        proxy = f"http://user:secret@{address}"
        response = await send_once("http://nowhere.invalid/hook", proxy=proxy)
    assert classify_first(response) == Delivered()
    (request,) = requests
    assert request.startswith(b"POST http://nowhere.invalid/hook HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in request


async def test_one_that_repeats_what_it_was_sent(send_to: SendTo) -> None:
    """Its response is kept without the secrets, also if one of them is cut off."""

    async def echo(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b"x" * (KEPT_BODY_BYTES - 10) + f"/{SECRET} and {SECRET}".encode()
        head = f"HTTP/1.1 400 x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    response = await send_to(echo)
    assert len(response.body) <= KEPT_BODY_BYTES
    assert b"canary" not in response.body


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_one_that_drops_new_connections_gets_one_request(method: str) -> None:
    """What was sent over a new connection is not repeated: every attempt is scheduled."""
    count = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while await reader.readuntil(b"\r\n\r\n"):
            count += 1
            break

    async with serve_connections(accept) as address:
        url = f"http://{address}/"
        async with open_http_sender(destination(url)) as http:
            for _ in range(2):
                response = await http.send(Request(b"", url, method=method))
    assert count == 2
    assert response.failure is Reason.CONNECTION
