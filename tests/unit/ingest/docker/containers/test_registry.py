"""The known containers, and which of them changed."""

import pytest

from relay.core.container import Container
from relay.ingest.docker.containers import registry as registry_module
from relay.ingest.docker.containers.registry import (
    LABELS_MAX_CHARS,
    NO_CHANGES,
    ContainerChanges,
    ContainerRegistry,
    limit_labels,
)

A, B, C = Container("a"), Container("b", died_ns=7), Container("c", died_ns=3)


@pytest.fixture
def small_registry(monkeypatch: pytest.MonkeyPatch) -> ContainerRegistry:
    """A registry that keeps two containers at most."""
    monkeypatch.setattr(registry_module, "CONTAINERS_MAX", 2)
    return ContainerRegistry(reported_until_ns=5)


def test_stored_containers_are_known_and_unchanged() -> None:
    """Containers from the store do not count as changed."""
    registry = ContainerRegistry([A, B], reported_until_ns=5)
    assert (registry.get("a"), registry.get("b"), registry.get("c")) == (A, B, None)
    assert registry.list_all() == [A, B]
    assert registry.reported_until_ns == 5
    assert registry.take_changes() == NO_CHANGES


def test_changes_are_returned_once() -> None:
    """Each change is returned once, and only if the container really changed."""
    registry = ContainerRegistry([A])
    registry.put(A)
    registry.put(B)
    assert registry.take_changes() == ContainerChanges([B], [], [])
    assert registry.take_changes() == NO_CHANGES


def test_a_destroyed_container_is_gone() -> None:
    """Destroying a known container is a change; every destroyed container is remembered."""
    registry = ContainerRegistry([A])
    registry.remove("a")
    registry.remove("b")
    assert registry.take_changes() == ContainerChanges([], [], ["a"])
    assert (registry.is_destroyed("a"), registry.is_destroyed("b"), registry.is_destroyed("c")) == (
        True,
        True,
        False,
    )


def test_a_container_whose_end_was_inferred_when_it_was_destroyed() -> None:
    """The registry remembers whether the end was inferred as long as it remembers the container."""
    registry = ContainerRegistry([A, B])
    registry.remove("a", end_inferred=True)
    registry.remove("b")
    assert [registry.has_inferred_end(id_) for id_ in "abc"] == [True, False, False]
    assert registry.is_destroyed("a")


def test_the_longest_unchanged_is_forgotten_first(small_registry: ContainerRegistry) -> None:
    """The container that was not updated for longest is forgotten first; that is a change."""
    small_registry.put(A)
    small_registry.put(B)
    small_registry.put(Container("a", name="web"))
    small_registry.take_changes()
    small_registry.put(C)
    assert [known.id for known in small_registry.list_all()] == ["a", "c"]
    assert small_registry.take_changes() == ContainerChanges([C], [], ["b"])
    assert not small_registry.is_destroyed("b")


def test_deaths_of_forgotten_containers_are_not_reported_again(
    small_registry: ContainerRegistry,
) -> None:
    """Deaths up to the last reported one count as reported."""
    for container in (A, B, C, Container("d")):
        small_registry.put(container)
    assert small_registry.reported_until_ns == 7
    small_registry.put(Container("e"))
    assert small_registry.reported_until_ns == 7


def test_the_ids_of_destroyed_containers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id that was destroyed first is forgotten first."""
    monkeypatch.setattr(registry_module, "DESTROYED_MAX", 2)
    registry = ContainerRegistry()
    for id_ in "abc":
        registry.remove(id_)
    assert [registry.is_destroyed(id_) for id_ in "abc"] == [False, True, True]


def test_reset() -> None:
    """No container is known any longer, and those that were are gone."""
    registry = ContainerRegistry([A, B], reported_until_ns=5)
    registry.reset(9)
    assert (registry.list_all(), registry.reported_until_ns) == ([], 9)
    assert registry.take_changes() == ContainerChanges([], [], ["a", "b"])


def test_a_new_store_gets_everything() -> None:
    """All containers are returned once more, although none changed."""
    registry = ContainerRegistry([A, B])
    registry.mark_all_changed()
    assert registry.take_changes() == ContainerChanges([A, B], [], [])


def test_what_only_changes_times_does_not_describe_a_container_again() -> None:
    """The first state of a container is described; later ones only if more than times changed."""
    registry = ContainerRegistry([A])
    registry.put(started := Container("a", started_ns=1))
    registry.put(Container("b", started_ns=1))
    registry.put(new := Container("b", started_ns=1, died_ns=2))
    assert registry.take_changes() == ContainerChanges([new], [started], [])
    registry.put(Container("a", started_ns=1, name="web"))
    registry.put(renamed := Container("a", started_ns=2, name="web"))
    registry.put(died := Container("b", started_ns=1, died_ns=3))
    assert registry.take_changes() == ContainerChanges([renamed], [died], [])


def test_a_container_that_comes_and_goes_changes_nothing() -> None:
    """Nothing is written for it, and nothing deleted; a stored one is deleted once."""
    registry = ContainerRegistry([A])
    registry.put(B)
    registry.remove("b")
    registry.remove("a")
    registry.remove("c")
    assert registry.take_changes() == ContainerChanges([], [], ["a"])
    registry.put(A)
    registry.remove("a")
    assert registry.take_changes() == NO_CHANGES


def test_a_container_that_comes_back_is_described_again() -> None:
    """Its row was deleted, or will be replaced."""
    registry = ContainerRegistry([A])
    registry.remove("a")
    registry.put(A)
    assert registry.take_changes() == ContainerChanges([A], [], [])
    registry.remove("a")
    registry.take_changes()
    registry.put(A)
    assert registry.take_changes() == ContainerChanges([A], [], [])


def test_short_labels_are_kept() -> None:
    """A container's labels are kept if they are short enough; otherwise none of them are."""
    short = {"k": "v" * (LABELS_MAX_CHARS - 1)}
    assert limit_labels(short) == short
    assert limit_labels(short | {"x": ""}) == {}


def test_equal_label_texts_are_shared() -> None:
    """Equal label texts of different containers are one object."""
    one, other = ({"".join(["a", "pp"]): "".join(["sh", "op"])} for _ in range(2))
    (key, value), (same_key, same_value) = *limit_labels(one).items(), *limit_labels(other).items()
    assert key is same_key
    assert value is same_value
