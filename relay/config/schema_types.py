"""JSON Schemas of single values: the notations that `types` reads, for editors.

A text with a reference to the environment (``${NAME}``) can become anything, so it is always valid.
"""

from typing import Any, Final

Schema = dict[str, object]

_OR_REFERENCE: Final = r"|\$\{"


def text_like(pattern: str, example: str) -> Schema:
    """Return the schema of a text that matches ``pattern`` or contains a reference."""
    return {"type": "string", "pattern": f"^({pattern})$" + _OR_REFERENCE, "examples": [example]}


REFERENCE: Final[Schema] = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "${NAME} or ${NAME:-default}: taken from the environment.",
}
TEXT: Final[Schema] = {"type": ["string", "number"]}
DURATION: Final = text_like(
    r"(?=[0-9])([0-9]{1,7}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?", "10m"
)
SIZE: Final[Schema] = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        text_like("[0-9]{1,12}(B|[kMG]B|[KMG]iB)?", "64MiB"),
    ]
}
RATE: Final = text_like("0*[1-9][0-9]{0,8}/(s|min|h)", "5/s")
START: Final[Schema] = {"anyOf": [{"enum": ["now", "oldest"]}, DURATION]}
NAME: Final[Schema] = {
    "type": ["string", "number"],
    "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" + _OR_REFERENCE,
}
LISTEN_ADDRESS: Final = text_like(r"unix:/.*[^/]|[^/@\s]+:[0-9]{1,5}", "127.0.0.1:9321")
WEB_URL: Final = text_like(r"[Hh][Tt][Tt][Pp][Ss]?://[^/\s]\S*", "https://example.com/hook")
ENGINE_URL: Final = text_like(
    r"unix:(//)?/.+|(tcp|https?|ssh)://[^/\s]\S*", "unix:///run/docker.sock"
)


def not_both(one: str, other: str) -> dict[str, Any]:
    """Return the rule that two keys exclude each other."""
    return {"not": {"required": [one, other]}}


def forbid(*keys: str) -> dict[str, Any]:
    """Return the rule that none of the keys may be there."""
    return {"properties": dict.fromkeys(keys, False)}


def if_equals(
    key: str, value: object, then: dict[str, Any], otherwise: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the rule ``then`` for a key that is there with this value, else ``otherwise``."""
    condition = {"properties": {key: {"const": value}}, "required": [key]}
    rule: dict[str, Any] = {"if": condition, "then": then}
    return rule if otherwise is None else {**rule, "else": otherwise}
