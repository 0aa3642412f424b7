"""What a reload reports, and what becomes of removed destinations."""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from relay.config import Config
from relay.core.exchange import Request, Response
from relay.daemon.reload import (
    ConfigSource,
    FileReader,
    ReloadController,
    ReloadFailed,
    describe_changes,
)
from relay.daemon.topology import RestartRequired, Topology, check_reloadable
from relay.delivery.client import DestinationClient
from relay.delivery.runner import Attachment, DeliveryContext, retire_destination
from relay.destinations.catalog import parse_config
from relay.incidents.policy import build_policies
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


def make_config(**parts: object) -> Config:
    text = yaml.safe_dump({**PARTS, **parts}, sort_keys=False)
    return parse_config(text, file="test", environ={}, folder=Path("/"))


class AcceptingSender:
    """Accepts every request."""

    async def send(self, request: Request) -> Response:
        return Response(200)


def make_topology(after: Config, *changed_destinations: str) -> Topology:
    new_clients = {
        name: partial(
            Attachment,
            DestinationClient(
                name,
                after.destinations[name],
                lambda _: Request(b"", "http://x"),
                AcceptingSender(),
            ),
            AsyncExitStack(),
            (),
        )
        for name in changed_destinations
    }
    return Topology(after, Router(after.routes), build_policies(after), {}, new_clients, {}, None)


def test_no_change() -> None:
    """The same file changes nothing."""
    assert describe_changes(make_config(), make_topology(make_config())) == ()


def test_engines_and_destinations_are_reported_by_name() -> None:
    """Those that are removed, changed and added."""
    after = make_config(
        engines={"here": {"url": "unix:///a.sock", "host": "node-1"}, "far": {}},
        destinations={
            "audit": {"type": "http", "url": "https://y/"},
            "chat": {"type": "slack", "url": "https://x/"},
        },
        routes=[{"name": "all", "to": ["chat", "audit"]}],
    )
    assert describe_changes(make_config(), make_topology(after, "audit", "chat")) == (
        "engine here changed",
        "engine there removed",
        "engine far added",
        "destination ops removed",
        "destination audit changed",
        "destination chat added",
        "routes changed",
    )


def test_new_certificates_change_a_destination() -> None:
    """It has changed although its configuration has not."""
    assert describe_changes(make_config(), make_topology(make_config(), "audit")) == (
        "destination audit changed",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ingest", {"buffer": "1MiB"}),
        ("reconcile", {"every": "10m"}),
        ("store", {"when_full": "drop-new"}),
        ("admin", {"listen": "127.0.0.1:9321"}),
        ("heartbeat", {"every": "1h"}),
        ("log", {"level": "debug"}),
    ],
)
def test_other_sections_are_reported_by_key(key: str, value: object) -> None:
    """Every other section is reported by its key."""
    assert describe_changes(make_config(), make_topology(make_config(**{key: value}))) == (
        f"{key} changed",
    )


def test_every_section_is_compared() -> None:
    """A section that is added to the configuration must be added here, too."""
    assert set(Config.model_fields) == {
        *("engines", "destinations", "ingest", "reconcile", "store", "admin", "heartbeat"),
        *("log", "time_zone", "labels", "mute_time_intervals", "routes"),
    }


def test_another_store_requires_a_restart() -> None:
    """Other settings of the store do not."""
    check_reloadable(make_config(), make_config(store={"max_size": "1GiB"}))
    with pytest.raises(RestartRequired, match=r"store\.path"):
        check_reloadable(make_config(), make_config(store={"path": "/other.db"}))


async def retire_three(
    is_removed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, RecordingObserver]:
    """Retire a destination with three deliveries, one per commit; returns how many died.

    ``is_removed`` are the answers to whether it is removed, asked before each commit.
    """
    monkeypatch.setattr("relay.store.deliveries.GIVE_UP_BATCH", 1)
    answers, observer = iter(is_removed), RecordingObserver()
    async with open_outbox(None) as outbox:
        await outbox.commit(
            make_commit(
                make_notification(1, "a"), make_notification(2, "b"), make_notification(3, "c")
            ),
            10,
        )
        await retire_destination(
            "ops", DeliveryContext(outbox, observer, lambda: 20), lambda: next(answers)
        )
        dead_letters = await outbox.dead_letters(Selection(), 10)
        assert (await outbox.pending()).get("ops", 0) + len(dead_letters) == 3
    return len(dead_letters), observer


async def test_a_removed_destination_is_retired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All its deliveries become dead letters, reported once."""
    count, observer = await retire_three([True] * 6, monkeypatch)
    assert count == 3
    assert observer.dead_letters == [("ops", "destination_removed", 3)]


async def test_a_destination_that_is_added_again_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deliveries that are left are kept."""
    count, observer = await retire_three([True, True, False, False, False], monkeypatch)
    assert count == 2
    assert observer.dead_letters == [("ops", "destination_removed", 2)]


async def test_a_destination_that_is_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens."""
    count, observer = await retire_three([False] * 3, monkeypatch)
    assert (count, observer.dead_letters) == (0, [])


async def test_a_stop_while_a_destination_is_retired(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was given up until then is reported."""
    monkeypatch.setattr("relay.store.deliveries.GIVE_UP_BATCH", 1)
    observer, request = RecordingObserver(), list[int]()
    async with open_outbox(None) as outbox:
        await outbox.commit(
            make_commit(
                make_notification(1, "a"), make_notification(2, "b"), make_notification(3, "c")
            ),
            10,
        )

        def is_gone() -> bool:
            request.append(1)
            if len(request) == 3:
                raise asyncio.CancelledError
            return True

        with pytest.raises(asyncio.CancelledError):
            await retire_destination("ops", DeliveryContext(outbox, observer, lambda: 20), is_gone)
    assert observer.dead_letters == [("ops", "destination_removed", 2)]


async def test_a_closed_controller() -> None:
    """Reloads that are requested, before or after, fail because relay is stopping."""
    none: Any = None
    controller = ReloadController(ConfigSource(make_config), none, FileReader(), none, none)
    requests = [asyncio.create_task(controller.reload()) for _ in range(2)]
    await asyncio.sleep(0)
    controller.close()
    controller.close()
    for request in [*requests, controller.reload()]:
        with pytest.raises(ReloadFailed, match="relay is stopping"):
            await request
