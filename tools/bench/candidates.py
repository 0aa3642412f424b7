"""What is measured: relay and the script. Each reads the engine's events and posts to the sink."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemon import RELAY, write_config
from tools.bench.events import PROJECT_LABEL

READY_S = 600.0


@dataclass(frozen=True, slots=True)
class RunningCandidate:
    """A candidate that runs."""

    pid: int
    started_ns: int
    """When its process was started, in nanoseconds since 1970."""
    store: Path
    ready_s: float = 0.0
    """The time from its start until it says that it is ready; 0.0 for the script."""


def make_routes(count: int, actions: Sequence[str] = ()) -> list[dict[str, object]]:
    """Return routes, of which the first matches the wanted events and the others nothing.

    They match only these actions; every action if there are none.
    """
    return [
        {
            "name": f"r-{number}",
            "match": {
                "type": "container",
                **({"action": list(actions)} if actions else {}),
                "label": {PROJECT_LABEL: f"shop-{number}"},
            },
            "to": "sink-0",
        }
        for number in range(count)
    ]


TEN_ROUTES = make_routes(10)


@contextmanager
def relay(
    folder: Path,
    engine: Path,
    url: str,
    *,
    routes: Sequence[Mapping[str, object]] = TEN_ROUTES,
    destinations: int = 1,
    store: Mapping[str, object] | None = None,
    to: Mapping[str, object] | None = None,
) -> Iterator[RunningCandidate]:
    """Run relay with these routes, as under systemd: it says when it is ready.

    Every route delivers to all ``destinations``, each of which has a path of its own. ``store`` and
    ``to`` are keys for its store and its destinations; everything else is default. Its log is
    written to a file.
    """
    file = folder / "relay.db"
    names = [f"sink-{number}" for number in range(destinations)]
    config = write_config(
        folder,
        engines={"here": {"url": f"unix://{engine}"}},
        store={"path": str(file), **(store or {})},
        destinations={
            name: {"type": "http", "url": f"{url}/{name}", **(to or {})} for name in names
        },
        routes=[{**route, "to": names} for route in routes],
    )
    notify = folder / "notify.sock"
    notify.unlink(missing_ok=True)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        (folder / "relay.log").open("wb") as log,
    ):
        manager.bind(str(notify))
        manager.settimeout(READY_S)
        env = {**os.environ, "NOTIFY_SOCKET": str(notify)}
        started_ns, started_s = time.time_ns(), time.monotonic()
        with _process([*RELAY, "--config", str(config)], env, log.fileno()) as process:
            while b"READY=1" not in manager.recv(4096):
                pass
            yield RunningCandidate(process.pid, started_ns, file, time.monotonic() - started_s)


@contextmanager
def script(folder: Path, engine: Path, url: str) -> Iterator[RunningCandidate]:
    """Run the simple script."""
    command = [sys.executable, "-m", "tools.bench.script", str(engine), url]
    started_ns = time.time_ns()
    with _process(command, os.environ, None) as process:
        yield RunningCandidate(process.pid, started_ns, folder / "none")


@contextmanager
def _process(
    command: Sequence[str], env: Mapping[str, str], log: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log, env=env)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
