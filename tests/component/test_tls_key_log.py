"""The keys of TLS connections are written only if relay itself is asked for it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.loopback import serve_connections


async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("variable", "is_written"), [("SSLKEYLOGFILE", False), ("RELAY_SSLKEYLOGFILE", True)]
)
async def test_keys_are_written_only_on_request(
    variable: str, is_written: bool, tmp_path: Path
) -> None:
    """Then relay says so."""
    authority, keys, config = Authority(tmp_path), tmp_path / "keys", tmp_path / "relay.yaml"
    async with serve_connections(accept, authority.server_context()) as address:
        config.write_text(
            f"destinations: {{to: {{type: http, url: 'https://{address}/',"
            f" tls: {{ca_file: '{authority.certificate}'}}}}}}\n"
            "routes: [{name: all, to: to}]\n"
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", "send", "to", "--config", config),
            env={**os.environ, variable: str(keys)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
    assert b"answered 200" in output
    assert keys.exists() is is_written
    if is_written:
        assert "CLIENT_" in keys.read_text()
        assert b"TLS keys are written to" in errors
