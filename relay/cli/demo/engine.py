"""The demo's engine: plays a recorded stream over the Docker API, and keeps it as its history."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from time import time_ns
from typing import Any

from aiohttp import web

Narrate = Callable[[str, str], None]
"""Prints who did what."""

EVENT_INTERVAL_S = 0.06
"""The time between two events."""


def load_recording() -> list[dict[str, Any]]:
    """Return what a Docker 26.1 engine sent while containers were created, failed and removed."""
    lines = files(__package__).joinpath("stream.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


class RecordedEngine:
    """Plays events, each with the time at which it is played as its time."""

    def __init__(self, events: Sequence[dict[str, Any]], narrate: Narrate) -> None:
        self._events = events
        self._narrate = narrate
        self._history: list[tuple[int, bytes]] = []
        self._streams: set[asyncio.Queue[bytes | None]] = set()
        self._has_client = asyncio.Event()
        self.repeated = 0
        """How many events were sent again from the history because relay asked for them."""

    async def play(self, cut: range) -> None:
        """Play all events once a client is connected; those in ``cut`` without clients."""
        await self._has_client.wait()
        for number, event in enumerate(self._events):
            if number == cut.start:
                self._cut_streams(len(cut))
            if number not in cut:
                await asyncio.sleep(EVENT_INTERVAL_S)
            self._emit(event)

    def _cut_streams(self, missed: int) -> None:
        self._narrate("engine", f"cuts the stream; {missed} events happen before relay reconnects")
        for stream in self._streams:
            stream.put_nowait(None)
        self._streams.clear()

    def _emit(self, event: dict[str, Any]) -> None:
        now_ns = time_ns()
        played = {**event, "time": now_ns // 1_000_000_000, "timeNano": now_ns}
        line = json.dumps(played).encode() + b"\n"
        self._history.append((now_ns, line))
        for stream in self._streams:
            stream.put_nowait(line)
        if event["Action"] in ("die", "oom") or event["Action"].startswith("health_status"):
            attributes = event["Actor"]["Attributes"]
            code = f", exit code {attributes['exitCode']}" if "exitCode" in attributes else ""
            self._narrate("engine", f"{attributes['name']}: {event['Action']}{code}")

    async def _serve_ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK", headers={"Api-Version": "1.45"})

    async def _serve_info(self, _: web.Request) -> web.Response:
        return web.json_response({"Name": "demo-host"})

    async def _serve_events(self, request: web.Request) -> web.StreamResponse:
        seconds, _, nanos = request.query["since"].partition(".")
        since_ns = int(seconds) * 1_000_000_000 + int(nanos)
        past = [line for time, line in self._history if time >= since_ns]
        if "until" in request.query:
            return web.Response(body=b"".join(past), content_type="application/json")
        return await self._stream(request, past)

    async def _stream(self, request: web.Request, past: list[bytes]) -> web.StreamResponse:
        stream: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._streams.add(stream)
        self._has_client.set()
        self.repeated += len(past)
        self._narrate(
            "relay",
            f"listens to the engine, which repeats {len(past)} events"
            if past
            else "listens to the engine",
        )
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for line in past:
            await response.write(line)
        while (chunk := await stream.get()) is not None:
            await response.write(chunk)
        return response

    @asynccontextmanager
    async def serve(self, socket: Path) -> AsyncIterator[None]:
        """Serve the API on a Unix socket."""
        app = web.Application()
        app.router.add_get("/_ping", self._serve_ping)
        app.router.add_get("/{version}/info", self._serve_info)
        app.router.add_get("/{version}/events", self._serve_events)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        try:
            yield
        finally:
            await runner.cleanup()
