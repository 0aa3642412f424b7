"""A NATS server, and a fleet around it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.fleet import Fleet, quiet_logs, running_fleet
from tests.support.nats_server import running_server


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """What the tests' own connections log is of no use: relays have logs of their own."""
    quiet_logs()


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A server without a stream, and no relay yet."""
    with running_server(tmp_path / "nats") as server:
        async with running_fleet(tmp_path, [server]) as running:
            yield running
