"""Receivers over TLS, and certificates that cannot be used."""

import asyncio
from pathlib import Path

import pytest

from relay.core.exchange import Delivered, Reason, Retry
from relay.core.tls import TlsError, create_ssl_context
from relay.delivery.http.sender import open_http_sender
from tests.component.receivers import (
    SECRET,
    accept,
    classify_first,
    destination,
    send_once,
    serving,
)
from tests.support.certificates import Authority
from tests.support.loopback import serve_connections


async def test_one_with_a_private_certificate(tmp_path: Path) -> None:
    """It is trusted only with ``ca_file``."""
    authority = Authority(tmp_path)
    async with serving(accept, authority.server_context()) as address:
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
    async with serving(accept, authority.server_context("elsewhere")) as address:
        url = f"https://{address}/{SECRET}"
        response = await send_once(url, tls={"ca_file": str(authority.certificate)})
    assert classify_first(response) == Retry(1.0, Reason.TLS)


async def test_one_that_requires_a_client_certificate(tmp_path: Path) -> None:
    """relay sends the certificate that is configured."""
    authority = Authority(tmp_path)
    context = authority.server_context(verify_clients=True)
    certificate, key = authority.issue("client")
    tls = {"ca_file": str(authority.certificate)}
    async with serving(accept, context) as address:
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


def test_a_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    """OpenSSL would ask for the passphrase on the terminal and wait for ever."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("client")
    locked = authority.encrypt_key(key, "hush")
    tls = {"cert_file": str(certificate), "key_file": str(locked)}
    with pytest.raises(TlsError, match="cannot be used for TLS"):
        create_ssl_context(destination("https://x", tls=tls).tls)
