"""Shows commands what relay decides, as it decides it: ``GET /api/tail``, in lines of JSON."""

import asyncio
from contextlib import suppress

from aiohttp import web

from relay.admin.tap import MAX_SUBSCRIBERS, EventTap, Subscriber, TapFilter, TooManySubscribers

FINAL_WRITE_S = 0.1
"""How long the last lines may take at the end; who reads them has them at once."""

CLIENT_CHECK_S = 1.0
"""How often it is looked whether a client is still there, to which there is nothing to write."""


def add_tail_route(application: web.Application, tap: EventTap) -> None:
    """Stream what the tap gives, to each client for itself.

    With ``?all=1`` also what goes nowhere, with ``?engine=NAME`` only what is of that engine. A
    client that does not read keeps nobody waiting: see `relay.admin.tap.Subscriber`. The streams end
    with the application.
    """
    streaming: dict[asyncio.Task[object], Subscriber] = {}

    async def tail(request: web.Request) -> web.StreamResponse:
        wish = TapFilter(request.query.get("all") == "1", request.query.get("engine"))
        task = asyncio.current_task()
        assert task is not None
        try:
            with tap.subscribe(wish) as listener:
                streaming[task] = listener
                answer = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
                await answer.prepare(request)
                while piece := await _next_chunk(listener, request):
                    await answer.write(piece)
                return answer
        except TooManySubscribers:
            reason = f"{MAX_SUBSCRIBERS} commands watch it already: end one of them"
            raise web.HTTPTooManyRequests(reason=reason) from None
        finally:
            streaming.pop(task, None)

    async def end(_: web.Application) -> None:
        for listener in streaming.values():
            listener.close()
        if streaming:
            await asyncio.wait(streaming, timeout=FINAL_WRITE_S)
        for task in tuple(streaming):
            task.cancel()

    application.router.add_get("/api/tail", tail)
    application.on_shutdown.append(end)


async def _next_chunk(listener: Subscriber, request: web.Request) -> bytes:
    """What is to be written next; empty at the end, and where the client went away."""
    while request.transport is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLIENT_CHECK_S):
                return await listener.read()
    return b""
