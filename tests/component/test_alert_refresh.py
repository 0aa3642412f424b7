"""A daemon that sends what is open to an Alertmanager: at once, repeatedly, and when it is over."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from relay.incidents import repetition, tracker
from tests.component.daemon_with_config import DaemonWithConfig
from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import ChangeSignal
from tests.support.loopback import on_loopback

DEATHS = {"name": "deaths", "match": {"action": "die"}, "to": "alerts"}
OTHERS = {"name": "others", "match": {"action": "oom"}, "to": "alerts"}


class Alertmanager:
    """Records the alerts of each request."""

    def __init__(self) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self.changes = ChangeSignal()

    async def answer(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.changes.notify()
        return web.Response()

    async def wait_for(self, count: int) -> None:
        """Wait for this number of requests."""
        await self.changes.wait_for(lambda: len(self.requests) >= count)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (repetition, tracker):
        monkeypatch.setattr(module, "REFRESH_INTERVAL_NS", 200_000_000)


async def test_an_alert_is_repeated_until_it_is_over(
    daemon: DaemonWithConfig, engine: ScriptedEngine
) -> None:
    """Its labels and its beginning stay, its end moves on, until the last request ends it."""
    alertmanager, application = Alertmanager(), web.Application()
    application.router.add_post("/api/v2/alerts", alertmanager.answer)
    async with on_loopback(application) as url:
        alerts = {"alerts": {"type": "alertmanager", "url": url}}
        async with daemon.running(destinations=alerts, routes=[DEATHS]):
            await engine.changes.wait_for(lambda: len(engine.streams) == 1)
            engine.emit_deaths("a", "b")
            await alertmanager.wait_for(6)
            await daemon.reload(destinations=alerts, routes=[OTHERS])
            await alertmanager.changes.wait_for(lambda: len(_ended(alertmanager)) == 2)
            count = len(alertmanager.requests)
            await asyncio.sleep(0.5)  # long enough for two more
            assert len(alertmanager.requests) == count
    reported = [each for request in alertmanager.requests for each in request]
    of_a = [each for each in reported if each["labels"]["container"] == "a"]
    assert {tuple(sorted(each["labels"].items())) for each in of_a} == {
        tuple(sorted(of_a[0]["labels"].items()))
    }
    assert len({each["startsAt"] for each in of_a}) == 1
    *fires, over = of_a
    ends = [each["endsAt"] for each in fires]
    assert len(ends) >= 3
    assert ends == sorted(set(ends))
    assert over["annotations"]["resolution"] == "unwatched"
    assert over["endsAt"] < ends[0]
    repeated = [request for request in alertmanager.requests if len(request) > 1]
    assert [{each["labels"]["container"] for each in request} for request in repeated[:2]] == [
        {"a", "b"}
    ] * 2


def _ended(alertmanager: Alertmanager) -> list[dict[str, Any]]:
    return [
        each
        for request in alertmanager.requests
        for each in request
        if "resolution" in each["annotations"]
    ]
