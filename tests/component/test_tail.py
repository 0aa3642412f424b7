"""What the relay that runs decides, watched over its socket."""

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
def control_socket(tmp_path: Path) -> Path:
    return socket_path(tmp_path / "relay.db")


@pytest.fixture
def tap() -> EventTap:
    return EventTap()


@pytest.fixture
def operations() -> LocalOperations:
    """One that knows what time it is, which is all that is asked of it here."""
    return LocalOperations(cast("Any", None), list, lambda: 1)


def event(number: int, size: int = 0) -> Event:
    return container_event("start", number, "c0", {"name": f"web-{number}", "long": "x" * size})


@asynccontextmanager
async def tail(
    control_socket: Path, tap_filter: TapFilter = ALL
) -> AsyncIterator[AsyncIterator[TappedEvent | EventsSkipped]]:
    async with connect_to_daemon(control_socket) as remote, remote.tail(tap_filter) as lines:
        yield lines


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():
            await asyncio.sleep(0.001)


async def name(lines: AsyncIterator[TappedEvent | EventsSkipped]) -> str | None:
    """Of the next event."""
    async with asyncio.timeout(TIMEOUT_S):
        seen = await anext(lines)
    assert isinstance(seen, TappedEvent)
    return seen.event.actor.name


async def rest(
    lines: AsyncIterator[TappedEvent | EventsSkipped],
) -> list[TappedEvent | EventsSkipped]:
    """All that comes until the end."""
    async with asyncio.timeout(TIMEOUT_S):
        return [each async for each in lines]


async def test_as_it_happens(
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """Each event arrives at once, whole, at everybody who wants it."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        tail(control_socket) as one,
        tail(control_socket) as other,
    ):
        for number in (1, 2):
            tap.publish(event(number), ())
            assert [await anext(one), await anext(other)] == [TappedEvent(event(number), [])] * 2


async def test_what_is_wanted(
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """Whether all, and of which engine, is decided where it happens."""
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
            await open_.enter_async_context(tail(control_socket, tap_filter))
        assert [subscriber.tap_filter for subscriber in tap._subscribers] == filters


async def test_one_that_does_not_read(
    tap: EventTap,
    operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It keeps nobody waiting, holds little, and is told how many it did not see."""
    monkeypatch.setattr(tap_module, "QUEUE_LINES", 50)
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        tail(control_socket) as slow,
        tail(control_socket) as quick,
    ):
        subscriber = tap._subscribers[0]
        for number in range(1, 2001):
            tap.publish(event(number, size=2000), ())
            assert await name(quick) == f"web-{number}"
            assert len(subscriber._lines) <= 50
        for each in tap._subscribers:
            each.close()
        got = await rest(slow)
    lost = [each.count for each in got if isinstance(each, EventsSkipped)]
    times = [each.event.time_ns for each in got if isinstance(each, TappedEvent)]
    assert sum(lost) + len(times) == 2000
    assert sum(lost) > 1000
    assert times == sorted(times)
    assert times[-1] == 2000


