"""Repairs of a store's files, killed at every step and finished by the next start."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from relay.core.exchange import Delivered
from relay.store import files as family
from relay.store.faults import Loss
from relay.store.files import Family
from relay.store.outbox import SqliteOutbox, open_outbox
from relay.store.records import Settled
from tests.unit.store.samples import intake, told

MANY = 100
ALL = set(range(1, MANY + 3))


class Snapshots:
    """What is on disk before each change of a name, as a kill at that moment leaves it."""

    def __init__(self, folder: Path, to: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._to = folder, to
        self.taken: list[Path] = []
        self._patch = patch
        for method in ("rename", "unlink"):
            self._watch(Path, method)
        self._watch(family, "_sync")

    def take(self) -> None:
        copy = self._to / str(len(self.taken))
        shutil.copytree(self._folder, copy)
        self.taken.append(copy)

    def _watch(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            self.take()
            return real(*arguments, **options)

        self._patch.setattr(owner, name, watched)

    def since_ready(self) -> Iterator[Path]:
        """Those from the moment that the new file was ready."""
        seen = False
        for copy in self.taken:
            seen = seen or Family(copy / "relay.db").ready is not None
            if seen:
                yield copy


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


async def numbers(outbox: SqliteOutbox) -> set[int]:
    """What is left to deliver."""
    found: set[int] = set()
    while due := (await outbox.due("ops", 2**62, 9999)).deliveries:
        for delivery in due:
            found.add(delivery.notification.events[0].time_ns)
            await outbox.settle([Settled(delivery, Delivered())], 20)
    return found


async def opened(place: Path) -> tuple[set[int], list[Loss]]:
    """What the next start finds: deliveries and losses, in a file that is sound."""
    async with open_outbox(place / "relay.db") as outbox:
        result = await numbers(outbox), await outbox.losses()
    with closing(sqlite3.connect(place / "relay.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert Family(place / "relay.db").ready is None
    return result


async def killed(tmp_path: Path) -> Path:
    """A store with many deliveries, whose last change is only in its log."""
    first, place = folder(tmp_path, "first"), folder(tmp_path, "state")
    async with open_outbox(first / "relay.db") as outbox:
        batch = [told(number, f"c{number}") for number in range(1, MANY + 1)]
        await outbox.take_in(intake(*batch), 10)
    async with open_outbox(first / "relay.db") as outbox:
        await outbox.take_in(intake(told(MANY + 1, "late")), 10)
        await outbox.take_in(intake(told(MANY + 2, "later")), 10)
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{first / 'relay.db'}{suffix}", f"{place / 'relay.db'}{suffix}")
    return place


def scribble(file: Path) -> bytes:
    """Write over a page with deliveries; returns what the file then holds."""
    content = bytearray(file.read_bytes())
    pages = range(4096, len(content), 4096)
    at = max(pages, key=lambda page: content.count(b'"ntf_', page, page + 4096))
    content[at : at + 4096] = b"\xa5" * 4096
    file.write_bytes(content)
    return bytes(content)


async def test_a_broken_store_is_replaced_whenever_relay_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same deliveries and one loss, and the broken one is whole where that says."""
    place = await killed(tmp_path)
    broken, its_log = scribble(place / "relay.db"), (place / "relay.db-wal").read_bytes()
    with monkeypatch.context() as patch:
        snapshots = Snapshots(place, folder(tmp_path, "killed"), patch)
        left, _ = await opened(place)
    assert MANY - 20 < len(left) < MANY
    assert len(list(snapshots.since_ready())) >= 6
    for copy in snapshots.taken:
        found, (loss,) = await opened(copy)
        assert found == left
        aside = copy / loss.file.name
        assert aside.read_bytes() == broken
        assert Path(f"{aside}-wal").read_bytes() == its_log
        assert loss.carried == len(left)
        assert len(list(copy.glob("*.broken-*"))) <= 3


def replace(file: Path) -> None:
    file.unlink()
    file.write_text("somebody's")


def remove(suffix: str) -> Callable[[Path], None]:
    return lambda file: Path(f"{file}{suffix}").unlink()


@pytest.mark.parametrize(
    "harm", [remove(""), remove("-wal"), replace], ids=["db", "wal", "replaced"]
)
async def test_a_removed_store_is_restored_whenever_relay_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    """From the moment that the new file is ready nothing is lost, nor is what was in its place."""
    place = await killed(tmp_path)
    async with open_outbox(place / "relay.db") as outbox:
        harm(place / "relay.db")
        theirs = "somebody's" if harm is replace else None
        with monkeypatch.context() as patch:
            snapshots = Snapshots(place, folder(tmp_path, "killed"), patch)
            await outbox.pending()
    copies = list(snapshots.since_ready())
    assert len(copies) >= 3
    for copy in copies:
        assert await opened(copy) == (ALL, [])
        if theirs is not None:
            (displaced,) = (x for x in copy.glob("*.displaced-*") if x.name.endswith("Z"))
            assert displaced.read_text() == theirs


@pytest.mark.parametrize("step", range(5))
async def test_a_repair_that_fails_half_way_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """By the relay that began it, as soon as the disk lets it."""
    place = folder(tmp_path, "state")
    losses: list[Loss] = []

    def forget(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA shrink_memory")  # what was read before is read again

    async with open_outbox(place / "relay.db") as outbox:
        batch = [told(number, f"c{number}") for number in range(1, MANY + 1)]
        await outbox.take_in(intake(*batch), 10)
    async with open_outbox(place / "relay.db", on_loss=losses.append) as outbox:
        await outbox._committer.run(forget)
        broken = scribble(place / "relay.db")
        real, calls = Path.rename, iter(range(99))

        def rename(self: Path, target: Path) -> Path:
            if next(calls) == step:
                raise OSError(5, "Input/output error")
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)
        left = await numbers(outbox)
        assert next(calls) > step
        assert MANY - 20 < len(left) < MANY
        assert losses == await outbox.losses()
        assert len(losses) == 1
        assert losses[0].file.read_bytes() == broken
        assert list(place.glob("*.displaced-*")) == []
        assert outbox.state.reason is None


async def test_a_log_without_its_store_is_kept(tmp_path: Path) -> None:
    """A new store begins without it: SQLite would delete what is in it."""
    place = await killed(tmp_path)
    its_log = (place / "relay.db-wal").read_bytes()
    (place / "relay.db").unlink()
    assert await opened(place) == (set(), [])
    (log,) = place.glob("relay.db.displaced-*-wal")
    assert log.read_bytes() == its_log


async def test_what_is_set_aside_replaces_nothing(tmp_path: Path) -> None:
    """Though somebody put a file in the store's place between the kill and the next start."""
    files = Family(tmp_path / "relay.db")
    aside = files.free_name("broken")
    aside.write_text("broken")
    with files.making(aside) as fresh:
        fresh.write_text("new")
    (tmp_path / "relay.db").write_text("somebody's")
    displaced = await asyncio.to_thread(files.adopt)
    assert displaced is not None
    assert (aside.read_text(), displaced.read_text()) == ("broken", "somebody's")
    assert (tmp_path / "relay.db").read_text() == "new"


def test_another_stores_repair_is_its_own(tmp_path: Path) -> None:
    """A store in the same folder may have a name that begins like this one's."""
    other = Family(tmp_path / "relay.db.old")
    with other.making(other.free_name("broken")):
        pass
    assert other.ready is not None
    assert Family(tmp_path / "relay.db").ready is None
