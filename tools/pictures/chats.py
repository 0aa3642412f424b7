"""How chats show a payload, as far as the payloads of relay need it."""

import json
import re
from datetime import datetime

from tools.pictures.markup import Markup, div, join, span
from tools.pictures.parts import (
    Payload,
    button,
    check_keys,
    format_time,
    html,
    markdown,
    post,
    unknown,
)

_SLACK_DATE = re.compile(r"<!date\^(\d+)\^\{date_num\} \{time_secs\}\|[^>]*>")
_DISCORD_PARTS = re.compile(
    r"\*\*\[(?P<link>.+?)\]\(<[^>]*>\)\*\*|\*\*(?P<bold>.+?)\*\*\n?"
    r"|```\n(?P<code>.*?)\n```\n?",
    re.DOTALL,
)
_DISCORD_CODE = re.compile(r"`([^`]+)`")
_DISCORD_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_TELEGRAM_KINDS = {"bold": "bold", "code": "code", "pre": "pre", "text_link": "link"}
_EMBED_KEYS = {"title", "color", "fields", "footer", "timestamp", "description"}
_ADAPTIVE_KEYS = {"type", "text", "size", "weight", "color", "fontType", "isSubtle"}
_CARD_ELEMENTS = {"b": "bold", "br": "", "font": "subtle", "a": "link"}
_MATRIX_ELEMENTS = {
    **{"p": "paragraph", "strong": "bold", "code": "code", "pre": "pre", "br": "", "a": "link"}
}


def show_slack(body: bytes) -> Markup:
    """Return the blocks of a message, and below them its attachments with their bars."""
    payload = json.loads(body)
    attachments = [
        div("bar", *map(_slack_block, it["blocks"]), style=f"border-color: {it['color']}")
        for it in payload["attachments"]
    ]
    return post(*map(_slack_block, payload["blocks"]), *attachments)


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
    raise unknown("Slack", block)


def _slack_text(text: Payload) -> str:
    """Return a text as it is read; the date is shown in UTC."""
    shown: str = text["text"]
    if text["type"] == "mrkdwn":
        shown = _SLACK_DATE.sub(lambda it: format_time(int(it[1])), shown)
    return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _slack_field(text: str) -> Markup:
    name, _, value = text.partition("\n")
    return div("", div("plain-name", name), div("", value))


def _slack_rich_text(part: Payload) -> Markup:
    texts = [
        span(" ".join((*it.get("style", ()), it["type"])), it["text"]) for it in part["elements"]
    ]
    match part["type"]:
        case "rich_text_section":
            return div("text", *texts)
        case "rich_text_preformatted":
            return div("output", *texts)
    raise unknown("Slack", part)


def show_discord(body: bytes) -> Markup:
    """Return the embed of a message."""
    (embed,) = json.loads(body)["embeds"]
    check_keys("Discord", embed, *_EMBED_KEYS)
    time = datetime.fromisoformat(embed["timestamp"]).timestamp()
    fields = [
        div("" if it["inline"] else "wide", div("bold", _unescape(it["name"])), _discord_value(it))
        for it in embed["fields"]
    ]
    return post(
        div(
            "bar card",
            div("title", _unescape(embed["title"])),
            _discord_description(embed.get("description", "")),
            div("fields three", *fields),
            div("notes", f"{embed['footer']['text']} · {format_time(time)[:16]}"),
            style=f"border-color: #{embed['color']:06x}",
        )
    )


def _discord_value(field: Payload) -> Markup:
    code = _DISCORD_CODE.fullmatch(field["value"])
    return div("", span("code", code[1]) if code else _unescape(field["value"]))


def _discord_description(text: str) -> Markup:
    shown, end = list[str](), 0
    for part in _DISCORD_PARTS.finditer(text):
        shown.append(div("text", _unescape(text[end : part.start()])))
        match part.lastgroup:
            case "link":
                shown.append(div("bold link", _unescape(part["link"])))
            case "code":
                shown.append(div("output", part["code"]))
            case _:
                shown.append(div("bold", part["bold"]))
        end = part.end()
    return join(*shown, div("text", _unescape(text[end:])))


