"""A store that is broken: set aside, begun anew, and filled with what can still be read."""

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from relay.core.checkpoint import Bookmark, seen
from relay.core.container import Container
from relay.core.errors import StoreError
from relay.core.exchange import Dead, Delivered, Reason, Retry
from relay.store.faults import Loss
from relay.store.outbox import SqliteOutbox, open_outbox
from relay.store.records import Intake, Settled
from relay.store.schema import migrate
from tests.unit.store.samples import fill_version_1, intake, told

PAGE = 4096
MANY = 100
ALL = list(range(1, MANY + 1))
MARK = Bookmark(7, 3, seen(told(1).events[0].id, 5), 3, True, 5, "engine", (4, 6))
CONTAINER = Container("c1", name="web")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "relay.db"


@pytest.fixture
def losses() -> list[Loss]:
    """Those that were declared."""
    return []


async def fill(file: Path, about: str | None = None) -> None:
    """A store with many deliveries, a dead letter, a cursor and a container.

    The deliveries are all ``about`` one thing, or each about its own.
    """
    async with open_outbox(file) as outbox:
        await outbox.take_in(intake(told(0, "dead")), 10)
        (head,) = (await outbox.due("ops", 10, 9)).deliveries
        await outbox.settle([Settled(head, Dead(Reason.EXPIRED))], 10)
        batch = [(told(number, about or f"c{number}"), ["ops"]) for number in ALL]
        await outbox.take_in(Intake("here", MARK, batch, [CONTAINER]), 10)


def leaves(file: Path) -> list[int]:
    """The pages with deliveries in them, as offsets: leaves of a table begin with 13.

    See https://sqlite.org/fileformat2.html#b_tree_pages.
    """
    content = file.read_bytes()
    offsets = range(0, len(content), PAGE)
    return [
        at for at in offsets if content[at] == 13 and content.count(b'"ntf_', at, at + PAGE) > 1
    ]


def root(file: Path, name: str) -> int:
    """Where the first page of a table or an index is."""
    with closing(sqlite3.connect(file)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        (page,) = connection.execute(query, (name,)).fetchone()
    return int(page - 1) * PAGE


def scribble(file: Path, at: int, content: bytes = b"\xa5" * PAGE) -> bytes:
    """Write over a part of the file; returns what it then holds."""
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)
    return file.read_bytes()


def set_aside(file: Path) -> Path:
    """Where the broken store is."""
    (aside,) = (it for it in file.parent.glob("*.broken-*") if not it.name.endswith(("wal", "shm")))
    return aside


async def numbers(outbox: SqliteOutbox) -> list[int]:
    """What there is to deliver, in the order in which it is delivered."""
    found: list[int] = []
    while due := (await outbox.due("ops", 2**62, 9999)).deliveries:
        for delivery in due:
            found.append(delivery.notification.events[0].time_ns)
            await outbox.settle([Settled(delivery, Delivered())], 20)
    return found


async def reopened(file: Path, losses: list[Loss]) -> list[int]:
    """What is left to deliver."""
    async with open_outbox(file, on_loss=losses.append) as outbox:
        return await numbers(outbox)


async def test_what_can_be_read_is_carried_over(file: Path, losses: list[Loss]) -> None:
    """All but what was on the page; the broken file is kept as it was, and the loss is declared."""
    await fill(file)
    broken = scribble(file, leaves(file)[2])
    with capture_logs() as logs:
        async with open_outbox(file, on_loss=losses.append) as outbox:
            (loss,) = losses
            left = await numbers(outbox)
            assert await outbox.bookmark("here") == MARK
            assert await outbox.containers("here") == [CONTAINER]
    lost = sorted(set(ALL) - set(left))
    assert 0 < len(lost) < 20
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert set_aside(file).read_bytes() == broken
    assert loss == Loss(set_aside(file), len(left) + 1, loss.reason, number=1)
    assert re.fullmatch(r"relay\.db\.broken-\d{8}T\d{6}Z", loss.file.name)
    (line,) = logs
    assert (line["event"], line["set_aside"]) == ("store.broken", str(loss.file))
    assert (line["carried"], line["reason"]) == (loss.carried, loss.reason)


async def test_the_new_store_is_whole(file: Path, losses: list[Loss]) -> None:
    """The next start finds nothing wrong, and its user alone may read it."""
    await fill(file)
    scribble(file, leaves(file)[2])
    await reopened(file, losses)
    await reopened(file, losses)
    assert len(losses) == 1
    assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("which", [0, 2, -1])
