"""Many rows at once lead to the same content as one by one."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import groupby

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import HEARTBEAT, RELAY_ENGINE, make_self_event
from relay.core.exchange import Answer, Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import Notification, build_notification
from relay.store import acks, deliveries, enqueue, quota, schema
from relay.store.enqueue import EnqueueOptions
from relay.store.records import Ack, CommitResult, Delivery, IngestCommit, Quota
from relay.store.schema import MAX_ROWS, SQL, migrate
from tests.unit.store.samples import make_notification, make_update, with_include

TO = ("ops", "audit", "free")
OPTIONS = EnqueueOptions(10, unordered=("free",))
UNLIMITED = Quota(2**30, "drop-oldest")
LATER_NS = 20
FAR_NS = 10**18

Batch = Sequence[tuple[Notification, Sequence[str]]]
Rows = list[tuple[object, ...]]


def heartbeat(number: int) -> Notification:
    """A heartbeat of relay's, the ``number``-th."""
    return build_notification(
        "own", make_self_event(HEARTBEAT, engine=RELAY_ENGINE, host="h", time_ns=number)
    )


def open_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, 0)
    return connection


def dump(connection: sqlite3.Connection) -> list[Rows]:
    """Return all rows of deliveries, dead letters, pauses, sequences and counters."""
    tables = ("deliveries", "dead_letters", "pauses", "sqlite_sequence", "counters")
    return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def build_batch(kinds: Sequence[tuple[str, Sequence[str], int]]) -> Batch:
    """A batch: for each notification its kind, its destinations and its size."""
    batch = []
    for number, (about, to, size) in enumerate(kinds):
        match about:
            case "beat":
                one = heartbeat(number)
            case "held":
                one = with_include(make_notification(number))
            case "told":
                one = make_update(number)
            case _:
                one = make_notification(number, about)
        batch.append((msgspec.structs.replace(one, route="r" * size), to))
    return batch


_to = st.lists(st.sampled_from(TO), unique=True)
_kinds = st.tuples(
    st.sampled_from(["a", "b\0", "c'", "web", "held", "beat", "told"]), _to, st.just(9)
)
_batches = st.lists(_kinds, max_size=20).map(build_batch)
_small_kinds = st.tuples(st.sampled_from(["a", "b", "told"]), _to, st.integers(0, 6000))
_large = st.lists(_small_kinds, max_size=40).map(build_batch)


def commit(
    batch: Batch,
    limits: Quota,
    connection: sqlite3.Connection,
    used: quota.UsedSpace | None = None,
) -> CommitResult:
    result, _ = quota.add_within_quota(
        IngestCommit("here", None, batch), limits, OPTIONS, used or quota.UsedSpace(), connection
    )
    return result


def fetch_due_seqs(connection: sqlite3.Connection, now_ns: int = OPTIONS.now_ns) -> set[int]:
    found = (deliveries.fetch_due(to, now_ns, 10_000, [], 2**62, connection) for to in TO)
    return {row.seq for each in found for row in each.rows}


@given(_batches, _batches)
def test_a_batch_is_added_as_its_notifications_one_by_one(first: Batch, second: Batch) -> None:
    """The same rows and numbers, and the result lists those that are due at once and no others.

    A heartbeat among other events may be missing from it.
    """
    with closing(open_memory()) as whole, closing(open_memory()) as single:
        for batch in (first, second):
            before = fetch_due_seqs(whole)
            result = commit(batch, UNLIMITED, whole)
            parts = [commit([each], UNLIMITED, single) for each in batch]
            assert list(result.seqs) == [part.seqs[0] for part in parts]
            assert dump(whole) == dump(single)
            found = fetch_due_seqs(whole) - before
            assert result.due <= found
            if not any(enqueue.prepare(*each, OPTIONS).is_heartbeat for each in batch):
                assert result.due == found


