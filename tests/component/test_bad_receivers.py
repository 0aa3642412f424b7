"""Receivers that do their worst, over real sockets: a reason, words, bounded time and memory."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from relay.config import HttpDestination, RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Request, Response, Retry
from relay.delivery.http import connection
from relay.delivery.http.response import KEPT_BODY_BYTES
from relay.delivery.http.sender import open_http_sender
from relay.delivery.http.tls import TlsError, create_ssl_context
from relay.delivery.retry import Attempt, classify
from tests.support.certificates import Authority

SECRET = "canary-in-the-path"
Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
SendTo = Callable[[Behaviour], Awaitable[Response]]
SHORT_TIMEOUTS = {"connect": "500ms", "total": "500ms"}
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that reads a request and then behaves as told; gives its address."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio complains of one that is still behaving when the loop ends
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            await behave(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def destination(url: str, **parts: object) -> HttpDestination:
    return HttpDestination.model_validate({"url": url, "timeout": SHORT_TIMEOUTS, **parts})


async def send_once(url: str, **parts: object) -> Response:
    """What comes of one request."""
    async with open_http_sender(destination(url, **parts)) as http:
        return await http.send(Request(b"{}", url))


@pytest.fixture(params=["directly", "by way of a proxy"])
def behaved(request: pytest.FixtureRequest) -> SendTo:
    """What comes of one request to a receiver; one that is a proxy is asked like any other."""

    async def of(behave: Behaviour) -> Response:
        async with serving(behave) as address:
            proxy = None if request.param == "directly" else f"http://{address}"
            return await send_once(f"http://{address}/{SECRET}", proxy=proxy)

    return of


def classified(response: Response) -> Outcome:
    return classify(response, Attempt(0, 0.0, 0.5), RetryConfig())


async def test_one_that_says_nothing(behaved: SendTo) -> None:
    """It took the request and goes on listening."""

    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    response = await behaved(silent)
    assert classified(response) == Retry(1.0, Reason.TIMEOUT)
    assert response.error == "no answer in 0.5 s"


async def test_one_that_answers_a_byte_at_a_time(behaved: SendTo) -> None:
    """What is not said in time is not waited for, though something always comes."""

    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            for byte in OK + b"X: " + b"x" * 1000:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)

    assert classified(await behaved(dribble)) == Retry(1.0, Reason.TIMEOUT)


async def test_one_that_sends_a_body_a_byte_at_a_time(
    behaved: SendTo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status has said what became of the request."""
    monkeypatch.setattr(connection, "BODY_TIMEOUT_S", 0.1)

    async def dribble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 100000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    response = await behaved(dribble)
    assert classified(response) == Delivered()
    assert response.body.strip(b"x") == b""


async def test_one_that_sends_gigabytes(behaved: SendTo) -> None:
    """No more is read than is kept, and what the system holds for a connection."""
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK + b"Content-Length: 10000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            written += 65536

    response = await behaved(flood)
    assert response.body == b"x" * KEPT_BODY_BYTES
    assert written < 32 * 2**20


async def test_one_whose_headers_never_end(behaved: SendTo) -> None:
    """They are not kept either."""
    written = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK)
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()
            written += 1010

    response = await behaved(flood)
    assert classified(response) == Retry(1.0, Reason.CONNECTION)
    assert written < 32 * 2**20


async def test_one_that_closes_after_the_headers(behaved: SendTo) -> None:
    """It has answered: the body that it announced is not needed."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 10\r\n\r\n")
        await writer.drain()

    assert classified(await behaved(cut)) == Delivered()


async def test_one_that_closes_before_an_answer(behaved: SendTo) -> None:
    """It may have taken it: it is tried again under the same id."""

    async def cut(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    assert classified(await behaved(cut)) == Retry(1.0, Reason.CONNECTION)


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 100, b"HTTP/1.1 abc\r\n\r\n"]
)
async def test_one_that_does_not_speak_http(behaved: SendTo, said: bytes) -> None:
    """Something else listens there."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    response = await behaved(speak)
    assert classified(response) == Retry(1.0, Reason.CONNECTION)
    assert response.error == "the answer is not HTTP, or its headers are too long"


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///etc/shadow", "a redirect to file:, which is not followed"),
        ("http://127.0.0.1:9/x", "a redirect to http://127.0.0.1:9, which is not followed"),
        (
            f"https://a.example/{SECRET}",
            "a redirect to https://a.example, which is not followed",
        ),
        ("/elsewhere", "a redirect to the same server, which is not followed"),
        ("http://[", "a redirect to an invalid URL, which is not followed"),
    ],
)
async def test_one_that_sends_elsewhere(behaved: SendTo, location: str, words: str) -> None:
    """Nobody goes there, and the dead letter says where it would have been."""

    async def redirect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 307 x\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()

    response = await behaved(redirect)
    assert classified(response) == Dead(Reason.REDIRECT)
    assert response.error == words


