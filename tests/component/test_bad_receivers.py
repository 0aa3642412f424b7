"""Receivers that misbehave, over real sockets: each gives a reason, in bounded time and memory."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Request, Response, Retry
from relay.delivery.http import connection
from relay.delivery.http.response import KEPT_BODY_BYTES
from relay.delivery.http.sender import open_http_sender
from relay.delivery.http.tls import TlsError, create_ssl_context
from relay.delivery.retry import Attempt, classify
from relay.destinations.discord import DiscordDestination
from relay.destinations.http import HttpDestination
from tests.support.certificates import Authority
from tests.support.loopback import serve_connections

SECRET = "canary-in-the-path"
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SendTo = Callable[[Behaviour], Awaitable[Response]]
SHORT_TIMEOUTS = {"connect": "500ms", "total": "500ms"}
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that reads a request and then calls ``behave``; yields its address."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await behave(reader, writer)

    async with serve_connections(accept, tls) as address:
        yield address


def destination(url: str, **parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": url, "timeout": SHORT_TIMEOUTS, **parts})


async def send_once(url: str, **parts: object) -> Response:
    """Send one request, and return the result."""
    async with open_http_sender(destination(url, **parts)) as http:
        return await http.send(Request(b"{}", url))


@pytest.fixture(params=["directly", "through a proxy"])
def send_to(request: pytest.FixtureRequest) -> SendTo:
    """Sends one request to a receiver, directly or as if the receiver were a proxy."""

    async def send(behave: Behaviour) -> Response:
        async with serving(behave) as address:
            proxy = None if request.param == "directly" else f"http://{address}"
            return await send_once(f"http://{address}/{SECRET}", proxy=proxy)

    return send


def classify_first(response: Response) -> Outcome:
    return classify(response, Attempt(0, 0.0, 0.5), RetryConfig())


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


async def test_one_with_a_private_certificate(tmp_path: Path) -> None:
    """It is trusted only with ``ca_file``."""
    authority = Authority(tmp_path)
    async with serving(_accept, authority.server_context()) as address:
        url = f"https://{address}/{SECRET}"
        response = await send_once(url)
        trusted = await send_once(url, tls={"ca_file": str(authority.certificate)})
    assert classify_first(response) == Retry(1.0, Reason.TLS)
    assert response.error is not None
    assert response.error.startswith("certificate not accepted: ")
    assert classify_first(trusted) == Delivered()


async def test_one_with_a_certificate_for_another_name(tmp_path: Path) -> None:
    """Its authority is trusted, but the name does not match."""
    authority = Authority(tmp_path)
    async with serving(_accept, authority.server_context("elsewhere")) as address:
        url = f"https://{address}/{SECRET}"
        response = await send_once(url, tls={"ca_file": str(authority.certificate)})
    assert classify_first(response) == Retry(1.0, Reason.TLS)


async def test_one_that_requires_a_client_certificate(tmp_path: Path) -> None:
    """relay sends the certificate that is configured."""
    authority = Authority(tmp_path)
    context = authority.server_context(verify_clients=True)
    certificate, key = authority.issue("client")
    tls = {"ca_file": str(authority.certificate)}
    async with serving(_accept, context) as address:
        url = f"https://{address}/{SECRET}"
        without = await send_once(url, tls=tls)
        with_certificate = await send_once(
            url, tls={**tls, "cert_file": str(certificate), "key_file": str(key)}
        )
    assert classify_first(without).reason in (Reason.CONNECTION, Reason.TLS)
    assert classify_first(with_certificate) == Delivered()


async def test_one_that_speaks_no_tls() -> None:
    """Its answer is not a TLS handshake."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with serve_connections(accept) as address:
        response = await send_once(f"https://{address}/{SECRET}")
    assert classify_first(response) == Retry(1.0, Reason.TLS)
    assert response.error == "TLS: WRONG_VERSION_NUMBER"


def test_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    """Opening the sender fails, and the error names the file."""
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    to = destination("https://x", tls={"ca_file": str(file)})

    async def open_() -> None:
        async with open_http_sender(to):
            raise AssertionError("opened with an invalid certificate")

    with pytest.raises(TlsError, match=r"ca\.pem: cannot be used for TLS"):
        asyncio.run(open_())


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


async def _accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 2\r\n\r\nok")
    await writer.drain()


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


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    """OpenSSL would ask for the passphrase on the terminal and wait for ever."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client")
    locked = authority.encrypt_key(key, "hush")
    tls = {"cert_file": str(certificate), "key_file": str(locked)}
    with pytest.raises(TlsError, match="cannot be used for TLS"):
        create_ssl_context(destination("https://x", tls=tls).tls)