@given(st.integers(1, MAX_ROWS + 99))
def test_the_numbers_of_a_batch_belong_to_its_deliveries(count: int) -> None:
    """Each number of the result is that of its delivery, however many statements insert them."""
    batch = [(make_notification(number, str(number)), TO[:2]) for number in range(count)]
    with closing(open_memory()) as connection:
        connection.execute("INSERT INTO sqlite_sequence VALUES ('deliveries', 1000000)")
        result = commit(batch, UNLIMITED, connection)
        for (notification, to), seqs in zip(batch, result.seqs, strict=True):
            kept = [connection.execute(_ONE, (seq,)).fetchone() for seq in seqs]
            assert kept == [(msgspec.json.encode(notification), each) for each in to]
    assert [seq for seqs in result.seqs for seq in seqs] == [
        1000001 + number for number in range(2 * count)
    ]


_ONE = "SELECT notification, destination FROM deliveries WHERE seq = ?"


@given(st.lists(_large, max_size=5), st.integers(60, 500), st.booleans())
def test_a_batch_evicts_the_same_as_its_notifications_one_by_one(
    batches: Sequence[Batch], max_kib: int, oldest: bool
) -> None:
    """It evicts the same whether the size is estimated for the batch or measured after each."""
    limits = Quota(max_kib * 1024, "drop-oldest" if oldest else "drop-new")
    with closing(open_memory()) as whole, closing(open_memory()) as measured:
        for batch in batches:
            result = commit(batch, limits, whole)
            prepared = [enqueue.prepare(*each, OPTIONS) for each in batch]
            evicted = quota.Evicted()
            added = quota._add_evicting(prepared, limits, evicted, OPTIONS.now_ns, measured)
            _, _, undeclared = quota._measure(whole)
            assert result.undeclared_evictions == undeclared
            assert result.evicted == len(evicted.seqs)
            assert list(result.evicted_messages) == evicted.messages
            assert result.due == added.due - evicted.seqs
            assert dump(whole)[:-1] == dump(measured)[:-1]


@given(st.lists(_large, min_size=1, max_size=8))
def test_a_store_grows_by_no_more_than_estimated(batches: Sequence[Batch]) -> None:
    """The estimate holds whatever is in the store: otherwise a batch could exceed the quota."""
    with closing(open_memory()) as connection:
        for batch in batches:
            prepared = [enqueue.prepare(*each, OPTIONS) for each in batch]
            before, page_size, _ = quota._measure(connection)
            enqueue.add(prepared, connection)
            after, _, _ = quota._measure(connection)
            assert after - before <= quota._max_growth_pages(prepared, page_size)


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
def test_many_are_acknowledged_as_one_by_one(
    first: Batch, second: Batch, chosen: Sequence[tuple[int, Outcome, Answer | None]]
) -> None:
    """Acknowledging many at once gives the same result, with held, deleted and repeated ones."""
    with closing(open_memory()) as whole, closing(open_memory()) as single:
        for connection in (whole, single):
            commit(first, UNLIMITED, connection)
        known = _all_deliveries(whole)
        for connection in (whole, single):
            commit(second, UNLIMITED, connection)
        known.update(_all_deliveries(whole))
        all_ = list(known.values())
        settled = [
            Ack(all_[number], outcome, answer)
            for number, outcome, answer in chosen
            if number < len(all_)
        ]
        acks.settle(settled, UNLIMITED, LATER_NS, whole)
        for one in settled:
            acks.settle([one], UNLIMITED, LATER_NS, single)
        assert dump(whole) == dump(single)


@given(st.lists(st.integers(0, 8), unique=True, max_size=9), _batches)
def test_the_successors_of_delivered_ones_are_released(places: Sequence[int], batch: Batch) -> None:
    """The next one of each chain, and no others."""
    with closing(open_memory()) as whole:
        commit(batch, UNLIMITED, whole)
        heads = sorted(fetch_due_seqs(whole))
        known = _all_deliveries(whole)
        settled = [Ack(known[heads[it]], Delivered()) for it in places if it < len(heads)]
        before = fetch_due_seqs(whole, FAR_NS)
        acks.settle(settled, UNLIMITED, LATER_NS, whole)
        now_due = fetch_due_seqs(whole, FAR_NS) - before
        left = known.keys() - {ack.delivery.seq for ack in settled}
        first_left = [
            min((seq for seq in left if known[seq].chain == ack.delivery.chain), default=None)
            for ack in settled
        ]
        assert now_due == {seq for seq in first_left if seq is not None} - before


