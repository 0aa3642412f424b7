"""The admin API at the control socket: its limits, and a store that hangs."""

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


async def test_long_lists_come_in_pages(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client joins the pages, and asks for no more than its limit."""
    monkeypatch.setattr(client, "PAGE_SIZE", 40)
    await make_dead_letters(
        outbox, *(make_notification(number, container=str(number)) for number in range(1, 101))
    )
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        assert await operations.list_dead_letters(ALL, 1000) == await outbox.dead_letters(ALL, 1000)
        assert [it.number for it in await operations.list_dead_letters(ALL, 50, 90)] == [
            *range(89, 39, -1)
        ]


async def test_a_page_ends_when_it_is_long(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer ends at its size limit; dead letters go on in the next page."""
    monkeypatch.setattr(api, "PAGE_BYTES", 1)
    await make_dead_letters(
        outbox, make_notification(1), make_notification(2), make_notification(3)
    )
    await outbox.commit(make_commit(make_notification(4), make_notification(5)), 10)
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        assert [it.number for it in await operations.list_dead_letters(ALL, 10)] == [
            3,
            2,
            1,
        ]
        assert len(await operations.list_waiting(None, 10)) == 1


async def test_daemon_info(local_operations: LocalOperations, control_socket: Path) -> None:
    """It has the version and the time of the daemon."""
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        assert await call_api(control_socket, "/api/") == (
            200,
            {"version": __version__, "now_ns": NOW_NS, "time_zone": "UTC"},
        )


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/dead", b"", ""),
        ("/api/dead", b"\xff", ""),
        ("/api/dead", b"[" * 100_000, ""),
        ("/api/dead", b'{"most": 5}', "selection"),
        ("/api/dead", b'{"selection": {}, "most": 0}', "most"),
        ("/api/dead", b'{"selection": {}, "most": 501}', "most"),
        ("/api/dead", b'{"selection": {}, "most": 1, "below": 9223372036854775808}', "below"),
        ("/api/dead/drop", b'{"destinaton": "ops"}', "destinaton"),
        ("/api/dead/drop", b'{"since_ns": 9223372036854775808}', "since_ns"),
        ("/api/dead/drop", b'{"since_ns": -1}', "since_ns"),
        ("/api/dead/drop", b'{"since_ns": 1.5}', "since_ns"),
        ("/api/dead/drop", b'{"ids": [9223372036854775808]}', "ids"),
        ("/api/dead/drop", b'{"ids": [null]}', "ids"),
        ("/api/dead/drop", b'{"ids": "1"}', "ids"),
        ("/api/dead/drop", rb'{"route": "\ud800"}', ""),
        ("/api/dead/drop", b'{"route": "\xed\xa0\x80"}', ""),
        ("/api/waiting", b'{"destination": null, "most": 501}', "most"),
        ("/api/enable", b"{}", "destination"),
    ],
)
async def test_invalid_requests(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    path: str,
    body: bytes,
    field: str,
) -> None:
    """They are rejected, the error names the field, and they never reach the store."""
    await make_dead_letters(outbox, make_notification(1))
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        status, answer = await call_api(control_socket, path, body)
        assert status == 400
        assert isinstance(answer, dict)
        assert answer["error"]
        assert field in answer["error"]
    assert await local_operations.count_dead_letters(ALL) == {"ops": 1}


async def test_unknown_paths_and_methods(
    local_operations: LocalOperations, control_socket: Path
) -> None:
    """They are answered in the same form; nothing is done."""
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        assert await call_api(control_socket, "/api/nothing") == (404, {"error": "Not Found"})
        assert await call_api(control_socket, "/api/dead/drop") == (
            405,
            {"error": "Method Not Allowed"},
        )


async def test_a_request_that_is_too_long(
    local_operations: LocalOperations, control_socket: Path
) -> None:
    """It is refused, and read up to the limit only."""
    long = b" " * (api.MAX_REQUEST_BYTES + 1)
    async with serve_control_socket(control_socket, local_operations, EventTap(), idle):
        status, _ = await call_api(control_socket, "/api/dead/drop", io.BytesIO(long))
        assert status == 413


@asynccontextmanager
async def hang_store(outbox: Outbox) -> AsyncIterator[Callable[[], None]]:
    """Let the store hang until the returned function is called, or until the end."""
    is_hanging, released = threading.Event(), threading.Event()

    def block(_: object) -> None:
        is_hanging.set()
        released.wait(TIMEOUT_S)

    job = asyncio.create_task(outbox._writer.run(block))
    await asyncio.to_thread(is_hanging.wait)
    try:
        yield released.set
    finally:
        released.set()
        await job


async def test_a_hanging_store(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request fails soon and is still performed later; other operations are answered."""
    monkeypatch.setattr(api, "STORE_TIMEOUT_S", 0.01)
    await make_dead_letters(outbox, make_notification(1))
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
        hang_store(outbox) as release,
    ):
        for operation in (
            operations.pending,
            lambda: operations.drop_dead_letters(ALL),
            lambda: operations.list_waiting(None, 9),
        ):
            with pytest.raises(
                RequestFailed, match=r"its store has not answered for 0\.01 s; a change"
            ):
                await operation()
        assert await operations.destination_status() == DESTINATION_STATUS
        assert await operations.enable("audit")
        assert await operations.now_ns() == NOW_NS
        release()
        async with asyncio.timeout(TIMEOUT_S):
            while await local_operations.count_dead_letters(ALL):
                await asyncio.sleep(0.001)


async def test_few_queries_wait_for_a_hanging_store(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their number is limited; once the store works, new ones are accepted."""
    monkeypatch.setattr(api, "STORE_TIMEOUT_S", 0.01)
    monkeypatch.setattr(api, "MAX_QUERIES", 2)
    async with (
        serve_control_socket(control_socket, local_operations, EventTap(), idle),
        connect_to_daemon(control_socket) as operations,
    ):
        async with hang_store(outbox):
            pending_jobs = outbox._writer._pending
            for _ in range(5):
                with pytest.raises(RequestFailed):
                    await operations.pending()
            assert len(pending_jobs) == 1 + 2 + 1  # what hangs, the questions, the probe
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    assert await operations.pending() == {}
                    break
                except RequestFailed:
                    await asyncio.sleep(0.001)


async def test_a_long_operation(
    local_operations: LocalOperations,
    outbox: Outbox,
    control_socket: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may take long, as long as the store answers other queries."""
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


async def test_close_does_not_wait_for_the_store(
    local_operations: LocalOperations, outbox: Outbox, control_socket: Path
) -> None:
    """Requests that wait fail, because relay is stopping."""
    async with hang_store(outbox):
        server = serve_control_socket(control_socket, local_operations, EventTap(), idle)
        await server.__aenter__()
        async with connect_to_daemon(control_socket) as operations:
            waiting = asyncio.create_task(operations.pending())
            async with asyncio.timeout(TIMEOUT_S):
                while len(outbox._writer._pending) < 2:
                    await asyncio.sleep(0.001)
            await server.__aexit__(None, None, None)
            with pytest.raises(RequestFailed, match="says: it is stopping"):
                await waiting
