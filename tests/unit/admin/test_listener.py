"""How a reload moves the admin listener."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from relay.admin.http import AdminListenerError
from relay.admin.listener import ListenerSwitch, PortInUseByRelay
from relay.config import AdminConfig


class ListenerHarness:
    """Opens listeners; one address can be taken."""

    def __init__(self, taken_address: str = "") -> None:
        self.open: dict[str, Callable[[], AdminConfig]] = {}
        self.listener_switch = ListenerSwitch(self._open)
        self._taken = taken_address

    @asynccontextmanager
    async def _open(self, config: Callable[[], AdminConfig]) -> AsyncIterator[None]:
        address = str(config().listen)
        if address == self._taken:
            raise AdminListenerError("taken")
        self.open[address] = config
        try:
            yield
        finally:
            del self.open[address]

    async def move(self, wanted: AdminConfig | None) -> list[str]:
        """Move the listener as a reload does; returns what is open before the old one is closed."""
        async with AsyncExitStack() as guard:
            listener = await self.listener_switch.prepare(wanted, guard)
            guard.pop_all()
        obsolete = self.listener_switch.switch(wanted, listener)
        open_meanwhile = list(self.open)
        await obsolete.aclose()
        return open_meanwhile


def config_at(port: int, token: str | None = None) -> AdminConfig:
    parts = {"listen": f"127.0.0.1:{port}", **({"token": token} if token else {})}
    return AdminConfig.model_validate(parts)


async def test_open_and_close() -> None:
    """A listener is opened when one is configured, and closed when it no longer is."""
    harness = ListenerHarness()
    await harness.move(None)
    assert list(harness.open) == []
    await harness.move(config_at(1))
    assert list(harness.open) == ["127.0.0.1:1"]
    await harness.move(None)
    assert list(harness.open) == []


async def test_move_to_another_address() -> None:
    """The new listener is open before the old one is closed."""
    harness = ListenerHarness()
    await harness.move(config_at(1))
    assert await harness.move(config_at(2)) == ["127.0.0.1:1", "127.0.0.1:2"]
    assert list(harness.open) == ["127.0.0.1:2"]


async def test_same_address() -> None:
    """The listener stays open, and the new configuration is in force."""
    harness = ListenerHarness()
    first, second = config_at(1), config_at(1, "a-token-that-is-long-enough-0123456789")
    await harness.move(first)
    await harness.move(second)
    assert harness.open["127.0.0.1:1"]() is second


async def test_a_token_that_is_removed() -> None:
    """A warning says what is denied from then on."""
    harness = ListenerHarness()
    listen = {"listen": "0.0.0.0:1"}
    guarded = {**listen, "token": "a-token-that-is-long-enough-0123456789"}
    await harness.move(AdminConfig.model_validate(guarded))
    with capture_logs() as logs:
        await harness.move(AdminConfig.model_validate(listen))
    assert [line["event"] for line in logs] == ["admin.without_token"]


async def test_an_address_that_is_taken() -> None:
    """The listener in use stays open, and can still be closed."""
    harness = ListenerHarness("127.0.0.1:2")
    await harness.move(config_at(1))
    with pytest.raises(AdminListenerError):
        await harness.move(config_at(2))
    assert list(harness.open) == ["127.0.0.1:1"]
    await harness.listener_switch.close()
    assert list(harness.open) == []


async def test_a_port_that_relay_itself_uses() -> None:
    """The error says that relay itself has the port; the listener in use stays open."""
    harness = ListenerHarness("0.0.0.0:1")
    await harness.move(config_at(1))
    wanted = AdminConfig.model_validate({"listen": "0.0.0.0:1"})
    with pytest.raises(
        PortInUseByRelay, match=r"relay itself has its port, at 127\.0\.0\.1:1: set ano"
    ):
        await harness.move(wanted)
    assert list(harness.open) == ["127.0.0.1:1"]


async def test_a_reload_that_fails_later() -> None:
    """The listener that was opened for it is closed again."""
    harness = ListenerHarness()
    await harness.move(config_at(1))
    async with AsyncExitStack() as guard:
        await harness.listener_switch.prepare(config_at(2), guard)
        assert len(harness.open) == 2
    assert list(harness.open) == ["127.0.0.1:1"]
