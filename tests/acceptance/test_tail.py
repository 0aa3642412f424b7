"""``relay tail`` on a real engine: live events, and the engine's history."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.podman import PodmanEngine

TAIL = (sys.executable, "-m", "relay", "tail")
PATIENCE_S = 20.0

SENT = [
    "container die broken (crashed, exit code 3) → crashed: terminal, ops; deaths: already sent",
    "container die web (requested, exit code 0) → deaths: ops",
]
"""The lines for what `run_scenario` causes."""


def write_tail_config(folder: Path, url: str) -> Path:
    """Crashes go to two destinations, other deaths to one; commands in containers are dropped."""
    death = {"type": "container", "action": "die"}
    return write_config(
        folder,
        engines={"here": {"url": url}},
        store={"path": str(folder / "relay.db")},
        destinations={"terminal": {"type": "console"}, "ops": {"type": "console"}},
        routes=[
            {"name": "noise", "match": {"action": ["exec_*"]}, "drop": True},
            {
                "name": "crashed",
                "match": {**death, "cause": "crashed"},
                "to": ["terminal", "ops"],
            },
            {"name": "deaths", "match": death, "to": "ops"},
        ],
    )


def run_scenario(engine: PrivateEngine | PodmanEngine) -> None:
    """Cause a crash, a command in a container, and a stop."""
    engine.run("sh", "-c", "exit 3", name="broken")
    engine.wait("broken")
    engine.run("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done", name="web")
    engine.docker("exec", "web", "true")
    engine.docker("stop", "--time=10", "web")


def tail_since(*arguments: str, **env: str) -> tuple[int, list[str], str]:
    """Return the exit code, the output without the times, and the errors."""
    done = subprocess.run(
        [*TAIL, *arguments],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **env},
        capture_output=True,
        timeout=PATIENCE_S,
        text=True,
        check=False,
    )
    times, lines = _split_times(done.stdout.splitlines(), " ", 2)
    assert times == sorted(times)
    return done.returncode, lines, done.stderr


def _split_times(lines: list[str], mark: str, times: int) -> tuple[list[str], list[str]]:
    """Split the times, which are this many words, from the rest of each line."""
    words = [line.split(mark, times) for line in lines]
    return [mark.join(each[:-1]) for each in words], [each[-1] for each in words]


@contextmanager
def run_tail(config: Path, *arguments: str) -> Iterator["Watcher"]:
    """Run the command, and kill it at the end if it still runs."""
    process = subprocess.Popen(
        [*TAIL, "--config", str(config), *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        yield Watcher(process)
    finally:
        process.kill()
        process.wait()


class Watcher:
    """The output of a command so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._changed = threading.Condition()
        assert process.stdout is not None
        threading.Thread(target=self._read, args=[process.stdout], daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()

    def wait_for(self, text: str, timeout_s: float = PATIENCE_S) -> bool:
        """Wait for a line with this text. Returns whether it came."""
        with self._changed:
            return self._changed.wait_for(lambda: any(text in it for it in self.lines), timeout_s)


def test_live_events(engine: PrivateEngine, relay_folder: Path) -> None:
    """The decisions of a running daemon are shown until a signal, or until it ends."""
    file = write_tail_config(relay_folder, engine.url)
    with ExitStack() as running:
        relay = running.enter_context(RelayProcess(file))
        relay.wait_for_log("engine.connected")
        everything = running.enter_context(run_tail(file, "--all"))
        sent = running.enter_context(run_tail(file, "--json"))
        started_s = time.monotonic()
        number = 0
        while len(everything.lines) == 0 or not sent.lines:
            assert time.monotonic() < started_s + PATIENCE_S, "no output yet"
            number += 1  # the container before may not have been removed yet
            engine.run("true", name=f"done-{number}", options=["--rm"])
            everything.wait_for(f"container destroy done-{number}", 1.0)
        run_scenario(engine)
        assert everything.wait_for("container stop web")
        sent.process.send_signal(signal.SIGTERM)
        assert sent.process.wait(PATIENCE_S) == 0
        assert relay.terminate() == 0
        assert everything.process.wait(PATIENCE_S) == 1
    _, lines = _split_times(everything.lines, " ", 1)
    assert [line for line in lines if "container die" in line][-2:] == SENT
    assert "container exec_create web (true) → noise drops it" in lines
    assert "container kill web (SIGTERM) → no route matches" in lines
    (tapped,) = (it for it in map(json.loads, sent.lines) if it["event"]["cause"] == "crashed")
    assert tapped["event"]["actor"]["name"] == "broken"
    assert [each["verdict"] for each in tapped["routes"]] == ["sent", "already_sent"]


def test_the_history_of_the_engine(engine: PrivateEngine, relay_folder: Path) -> None:
    """``--since`` needs no daemon and no configuration, and says where the history begins."""
    engine.stop()
    engine.start()  # empties its history
    run_scenario(engine)
    file = write_tail_config(relay_folder, engine.url)
    assert tail_since("--config", str(file), "--since", "5m") == (0, SENT, "")
    assert tail_since("--since", "5m", DOCKER_HOST=engine.url, HOME=str(relay_folder)) == (
        0,
        ["container die broken (crashed, exit code 3) → died: terminal"],
        "",
    )
    engine.make_events(260)
    code, lines, errors = tail_since("--config", str(file), "--since", "5m")
    assert (code, lines) == (0, [])
    assert errors.startswith("engine here remembers nothing before 20")
    assert not list(relay_folder.glob("relay.db*"))


def test_the_history_of_podman(podman: PodmanEngine, relay_folder: Path) -> None:
    """The events after a death show whether it was a stop or a crash."""
    run_scenario(podman)
    file = write_tail_config(relay_folder, podman.url)
    assert tail_since("--config", str(file), "--since", "5m") == (0, SENT, "")
