"""Inspects single containers over the engine's current connection.

Some events cannot be processed without an inspection (see `relay.ingest.docker.containers.cause`).
Events wait for it, so it is limited in time: what the engine does not answer soon is left out, and
the cause of a death may then stay unknown. Without a connection nothing is inspected.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

from relay.core.tasks import spawn
from relay.ingest.docker.engine.client import ENGINE_ERRORS, EngineClient, EngineRefused
from relay.ingest.docker.engine.inspection import ContainerSnapshot

CONCURRENCY = 4
"""How many containers are inspected at the same time."""

TIMEOUT_S = 2
"""How long all inspections together may take while events wait for them."""

CONTAINER_TIMEOUT_S = 10
"""How long the inspection of one container may take: one can hang while the others do not."""

DENIED_STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""The answers of a proxy that allows no inspection. Any other error concerns one container, or is
temporary."""


class Inspector:
    """Inspects containers through the client of the engine's current connection."""

    def __init__(self) -> None:
        self._client: EngineClient | None = None

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

    async def inspect_many(self, containers: Iterable[str]) -> dict[str, ContainerSnapshot]:
        """Return the snapshots, by id, of those containers that the engine shows in `TIMEOUT_S`."""
        found: dict[str, ContainerSnapshot] = {}
        ids = list(containers)
        if ids and self._client is not None:
            with suppress(*ENGINE_ERRORS):
                async with asyncio.timeout(TIMEOUT_S):
                    await inspect_containers(self._client, ids, found.__setitem__)
        return found


async def inspect_containers(
    client: EngineClient,
    containers: Iterable[str],
    on_snapshot: Callable[[str, ContainerSnapshot], object],
) -> Exception | None:
    """Inspect these containers and call ``on_snapshot`` with the id and the snapshot of each.

    A container whose inspection fails is left out; returns the last such error. Raises
    `EngineRefused` if the engine allows no inspection at all.
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

    tasks = [spawn(inspect_remaining(), "container inspection") for _ in range(CONCURRENCY)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return last_error
