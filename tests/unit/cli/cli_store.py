"""Samples: stores, and running relays, that commands are asked about."""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from click.testing import CliRunner, Result

from relay import cli
from relay.admin.control_socket import serve_control_socket, socket_path
from relay.admin.operations import DaemonHooks, LocalOperations
from relay.admin.tap import EventTap
from relay.core.errors import RelayError
from relay.core.event import Actor
from relay.core.exchange import Answer, Outcome
from relay.core.include import Include, Included
from relay.core.notification import Notification
from relay.core.status import DaemonStatus, DestinationStatus, EngineStatus, StreamStatus
from relay.core.zone import UTC_NAME
from relay.incidents.incidents import EngineClocks, Incidents
from relay.incidents.rows import decode_rows
from relay.incidents.state import Rows
from relay.store.outbox import Outbox, open_outbox
from relay.store.records import HOLD_NS, Ack
from tests.component.wait import TIMEOUT_S
from tests.support.idle import idle
from tests.unit.incidents.world import Setup
from tests.unit.store.samples import make_commit, make_notification

T = TypeVar("T")

SECOND_NS = 10**9
THEN_NS = 1_795_416_514 * SECOND_NS
"""2026-11-23 06:48:34 UTC."""

HOSTILE = 'a\x1b[2J\x9b31m\u202e\u2028\x00\r\nID  1 \U000e0041 ops"\\'
"""A name that anybody could give, made to deceive a terminal."""


HEALTHY = DaemonStatus(
    {"here": EngineStatus(THEN_NS, StreamStatus(True, 0, 0, 0))}, version="1.2.3"
)
"""One engine, whose stream is open."""


@dataclass(frozen=True, slots=True)
class Installation:
    """A configuration file, and the path of its store, which may not exist yet."""

    file: Path
    store: Path


def clear_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the variables of relay, whatever the environment of the tests has."""
    for name in list(os.environ):
        if name.startswith("RELAY_"):
            monkeypatch.delenv(name)


def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli.relay, arguments, input=stdin)


def failure(result: Result) -> str:
    """The message of an expected failure with exit code 1."""
    assert isinstance(result.exception, RelayError)
    assert result.exception.exit_code == 1
    return str(result.exception)


def in_store(store: Path, work: Callable[[Outbox], Coroutine[Any, Any, T]]) -> T:
    """Open the store, and do something in it."""

    async def do() -> T:
        async with open_outbox(store) as outbox:
            return await work(outbox)

    return asyncio.run(do())


async def settle(
    outbox: Outbox,
    notification: Notification,
    outcome: Outcome,
    *,
    to: str = "ops",
    created_ns: int = THEN_NS,
    died_ns: int = THEN_NS + 60 * SECOND_NS,
    answer: Answer | None = None,
) -> None:
    """Commit a notification, and settle its first attempt."""
    result = await outbox.commit(make_commit(notification, to=(to,)), created_ns)
    found = (await outbox.fetch_due(to, created_ns + HOLD_NS, 1000)).deliveries
    (delivery,) = (each for each in found if each.seq == result.seqs[0][0])
    await outbox.ack([Ack(delivery, outcome, answer)], died_ns, flush=True)


def hostile_notification(number: int) -> Notification:
    """A notification in which every text is hostile."""
    whole = make_notification(number)
    (event,) = whole.events
    event = msgspec.structs.replace(
        event,
        type=HOSTILE,
        action=HOSTILE,
        detail=HOSTILE,
        host=HOSTILE,
        health=HOSTILE,
        actor=Actor(HOSTILE, HOSTILE, HOSTILE, {HOSTILE: HOSTILE}),
    )
    return msgspec.structs.replace(
        whole,
        route=HOSTILE,
        events=(event,),
        include=Include(1, True, ("a",)),
        included=Included((HOSTILE,), HOSTILE, {HOSTILE: {HOSTILE: HOSTILE}}, HOSTILE),
    )


def load_incidents(rows: Rows, now_ns: int) -> Incidents:
    """The incidents of a relay whose configuration is that of `World`."""
    setup = Setup()
    clocks = EngineClocks(lambda: now_ns, lambda: now_ns)
    return Incidents(rows, setup.policies, setup.router, clocks)


@contextmanager
def running_relay(
    store: Path,
    now_ns: int = THEN_NS,
    statuses: Mapping[str, DestinationStatus] | None = None,
    work: Callable[[Outbox], Coroutine[Any, Any, None]] | None = None,
    daemon_status: DaemonStatus = HEALTHY,
    reload: Callable[[], Sequence[str]] = tuple,
    time_zone: str = UTC_NAME,
) -> Iterator[list[str]]:
    """Run a relay that only has the store open; gives the destinations it was asked to enable."""
    known = statuses or {name: DestinationStatus() for name in ("ops", "audit")}
    enabled: list[str] = []
    ready = threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def enable(name: str) -> bool:
        enabled.append(name)
        return known[name].stopped

    async def reload_async() -> Sequence[str]:
        return reload()

    async def serve() -> None:
        async with open_outbox(store) as outbox:
            if work is not None:
                await work(outbox)
            rows = decode_rows(await outbox.incident_rows())
            incidents = load_incidents(rows, now_ns)
            incidents.stream_opened("here", 0, is_local=True)
            incidents.caught_up("here")
            hooks = DaemonHooks(
                lambda: known, enable, lambda: daemon_status, reload_async, incidents
            )
            operations = LocalOperations(
                outbox, lambda: known, lambda: now_ns, hooks, zone_name=lambda: time_zone
            )
            async with serve_control_socket(socket_path(store), operations, EventTap(), idle):
                ready.set()
                await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    try:
        assert ready.wait(TIMEOUT_S)
        yield enabled
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(TIMEOUT_S)
        loop.close()
