"""An engine that belongs to the tests alone, of whatever make: never one that they find running."""

import io
import subprocess
import tarfile
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.engine_api import EngineApi
from tests.support.sandbox import Enclosure

IMAGE = "bb:1"
"""A static busybox and nothing else; it needs no registry."""

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0

SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"


class EngineError(Exception):
    """The machine lacks what an engine needs, or the engine fails to do what was asked."""


class SandboxedEngine(EngineApi, ABC):
    """An engine in a folder and in namespaces of its own; several may run at once.

    As a context it runs from the start to the end; between, it can be stopped or killed and
    started again on the same data. At the end nothing of it is left, even if the tests die.
    """

    def __init__(self, *, docker: str, init: str, busybox: str, path: str) -> None:
        """Programs: the docker command, a small init, a static busybox; and the engine's PATH."""
        # Unix socket paths end at 107 bytes, so not below a test's own, long folder.
        self.folder = Path(tempfile.mkdtemp(prefix="relay-", dir="/tmp"))
        super().__init__(self.folder / "docker.sock")
        self._docker, self._busybox, self._path = docker, busybox, path
        self._process: subprocess.Popen[bytes] | None = None
        self._enclosure = Enclosure(self.folder, cgroup=self._cgroup, init=init, env=self._env)

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
        """The end of what the engine has said, for the text of a failure."""
        path = self.folder / "engine.log"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return "\n".join(lines[-30:])

    def start(self) -> None:
        """Start the engine, unless it runs, and return when it answers; raises EngineError."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = self._launch()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"the engine does not answer; it said:\n{self.log}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the engine as a person would; whether its containers end first is its own way."""
        self._end("TERM")

    def kill(self) -> None:
        """Kill the engine where it stands; the containers live on without it."""
        self._end("KILL")

    def close(self) -> None:
        """Remove all of it: processes, containers, mounts, control groups, the folder."""
        self._enclosure.close()
        if self._process is not None:
            self._process.wait(STOP_TIMEOUT_S)

    def docker(self, *arguments: str, stdin: bytes = b"") -> str:
        """What the docker command prints; raises EngineError with its complaint if it fails."""
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
        """Start a container in the background; returns its id. See `wait` for its end."""
        marks = [f"--label={label}={value}" for label, value in (labels or {}).items()]
        basics = ["--detach", "--network=none", f"--name={name}", *self._run_options]
        return self.docker("run", *basics, *marks, *options, IMAGE, *command)

    def logs(self, name: str) -> str:
        """What the container has said so far, on its standard output and its standard error."""
        return subprocess.run(
            [self._docker, "-H", self.url, "logs", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._env,
            timeout=COMMAND_TIMEOUT_S,
            check=True,
        ).stdout.decode(errors="replace")

    def wait(self, name: str) -> int:
        """Wait for the container's end; returns its exit code."""
        return int(self.docker("wait", name))

    def kill_process(self, name: str) -> None:
        """Kill the container's process behind the engine's back, as from the host."""
        self.kill_pid(self.pid(name))

    def pid(self, name: str) -> int:
        """The number of the container's process, as `kill_pid` takes it."""
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
        """What starts the engine; it keeps its process id in `_pidfile`."""

    @property
    def _run_options(self) -> Sequence[str]:
        """What this make of engine needs for every container."""
        return ()

    @property
    def _pidfile(self) -> Path:
        return self.folder / "engine.pid"

    @property
    def _cgroup(self) -> str:
        return f"/{self.folder.name}"

    @property
    def _env(self) -> dict[str, str]:
        """Nothing of the tests' own environment: no DOCKER_HOST, context or proxy."""
        return {"PATH": self._path, "HOME": str(self.folder), "LANG": "C.UTF-8"}

    def _launch(self) -> subprocess.Popen[bytes]:
        with (self.folder / "engine.log").open("ab") as log:
            return subprocess.Popen(
                self._enclosure.enter(*self._command),
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
            said = f"it said:\n{self.log}"
            raise EngineError(f"the engine does not end on {signal}; {said}") from None

    def _signal(self, signal: str, pid: int) -> None:
        kill = self._enclosure.enter(self._busybox, "kill", f"-{signal}", str(pid))
        subprocess.run(kill, check=True, env=self._env, timeout=COMMAND_TIMEOUT_S)


def _busybox_image(busybox: Path) -> bytes:
    """A file system, as a tar, of busybox and a link to it for each of its commands."""
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
