"""Many at once come to the same as one by one."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from relay.core.event import HEARTBEAT, RELAY_ENGINE, make_self_event
from relay.core.exchange import Answer, Dead, Delivered, Outcome, Reason, Retry
from relay.core.notification import Notification, build_notification
from relay.store import deliveries, enqueue, quota, settle
from relay.store.enqueue import EnqueueOptions
from relay.store.records import Ack, CommitResult, Delivery, IngestCommit, Quota
from relay.store.schema import migrate
from relay.store.sql import MAX_ROWS, SQL
from tests.unit.store.samples import make_notification, with_include

TO = ("ops", "audit", "free")
OPTIONS = EnqueueOptions(10, unordered=("free",))
UNLIMITED = Quota(2**30, "drop-oldest")
LATER_NS = 20

Batch = Sequence[tuple[Notification, Sequence[str]]]
Rows = list[tuple[object, ...]]


def heartbeat(number: int) -> Notification:
    """One of relay's, the ``number``-th."""
    return build_notification(
        "own", make_self_event(HEARTBEAT, engine=RELAY_ENGINE, host="h", time_ns=number)
    )


def open_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, 0)
    return connection


def dump(connection: sqlite3.Connection) -> list[Rows]:
    """All that is kept of deliveries, dead letters, pauses and numbers."""
    tables = ("deliveries", "dead_letters", "pauses", "sqlite_sequence", "counters")
    return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]


def build_batch(kinds: Sequence[tuple[str, Sequence[str], int]]) -> Batch:
    """A batch: what each is about, where it goes, and how large it is."""
    batch = []
    for number, (about, to, size) in enumerate(kinds):
        match about:
            case "beat":
                one = heartbeat(number)
            case "held":
                one = with_include(make_notification(number))
            case _:
                one = make_notification(number, about)
        batch.append((msgspec.structs.replace(one, route="r" * size), to))
    return batch


_to = st.lists(st.sampled_from(TO), unique=True)
_kinds = st.tuples(st.sampled_from(["a", "b\0", "c'", "web", "held", "beat"]), _to, st.just(9))
_batches = st.lists(_kinds, max_size=20).map(build_batch)
_plain = st.tuples(st.sampled_from("abc"), _to, st.integers(0, 6000))
_large = st.lists(_plain, max_size=40).map(build_batch)


def commit(batch: Batch, limits: Quota, connection: sqlite3.Connection) -> CommitResult:
    receipt, _ = quota.add_within_quota(
        IngestCommit("here", None, batch), limits, OPTIONS, connection
    )
    return receipt


def fetch_due_seqs(connection: sqlite3.Connection) -> set[int]:
    found = (deliveries.fetch_due(to, OPTIONS.now_ns, 10_000, [], connection) for to in TO)
    return {delivery.seq for each in found for delivery in each.deliveries}


@given(_batches, _batches)
def test_a_batch_is_added_as_its_notifications_one_by_one(first: Batch, second: Batch) -> None:
    """The same rows and numbers; those of each that are due at once are told,
    and no others; heartbeats among others may not be."""
    with closing(open_memory()) as whole, closing(open_memory()) as single:
        for batch in (first, second):
            before = fetch_due_seqs(whole)
            receipt = commit(batch, UNLIMITED, whole)
            parts = [commit([each], UNLIMITED, single) for each in batch]
            assert list(receipt.seqs) == [part.seqs[0] for part in parts]
            assert dump(whole) == dump(single)
            found = fetch_due_seqs(whole) - before
            assert receipt.due <= found
            if not any(enqueue.prepare(*each, OPTIONS).is_heartbeat for each in batch):
                assert receipt.due == found


@given(st.integers(1, 3 * MAX_ROWS))
def test_the_numbers_of_a_batch_are_its_own(count: int) -> None:
    """However many statements it takes: each number leads to its notification, in their order."""
    batch = [(make_notification(number, str(number)), TO[:2]) for number in range(count)]
    with closing(open_memory()) as connection:
        connection.execute("INSERT INTO sqlite_sequence VALUES ('deliveries', 1000000)")
        receipt = commit(batch, UNLIMITED, connection)
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
    bound = Quota(most_kib * 1024, "drop-oldest" if oldest else "drop-new")
    with closing(open_memory()) as whole, closing(open_memory()) as looked_at:
        for batch in batches:
            receipt = commit(batch, bound, whole)
            written = [enqueue.prepare(*each, OPTIONS) for each in batch]
            shed = quota.Evicted()
            added = quota._add_evicting(written, bound, shed, OPTIONS.now_ns, looked_at)
            _, _, untold = quota._measure(whole)
            assert receipt.undeclared_evictions == untold
            assert receipt.evicted == len(shed.seqs)
            assert receipt.due == added.due - shed.seqs
            assert dump(whole)[:-1] == dump(looked_at)[:-1]


@given(st.lists(_large, min_size=1, max_size=8))
def test_a_store_grows_by_less_than_is_expected(batches: Sequence[Batch]) -> None:
    """Whatever is in it: else a batch that was to fit would burst the bound."""
    with closing(open_memory()) as connection:
        for batch in batches:
            written = [enqueue.prepare(*each, OPTIONS) for each in batch]
            before, page_size, _ = quota._measure(connection)
            enqueue.add(written, connection)
            after, _, _ = quota._measure(connection)
            assert after - before <= quota._max_growth_pages(written, page_size)


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
        told_of = settle.settle(settled, UNLIMITED, LATER_NS, whole)
        each = [settle.settle([one], UNLIMITED, LATER_NS, single) for one in settled]
        assert dump(whole) == dump(single)
        assert told_of >= set().union(*each)


@given(st.lists(st.integers(0, 8), unique=True, max_size=9), _batches)
def test_who_is_told_of_many_is_told_of_one(places: Sequence[int], batch: Batch) -> None:
    """A destination whose lines had nothing behind what was delivered is not woken."""
    with closing(open_memory()) as whole, closing(open_memory()) as single:
        for connection in (whole, single):
            commit(batch, UNLIMITED, connection)
        heads = sorted(fetch_due_seqs(whole))
        known = _all_deliveries(whole)
        settled = [Ack(known[heads[it]], Delivered()) for it in places if it < len(heads)]
        each = [settle.settle([one], UNLIMITED, LATER_NS, single) for one in settled]
        assert settle.settle(settled, UNLIMITED, LATER_NS, whole) == set().union(*each)


def _all_deliveries(connection: sqlite3.Connection) -> dict[int, Delivery]:
    """All that wait, due or not."""
    query = "SELECT seq, destination, notification, created_ns, attempts FROM deliveries"
    return {
        seq: Delivery(seq, to, deliveries.decode_notification(notification), made_ns, attempts)
        for seq, to, notification, made_ns, attempts in connection.execute(query)
    }


def _count_statements(work: Callable[[], object], connection: sqlite3.Connection) -> int:
    """How many statements it takes."""
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    work()
    connection.set_trace_callback(None)
    return len(seen)


def test_few_statements_do_it() -> None:
    """Hundreds are added in a dozen, and removed in two."""
    batch = [(make_notification(number, str(number)), ["ops"]) for number in range(300)]
    with closing(open_memory()) as connection:
        assert _count_statements(lambda: commit(batch, UNLIMITED, connection), connection) < 16
        ready = deliveries.fetch_due("ops", 10, 300, [], connection).deliveries
        done = [Ack(delivery, Delivered()) for delivery in ready]
        assert (
            _count_statements(lambda: settle.settle(done, UNLIMITED, 20, connection), connection)
            == 2
        )
        assert connection.execute(SQL["backlog"]).fetchall() == []
