"""Real NATS servers on loopback, which tests start, stop, kill and start again.

`NatsServer` is one server with JetStream; `start_cluster` starts three of one cluster. A server
keeps its port and its folder for as long as the object lives, so a restart is that of a machine.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

START_TIMEOUT_S = 15.0
"""How long a server may take until it accepts connections and JetStream is ready."""
STOP_TIMEOUT_S = 10.0


class ServerError(Exception):
    """A server did not start; the text is the end of its log."""


def server_program() -> str:
    """Return the program: ``$RELAY_NATS_SERVER``, else that of the development dependency."""
    named = os.environ.get("RELAY_NATS_SERVER")
    found = named or shutil.which("nats-server", path=_search_path())
    if found is None:
        pytest.skip("there is no nats-server: install the development dependencies")
    return found


def free_ports(count: int) -> list[int]:
    """Return free ports of loopback, all different.

    They are below those that the kernel gives to outgoing connections (32768 and above): a server
    that is started again finds its port free.
    """
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(16_384, 32_768)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


class NatsServer:
    """One server, with a folder for its configuration, its log and its store."""

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        jetstream: str | None = "sync_interval: always",
        scheme: str = "nats",
        program: str | None = None,
        port: int | None = None,
    ) -> None:
        """``config`` is added to the server's configuration (accounts, TLS, a cluster).

        ``jetstream`` is what its block ``jetstream`` holds beside the folder, None for no
        JetStream. ``scheme`` is that of `url`: ``tls`` if ``config`` requires TLS.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.log_file = folder / "server.log"
        self.config_file = folder / "server.conf"
        self._scheme = scheme
        self._program = program or server_program()
        self.port, self.monitor_port = free_ports(2)
        if port is not None:
            self.port = port
        self._jetstream = jetstream
        self._process: subprocess.Popen[bytes] | None = None
        self._log_size = 0
        """How long the log was before the last start."""
        self.write_config(config)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id; raises if the server does not run."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def write_config(self, config: str) -> None:
        """Replace the configuration; `reload` or a start puts it in force."""
        store = self.folder / "store"
        jetstream = (
            ""
            if self._jetstream is None
            else f'jetstream {{ store_dir: "{store}", {self._jetstream} }}'
        )
        self.config_file.write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor_port}"\n'
            f"{jetstream}\n{config}\n"
        )

    def start(self) -> None:
        """Start the server and wait until it is ready. Raises `ServerError`."""
        self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start the server and return at once: servers of a cluster wait for each other."""
        assert not self.is_running
        self._log_size = self.log_file.stat().st_size if self.log_file.exists() else 0
        arguments = [self._program, "--config", str(self.config_file), "--log", str(self.log_file)]
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_ready(self) -> None:
        """Wait until a server that was launched is ready. Raises `ServerError`."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s and self.is_running:
            if "Server is ready" in self.read_log(self._log_size):
                return
            time.sleep(0.01)
        self.kill()
        raise ServerError(self.read_log(self._log_size)[-2_000:])

    def read_log(self, offset: int = 0) -> str:
        """Return the server's log from this byte on."""
        if not self.log_file.exists():
            return ""
        with self.log_file.open("rb") as file:
            file.seek(offset)
            return file.read().decode(errors="replace")

    def stop(self) -> None:
        """End the server as a service manager does, and wait until it has ended."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the server (SIGKILL), and wait until it has ended."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let the server hang (SIGSTOP): connections stay open, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End `pause`."""
        self._signal(signal.SIGCONT)

    def reload(self, config: str) -> None:
        """Put another configuration in force without a restart, and wait until it is."""
        size = self.log_file.stat().st_size
        self.write_config(config)
        self._signal(signal.SIGHUP)
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            log = self.read_log(size)
            if "Reloaded server configuration" in log:
                return
            if "Failed to reload" in log:
                break
            time.sleep(0.01)
        raise ServerError(self.read_log(size)[-2_000:])

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


@contextmanager
def running_server(folder: Path, config: str = "", **options: object) -> Iterator[NatsServer]:
    """Run one server for as long as the context lasts; options are those of `NatsServer`."""
    server = NatsServer(folder, config, **options)  # type: ignore[arg-type]
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def running_cluster(
    folder: Path,
    config: str = "",
    *,
    count: int = 3,
    jetstream: str = "sync_interval: always",
    prepare: Callable[[NatsServer], None] | None = None,
) -> Iterator[Sequence[NatsServer]]:
    """Run the servers of one cluster, all with the same configuration.

    ``prepare`` is called with each of them before any starts.
    """
    routes = free_ports(count)
    servers = []
    for at, port in enumerate(routes):
        others = ", ".join(f'"nats://127.0.0.1:{other}"' for other in routes if other != port)
        cluster = (
            f"server_name: n{at + 1}\ncluster {{ name: relay, "
            f'listen: "127.0.0.1:{port}", no_advertise: true, routes: [{others}] }}\n'
        )
        servers.append(NatsServer(folder / f"n{at + 1}", cluster + config, jetstream=jetstream))
    with _running(servers, prepare):
        yield servers


@contextmanager
def running_servers(
    folder: Path,
    *,
    count: int,
    jetstream: str = "sync_interval: always",
    prepare: Callable[[NatsServer], None] | None = None,
) -> Iterator[Sequence[NatsServer]]:
    """Run one server alone, or a cluster of more; see `running_cluster`."""
    if count > 1:
        with running_cluster(folder, count=count, jetstream=jetstream, prepare=prepare) as servers:
            yield servers
        return
    servers = [NatsServer(folder / "n1", jetstream=jetstream)]
    with _running(servers, prepare):
        yield servers


@contextmanager
def _running(
    servers: Sequence[NatsServer], prepare: Callable[[NatsServer], None] | None
) -> Iterator[None]:
    try:
        for server in servers:
            if prepare is not None:
                prepare(server)
        for server in servers:
            server.launch()
        for server in servers:
            server.wait_ready()
        yield
    finally:
        for server in servers:
            server.kill()


def _search_path() -> str:
    """Return where programs of the environment are, and then those of the system."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
