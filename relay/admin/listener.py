"""The admin listener, which a reload can open, close, or move to another address.

A reload must not leave relay without its admin listener because the new address is taken. Therefore
the new listener is opened during the preparation of the reload, which can fail, and the old one is
closed only after the switch; for a moment both are open. If the address stays the same, the
listener stays open and only its configuration is replaced. The listener ends with the daemon, or
with a reload that removes ``admin``.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

import msgspec

from relay.admin.auth import warn_if_token_missing
from relay.config import AdminConfig, TcpPort
from relay.core.errors import RelayError


class ActiveListener(msgspec.Struct):
    """A listener that is open."""

    config: AdminConfig
    """The configuration in force. Its ``listen`` never changes; the rest can."""
    resources: AsyncExitStack
    """Closes the listener."""


Serve = Callable[[Callable[[], AdminConfig]], AbstractAsyncContextManager[None]]
"""Serves as long as the context lasts, by the configuration that the callable returns. Raises
`AdminListenerError`."""


class PortInUseByRelay(RelayError):
    """The new address cannot be opened, perhaps because relay itself uses its port."""


class ListenerSwitch:
    """Holds one listener, or none, and replaces it on reloads."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._active: ActiveListener | None = None

    async def prepare(
        self, config: AdminConfig | None, guard: AsyncExitStack
    ) -> ActiveListener | None:
        """Open a listener for a configuration.

        Returns None if there is nothing to open: ``admin`` is not configured, or relay already
        listens at this address. ``guard`` closes the listener again if the reload fails later.
        Raises `AdminListenerError`, `PortInUseByRelay`.
        """
        if config is None or self._listens_at(config):
            return None
        listener = ActiveListener(config, await guard.enter_async_context(AsyncExitStack()))
        try:
            await listener.resources.enter_async_context(self._serve(lambda: listener.config))
        except RelayError as error:
            if (active := self._active) and _have_same_port(active.config, config):
                raise PortInUseByRelay(
                    f"{error}; relay itself has its port, at {active.config.listen}: set another "
                    "port, or restart relay"
                ) from error
            raise
        return listener

    def switch(self, config: AdminConfig | None, prepared: ActiveListener | None) -> AsyncExitStack:
        """Put a configuration in force, with the listener that `prepare` returned for it.

        Returns what closes the listener that is no longer used.
        """
        before = self._active
        if config is not None and self._listens_at(config):
            assert before is not None
            before.config = config
            warn_if_token_missing(config)
            return AsyncExitStack()
        self._active = prepared
        return AsyncExitStack() if before is None else before.resources

    async def close(self) -> None:
        """Close the listener, if there is one."""
        if self._active is not None:
            await self._active.resources.aclose()

    def _listens_at(self, config: AdminConfig) -> bool:
        return self._active is not None and self._active.config.listen == config.listen


def _have_same_port(first: AdminConfig, second: AdminConfig) -> bool:
    match first.listen, second.listen:
        case TcpPort(port=first_port), TcpPort(port=second_port):
            return first_port == second_port
        case _:
            return False
