"""Live events and the decisions of a running daemon, watched over its control socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from relay.admin import api, server
from relay.admin import tap as tap_module
from relay.admin.client import NoDaemon, RequestFailed, connect_to_daemon
from relay.admin.control_socket import serve_control_socket, socket_path
from relay.admin.operations import LocalOperations
from relay.admin.tap import MAX_SUBSCRIBERS, EventsSkipped, EventTap, TapFilter, TappedEvent
from relay.routing.router import Verdict
from tests.component.admin_samples import start_event
from tests.component.daemon import CONTAINER_ROUTE, SELF_EVENT_ROUTE, make_config, running_daemon
from tests.component.http_client import serve_fixed_response
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S, wait_until
from tests.component.webhook import Webhook
from tests.support.idle import idle

ALL = TapFilter(include_unrouted=True)


@asynccontextmanager
async def open_tail(
    control_socket: Path, tap_filter: TapFilter = ALL
) -> AsyncIterator[AsyncIterator[TappedEvent | EventsSkipped]]:
    async with connect_to_daemon(control_socket) as remote, remote.tail(tap_filter) as lines:
        yield lines


async def next_name(lines: AsyncIterator[TappedEvent | EventsSkipped]) -> str | None:
    """Return the name in the next event."""
    async with asyncio.timeout(TIMEOUT_S):
        seen = await anext(lines)
    assert isinstance(seen, TappedEvent)
    return seen.event.actor.name


async def read_rest(
    lines: AsyncIterator[TappedEvent | EventsSkipped],
) -> list[TappedEvent | EventsSkipped]:
    """Return everything that comes until the end."""
    async with asyncio.timeout(TIMEOUT_S):
        return [each async for each in lines]


async def test_live_events(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path
) -> None:
    """Each event arrives at once, complete, at everyone who wants it."""
    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        open_tail(control_socket) as one,
        open_tail(control_socket) as other,
    ):
        for number in (1, 2):
            tap.publish(start_event(number), ())
            assert [await anext(one), await anext(other)] == [
                TappedEvent(start_event(number), [])
            ] * 2


async def test_filters(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path
) -> None:
    """The filter is applied by the daemon."""
    odd = "a&all=1#\x1b \u202eé"
    filters = [
        TapFilter(),
        ALL,
        TapFilter(engine="edge"),
        TapFilter(include_unrouted=True, engine=odd),
    ]
    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        AsyncExitStack() as open_,
    ):
        for tap_filter in filters:
            await open_.enter_async_context(open_tail(control_socket, tap_filter))
        assert [subscriber.tap_filter for subscriber in tap._subscribers] == filters


async def test_a_client_that_does_not_read(
    tap: EventTap,
    local_operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It delays nothing else, uses little memory, and is sent the number of events it missed."""
    monkeypatch.setattr(tap_module, "QUEUE_LINES", 50)
    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        open_tail(control_socket) as slow,
        open_tail(control_socket) as quick,
    ):
        subscriber = tap._subscribers[0]
        for number in range(1, 2001):
            tap.publish(start_event(number, size=2000), ())
            assert await next_name(quick) == f"web-{number}"
            assert len(subscriber._lines) <= 50
        for each in tap._subscribers:
            each.close()
        got = await read_rest(slow)
    lost = [each.count for each in got if isinstance(each, EventsSkipped)]
    times = [each.event.time_ns for each in got if isinstance(each, TappedEvent)]
    assert sum(lost) + len(times) == 2000
    assert sum(lost) > 1000
    assert times == sorted(times)
    assert times[-1] == 2000


async def test_too_many_clients(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path
) -> None:
    """The next one is refused with a message; the others go on."""
    async with (
        serve_control_socket(control_socket, local_operations, tap, idle),
        AsyncExitStack() as open_,
    ):
        tails = [
            await open_.enter_async_context(open_tail(control_socket))
            for _ in range(MAX_SUBSCRIBERS)
        ]
        with pytest.raises(RequestFailed, match="says: 16 commands watch it already: end one"):
            await open_tail(control_socket).__aenter__()
        tap.publish(start_event(1), ())
        assert [await next_name(each) for each in tails] == ["web-1"] * MAX_SUBSCRIBERS


