"""Calls the API over the control socket, and fakes a daemon that answers there."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web


async def call_api(
    socket: Path, path: str, body: bytes | io.BytesIO | None = None
) -> tuple[int, object]:
    """Send a request to the socket. Returns the status and the document of the response."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.request(
            "GET" if body is None else "POST", f"http://relay{path}", data=body
        ) as response,
    ):
        return response.status, await response.json()


@asynccontextmanager
async def serve_fixed_response(socket: Path, status: int, body: bytes) -> AsyncIterator[None]:
    """Answer every request on the socket with this response."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield
    finally:
        await runner.cleanup()
