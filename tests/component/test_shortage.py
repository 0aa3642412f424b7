"""relay has no file descriptor left: it waits, and blames no destination."""

import asyncio
import errno
import socket
from collections import Counter

import pytest
from structlog.testing import capture_logs

from relay.core import tls
from relay.core.exchange import Reason, Request, Response
from relay.delivery.http import shortage
from relay.delivery.http.resolver import Resolver
from relay.delivery.http.sender import open_http_sender
from relay.destinations.http import HttpDestination
from relay.store.outbox import Outbox
from tests.component.delivery_worker import (
    Clock,
    ScriptedDestination,
    VirtualTime,
    enqueue,
    make_worker,
    run_workers,
    sample_notification,
)
from tests.support.descriptors import no_descriptors, release
from tests.support.loopback import serve_connections

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def make_destination(url: str, **parts: object) -> HttpDestination:
    timeout = {"connect": "1s", "total": "1s"}
    return HttpDestination.model_validate({"url": url, "timeout": timeout, **parts})


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    await writer.drain()


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_a_request_waits_for_a_descriptor(
    by_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent when there is one, in the same attempt; the lack is logged once."""
    monkeypatch.setattr(shortage, "POLL_INTERVAL_S", 0.01)
    async with serve_connections(accept) as address:
        url = f"http://{address}/"
        to = make_destination(url, proxy=url if by_proxy else None)
        async with open_http_sender(to) as http:
            with no_descriptors() as taken, capture_logs() as logged:
                sending = asyncio.create_task(http.send(Request(b"", url)))
                await asyncio.sleep(0.1)
                assert not sending.done()
                release(taken)
                response = await sending
    assert response.status == 200
    assert [line["event"] for line in logged] == ["delivery.exhausted"]


@pytest.mark.parametrize("by_proxy", [False, True])
async def test_a_lasting_lack_is_not_the_destinations_failure(
    by_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says that it is relay's own."""
    monkeypatch.setattr(shortage, "POLL_INTERVAL_S", 0.1)
    url = "http://127.0.0.1:9/"
    to = make_destination(url, proxy=url if by_proxy else None)
    async with open_http_sender(to) as http:
        with no_descriptors():
            response = await http.send(Request(b"", url))
    assert response.failure is Reason.EXHAUSTED
    assert response.error == "relay cannot open a connection: Too many open files"


async def test_a_lookup_without_a_descriptor_is_no_unknown_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The system's resolver says that the name has no address."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    resolver = Resolver()
    await asyncio.to_thread(int)  # its thread and its pipe exist
    with no_descriptors(), pytest.raises(OSError, match="Too many open files") as caught:
        await resolver.resolve("hooks.example", 80)
    assert caught.value.errno == errno.EMFILE


async def test_a_lookup_of_a_proxy_without_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is not to blame either."""

    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    url = "http://127.0.0.1:9/"
    async with open_http_sender(make_destination(url, proxy="http://proxy.example:9/")) as http:
        assert (await http.send(Request(b"", url))).failure is Reason.NAME_NOT_FOUND
        with no_descriptors():
            response = await http.send(Request(b"", url))
    assert response.failure is Reason.EXHAUSTED
    assert response.error == "relay cannot open a connection: Too many open files"


def test_the_systems_authorities_are_read_once_there_is_a_descriptor() -> None:
    """OpenSSL would silently trust nothing, until relay is restarted."""
    tls._system_context.cache_clear()
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        tls.create_ssl_context(None)
    assert tls.create_ssl_context(None)


async def test_no_descriptor_is_no_attempt(
    outbox: Outbox, clock: Clock, virtual_time: VirtualTime
) -> None:
    """However often: nothing is given up, and the destination is not failing."""
    answers = [Response(None, failure=Reason.EXHAUSTED)] * 20 + [Response(503), Response(200)]
    to = ScriptedDestination(lambda _: answers[len(to.received) - 1])
    worker = make_worker(outbox, to, clock, retry={"max_attempts": 2, "max": "2s"})
    await enqueue(outbox, sample_notification(1), now_ns=clock.now_ns)
    with capture_logs() as logged:
        async with run_workers(worker):
            for _ in range(30):
                await virtual_time.advance(2)
            assert len(to.received) == len(answers)
    levels = Counter(
        (line["reason"], line["log_level"])
        for line in logged
        if line["event"] == "delivery.attempted"
    )
    assert levels["exhausted", "info"] == 0
    assert levels["unavailable", "info"] == levels["ok", "info"] == 1
    assert await outbox.pending() == {}
    assert not worker.status.failing
    assert worker.counters.dead_letters == 0
    assert sum(worker.counters.attempts.values()) == 2
