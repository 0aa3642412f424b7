"""A corrupt store is moved aside and rebuilt from what can still be read."""

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay.core.checkpoint import Checkpoint, encode_seen
from relay.core.container import Container
from relay.core.errors import StoreError
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.store import recovery
from relay.store.faults import StoreLoss
from relay.store.outbox import open_outbox
from relay.store.records import Ack, IngestCommit
from relay.store.schema import migrate
from tests.support.profiles import examples
from tests.unit.store.samples import deliver_all, fill_version_1, make_commit, make_notification

PAGE = 4096
MANY = 100
ALL = list(range(1, MANY + 1))
CHECKPOINT = Checkpoint(
    7, 3, encode_seen(make_notification(1).events[0].id, 5), 3, True, 5, "engine", (4, 6)
)
CHECKPOINT = msgspec.structs.replace(CHECKPOINT, sealed=(b"x" * 768, b"y" * 768), sealed_count=2)
CONTAINER = Container("c1", name="web", started_ns=4, oom_ns=5)
ROWS = {("incident", "web"): b'{"id":"inc_1"}', ("group", "shop"): b"{}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be created."""
    return tmp_path / "relay.db"


@pytest.fixture
def losses() -> list[StoreLoss]:
    """The losses that were reported."""
    return []


async def fill(file: Path, container: str | None = None) -> None:
    """Make a store with many deliveries, a dead letter, a cursor, a container and incidents.

    The deliveries are all about one ``container``, or each about its own.
    """
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_notification(0, "dead")), 10)
        *_, head = (await outbox.fetch_due("ops", 10, 9)).deliveries
        await outbox.ack([Ack(head, Dead(Reason.EXPIRED))], 10, flush=True)
        batch = [(make_notification(number, container or f"c{number}"), ["ops"]) for number in ALL]
        commit = IngestCommit("here", CHECKPOINT, batch, [CONTAINER], incident_rows=ROWS)
        await outbox.commit(commit, 10)


def leaf_offsets(file: Path) -> list[int]:
    """The offsets of the pages with deliveries: leaves of a table begin with 13.

    See https://sqlite.org/fileformat2.html#b_tree_pages.
    """
    content = file.read_bytes()
    offsets = range(0, len(content), PAGE)
    return [
        at for at in offsets if content[at] == 13 and content.count(b'"ntf_', at, at + PAGE) > 1
    ]


