"""A read-only proxy before an engine's socket: haproxy with the configuration that is shipped."""

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
    """The machine's haproxy; raises EngineError where there is none."""
    found = shutil.which("haproxy", path=SYSTEM_PATH)
    if found is None:
        raise EngineError("a socket proxy needs haproxy: install haproxy")
    return found


@contextmanager
def socket_proxy(haproxy: str, engine: Path, listen: Path) -> Iterator[None]:
    """Let what the configuration allows through from ``listen`` to the engine's socket."""
    environ = {"LISTEN": str(listen), "SOCKET_PATH": str(engine), "PATH": os.defpath}
    process = subprocess.Popen(
        [haproxy, "-db", "-f", str(CONFIGURATION)],
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
