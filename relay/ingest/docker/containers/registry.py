"""The known containers of one engine, and which of them changed since the last commit."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from relay.core.container import Container

CONTAINERS_MAX = 10_000
"""How many containers are kept; the one that was not updated for longest is forgotten first."""

DESTROYED_MAX = 4_096
"""How many ids of destroyed containers are remembered."""

LABELS_MAX_CHARS = 4_096
"""A container's labels are kept if their names and values have at most this many characters; else
none of them are. They are needed only to report the death of a container that is gone: while it
exists, the engine sends them again."""

LABEL_CACHE_SIZE = 1_024
"""How many label texts, the most recently used, containers share: at most 4 MiB."""


class ContainerChanges(msgspec.Struct, frozen=True):
    """The changes that are not stored yet."""

    described: Sequence[Container] = ()
    """Containers to store as a whole: new ones, and those with another name, image or labels."""
    timed: Sequence[Container] = ()
    """Containers of which only times changed."""
    removed: Sequence[str] = ()
    """The ids of stored containers that are gone."""


NO_CHANGES = ContainerChanges([], [], [])


class ContainerRegistry:
    """The state of each known container, and the changes since they were last taken.

    It exists as long as its engine's session; a new session starts from the stored containers.
    """

    def __init__(self, containers: Iterable[Container] = (), reported_until_ns: int = 0) -> None:
        self._containers = OrderedDict((container.id, container) for container in containers)
        self.get = self._containers.get
        """Returns the state of a container by its id; None if it is not known."""
        self.reported_until_ns = reported_until_ns
        """Deaths of unknown containers up to this time count as reported."""
        self._stored = set(self._containers)
        """The ids of the containers that the store holds, or will after the next commit."""
        self._changed: dict[str, bool] = {}
        """The ids of those that changed since then, and whether more than their times changed."""
        self._destroyed: OrderedDict[str, bool] = OrderedDict()

    def put(self, container: Container) -> None:
        """Store the new state of a container."""
        id_ = container.id
        known = self._containers.get(id_)
        if known == container:
            return
        self._containers[id_] = container
        self._containers.move_to_end(id_)
        if known is None or not container.is_described_as(known):
            self._changed[id_] = True
        else:
            self._changed.setdefault(id_, False)
        if len(self._containers) > CONTAINERS_MAX:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        """Forget one container, so that its deaths are not reported again."""
        id_, container = self._containers.popitem(last=False)
        self.reported_until_ns = max(self.reported_until_ns, container.died_ns or 0)
        self._changed[id_] = True

    def remove(self, id_: str, *, end_inferred: bool = False) -> None:
        """Note that a container was destroyed: older snapshots of it no longer count.

        ``end_inferred`` says whether its death was inferred at that moment.
        """
        if self._containers.pop(id_, None) is not None:
            self._changed[id_] = True
        self._destroyed[id_] = end_inferred
        if len(self._destroyed) > DESTROYED_MAX:
            self._destroyed.popitem(last=False)

    def is_destroyed(self, id_: str) -> bool:
        """Whether the container was destroyed; engines never use an id twice."""
        return id_ in self._destroyed

    def has_inferred_end(self, id_: str) -> bool:
        """Whether the container was destroyed and its death was inferred at that moment."""
        return self._destroyed.get(id_, False)

    def reset(self, reported_until_ns: int) -> None:
        """Forget all containers; deaths up to ``reported_until_ns`` count as reported."""
        self._changed.update(dict.fromkeys(self._containers, True))
        self._containers.clear()
        self.reported_until_ns = reported_until_ns

    def mark_all_changed(self) -> None:
        """Mark all containers as changed, so that a new store receives all of them."""
        self._changed.update(dict.fromkeys(self._containers, True))

    def list_all(self) -> list[Container]:
        """Return all known containers."""
        return list(self._containers.values())

    def take_changes(self) -> ContainerChanges:
        """Return what changed since the last call.

        A container that came and went since then was never stored, and is not among the changes.
        """
        if not self._changed:
            return NO_CHANGES
        described, timed, removed = [], [], []
        containers, stored = self._containers, self._stored
        for id_, is_described in self._changed.items():
            container = containers.get(id_)
            if container is None:
                if id_ in stored:
                    stored.remove(id_)
                    removed.append(id_)
            elif is_described or id_ not in stored:
                stored.add(id_)
                described.append(container)
            else:
                timed.append(container)
        self._changed.clear()
        return ContainerChanges(described, timed, removed)


def limit_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return the labels if they are short enough to be kept, else none."""
    size = sum(map(len, labels)) + sum(map(len, labels.values()))
    if size > LABELS_MAX_CHARS:
        return {}
    # The containers of a project have most label texts in common.
    return {_share_text(key): _share_text(value) for key, value in labels.items()}


@lru_cache(maxsize=LABEL_CACHE_SIZE)
def _share_text(text: str) -> str:
    """Return an equal text that was kept before, or the text itself.

    Not `sys.intern`: Python 3.12 never frees interned strings.
    """
    return text
