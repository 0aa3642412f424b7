"""The containers that are known, and what of that is new."""

import pytest

from relay.core.container import Container
from relay.ingest.docker.containers import registry as module
from relay.ingest.docker.containers.registry import LABELS_BYTES, Roster, kept_labels

A, B, C = Container("a"), Container("b", died_ns=7), Container("c", died_ns=3)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Roster:
    """One that knows two containers at most."""
    monkeypatch.setattr(module, "MEMORY", 2)
    return Roster(assumed_ns=5)


def test_what_was_stored_is_known_and_not_new() -> None:
    """It is not stored again."""
    stored = Roster([A, B], assumed_ns=5)
    assert (stored.get("a"), stored.get("b"), stored.get("c")) == (A, B, None)
    assert stored.all() == [A, B]
    assert stored.assumed_ns == 5
    assert stored.changes() == ([], [])


def test_changes_are_told_once() -> None:
    """Only of what really changed."""
    here = Roster([A])
    here.put(A)
    here.put(B)
    assert here.changes() == ([B], [])
    assert here.changes() == ([], [])


def test_one_that_was_destroyed_is_gone() -> None:
    """That is a change if it was known, and remembered in any case."""
    here = Roster([A])
    here.drop("a")
    here.drop("b")
    assert here.changes() == ([], ["a"])
    assert (here.destroyed("a"), here.destroyed("b"), here.destroyed("c")) == (True, True, False)


def test_one_whose_end_was_inferred_when_it_was_destroyed() -> None:
    """That is remembered as long as its destruction is."""
    here = Roster([A, B])
    here.drop("a", end_inferred=True)
    here.drop("b")
    assert [here.end_was_inferred(id_) for id_ in "abc"] == [True, False, False]
    assert here.destroyed("a")


def test_the_longest_untouched_are_forgotten_first(small: Roster) -> None:
    """That is a change too."""
    small.put(A)
    small.put(B)
    small.put(Container("a", name="web"))
    small.changes()
    small.put(C)
    assert [known.id for known in small.all()] == ["a", "c"]
    assert small.changes() == ([C], ["b"])
    assert not small.destroyed("b")


def test_what_was_told_of_the_forgotten_is_not_told_again(small: Roster) -> None:
    """Deaths up to the last that was told of them count as told."""
    for container in (A, B, C, Container("d")):
        small.put(container)
    assert small.assumed_ns == 7
    small.put(Container("e"))
    assert small.assumed_ns == 7


def test_the_memory_of_the_destroyed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first."""
    monkeypatch.setattr(module, "DESTROYED", 2)
    here = Roster()
    for id_ in "abc":
        here.drop(id_)
    assert [here.destroyed(id_) for id_ in "abc"] == [False, True, True]


def test_starting_over() -> None:
    """None is known any more, and those that were are gone."""
    here = Roster([A, B], assumed_ns=5)
    here.start_over(9)
    assert (here.all(), here.assumed_ns) == ([], 9)
    known, gone = here.changes()
    assert (known, sorted(gone)) == ([], ["a", "b"])


def test_a_new_store_is_told_everything() -> None:
    """Once more, though nothing changed."""
    here = Roster([A, B])
    here.renew()
    known, gone = here.changes()
    assert (sorted(container.id for container in known), gone) == (["a", "b"], [])


def test_labels_are_kept_if_they_are_short() -> None:
    """All or none of them."""
    short = {"k": "v" * (LABELS_BYTES - 1)}
    assert kept_labels(short) == short
    assert kept_labels(short | {"x": ""}) == {}


def test_what_labels_have_in_common_is_kept_once() -> None:
    """Texts that are equal are the same, whichever containers' they are."""
    one, other = ({"".join(["a", "pp"]): "".join(["sh", "op"])} for _ in range(2))
    (key, value), (same_key, same_value) = *kept_labels(one).items(), *kept_labels(other).items()
    assert key is same_key
    assert value is same_value
