"""Runs relay as a process, as a person or a service manager does."""

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
    """Write these sections (``routes=[…]`` …) to ``config.yaml`` in ``folder``; return its path."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(parts, sort_keys=False, allow_unicode=True))
    return path


@asynccontextmanager
async def run_relay(
    config: Path, program: Sequence[str] = RELAY
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``relay run``; send SIGTERM when the context ends.

    Its log is written to ``relay.log`` beside the configuration.
    """
    with (config.parent / "relay.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(*program, "--config", str(config)), stdin=asyncio.subprocess.DEVNULL, stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()


class RelayProcess:
    """One run of ``relay run``, whose output and log are collected.

    A context manager: it starts the process, and kills it at the end if it still runs. For a second
    run with the same store, make another one with the same configuration.
    """

    def __init__(
        self,
        config: Path | None,
        *,
        folder: Path | None = None,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = RELAY,
    ) -> None:
        """``config`` None leaves it to relay to find its configuration; ``folder`` is needed then.

        ``env`` is added to PATH, HOME and LANG; nothing else is in the environment.
        """
        if folder is None:
            assert config is not None
            folder = config.parent
        self._command = [*program, *(["--config", str(config)] if config else [])]
        self._folder = folder
        self._env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            **(env or {}),
        }
        self._changed = threading.Condition()
        self._stdout_lines: list[str] = []
        self._stderr_lines: list[str] = []
        self._logs: list[dict[str, Any]] = []
        self._stderr_closed = False
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
        """The process id."""
        return self._running().pid

    @property
    def stdout(self) -> str:
        """The standard output so far."""
        with self._changed:
            return "".join(self._stdout_lines)

    @property
    def stderr(self) -> str:
        """The standard error so far, log lines included."""
        with self._changed:
            return "".join(self._stderr_lines)

    def logs(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Return the log lines so far with this ``event`` and these fields, in order."""
        with self._changed:
            return self._find_logs(event, fields)

    def wait_for_log(
        self,
        event: str,
        timeout_s: float = LOG_TIMEOUT_S,
        *,
        at_least: int = 1,
        **fields: object,
    ) -> dict[str, Any]:
        """Wait for a log line with this ``event`` and these fields, and return it.

        It may have come before the call. With ``at_least=2`` that is the second such line, and so
        on. Raises AssertionError with the log if it does not come in time, or at once if relay has
        ended.
        """

        def found() -> bool:
            return len(self._find_logs(event, fields)) >= at_least

        with self._changed:
            self._changed.wait_for(lambda: found() or self._stderr_closed, timeout_s)
            if found():
                return self._find_logs(event, fields)[at_least - 1]
        raise AssertionError(f"no log line {event!r} with {fields}; {self._describe_state()}")

    def wait(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """Wait until it ends; return its exit code, or minus the signal that killed it."""
        try:
            code = self._running().wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {timeout_s} s; {self._describe_state()}"
            ) from None
        for reader in self._readers:
            reader.join()
        return code

    def terminate(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        """Send SIGTERM; return the exit code. Raises AssertionError if it does not end in time."""
        self._running().send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill9(self) -> None:
        """Send SIGKILL and wait until it has ended; does nothing if it has ended before."""
        self._running().kill()
        self.wait()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None, "relay was not started: use it as a context manager"
        return self._process

    def _read_stdout(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._stdout_lines.append(line)

    def _read_stderr(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._add_stderr_line(line)
        with self._changed:
            self._stderr_closed = True
            self._changed.notify_all()

    def _add_stderr_line(self, line: str) -> None:
        with self._changed:
            self._stderr_lines.append(line)
            log = _parse(line)
            if log is not None:
                self._logs.append(log)
            self._changed.notify_all()

    def _find_logs(self, event: str, fields: Mapping[str, object]) -> list[dict[str, Any]]:
        wanted = {"event": event, **fields}.items()
        return [log for log in self._logs if all(log.get(key) == value for key, value in wanted)]

    def _describe_state(self) -> str:
        try:
            # The standard error is closed a moment before the process ends.
            state = f"it ended with {self._running().wait(1.0 if self._stderr_closed else 0.0)}"
        except subprocess.TimeoutExpired:
            state = "it still runs"
        return f"{state}; its log:\n{''.join(self._stderr_lines[-30:])}"


def _parse(line: str) -> dict[str, Any] | None:
    """Parse a log line; None for other lines, such as warnings and tracebacks."""
    try:
        log = json.loads(line)
    except ValueError:
        return None
    return log if isinstance(log, dict) else None
