"""Inspects single containers over the engine's current connection.

Some events cannot be processed without an inspection (`relay.ingest.docker.containers.questions`).
Events wait for it, so it is limited in time: if the engine does not answer soon, the cause of a
death may stay unknown. Without a connection nothing is inspected.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

from relay.core.tasks import spawn
from relay.ingest.docker.engine.client import EngineClient
from relay.ingest.docker.engine.errors import ENGINE_ERRORS, EngineRefused
from relay.ingest.docker.engine.inspection import ContainerSnapshot, Inspection

CONCURRENCY = 4
"""How many containers are inspected at the same time."""

TIMEOUT_S = 2
"""How long an inspection may take while events wait for it, with the wait for its turn."""

CONTAINER_TIMEOUT_S = 10
"""How long the inspection of one container may take: one can hang while the others do not."""

DENIED_STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""The answers of a proxy that allows no inspection. Any other error concerns one container, or is
temporary."""


class Inspector:
    """Inspects containers through the client of the engine's current connection."""

    def __init__(self) -> None:
        self._client: EngineClient | None = None
        self._turns = asyncio.Semaphore(CONCURRENCY)

    @contextmanager
    def use(self, client: EngineClient) -> Iterator[None]:
        """Inspect through this client as long as the context lasts."""
        self._client = client
        try:
            yield
        finally:
            self._client = None

    @property
    def client(self) -> EngineClient | None:
        """The client of the current connection; None if there is none."""
        return self._client

    async def inspect(self, container: str) -> Inspection:
        """Inspect a container. There is no snapshot if the engine gives none in `TIMEOUT_S`."""
        with suppress(*ENGINE_ERRORS):
            async with asyncio.timeout(TIMEOUT_S), self._turns:
                if self._client is not None:
                    snapshot = await self._client.snapshot(container)
                    return Inspection(snapshot, is_removed=snapshot is None)
        return Inspection(None)


async def inspect_containers(
    client: EngineClient,
    containers: Iterable[str],
    on_snapshot: Callable[[str, ContainerSnapshot], object],
    engine: str,
) -> Exception | None:
    """Inspect these containers and call ``on_snapshot`` with the id and the snapshot of each.

    ``engine`` is the engine's name. A container whose inspection fails is left out; returns the
    last such error. Raises `EngineRefused` if the engine allows no inspection at all.
    """
    remaining = iter(containers)
    last_error: Exception | None = None

    async def inspect_remaining() -> None:
        nonlocal last_error
        for container in remaining:
            try:
                async with asyncio.timeout(CONTAINER_TIMEOUT_S):
                    snapshot = await client.snapshot(container)
            except ENGINE_ERRORS as error:
                if isinstance(error, EngineRefused) and error.status in DENIED_STATUSES:
                    raise
                last_error = error
            else:
                if snapshot is not None:
                    on_snapshot(container, snapshot)

    name = f"engine {engine}: container inspection"
    tasks = [spawn(inspect_remaining(), name) for _ in range(CONCURRENCY)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return last_error