async def test_nothing_waits_for_what_is_lost(file: Path, losses: list[Loss], which: int) -> None:
    """What comes after it about the same thing is delivered, in order."""
    await fill(file, about="web")
    scribble(file, leaves(file)[which])
    left = await reopened(file, losses)
    assert MANY - 20 < len(left) < MANY
    assert left == sorted(left)


async def test_attempts_and_times_are_carried_over(file: Path, losses: list[Loss]) -> None:
    """A delivery that was tried and failed is tried again when it was to be."""
    await fill(file)
    async with open_outbox(file) as outbox:
        first = (await outbox.due("ops", 10, 9)).deliveries[0]
        await outbox.settle([Settled(first, Retry(5, Reason.UNAVAILABLE))], 10)
    scribble(file, leaves(file)[2])
    async with open_outbox(file, on_loss=losses.append) as outbox:
        due = await outbox.due("ops", 10, 999)
        assert due.next_ns == 10 + 5 * 10**9
        again = (await outbox.due("ops", due.next_ns, 999)).deliveries[-1]
        assert (again.seq, again.attempts, again.created_ns) == (first.seq, 1, 10)


async def test_a_number_is_never_given_twice(file: Path, losses: list[Loss]) -> None:
    """Though neither the last rows nor the count can be read: one of those may be under way."""
    await fill(file)
    async with open_outbox(file) as outbox:
        last = (await outbox.due("ops", 10, 999)).deliveries[-1]
    scribble(file, leaves(file)[-1])
    scribble(file, root(file, "sqlite_sequence"))
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert len(losses) == 1
        receipt = await outbox.take_in(intake(told(999)), 20)
        assert receipt.seqs[0][0] > last.seq


async def test_what_is_no_notification_any_more_is_left_behind(
    file: Path, losses: list[Loss]
) -> None:
    """SQLite sees nothing wrong; it is found when it is due, while relay runs."""
    await fill(file)
    at = file.read_bytes().index(b'"ntf_', leaves(file)[2])
    scribble(file, at, b"\xff\xff")
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert losses == []
        left = await numbers(outbox)
        assert len(left) == MANY - 1
        assert len(losses) == 1
        await outbox.take_in(intake(told(MANY + 1)), 20)
        assert await numbers(outbox) == [MANY + 1]


async def test_broken_while_relay_runs(file: Path, losses: list[Loss]) -> None:
    """Whoever asked gets an answer out of the new store; what is under way can be settled."""

    def forget(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA shrink_memory")  # what was read before is read again

    await fill(file)
    async with open_outbox(file, on_loss=losses.append) as outbox:
        under_way = (await outbox.due("ops", 10, 2)).deliveries
        await outbox._committer.run(forget)
        scribble(file, leaves(file)[2])
        left = (await outbox.due("ops", 10, 999)).deliveries
        assert MANY - 20 < len(left) < MANY
        assert len(losses) == 1
        for delivery in under_way:
            await outbox.settle([Settled(delivery, Delivered())], 20)
        assert await outbox.pending() == {"ops": len(left) - 2}
        assert outbox.state.reason is None


async def test_a_log_goes_where_its_store_goes(
    file: Path, tmp_path: Path, losses: list[Loss]
) -> None:
    """What a killed relay left in it is carried over, and both are set aside together."""
    await fill(file)
    killed = tmp_path / "killed" / "relay.db"
    killed.parent.mkdir()
    async with open_outbox(file) as outbox:
        await outbox.take_in(intake(told(MANY + 1, "late")), 10)
        for suffix in ("", "-wal"):
            shutil.copy(f"{file}{suffix}", f"{killed}{suffix}")
    log = Path(f"{killed}-wal").read_bytes()
    scribble(killed, leaves(killed)[2])
    assert MANY + 1 in await reopened(killed, losses)
    assert Path(f"{set_aside(killed)}-wal").read_bytes() == log


async def test_a_store_of_an_older_version_is_carried_over(file: Path, losses: list[Loss]) -> None:
    """And brought up to date."""
    with closing(sqlite3.connect(file)) as connection:
        migrate(connection, 0, to=1)
        fill_version_1(connection)
    scribble(file, root(file, "deliveries_order"))
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert losses[0].carried == 2
        mark = await outbox.bookmark("here")
        assert mark is not None
        assert (mark.position_ns, mark.began_ns, mark.anchored) == (7, 3, True)
        assert await numbers(outbox) == [1, 2]


@pytest.mark.parametrize("size", [100, PAGE])
async def test_a_store_without_its_beginning_is_begun_anew(
    file: Path, losses: list[Loss], size: int
) -> None:
    """Nothing of it can be read, but what it was can still be seen."""
    await fill(file)
    broken = scribble(file, 0, b"\xa5" * size)
    assert await reopened(file, losses) == []
    assert losses[0].carried == 0
    assert set_aside(file).read_bytes() == broken


async def test_a_store_of_zeros_is_begun_anew(file: Path, losses: list[Loss]) -> None:
    """A power cut may leave one."""
    file.write_bytes(bytes(5 * PAGE))
    assert await reopened(file, losses) == []
    assert len(losses) == 1


async def test_a_store_that_was_cut_short(file: Path, losses: list[Loss]) -> None:
    """What was before the cut is carried over."""
    await fill(file)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 3 * PAGE)
    left = await reopened(file, losses)
    assert 0 < len(left) < MANY


