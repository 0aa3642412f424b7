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
from relay.daemon.file_reader import FileReader
from relay.daemon.reload import ConfigSource, ReloadController, ReloadFailed, describe_changes
from relay.daemon.topology import RestartRequired, Topology, check_reloadable
from relay.delivery.client import DestinationClient
from relay.delivery.runner import Attachment, DeliveryContext, retire_destination
from relay.routing.router import Router
from relay.store.outbox import open_outbox
from relay.store.records import Selection
from tests.component.observer import RecordingObserver
from tests.unit.store.samples import make_commit, make_notification

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


def plan(after: Config, *opened: str) -> Topology:
    made = {
        name: partial(
            Attachment,
            DestinationClient(
                name, after.destinations[name], lambda _: Request(b"", "http://x"), Nowhere()
            ),
            AsyncExitStack(),
            (),
        )
        for name in opened
    }
    return Topology(after, Router(after.routes), {}, made, {}, None)


def test_nothing() -> None:
    """The same file changes nothing."""
    assert describe_changes(config(), plan(config())) == ()


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
    assert describe_changes(config(), plan(after, "audit", "chat")) == (
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
    assert describe_changes(config(), plan(config(), "audit")) == ("destination audit changed",)


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
    assert describe_changes(config(), plan(config(**{key: value}))) == (f"{key} changed",)


def test_every_part_is_looked_at() -> None:
    """A key that is new has to be, too."""
    assert set(Config.model_fields) == {
        *("engines", "destinations", "ingest", "reconcile", "store", "admin", "heartbeat"),
        "routes",
    }


def test_another_store_takes_another_start() -> None:
    """What else is said of the store does not."""
    check_reloadable(config(), config(store={"max_size": "1GiB"}))
    with pytest.raises(RestartRequired, match=r"store\.path"):
        check_reloadable(config(), config(store={"path": "/other.db"}))


async def buried(
    gone: list[bool], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, RecordingObserver]:
    """How many of three are given up, one in each commit, while these are the answers to whether
    the destination is gone."""
    monkeypatch.setattr("relay.store.deliveries.GIVE_UP_BATCH", 1)
    answers, heard = iter(gone), RecordingObserver()
    async with open_outbox(None) as outbox:
        await outbox.commit(
            make_commit(
                make_notification(1, "a"), make_notification(2, "b"), make_notification(3, "c")
            ),
            10,
        )
        await retire_destination(
            "ops", DeliveryContext(outbox, heard, lambda: 20), lambda: next(answers)
        )
        letters = await outbox.dead_letters(Selection(), 10)
        assert (await outbox.pending()).get("ops", 0) + len(letters) == 3
    return len(letters), heard


async def test_all_that_waits_for_a_destination_that_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is given up, and told once."""
    count, heard = await buried([True] * 6, monkeypatch)
    assert count == 3
    assert heard.dead_letters == [("ops", "destination_removed", 3)]


async def test_one_that_is_back_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is not given up."""
    count, heard = await buried([True, True, False, False, False], monkeypatch)
    assert count == 2
    assert heard.dead_letters == [("ops", "destination_removed", 2)]


async def test_one_that_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens."""
    count, heard = await buried([False] * 3, monkeypatch)
    assert (count, heard.dead_letters) == (0, [])


async def test_a_stop_in_the_midst_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given up until then is told."""
    monkeypatch.setattr("relay.store.deliveries.GIVE_UP_BATCH", 1)
    heard, asked = RecordingObserver(), list[int]()
    async with open_outbox(None) as outbox:
        await outbox.commit(
            make_commit(
                make_notification(1, "a"), make_notification(2, "b"), make_notification(3, "c")
            ),
            10,
        )

        def is_gone() -> bool:
            asked.append(1)
            if len(asked) == 3:
                raise asyncio.CancelledError
            return True

        with pytest.raises(asyncio.CancelledError):
            await retire_destination("ops", DeliveryContext(outbox, heard, lambda: 20), is_gone)
    assert heard.dead_letters == [("ops", "destination_removed", 2)]


async def test_one_that_has_ended() -> None:
    """Whoever waits for a reload, and whoever asks for one, is told that relay is stopping."""
    none: Any = None
    reloader = ReloadController(ConfigSource(config), none, FileReader(), none, none)
    waiting = [asyncio.create_task(reloader.reload()) for _ in range(2)]
    await asyncio.sleep(0)
    reloader.close()
    reloader.close()
    for asked in [*waiting, reloader.reload()]:
        with pytest.raises(ReloadFailed, match="relay is stopping"):
            await asked
