"""Says what to write instead of a key that does not exist.

Most unknown keys are mistyped. Others are words of other programs, such as ``webhook`` for ``url``.
If neither explains a key, the message lists the keys that exist.
"""

from collections.abc import Collection, Mapping

from relay.config.errors import find_closest, quote

Synonyms = Mapping[str, tuple[str, ...]]
"""By a word of another program: the keys that it may stand for. The first that exists is meant."""

TARGETS = ("chat_id", "room_id", "topic")
"""The keys that name a channel; a destination without one has its channel from its URL."""

DESTINATION_SYNONYMS: Synonyms = {
    **dict.fromkeys(("webhook", "webhook_url", "hook", "endpoint", "address"), ("url",)),
    **dict.fromkeys(("server", "smtp", "smtp_host", "smtp_server"), ("url", "host")),
    **dict.fromkeys(("channel", "chat", "room", "target"), TARGETS),
    **dict.fromkeys(("token", "api_token", "api_key"), ("access_token", "token", "bearer_token")),
    **dict.fromkeys(("key", "service_key", "integration_key"), ("routing_key",)),
    **dict.fromkeys(("user", "username", "password", "auth"), ("basic_auth", "username")),
    **dict.fromkeys(("from", "mail_from", "from_address"), ("sender",)),
    **dict.fromkeys(("to", "mail_to", "addresses", "recipient"), ("recipients",)),
    **dict.fromkeys(("starttls", "ssl", "encryption"), ("security", "tls")),
    **dict.fromkeys(("secret", "hmac"), ("signing_secret",)),
    **dict.fromkeys(("template", "message", "payload", "content"), ("text", "body")),
    "retries": ("retry",),
}
ROUTE_SYNONYMS: Synonyms = {
    **dict.fromkeys(("destination", "destinations", "receiver", "send_to"), ("to",)),
    **dict.fromkeys(("when", "if", "filter", "filters", "rule"), ("match",)),
    **dict.fromkeys(("priority", "level"), ("severity",)),
    **dict.fromkeys(("message", "template"), ("text",)),
}
CONFIG_SYNONYMS: Synonyms = {
    **dict.fromkeys(("rules", "rule", "filters"), ("routes",)),
    **dict.fromkeys(("outputs", "receivers", "webhooks", "notifiers", "sinks"), ("destinations",)),
    **dict.fromkeys(("docker", "hosts", "sources"), ("engines",)),
}
MUTE_SYNONYMS: Synonyms = {
    **dict.fromkeys(("location", "timezone", "tz", "zone"), ("time_zone",)),
    **dict.fromkeys(("days", "days_of_week", "weekday"), ("weekdays",)),
    **dict.fromkeys(("time", "hours", "start_time", "from", "between"), ("times",)),
}
ENGINE_SYNONYMS: Synonyms = dict.fromkeys(
    ("socket", "address", "endpoint", "docker_host"), ("url",)
)

MATCH_SYNONYMS: Mapping[str, str] = {
    **dict.fromkeys(("container", "container_name", "names"), "'name'"),
    **dict.fromkeys(("event", "events", "actions"), "'action'"),
    **dict.fromkeys(("status", "state"), "'action' or 'health'"),
    "project": "'label: {com.docker.compose.project: …}'",
    "service": "'label: {com.docker.compose.service: …}'",
    "stack": "'label: {com.docker.stack.namespace: …}'",
    "code": "'exit_code'",
}
"""By a word that is no field of a match: what it probably stands for."""


def find_target(key: str, known: Collection[str], synonyms: Synonyms) -> str | None:
    """Return the known key that is probably meant by ``key``; None if there is none."""
    named = next((name for name in synonyms.get(key.casefold(), ()) if name in known), None)
    return named or find_closest(key, known)


def hint(key: str, known: Collection[str], synonyms: Synonyms | None = None) -> str:
    """Return what to append to a message about an unknown key: what is meant, or which exist."""
    if target := find_target(key, known, synonyms or {}):
        return f" (did you mean {quote(target)}?)"
    return f" (there are: {', '.join(known)})"


def hint_for_match(key: str, known: Collection[str]) -> str:
    """Return what to append to a message about an unknown key of a match."""
    if meant := MATCH_SYNONYMS.get(key.casefold()):
        return f" (did you mean {meant}?)"
    return hint(key, known)
