"""How each service shows a payload, as far as the payloads of relay need it.

A payload with a part that is not known here is an error, so no picture leaves anything out. The
looks are our own: similar enough to be recognised, without logos or code of the services.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from tools.pictures.markup import Markup, div, join, span

Payload = Mapping[str, Any]

_SLACK_DATE = re.compile(r"<!date\^(\d+)\^\{date_num\} \{time_secs\}\|[^>]*>")
_DISCORD_PARTS = re.compile(r"\*\*(?P<bold>.+?)\*\*\n?|```\n(?P<code>.*?)\n```\n?", re.DOTALL)
_DISCORD_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_NTFY_EMOJIS = {"red_circle": "🔴", "orange_circle": "🟠", "green_circle": "🟢"}
_NTFY_PRIORITIES = {5: "max priority", 4: "high priority", 3: "", 2: "low priority"}
_TELEGRAM_KINDS = {"bold": "bold", "code": "code", "pre": "pre", "text_link": "link"}
_MAIL_BODY = re.compile(r'<body style="([^"]*)">(.*)</body>', re.DOTALL)
_EMBED_KEYS = {"title", "color", "fields", "footer", "timestamp", "description"}
_ADAPTIVE_KEYS = {"type", "text", "size", "weight", "color", "fontType", "isSubtle"}


def show_slack(body: bytes) -> Markup:
    """Return the blocks of a message, and below them its attachments with their bars."""
    payload = json.loads(body)
    attachments = [
        div("bar", *map(_slack_block, it["blocks"]), style=f"border-color: {it['color']}")
        for it in payload["attachments"]
    ]
    return _post(*map(_slack_block, payload["blocks"]), *attachments)


def _slack_block(block: Payload) -> Markup:
    match block:
        case {"type": "header", "text": text}:
            return div("title", _slack_text(text))
        case {"type": "section", "fields": fields}:
            return div("fields two", *(_slack_field(_slack_text(it)) for it in fields))
        case {"type": "context", "elements": elements}:
            return div("notes", "  ".join(_slack_text(it) for it in elements))
        case {"type": "rich_text", "elements": elements}:
            return join(*map(_slack_rich_text, elements))
    raise _unknown("Slack", block)


def _slack_text(text: Payload) -> str:
    """Return a text as it is read; the date is shown in UTC."""
    shown: str = text["text"]
    if text["type"] == "mrkdwn":
        shown = _SLACK_DATE.sub(lambda it: _format_time(int(it[1])), shown)
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _slack_field(text: str) -> Markup:
    name, _, value = text.partition("\n")
    return div("", div("plain-name", name), div("", value))


def _slack_rich_text(part: Payload) -> Markup:
    texts = [
        span("bold", it["text"]) if it.get("style") else join(it["text"]) for it in part["elements"]
    ]
    match part["type"]:
        case "rich_text_section":
            return div("text", *texts)
        case "rich_text_preformatted":
            return div("output", *texts)
    raise _unknown("Slack", part)


def show_discord(body: bytes) -> Markup:
    """Return the embed of a message."""
    (embed,) = json.loads(body)["embeds"]
    if more := embed.keys() - _EMBED_KEYS:
        raise _unknown("Discord", more)
    time = datetime.fromisoformat(embed["timestamp"]).timestamp()
    fields = [
        div("", div("bold", _unescape(it["name"])), div("", _unescape(it["value"])))
        for it in embed["fields"]
    ]
    return _post(
        div(
            "bar card",
            div("title", _unescape(embed["title"])),
            _discord_description(embed.get("description", "")),
            div("fields three", *fields),
            div("notes", f"{embed['footer']['text']} · {_format_time(time)[:16]}"),
            style=f"border-color: #{embed['color']:06x}",
        )
    )


def _discord_description(text: str) -> Markup:
    shown, end = list[str](), 0
    for part in _DISCORD_PARTS.finditer(text):
        shown.append(div("text", _unescape(text[end : part.start()])))
        is_code = part["code"] is not None
        shown.append(div("output", part["code"]) if is_code else div("bold", part["bold"]))
        end = part.end()
    return join(*shown, div("text", _unescape(text[end:])))


def _unescape(text: str) -> str:
    return _DISCORD_ESCAPE.sub(r"\1", text)


def show_teams(body: bytes) -> Markup:
    """Return the adaptive card of a message."""
    (attachment,) = json.loads(body)["attachments"]
    card = attachment["content"]
    if more := card.keys() - {"$schema", "type", "version", "msteams", "body"}:
        raise _unknown("Teams", more)
    return _post(div("card", *map(_adaptive_part, card["body"])))


def _adaptive_part(part: Payload) -> Markup:
    match part:
        case {"type": "RichTextBlock", "inlines": inlines}:
            kind = "separated" if part.get("separator") else "block"
            return div(kind, *map(_adaptive_run, inlines))
        case {"type": "Container", "style": "emphasis", "items": items}:
            return div("emphasis", *map(_adaptive_part, items))
    raise _unknown("Teams", part)


def _adaptive_run(run: Payload) -> Markup:
    if more := run.keys() - _ADAPTIVE_KEYS:
        raise _unknown("Teams", more)
    kinds = [f"{key}-{value}".lower() for key, value in run.items() if key not in ("type", "text")]
    return span(" ".join(kinds), run["text"])


def show_telegram(body: bytes) -> Markup:
    """Return the text of a message with its entities, whose positions count UTF-16 units."""
    payload = json.loads(body)
    if "reply_markup" in payload:
        raise _unknown("Telegram", "reply_markup")
    text, shown, end = payload["text"].encode("utf-16-le"), list[str](), 0
    for entity in payload["entities"]:
        start, stop = entity["offset"] * 2, (entity["offset"] + entity["length"]) * 2
        shown.append(text[end:start].decode("utf-16-le"))
        kind = _TELEGRAM_KINDS[entity["type"]]
        shown.append(span(kind, text[start:stop].decode("utf-16-le")))
        end = stop
    return _post(div("bubble", *shown, text[end:].decode("utf-16-le")))


def show_ntfy(body: bytes) -> Markup:
    """Return a message as the app on a phone shows it."""
    payload = json.loads(body)
    if more := payload.keys() - {"topic", "title", "message", "priority", "tags"}:
        raise _unknown("ntfy", more)
    emoji = " ".join(_NTFY_EMOJIS[tag] for tag in payload["tags"])
    head = div("head", span("", payload["topic"]), span("", _NTFY_PRIORITIES[payload["priority"]]))
    title = div("title", f"{emoji} {payload['title']}")
    return div("card", head, title, div("text", payload["message"]))


def show_email(body: bytes) -> Markup:
    """Return a mail with its headers. Its HTML part is shown as it is, as mail programs do."""
    mail = message_from_bytes(body, _class=EmailMessage, policy=policy.default)
    part = mail.get_body(["html"])
    found = None if part is None else _MAIL_BODY.search(part.get_content())
    if found is None:
        raise _unknown("a mail program", "a mail without HTML")
    head = div(
        "head",
        div("subject", str(mail["Subject"])),
        div("", span("bold", str(mail["From"])), f" to {mail['To']}"),
    )
    return div("card", head, Markup(f'<div style="{found[1]}">{found[2]}</div>'))


def _post(*children: str) -> Markup:
    """Return a message in a chat, with its author."""
    return div("post", div("avatar", "r"), div("", div("author", "relay"), *children))


def _format_time(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _unknown(service: str, part: object) -> ValueError:
    return ValueError(f"how {service} shows this is to be added to tools/pictures: {part}")


SHOW: Mapping[str, Callable[[bytes], Markup]] = {
    "slack": show_slack,
    "discord": show_discord,
    "teams": show_teams,
    "telegram": show_telegram,
    "ntfy": show_ntfy,
    "email": show_email,
}
"""How each service shows a payload."""
