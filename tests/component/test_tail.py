"""``relay tail``: the decisions of a running daemon, watched over its control socket."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from select import PIPE_BUF
from typing import Any, cast

import pytest

from relay.admin import server
from relay.admin import tail as tail_module
from relay.admin import tap as tap_module
from relay.admin.client import NoDaemon, RequestFailed, connect_to_daemon
from relay.admin.control_socket import serve_control_socket, socket_path
from relay.admin.operations import LocalOperations
from relay.admin.tap import MAX_SUBSCRIBERS, EventsSkipped, EventTap, TapFilter, TappedEvent
from relay.core.event import Event
from relay.routing.router import Verdict
from tests.component.daemon import CONTAINER_ROUTE, SELF_EVENT_ROUTE, make_config, running_daemon
from tests.component.http_client import serve_fixed_response
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.component.webhook import Webhook
from tests.support.idle import idle
from tests.unit.destinations.samples import container_event

ALL = TapFilter(include_unrouted=True)
TAIL = (sys.executable, "-m", "relay", "tail")


@pytest.fixture
def tap() -> EventTap:
    return EventTap()


@pytest.fixture
def operations() -> LocalOperations:
    """Operations that know the time only; nothing else is asked here."""
    return LocalOperations(cast("Any", None), list, lambda: 1)


def make_event(number: int, size: int = 0) -> Event:
    return container_event("start", number, "c0", {"name": f"web-{number}", "long": "x" * size})


@asynccontextmanager
async def open_tail(
    control_socket: Path, tap_filter: TapFilter = ALL
) -> AsyncIterator[AsyncIterator[TappedEvent | EventsSkipped]]:
    async with connect_to_daemon(control_socket) as remote, remote.tail(tap_filter) as lines:
        yield lines


async def wait_until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():
            await asyncio.sleep(0.001)


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
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """Each event arrives at once, complete, at everyone who wants it."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        open_tail(control_socket) as one,
        open_tail(control_socket) as other,
    ):
        for number in (1, 2):
            tap.publish(make_event(number), ())
            assert [await anext(one), await anext(other)] == [
                TappedEvent(make_event(number), [])
            ] * 2


async def test_filters(tap: EventTap, operations: LocalOperations, control_socket: Path) -> None:
    """The filter is applied by the daemon."""
    odd = "a&all=1#\x1b \u202eé"
    filters = [
        TapFilter(),
        ALL,
        TapFilter(engine="edge"),
        TapFilter(include_unrouted=True, engine=odd),
    ]
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        AsyncExitStack() as open_,
    ):
        for tap_filter in filters:
            await open_.enter_async_context(open_tail(control_socket, tap_filter))
        assert [subscriber.tap_filter for subscriber in tap._subscribers] == filters


async def test_a_client_that_does_not_read(
    tap: EventTap,
    operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It delays nothing else, uses little memory, and is sent the number of events it missed."""
    monkeypatch.setattr(tap_module, "QUEUE_LINES", 50)
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        open_tail(control_socket) as slow,
        open_tail(control_socket) as quick,
    ):
        subscriber = tap._subscribers[0]
        for number in range(1, 2001):
            tap.publish(make_event(number, size=2000), ())
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
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """The next one is refused with a message; the others go on."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        AsyncExitStack() as open_,
    ):
        tails = [
            await open_.enter_async_context(open_tail(control_socket))
            for _ in range(MAX_SUBSCRIBERS)
        ]
        with pytest.raises(RequestFailed, match="says: 16 commands watch it already: end one"):
            await open_tail(control_socket).__aenter__()
        tap.publish(make_event(1), ())
        assert [await next_name(each) for each in tails] == ["web-1"] * MAX_SUBSCRIBERS


