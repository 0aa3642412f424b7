"""The keys of incidents in a daemon that runs, and what a reload makes of them."""

from tests.component.daemon_with_config import DaemonWithConfig, http_destination
from tests.component.scripted_engine import ScriptedEngine
from tests.component.webhook import Webhook

DEATHS = {"name": "deaths", "match": {"action": "die"}, "to": "hook"}
AT_ONCE = {"notify": "incidents", "group_wait": "0s"}


async def test_a_further_death_is_no_message(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """Until a reload asks for events: then each is one, and the incident is over."""
    hook = http_destination(url, **AT_ONCE)
    async with daemon.running(destinations={"hook": hook}, routes=[DEATHS]):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        engine.emit_deaths("a")
        await webhook.wait_for(lambda summaries: summaries == ["a"])
        engine.emit_deaths("a", "b")
        await webhook.wait_for(lambda summaries: summaries == ["a", "b"])
        await daemon.reload(destinations={"hook": http_destination(url)}, routes=[DEATHS])
        engine.emit_deaths("a", "a")
        await webhook.wait_for(lambda summaries: summaries == ["a", "b", "a", "a"])
        await daemon.wait_until_settled()
    assert len({each.id for each in webhook.received}) == 4


async def test_a_route_with_a_key_of_its_own(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """It sends each event to a destination of incidents."""
    hook = http_destination(url, **AT_ONCE)
    of_a = {**DEATHS, "match": {"action": "die", "name": "a"}, "notify": "events"}
    routes = [of_a, {**DEATHS, "name": "others"}]
    async with daemon.running(destinations={"hook": hook}, routes=routes):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        engine.emit_deaths("a", "a", "b")
        await webhook.wait_for(lambda summaries: sorted(summaries) == ["a", "a", "b"])
        engine.emit_deaths("b", "a")
        await webhook.wait_for(lambda summaries: sorted(summaries) == ["a", "a", "a", "b"])


async def test_a_group_that_a_reload_makes_wider(
    daemon: DaemonWithConfig, engine: ScriptedEngine, webhook: Webhook, url: str
) -> None:
    """What was reported waits for its end in the new group, and nothing is reported again."""
    hook = http_destination(url, **AT_ONCE)
    async with daemon.running(destinations={"hook": hook}, routes=[DEATHS]):
        await engine.changes.wait_for(lambda: len(engine.streams) == 1)
        engine.emit_deaths("a", "b")
        await webhook.wait_for(lambda summaries: sorted(summaries) == ["a", "b"])
        wider = {**hook, "group_by": [], "group_interval": "1s"}
        changes = await daemon.reload(destinations={"hook": wider}, routes=[DEATHS])
        assert changes == ["destination hook changed"]
        engine.emit_deaths("c")
        await webhook.wait_for(lambda summaries: sorted(summaries) == ["a", "b", "c"])
        await daemon.wait_until_settled()
    assert len(webhook.received) == 3
