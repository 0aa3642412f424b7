"""The containers that are known, and what of that is new."""

import pytest

from relay.core.container import Container
from relay.ingest.docker.containers import registry as module
from relay.ingest.docker.containers.registry import (
    LABELS_MAX_BYTES,
    ContainerRegistry,
    limit_labels,
)

A, B, C = Container("a"), Container("b", died_ns=7), Container("c", died_ns=3)


@pytest.fixture
def small_registry(monkeypatch: pytest.MonkeyPatch) -> ContainerRegistry:
    """One that knows two containers at most."""
    monkeypatch.setattr(module, "CONTAINERS_MAX", 2)
    return ContainerRegistry(reported_until_ns=5)


def test_what_was_stored_is_known_and_not_new() -> None:
    """It is not stored again."""
    stored = ContainerRegistry([A, B], reported_until_ns=5)
    assert (stored.get("a"), stored.get("b"), stored.get("c")) == (A, B, None)
    assert stored.list_all() == [A, B]
    assert stored.reported_until_ns == 5
    assert stored.take_changes() == ([], [])


def test_changes_are_told_once() -> None:
    """Only of what really changed."""
    here = ContainerRegistry([A])
    here.put(A)
    here.put(B)
    assert here.take_changes() == ([B], [])
    assert here.take_changes() == ([], [])


def test_one_that_was_destroyed_is_gone() -> None:
    """That is a change if it was known, and remembered in any case."""
    here = ContainerRegistry([A])
    here.remove("a")
    here.remove("b")
    assert here.take_changes() == ([], ["a"])
    assert (here.is_destroyed("a"), here.is_destroyed("b"), here.is_destroyed("c")) == (
        True,
        True,
        False,
    )


def test_one_whose_end_was_inferred_when_it_was_destroyed() -> None:
    """That is remembered as long as its destruction is."""
    here = ContainerRegistry([A, B])
    here.remove("a", end_inferred=True)
    here.remove("b")
    assert [here.has_inferred_end(id_) for id_ in "abc"] == [True, False, False]
    assert here.is_destroyed("a")


def test_the_longest_untouched_are_forgotten_first(small_registry: ContainerRegistry) -> None:
    """That is a change too."""
    small_registry.put(A)
    small_registry.put(B)
    small_registry.put(Container("a", name="web"))
    small_registry.take_changes()
    small_registry.put(C)
    assert [known.id for known in small_registry.list_all()] == ["a", "c"]
    assert small_registry.take_changes() == ([C], ["b"])
    assert not small_registry.is_destroyed("b")


def test_what_was_told_of_the_forgotten_is_not_told_again(
    small_registry: ContainerRegistry,
) -> None:
    """Deaths up to the last that was told of them count as told."""
    for container in (A, B, C, Container("d")):
        small_registry.put(container)
    assert small_registry.reported_until_ns == 7
    small_registry.put(Container("e"))
    assert small_registry.reported_until_ns == 7


def test_the_memory_of_the_destroyed_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is forgotten first."""
    monkeypatch.setattr(module, "DESTROYED_MAX", 2)
    here = ContainerRegistry()
    for id_ in "abc":
        here.remove(id_)
    assert [here.is_destroyed(id_) for id_ in "abc"] == [False, True, True]


def test_starting_over() -> None:
    """None is known any more, and those that were are gone."""
    here = ContainerRegistry([A, B], reported_until_ns=5)
    here.reset(9)
    assert (here.list_all(), here.reported_until_ns) == ([], 9)
    known, gone = here.take_changes()
    assert (known, sorted(gone)) == ([], ["a", "b"])


def test_a_new_store_is_told_everything() -> None:
    """Once more, though nothing changed."""
    here = ContainerRegistry([A, B])
    here.mark_all_changed()
    known, gone = here.take_changes()
    assert (sorted(container.id for container in known), gone) == (["a", "b"], [])


def test_labels_are_kept_if_they_are_short() -> None:
    """All or none of them."""
    short = {"k": "v" * (LABELS_MAX_BYTES - 1)}
    assert limit_labels(short) == short
    assert limit_labels(short | {"x": ""}) == {}


def test_what_labels_have_in_common_is_kept_once() -> None:
    """Texts that are equal are the same, whichever containers' they are."""
    one, other = ({"".join(["a", "pp"]): "".join(["sh", "op"])} for _ in range(2))
    (key, value), (same_key, same_value) = *limit_labels(one).items(), *limit_labels(other).items()
    assert key is same_key
    assert value is same_value
