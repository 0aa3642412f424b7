"""``GET /api/tail``: streams to each client what the routes decide, as lines of JSON."""

import asyncio
from contextlib import suppress

from aiohttp import web

from relay.admin.tap import (
    MAX_SUBSCRIBERS,
    EventTap,
    Subscriber,
    TapFilter,
    TooManySubscribers,
)

FINAL_WRITE_S = 0.1
"""How long writing the last lines may take at shutdown. A client that reads has them at once."""

CLIENT_CHECK_S = 1.0
"""How often a stream that has nothing to write checks whether its client is still connected."""


def add_tail_route(application: web.Application, tap: EventTap) -> None:
    """Add the route.

    ``?all=1`` includes events that no route sends anywhere, ``?engine=NAME`` shows only those of
    one engine. A client that does not read delays nothing else: see `relay.admin.tap.Subscriber`.
    The streams end with the application.
    """
    streams: dict[asyncio.Task[object], Subscriber] = {}

    async def tail(request: web.Request) -> web.StreamResponse:
        tap_filter = TapFilter(request.query.get("all") == "1", request.query.get("engine"))
        task = asyncio.current_task()
        assert task is not None
        try:
            with tap.subscribe(tap_filter) as subscriber:
                streams[task] = subscriber
                response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
                await response.prepare(request)
                while chunk := await _next_chunk(subscriber, request):
                    await response.write(chunk)
                return response
        except TooManySubscribers:
            reason = f"{MAX_SUBSCRIBERS} commands watch it already: end one of them"
            raise web.HTTPTooManyRequests(reason=reason) from None
        finally:
            streams.pop(task, None)

    async def end_streams(_: web.Application) -> None:
        for subscriber in streams.values():
            subscriber.close()
        if streams:
            await asyncio.wait(streams, timeout=FINAL_WRITE_S)
        for task in tuple(streams):
            task.cancel()

    application.router.add_get("/api/tail", tail)
    application.on_shutdown.append(end_streams)


async def _next_chunk(subscriber: Subscriber, request: web.Request) -> bytes:
    """Return the next lines; empty at the end, or if the client has disconnected."""
    while request.transport is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLIENT_CHECK_S):
                return await subscriber.read()
    return b""
