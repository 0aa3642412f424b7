"""Keeps the secrets of a destination out of what is kept of its answers.

A destination can repeat what it was sent: a path in a 404, a token in an error.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from pydantic import BaseModel, SecretStr
from yarl import URL

from relay.config import Destination, HttpDestination, WebhookDestination

MASK = "•••"
MIN_SECRET_CHARS = 6
"""What is shorter tells nothing, and would be found in words that are no secret."""
LIKELY_SECRET_CHARS = 12
"""What is as long is taken for a secret where there are other texts as well: in a URL's path, and
in a body of the configuration's own."""
MAX_LOOKAHEAD_BYTES = 4096
"""Of a secret that is looked for where an answer is cut off."""

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|\s+", re.DOTALL)


class Redactor:
    """Puts `MASK` in the place of secrets, however they are written."""

    def __init__(self, secrets: Iterable[str]) -> None:
        encodings = {spelling for secret in secrets for spelling in _encodings(secret)}
        # the longest first, since one can be a part of another
        longest = sorted(encodings, key=len, reverse=True)
        self._pattern = re.compile(
            "|".join(re.escape(spelling) for spelling in longest) or r"(?!)", re.IGNORECASE
        )
        self.lookahead_bytes = min(
            max((len(it.encode()) for it in encodings), default=0), MAX_LOOKAHEAD_BYTES
        )
        """So many bytes behind a cut may belong to a secret that begins before it."""

    def redact(self, text: str) -> str:
        """``text`` without secrets."""
        return self._pattern.sub(MASK, text)


def collect_secrets(destination: Destination) -> set[str]:
    """All that a destination's configuration holds of secrets, and what is made of them."""
    found = set(_secret_values(destination))
    if isinstance(destination, WebhookDestination):
        found |= set(_url_secrets(destination))
        found |= {
            base64.b64encode(pair.encode()).decode() for pair in _basic_auth_pairs(destination)
        }
    parts = {part for secret in found for part in _TEMPLATE.split(secret)}
    secrets = {secret for secret in found | parts if len(secret) >= MIN_SECRET_CHARS}
    return secrets | {
        part for part in _body_literals(destination) if len(part) >= LIKELY_SECRET_CHARS
    }


def _basic_auth_pairs(to: WebhookDestination) -> Iterator[str]:
    """Users with their passwords, as basic authorization sends them (RFC 7617, section 2)."""
    if (basic := to.basic_auth) is not None:
        yield f"{basic.username}:{basic.password.get_secret_value()}"
    for secret in (to.url, to.proxy):
        url = URL("" if secret is None else secret.get_secret_value())
        if url.user is not None:
            yield f"{url.user}:{url.password or ''}"


def _secret_values(value: object) -> Iterator[str]:
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case BaseModel():
            for name in type(value).model_fields:
                yield from _secret_values(getattr(value, name))
        case dict():
            for item in value.values():
                yield from _secret_values(item)
        case tuple():
            for item in value:
                yield from _secret_values(item)


def _url_secrets(to: WebhookDestination) -> Iterator[str]:
    """What of a URL is as good as all of it."""
    texts = [to.endpoint] + ([to.proxy.get_secret_value()] if to.proxy else [])
    for url in map(URL, texts):
        yield from (str(url), url.path_qs, url.raw_path_qs, url.password or "")
        yield from (value for _, value in url.query.items())
        yield from (part for part in url.parts if len(part) >= LIKELY_SECRET_CHARS)


def _body_literals(destination: Destination) -> Iterator[str]:
    """The words of a body that is configured, but for what templates put there."""
    if isinstance(destination, HttpDestination):
        for text in (*_strings(destination.body), destination.body_text or ""):
            yield from _TEMPLATE.split(text)


def _strings(tree: object) -> Iterator[str]:
    match tree:
        case str():
            yield tree
        case dict():
            for inner in tree.values():
                yield from _strings(inner)
        case list():
            for inner in tree:
                yield from _strings(inner)


def _encodings(secret: str) -> Iterator[str]:
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret)[1:-1].replace("/", "\\/")
    yield html.escape(secret)
    yield html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    # as Go writes JSON
    yield json.dumps(secret)[1:-1].translate({ord(it): f"\\u{ord(it):04x}" for it in "&<>"})
