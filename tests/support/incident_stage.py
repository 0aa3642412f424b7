"""Plays services on a real engine side by side, and collects the messages about each.

Each `Row` is a compose project with destinations of its own, so that none changes another's
messages.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.daemon import RelayProcess, write_config
from tests.support.proxy import socket_proxy
from tests.support.receiver import Received, Receiver
from tests.support.sandboxed_engine import SandboxedEngine
from tests.support.services import Services

DIED = {"type": "container", "action": "die", "cause": ["crashed", "oom"]}

MESSAGE_TIMEOUT_S = 150.0
"""How long a row's last message is waited for after it was played: with the default keys it may
come two minutes later."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a row is played with."""

    services: Services
    receiver: Receiver
    outage: "Outage | None" = None
    """What can keep the engine out of relay's reach."""
    started_s: float = field(default_factory=time.monotonic)

    def sleep_until(self, offset_s: float) -> None:
        """Sleep until so long after the scene's start."""
        time.sleep(max(0.0, self.started_s + offset_s - time.monotonic()))

    def wait_until_reported(self, number: int) -> None:
        """Wait until the row's destination has got so many messages."""
        project = self.services.project
        self.receiver.wait_for(
            lambda _: len(messages(self.receiver, project)) >= number, MESSAGE_TIMEOUT_S
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One row."""

    name: str
    """The compose project."""
    play: Callable[..., float | None]
    """Plays a scene; returns the Unix time from which the last message is timed, if that is not the
    first event's."""
    expected: Sequence[str]
    """The messages, as `describe` writes them."""
    times_s: Sequence[float] = ()
    """When each is reported, with the default keys: after the first event, or what `play`
    returned."""
    prepare: Callable[[Services], None] = lambda services: None
    """Called before relay starts."""
    matches: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"died": DIED})
    """The routes' matches by the routes' names."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys of its destinations; none for the defaults."""

    @property
    def counts(self) -> bool:
        """Whether the count of each message is known: those of a loop depend on the engine."""
        return not any("[n]" in each for each in self.expected)


def make_config(engine_url: str, receiver: Receiver, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the configuration of a relay for these rows, without a store.

    Each row has a chat, a program that is notified of incidents, and one that is notified of
    events.
    """
    destinations: dict[str, Any] = {}
    for row in rows:
        for kind, settings in _KINDS.items():
            keys = row.keys if kind != "audit" else {}
            url = receiver.url(f"/{row.name}/{kind}")
            destinations[f"{row.name}-{kind}"] = {**settings, "url": url, **keys}
    return {
        "engines": {"here": {"url": engine_url}},
        "destinations": destinations,
        "routes": [
            {
                "name": f"{row.name}-{name}",
                "match": {**match, "label": {"com.docker.compose.project": row.name}},
                "to": [f"{row.name}-{kind}" for kind in _KINDS],
            }
            for row in rows
            for name, match in row.matches.items()
        ],
    }


_KINDS: Mapping[str, Mapping[str, Any]] = {
    "chat": {"type": "slack", "rate_limit": "100/s"},
    "reported": {"type": "http", "notify": "incidents"},
    "audit": {"type": "http", "concurrency": 1},
}


def messages(receiver: Receiver, row: str, kind: str = "reported") -> list[Received]:
    """Return what one of the row's destinations got so far: ``reported``, ``chat`` or ``audit``.

    A message that came again under its id, as after a kill, is returned once.
    """
    found: dict[str, Received] = {}
    for each in receiver.received:
        if each.path == f"/{row}/{kind}":
            found.setdefault(each.headers["webhook-id"], each)
    return list(found.values())


def describe(document: Mapping[str, Any], *, counts: bool = True) -> str:
    """Return a message in one line: ``firing (opened) [2]: api, db``.

    An incident has its service, whether it is crash-looping, and why it is over; ``[n]`` stands for
    a count that is not asked for.
    """
    incidents = ", ".join(sorted(_describe_incident(each) for each in document["incidents"]))
    count = document["count"] if counts else "n"
    return f"{document['status']} ({document['reason']}) [{count}]: {incidents}"


def _describe_incident(incident: Mapping[str, Any]) -> str:
    service = incident["subject"].split("-")[-2]
    looping = " crash-looping" if incident["crash_looping"] else ""
    resolution = f" {incident['resolution']}" if incident["resolution"] else ""
    return f"{service}{looping}{resolution}"


class Outage:
    """A proxy between relay and the engine that can be away for a while."""

    def __init__(self, haproxy: str, engine: SandboxedEngine) -> None:
        self._haproxy, self._engine = haproxy, engine
        self._socket = engine.folder / "proxy.sock"
        self._proxy = self._start()

    @property
    def url(self) -> str:
        """Where relay finds the engine."""
        return f"unix://{self._socket}"

    @contextmanager
    def now(self) -> Iterator[None]:
        """Keep the engine out of reach as long as the context lasts."""
        self.close()
        try:
            yield
        finally:
            self._proxy = self._start()

    def close(self) -> None:
        """End the proxy, which closes all connections."""
        self._proxy.__exit__(None, None, None)

    def _start(self) -> AbstractContextManager[None]:
        proxy = socket_proxy(self._haproxy, self._engine.socket_path, self._socket)
        proxy.__enter__()
        return proxy


@contextmanager
def run_relay_for(
    rows: Sequence[Row],
    engine_url: str,
    receiver: Receiver,
    folder: Path,
    env: Mapping[str, str] | None = None,
) -> Iterator[RelayProcess]:
    """Run a relay for these rows, whose configuration and store are in ``folder``.

    It can be run again with the same folder, and goes on then. ``env`` is added to its environment.
    """
    parts = make_config(engine_url, receiver, rows)
    config = write_config(folder, **parts, store={"path": str(folder / "relay.db")})
    with RelayProcess(config, env=env) as relay:
        relay.wait_for_log("engine.connected")
        yield relay


def prepare_all(engine: SandboxedEngine, rows: Sequence[Row]) -> None:
    """Prepare all rows at the same time."""
    with ThreadPoolExecutor(len(rows)) as pool:
        for done in [pool.submit(row.prepare, Services(engine, row.name)) for row in rows]:
            done.result()


def play_all(
    engine: SandboxedEngine,
    receiver: Receiver,
    rows: Sequence[Row],
    outage: Outage | None = None,
    *,
    stagger_s: float = 0.0,
) -> dict[str, float | None]:
    """Play all rows side by side; return what each returned, by its name.

    Each starts ``stagger_s`` after the one before. Returns when each has all its messages, or has
    waited `MESSAGE_TIMEOUT_S` for one. Raises the first row's error, after all have ended.
    """

    def play(row: Row) -> float | None:
        time.sleep(stagger_s * rows.index(row))
        scene = Scene(Services(engine, row.name), receiver, outage)
        anchor_s = row.play(scene)
        with suppress(AssertionError):  # whoever compares them says what is missing
            scene.wait_until_reported(len(row.expected))
        return anchor_s

    with ThreadPoolExecutor(len(rows)) as pool:
        playing = {row.name: pool.submit(play, row) for row in rows}
    return {name: done.result() for name, done in playing.items()}
