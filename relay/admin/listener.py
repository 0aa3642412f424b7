"""The place where relay answers over HTTP, which a reload can move."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from relay.admin.http import warn_if_token_missing
from relay.config import AdminConfig, TcpPort
from relay.core.errors import RelayError


@dataclass(slots=True)
class ActiveListener:
    """One place, opened."""

    config: AdminConfig
    """As it is at the moment; ``listen`` stays."""
    resources: AsyncExitStack
    """What closes it."""


Serve = Callable[[Callable[[], AdminConfig]], AbstractAsyncContextManager[None]]
"""Answers, as the configuration has it at the moment, as long as the context lasts. Raises
`AdminListenerError`."""


class PortInUseByRelay(RelayError):
    """What is wanted cannot be opened, and what is in use may be why."""


class ListenerSwitch:
    """One entrance at a time, or none. Another is opened before the one in use is closed."""

    def __init__(self, open_: Serve) -> None:
        self._serve = open_
        self._active: ActiveListener | None = None

    async def prepare(
        self, wanted: AdminConfig | None, guard: AsyncExitStack
    ) -> ActiveListener | None:
        """The entrance that is wanted, where that is another; closed with ``guard``.

        Raises `AdminListenerError`, or `PortInUseByRelay`.
        """
        if wanted is None or self._listens_at(wanted):
            return None
        entrance = ActiveListener(wanted, await guard.enter_async_context(AsyncExitStack()))
        try:
            await entrance.resources.enter_async_context(self._serve(lambda: entrance.config))
        except RelayError as error:
            if (before := self._active) and _have_same_port(before.config, wanted):
                raise PortInUseByRelay(
                    f"{error}; relay itself has its port, at {before.config.listen}: take another "
                    "port, or restart relay"
                ) from error
            raise
        return entrance

    def switch(self, wanted: AdminConfig | None, fresh: ActiveListener | None) -> AsyncExitStack:
        """From here on answer so; returns what closes the entrance that is no more."""
        before = self._active
        if wanted is not None and self._listens_at(wanted):
            assert before is not None
            before.config = wanted
            warn_if_token_missing(wanted)
            return AsyncExitStack()
        self._active = fresh
        return AsyncExitStack() if before is None else before.resources

    async def close(self) -> None:
        """Answer no more."""
        if self._active is not None:
            await self._active.resources.aclose()

    def _listens_at(self, wanted: AdminConfig) -> bool:
        return self._active is not None and self._active.config.listen == wanted.listen


def _have_same_port(one: AdminConfig, other: AdminConfig) -> bool:
    ports = [it.listen.port for it in (one, other) if isinstance(it.listen, TcpPort)]
    return len(ports) == 2 and ports[0] == ports[1]
