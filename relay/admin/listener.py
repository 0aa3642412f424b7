"""The admin listener, which a reload can open, close, or move to another address.

A reload must not leave relay without its admin listener because the new address is taken. Therefore
the new listener is opened while the reload is still prepared and can fail, and the old one is
closed only after the switch; for a moment both are open. If the address stays the same, the
listener stays open and only its configuration is replaced. The listener ends with the daemon, or
with a reload that removes ``admin``.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from relay.admin.http import warn_if_token_missing
from relay.config import AdminConfig, TcpPort
from relay.core.errors import RelayError


@dataclass(slots=True)
class ActiveListener:
    """A listener that is open."""

    config: AdminConfig
    """The configuration in force; its ``listen`` never changes."""
    resources: AsyncExitStack
    """Closes the listener."""


Serve = Callable[[Callable[[], AdminConfig]], AbstractAsyncContextManager[None]]
"""Serves as long as the context lasts, by the configuration that the callable returns. Raises
`AdminListenerError`."""


class PortInUseByRelay(RelayError):
    """The new address cannot be opened, perhaps because relay itself uses its port."""


class ListenerSwitch:
    """Holds one listener at a time, or none, and exchanges it."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._active: ActiveListener | None = None

    async def prepare(
        self, wanted: AdminConfig | None, guard: AsyncExitStack
    ) -> ActiveListener | None:
        """Open the wanted listener; returns None if none is wanted or the address is in use
        already.

        ``guard`` closes it again if the reload fails later. Raises `AdminListenerError`,
        `PortInUseByRelay`.
        """
        if wanted is None or self._listens_at(wanted):
            return None
        listener = ActiveListener(wanted, await guard.enter_async_context(AsyncExitStack()))
        try:
            await listener.resources.enter_async_context(self._serve(lambda: listener.config))
        except RelayError as error:
            if (active := self._active) and _have_same_port(active.config, wanted):
                raise PortInUseByRelay(
                    f"{error}; relay itself has its port, at {active.config.listen}: take another "
                    "port, or restart relay"
                ) from error
            raise
        return listener

    def switch(self, wanted: AdminConfig | None, prepared: ActiveListener | None) -> AsyncExitStack:
        """Put the wanted configuration in force, with the listener that `prepare` returned for it.

        Returns what closes the listener that is no longer wanted.
        """
        before = self._active
        if wanted is not None and self._listens_at(wanted):
            assert before is not None
            before.config = wanted
            warn_if_token_missing(wanted)
            return AsyncExitStack()
        self._active = prepared
        return AsyncExitStack() if before is None else before.resources

    async def close(self) -> None:
        """Close the listener, if there is one."""
        if self._active is not None:
            await self._active.resources.aclose()

    def _listens_at(self, wanted: AdminConfig) -> bool:
        return self._active is not None and self._active.config.listen == wanted.listen


def _have_same_port(one: AdminConfig, other: AdminConfig) -> bool:
    ports = [each.listen.port for each in (one, other) if isinstance(each.listen, TcpPort)]
    return len(ports) == 2 and ports[0] == ports[1]
