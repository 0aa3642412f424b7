"""Asks at the control socket without the commands, and answers there without a relay."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web


async def call_api(
    socket: Path, path: str, body: bytes | io.BytesIO | None = None
) -> tuple[int, object]:
    """The status of an answer, and what it says."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.request(
            "GET" if body is None else "POST", f"http://relay{path}", data=body
        ) as said,
    ):
        return said.status, await said.json()


@asynccontextmanager
async def serve_fixed_response(socket: Path, status: int, body: bytes) -> AsyncIterator[None]:
    """Something that answers everything with this."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()
