"""The pure parts of the engine's client."""

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from relay.ingest.docker.engine.client import clock_ahead_ns, connect, format_engine_time
from relay.ingest.docker.engine.endpoint import Endpoint
from relay.ingest.docker.engine.errors import EngineUnavailable

NOON_NS = 1795435200 * 10**9
SSH_MODULE = "relay.ingest.docker.engine.ssh"
NOON = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("local_ns", "ahead_s"),
    [(NOON_NS, 0), (NOON_NS + 1_900_000_000, 0), (NOON_NS - 3600 * 10**9, 3600)],
)
def test_the_difference_of_the_clocks(local_ns: int, ahead_s: int) -> None:
    """A difference counts only if whole seconds cannot explain it."""
    assert clock_ahead_ns(NOON, local_ns) == ahead_s * 10**9


@pytest.mark.parametrize(
    "date",
    [
        *(None, "", "soon", "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "\0"),
        "Sat, 01 Jan 2263 00:00:00 GMT",  # beyond 64 bits of nanoseconds
        "Wed, 01 Jan 2200 00:00:00 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_an_invalid_date_counts_as_no_difference(date: str | None) -> None:
    """With an invalid date, the clocks count as equal."""
    assert clock_ahead_ns(date, NOON_NS) == 0


def test_engine_times_have_nine_digits() -> None:
    """Engine times have nine digits, including leading zeros."""
    assert format_engine_time(1795416515_000000378) == "1795416515.000000378"


class ImportThreads:
    """Records which thread imports the module for ssh. Finds no module itself."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
        """Note who imports the module."""
        if name == SSH_MODULE:
            self.threads.append(threading.current_thread())


async def test_ssh_is_imported_in_a_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its import takes long, and the event loop goes on meanwhile."""
    finder = ImportThreads()
    monkeypatch.delitem(sys.modules, SSH_MODULE, raising=False)
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    monkeypatch.setenv("HOME", str(tmp_path))
    with suppress(EngineUnavailable):  # asyncssh is not installed, or the host is not known
        await _connect_by_ssh()
    assert finder.threads
    assert threading.main_thread() not in finder.threads


async def test_an_unknown_ssh_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the file in which ssh looks for keys of hosts."""
    pytest.importorskip("asyncssh")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EngineUnavailable, match="known_hosts"):
        await _connect_by_ssh()


async def _connect_by_ssh() -> None:
    async with connect(Endpoint("ssh://user@127.0.0.1", None, None), lambda: NOON_NS):
        pass
