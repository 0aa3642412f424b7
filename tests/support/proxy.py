"""A proxy for an engine's socket: haproxy, by default with the configuration in ``deploy/``."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.sandboxed_engine import SYSTEM_PATH, EngineError

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "container" / "haproxy.cfg"
START_TIMEOUT_S = 10.0


def find_haproxy() -> str:
    """Find the installed haproxy; raises `EngineError` if there is none."""
    found = shutil.which("haproxy", path=SYSTEM_PATH)
    if found is None:
        raise EngineError("a socket proxy needs haproxy: install haproxy")
    return found


@contextmanager
def socket_proxy(
    haproxy: str, engine: Path, listen: Path, configuration: Path = CONFIGURATION
) -> Iterator[None]:
    """Forward allowed requests from the socket ``listen`` to the socket ``engine``."""
    environ = {"LISTEN": str(listen), "SOCKET_PATH": str(engine), "PATH": os.defpath}
    process = subprocess.Popen(
        [haproxy, "-db", "-f", str(configuration)],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listen.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError("haproxy does not listen")
            time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()
