"""Repairs of a store's files, killed at every step and completed by the next start."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from relay.store import files as family
from relay.store.faults import StoreLoss
from relay.store.files import DatabaseFiles
from relay.store.outbox import open_outbox
from tests.unit.store.samples import deliver_all, make_commit, make_notification, overwrite_page

MANY = 100
ALL = set(range(1, MANY + 3))


class Snapshots:
    """Copies of the folder, one before each rename: what a kill at that step would leave."""

    def __init__(self, folder: Path, to: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder, self._to = folder, to
        self.copies: list[Path] = []
        self._patch = patch
        for method in ("rename", "unlink"):
            self._watch(Path, method)
        self._watch(family, "_fsync")

    def take(self) -> None:
        copy = self._to / str(len(self.copies))
        shutil.copytree(self._folder, copy)
        self.copies.append(copy)

    def _watch(self, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            self.take()
            return real(*arguments, **options)

        self._patch.setattr(owner, name, watched)

    def since_ready(self) -> Iterator[Path]:
        """Return the copies made once the new file was pending."""
        seen = False
        for copy in self.copies:
            seen = seen or DatabaseFiles(copy / "relay.db").pending_replacement is not None
            if seen:
                yield copy


def make_folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


async def reopen(place: Path) -> tuple[set[int], list[StoreLoss]]:
    """Start again: return the deliveries and losses, and check that the file is sound."""
    async with open_outbox(place / "relay.db") as outbox:
        result = set(await deliver_all(outbox)), await outbox.losses()
    with closing(sqlite3.connect(place / "relay.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert DatabaseFiles(place / "relay.db").pending_replacement is None
    return result


async def make_killed_store(tmp_path: Path) -> Path:
    """A store with many deliveries, whose last change is only in its log."""
    first, place = make_folder(tmp_path, "first"), make_folder(tmp_path, "state")
    async with open_outbox(first / "relay.db") as outbox:
        batch = [make_notification(number, f"c{number}") for number in range(1, MANY + 1)]
        await outbox.commit(make_commit(*batch), 10)
    async with open_outbox(first / "relay.db") as outbox:
        await outbox.commit(make_commit(make_notification(MANY + 1, "late")), 10)
        await outbox.commit(make_commit(make_notification(MANY + 2, "later")), 10)
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{first / 'relay.db'}{suffix}", f"{place / 'relay.db'}{suffix}")
    return place


async def test_a_corrupt_store_is_replaced_whenever_relay_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries and loss are the same, and the corrupt files are complete where the loss says."""
    place = await make_killed_store(tmp_path)
    broken, its_log = overwrite_page(place / "relay.db"), (place / "relay.db-wal").read_bytes()
    with monkeypatch.context() as patch:
        snapshots = Snapshots(place, make_folder(tmp_path, "killed"), patch)
        left, _ = await reopen(place)
    assert MANY - 20 < len(left) < MANY
    assert len(list(snapshots.since_ready())) >= 6
    for copy in snapshots.copies:
        found, (loss,) = await reopen(copy)
        assert found == left
        aside = copy / loss.file.name
        assert aside.read_bytes() == broken
        assert Path(f"{aside}-wal").read_bytes() == its_log
        assert loss.recovered == len(left)
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
    """Once the new file is pending nothing is lost, not even a file that was in its place."""
    place = await make_killed_store(tmp_path)
    async with open_outbox(place / "relay.db") as outbox:
        harm(place / "relay.db")
        theirs = "somebody's" if harm is replace else None
        with monkeypatch.context() as patch:
            snapshots = Snapshots(place, make_folder(tmp_path, "killed"), patch)
            await outbox.pending()
    copies = list(snapshots.since_ready())
    assert len(copies) >= 3
    for copy in copies:
        assert await reopen(copy) == (ALL, [])
        if theirs is not None:
            (displaced,) = (x for x in copy.glob("*.displaced-*") if x.name.endswith("Z"))
            assert displaced.read_text() == theirs


@pytest.mark.parametrize("step", range(5))
async def test_a_repair_that_fails_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The same relay completes a repair that failed, as soon as the disk works."""
    place = make_folder(tmp_path, "state")
    losses: list[StoreLoss] = []

    def forget(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA shrink_memory")  # so that all pages are read again

    async with open_outbox(place / "relay.db") as outbox:
        batch = [make_notification(number, f"c{number}") for number in range(1, MANY + 1)]
        await outbox.commit(make_commit(*batch), 10)
    async with open_outbox(place / "relay.db", on_loss=losses.append) as outbox:
        await outbox._writer.run(forget)
        broken = overwrite_page(place / "relay.db")
        real, calls = Path.rename, iter(range(99))

        def rename(self: Path, target: Path) -> Path:
            if next(calls) == step:
                raise OSError(5, "Input/output error")
            return real(self, target)

        monkeypatch.setattr(Path, "rename", rename)
        left = set(await deliver_all(outbox))
        assert next(calls) > step
        assert MANY - 20 < len(left) < MANY
        assert losses == await outbox.losses()
        assert len(losses) == 1
        assert losses[0].file.read_bytes() == broken
        assert list(place.glob("*.displaced-*")) == []
        assert outbox.status.reason is None


async def test_a_log_without_its_database_is_moved_aside(tmp_path: Path) -> None:
    """A log without its database is moved aside: SQLite would delete it."""
    place = await make_killed_store(tmp_path)
    its_log = (place / "relay.db-wal").read_bytes()
    (place / "relay.db").unlink()
    assert await reopen(place) == (set(), [])
    (log,) = place.glob("relay.db.displaced-*-wal")
    assert log.read_bytes() == its_log


async def test_a_file_that_is_moved_aside_overwrites_nothing(tmp_path: Path) -> None:
    """A file that appeared at the store's path after the kill is moved aside under another name."""
    files = DatabaseFiles(tmp_path / "relay.db")
    aside = files.unused_name("broken")
    aside.write_text("broken")
    with files.build_replacement(aside) as fresh:
        fresh.write_text("new")
    (tmp_path / "relay.db").write_text("somebody's")
    displaced = await asyncio.to_thread(files.promote)
    assert displaced is not None
    assert (aside.read_text(), displaced.read_text()) == ("broken", "somebody's")
    assert (tmp_path / "relay.db").read_text() == "new"


def test_another_stores_replacement_is_ignored(tmp_path: Path) -> None:
    """The replacement of a store whose name begins like this one's is ignored."""
    other = DatabaseFiles(tmp_path / "relay.db.old")
    with other.build_replacement(other.unused_name("broken")):
        pass
    assert other.pending_replacement is not None
    assert DatabaseFiles(tmp_path / "relay.db").pending_replacement is None
