"""What a hub makes of what the hosts publish, and that nothing is lost while its disk fails."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.test_store_stress import disk as disk  # noqa: PLC0414 - a fixture
from tests.acceptance.test_store_stress import fill_disk
from tests.support.fleet import Fleet


async def test_what_the_edge_included_is_in_the_hubs_message(fleet: Fleet) -> None:
    """In the words of a chat; where an edge included nothing the message says so."""
    await fleet.make_stream()
    chat = {"type": "slack", "url": f"{fleet.url}/hub", "notify": "events"}
    route = {"name": "died", "match": {"action": "die"}, "to": "chat"}
    included = {**route, "include": {"inspect": ["Config.Image"]}}
    await fleet.add_hub(config={"destinations": {"chat": chat}, "routes": [included]})
    for host, edge_route in (("web-1", {**included, "to": "fleet"}), ("web-2", route)):
        edge = await fleet.add_edge(host, {"routes": [{**edge_route, "to": "fleet"}]})
        edge.engine.run("shop")
        edge.engine.emit("shop", "die", exitCode="3")
    await fleet.hook.wait_for(lambda: len(fleet.hook.documents) == 2)
    texts = [json.dumps(document) for _, document in fleet.hook.documents]
    with_it, without = sorted(texts, key=lambda text: "web-2" in text)
    assert "bb:1" in with_it
    assert "not included" not in with_it
    assert "not included at the edge" in without


async def test_a_message_that_is_no_event_is_kept_and_reported(fleet: Fleet) -> None:
    """It leaves the stream, and what comes after it goes on."""
    await fleet.make_stream()
    hub = await fleet.add_hub()
    async with fleet.admin() as admin:
        for subject, body in (
            ("relay.events.web-9.container.die", b'{"specversion": "1.0"}'),
            ("relay.events.web-9", b"\x00\xff"),
        ):
            await admin.request(subject, body, timeout_s=10)
    edge = await fleet.add_edge("web-1")
    edge.happen("web", 3)
    await fleet.wait_arrived()
    assert await fleet.wait_acked() == 0
    await fleet.hook.wait_for(lambda: bool(fleet.hook.events("gap", host="web-9")))
    code, output = await hub.command("dead", "list", "--json")
    letters = [json.loads(line) for line in output.splitlines()]
    assert code == 0
    assert [(letter["destination"], letter["reason"]) for letter in letters] == [
        ("fleet", "unreadable"),
        ("fleet", "unreadable"),
    ]
    shown = (await hub.command("dead", "show", str(letters[-1]["number"])))[1]
    assert "relay.events.web-9.container.die" in shown
    assert '{"specversion": "1.0"}' in shown
    assert not hub.count_tracebacks()


@pytest.mark.parametrize("fault", ["full", "read_only"])
async def test_a_hub_whose_disk_fails_acknowledges_nothing(
    fleet: Fleet, disk: Path, fault: str
) -> None:
    """What it cannot store stays in the stream; when the disk works again, nothing is missing."""
    await fleet.make_stream()
    hub = await fleet.add_hub(config={"store": {"path": str(disk / "relay.db")}})
    edge = await fleet.add_edge("web-1")
    await hub.wait_ready()
    edge.happen("web", 5)
    await fleet.wait_arrived()
    assert await fleet.wait_acked() == 0
    break_disk(disk, fault)
    edge.happen("web", 200)
    await hub.wait_for(lambda: bool(hub.logs("store.failing", reason=fault)), "it did not notice")
    await hub.wait_for(lambda: _has_published(fleet, 200), "the edge did not publish")
    assert len(fleet.ledger.ids) < 205
    waiting = 205 - len(fleet.ledger.ids)
    await asyncio.sleep(3)  # longer than ack_wait
    assert (await fleet.stream_info()).state.messages >= waiting
    repair_disk(disk, fault)
    await fleet.wait_arrived()
    assert await fleet.wait_acked() == 0
    verdict = fleet.ledger.verdict()
    assert verdict == {**dict.fromkeys(verdict, 0), "events": 205, "arrived": 205}


async def _has_published(fleet: Fleet, count: int) -> bool:
    return (await fleet.stream_info()).state.last_seq >= count


def break_disk(disk: Path, fault: str) -> None:
    """Fill the disk, or replace it by one that is read-only, as a failing disk may become."""
    if fault == "full":
        fill_disk(disk)
        return
    subprocess.run(["umount", "--lazy", str(disk)], check=True, timeout=30)
    options = "size=4m,mode=0700,ro"
    mounting = ["mount", "-t", "tmpfs", "-o", options, "relay-store", str(disk)]
    subprocess.run(mounting, check=True, timeout=30)


def repair_disk(disk: Path, fault: str) -> None:
    """End what `break_disk` has done."""
    if fault == "full":
        (disk / "filler").unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True, timeout=30)
