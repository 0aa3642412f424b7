"""Asking an engine about single containers, whenever there is a connection to it."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus

from relay.ingest.docker.engine.client import FAILURES, EngineClient, EngineRefused
from relay.ingest.docker.engine.inspection import Sighting

AT_ONCE = 4
"""How many questions an engine is asked at the same time."""

ANSWER_S = 2
"""How long an answer may take that events wait for."""

ONE_S = 10
"""How long it may take over one container: one can be stuck, and the others are not."""

FORBIDDEN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""How a proxy answers that lets nobody inspect; anything else is about one container, or passes."""


class Contact:
    """The way to one engine's API."""

    def __init__(self) -> None:
        self._client: EngineClient | None = None

    @contextmanager
    def over(self, client: EngineClient) -> Iterator[None]:
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

    async def sightings(self, containers: Iterable[str]) -> dict[str, Sighting]:
        """Those containers of which the engine tells within `ANSWER_S`."""
        found: dict[str, Sighting] = {}
        wanted = list(containers)
        if wanted and self._client is not None:
            with suppress(*FAILURES):
                async with asyncio.timeout(ANSWER_S):
                    await inspect(self._client, wanted, found.__setitem__)
        return found


async def inspect(
    client: EngineClient, containers: Iterable[str], found: Callable[[str, Sighting], object]
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
                async with asyncio.timeout(ONE_S):
                    seen = await client.sighting(container)
            except FAILURES as failure:
                if isinstance(failure, EngineRefused) and failure.status in FORBIDDEN:
                    raise
                failed = failure
            else:
                if seen is not None:
                    found(container, seen)

    asking = [asyncio.ensure_future(ask()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return failed
