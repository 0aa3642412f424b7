"""How phones and mail programs show a payload, as far as the payloads of relay need it."""

import json
import re
from email import message_from_bytes, policy
from email.message import EmailMessage

from tools.pictures.markup import Markup, div, span
from tools.pictures.parts import button, check_keys, format_time, unknown

_NTFY_EMOJIS = {
    **{"red_circle": "🔴", "orange_circle": "🟠"},
    **{"large_blue_circle": "🔵", "green_circle": "🟢"},
}
_NTFY_PRIORITIES = {5: "max priority", 4: "high priority", 3: "", 2: "low priority"}
_MAIL_BODY = re.compile(r'<body style="([^"]*)">(.*)</body>', re.DOTALL)


def show_ntfy(body: bytes) -> Markup:
    """Return a message as the app on a phone shows it."""
    payload = json.loads(body)
    check_keys("ntfy", payload, "topic", "title", "message", "priority", "tags", "actions")
    emoji = " ".join(_NTFY_EMOJIS[tag] for tag in payload["tags"])
    head = div("head", span("", payload["topic"]), span("", _NTFY_PRIORITIES[payload["priority"]]))
    title = div("title", f"{emoji} {payload['title']}")
    buttons = div("buttons", *(button(it["label"]) for it in payload.get("actions", ())))
    return div("card", head, title, div("text", payload["message"]), buttons)


def show_gotify(body: bytes) -> Markup:
    """Return a message as the app shows it; the link that a touch opens is not visible."""
    payload = json.loads(body)
    check_keys("Gotify", payload, "title", "message", "priority", "extras")
    check_keys("Gotify", payload["extras"], "client::display", "client::notification")
    head = div("head", span("", "relay"), span("", f"priority {payload['priority']}"))
    return div("card", head, div("title", payload["title"]), div("text", payload["message"]))


def show_pushover(body: bytes) -> Markup:
    """Return a message as the app shows it."""
    payload = json.loads(body)
    check_keys(
        *("Pushover", payload, "token", "user", "title", "message", "timestamp", "priority"),
        *("url", "url_title"),
    )
    head = div("head", span("", "relay"), span("", format_time(payload["timestamp"])))
    link = [div("link", payload["url_title"])] if "url" in payload else []
    text = div("text", payload["message"])
    return div("card", head, div("title", payload["title"]), text, *link)


def show_apprise(body: bytes) -> Markup:
    """Return what Apprise gets, as a service that knows a title and a text shows it."""
    payload = json.loads(body)
    check_keys("Apprise", payload, "title", "body", "type")
    head = div("head", span("", "apprise"), span("", payload["type"]))
    return div("card", head, div("title", payload["title"]), div("text", payload["body"]))


def show_email(body: bytes) -> Markup:
    """Return a mail with its headers. Its HTML part is shown as it is, as mail programs do."""
    mail = message_from_bytes(body, _class=EmailMessage, policy=policy.default)
    part = mail.get_body(["html"])
    found = None if part is None else _MAIL_BODY.search(part.get_content())
    if found is None:
        raise unknown("a mail program", "a mail without HTML")
    head = div(
        "head",
        div("subject", str(mail["Subject"])),
        div("", span("bold", str(mail["From"])), f" to {mail['To']}"),
    )
    return div("card", head, Markup(f'<div style="{found[1]}">{found[2]}</div>'))
