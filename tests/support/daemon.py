"""A relay as a process of its own, as a person or a supervisor runs it."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import yaml

LOG_TIMEOUT_S = 15.0
EXIT_TIMEOUT_S = 15.0

RELAY = (sys.executable, "-m", "relay", "run")


def write_config(folder: Path, **parts: object) -> Path:
    """Write ``config.yaml`` in ``folder`` with these parts (``routes=[…]`` …); returns its path."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(parts, sort_keys=False, allow_unicode=True))
    return path


@asynccontextmanager
async def quiet_relay(config: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """One run of ``relay run`` whose log nobody reads: it is left in ``relay.log`` beside the file.

    Ended by SIGTERM when the context does.
    """
    with (config.parent / "relay.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(*RELAY, "--config", str(config)), stdin=asyncio.subprocess.DEVNULL, stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


class RelayProcess:
    """One run of ``relay run``; as a context it is killed at the end if it still runs.

    A second run over the same store is a second RelayProcess with the same configuration.
    """

    def __init__(
        self,
        config: Path,
        *,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = RELAY,
    ) -> None:
        """``env`` is all that it sees of an environment, beside PATH, HOME and a locale."""
        self._command = [*program, "--config", str(config)]
        self._folder = config.parent
        self._env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(config.parent),
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        self._news = threading.Condition()
        self._printed: list[str] = []
        self._said: list[str] = []
        self._logs: list[dict[str, Any]] = []
        self._silent = False
        self._process: subprocess.Popen[str] | None = None
        self._readers: tuple[threading.Thread, ...] = ()

    def __enter__(self) -> Self:
        process = self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder,
            env=self._env,
            encoding="utf-8",
            errors="replace",
        )
        self._readers = (
            threading.Thread(target=self._read_stdout, args=(process.stdout,)),
            threading.Thread(target=self._read_stderr, args=(process.stderr,)),
        )
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill9()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._running().pid

    @property
    def stdout(self) -> str:
        """What it has printed."""
        with self._news:
            return "".join(self._printed)

    @property
    def stderr(self) -> str:
        """What it has said on its standard error, log lines and all."""
        with self._news:
            return "".join(self._said)

    def logs(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines so far of this ``event`` with these fields, in order."""
        with self._news:
            return self._matching(event, fields)

    def wait_for_log(
        self,
        event: str,
        timeout_s: float = LOG_TIMEOUT_S,
        *,
        at_least: int = 1,
        **fields: object,
    ) -> dict[str, Any]:
        """The first such log line, past or to come; with ``at_least=2`` the second, and so on.

        Raises AssertionError that shows what it said instead, at once if it has ended.
        """

        def found() -> bool:
            return len(self._matching(event, fields)) >= at_least

        with self._news:
            self._news.wait_for(lambda: found() or self._silent, timeout_s)
            if found():
                return self._matching(event, fields)[at_least - 1]
        raise AssertionError(f"no log line {event!r} with {fields}; {self._story()}")

    def wait(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """Wait for its end; returns its exit code (minus the signal's number if one killed it)."""
        try:
            code = self._running().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s; {self._story()}") from None
        for reader in self._readers:
            reader.join()
        return code

    def terminate(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """Ask it to end, by SIGTERM; returns its exit code, or raises AssertionError."""
        self._running().send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill9(self) -> None:
        """Kill it by SIGKILL and wait until it is gone; nothing happens if it has ended."""
        self._running().kill()
        self.wait()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "relay was not started: use it as a context"
        return self._process

    def _read_stdout(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._news:
                    self._printed.append(line)

    def _read_stderr(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._take(line)
        with self._news:
            self._silent = True
            self._news.notify_all()

    def _take(self, line: str) -> None:
        with self._news:
            self._said.append(line)
            log = _parse(line)
            if log is not None:
                self._logs.append(log)
            self._news.notify_all()

    def _matching(self, event: str, fields: Mapping[str, object]) -> list[dict[str, Any]]:
        wanted = {"event": event, **fields}.items()
        return [log for log in self._logs if all(log.get(key) == value for key, value in wanted)]

    def _story(self) -> str:
        try:
            # Its standard error ends a moment before it does.
            state = f"it ended with {self._running().wait(1.0 if self._silent else 0.0)}"
        except subprocess.TimeoutExpired:
            state = "it still runs"
        return f"{state}; it said:\n{''.join(self._said[-30:])}"


def _parse(line: str) -> dict[str, Any] | None:
    """The log line as a map, or None for a line that is not one: a warning, a traceback."""
    try:
        log = json.loads(line)
    except ValueError:
        return None
    return log if isinstance(log, dict) else None
