"""Many at once come to the same as one by one."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import HEARTBEAT, OWN_ENGINE, happening
from relay.core.exchange import Answer, Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import Notification, notify
from relay.store import deliveries, enqueue, quota, settle
from relay.store.enqueue import Adding
from relay.store.records import Delivery, Intake, Receipt, Room, Settled
from relay.store.schema import migrate
from relay.store.sql import ROWS_MOST, SQL
from tests.unit.store.samples import held, told

TO = ("ops", "audit", "free")
HOW = Adding(10, unordered=("free",))
WIDE = Room(2**30, "drop-oldest")
LATER_NS = 20

Batch = Sequence[tuple[Notification, Sequence[str]]]
Rows = list[tuple[object, ...]]


def heartbeat(number: int) -> Notification:
    """One of relay's, the ``number``-th."""
    return notify("own", happening(HEARTBEAT, engine=OWN_ENGINE, host="h", time_ns=number))


def opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, 0)
    return connection


def content(connection: sqlite3.Connection) -> list[Rows]:
    """All that is kept of deliveries, dead letters, pauses and numbers."""
    tables = ("deliveries", "dead_letters", "pauses", "sqlite_sequence", "counters")
    return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def named(kinds: Sequence[tuple[str, Sequence[str], int]]) -> Batch:
    """A batch: what each is about, where it goes, and how large it is."""
    batch = []
    for number, (about, to, size) in enumerate(kinds):
        match about:
            case "beat":
                one = heartbeat(number)
            case "held":
                one = held(told(number))
            case _:
                one = told(number, about)
        batch.append((msgspec.structs.replace(one, route="r" * size), to))
    return batch


_to = st.lists(st.sampled_from(TO), unique=True)
_kinds = st.tuples(st.sampled_from(["a", "b\0", "c'", "web", "held", "beat"]), _to, st.just(9))
_batches = st.lists(_kinds, max_size=20).map(named)
_plain = st.tuples(st.sampled_from("abc"), _to, st.integers(0, 6000))
_large = st.lists(_plain, max_size=40).map(named)


def taken_in(batch: Batch, bound: Room, connection: sqlite3.Connection) -> Receipt:
    receipt, _ = quota.store(Intake("here", None, batch), bound, HOW, connection)
    return receipt


def due(connection: sqlite3.Connection) -> set[int]:
    found = (deliveries.due(to, HOW.now_ns, 10_000, [], connection) for to in TO)
    return {delivery.seq for each in found for delivery in each.deliveries}


@given(_batches, _batches)
def test_a_batch_is_added_as_its_notifications_one_by_one(first: Batch, second: Batch) -> None:
    """The same rows and numbers; those of each that are due at once are told,
    and no others; heartbeats among others may not be."""
    with closing(opened()) as whole, closing(opened()) as single:
        for batch in (first, second):
            before = due(whole)
            receipt = taken_in(batch, WIDE, whole)
            parts = [taken_in([each], WIDE, single) for each in batch]
            assert list(receipt.seqs) == [part.seqs[0] for part in parts]
            assert content(whole) == content(single)
            found = due(whole) - before
            assert receipt.due <= found
            if not any(enqueue.write(*each, HOW).heartbeat for each in batch):
                assert receipt.due == found


@given(st.integers(1, 3 * ROWS_MOST))
def test_the_numbers_of_a_batch_are_its_own(count: int) -> None:
    """However many statements it takes: each number leads to its notification, in their order."""
    batch = [(told(number, str(number)), TO[:2]) for number in range(count)]
    with closing(opened()) as connection:
        connection.execute("INSERT INTO sqlite_sequence VALUES ('deliveries', 1000000)")
        receipt = taken_in(batch, WIDE, connection)
        for (notification, to), seqs in zip(batch, receipt.seqs, strict=True):
            kept = [connection.execute(_ONE, (seq,)).fetchone() for seq in seqs]
            assert kept == [(msgspec.json.encode(notification), each) for each in to]
    assert [seq for seqs in receipt.seqs for seq in seqs] == [
        1000001 + number for number in range(2 * count)
    ]


_ONE = "SELECT notification, destination FROM deliveries WHERE seq = ?"