async def test_the_way_to_all_deliveries_is_broken(file: Path, losses: list[Loss]) -> None:
    """Then they are lost; the cursor is not, and it ends."""
    await fill(file)
    scribble(file, root(file, "deliveries"))
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert await outbox.bookmark("here") == MARK
        assert losses[0].carried == 1


async def test_no_broken_store_is_written_over(file: Path, losses: list[Loss]) -> None:
    """Though two of them are set aside in one second."""
    for _ in range(3):
        await fill(file)
        scribble(file, leaves(file)[0])
        await reopened(file, losses)
    assert len({loss.file for loss in losses}) == 3
    assert all(loss.file.exists() for loss in losses)


async def test_a_loss_is_kept_until_it_is_declared(file: Path, losses: list[Loss]) -> None:
    """Over a restart, and over the next loss; a number is never that of an undeclared one."""
    for _ in range(2):
        await fill(file)
        scribble(file, leaves(file)[0])
        await reopened(file, losses)
    async with open_outbox(file) as outbox:
        first, second = await outbox.losses()
        assert losses == [first, first, second]
        await outbox.take_in(Intake("relay", None, [], declares=[first.number]), 10)
        assert await outbox.losses() == [second]
    async with open_outbox(file) as outbox:
        assert await outbox.losses() == [second]


async def test_a_loss_is_declared_in_one_commit_with_its_event(
    file: Path, losses: list[Loss]
) -> None:
    """If the event cannot be stored, the loss stays to be declared."""
    await fill(file)
    scribble(file, leaves(file)[0])
    async with open_outbox(file, on_loss=losses.append) as outbox:
        odd = msgspec.structs.replace(told(1), route=object())
        declaring = Intake("relay", None, [(odd, ["ops"])], declares=[losses[0].number])
        with pytest.raises(TypeError):
            await outbox.take_in(declaring, 10)
        assert await outbox.losses() == losses


async def test_the_count_of_what_was_given_up_is_carried_over(
    file: Path, losses: list[Loss]
) -> None:
    """It was not declared yet."""
    async with open_outbox(file, max_size=256 * 1024) as outbox:
        batch = [told(number, "x" * 3000) for number in range(400)]
        shed = (await outbox.take_in(intake(*batch), 10)).shed
    await fill(file)
    scribble(file, leaves(file)[0])
    async with open_outbox(file, on_loss=losses.append) as outbox:
        assert len(losses) == 1
        assert (await outbox.take_in(intake(), 10)).undeclared_shed == shed


_TEMPLATE: list[bytes] = []


def template() -> bytes:
    """A store's content, made once."""
    if not _TEMPLATE:
        with TemporaryDirectory() as folder:
            asyncio.run(fill(Path(folder) / "relay.db"))
            _TEMPLATE.append((Path(folder) / "relay.db").read_bytes())
    return _TEMPLATE[0]


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=3 * PAGE)),
        min_size=1,
        max_size=4,
    )
)
def test_whatever_is_scribbled_over_it(scribbles: list[tuple[float, bytes]]) -> None:
    """It is refused, or it takes in and gives back: nothing else happens."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "relay.db"
        file.write_bytes(template())
        for share, content in scribbles:
            scribble(file, int(share * len(template())), content)
        asyncio.run(_refused_or_works(file))


async def _refused_or_works(file: Path) -> None:
    try:
        async with open_outbox(file) as outbox:
            await outbox.bookmark("here")
            await outbox.containers("here")
            await outbox.take_in(intake(told(MANY + 1), bookmark=MARK), 20)
            assert MANY + 1 in await numbers(outbox)
            assert outbox.state.reason is None
    except StoreError:
        pass
