"""A private container engine for tests. They never use an engine that is already running."""

import io
import subprocess
import tarfile
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.engine_api import EngineApi
from tests.support.sandbox import Sandbox

IMAGE = "bb:1"
"""An image with a static busybox and nothing else; it needs no registry."""

EAT_MEMORY = "x=a; while true; do x=$x$x; done"
"""A shell's command that doubles a text until the kernel ends the shell."""

MEMORY_LIMITS = ("--memory=16m", "--memory-swap=16m")

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0

RUNS_MAX = 5
"""How often an OOM kill is repeated at most, until the engine reports one."""

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"


class EngineError(Exception):
    """The machine lacks something that an engine needs, or an engine fails."""


class SandboxedEngine(EngineApi, ABC):
    """An engine in its own folder and namespaces; several may run at the same time.

    A context manager: the engine runs from the start to the end. Meanwhile it can be stopped or
    killed, and started again with the same data. At the end nothing of it is left, even if the
    tests die.
    """

    def __init__(self, *, docker: str, init: str, busybox: str, path: str) -> None:
        """Take the paths of the docker command, a small init and a static busybox; and a PATH."""
        # The path of a Unix socket has at most 107 bytes: a test's own folder is too deep.
        self.folder = Path(tempfile.mkdtemp(prefix="relay-", dir="/tmp"))
        super().__init__(self.folder / "docker.sock")
        self._docker, self._busybox, self._path = docker, busybox, path
        self._process: subprocess.Popen[bytes] | None = None
        self._sandbox = Sandbox(self.folder, cgroup=self._cgroup, init=init, env=self._env)

    def __enter__(self) -> Self:
        try:
            self.start()
            self.docker("import", "-", IMAGE, stdin=_busybox_image(Path(self._busybox)))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def log(self) -> str:
        """The last lines of the engine's log, for error messages."""
        path = self.folder / "engine.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-30:])

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the docker command finds this engine."""
        return {**self._env, "DOCKER_HOST": self.url}

    def start(self) -> None:
        """Start the engine unless it runs, and wait until it answers; raises `EngineError`."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"the engine does not answer; its log:\n{self.log}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Send SIGTERM, as a service manager does. Some engines end their containers first."""
        self._end("TERM")

    def kill(self) -> None:
        """Kill the engine; its containers keep running."""
        self._end("KILL")

    def close(self) -> None:
        """Remove everything: processes, containers, mounts, control groups, the folder."""
        self._sandbox.close()
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_S)

    def docker(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run the docker command; return its output, or raise `EngineError` with its message."""
        done = subprocess.run(
            [self._docker, "-H", self.url, *arguments],
            input=stdin,
            capture_output=True,
            env=self._env,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            complaint = done.stderr.decode(errors="replace").strip()
            raise EngineError(f"docker {' '.join(arguments)}: {complaint}")
        return done.stdout.decode().strip()

    def run(
        self,
        *command: str,
        name: str,
        labels: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> str:
        """Start a container in the background; return its id. `wait` waits for its end."""
        marks = [f"--label={label}={value}" for label, value in (labels or {}).items()]
        basics = ["--detach", "--network=none", f"--name={name}", *self._run_options]
        return self.docker("run", *basics, *marks, *options, IMAGE, *command)

    def logs(self, name: str) -> str:
        """Return the container's standard output and standard error so far."""
        return subprocess.run(
            [self._docker, "-H", self.url, "logs", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env,
            timeout=COMMAND_TIMEOUT_S,
            check=True,
        ).stdout.decode(errors="replace")

    def wait_for_log_line(self, name: str, line: str) -> None:
        """Wait until the container's log contains this line; raises `EngineError`."""
        deadline = time.monotonic() + COMMAND_TIMEOUT_S
        while line not in self.logs(name).splitlines():
            if time.monotonic() > deadline:
                raise EngineError(f"{name} does not write {line!r}; its log:\n{self.logs(name)}")
            time.sleep(0.05)

    def wait(self, name: str) -> int:
        """Wait until the container ends; return its exit code."""
        return int(self.docker("wait", name))

    def run_out_of_memory(self, name: str) -> int:
        """Run a container until the kernel kills it for memory; return its exit code.

        Now and then a Docker engine sends the ``oom`` after the ``die``, or not at all.
        """
        self.run("sh", "-c", EAT_MEMORY, name=name, options=MEMORY_LIMITS)
        return self.wait(name)

    def report_out_of_memory(self, name: str) -> dict[str, Any]:
        """Repeat `run_out_of_memory` until the engine sends an ``oom``; return that event."""
        for _ in range(RUNS_MAX):
            since_ns = time.time_ns()
            self.run_out_of_memory(name)
            with suppress(AssertionError):
                return self.wait_for_event("oom", name, since_ns=since_ns, timeout_s=2.0)
            self.docker("rm", name)
        raise AssertionError(f"no oom of {name!r} in {RUNS_MAX} runs")

    def kill_process(self, name: str) -> None:
        """Kill the container's process from the host, without asking the engine."""
        self.kill_pid(self.pid(name))

    def pid(self, name: str) -> int:
        """Return the process id of the container, for `kill_pid`."""
        found: int = self.inspect(name)["State"]["Pid"]
        return found

    def kill_pid(self, pid: int) -> None:
        """Kill a container's process, whether or not the engine runs."""
        self._signal("KILL", pid)

    def remove_containers(self) -> None:
        """Remove every container, running or not."""
        if names := self.docker("ps", "--all", "--quiet").split():
            self.docker("rm", "--force", "--volumes", *names)

    @property
    @abstractmethod
    def _command(self) -> list[str]:
        """The command that starts the engine, which writes its process id to `_pidfile`."""

    @property
    def _run_options(self) -> Sequence[str]:
        """Options that this kind of engine needs for every container."""
        return ()

    @property
    def _pidfile(self) -> Path:
        return self.folder / "engine.pid"

    @property
    def _cgroup(self) -> str:
        return f"/{self.folder.name}"

    @property
    def _env(self) -> dict[str, str]:
        """An environment without anything from the tests': no DOCKER_HOST, context or proxy."""
        return {"PATH": self._path, "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self.folder / "engine.log").open("ab") as log:
            return subprocess.Popen(
                self._sandbox.enter(*self._command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
                start_new_session=True,
            )

    def _end(self, signal: str) -> None:
        assert self._process is not None, "the engine was never started"
        self._signal(signal, int(self._pidfile.read_text()))
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise EngineError(
                f"the engine does not end on {signal}; its log:\n{self.log}"
            ) from None

    def _signal(self, signal: str, pid: int) -> None:
        kill = self._sandbox.enter(self._busybox, "kill", f"-{signal}", str(pid))
        subprocess.run(kill, check=True, env=self._env, timeout=COMMAND_TIMEOUT_S)


def _busybox_image(busybox: Path) -> bytes:
    """Return a file system as a tar: busybox, and a link to it for each of its commands."""
    listing = subprocess.run([str(busybox), "--list"], capture_output=True, check=True, text=True)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        tar.add(busybox.resolve(), "bin/busybox")
        for command in listing.stdout.split():
            if command != "busybox":
                link = tarfile.TarInfo(f"bin/{command}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
    return target.getvalue()