def root_offset(file: Path, name: str) -> int:
    """The offset of the root page of a table or an index."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = connection.execute(query, (name,)).fetchone()
    return int(page - 1) * PAGE


def overwrite(file: Path, at: int, content: bytes = b"\xa5" * PAGE) -> bytes:
    """Overwrite a part of the file; return its new content."""
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)
    return file.read_bytes()


def find_set_aside(file: Path) -> Path:
    """The path of the corrupt store."""
    (aside,) = (it for it in file.parent.glob("*.broken-*") if not it.name.endswith(("wal", "shm")))
    return aside


async def reopen(file: Path, losses: list[StoreLoss]) -> list[int]:
    """Open the store and deliver everything that is left."""
    async with open_outbox(file, on_loss=losses.append) as outbox:
        return await deliver_all(outbox)


async def test_readable_rows_are_recovered(file: Path, losses: list[StoreLoss]) -> None:
    """Rows outside the damaged page are recovered, the corrupt file is kept, the loss reported."""
    await fill(file)
    corrupt = overwrite(file, leaf_offsets(file)[2])
    with capture_logs() as logs:
        async with open_outbox(file, on_loss=losses.append) as outbox:
            (loss,) = losses
            left = await deliver_all(outbox)
            assert await outbox.checkpoint("here") == CHECKPOINT
            assert await outbox.containers("here", list) == [CONTAINER]
            assert {row[:2]: row[2] for row in await outbox.incident_rows()} == ROWS
    lost = sorted(set(ALL) - set(left))
    assert 0 < len(lost) < 20
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert find_set_aside(file).read_bytes() == corrupt
    assert loss == StoreLoss(find_set_aside(file), len(left) + 1, loss.reason, number=1)
    assert re.fullmatch(r"relay\.db\.broken-\d{8}T\d{6}Z", loss.file.name)
    (line,) = logs
    assert (line["event"], line["set_aside"]) == ("store.broken", str(loss.file))
    assert (line["carried"], line["reason"]) == (loss.recovered, loss.reason)


async def test_the_rebuilt_store_is_sound(file: Path, losses: list[StoreLoss]) -> None:
    """The next start finds nothing wrong, and only its user may read it."""
    await fill(file)
    overwrite(file, leaf_offsets(file)[2])
    await reopen(file, losses)
    await reopen(file, losses)
    assert len(losses) == 1
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("which", [0, 2, -1])
async def test_no_delivery_waits_for_a_lost_one(
    file: Path, losses: list[StoreLoss], which: int
) -> None:
    """Deliveries behind a lost one about the same subject are delivered, in order."""
    await fill(file, container="web")
    overwrite(file, leaf_offsets(file)[which])
    left = await reopen(file, losses)
    assert MANY - 20 < len(left) < MANY
    assert left == sorted(left)


async def test_attempts_and_times_are_recovered(file: Path, losses: list[StoreLoss]) -> None:
    """Attempts are recovered, and a retry is due at its former time."""
    await fill(file)
    async with open_outbox(file) as outbox:
        first = (await outbox.fetch_due("ops", 10, 9)).deliveries[0]
        await outbox.ack([Ack(first, Retry(5, Reason.UNAVAILABLE))], 10, flush=True)
    overwrite(file, leaf_offsets(file)[2])
    async with open_outbox(file, on_loss=losses.append) as outbox:
        due = await outbox.fetch_due("ops", 10, 999)
        assert due.next_due_ns == 10 + 5 * 10**9
        again = (await outbox.fetch_due("ops", due.next_due_ns, 999)).deliveries[-1]
        assert (again.seq, again.attempts, again.created_ns) == (first.seq, 1, 10)


async def test_a_number_is_never_used_twice(file: Path, losses: list[StoreLoss]) -> None:
    """Lost numbers are not used again, even if neither last rows nor sequence can be read."""
    await fill(file)
    async with open_outbox(file) as outbox:
        last = (await outbox.fetch_due("ops", 10, 999)).deliveries[-1]
    overwrite(file, leaf_offsets(file)[-1])
    overwrite(file, root_offset(file, "sqlite_sequence"))
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert len(losses) == 1
        result = await outbox.commit(make_commit(make_notification(999)), 20)
        assert result.seqs[0][0] > last.seq


async def test_a_corrupt_notification_is_skipped(file: Path, losses: list[StoreLoss]) -> None:
    """SQLite does not detect a corrupt notification; relay does when it fetches it."""
    await fill(file)
    at = file.read_bytes().index(b'"ntf_', leaf_offsets(file)[2])
    overwrite(file, at, b"\xff\xff")
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert losses == []
        left = await deliver_all(outbox)
        assert len(left) == MANY - 1
        assert len(losses) == 1
        await outbox.commit(make_commit(make_notification(MANY + 1)), 20)
        assert await deliver_all(outbox) == [MANY + 1]


async def test_a_store_that_becomes_corrupt_while_relay_runs(
    file: Path, losses: list[StoreLoss]
) -> None:
    """The call returns its result from the rebuilt store; deliveries under way can be settled."""

    def forget(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA shrink_memory")  # so that all pages are read again

    await fill(file)
    async with open_outbox(file, on_loss=losses.append) as outbox:
        under_way = (await outbox.fetch_due("ops", 10, 2)).deliveries
        await outbox._writer.run(forget)
        overwrite(file, leaf_offsets(file)[2])
        left = (await outbox.fetch_due("ops", 10, 999)).deliveries
        assert MANY - 20 < len(left) < MANY
        assert len(losses) == 1
        for delivery in under_way:
            await outbox.ack([Ack(delivery, Delivered())], 20, flush=True)
        assert await outbox.pending() == {"ops": len(left) - 2}
        assert outbox.status.reason is None


async def test_a_log_is_moved_aside_with_its_database(
    file: Path, tmp_path: Path, losses: list[StoreLoss]
) -> None:
    """The commits in a killed relay's log are recovered."""
    await fill(file)
    killed = tmp_path / "killed" / "relay.db"
    killed.parent.mkdir()
    async with open_outbox(file) as outbox:
        await outbox.commit(make_commit(make_notification(MANY + 1, "late")), 10)
        for suffix in ("", "-wal"):
            shutil.copy(f"{file}{suffix}", f"{killed}{suffix}")
    log = Path(f"{killed}-wal").read_bytes()
    overwrite(killed, leaf_offsets(killed)[2])
    assert MANY + 1 in await reopen(killed, losses)
    assert Path(f"{find_set_aside(killed)}-wal").read_bytes() == log


async def test_a_store_of_an_older_version_is_recovered(
    file: Path, losses: list[StoreLoss]
) -> None:
    """A corrupt store of an older version is recovered and migrated."""
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=1)
        fill_version_1(connection)
    overwrite(file, root_offset(file, "deliveries_order"))
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert losses[0].recovered == 2
        checkpoint = await outbox.checkpoint("here")
        assert checkpoint is not None
        assert (checkpoint.position_ns, checkpoint.first_start_ns, checkpoint.is_continuous) == (
            7,
            3,
            True,
        )
        assert await deliver_all(outbox) == [1, 2]


@pytest.mark.parametrize("size", [100, PAGE])
async def test_a_store_without_its_header_is_rebuilt(
    file: Path, losses: list[StoreLoss], size: int
) -> None:
    """Nothing of it can be read, but it is recognised as a store of relay's."""
    await fill(file)
    corrupt = overwrite(file, 0, b"\xa5" * size)
    assert await reopen(file, losses) == []
    assert losses[0].recovered == 0
    assert find_set_aside(file).read_bytes() == corrupt


