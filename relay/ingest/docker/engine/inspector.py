"""Asking an engine about single containers, whenever there is a connection to it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

from relay.ingest.docker.engine.client import ENGINE_ERRORS, EngineClient, EngineRefused
from relay.ingest.docker.engine.inspection import ContainerSnapshot

CONCURRENCY = 4
"""How many questions an engine is asked at the same time."""

TIMEOUT_S = 2
"""How long an answer may take that events wait for."""

CONTAINER_TIMEOUT_S = 10
"""How long it may take over one container: one can be stuck, and the others are not."""

DENIED_STATUSES = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""How a proxy answers that lets nobody inspect; anything else is about one container, or passes."""


class Inspector:
    """The way to one engine's API."""

    def __init__(self) -> None:
        self._client: EngineClient | None = None

    @contextmanager
    def use(self, client: EngineClient) -> Iterator[None]:
        """Ask through this client as long as the context lasts."""
        self._client = client
        try:
            yield
        finally:
            self._client = None

    @property
    def client(self) -> EngineClient | None:
        """The client of the connection there is; None if there is none."""
        return self._client

    async def inspect_many(self, containers: Iterable[str]) -> dict[str, ContainerSnapshot]:
        """Those containers of which the engine tells within `ANSWER_S`."""
        found: dict[str, ContainerSnapshot] = {}
        wanted = list(containers)
        if wanted and self._client is not None:
            with suppress(*ENGINE_ERRORS):
                async with asyncio.timeout(TIMEOUT_S):
                    await inspect_containers(self._client, wanted, found.__setitem__)
        return found


async def inspect_containers(
    client: EngineClient,
    containers: Iterable[str],
    on_snapshot: Callable[[str, ContainerSnapshot], object],
) -> Exception | None:
    """Tell ``found`` what the engine says of each of these containers.

    One that it fails to show is left out; returns the last such failure. Raises `EngineRefused`
    where no container may be inspected at all.
    """
    waiting = iter(containers)
    failed: Exception | None = None

    async def ask() -> None:
        nonlocal failed
        for container in waiting:
            try:
                async with asyncio.timeout(CONTAINER_TIMEOUT_S):
                    seen = await client.snapshot(container)
            except ENGINE_ERRORS as failure:
                if isinstance(failure, EngineRefused) and failure.status in DENIED_STATUSES:
                    raise
                failed = failure
            else:
                if seen is not None:
                    on_snapshot(container, seen)

    asking = [asyncio.ensure_future(ask()) for _ in range(CONCURRENCY)]
    try:
        await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return failed
