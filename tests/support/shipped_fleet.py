"""The files of ``deploy/fleet``, prepared by their own script, and servers that run with them.

The three servers have addresses of their own, 127.0.0.1 to 127.0.0.3, in place of three machines.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

from tests.support.nats_server import NatsServer, free_ports
from tests.support.throwaway import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "fleet"
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
PREPARE_TIMEOUT_S = 120
START_TIMEOUT_S = 30.0


class ShippedServer(NatsServer):
    """A server with the shipped configuration, its paths and ports replaced."""

    def __init__(self, fleet: "ShippedFleet", address: str, routes: Mapping[str, int]) -> None:
        self._fleet, self.address, self._routes = fleet, address, routes
        super().__init__(fleet.folder / "servers" / address, scheme="tls")

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"tls://{self.address}:{self.port}"

    def write_config(self, config: str) -> None:
        """Write the shipped configuration."""
        made = self._fleet.made / "servers" / self.address
        text = (self._fleet.files / "nats-server.conf").read_text()
        for shipped, here in {
            "$SERVER_NAME": f'"n{self.address[-1]}"',
            "0.0.0.0:4222": f"{self.address}:{self.port}",
            "0.0.0.0:6222": f"{self.address}:{self._routes[self.address]}",
            "127.0.0.1:8222": f"127.0.0.1:{self.monitor_port}",
            "/etc/nats/machine": str(made),
            "machine/users.conf": os.path.relpath(made / "users.conf", self.folder),
            "/var/lib/nats": str(self.folder / "store"),
            **{
                f"tls://nats{number}:6222": f"tls://{address}:{port}"
                for number, (address, port) in enumerate(self._routes.items(), start=1)
            },
        }.items():
            assert shipped in text, shipped
            text = text.replace(shipped, here)
        self.config_file.write_text(text)


def is_healthy(server: NatsServer) -> bool:
    """Whether a server says that it is well, as the health check of its container asks it."""
    try:
        with urlopen(f"http://127.0.0.1:{server.monitor_port}/healthz", timeout=1):
            return True
    except OSError:
        return False


class ShippedFleet:
    """A copy of the files, with what the script makes; `start` runs the servers."""

    def __init__(self, folder: Path, *hosts: str) -> None:
        self.folder = folder
        self.files = folder / "fleet"
        shutil.copytree(FOLDER, self.files, ignore=shutil.ignore_patterns("made", "secrets"))
        self.made = self.files / "made"
        assert self.prepare(*hosts) == ""
        routes = dict(zip(ADDRESSES, free_ports(len(ADDRESSES)), strict=True))
        self.servers = [ShippedServer(self, address, routes) for address in ADDRESSES]

    def prepare(self, *hosts: str) -> str:
        """Run the script for these hosts; return what it complains of."""
        ended = subprocess.run(
            [self.files / "prepare", *hosts],
            env={
                **os.environ,
                "RELAY": f"{sys.executable} -m relay",
                "PYTHONPATH": str(REPOSITORY),
                "SERVERS": " ".join(ADDRESSES),
            },
            capture_output=True,
            text=True,
            timeout=PREPARE_TIMEOUT_S,
            check=False,
        )
        return ended.stderr

    def prepare_and_reload(self, *hosts: str) -> None:
        """Run the script, and have the servers read what it has made."""
        assert self.prepare(*hosts) == ""
        for server in self.servers:
            server.reload("")

    def start(self) -> None:
        """Start the servers, and wait until their cluster has a leader."""
        for server in self.servers:
            server.start()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not all(map(is_healthy, self.servers)):
            assert time.monotonic() < deadline_s, self.servers[0].read_log()
            time.sleep(0.05)

    def kill(self) -> None:
        """Kill the servers that run."""
        for server in self.servers:
            server.kill()

    def relay_config(self, kind: str, login: str, changes: Mapping[str, str] | None = None) -> Path:
        """Return the shipped configuration of an ``edge`` or a ``hub``, for these servers."""
        folder = self.folder / login.replace("/", "-")
        folder.mkdir()
        text = (self.files / kind / "config.yaml").read_text()
        urls = ", ".join(f'"tls://nats{number}:4222"' for number in (1, 2, 3))
        credentials = "${CREDENTIALS_DIRECTORY:-/run/secrets}"
        for shipped, here in {
            f"url: [{urls}]": f"url: [{', '.join(server.url for server in self.servers)}]",
            f"{credentials}/nkey": str(self.made / login / "nkey"),
            f"{credentials}/ca": str(self.made / login / "ca.pem"),
            **(changes or {}),
        }.items():
            assert shipped in text, shipped
            text = text.replace(shipped, here)
        config = folder / "config.yaml"
        config.write_text(f"store: {{path: {folder}/relay.db}}\n{text}")
        return config