async def test_a_store_of_zeros_is_rebuilt(file: Path, losses: list[StoreLoss]) -> None:
    """A power cut may leave such a file."""
    file.write_bytes(bytes(5 * PAGE))
    assert await reopen(file, losses) == []
    assert len(losses) == 1


async def test_a_truncated_store_is_recovered(file: Path, losses: list[StoreLoss]) -> None:
    """The rows before the cut are recovered."""
    await fill(file)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 3 * PAGE)
    left = await reopen(file, losses)
    assert 0 < len(left) < MANY


async def test_a_lost_root_page_loses_its_table_only(file: Path, losses: list[StoreLoss]) -> None:
    """All deliveries are lost, but not the cursor; and the recovery ends."""
    await fill(file)
    overwrite(file, root_offset(file, "deliveries"))
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert await outbox.checkpoint("here") == CHECKPOINT
        assert losses[0].recovered == 1


async def test_corrupt_stores_never_overwrite_each_other(
    file: Path, losses: list[StoreLoss]
) -> None:
    """Even if several are moved aside within one second."""
    for _ in range(3):
        await fill(file)
        overwrite(file, leaf_offsets(file)[0])
        await reopen(file, losses)
    assert len({loss.file for loss in losses}) == 3
    assert all(loss.file.exists() for loss in losses)


async def test_a_loss_is_stored_until_it_is_declared(file: Path, losses: list[StoreLoss]) -> None:
    """Over a restart and over the next loss; undeclared losses have different numbers."""
    for _ in range(2):
        await fill(file)
        overwrite(file, leaf_offsets(file)[0])
        await reopen(file, losses)
    async with open_outbox(file) as outbox:
        first, second = await outbox.losses()
        assert losses == [first, first, second]
        await outbox.commit(IngestCommit("relay", None, [], declared_losses=[first.number]), 10)
        assert await outbox.losses() == [second]
    async with open_outbox(file) as outbox:
        assert await outbox.losses() == [second]


async def test_a_loss_is_declared_in_one_commit_with_its_event(
    file: Path, losses: list[StoreLoss]
) -> None:
    """If the event cannot be stored, the loss stays undeclared."""
    await fill(file)
    overwrite(file, leaf_offsets(file)[0])
    async with open_outbox(file, on_loss=losses.append) as outbox:
        odd = msgspec.structs.replace(make_notification(1), route=object())
        declaring = IngestCommit(
            "relay", None, [(odd, ["ops"])], declared_losses=[losses[0].number]
        )
        with pytest.raises(TypeError):
            await outbox.commit(declaring, 10)
        assert await outbox.losses() == losses


async def test_the_number_of_undeclared_evictions_is_recovered(
    file: Path, losses: list[StoreLoss]
) -> None:
    """No event has declared them yet."""
    async with open_outbox(file, max_size=256 * 1024) as outbox:
        batch = [make_notification(number, "x" * 3000) for number in range(400)]
        evicted = (await outbox.commit(make_commit(*batch), 10)).evicted
    await fill(file)
    overwrite(file, leaf_offsets(file)[0])
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert len(losses) == 1
        assert (await outbox.commit(make_commit(), 10)).undeclared_evictions == evicted


_TEMPLATE: list[bytes] = []


def template() -> bytes:
    """The content of a filled store, created once."""
    if not _TEMPLATE:
        with TemporaryDirectory() as folder:
            asyncio.run(fill(Path(folder) / "relay.db"))
            _TEMPLATE.append((Path(folder) / "relay.db").read_bytes())
    return _TEMPLATE[0]


@settings(max_examples=examples(50))
@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3 * PAGE)),
        min_size=1,
        max_size=4,
    )
)
def test_a_store_overwritten_at_random(scribbles: list[tuple[float, bytes]]) -> None:
    """It is refused, or it stores and returns deliveries: nothing else happens."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "relay.db"
        file.write_bytes(template())
        for share, content in scribbles:
            overwrite(file, int(share * len(template())), content)
        with patch.object(recovery, "MAX_FAILED_READS", 200):  # what is read does not matter here
            asyncio.run(_refused_or_usable(file))


def test_a_schema_that_is_no_utf8(tmp_path: Path) -> None:
    """SQLite's message quotes it, and Python cannot decode the message."""
    file = tmp_path / "relay.db"
    assert b"CREATE TABLE losses" in template()
    file.write_bytes(template().replace(b"CREATE TABLE losses", b"CREATE \x80ABLE losses"))
    asyncio.run(_refused_or_usable(file))
    assert list(tmp_path.glob("relay.db.broken-*"))


async def _refused_or_usable(file: Path) -> None:
    try:
        async with open_outbox(file) as outbox:
            await outbox.checkpoint("here")
            await outbox.containers("here", list)
            await outbox.incident_rows()
            await outbox.commit(make_commit(make_notification(MANY + 1), checkpoint=CHECKPOINT), 20)
            assert MANY + 1 in await deliver_all(outbox)
            assert outbox.status.reason is None
    except StoreError:
        pass
