"""The API at the control socket: what may be asked, how long, and of a store that hangs."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from relay import __version__
from relay.admin import api, client
from relay.admin.client import RequestFailed, connect_to_daemon
from relay.admin.control_socket import serve_control_socket
from relay.admin.operations import LocalOperations
from relay.admin.tap import EventTap
from relay.store.outbox import Outbox
from relay.store.records import Selection
from tests.component.admin_samples import ALL, DESTINATION_STATUS, NOW_NS, make_dead_letters
from tests.component.http_client import call_api
from tests.component.wait import TIMEOUT_S
from tests.support.idle import idle
from tests.unit.store.samples import make_commit, make_notification

# over the socket


async def test_pages(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Many come in several answers, and not one more than asked for."""
    monkeypatch.setattr(client, "PAGE_SIZE", 40)
    await make_dead_letters(
        outbox, *(make_notification(number, container=str(number)) for number in range(1, 101))
    )
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        assert await operations.list_dead_letters(ALL, 1000) == await outbox.dead_letters(ALL, 1000)
        assert [each.number for each in await operations.list_dead_letters(ALL, 50, 90)] == [
            *range(89, 39, -1)
        ]


async def test_long_ones(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer ends where it is long enough; dead letters go on in the next."""
    monkeypatch.setattr(api, "PAGE_BYTES", 1)
    await make_dead_letters(
        outbox, make_notification(1), make_notification(2), make_notification(3)
    )
    await outbox.commit(make_commit(make_notification(4), make_notification(5)), 10)
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        assert [each.number for each in await operations.list_dead_letters(ALL, 10)] == [3, 2, 1]
        assert len(await operations.list_waiting(None, 10)) == 1


async def test_a_greeting(local_operations: LocalOperations, control_socket: Path) -> None:
    """It says who answers."""
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        assert await call_api(control_socket, "/api/") == (
            200,
            {"version": __version__, "now_ns": NOW_NS},
        )


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/dead", b"", "truncated"),
        ("/api/dead", b"\xff", "malformed"),
        ("/api/dead", b"[" * 100_000, "Expected `object`"),
        ("/api/dead", b'{"most": 5}', "missing required field `selection`"),
        ("/api/dead", b'{"selection": {}, "most": 0}', "`int` >= 1"),
        ("/api/dead", b'{"selection": {}, "most": 501}', "`int` <= 500"),
        ("/api/dead", b'{"selection": {}, "most": 1, "below": 9223372036854775808}', "$.below"),
        ("/api/dead/drop", b'{"destinaton": "ops"}', "unknown field `destinaton`"),
        ("/api/dead/drop", b'{"since_ns": 9223372036854775808}', "$.since_ns"),
        ("/api/dead/drop", b'{"since_ns": -1}', "$.since_ns"),
        ("/api/dead/drop", b'{"since_ns": 1.5}', "$.since_ns"),
        ("/api/dead/drop", b'{"ids": [9223372036854775808]}', "$.ids"),
        ("/api/dead/drop", b'{"ids": [null]}', "$.ids"),
        ("/api/dead/drop", b'{"ids": "1"}', "$.ids"),
        ("/api/dead/drop", rb'{"route": "\ud800"}', "truncated"),
        ("/api/dead/drop", b'{"route": "\xed\xa0\x80"}', "utf-8"),
        ("/api/waiting", b'{"destination": null, "most": 501}', "$.most"),
        ("/api/enable", b"{}", "missing required field `destination`"),
    ],
)
async def test_what_cannot_be_meant(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    path: str,
    body: bytes,
    words: str,
) -> None:
    """It is refused in words, and never gets to the store, which it would break for all."""
    await make_dead_letters(outbox, make_notification(1))
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        status, said = await call_api(control_socket, path, body)
        assert status == 400
        assert isinstance(said, dict)
        assert words in said["error"]
    assert await local_operations.count_dead_letters(ALL) == {"ops": 1}


async def test_what_is_not_there(local_operations: LocalOperations, control_socket: Path) -> None:
    """It is told in the same form; nothing is done by asking for it."""
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        assert await call_api(control_socket, "/api/nothing") == (404, {"error": "Not Found"})
        assert await call_api(control_socket, "/api/dead/drop") == (
            405,
            {"error": "Method Not Allowed"},
        )


async def test_too_long_a_question(local_operations: LocalOperations, control_socket: Path) -> None:
    """No more of it than a bound is read."""
    long = b" " * (api.MAX_REQUEST_BYTES + 1)
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        status, _ = await call_api(control_socket, "/api/dead/drop", io.BytesIO(long))
        assert status == 413


@asynccontextmanager
async def hanging(outbox: Outbox) -> AsyncIterator[Callable[[], None]]:
    """Let the store hang until what this gives is called, or the end."""
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        hangs.set()
        goes_on.wait(TIMEOUT_S)

    job = asyncio.create_task(outbox._writer.run(hang))
    await asyncio.to_thread(hangs.wait)
    try:
        yield goes_on.set
    finally:
        goes_on.set()
        await job


async def test_a_store_that_hangs(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told soon; what needs no store is answered; and what was asked is done later."""
    monkeypatch.setattr(api, "STORE_TIMEOUT_S", 0.01)
    await make_dead_letters(outbox, make_notification(1))
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
        hanging(outbox) as go_on,
    ):
        for question in (
            operations.pending,
            lambda: operations.drop_dead_letters(ALL),
            lambda: operations.list_waiting(None, 9),
        ):
            with pytest.raises(
                RequestFailed, match=r"its store has not answered for 0\.01 s; a change"
            ):
                await question()
        assert await operations.destination_status() == DESTINATION_STATUS
        assert await operations.enable("audit")
        assert await operations.now_ns() == NOW_NS
        go_on()
        async with asyncio.timeout(TIMEOUT_S):
            while await local_operations.count_dead_letters(ALL):
                await asyncio.sleep(0.001)


