"""Relays of a fleet, each a process of its own that is killed and started again.

The engine of an edge is scripted, and all edges call theirs ``local``, as a fleet that was
installed from one file does.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp

from tests.component.scripted_engine import ScriptedEngine
from tests.support.daemon import write_config
from tests.support.fleet_ledger import Ledger
from tools.backlog import count_queued

START_TIMEOUT_S = 30.0


async def run_command(*arguments: str | Path) -> tuple[int, str]:
    """Run a command of relay; return its exit code and all output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(START_TIMEOUT_S):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


class Daemon:
    """A relay that is started, killed and started again with the same files."""

    def __init__(self, folder: Path, config: Mapping[str, object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.admin = folder / "admin.sock"
        self.store = folder / "relay.db"
        self.lives = 0
        """How often it was started, or went on after a pause."""
        self._log = folder / "relay.log"
        self._process: asyncio.subprocess.Process | None = None
        self.configure(config)

    def configure(self, config: Mapping[str, object]) -> None:
        """Write the configuration; a start, or a reload, puts it in force."""
        self.config = write_config(
            self.folder,
            **{
                "store": {"path": str(self.store)},
                "admin": {"listen": f"unix:{self.admin}"},
                "reconcile": {"every": "0s", "on_reconnect": False},
                **config,
            },
        )

    @property
    def pid(self) -> int:
        """The id of the process; it has to run."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, and return at once."""
        assert not self.is_running
        self.lives += 1
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relay", "run", "--config", str(self.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )

    async def kill(self) -> None:
        """Kill it (SIGKILL), and wait until it has ended."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it as a service manager does; return its exit code."""
        return await self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it hang (SIGSTOP): its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End `pause`. What it repeats of what was under way counts as after a restart."""
        self.lives += 1
        os.kill(self.pid, signal.SIGCONT)

    async def wait_ready(self) -> None:
        """Wait until it says that it is ready. Raises AssertionError with its log."""
        await self.wait_for(self.is_ready, "it did not get ready")

    async def is_ready(self) -> bool:
        """Whether it says that it is ready."""
        return await self._probe("/readyz") == 200

    async def answers(self) -> bool:
        """Whether it has started, ready or not."""
        return await self._probe("/livez") == 200

    async def wait_for(self, condition: Callable[[], Any], words: str) -> None:
        """Wait until a condition, which may be awaitable, holds while this process runs."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while True:
                    assert self.is_running, f"{words}: it ended; {self.log_tail()}"
                    found = condition()
                    if await found if asyncio.iscoroutine(found) else found:
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{words}: {self.log_tail()}") from None

    async def metrics(self) -> dict[str, float]:
        """Return the samples of ``/metrics``, each by its name with its labels."""
        _, text = await self._get("/metrics")
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run a command of relay with this configuration; return exit code and all output."""
        return await run_command(*arguments, "--config", self.config)

    async def wait_for_status(self, words: str) -> None:
        """Wait until ``relay status`` says this."""

        async def says() -> bool:
            return words in (await self.command("status"))[1]

        await self.wait_for(says, f"relay status did not say {words!r}")

    async def count_dead_letters(self) -> int:
        """Return how many dead letters it has."""
        code, output = await self.command("dead", "list", "--json")
        assert code == 0, output
        return len([line for line in output.splitlines() if line.startswith("{")])

    def is_settled(self) -> bool:
        """Whether its store holds nothing that is to be sent."""
        return count_queued(self.store) == 0

    def logs(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the lines of its log with this event and these fields."""
        wanted = {"event": event, **fields}.items()
        return [line for line in self._read_log() if all(line.get(k) == v for k, v in wanted)]

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self._log.read_text(errors="replace")[-4_000:] if self._log.exists() else ""

    def count_tracebacks(self) -> int:
        """Return how many tracebacks are in the log."""
        return self._log.read_text(errors="replace").count("Traceback") if self._log.exists() else 0

    def _read_log(self) -> list[dict[str, Any]]:
        found = []
        for line in self._log.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return found

    async def _probe(self, path: str) -> int | None:
        try:
            return (await self._get(path))[0]
        except (aiohttp.ClientError, OSError):
            return None

    async def _get(self, path: str) -> tuple[int, str]:
        connector = aiohttp.UnixConnector(str(self.admin))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get(f"http://localhost{path}") as answer,
        ):
            return answer.status, await answer.text()

    async def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
                # A stopped process takes a signal other than SIGKILL once it goes on.
                self._process.send_signal(signal.SIGCONT)
        code = await self._process.wait()
        self._process = None
        return code


class Edge(Daemon):
    """A relay on a host, with its engine."""

    def __init__(
        self,
        folder: Path,
        host: str,
        ledger: Ledger,
        config: Mapping[str, object],
        engine_name: str = "local",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.host = host
        self.engine = ScriptedEngine(folder / "engine.sock")
        self._ledger = ledger
        engine = {"url": f"unix://{self.engine.socket}", "start_from": "oldest"}
        engines = {engine_name: engine}
        super().__init__(folder, {"engines": engines, **config})

    async def start(self) -> None:
        """Start it, and wait until it reads the stream of its engine."""
        known = len(self.engine.streams)
        await super().start()
        await self.wait_for(
            lambda: len(self.engine.streams) > known, "it did not read the stream of its engine"
        )

    def happen(self, container: str, count: int = 1) -> None:
        """Let a container die this often; each event has a number of its own."""
        for _ in range(count):
            number = self._ledger.make(self.host, container)
            self.engine.emit(container, "die", exitCode="3", number=str(number))