def _unescape(text: str) -> str:
    return _DISCORD_ESCAPE.sub(r"\1", text)


def show_teams(body: bytes) -> Markup:
    """Return the adaptive card of a message."""
    (attachment,) = json.loads(body)["attachments"]
    card = attachment["content"]
    check_keys("Teams", card, "$schema", "type", "version", "msteams", "body", "actions")
    buttons = [button(it["title"]) for it in card.get("actions", ())]
    return post(div("card", *map(_adaptive_part, card["body"]), div("buttons", *buttons)))


def _adaptive_part(part: Payload) -> Markup:
    match part:
        case {"type": "RichTextBlock", "inlines": inlines}:
            kind = "separated" if part.get("separator") else "block"
            return div(kind, *map(_adaptive_run, inlines))
        case {"type": "Container", "style": "emphasis", "items": items}:
            return div("emphasis", *map(_adaptive_part, items))
    raise unknown("Teams", part)


def _adaptive_run(run: Payload) -> Markup:
    check_keys("Teams", run, *_ADAPTIVE_KEYS)
    kinds = [f"{key}-{value}".lower() for key, value in run.items() if key not in ("type", "text")]
    return span(" ".join(kinds), run["text"])


def show_telegram(body: bytes) -> Markup:
    """Return the text of a message with its entities, whose positions count UTF-16 units."""
    payload = json.loads(body)
    markup = payload.get("reply_markup", {})
    check_keys("Telegram", markup, "inline_keyboard")
    rows = markup.get("inline_keyboard", ())
    text, shown, end = payload["text"].encode("utf-16-le"), list[str](), 0
    for entity in payload["entities"]:
        start, stop = entity["offset"] * 2, (entity["offset"] + entity["length"]) * 2
        shown.append(text[end:start].decode("utf-16-le"))
        kind = _TELEGRAM_KINDS[entity["type"]]
        shown.append(span(kind, text[start:stop].decode("utf-16-le")))
        end = stop
    bubble = div("bubble", *shown, text[end:].decode("utf-16-le"))
    return post(bubble, *(div("buttons", *(button(it["text"]) for it in row)) for row in rows))


def show_markdown(service: str, body: bytes) -> Markup:
    """Return a post of Mattermost or Rocket.Chat with its attachments."""
    payload = json.loads(body)
    check_keys(service, payload, "text", "parseUrls", "attachments")
    attachments = []
    for it in payload["attachments"]:
        check_keys(service, it, "fallback", "color", "fields", "text")
        text = [markdown(it["text"])] if "text" in it else []
        fields = [
            div(
                "" if field["short"] else "wide",
                div("bold", field["title"]),
                markdown(field["value"]),
            )
            for field in it.get("fields", ())
        ]
        shown = [*text, div("fields two", *fields)] if fields else text
        attachments.append(div("bar", *shown, style=f"border-color: {it['color']}"))
    return post(markdown(payload["text"]), *attachments)


def show_googlechat(body: bytes) -> Markup:
    """Return the card of a message."""
    (made,) = json.loads(body)["cardsV2"]
    sections = []
    for section in made["card"]["sections"]:
        check_keys("Google Chat", section, "header", "widgets")
        header = [div("bold", section["header"])] if "header" in section else []
        sections.append(div("separated", *header, *map(_chat_widget, section["widgets"])))
    return post(div("card", *sections))


def _chat_widget(widget: Payload) -> Markup:
    match widget:
        case {"textParagraph": {"text": text}}:
            return div("block", html("Google Chat", text, _CARD_ELEMENTS))
        case {"decoratedText": {"topLabel": name, "text": text}}:
            value = html("Google Chat", text, _CARD_ELEMENTS)
            return div("block", div("plain-name", name), div("", value))
        case {"buttonList": {"buttons": buttons}}:
            return div("buttons", *(button(it["text"]) for it in buttons))
    raise unknown("Google Chat", widget)


def show_matrix(body: bytes) -> Markup:
    """Return the HTML of a message."""
    payload = json.loads(body)
    check_keys(*("Matrix", payload), *("msgtype", "body", "format", "formatted_body", "m.mentions"))
    return post(div("", html("Matrix", payload["formatted_body"], _MATRIX_ELEMENTS)))
