"""The events of the benchmark: of containers that come and go, as Docker writes them.

A container is created and started, it is stopped or crashes, it is removed, and its id is never
seen again. An event carries nothing that is there for the measurement only: it is identified by its
time, which differs from that of every other event. The engine sets the time when it sends the
event, and the sink finds it in what arrives.
"""

import json
import random
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from itertools import chain, islice
from typing import NamedTuple

ALIVE = 50
"""How many containers exist at a time if they take turns."""

PROJECT_LABEL = "com.docker.compose.project"
"""The label by which routes select containers."""


class Kind(StrEnum):
    """What an event is to the routes of the benchmark."""

    WANTED = "wanted"
    """An event of a container's life; the first route matches it."""
    OTHER = "other"
    """The same in another project; only labels differ."""
    NOISE = "noise"
    """A health check's command, an action that no route matches."""


class Order(StrEnum):
    """How the events of different containers follow each other."""

    TURNS = "turns"
    """`ALIVE` containers take turns."""
    BURST = "burst"
    """All events of one container, then all of the next."""


PROJECTS = {Kind.WANTED: "shop-0", Kind.OTHER: "forum", Kind.NOISE: "shop-0"}
SERVICES = ("checkout", "catalogue", "mailer", "thumbnails", "sessions", "ledger", "admin")

Step = tuple[str, Mapping[str, str]]
"""An action, and the attributes that it has beside the container's own."""

_BIRTH: tuple[Step, ...] = (("create", {}), ("start", {}))
_STOPPED: tuple[Step, ...] = (
    *_BIRTH,
    ("kill", {"signal": "15"}),
    ("die", {"execDuration": "5113", "exitCode": "0"}),
    ("stop", {}),
    ("destroy", {}),
)
_FINISHED: tuple[Step, ...] = (
    *_BIRTH,
    ("die", {"execDuration": "37", "exitCode": "0"}),
    ("destroy", {}),
)
_CRASHED: tuple[Step, ...] = (
    *_BIRTH,
    ("health_status: healthy", {}),
    ("health_status: unhealthy", {}),
    ("die", {"execDuration": "904", "exitCode": "1"}),
    ("destroy", {}),
)
_OUT_OF_MEMORY: tuple[Step, ...] = (
    *_BIRTH,
    ("oom", {}),
    ("die", {"execDuration": "260", "exitCode": "137"}),
    ("destroy", {}),
)
_KILLED: tuple[Step, ...] = (
    *_BIRTH,
    ("die", {"execDuration": "61", "exitCode": "137"}),  # and no event says by whom
    ("destroy", {}),
)
_HEALTH_CHECK: tuple[Step, ...] = (
    ("exec_create: /bin/sh -c wget -qO- localhost/health", {"execID": "5c" * 32}),
    ("exec_start: /bin/sh -c wget -qO- localhost/health", {"execID": "5c" * 32}),
    ("exec_die", {"execID": "5c" * 32, "exitCode": "0"}),
)
LIVES = (*(_STOPPED,) * 12, *(_FINISHED,) * 2, *(_CRASHED,) * 4, _OUT_OF_MEMORY, _KILLED)
"""How containers live; each life is there as often as it is frequent."""

LIFE_ACTIONS = tuple({action.partition(":")[0]: None for life in LIVES for action, _ in life})
"""All actions of these lives."""


class Container:
    """One container, with the labels that Compose, an image and its owner give it."""

    def __init__(self, kind: Kind, number: int, padding: int = 0) -> None:
        """``padding`` is the size of one more label, of text that compresses badly."""
        service, release = SERVICES[number % len(SERVICES)], f"2.{number % 30}.1"
        self.number = number
        self.id = sha256(f"{kind} {number}".encode()).hexdigest()
        self.name = f"{PROJECTS[kind]}-{service}-{number}"
        self.image = f"registry.example.com/shop/{service}:{release}"
        self.labels = {
            "com.docker.compose.config-hash": sha256(service.encode()).hexdigest(),
            "com.docker.compose.container-number": str(number % 4 + 1),
            "com.docker.compose.oneoff": "False",
            PROJECT_LABEL: PROJECTS[kind],
            "com.docker.compose.service": service,
            "com.docker.compose.version": "2.29.7",
            "com.example.owner": ("web", "data")[number % 2],
            "com.example.stage": "production" if number % 5 else "canary",
            "org.opencontainers.image.version": release,
        }
        if padding:
            self.labels["com.example.manifest"] = _random_text(number, padding)


class Event(NamedTuple):
    """An event before it is sent; it has no time yet."""

    container: Container
    action: str
    attributes: Mapping[str, str]

    def head(self) -> bytes:
        """Return the record up to its time; `add_time` completes it."""
        own = self.container
        attributes = {**own.labels, "image": own.image, "name": own.name, **self.attributes}
        record = {
            "status": self.action,
            "id": own.id,
            "from": own.image,
            "Type": "container",
            "Action": self.action,
            "Actor": {"ID": own.id, "Attributes": dict(sorted(attributes.items()))},
            "scope": "local",
        }
        return json.dumps(record, separators=(",", ":"))[:-1].encode() + b',"time":'


def add_time(head: bytes, time_ns: int) -> bytes:
    """Return the complete record of an event that happened at this time."""
    return head + b'%d,"timeNano":%d}\n' % (time_ns // 10**9, time_ns)


def events(
    kind: Kind, order: Order, numbers: Iterator[int], *, padding: int = 0
) -> Iterator[Event]:
    """Yield events without end; the containers get these numbers."""
    lives = (_life(kind, Container(kind, number, padding)) for number in numbers)
    return _take_turns(lives) if order is Order.TURNS else chain.from_iterable(lives)


def _life(kind: Kind, container: Container) -> Iterator[Event]:
    """Yield all of a container's events; health checks never end."""
    while kind is Kind.NOISE:
        for action, attributes in _HEALTH_CHECK:
            yield Event(container, action, attributes)
    for action, attributes in LIVES[container.number * 7 % len(LIVES)]:
        yield Event(container, action, attributes)


def _take_turns(lives: Iterator[Iterator[Event]]) -> Iterator[Event]:
    alive = deque(islice(lives, ALIVE))
    while True:
        life = alive.popleft()
        event = next(life, None)
        if event is None:  # it was removed, and another container takes its place
            life = next(lives)
            event = next(life)
        yield event
        alive.append(life)


def _random_text(seed: int, size: int) -> str:
    return b64encode(random.Random(seed).randbytes(size * 3 // 4)).decode()
