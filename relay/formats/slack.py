"""A message for a Slack incoming webhook, in Block Kit.

The headline stands in the message's own blocks, the facts beside a coloured bar in an attachment
(only attachments have a colour). With blocks there, Slack shows the top-level ``text`` in push
notifications and to screen readers only
(https://docs.slack.dev/reference/methods/chat.postMessage).

Names, labels and images are hostile. They go into ``plain_text`` objects, where Slack formats and
links nothing, and ``& < >`` are escaped all the same, as Slack asks for every text
(https://docs.slack.dev/messaging/formatting-message-text). What a container printed goes into
``rich_text``, where text is taken as it is: mentions and links are elements of their own there, and
an escape would show (https://docs.slack.dev/reference/block-kit/blocks/rich-text-block).
"""

import msgspec

from relay.event import Event, Origin, rfc3339
from relay.exchange import Request
from relay.formats.included import facts, included
from relay.formats.phrase import exit_code, headline
from relay.formats.text import fit, fit_end, units, visible
from relay.notification import Included, Notification, Severity, Status, severity

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
LOGS_MAX = 2_000
"""Ours, for the same reason: all log lines together."""
HEALTH_MAX = 1_000
"""What a health check printed."""
INSPECT_MAX = 2_400
"""All inspect fields together."""
PATH_MAX = 60
"""The name of one."""

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
                    *_included(notification),
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


def _included(notification: Notification) -> list[Block]:
    told = included(notification)
    if told is None:
        return []
    fields = _inspected(told)
    sections: list[Block] = [
        {"type": "section", "fields": fields[at : at + FIELDS_MAX]}
        for at in range(0, len(fields), FIELDS_MAX)
    ]
    printed = [
        ("Last log lines", "\n".join(told.logs or ()), LOGS_MAX),
        ("Last health check", told.health or "", HEALTH_MAX),
    ]
    return sections + [
        _printed(title, text, limit) for title, text, limit in printed if text.strip()
    ]


def _inspected(told: Included) -> list[Block]:
    each = min(VALUE_MAX, INSPECT_MAX // max(1, len(told.inspect)))
    fields = []
    for path, value in facts(told):
        name = fit(path, PATH_MAX, _escape)
        fields.append(_plain(f"{name}\n{fit(value, each - units(name) - 1, _escape)}"))
    return fields


def _printed(title: str, text: str, limit: int) -> Block:
    """What was printed, in a fixed width; of a long text the end."""
    heading = {"type": "text", "text": title, "style": {"bold": True}}
    body = {"type": "text", "text": fit_end(text, limit)}
    return {
        "type": "rich_text",
        "elements": [
            {"type": "rich_text_section", "elements": [heading]},
            {"type": "rich_text_preformatted", "elements": [body]},
        ],
    }


def _context(notification: Notification) -> list[Block]:
    event = notification.events[0]
    told = included(notification)
    missing = f"not included: {told.missing}" if told and told.missing else ""
    held_back = f"{notification.suppressed} held back" if notification.suppressed else ""
    said = [f"route {notification.route}", event.id, _ORIGINS[event.origin], held_back, missing]
    return [_plain(_value(words)) for words in said if words]


def _plain(text: str) -> Block:
    """``text`` is escaped already. ``emoji: false`` keeps a ``:name:`` in it from becoming one."""
    return {"type": "plain_text", "text": text, "emoji": False}


def _value(text: str) -> str:
    return fit(text, VALUE_MAX, _escape)


def _escape(character: str) -> str:
    return _ESCAPES.get(character) or visible(character)
