"""Measures whether relay slows an engine down: ``python -m tools.engine_load [CALLS]``.

Creates and removes volumes of a real Docker engine (it takes root), by API calls over one
connection, each of which makes an event. These are the cheapest of such calls; with
``--containers`` it creates and removes containers, which take the engine some ten times longer.
Does so while nobody listens to the events, while a small program reads them, and while relay reads
them, whose only destination never answers. They take turns. Prints the times, the CPU time that
relay used, and the ratios of the medians.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine, find_binaries
from tests.support.receiver import Misbehaviour, Receiver
from tests.support.sandboxed_engine import IMAGE
from tools.bench.pairs import measure_pairs
from tools.bench.process import cpu_s

CALLS = 3_000
ROUNDS = 5
WARM_UP = 100
"""Calls before the first measurement."""

READER = """
import socket, sys
stream = socket.socket(socket.AF_UNIX)
stream.connect(sys.argv[1])
stream.sendall(b"GET /events HTTP/1.1\\r\\nHost: engine\\r\\n\\r\\n")
print(len(stream.recv(65536)), flush=True)
while stream.recv(65536):
    pass
"""
"""A program that reads the events and does nothing with them. It prints a line when it reads."""


class EngineLoad:
    """Makes the calls, with or without a listener, and keeps the times."""

    def __init__(
        self,
        engine: PrivateEngine,
        receiver: Receiver,
        folder: Path,
        make_calls: Callable[[], object],
    ) -> None:
        self._engine, self._receiver, self._folder = engine, receiver, folder
        self._make_calls = make_calls
        self.relay_cpu_s: list[float] = []
        """The CPU time that relay used in each round."""

    def alone(self) -> float:
        """Nobody listens."""
        started_s = time.monotonic()
        self._make_calls()
        return time.monotonic() - started_s

    def with_reader(self) -> float:
        """A small program reads the events."""
        command = [sys.executable, "-c", READER, str(self._engine.socket_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
            try:
                assert reader.stdout is not None
                reader.stdout.readline()
                return self.alone()
            finally:
                reader.kill()

    def with_relay(self) -> float:
        """relay reads the events, and stores them for a destination that never answers."""
        with self._run_relay() as relay:
            before_s = cpu_s(relay.pid)
            took_s = self.alone()
            self.relay_cpu_s.append(cpu_s(relay.pid) - before_s)
            return took_s

    @contextmanager
    def _run_relay(self) -> Iterator[RelayProcess]:
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            config = write_config(
                Path(folder),
                engines={"here": {"url": self._engine.url}},
                store={"path": str(Path(folder) / "relay.db")},
                destinations={"hanging": {"type": "http", "url": self._receiver.url()}},
                routes=[{"name": "all", "to": "hanging"}],
            )
            with RelayProcess(config) as relay:
                relay.wait_for_log("engine.connected")
                yield relay


def measure(calls: int, rounds: int, *, containers: bool) -> dict[str, object]:
    """Return the times of each side in seconds, and the ratios of the medians."""
    with (
        tempfile.TemporaryDirectory(prefix="relay-", dir="/tmp") as folder,
        PrivateEngine(find_binaries()) as engine,
        Receiver() as receiver,
    ):
        receiver.answer(Misbehaviour.HANG)

        def make_calls(number: int) -> None:
            if containers:
                engine.create_and_remove(IMAGE, number // 2)
            else:
                engine.make_events(number)

        make_calls(WARM_UP)
        load = EngineLoad(engine, receiver, Path(folder), lambda: make_calls(calls))
        sides: dict[str, Callable[[], float]] = {
            "alone": load.alone,
            "reader": load.with_reader,
            "relay": load.with_relay,
        }
        times_s = dict(zip(sides, measure_pairs(rounds, *sides.values()), strict=True))
    medians_s = {side: statistics.median(times) for side, times in times_s.items()}
    return {
        "calls": calls,
        **{f"{side}_s": [round(each, 2) for each in times] for side, times in times_s.items()},
        "relay_cpu_s": round(statistics.median(load.relay_cpu_s), 2),
        "reader/alone": round(medians_s["reader"] / medians_s["alone"], 2),
        "relay/alone": round(medians_s["relay"] / medians_s["alone"], 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", nargs="?", type=int, default=CALLS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--containers", action="store_true")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.calls, arguments.rounds, containers=arguments.containers)))


if __name__ == "__main__":
    main()
