"""Certificates whose files are renewed while relay runs."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay.config import TlsConfig
from relay.core.exchange import Reason, Request, Response, Sender
from relay.core.tls import ClientTls
from relay.delivery.http.sender import open_http_sender
from relay.destinations.http import HttpDestination
from tests.support.certificates import Authority
from tests.support.descriptors import no_descriptors
from tests.support.loopback import serve_connections

CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


class Receiver:
    """Requires a client certificate, and records the one that each connection shows."""

    def __init__(self, authority: Authority) -> None:
        self.context = authority.server_context(verify_clients=True)
        self.serials: list[str] = []
        self.url = ""

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.serials.append(writer.get_extra_info("peercert")["serialNumber"])
        writer.write(CLOSING)
        await writer.drain()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def receiver(authority: Authority) -> AsyncIterator[Receiver]:
    receiver = Receiver(authority)
    async with serve_connections(receiver.accept, receiver.context) as address:
        receiver.url = f"https://{address}/"
        yield receiver


@asynccontextmanager
async def sender(authority: Authority, url: str) -> AsyncIterator[Sender]:
    certificate, key = authority.issue("client")
    files = {
        "ca_file": str(authority.certificate),
        "cert_file": str(certificate),
        "key_file": str(key),
    }
    to = HttpDestination.model_validate({"url": url, "tls": files})
    async with open_http_sender(to) as http:
        yield http


async def send(http: Sender, receiver: Receiver) -> Response:
    return await http.send(Request(b"{}", receiver.url))


async def test_the_next_connection_shows_the_new_certificate(
    authority: Authority, receiver: Receiver
) -> None:
    """Without a reload."""
    async with sender(authority, receiver.url) as http:
        for _ in range(2):
            assert (await send(http, receiver)).status == 200
        authority.issue("client")
        assert (await send(http, receiver)).status == 200
    first, second, third = receiver.serials
    assert first == second != third


async def test_a_certificate_without_its_key_waits_for_it(
    authority: Authority, receiver: Receiver, tmp_path: Path
) -> None:
    """One file is renewed after the other; in between the previous ones are used."""
    async with sender(authority, receiver.url) as http:
        old_key = shutil.copy(tmp_path / "client.key", tmp_path / "old.key")
        _, key = authority.issue("client")
        new_key = shutil.copy(key, tmp_path / "new.key")
        shutil.copy(old_key, key)
        with capture_logs() as logged:
            for _ in range(2):
                assert (await send(http, receiver)).status == 200
        shutil.copy(new_key, key)
        assert (await send(http, receiver)).status == 200
    assert [line["event"] for line in logged] == ["tls.not_renewed"]
    first, second, third = receiver.serials
    assert first == second != third


def test_a_renewal_waits_for_a_descriptor(authority: Authority) -> None:
    """While relay has none, the files are not taken for unusable ones."""
    certificate, key = authority.issue("client")
    tls = ClientTls(TlsConfig(cert_file=certificate, key_file=key))
    previous = tls.context()
    authority.issue("client")
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        tls.context()
    assert tls.context() is not previous


async def test_a_new_authority_is_trusted(
    authority: Authority, receiver: Receiver, tmp_path: Path
) -> None:
    """And the old one no longer is."""
    async with sender(authority, receiver.url) as http:
        assert (await send(http, receiver)).status == 200
        (tmp_path / "other").mkdir()
        shutil.copy(Authority(tmp_path / "other").certificate, authority.certificate)
        assert (await send(http, receiver)).failure is Reason.TLS
