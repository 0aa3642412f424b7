"""Loop 1: batch by batch from the inbox into the store."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relay.config import parse
from relay.core.event import Why
from relay.ingest.docker import worker as module
from relay.ingest.docker.buffer import BATCH_SIZE, Connection, Dropped, Inbox, Opened
from relay.ingest.docker.containers.inference import Look
from relay.ingest.docker.engine.inspection import Sighting
from relay.ingest.docker.engine.inspector import Contact
from relay.ingest.docker.pipeline import Batch, Digest
from relay.ingest.docker.worker import BATCH, SETTLING_BATCHES, SETTLING_MOST, Ways, ingest
from relay.routing.router import Router
from relay.store.outbox import open_outbox
from relay.store.records import Intake, Outbox, Receipt

NOW_NS = 1795420000_000000000
HERE = Connection(engine="here", host="node-1", opened_ns=0, since_ns=0)
PODMAN = replace(HERE, podman=True)
ROUTES = """
destinations:
  ops: {type: console}
routes:
  - {name: oom, match: {action: oom}, to: ops}
  - {name: crashed, match: {action: die, cause: crashed}, to: ops}
  - {name: own, match: {type: relay}, to: ops}
"""


class Answers(Contact):
    """What an engine would tell of its containers."""

    def __init__(self, *sightings: Sighting) -> None:
        super().__init__()
        self.asked: list[set[str]] = []
        self._known = {seen.id: seen for seen in sightings}

    async def sightings(self, containers: Iterable[str]) -> dict[str, Sighting]:
        self.asked.append(wanted := set(containers))
        return {id_: seen for id_, seen in self._known.items() if id_ in wanted}


class Loop:
    """The loop of one engine, and what it committed."""

    def __init__(self, outbox: Outbox, contact: Contact | None = None) -> None:
        self.commits: list[tuple[Intake, Receipt]] = []
        self.inbox = Inbox(2**24)
        router = Router(parse(ROUTES, file="routes", environ={}, folder=Path()).routes)
        digest = Digest("here", "oldest", router)
        digest.since_ns(NOW_NS)
        self.ways = Ways(self.inbox, digest, contact or Answers(), outbox, lambda: NOW_NS)

    def _committed(self, intake: Intake, receipt: Receipt) -> None:
        self.commits.append((intake, receipt))

    async def run(self) -> list[str]:
        """Take in all that the inbox holds; the routes of what was committed."""
        self.inbox.close()
        await ingest(self.ways, self._committed)
        return [noted.route for intake, _ in self.commits for noted, _ in intake.notifications]


def line(action: str, second: float = 0, number: int | None = None) -> bytes:
    exit_code = "" if number is None else f'"exitCode":"{number}"'
    return (
        f'{{"Type":"container","Action":"{action}","timeNano":{NOW_NS + int(second * 1e9)},'
        f'"Actor":{{"ID":"c","Attributes":{{{exit_code}}}}}}}'
    ).encode()


async def test_all_that_was_read_is_committed_before_the_end() -> None:
    """Batch by batch, until the inbox is closed and empty; every commit is told."""
    async with open_outbox(None) as outbox:
        loop = Loop(outbox)
        loop.inbox.put_records(HERE, [line("oom", second) for second in range(BATCH + 1)])
        assert len(await loop.run()) == BATCH + 1
        assert await outbox.pending() == {"ops": BATCH + 1}
        bookmark = await outbox.bookmark("here")
        assert [len(receipt.seqs) for _, receipt in loop.commits] == [BATCH, 1, 0]
    assert bookmark is not None
    assert bookmark.position_ns == NOW_NS + BATCH * 10**9


class Stuck:
    """An outbox whose disk takes its time."""

    state = None

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.done = asyncio.Event()

    async def take_in(self, intake: Intake, now_ns: int) -> Receipt:
        """Wait for the disk."""
        self.asked.set()
        await self.done.wait()
        return Receipt([])


async def test_what_waits_for_a_batch_hears_of_it_after_the_commit() -> None:
    """A stream that was opened, a look, and a loss."""
    outbox = Stuck()
    loop = Loop(outbox)  # type: ignore[arg-type]
    opened, look = Opened(HERE), Look("here", "node-1", NOW_NS)
    for item in (opened, look, Dropped(HERE, 1, Why.RECORD_TOO_LONG)):
        loop.inbox.put(item)
    running = asyncio.ensure_future(loop.run())
    await outbox.asked.wait()
    flags = (opened.digested, look.digested, loop.inbox.lossy)
    assert not any(flag.is_set() for flag in flags)
    outbox.done.set()
    await running
    assert all(flag.is_set() for flag in flags)


async def test_containers_are_asked_about_before_their_deaths_are_judged() -> None:
    """Through the contact, and only those that matter."""
    answer = Sighting(
        id="c",
        name="web",
        image="bb:1",
        labels={"exitCode": "0"},
        alive=False,
        started_ns=NOW_NS,
        finished_ns=NOW_NS + 1,
        exit_code=7,
        oom_killed=False,
        stop_signal=None,
        hiding=frozenset({"exitCode"}),
    )
    contact = Answers(answer)
    async with open_outbox(None) as outbox:
        loop = Loop(outbox, contact)
        loop.inbox.put_records(HERE, [line("die", 1, 0), line("pause", 2)])
        assert await loop.run() == ["crashed"]
    assert contact.asked == [{"c"}]


class Pauses:
    """The pauses of the loop; what is put into the inbox in each of them."""

    def __init__(self, *arriving: list[bytes]) -> None:
        self.count = 0
        self.inbox: Inbox | None = None
        self._arriving = list(arriving)

    async def sleep(self, delay_s: float) -> None:
        """In the place of waiting."""
        assert delay_s == module.SETTLING_S
        assert self.inbox is not None
        self.count += 1
        if self._arriving:
            self.inbox.put_records(PODMAN, self._arriving.pop(0))


async def ends(pauses: Pauses, monkeypatch: pytest.MonkeyPatch, *contents: bytes) -> list[str]:
    """The routes of what a Podman says, with what arrives in the pauses."""
    monkeypatch.setattr(module, "asyncio", pauses)
    async with open_outbox(None) as outbox:
        loop = Loop(outbox)
        pauses.inbox = loop.inbox
        loop.inbox.put(Opened(PODMAN))
        loop.inbox.put_records(PODMAN, [line("start"), *contents])
        return await loop.run()


DIED, CLEANED = line("die", 1, 1), line("cleanup", 1.01)


async def test_a_batch_waits_for_what_shows_its_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Podman tells of a stop behind the death, in pieces."""
    pauses = Pauses([], [CLEANED], [line("cleanup", 1.03)])
    assert await ends(pauses, monkeypatch, DIED) == []
    assert pauses.count == 3


