"""How PagerDuty and Alertmanager show an alert, and what programs get."""

import json

from tools.pictures.markup import Markup, div, join, span
from tools.pictures.parts import button, check_keys, facts
from tools.pictures.terminal import colour

_EVENT_KEYS = {"severity", "source", "component", "group", "class", "timestamp"}


def show_pagerduty(body: bytes) -> Markup:
    """Return an alert with its fields, its details and its links."""
    sent = json.loads(body)
    check_keys(
        *("PagerDuty", sent, "routing_key", "event_action", "dedup_key", "client", "payload"),
        "links",
    )
    payload = sent["payload"]
    check_keys("PagerDuty", payload, *_EVENT_KEYS, "summary", "custom_details")
    state = {"trigger": "triggered", "resolve": "resolved"}[sent["event_action"]]
    fields = {name.capitalize(): value for name, value in payload.items() if name in _EVENT_KEYS}
    details = {name: _to_text(it) for name, it in payload["custom_details"].items()}
    return div(
        "card",
        div("head", span(f"state {state}", state), span("", f"from {sent['client']}")),
        div("title", payload["summary"]),
        facts("fields three", fields),
        div("buttons", *(button(it["text"]) for it in sent.get("links", ()))),
        div("bold separated", "Details"),
        facts("table", details),
    )


def show_alertmanager(body: bytes) -> Markup:
    """Return an alert as the page of Alertmanager shows it."""
    (alert,) = json.loads(body)
    check_keys("Alertmanager", alert, "labels", "annotations", "startsAt", "endsAt", "generatorURL")
    source = [button("Source")] if "generatorURL" in alert else []
    labels = (span("label", f'{name}="{value}"') for name, value in alert["labels"].items())
    return div(
        "card",
        div("head", span("", alert["startsAt"][:23] + "Z"), *source),
        facts("table", alert["annotations"]),
        div("labels", *labels),
    )


def show_json(body: bytes) -> Markup:
    """Return a body that a program gets."""
    shown = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    return div("window", div("screen", shown))


def show_lines(body: bytes) -> Markup:
    """Return lines on a terminal."""
    prompt = join(span("dim", "$ "), span("bold", "relay run"), "\n")
    return div("window", div("screen", prompt, colour(body.decode())))


def _to_text(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{name}: {inner}" for name, inner in value.items())
    return str(value)
