"""What relay sends at three moments of the story of `relay demo`, to each service."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from relay.cli.demo import play
from relay.config import Config
from relay.destinations.catalog import parse_config
from relay.dryrun.story import CHAT, Cast, chat_config, list_messages, tell_story

START_NS = int(datetime(2026, 11, 24, 3, 7, 12, tzinfo=UTC).timestamp()) * 10**9
"""When the story begins."""

MOMENTS = ("opened", "crash-looping", "resolved")
"""What the messages of the story say, in their order."""

DESTINATIONS: Mapping[str, str] = {
    "slack": 'type: slack, url: "https://hooks.slack.com/services/T0/B0/x"',
    "discord": 'type: discord, url: "https://discord.com/api/webhooks/1/x"',
    "teams": 'type: teams, url: "https://x.logic.azure.com/workflows/x"',
    "telegram": 'type: telegram, token: "123456:ABC-DEF1234ghIkl-zyx57W2v1u", chat_id: "-100"',
    "ntfy": "type: ntfy, topic: shop",
    "email": "type: email, host: mail.example.com, sender: relay <relay@example.com>, "
    "recipients: ops@example.com",
}
"""The keys of each service."""


def make_payloads(service: str, cast: Cast | None = None) -> dict[str, bytes]:
    """Return the body of each request to a service, by moment; ``cast`` has other names."""
    config = _read_config(DESTINATIONS[service])
    steps = tell_story(config, CHAT, cast or Cast(), START_NS)
    sent = [it.notification for it in list_messages(steps)]
    renderer = config.destinations[CHAT].build_renderer(config.routes, _fail, colour=False)
    return {moment: renderer(it).body for moment, it in zip(MOMENTS, sent, strict=True)}


def make_demo(cast: Cast | None = None) -> str:
    """Return what `relay demo` prints on a terminal; ``cast`` has other names."""

    async def skip(_: float) -> None:
        return

    lines: list[str] = []
    steps = tell_story(chat_config(), CHAT, cast or Cast(), START_NS)
    asyncio.run(play(steps, lines.append, skip))
    return "\n".join(lines)


def _read_config(keys: str) -> Config:
    text = f"destinations: {{{CHAT}: {{{keys}}}}}\nroutes: [{{name: all, to: {CHAT}}}]"
    return parse_config(text, file="pictures", environ={}, folder=Path("/"))


def _fail(key: str, error: str) -> None:
    raise AssertionError(f"{key}: {error}")
