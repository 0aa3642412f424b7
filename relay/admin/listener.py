"""The place where relay answers over HTTP, which a reload can move."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from relay.admin.http import warn_if_closed
from relay.config import AdminConfig, TcpPort
from relay.core.errors import RelayError


@dataclass(slots=True)
class Entrance:
    """One place, opened."""

    config: AdminConfig
    """As it is at the moment; ``listen`` stays."""
    opened: AsyncExitStack
    """What closes it."""


Open = Callable[[Callable[[], AdminConfig]], AbstractAsyncContextManager[None]]
"""Answers, as the configuration has it at the moment, as long as the context lasts. Raises
`AdminError`."""


class InItsWay(RelayError):
    """What is wanted cannot be opened, and what is in use may be why."""


class Door:
    """One entrance at a time, or none. Another is opened before the one in use is closed."""

    def __init__(self, open_: Open) -> None:
        self._open = open_
        self._entrance: Entrance | None = None

    async def opened(self, wanted: AdminConfig | None, guard: AsyncExitStack) -> Entrance | None:
        """The entrance that is wanted, where that is another; closed with ``guard``.

        Raises `AdminError`, or `InItsWay`.
        """
        if wanted is None or self._is_at(wanted):
            return None
        entrance = Entrance(wanted, await guard.enter_async_context(AsyncExitStack()))
        try:
            await entrance.opened.enter_async_context(self._open(lambda: entrance.config))
        except RelayError as error:
            if (before := self._entrance) and _share_a_port(before.config, wanted):
                raise InItsWay(
                    f"{error}; relay itself has its port, at {before.config.listen}: take another "
                    "port, or restart relay"
                ) from error
            raise
        return entrance

    def adopt(self, wanted: AdminConfig | None, fresh: Entrance | None) -> AsyncExitStack:
        """From here on answer so; returns what closes the entrance that is no more."""
        before = self._entrance
        if wanted is not None and self._is_at(wanted):
            assert before is not None
            before.config = wanted
            warn_if_closed(wanted)
            return AsyncExitStack()
        self._entrance = fresh
        return AsyncExitStack() if before is None else before.opened

    async def close(self) -> None:
        """Answer no more."""
        if self._entrance is not None:
            await self._entrance.opened.aclose()

    def _is_at(self, wanted: AdminConfig) -> bool:
        return self._entrance is not None and self._entrance.config.listen == wanted.listen


def _share_a_port(one: AdminConfig, other: AdminConfig) -> bool:
    ports = [it.listen.port for it in (one, other) if isinstance(it.listen, TcpPort)]
    return len(ports) == 2 and ports[0] == ports[1]