async def test_a_client_that_leaves(
    tap: EventTap,
    local_operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It makes room soon, even if nothing happens."""
    monkeypatch.setattr(api, "CLIENT_CHECK_S", 0.001)
    async with serve_control_socket(control_socket, local_operations, tap, idle):
        async with open_tail(control_socket), open_tail(control_socket):
            assert tap.subscriber_count == 2
        await wait_until(lambda: tap.subscriber_count == 0)


async def test_shutdown(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path
) -> None:
    """The last events arrive before the stream ends."""
    serving = serve_control_socket(control_socket, local_operations, tap, idle)
    await serving.__aenter__()
    async with open_tail(control_socket) as lines:
        tap.publish(start_event(1), ())
        await serving.__aexit__(None, None, None)
        assert await read_rest(lines) == [TappedEvent(start_event(1), [])]


async def test_shutdown_does_not_wait_for_clients(
    tap: EventTap,
    local_operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many do not read."""
    monkeypatch.setattr(server, "SHUTDOWN_TIMEOUT_S", 3600)
    serving = serve_control_socket(control_socket, local_operations, tap, idle)
    await serving.__aenter__()
    async with AsyncExitStack() as open_:
        for _ in range(MAX_SUBSCRIBERS):
            await open_.enter_async_context(open_tail(control_socket))
        for number in range(1, 1001):
            tap.publish(start_event(number, size=2000), ())
            await asyncio.sleep(0)
        async with asyncio.timeout(TIMEOUT_S):
            await serving.__aexit__(None, None, None)
        assert tap.subscriber_count == 0


async def test_a_daemon_that_has_ended(
    tap: EventTap, local_operations: LocalOperations, control_socket: Path
) -> None:
    """The error is the same as if none had been there."""
    serving = serve_control_socket(control_socket, local_operations, tap, idle)
    await serving.__aenter__()
    async with connect_to_daemon(control_socket) as remote:
        await serving.__aexit__(None, None, None)
        with pytest.raises(NoDaemon):
            await remote.tail(ALL).__aenter__()


async def test_a_broken_connection(control_socket: Path) -> None:
    """It is not mistaken for a daemon that ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"/api/tail" not in asked:
            body = b'{"version": "1", "now_ns": 1}'
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(body) + body)
        writer.close()

    async with (
        await asyncio.start_unix_server(answer, control_socket),
        connect_to_daemon(control_socket) as remote,
    ):
        with pytest.raises(RequestFailed, match="broke off: "):
            await remote.tail(ALL).__aenter__()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (
            404,
            b'{"error": "Not Found"}',
            "does not know this request: it runs another version than this command",
        ),
        (200, b'{"version": "1", "now_ns": 1}\n', "sent a line that cannot be read: "),
    ],
)
async def test_another_version(
    control_socket: Path, status: int, body: bytes, message: str
) -> None:
    """A daemon that does not know the request is not mistaken for one without events."""
    async with serve_fixed_response(control_socket, status, body):
        with pytest.raises(RequestFailed, match=message):
            async with open_tail(control_socket) as lines:
                await anext(lines)


async def test_a_whole_daemon(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Events of its engines and its own, as they are routed, up to the last one."""
    dropped = "{name: dropped, match: {name: noise}, drop: true}"
    routes = f"{dropped}, {CONTAINER_ROUTE}, {SELF_EVENT_ROUTE}"
    config = make_config(url, engine, routes=routes)
    async with AsyncExitStack() as open_:
        async with engine.serve(), running_daemon(config, store):
            await engine.changes.wait_for(lambda: bool(engine.streams))
            control_socket = socket_path(store)
            sent = await open_.enter_async_context(open_tail(control_socket, TapFilter()))
            everything = await open_.enter_async_context(open_tail(control_socket))
            engine.emit_deaths("noise", "web")
            await webhook.wait_for(lambda summaries: "web" in summaries)
        shown = [
            [
                (
                    tapped.event.action,
                    tapped.event.actor.name,
                    [(decision.route, decision.verdict) for decision in tapped.routes],
                )
                for tapped in await read_rest(lines)
                if isinstance(tapped, TappedEvent)
            ]
            for lines in (sent, everything)
        ]
    web = ("die", "web", [("containers", Verdict.SENT)])
    stopped = ("stopped", "relay", [("own", Verdict.SENT)])
    assert shown[0] == [web, stopped]
    assert shown[1] == [("die", "noise", [("dropped", Verdict.DROPPED)]), web, stopped]
