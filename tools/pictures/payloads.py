"""What relay sends at three moments of the story of `relay demo`, to each service."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from relay.cli.demo import play
from relay.config import Config
from relay.core.incident import Audience
from relay.core.zone import UTC_ZONE
from relay.destinations.catalog import parse_config
from relay.destinations.common.service import MessageDestination
from relay.dryrun.story import CHAT, Cast, chat_config, list_messages, tell_story

START_NS = int(datetime(2026, 11, 24, 3, 7, 12, tzinfo=UTC).timestamp()) * 10**9
"""When the story begins."""

MOMENTS = ("opened", "crash-looping", "resolved")
"""What the messages of the story say, in their order."""

LINK = "https://grafana.example.com/d/containers?var-name={{ event.name }}"
"""The link of the messages to people."""

DESTINATIONS: Mapping[str, str] = {
    "slack": 'type: slack, url: "https://hooks.slack.com/services/T0/B0/x"',
    "discord": 'type: discord, url: "https://discord.com/api/webhooks/1/x"',
    "teams": 'type: teams, url: "https://x.logic.azure.com/workflows/x"',
    "telegram": 'type: telegram, token: "123456:ABC-DEF1234ghIkl-zyx57W2v1u", chat_id: "-100"',
    "mattermost": 'type: mattermost, url: "https://chat.example.com/hooks/x"',
    "rocketchat": 'type: rocketchat, url: "https://chat.example.com/hooks/x"',
    "googlechat": 'type: googlechat, url: "https://chat.googleapis.com/v1/spaces/x/messages"',
    "matrix": 'type: matrix, url: "https://example.com", access_token: x, room_id: "!x:lan"',
    "ntfy": "type: ntfy, topic: shop",
    "gotify": 'type: gotify, url: "https://push.example.com", token: x',
    "pushover": f"type: pushover, token: {'a' * 30}, user: {'u' * 30}",
    "email": "type: email, host: mail.example.com, sender: relay <relay@example.com>, "
    "recipients: ops@example.com",
    "apprise": 'type: apprise, url: "json://example.com"',
    "pagerduty": f"type: pagerduty, routing_key: {'a' * 32}",
    "alertmanager": 'type: alertmanager, url: "http://alertmanager:9093"',
    "http": 'type: http, url: "https://example.com/hook"',
    "console": "type: console",
}
"""The keys of each type."""


def make_payloads(service: str, cast: Cast | None = None) -> dict[str, bytes]:
    """Return the body of each request to a service, by moment; ``cast`` has other names.

    Programs are notified of the crashes: theirs are the first of these.
    """
    config = _read_config(DESTINATIONS[service])
    to = config.destinations[CHAT]
    if isinstance(to, MessageDestination):
        to = to.model_copy(update={"link": LINK})
        config = config.model_copy(update={"destinations": {CHAT: to}})
    steps = tell_story(config, CHAT, cast or Cast(), START_NS)
    sent = [it.notification for it in list_messages(steps)]
    renderer = to.build_renderer(config.routes, _fail, colour=True, zone=UTC_ZONE)
    is_story = to.audience is not Audience.PROGRAMS
    return {moment: renderer(it).body for moment, it in zip(MOMENTS, sent, strict=is_story)}


def make_demo(cast: Cast | None = None) -> str:
    """Return what `relay demo` prints on a terminal; ``cast`` has other names."""

    async def skip(_: float) -> None:
        return

    lines: list[str] = []
    steps = tell_story(chat_config(), CHAT, cast or Cast(), START_NS)
    asyncio.run(play(steps, lines.append, skip, zone=UTC_ZONE))
    return "\n".join(lines)


def _read_config(keys: str) -> Config:
    text = f"destinations: {{{CHAT}: {{{keys}}}}}\nroutes: [{{name: all, to: {CHAT}}}]"
    return parse_config(text, file="pictures", environ={}, folder=Path("/"))


def _fail(key: str, error: str) -> None:
    raise AssertionError(f"{key}: {error}")