@given(st.lists(_large, max_size=5), st.integers(60, 500), st.booleans())
def test_a_full_store_does_not_know_how_it_was_filled(
    batches: Sequence[Batch], most_kib: int, oldest: bool
) -> None:
    """What a batch makes it give up is the same whether it was looked at before or all along."""
    bound = Room(most_kib * 1024, "drop-oldest" if oldest else "drop-new")
    with closing(opened()) as whole, closing(opened()) as looked_at:
        for batch in batches:
            receipt = taken_in(batch, bound, whole)
            written = [enqueue.write(*each, HOW) for each in batch]
            shed = quota.Shed()
            added = quota._squeeze_in(written, bound, shed, HOW.now_ns, looked_at)
            _, _, untold = quota._standing(whole)
            assert receipt.undeclared_shed == untold
            assert receipt.shed == len(shed.seqs)
            assert receipt.due == added.due - shed.seqs
            assert content(whole)[:-1] == content(looked_at)[:-1]


@given(st.lists(_large, min_size=1, max_size=8))
def test_a_store_grows_by_less_than_is_expected(batches: Sequence[Batch]) -> None:
    """Whatever is in it: else a batch that was to fit would burst the bound."""
    with closing(opened()) as connection:
        for batch in batches:
            written = [enqueue.write(*each, HOW) for each in batch]
            before, page_size, _ = quota._standing(connection)
            enqueue.add(written, connection)
            after, _, _ = quota._standing(connection)
            assert after - before <= quota._grows_by(written, page_size)


_outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Delivered, pause_s=st.sampled_from([0.0, 0.0, 5.0, 60.0])),
    st.builds(Delivered),
    st.builds(Delivered),
    st.builds(Dead, st.just(Reason.REFUSED), pause_s=st.sampled_from([0.0, 7.0])),
    st.builds(Retry, st.integers(0, 5).map(float), st.just(Reason.UNAVAILABLE)),
)
_answers = st.sampled_from([None, Answer(500, "x" * 300)])
_choices = st.lists(st.tuples(st.integers(0, 60), _outcomes, _answers), max_size=30)


@given(_batches, _batches, _choices)
def test_many_are_settled_as_one_by_one(
    first: Batch, second: Batch, chosen: Sequence[tuple[int, Outcome, Answer | None]]
) -> None:
    """Those of one subject, held ones and ones that are gone among them, some of them twice."""
    with closing(opened()) as whole, closing(opened()) as single:
        for connection in (whole, single):
            taken_in(first, WIDE, connection)
        known = _known(whole)
        for connection in (whole, single):
            taken_in(second, WIDE, connection)
        known.update(_known(whole))
        all_ = list(known.values())
        settled = [
            Settled(all_[number], outcome, answer)
            for number, outcome, answer in chosen
            if number < len(all_)
        ]
        told_of = settle.settle(settled, WIDE, LATER_NS, whole)
        each = [settle.settle([one], WIDE, LATER_NS, single) for one in settled]
        assert content(whole) == content(single)
        assert told_of >= set().union(*each)


@given(st.lists(st.integers(0, 8), unique=True, max_size=9), _batches)
def test_who_is_told_of_many_is_told_of_one(places: Sequence[int], batch: Batch) -> None:
    """A destination whose lines had nothing behind what was delivered is not woken."""
    with closing(opened()) as whole, closing(opened()) as single:
        for connection in (whole, single):
            taken_in(batch, WIDE, connection)
        heads = sorted(due(whole))
        known = _known(whole)
        settled = [Settled(known[heads[it]], Delivered()) for it in places if it < len(heads)]
        each = [settle.settle([one], WIDE, LATER_NS, single) for one in settled]
        assert settle.settle(settled, WIDE, LATER_NS, whole) == set().union(*each)


def _known(connection: sqlite3.Connection) -> dict[int, Delivery]:
    """All that wait, due or not."""
    query = "SELECT seq, destination, notification, created_ns, attempts FROM deliveries"
    return {
        seq: Delivery(seq, to, deliveries.read_notification(notification), made_ns, attempts)
        for seq, to, notification, made_ns, attempts in connection.execute(query)
    }


def _steps(work: Callable[[], object], connection: sqlite3.Connection) -> int:
    """How many statements it takes."""
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    work()
    connection.set_trace_callback(None)
    return len(seen)


def test_few_statements_do_it() -> None:
    """Hundreds are added in a dozen, and removed in two."""
    batch = [(told(number, str(number)), ["ops"]) for number in range(300)]
    with closing(opened()) as connection:
        assert _steps(lambda: taken_in(batch, WIDE, connection), connection) < 16
        ready = deliveries.due("ops", 10, 300, [], connection).deliveries
        done = [Settled(delivery, Delivered()) for delivery in ready]
        assert _steps(lambda: settle.settle(done, WIDE, 20, connection), connection) == 2
        assert connection.execute(SQL["backlog"]).fetchall() == []
