"""The known containers of one engine, and which of them changed since the last commit.

Anybody who starts a container chooses its name and labels, so all that is kept of them is bounded.
The bounds are in bytes of memory, with the cost of each entry: many short labels take more than one
long label. What does not fit is given up and counted. It would be needed only to report a death
that no event reports, because each event of a container has the container's labels.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from sys import getsizeof

import msgspec
from msgspec.structs import replace

from relay.core.container import Container
from relay.core.container_facts import ContainerFacts

CONTAINERS_MAX = 10_000
"""How many containers are kept; the one that was not updated for longest is forgotten first."""

DESTROYED_MAX = 4_096
"""How many ids of destroyed containers are remembered."""

REMOVED_FACTS_MAX = 64
"""How many removed containers' facts are remembered: with ``--rm`` an engine removes a container as
soon as it has died, and its death may be in the same batch."""

TEXTS_MAX_BYTES = 32 * 2**20
"""While the labels, names and images of all containers take more memory than this, further
containers are kept without labels. Ten thousand containers with ten usual labels each take about 20
MiB."""

LABELS_MAX_BYTES = 128 * 2**10
"""A container whose labels, name and image take more memory than this is kept without labels. A
thousand short labels take as much."""

ID_MAX_CHARS = 256
"""A container with a longer id is not kept: an engine's has 64 characters."""

NAME_MAX_CHARS = 512
"""Names and images are cut there. A registry's longest are shorter: 255 characters of a name, 128
of a tag (https://github.com/distribution/reference)."""

LABEL_CACHE_SIZE, SHARED_LABELS_MAX_BYTES = 1_024, 8 * 2**10
"""How many label texts are kept only once for all containers: the most recently used ones of
containers whose texts take no more memory than this. So these texts take 8 MiB at most."""


class ContainerChanges(msgspec.Struct, frozen=True):
    """The changes that are not stored yet."""

    described: Sequence[Container] = ()
    """Containers to store as a whole: new ones, and those of which other fields changed."""
    timed: Sequence[Container] = ()
    """Containers of which only `CHANGING_FIELDS` changed."""
    removed: Sequence[str] = ()
    """The ids of stored containers that are gone."""


NO_CHANGES = ContainerChanges([], [], [])


class ContainerRegistry:
    """The state of each known container, and the changes since they were last taken.

    It exists as long as its engine's session; a new session starts from the stored containers.
    """

    def __init__(self, containers: Iterable[Container] = (), reported_until_ns: int = 0) -> None:
        self._containers: OrderedDict[str, Container] = OrderedDict()
        self.get = self._containers.get
        """Returns the state of a container by its id; None if it is not known."""
        self.reported_until_ns = reported_until_ns
        """Deaths of unknown containers up to this time count as reported."""
        self._stored: set[str] = set()
        """The ids of the containers that the store holds, or will after the next commit."""
        self._changed: dict[str, bool] = {}
        """The ids of those that changed since then, and whether more than their times changed."""
        self._destroyed: OrderedDict[str, bool] = OrderedDict()
        self._removed_facts: dict[str, ContainerFacts] = {}
        self._sizes: dict[str, int] = {}
        """How much memory the labels, the name and the image of each container take."""
        self._text_bytes = 0
        """The sum of these."""
        self._given_up = 0
        for container in containers:
            self._stored.add(container.id)
            self._restore(container)

    def _restore(self, container: Container) -> None:
        """Add a container from the store. One stored by an older relay may have to be limited."""
        limited = self._limit(container, None)
        self._containers[container.id] = limited
        if limited != container:
            self._changed[container.id] = True

    def put(self, container: Container) -> None:
        """Store the new state of a container, as far as there is memory for it."""
        id_ = container.id
        known = self._containers.get(id_)
        if known == container or len(id_) > ID_MAX_CHARS:
            return
        is_described = known is None or not container.is_described_as(known)
        if known is None or not container.has_texts_of(known):
            container = self._limit(container, known)
            if known == container:  # the same as before does not fit
                return
        elif container.labels is not known.labels:
            container = replace(container, labels=known.labels)  # equal, and their texts are shared
        self._containers[id_] = container
        self._containers.move_to_end(id_)
        if is_described:
            self._changed[id_] = True
        else:
            self._changed.setdefault(id_, False)
        if len(self._containers) > CONTAINERS_MAX:
            self._forget_oldest()

    def _limit(self, container: Container, known: Container | None) -> Container:
        """Return the container as it can be kept: without its labels if they do not fit.

        Counts the memory that its texts take from now on.
        """
        name, image, labels = container.name, container.image, container.labels
        name, image = name and name[:NAME_MAX_CHARS], image and image[:NAME_MAX_CHARS]
        size_bytes = _text_bytes(name, image, labels)
        others_bytes = self._text_bytes - self._sizes.get(container.id, 0)
        if labels and (known is None or labels is not known.labels):
            if size_bytes > min(LABELS_MAX_BYTES, TEXTS_MAX_BYTES - others_bytes):
                self._given_up += known is None or bool(known.labels)
                labels = {}
                size_bytes = _text_bytes(name, image, labels)
            elif size_bytes <= SHARED_LABELS_MAX_BYTES:
                # The containers of a project have most label texts in common.
                labels = {_share(key): _share(value) for key, value in labels.items()}
        self._text_bytes = others_bytes + size_bytes
        self._sizes[container.id] = size_bytes
        return replace(container, name=name, image=image, labels=labels)

    def take_given_up(self) -> int:
        """Return how many containers lost their labels or were forgotten since the last call."""
        count, self._given_up = self._given_up, 0
        return count

    def _forget_oldest(self) -> None:
        """Forget one container, so that its deaths are not reported again."""
        id_, container = self._containers.popitem(last=False)
        self._text_bytes -= self._sizes.pop(id_)
        self._given_up += 1
        self.reported_until_ns = max(self.reported_until_ns, container.died_ns or 0)
        self._changed[id_] = True

    def remove(self, id_: str, *, end_inferred: bool = False) -> None:
        """Note that a container was destroyed: older snapshots of it no longer count.

        ``end_inferred`` says whether its death was inferred at that moment.
        """
        container = self._containers.pop(id_, None)
        if container is not None:
            self._text_bytes -= self._sizes.pop(id_)
            self._changed[id_] = True
            self._keep_facts(container)
        if len(id_) > ID_MAX_CHARS:
            return
        self._destroyed[id_] = end_inferred
        if len(self._destroyed) > DESTROYED_MAX:
            self._destroyed.popitem(last=False)

    def _keep_facts(self, container: Container) -> None:
        """Remember the facts of a container that is removed, if there are any."""
        if (facts := container.facts) is not None:
            self._removed_facts[container.id] = facts
            if len(self._removed_facts) > REMOVED_FACTS_MAX:
                del self._removed_facts[next(iter(self._removed_facts))]

    def find_facts(self, id_: str) -> ContainerFacts | None:
        """Return what is known of a container, or of one that was just removed."""
        container = self.get(id_)
        return self._removed_facts.get(id_) if container is None else container.facts

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
        self._sizes.clear()
        self._text_bytes = 0
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


def _text_bytes(name: str | None, image: str | None, labels: Mapping[str, str]) -> int:
    """Return how much memory the labels, the name and the image of a container take."""
    return getsizeof(labels) + sum(map(getsizeof, (name, image, *labels, *labels.values())))


@lru_cache(maxsize=LABEL_CACHE_SIZE)
def _share(text: str) -> str:
    """Return an equal text that was kept before, or the text itself.

    Not `sys.intern`: Python 3.12 never frees interned strings.
    """
    return text
