"""A message for a Slack incoming webhook, in Block Kit.

The headline stands in the message's own blocks, the facts beside a coloured bar in an attachment
(only attachments have a colour). With blocks there, Slack shows the top-level ``text`` in push
notifications and to screen readers only
(https://docs.slack.dev/reference/methods/chat.postMessage).

Names, labels and images are hostile. They go into ``plain_text`` objects, where Slack formats and
links nothing, and ``& < >`` are escaped all the same, as Slack asks for every text
(https://docs.slack.dev/messaging/formatting-message-text).
"""

import msgspec

from relay.event import Event, Origin, rfc3339
from relay.exchange import Request
from relay.formats.phrase import exit_code, headline
from relay.formats.text import fit, units, visible
from relay.notification import Notification, Severity, Status, severity

# Slack's limits. It refuses a whole message for one text that is too long.
TEXT_MAX = 40_000
"""The message's ``text``: https://docs.slack.dev/reference/methods/chat.postMessage"""
BLOCKS_MAX = 50
"""The blocks of a message: https://docs.slack.dev/reference/block-kit/blocks"""
HEADER_MAX = 150
"""A header's text: https://docs.slack.dev/reference/block-kit/blocks/header-block"""
FIELDS_MAX = 10
"""A section's fields: https://docs.slack.dev/reference/block-kit/blocks/section-block"""
FIELD_MAX = 2_000
"""A field's text: https://docs.slack.dev/reference/block-kit/blocks/section-block"""
ELEMENTS_MAX = 10
"""A context's elements: https://docs.slack.dev/reference/block-kit/blocks/context-block"""
ELEMENT_MAX = 3_000
"""Any text object: https://docs.slack.dev/reference/block-kit/composition-objects/text-object"""
VALUE_MAX = 500
"""Ours, for each value, below all of the above: it keeps the sum of the blocks far from the 13,000
characters or so at which Slack answers ``msg_blocks_too_long``, which it does not document
(https://github.com/slackapi/bolt-js/issues/2509). No label can silence an alert by its length."""

Block = dict[str, object]

_LOOKS = {  # emoji and colour
    Severity.CRITICAL: ("🔴", "#d0021b"),
    Severity.WARNING: ("🟠", "#f5a623"),
    Severity.INFO: ("🔵", "#439fe0"),
}
_LOOK_RESOLVED = ("🟢", "#2eb886")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ORIGINS = {
    Origin.LIVE: "",
    Origin.REPLAYED: "replayed from the engine's history",
    Origin.INFERRED: "found by comparing containers: the engine sent no event",
}


def render(notification: Notification, url: str) -> Request:
    """The message about the first event of ``notification``, with how many more there are."""
    event = notification.events[0]
    emoji, colour = _LOOKS[severity(event)]
    if notification.status is Status.RESOLVED:
        emoji, colour = _LOOK_RESOLVED
    header = f"{emoji} {headline(notification, HEADER_MAX - units(emoji) - 1, _escape)}"
    text = f"{header} · {_value(event.host)}" if event.host else header
    message = {
        "text": text,
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [{"type": "header", "text": _plain(header)}],
        "attachments": [
            {
                "color": colour,
                "fallback": text,
                "blocks": [
                    {"type": "section", "fields": _fields(event)},
                    {"type": "context", "elements": _context(notification)},
                ],
            }
        ],
    }
    return Request(msgspec.json.encode(message), url, {"Content-Type": "application/json"})


def _fields(event: Event) -> list[Block]:
    facts = [
        ("Host", _host(event)),
        ("Image", event.actor.image),
        *_orchestrator(event),
        ("Exit code", None if event.exit_code is None else exit_code(event.exit_code)),
        ("Cause", event.cause),
    ]
    # The line break is ours: `fit` leaves none in a value, so no value can pass for a field.
    fields = [_plain(f"{name}\n{_value(value)}") for name, value in facts if value]
    return [_time(event), *fields]


def _host(event: Event) -> str:
    if event.engine in ("", event.host):
        return event.host
    return f"{event.host} (engine “{event.engine}”)"


def _orchestrator(event: Event) -> list[tuple[str, str]]:
    labels = event.actor.attributes
    project = labels.get("com.docker.compose.project", "")
    service = labels.get("com.docker.compose.service", "")
    return [
        ("Compose service", " / ".join(part for part in (project, service) if part)),
        ("Swarm service", labels.get("com.docker.swarm.service.name", "")),
    ]


def _time(event: Event) -> Block:
    """In the reader's own time zone, which needs ``mrkdwn``; all of it is our own text.

    https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    """
    utc = f"{rfc3339(event.time_ns)[:19]}Z"
    date = f"<!date^{event.time_ns // 1_000_000_000}^{{date_num}} {{time_secs}}|{utc}>"
    return {"type": "mrkdwn", "text": f"Time\n{date}", "verbatim": True}


def _context(notification: Notification) -> list[Block]:
    event = notification.events[0]
    held_back = f"{notification.suppressed} held back" if notification.suppressed else ""
    said = [f"route {notification.route}", event.id, _ORIGINS[event.origin], held_back]
    return [_plain(_value(words)) for words in said if words]


def _plain(text: str) -> Block:
    """``text`` is escaped already. ``emoji: false`` keeps a ``:name:`` in it from becoming one."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _value(text: str) -> str:
    return fit(text, VALUE_MAX, _escape)


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or visible(character)
