"""What a reload says that it changed."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config import Config, parse
from relay.core.exchange import Request, Response
from relay.daemon.reload import Reader, Reloader, ReloadFailed, Source, changes
from relay.daemon.topology import Plan, Unreloadable, check_fixed
from relay.delivery.client import Channel
from relay.delivery.runner import Sources, Way, give_up
from relay.routing.router import Router
from relay.store.outbox import open_outbox
from relay.store.records import Selection
from tests.component.observer import Heard
from tests.unit.store.samples import intake, told

PARTS = {
    "engines": {"here": {"url": "unix:///a.sock"}, "there": {"url": "unix:///b.sock"}},
    "destinations": {"ops": {"type": "console"}, "audit": {"type": "http", "url": "https://x/"}},
    "routes": [{"name": "all", "to": ["ops", "audit"]}],
}


def config(**parts: object) -> Config:
    text = yaml.safe_dump({**PARTS, **parts}, sort_keys=False)
    return parse(text, file="test", environ={}, folder=Path("/"))


class Nowhere:
    """Takes everything."""

    async def send(self, request: Request) -> Response:
        return Response(200)


def plan(after: Config, *opened: str) -> Plan:
    made = {
        name: partial(
            Way,
            Channel(name, after.destinations[name], lambda _: Request(b"", "http://x"), Nowhere()),
            AsyncExitStack(),
            (),
        )
        for name in opened
    }
    return Plan(after, Router(after.routes), {}, made, {}, None)


def test_nothing() -> None:
    """The same file changes nothing."""
    assert changes(config(), plan(config())) == ()


def test_each_engine_and_destination_by_its_name() -> None:
    """Those that are gone, changed and new."""
    after = config(
        engines={"here": {"url": "unix:///a.sock", "host": "node-1"}, "far": {}},
        destinations={
            "audit": {"type": "http", "url": "https://y/"},
            "chat": {"type": "slack", "url": "https://x/"},
        },
        routes=[{"name": "all", "to": ["chat", "audit"]}],
    )
    assert changes(config(), plan(after, "audit", "chat")) == (
        "engine here changed",
        "engine there removed",
        "engine far added",
        "destination ops removed",
        "destination audit changed",
        "destination chat added",
        "routes changed",
    )


def test_a_destination_whose_certificates_are_others() -> None:
    """It is changed, though the file says what it said."""
    assert changes(config(), plan(config(), "audit")) == ("destination audit changed",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ingest", {"buffer": "1MiB"}),
        ("reconcile", {"every": "10m"}),
        ("store", {"when_full": "drop-new"}),
        ("admin", {"listen": "127.0.0.1:9321"}),
        ("heartbeat", {"every": "1h"}),
    ],
)
def test_the_other_parts(key: str, value: object) -> None:
    """Each by its key."""
    assert changes(config(), plan(config(**{key: value}))) == (f"{key} changed",)


def test_every_part_is_looked_at() -> None:
    """A key that is new has to be, too."""
    assert set(Config.model_fields) == {
        *("engines", "destinations", "ingest", "reconcile", "store", "admin", "heartbeat"),
        "routes",
    }


def test_another_store_takes_another_start() -> None:
    """What else is said of the store does not."""
    check_fixed(config(), config(store={"max_size": "1GiB"}))
    with pytest.raises(Unreloadable, match=r"store\.path"):
        check_fixed(config(), config(store={"path": "/other.db"}))


async def buried(gone: list[bool], monkeypatch: pytest.MonkeyPatch) -> tuple[int, Heard]:
    """How many of three are given up, one in each commit, while these are the answers to whether
    the destination is gone."""
    monkeypatch.setattr("relay.store.deliveries.GIVEN_UP_AT_ONCE", 1)
    answers, heard = iter(gone), Heard()
    async with open_outbox(None) as outbox:
        await outbox.take_in(intake(told(1, "a"), told(2, "b"), told(3, "c")), 10)
        await give_up("ops", Sources(outbox, heard, lambda: 20), lambda: next(answers))
        letters = await outbox.dead_letters(Selection(), 10)
        assert (await outbox.pending()).get("ops", 0) + len(letters) == 3
    return len(letters), heard


async def test_all_that_waits_for_a_destination_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is given up, and told once."""
    count, heard = await buried([True] * 6, monkeypatch)
    assert count == 3
    assert heard.buried == [("ops", "destination_removed", 3)]


async def test_one_that_is_back_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is not given up."""
    count, heard = await buried([True, True, False, False, False], monkeypatch)
    assert count == 2
    assert heard.buried == [("ops", "destination_removed", 2)]


async def test_one_that_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens."""
    count, heard = await buried([False] * 3, monkeypatch)
    assert (count, heard.buried) == (0, [])


async def test_a_stop_in_the_midst_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given up until then is told."""
    monkeypatch.setattr("relay.store.deliveries.GIVEN_UP_AT_ONCE", 1)
    heard, asked = Heard(), list[int]()
    async with open_outbox(None) as outbox:
        await outbox.take_in(intake(told(1, "a"), told(2, "b"), told(3, "c")), 10)

        def is_gone() -> bool:
            asked.append(1)
            if len(asked) == 3:
                raise asyncio.CancelledError
            return True

        with pytest.raises(asyncio.CancelledError):
            await give_up("ops", Sources(outbox, heard, lambda: 20), is_gone)
    assert heard.buried == [("ops", "destination_removed", 2)]


async def test_one_that_has_ended() -> None:
    """Whoever waits for a reload, and whoever asks for one, is told that relay is stopping."""
    none: Any = None
    reloader = Reloader(Source(config), none, Reader(), none, none)
    waiting = [asyncio.create_task(reloader.reload()) for _ in range(2)]
    await asyncio.sleep(0)
    reloader.end()
    reloader.end()
    for asked in [*waiting, reloader.reload()]:
        with pytest.raises(ReloadFailed, match="relay is stopping"):
            await asked
