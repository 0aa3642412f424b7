"""Events as Engine 26.1 sent them, and the worst that anybody could put into one."""

from collections.abc import Mapping
from typing import Any

import msgspec

from relay.config.templates.parts import TemplatePart
from relay.core.event import Actor, Cause, Event, Origin, make_event_id
from relay.core.incident import Status
from relay.core.include import Include, Included
from relay.core.notification import Notification, build_notification
from relay.destinations.common.card import Card
from relay.destinations.common.pieces import Pieces, split_links
from tests.support.events import make_event


def container_event(
    action: str,
    time_ns: int,
    actor_id: str,
    attributes: dict[str, str],
    *,
    detail: str | None = None,
    **facts: Any,
) -> Event:
    """A container's event on ``node-1``, an engine that the configuration calls ``here``.

    ``facts`` are `Event`'s further fields: ``cause``, ``exit_code``, ``health``, ``signal``.
    """
    wire_action = f"{action}: {detail}" if detail else action
    return make_event(
        id=make_event_id("here", time_ns, "container", wire_action, actor_id, attributes),
        action=action,
        detail=detail,
        time_ns=time_ns,
        actor=Actor(actor_id, attributes.get("name"), attributes.get("image"), attributes),
        **facts,
    )


def with_fields(event: Event, **facts: Any) -> Event:
    """The event with other values of fields."""
    return msgspec.structs.replace(event, **facts)


CRASH = container_event(
    "die",
    1795418989176843878,
    "f53eb17c442d9f01c09e556df5b72f61db6064c7fbc2eacb6b92225afbf1d785",
    {
        "com.docker.compose.container-number": "1",
        "com.docker.compose.project": "shop",
        "com.docker.compose.service": "web",
        "execDuration": "0",
        "exitCode": "42",
        "image": "bb:1",
        "name": "shop-web-1",
    },
    cause=Cause.CRASHED,
    exit_code=42,
)
FACTS = {
    "Host": "node-1 (engine “here”)",
    "Image": "bb:1",
    "Logs": "docker logs --since 2026-11-23T07:28:49Z shop-web-1",
}
"""The facts that messages show of it, by name."""
OOM = container_event(
    "oom",
    1795418974031049755,
    "047434baef6e6b5e7f5e98b3b85e29070d81ae7f1f6fee3146a12a3f09438d84",
    {"image": "bb:1", "name": "oomed"},
)
UNHEALTHY = container_event(
    "health_status",
    1795418983890810214,
    "af73af69c9438c6f94c78ec1cdda78850e57ab820c7a3085abb2087c1958050f",
    {"image": "bb:1", "name": "sick"},
    detail="unhealthy",
    health="unhealthy",
)
KILLED = container_event("kill", 1, "a", {}, signal=9)
STARTED = container_event("start", 1, "a", {})

NOTIFICATIONS = (
    build_notification("crashed", CRASH),
    build_notification("out-of-memory", OOM),
    build_notification("unhealthy", UNHEALTHY),
)
INCLUDE = Include(logs=20, health=True, inspect=("RestartCount", "State.Error", "Config.Labels"))


def crash_with_included(**included: Any) -> Notification:
    """A crash whose route includes this data."""
    return msgspec.structs.replace(
        build_notification("crashed", CRASH, INCLUDE), included=Included(**included)
    )


def crash_of(name: str, **facts: Any) -> Event:
    """The crash of a container whose name, image and only label are this text."""
    return with_fields(CRASH, actor=Actor("a", name, name, {"name": name}), **facts)


def hostile_notification(attack: str, inspect: Mapping[str, object] | None = None) -> Notification:
    """A crash in which every text that others choose is an attack."""
    names = ("com.docker.compose.project", "com.docker.swarm.service.name", "name", attack)
    actor = Actor(attack, attack, attack, dict.fromkeys(names, attack))
    event = with_fields(CRASH, host=attack, health=attack, actor=actor)
    made = crash_with_included(
        logs=(attack,), health=attack, inspect=inspect or {attack: attack}, missing=attack
    )
    return msgspec.structs.replace(made, events=(event,))


ALL_INCLUDED = crash_with_included(
    logs=("starting <web> & co", "", "panic: no route to db-1", "\tat main.go:42"),
    health="connection refused\nno answer",
    inspect={"RestartCount": 3, "State.Error": None, "Config.Labels": {"tier": "web"}},
)
"""Its route includes everything, and everything was there."""
CONTAINER_GONE = crash_with_included(missing="the container is gone")
"""Its container was removed before it could be inspected."""
MANY_FIELDS = crash_with_included(inspect={f"{n:02}" + "k" * 198: "v" * 1024 for n in range(20)})
"""Its route includes as many fields as it may, all of them long."""
SAMPLE_NOTIFICATIONS = (*NOTIFICATIONS, ALL_INCLUDED, CONTAINER_GONE)
"""A crash, an OOM, a failing health check, and crashes with included data."""
SAMPLE_CARDS = tuple(map(Card, SAMPLE_NOTIFICATIONS))
RESOLVED = msgspec.structs.replace(NOTIFICATIONS[2], status=Status.RESOLVED)
"""The failing health check, resolved."""


def filled(text: str) -> Pieces:
    """A text that a template filled in."""
    return split_links([TemplatePart(text, False)])


def own(text: str) -> Pieces:
    """A text without expressions."""
    return split_links([TemplatePart(text, True)])


def custom_card(notification: Notification, title: str = "", text: str = "") -> Card:
    """A card whose title and text were filled in."""
    return Card(notification, filled(title), filled(text))


RUNBOOK = "https://wiki.example.com/run_book/shop-web-1?a=1&b=(2)"
CUSTOM_CARD = Card(
    NOTIFICATIONS[0],
    split_links([TemplatePart("*Shop* is down: ", True), TemplatePart("shop-web-1", False)]),
    split_links(
        [
            TemplatePart("It ended with *42*: ", True),
            TemplatePart("*x* <http://evil.example/x>", False),
            TemplatePart(".\n- see https://wiki.example.com/run_book/", True),
            TemplatePart("shop-web-1", False),
            TemplatePart("?a=1&b=(2).\n# soon", True),
        ]
    ),
)
"""The crash with the texts of a template: words, a link and hostile values."""

ATTACKS = (
    "<!channel>",
    "<@U123>",
    "<http://evil.example|text>",
    "&lt;!here&gt;",
    "*bold* _it_ ~no~ `code` ```block```",
    ":rotating_light:",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "name\r\nExit code\n0",
    "\u202egnp.exe",
    "{reason.__class__} %s",
    "&" * 5000,
    "🔥" * 2500,
)


def longest_notification(filler: str, output: str | None = None) -> Notification:
    """A notification that has everything at once; each value is ``filler``, longer than its limit.

    ``output`` is the container output, if another text is more expensive to encode there.
    """
    names = ("compose.project", "compose.service", "swarm.service.name")
    labels = {f"com.docker.{name}": filler for name in names}
    event = with_fields(
        CRASH,
        id=filler,
        engine=filler,
        host=filler,
        action="start_failed",
        actor=Actor(filler, filler, filler, {**labels, "error": filler}),
        exit_code=-(2**31),
        health=filler,
        origin=Origin.INFERRED,
    )
    included = Included(
        logs=(output or filler,),
        health=output or filler,
        inspect={f"{n}{filler}": filler for n in range(20)},
        missing=filler,
    )
    most = 2**63 - 1
    return Notification(
        filler, filler, (event,), count=most, suppressed=most, include=INCLUDE, included=included
    )