async def test_a_client_that_leaves(
    tap: EventTap,
    operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It makes room soon, even if nothing happens."""
    monkeypatch.setattr(tail_module, "CLIENT_CHECK_S", 0.001)
    async with serve_control_socket(control_socket, operations, tap, idle):
        async with open_tail(control_socket), open_tail(control_socket):
            assert tap.subscriber_count == 2
        await wait_until(lambda: tap.subscriber_count == 0)


async def test_shutdown(tap: EventTap, operations: LocalOperations, control_socket: Path) -> None:
    """The last events arrive before the stream ends."""
    serving = serve_control_socket(control_socket, operations, tap, idle)
    await serving.__aenter__()
    async with open_tail(control_socket) as lines:
        tap.publish(make_event(1), ())
        await serving.__aexit__(None, None, None)
        assert await read_rest(lines) == [TappedEvent(make_event(1), [])]


async def test_shutdown_does_not_wait_for_clients(
    tap: EventTap,
    operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many do not read."""
    monkeypatch.setattr(server, "SHUTDOWN_TIMEOUT_S", 3600)
    serving = serve_control_socket(control_socket, operations, tap, idle)
    await serving.__aenter__()
    async with AsyncExitStack() as open_:
        for _ in range(MAX_SUBSCRIBERS):
            await open_.enter_async_context(open_tail(control_socket))
        for number in range(1, 1001):
            tap.publish(make_event(number, size=2000), ())
            await asyncio.sleep(0)
        async with asyncio.timeout(TIMEOUT_S):
            await serving.__aexit__(None, None, None)
        assert tap.subscriber_count == 0


async def test_a_daemon_that_has_ended(
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """The error is the same as if none had been there."""
    serving = serve_control_socket(control_socket, operations, tap, idle)
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
        (404, b'{"error": "Not Found"}', r"does not accept this command \(404\): Not Found"),
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


# the daemon


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


# the command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose store is that of `control_socket`."""
    file = tmp_path / "config.yaml"
    file.write_text("store: {path: relay.db}\ndestinations: {}\nroutes: []\n")
    return file


@asynccontextmanager
async def run_tail(
    tap: EventTap, config: Path, *arguments: str, stdout: int = PIPE
) -> AsyncIterator[Process]:
    """Run the command until it watches; afterwards wait until it has ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *TAIL, "--config", str(config), *arguments, stdout=stdout, stderr=PIPE
    )
    try:
        await wait_until(lambda: tap.subscriber_count == 1)
        yield process
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def read_line(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        return (await process.stdout.readline()).decode()


async def read_errors(process: Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals(
    tap: EventTap,
    operations: LocalOperations,
    control_socket: Path,
    config: Path,
    number: signal.Signals,
) -> None:
    """Lines come as events happen; a signal ends it with 0, without a message."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        run_tail(tap, config, "--all") as tailing,
    ):
        tap.publish(make_event(10**18), ())
        line = "01:46:40Z container start web-1000000000000000000 → no route takes it\n"
        assert await read_line(tailing) == line
        tailing.send_signal(number)
    assert (tailing.returncode, await read_errors(tailing)) == (0, "")


async def test_json_lines(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """``--json`` prints one JSON object per line."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        run_tail(tap, config, "--all", "--json") as tailing,
    ):
        tap.publish(make_event(10**18), ())
        assert json.loads(await read_line(tailing))["event"]["action"] == "start"
        tailing.terminate()


async def test_on_a_terminal(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """Lines are in colour, JSON is not."""
    for form, coloured in ([], True), (["--json"], False):
        ours, remote = pty.openpty()
        async with (
            serve_control_socket(control_socket, operations, tap, idle),
            run_tail(tap, config, "--all", *form, stdout=remote) as tailing,
        ):
            tap.publish(make_event(10**18), ())
            shown = await asyncio.to_thread(os.read, ours, 4096)
            tailing.terminate()
        os.close(ours)
        os.close(remote)
        assert (b"\x1b[2m01:46:40Z\x1b[0m container start" in shown) is coloured
        assert (b"\x1b" in shown) is coloured


async def test_the_daemon_ends(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """The command says so, with exit code 1."""
    serving = serve_control_socket(control_socket, operations, tap, idle)
    await serving.__aenter__()
    async with run_tail(tap, config) as tailing:
        await serving.__aexit__(None, None, None)
    assert tailing.returncode == 1
    assert (
        await read_errors(tailing) == f"relay: the relay that listened at {control_socket} ended\n"
    )


async def test_a_closed_pipe(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """It ends with its reader, without a message, even if nothing more happens."""
    ours, remote = os.pipe()
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        run_tail(tap, config, stdout=remote) as tailing,
    ):
        os.close(remote)
        os.close(ours)
    assert (tailing.returncode, await read_errors(tailing)) == (0, "")


async def test_a_paused_terminal(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """A signal does not wait for the terminal."""
    ours, remote = os.pipe()
    room = fcntl.fcntl(remote, fcntl.F_GETPIPE_SZ)

    def full() -> bool:
        held: int = struct.unpack("i", fcntl.ioctl(ours, termios.FIONREAD, bytes(4)))[0]
        return held >= room - PIPE_BUF

    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        run_tail(tap, config, "--all", "--json", stdout=remote) as tailing,
    ):
        os.close(remote)
        for number in (1, 2, 3):
            tap.publish(make_event(number, size=room), ())
        await wait_until(full)
        tailing.terminate()
    os.close(ours)
    assert (tailing.returncode, await read_errors(tailing)) == (0, "")