def _all_deliveries(connection: sqlite3.Connection) -> dict[int, Delivery]:
    """Return all waiting deliveries, due or not."""
    query = "SELECT seq, destination, notification, created_ns, attempts, chain FROM deliveries"
    return {
        seq: Delivery(seq, to, deliveries.decode_notification(content), made_ns, attempts, chain)
        for seq, to, content, made_ns, attempts, chain in connection.execute(query)
    }


def _count_statements(work: Callable[[], object], connection: sqlite3.Connection) -> int:
    """Return how many statements SQLite runs during a call.

    A trigger is a part of its statement, which is reported once more for each row.
    """
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    work()
    connection.set_trace_callback(None)
    return sum(1 for _ in groupby(seen))


def test_few_statements_are_needed() -> None:
    """Two statements insert hundreds of rows, and two delete them."""
    batch = [(make_notification(number, str(number)), ["ops"]) for number in range(300)]
    used = quota.UsedSpace()
    with closing(open_memory()) as connection:
        commit(batch[:1], UNLIMITED, connection, used)  # this one measures
        assert (
            _count_statements(lambda: commit(batch[1:], UNLIMITED, connection, used), connection)
            == 2
        )
        fetched = deliveries.fetch_due("ops", 10, 300, [], 2**62, connection)
        ready = fetched.with_long({}).deliveries
        done = [Ack(delivery, Delivered()) for delivery in ready]
        assert (
            _count_statements(lambda: acks.settle(done, UNLIMITED, 20, connection), connection) == 2
        )
        assert connection.execute(SQL["backlog"]).fetchall() == []


def test_the_size_of_each_notification_is_returned() -> None:
    """It is that of the stored JSON, whether or not there are destinations."""
    batch = [(make_notification(1, "ü"), TO), (make_notification(2), ())]
    with closing(open_memory()) as connection:
        result = commit(batch, UNLIMITED, connection)
        assert list(result.sizes) == [len(msgspec.json.encode(each)) for each, _ in batch]


@given(st.lists(st.tuples(_large, st.booleans()), max_size=8), st.integers(100, 3000))
def test_the_bound_of_the_used_space_holds(
    steps: Sequence[tuple[Batch, bool]], max_kib: int
) -> None:
    """It is never less than what is used, so that measuring less often evicts the same."""
    limits, used = Quota(max_kib * 1024, "drop-oldest"), quota.UsedSpace()
    with closing(open_memory()) as bound, closing(open_memory()) as measured:
        for batch, settled in steps:
            result = commit(batch, limits, bound, used)
            assert result == commit(batch, limits, measured)
            pages, _, _ = quota._measure(bound)
            assert used._connection is None or pages <= used._max_pages
            if settled:
                for connection in (bound, measured):
                    for delivery in list(_all_deliveries(connection).values())[::2]:
                        dead = Ack(delivery, Dead(Reason.REFUSED), Answer(500, "x" * 4000))
                        acks.settle([dead], limits, LATER_NS, connection)


def test_a_failed_insert_does_not_lower_the_bound() -> None:
    """Nothing is known about a transaction until it is committed."""
    batch = [(make_notification(number, str(number)), ["ops"]) for number in range(9)]
    used = quota.UsedSpace()
    with closing(open_memory()) as connection:
        commit([], UNLIMITED, connection, used)
        for _ in range(3):
            connection.execute("PRAGMA query_only = 1")
            with pytest.raises(sqlite3.OperationalError):
                commit(batch, UNLIMITED, connection, used)
            connection.execute("PRAGMA query_only = 0")
            commit(batch, UNLIMITED, connection, used)
            pages, _, _ = quota._measure(connection)
            assert pages <= used._max_pages


@given(st.integers(1, MAX_ROWS))
def test_statements_have_few_sizes(count: int) -> None:
    """Each size is compiled once and stays in memory, so there are few; none is much too large."""
    size = schema._round_up(count)
    assert count <= size <= MAX_ROWS
    assert size < 2 * count
    assert schema._round_up(size) == size
    assert len({schema._round_up(each) for each in range(1, MAX_ROWS + 1)}) < 30