async def test_one_whose_name_leads_nowhere() -> None:
    """The name is said: it is the first thing to look at."""
    response = await send_once(f"http://nowhere.invalid/{SECRET}")
    assert classified(response) == Retry(1.0, Reason.NAME_NOT_FOUND)
    assert response.error == "the name 'nowhere.invalid' has no address"


async def test_one_with_a_certificate_of_its_own(tmp_path: Path) -> None:
    """It is not trusted before ``ca_file`` says so."""
    authority = Authority(tmp_path)
    async with serving(_accept, authority.server()) as address:
        url = f"https://{address}/{SECRET}"
        response = await send_once(url)
        trusting = await send_once(url, tls={"ca_file": str(authority.certificate)})
    assert classified(response) == Retry(1.0, Reason.TLS)
    assert response.error is not None
    assert response.error.startswith("certificate not accepted: ")
    assert classified(trusting) == Delivered()


async def test_one_with_a_certificate_for_another_name(tmp_path: Path) -> None:
    """Whose authority is trusted, but who is not who was asked for."""
    authority = Authority(tmp_path)
    async with serving(_accept, authority.server("elsewhere")) as address:
        url = f"https://{address}/{SECRET}"
        response = await send_once(url, tls={"ca_file": str(authority.certificate)})
    assert classified(response) == Retry(1.0, Reason.TLS)


async def test_one_that_wants_to_know_who_asks(tmp_path: Path) -> None:
    """A client certificate is shown where one is configured."""
    authority = Authority(tmp_path)
    context = authority.server(known=True)
    certificate, key = authority.issue("client")
    ours = {"ca_file": str(authority.certificate)}
    async with serving(_accept, context) as address:
        url = f"https://{address}/{SECRET}"
        stranger = await send_once(url, tls=ours)
        known = await send_once(
            url, tls={**ours, "cert_file": str(certificate), "key_file": str(key)}
        )
    assert classified(stranger).reason in (Reason.CONNECTION, Reason.TLS)
    assert classified(known) == Delivered()


async def test_one_that_speaks_no_tls() -> None:
    """It answers what is no handshake."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        response = await send_once(f"https://127.0.0.1:{port}/{SECRET}")
    assert classified(response) == Retry(1.0, Reason.TLS)
    assert response.error == "TLS: WRONG_VERSION_NUMBER"


def test_a_certificate_that_cannot_be_read(tmp_path: Path) -> None:
    """relay does not start, and says which file is wrong."""
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    to = destination("https://x", tls={"ca_file": str(file)})

    async def open_() -> None:
        async with open_http_sender(to):
            raise AssertionError("it is no certificate")

    with pytest.raises(TlsError, match=r"ca\.pem: cannot be used for TLS"):
        asyncio.run(open_())


async def test_a_proxy_that_is_not_there() -> None:
    """It is the proxy that is named, without its password."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        proxy = f"http://user:canary-password@127.0.0.1:{bound.getsockname()[1]}"
        response = await send_once(f"http://hooks.example/{SECRET}", proxy=proxy)
    assert classified(response) == Retry(1.0, Reason.CONNECTION)
    assert response.error == "the proxy cannot be reached: Connection refused"


async def test_a_proxy_is_asked_for_the_whole_url() -> None:
    """With its own password; the receiver's name is the proxy's to find."""
    asked: list[bytes] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + b"Content-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy = f"http://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        response = await send_once("http://nowhere.invalid/hook", proxy=proxy)
    assert classified(response) == Delivered()
    (request,) = asked
    assert request.startswith(b"POST http://nowhere.invalid/hook HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in request


async def test_one_that_repeats_what_it_was_sent(behaved: SendTo) -> None:
    """Its answer is kept without the secrets, even where it is cut in the middle of one."""

    async def echo(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b"x" * (KEPT_BODY_BYTES - 10) + f"/{SECRET} and {SECRET}".encode()
        head = f"HTTP/1.1 400 x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    response = await behaved(echo)
    assert len(response.body) <= KEPT_BODY_BYTES
    assert b"canary" not in response.body


async def _accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"Content-Length: 2\r\n\r\nok")
    await writer.drain()


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_one_that_drops_the_connection_is_asked_once(method: str) -> None:
    """Every try is relay's own: it is counted and has its schedule."""
    asked = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.readuntil(b"\r\n\r\n"):
            asked += 1
            if asked > 1:
                break
            writer.write(OK + b"Content-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_http_sender(destination(url)) as http:
        for _ in range(2):
            response = await http.send(Request(b"", url, method=method))
    assert asked == 2
    assert response.failure is Reason.CONNECTION


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    """Nobody is asked for it: relay would wait for ever."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client")
    locked = authority.lock(key, "hush")
    tls = {"cert_file": str(certificate), "key_file": str(locked)}
    with pytest.raises(TlsError, match="cannot be used for TLS"):
        create_ssl_context(destination("https://x", tls=tls).tls)
