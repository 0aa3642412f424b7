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
from tools.bench.events import ACTION, Kind

READY_S = 600.0


@dataclass(frozen=True, slots=True)
class RunningCandidate:
    """A candidate that runs."""

    pid: int
    ready_s: float
    """The time from its start until it says that it is ready; 0.0 for the script."""
    store: Path


def routes(count: int) -> list[dict[str, object]]:
    """Return routes, of which the first matches the wanted events and the others nothing."""
    return [
        {
            "name": f"r-{number}",
            "match": {
                "type": "container",
                "action": ACTION[Kind.WANTED],
                "label": {"app": f"shop-{number}"},
            },
            "to": "sink",
        }
        for number in range(count)
    ]


@contextmanager
def relay(
    folder: Path,
    engine: Path,
    url: str,
    *,
    count: int = 10,
    store: Mapping[str, object] | None = None,
    to: Mapping[str, object] | None = None,
) -> Iterator[RunningCandidate]:
    """Run relay with this many routes, as under systemd: it says when it is ready.

    ``store`` and ``to`` are keys for its store and its destination; everything else is default. Its
    log, with a line for each delivery, is written to a file.
    """
    file = folder / "relay.db"
    config = write_config(
        folder,
        engines={"here": {"url": f"unix://{engine}"}},
        store={"path": str(file), **(store or {})},
        destinations={"sink": {"type": "http", "url": url, **(to or {})}},
        routes=routes(count),
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
        started_s = time.monotonic()
        with _process([*RELAY, "--config", str(config)], env, log.fileno()) as process:
            while b"READY=1" not in manager.recv(4096):
                pass
            yield RunningCandidate(process.pid, time.monotonic() - started_s, file)


@contextmanager
def script(folder: Path, engine: Path, url: str) -> Iterator[RunningCandidate]:
    """Run the simple script."""
    command = [sys.executable, "-m", "tools.bench.script", str(engine), url]
    with _process(command, os.environ, None) as process:
        yield RunningCandidate(process.pid, 0.0, folder / "none")


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