async def test_a_batch_waits_no_longer_than_it_has_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """What crashes shows by nothing; then it is judged as it is."""
    pauses = Pauses([CLEANED])
    assert await ends(pauses, monkeypatch, DIED) == ["crashed"]
    assert pauses.count == SETTLING_MOST


async def test_a_batch_that_is_clear_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """It began its next life, so it crashed."""
    pauses = Pauses()
    assert await ends(pauses, monkeypatch, DIED, line("restart", 1.01)) == ["crashed"]
    assert pauses.count == 0


@pytest.mark.parametrize(
    ("padding", "first"),
    [(0, SETTLING_BATCHES * BATCH), (130_000, SETTLING_BATCHES * BATCH_SIZE // 130_000)],
    ids=["count", "size"],
)
async def test_what_is_gathered_meanwhile_is_bounded(
    monkeypatch: pytest.MonkeyPatch, padding: int, first: int
) -> None:
    """Under a flood nobody waits for what shows a meaning: it is judged as it is."""
    flood = line("oom", 2).replace(b'"ID":"c"', b'"ID":"d"') + b" " * padding
    sizes: list[int] = []
    take_in = Digest.take_in

    def spy(digest: Digest, batch: Batch, *args: Any) -> Intake:
        sizes.append(len(batch))
        return take_in(digest, batch, *args)

    monkeypatch.setattr(Digest, "take_in", spy)
    contents = [DIED, *(flood for _ in range(2 * first))]
    assert await ends(Pauses(), monkeypatch, *contents) == ["crashed", "oom"]
    assert sum(sizes) == len(contents) + 2
    assert first - SETTLING_BATCHES <= sizes[0] <= first + SETTLING_BATCHES


class Full:
    """An outbox that gives up two deliveries and a dead letter with every batch."""

    async def take_in(self, intake: Intake, now_ns: int) -> Receipt:
        """Commit, and shed."""
        return Receipt([[1] for _ in intake.notifications], shed=2, letters_shed=1)


async def test_what_a_full_store_gives_up_is_counted() -> None:
    """With every commit, the last included."""
    loop = Loop(Full())  # type: ignore[arg-type]
    loop.inbox.put_records(HERE, [line("oom", second) for second in range(BATCH + 1)])
    assert await loop.run() == ["oom"] * (BATCH + 1)
    assert (loop.ways.digest.tally.shed, loop.ways.digest.tally.letters_shed) == (6, 3)
