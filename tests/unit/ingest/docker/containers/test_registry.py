"""The known containers, and which of them changed."""

import pytest
from msgspec.structs import replace

from relay.core.container import Container
from relay.ingest.docker.containers import registry as registry_module
from relay.ingest.docker.containers.registry import (
    NO_CHANGES,
    ContainerChanges,
    ContainerRegistry,
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


def texts(count: int) -> dict[str, str]:
    """Labels of 10 characters each; in memory each takes 100 bytes and more."""
    return {f"k{number:04}": f"v{number:04}" for number in range(count)}


def test_labels_that_fit_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's labels are kept as a whole or not at all, by the memory that they take."""
    monkeypatch.setattr(registry_module, "LABELS_MAX_BYTES", 20_000)
    registry = ContainerRegistry()
    registry.put(small := Container("a", labels=texts(100)))
    registry.put(Container("b", labels=texts(200)))  # 2,000 characters
    registry.put(long := Container("c", labels={"k": "v" * 19_000}))
    assert [registry.get(id_) for id_ in "abc"] == [small, Container("b"), long]
    assert (registry.take_given_up(), registry.take_given_up()) == (1, 0)


@pytest.mark.parametrize("from_store", [False, True])
def test_all_containers_together_are_bounded(
    monkeypatch: pytest.MonkeyPatch, from_store: bool
) -> None:
    """Those that are known first keep their labels, and those that find no room are counted."""
    monkeypatch.setattr(registry_module, "TEXTS_MAX_BYTES", 100_000)
    containers = [Container(f"c{number}", labels=texts(100)) for number in range(50)]
    registry = ContainerRegistry(containers if from_store else ())
    for container in containers:
        registry.put(container)
    kept = [known for known in registry.list_all() if known.labels]
    assert kept == containers[: len(kept)]
    assert 5 < len(kept) < 10
    assert registry.take_given_up() == 50 - len(kept)
    stored = registry.take_changes().described
    assert sum(not each.labels for each in stored) == 50 - len(kept)


def test_removed_containers_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However containers go, others find the room that they took."""
    monkeypatch.setattr(registry_module, "TEXTS_MAX_BYTES", 20_000)
    monkeypatch.setattr(registry_module, "CONTAINERS_MAX", 2)
    registry = ContainerRegistry()
    for number in range(9):
        labels = texts(100)
        registry.put(Container("x", labels=labels))
        registry.put(Container("x", labels={}))
        registry.put(Container("x", name="y", labels=labels))
        assert registry.get("x") == Container("x", name="y", labels=labels)
        match number % 3:
            case 0:
                registry.remove("x")
            case 1:
                registry.reset(0)
            case _:
                registry.put(Container("y"))
                registry.put(Container("z"))  # "x" is forgotten, because there are too many
                registry.remove("y")
                registry.remove("z")


def test_an_inspection_of_a_container_without_room_is_no_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is given up once, and not stored again at each inspection."""
    monkeypatch.setattr(registry_module, "LABELS_MAX_BYTES", 1_000)
    registry = ContainerRegistry()
    registry.put(Container("a", labels=texts(100)))
    assert (registry.take_given_up(), len(registry.take_changes().described)) == (1, 1)
    registry.put(Container("a", labels=texts(100)))
    assert (registry.take_given_up(), registry.take_changes()) == (0, NO_CHANGES)
    registry.put(died := Container("a", labels=texts(100), died_ns=5))
    assert registry.get("a") == replace(died, labels={})
    assert registry.take_given_up() == 0


def test_forgotten_containers_are_counted(small_registry: ContainerRegistry) -> None:
    """What was known of them is given up."""
    for container in (A, B, C):
        small_registry.put(container)
    assert small_registry.take_given_up() == 1


def test_long_ids_and_names(small_registry: ContainerRegistry) -> None:
    """No engine has such ids; a name or an image is cut."""
    small_registry.put(Container("x" * 257))
    small_registry.remove("x" * 257)
    assert small_registry.take_changes() == NO_CHANGES
    assert not small_registry.is_destroyed("x" * 257)
    small_registry.put(Container("a", name="n" * 600, image="i" * 600))
    assert small_registry.get("a") == Container("a", name="n" * 512, image="i" * 512)


def test_equal_label_texts_are_shared() -> None:
    """Equal label texts of different containers are one object, also after an inspection."""
    registry = ContainerRegistry()
    for id_, started_ns in (("a", 1), ("b", 1), ("b", 2)):
        labels = {"".join(["a", "pp"]): "".join(["sh", "op"])}
        registry.put(Container(id_, labels=labels, started_ns=started_ns))
    one, other = registry.list_all()
    assert [id(text) for text in (*one.labels, *one.labels.values())] == [
        id(text) for text in (*other.labels, *other.labels.values())
    ]
