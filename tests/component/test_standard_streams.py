"""relay as a process whose standard streams are closed, or whose output nobody reads."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.daemon import write_config

RUN = (sys.executable, "-m", "relay", "run", "--config")
TIMEOUT_S = 20


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(
        tmp_path,
        engines={"gone": {"url": f"unix://{tmp_path}/no.sock"}},
        store={"path": "relay.db"},
        destinations={"terminal": {"type": "console"}},
        routes=[{"name": "own", "match": {"type": "relay"}, "to": "terminal"}],
    )


def wait_until_started(config: Path) -> None:
    """Wait until relay has opened its store, and then the socket beside it."""
    socket = config.with_name("relay.db.sock")
    deadline_s = time.monotonic() + TIMEOUT_S
    while not socket.exists():
        assert time.monotonic() < deadline_s, "relay did not start"
        time.sleep(0.01)


def full_pipe() -> tuple[int, int]:
    """A pipe that accepts no further byte until it is read."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, bytes(4096))
    except BlockingIOError:
        os.set_blocking(write, True)
    return read, write


def test_output_that_nobody_reads_does_not_prevent_the_shutdown(config: Path) -> None:
    """SIGTERM ends relay although standard output and error are blocked."""
    read, write = full_pipe()
    try:
        with subprocess.Popen([*RUN, str(config)], stdout=write, stderr=write) as relay:
            wait_until_started(config)
            relay.send_signal(signal.SIGTERM)
            assert relay.wait(TIMEOUT_S) == 0
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_become_files_of_relay(config: Path, closed: str) -> None:
    """Output goes nowhere, least of all into the store."""
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *RUN, str(config)]
    with subprocess.Popen(shell, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as relay:
        wait_until_started(config)
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(TIMEOUT_S) == 0
    assert config.with_name("relay.db").read_bytes().startswith(b"SQLite format 3\0")