async def test_few_wait_for_a_store_that_hangs(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However often it is asked; once it works, there is room again."""
    monkeypatch.setattr(api, "STORE_TIMEOUT_S", 0.01)
    monkeypatch.setattr(api, "MAX_QUERIES", 2)
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        async with hanging(outbox):
            asked = outbox._writer._pending
            for _ in range(5):
                with pytest.raises(RequestFailed):
                    await operations.pending()
            assert len(asked) == 1 + 2 + 1  # what hangs, the questions, the probe
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    assert await operations.pending() == {}
                    break
                except RequestFailed:
                    await asyncio.sleep(0.001)


async def test_work_that_takes_long(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is waited for as long as the store answers others."""
    monkeypatch.setattr(api, "STORE_TIMEOUT_S", 0.01)
    probed = 0
    finished = asyncio.Event()

    async def pending() -> dict[str, int]:
        nonlocal probed
        probed += 1
        if probed == 3:
            finished.set()
        return {}

    async def drop_dead_letters(_: Selection) -> int:
        await finished.wait()
        return 7

    monkeypatch.setattr(outbox, "pending", pending)
    monkeypatch.setattr(outbox, "drop_dead_letters", drop_dead_letters)
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        assert await operations.drop_dead_letters(ALL) == 7
    assert probed == 3


async def test_the_end_does_not_wait_for_the_store(
    local_operations: LocalOperations, outbox: Outbox, control_socket: Path
) -> None:
    """Whoever asks is told that the relay went away."""
    async with hanging(outbox):
        serving = serve_control_socket(control_socket, local_operations, EventTap(), idle)
        await serving.__aenter__()
        async with connect_to_daemon(control_socket) as operations:
            asking = asyncio.create_task(operations.pending())
            async with asyncio.timeout(TIMEOUT_S):
                while len(outbox._writer._pending) < 2:
                    await asyncio.sleep(0.001)
            await serving.__aexit__(None, None, None)
            with pytest.raises(RequestFailed, match="says: it is stopping"):
                await asking
