"""A NATS server, and a fleet around it."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from tests.support.fleet import Fleet, quiet_logs, running_fleet
from tests.support.nats_server import running_server


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the tests' own connections log is of no use: relays have logs of their own."""
    library, own = logging.getLogger("asyncio"), structlog.get_config()
    level = library.level
    quiet_logs()
    yield
    library.setLevel(level)
    structlog.configure(**own)


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A server without a stream, and no relay yet."""
    with running_server(tmp_path / "nats") as server:
        async with running_fleet(tmp_path, [server]) as running:
            yield running
