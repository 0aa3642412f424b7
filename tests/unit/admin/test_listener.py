"""The place where relay answers, moved."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from structlog.testing import capture_logs

from relay.admin.http import AdminListenerError
from relay.admin.listener import ListenerSwitch, PortInUseByRelay
from relay.config import AdminConfig


class ListenerHarness:
    """Opens places, of which one may be taken."""

    def __init__(self, taken: str = "") -> None:
        self.open: dict[str, Callable[[], AdminConfig]] = {}
        self.listener_switch = ListenerSwitch(self._open)
        self._taken = taken

    @asynccontextmanager
    async def _open(self, config: Callable[[], AdminConfig]) -> AsyncIterator[None]:
        place = str(config().listen)
        if place == self._taken:
            raise AdminListenerError("taken")
        self.open[place] = config
        try:
            yield
        finally:
            del self.open[place]

    async def move(self, wanted: AdminConfig | None) -> list[str]:
        """As a reload does; returns what was open before the old place was closed."""
        async with AsyncExitStack() as guard:
            fresh = await self.listener_switch.prepare(wanted, guard)
            guard.pop_all()
        closing = self.listener_switch.switch(wanted, fresh)
        meanwhile = list(self.open)
        await closing.aclose()
        return meanwhile


def at(port: int, token: str | None = None) -> AdminConfig:
    parts = {"listen": f"127.0.0.1:{port}", **({"token": token} if token else {})}
    return AdminConfig.model_validate(parts)


async def test_from_none_to_one_and_back() -> None:
    """It is opened, and closed."""
    house = ListenerHarness()
    await house.move(None)
    assert list(house.open) == []
    await house.move(at(1))
    assert list(house.open) == ["127.0.0.1:1"]
    await house.move(None)
    assert list(house.open) == []


async def test_from_one_to_another() -> None:
    """The new one is open before the old one is closed."""
    house = ListenerHarness()
    await house.move(at(1))
    assert await house.move(at(2)) == ["127.0.0.1:1", "127.0.0.1:2"]
    assert list(house.open) == ["127.0.0.1:2"]


async def test_to_the_same() -> None:
    """It stays open, under the rules that hold now."""
    house = ListenerHarness()
    first, second = at(1), at(1, "a-token-that-is-long-enough-0123456789")
    await house.move(first)
    await house.move(second)
    assert house.open["127.0.0.1:1"]() is second


async def test_a_token_that_is_dropped() -> None:
    """It is said what is refused from then on, where others can ask."""
    house = ListenerHarness()
    listen = {"listen": "0.0.0.0:1"}
    guarded = {**listen, "token": "a-token-that-is-long-enough-0123456789"}
    await house.move(AdminConfig.model_validate(guarded))
    with capture_logs() as logs:
        await house.move(AdminConfig.model_validate(listen))
    assert [it["event"] for it in logs] == ["admin.without_token"]


async def test_one_that_is_taken() -> None:
    """The one in use stays, and can be closed."""
    house = ListenerHarness("127.0.0.1:2")
    await house.move(at(1))
    with pytest.raises(AdminListenerError):
        await house.move(at(2))
    assert list(house.open) == ["127.0.0.1:1"]
    await house.listener_switch.close()
    assert list(house.open) == []


async def test_a_port_that_relay_itself_has() -> None:
    """At another address it may be taken: that is said, and the one in use stays."""
    house = ListenerHarness("0.0.0.0:1")
    await house.move(at(1))
    wanted = AdminConfig.model_validate({"listen": "0.0.0.0:1"})
    with pytest.raises(
        PortInUseByRelay, match=r"relay itself has its port, at 127\.0\.0\.1:1: take ano"
    ):
        await house.move(wanted)
    assert list(house.open) == ["127.0.0.1:1"]


async def test_a_plan_that_fails_later() -> None:
    """What was opened for it is closed again."""
    house = ListenerHarness()
    await house.move(at(1))
    async with AsyncExitStack() as guard:
        await house.listener_switch.prepare(at(2), guard)
        assert len(house.open) == 2
    assert list(house.open) == ["127.0.0.1:1"]
