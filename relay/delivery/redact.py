"""Removes the secrets of a destination from what relay keeps of its responses.

A destination can repeat what it was sent: a path in a 404, a token in an error message. relay shows
responses in logs, commands and dead letters. So before it keeps a response, it masks each secret in
it, in every encoding that the response may use.
"""

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from pydantic import BaseModel, SecretStr

from relay.config import DestinationConfig

MASK = "•••"

MIN_SECRET_CHARS = 6
"""A shorter text is not treated as a secret: it reveals nothing, and would match ordinary words."""

LIKELY_SECRET_CHARS = 12
"""From this length on, a word of a configured body is treated as a secret. Shorter ones are
probably ordinary words."""

MAX_LOOKAHEAD_BYTES = 4096
"""The upper limit of `Redactor.lookahead_bytes`."""

_TEMPLATE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|\s+", re.DOTALL)
"""What separates the literal words of a template."""

_HTML_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
)
"""Those of `html.escape`; importing `html` would take 300 KB for the names of all characters."""


class Redactor:
    """Replaces secrets with `MASK`, in every encoding."""

    def __init__(self, secrets: Iterable[str]) -> None:
        encodings = {encoding for secret in secrets for encoding in _encodings(secret)}
        # The longest first, since one can be a part of another.
        longest_first = sorted(encodings, key=len, reverse=True)
        self._pattern = re.compile(
            "|".join(re.escape(encoding) for encoding in longest_first) or r"(?!)", re.IGNORECASE
        )
        longest = max((len(encoding.encode()) for encoding in encodings), default=0)
        self.lookahead_bytes = min(longest, MAX_LOOKAHEAD_BYTES)
        """How many bytes after a cut may belong to a secret that begins before it."""

    def redact(self, text: str) -> str:
        """Return ``text`` without secrets."""
        return self._pattern.sub(MASK, text)


def collect_secrets(destination: DestinationConfig) -> set[str]:
    """Return all secrets in a destination's configuration, and what its type makes of them."""
    found = {*_secret_values(destination), *destination.derived_secrets}
    parts = {part for secret in found for part in _TEMPLATE.split(secret)}
    secrets = {secret for secret in found | parts if len(secret) >= MIN_SECRET_CHARS}
    # the words of a configured body, without what templates insert
    words = {word for text in destination.body_texts for word in _TEMPLATE.split(text)}
    return secrets | {word for word in words if len(word) >= LIKELY_SECRET_CHARS}


def _secret_values(value: object) -> Iterator[str]:
    """Yield the value of every `SecretStr` in a model, at any depth."""
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


def _encodings(secret: str) -> Iterator[str]:
    """Yield a secret as it is, percent-encoded, in JSON and in HTML, as common libraries do it."""
    yield secret
    yield quote(secret)
    yield quote(secret, safe="")
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret)[1:-1].replace("/", "\\/")
    escaped = secret.translate(_HTML_ESCAPES)
    yield escaped
    yield escaped.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    # as Go encodes JSON
    yield json.dumps(secret)[1:-1].translate({ord(char): f"\\u{ord(char):04x}" for char in "&<>"})