async def test_one_too_many(
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """It is refused in words; the others go on."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        AsyncExitStack() as open_,
    ):
        tails = [
            await open_.enter_async_context(tail(control_socket)) for _ in range(MAX_SUBSCRIBERS)
        ]
        with pytest.raises(RequestFailed, match="says: 16 commands watch it already: end one"):
            await tail(control_socket).__aenter__()
        tap.publish(event(1), ())
        assert [await name(each) for each in tails] == ["web-1"] * MAX_SUBSCRIBERS


async def test_who_goes_makes_room(
    tap: EventTap,
    operations: LocalOperations,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Soon, though nothing happens."""
    monkeypatch.setattr(tail_module, "CLIENT_CHECK_S", 0.001)
    async with serve_control_socket(control_socket, operations, tap, idle):
        async with tail(control_socket), tail(control_socket):
            assert tap.subscriber_count == 2
        await until(lambda: tap.subscriber_count == 0)


async def test_the_end_of_relay(
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """The last events arrive, and then it is over."""
    serving = serve_control_socket(control_socket, operations, tap, idle)
    await serving.__aenter__()
    async with tail(control_socket) as lines:
        tap.publish(event(1), ())
        await serving.__aexit__(None, None, None)
        assert await rest(lines) == [TappedEvent(event(1), [])]


async def test_the_end_waits_for_nobody(
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
            await open_.enter_async_context(tail(control_socket))
        for number in range(1, 1001):
            tap.publish(event(number, size=2000), ())
            await asyncio.sleep(0)
        async with asyncio.timeout(TIMEOUT_S):
            await serving.__aexit__(None, None, None)
        assert tap.subscriber_count == 0


async def test_relay_ends_before_it_is_asked(
    tap: EventTap, operations: LocalOperations, control_socket: Path
) -> None:
    """That is as if none had been there."""
    serving = serve_control_socket(control_socket, operations, tap, idle)
    await serving.__aenter__()
    async with connect_to_daemon(control_socket) as remote:
        await serving.__aexit__(None, None, None)
        with pytest.raises(NoDaemon):
            await remote.tail(ALL).__aenter__()


async def test_relay_breaks_off(control_socket: Path) -> None:
    """It is told apart from one that ends while it is watched."""

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
    ("status", "body", "words"),
    [
        (404, b'{"error": "Not Found"}', r"does not accept this command \(404\): Not Found"),
        (200, b'{"version": "1", "now_ns": 1}\n', "sent a line that cannot be read: "),
    ],
)
async def test_another_version(control_socket: Path, status: int, body: bytes, words: str) -> None:
    """One that does not know how is told from one that has nothing to say."""
    async with serve_fixed_response(control_socket, status, body):
        with pytest.raises(RequestFailed, match=words):
            async with tail(control_socket) as lines:
                await anext(lines)


# the daemon


async def test_what_the_daemon_decides(
    engine: ScriptedEngine, webhook: Webhook, url: str, store: Path
) -> None:
    """Its engines' events and its own, as it routes them, up to its last."""
    routes = f"{{name: dropped, match: {{name: noise}}, drop: true}}, {CONTAINER_ROUTE}, {SELF_EVENT_ROUTE}"
    config = make_config(url, engine, routes=routes)
    async with AsyncExitStack() as open_:
        async with engine.serve(), running_daemon(config, store):
            await engine.changes.wait_for(lambda: bool(engine.streams))
            control_socket = socket_path(store)
            sent = await open_.enter_async_context(tail(control_socket, TapFilter()))
            everything = await open_.enter_async_context(tail(control_socket))
            engine.emit_deaths("noise", "web")
            await webhook.wait_for(lambda summaries: "web" in summaries)
        shown = [
            [
                (
                    it.event.action,
                    it.event.actor.name,
                    [(said.route, said.verdict) for said in it.routes],
                )
                for it in await rest(lines)
                if isinstance(it, TappedEvent)
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
    """With the store whose relay `place` is of."""
    file = tmp_path / "config.yaml"
    file.write_text("store: {path: relay.db}\ndestinations: {}\nroutes: []\n")
    return file


@asynccontextmanager
async def command(
    tap: EventTap, config: Path, *arguments: str, stdout: int = PIPE
) -> AsyncIterator[Process]:
    """The command, once it watches; afterwards it has ended by itself."""
    process = await asyncio.create_subprocess_exec(
        *TAIL, "--config", str(config), *arguments, stdout=stdout, stderr=PIPE
    )
    try:
        await until(lambda: tap.subscriber_count == 1)
        yield process
        async with asyncio.timeout(TIMEOUT_S):
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def printed(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        return (await process.stdout.readline()).decode()


async def complaint(process: Process) -> str:
    assert process.stderr is not None
    return (await process.stderr.read()).decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_somebody_ends_it(
    tap: EventTap,
    operations: LocalOperations,
    control_socket: Path,
    config: Path,
    number: signal.Signals,
) -> None:
    """Lines as they come, until then; it says nothing about that and ends with 0."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        command(tap, config, "--all") as tailing,
    ):
        tap.publish(event(10**18), ())
        line = "01:46:40Z container start web-1000000000000000000 → no route takes it\n"
        assert await printed(tailing) == line
        tailing.send_signal(number)
    assert (tailing.returncode, await complaint(tailing)) == (0, "")


async def test_json_lines(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """For programs."""
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        command(tap, config, "--all", "--json") as tailing,
    ):
        tap.publish(event(10**18), ())
        assert json.loads(await printed(tailing))["event"]["action"] == "start"
        tailing.terminate()


async def test_on_a_terminal(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """In colour; not as JSON."""
    for form, coloured in ([], True), (["--json"], False):
        ours, remote = pty.openpty()
        async with (
            serve_control_socket(control_socket, operations, tap, idle),
            command(tap, config, "--all", *form, stdout=remote) as tailing,
        ):
            tap.publish(event(10**18), ())
            shown = await asyncio.to_thread(os.read, ours, 4096)
            tailing.terminate()
        os.close(ours)
        os.close(remote)
        assert (b"\x1b[2m01:46:40Z\x1b[0m container start" in shown) is coloured
        assert (b"\x1b" in shown) is coloured


async def test_relay_ends(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """It says so, with exit code 1."""
    serving = serve_control_socket(control_socket, operations, tap, idle)
    await serving.__aenter__()
    async with command(tap, config) as tailing:
        await serving.__aexit__(None, None, None)
    assert tailing.returncode == 1
    assert await complaint(tailing) == f"relay: the relay that listened at {control_socket} ended\n"


async def test_nobody_reads_it_any_more(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """It ends with what it is piped into, though nothing more happens, and says nothing."""
    ours, remote = os.pipe()
    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        command(tap, config, stdout=remote) as tailing,
    ):
        os.close(remote)
        os.close(ours)
    assert (tailing.returncode, await complaint(tailing)) == (0, "")


async def test_a_terminal_that_was_paused(
    tap: EventTap, operations: LocalOperations, control_socket: Path, config: Path
) -> None:
    """Whoever ends it then does not wait for the terminal."""
    ours, remote = os.pipe()
    room = fcntl.fcntl(remote, fcntl.F_GETPIPE_SZ)

    def full() -> bool:
        held: int = struct.unpack("i", fcntl.ioctl(ours, termios.FIONREAD, bytes(4)))[0]
        return held >= room - PIPE_BUF

    async with (
        serve_control_socket(control_socket, operations, tap, idle),
        command(tap, config, "--all", "--json", stdout=remote) as tailing,
    ):
        os.close(remote)
        for number in (1, 2, 3):
            tap.publish(event(number, size=room), ())
        await until(full)
        tailing.terminate()
    os.close(ours)
    assert (tailing.returncode, await complaint(tailing)) == (0, "")
