"""Asking an engine about single containers, whenever there is a connection to it."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from relay.engine.client import FAILURES, EngineClient, EngineRefused
from relay.engine.inspection import Sighting

AT_ONCE = 4
"""How many questions an engine is asked at the same time."""

ANSWER_S = 2
"""How long an answer may take that events wait for."""


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
                    await inspect(self._client, wanted, found)
        return found


async def inspect(
    client: EngineClient, containers: Iterable[str], found: dict[str, Sighting]
) -> None:
    """Put what the engine tells of these containers into ``found``. Raises one of `FAILURES`.

    One that the engine itself fails to inspect is left out.
    """
    waiting = iter(containers)

    async def ask() -> None:
        for container in waiting:
            try:
                seen = await client.sighting(container)
            except EngineRefused as refused:
                if refused.status < 500:
                    raise
                continue
            if seen is not None:
                found[container] = seen

    asking = [asyncio.ensure_future(ask()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
