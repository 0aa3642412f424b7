"""The containers of one engine, as far as they are known."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache

from relay.core.container import Container

CONTAINERS_MAX = 10_000
"""How many containers are known at once; the longest untouched are forgotten first."""

DESTROYED_MAX = 4_096
"""How many ids of containers that were destroyed are remembered."""

LABELS_MAX_BYTES = 4_096
"""How much text of a container's labels is kept; of more, none is. They are needed only to tell of
the death of a container that is gone: of one that is there the engine tells them again."""

LABEL_CACHE_SIZE = 1_024
"""So many texts of labels are kept once, those that were met last: at most 4 MiB."""


class ContainerRegistry:
    """What is known of each container, and what of that has changed since it was last stored."""

    def __init__(self, containers: Iterable[Container] = (), reported_until_ns: int = 0) -> None:
        self._containers = OrderedDict((container.id, container) for container in containers)
        self._reported_until_ns = reported_until_ns
        self._changed: set[str] = set()
        self._destroyed: OrderedDict[str, bool] = OrderedDict()

    @property
    def reported_until_ns(self) -> int:
        """Deaths up to here, of containers that are not known, count as told."""
        return self._reported_until_ns

    def get(self, id_: str) -> Container | None:
        """What is known of the container."""
        return self._containers.get(id_)

    def put(self, container: Container) -> None:
        """Know this of it from now on."""
        if self._containers.get(container.id) == container:
            return
        self._containers[container.id] = container
        self._containers.move_to_end(container.id)
        self._changed.add(container.id)
        if len(self._containers) > CONTAINERS_MAX:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """What was told of it must not be told again."""
        id_, container = self._containers.popitem(last=False)
        self._reported_until_ns = max(self._reported_until_ns, container.died_ns or 0)
        self._changed.add(id_)

    def remove(self, id_: str, *, end_inferred: bool = False) -> None:
        """It was destroyed: whatever was seen of it before means nothing any more."""
        if self._containers.pop(id_, None) is not None:
            self._changed.add(id_)
        self._destroyed[id_] = end_inferred
        if len(self._destroyed) > DESTROYED_MAX:
            self._destroyed.popitem(last=False)

    def is_destroyed(self, id_: str) -> bool:
        """Whether the container was destroyed; engines never use an id twice."""
        return id_ in self._destroyed

    def has_inferred_end(self, id_: str) -> bool:
        """Whether it was destroyed, and its death told because no event had."""
        return self._destroyed.get(id_, False)

    def reset(self, reported_until_ns: int) -> None:
        """Know none of them, and count what died until then as told."""
        self._changed.update(self._containers)
        self._containers.clear()
        self._reported_until_ns = reported_until_ns

    def mark_all_changed(self) -> None:
        """Count all that is known as new."""
        self._changed.update(self._containers)

    def list_all(self) -> list[Container]:
        """All that are known."""
        return list(self._containers.values())

    def take_changes(self) -> tuple[list[Container], list[str]]:
        """Those of which something new is known since the last call, and the ids of those gone."""
        known = [id_ for id_ in self._changed if id_ in self._containers]
        gone = [id_ for id_ in self._changed if id_ not in self._containers]
        self._changed.clear()
        return [self._containers[id_] for id_ in known], gone


def limit_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """The labels, if they are short enough to be kept."""
    size = sum(len(key) + len(value) for key, value in labels.items())
    if size > LABELS_MAX_BYTES:
        return {}
    # containers of a project have most of them in common
    return {_share_text(key): _share_text(value) for key, value in labels.items()}


@lru_cache(maxsize=LABEL_CACHE_SIZE)
def _share_text(text: str) -> str:
    """The text that is equal to it and was kept before, or itself.

    Not `sys.intern`: Python 3.12 never frees what was interned.
    """
    return text
