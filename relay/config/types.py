"""The types of single values in a configuration, with their parsers and checks."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec.structs import replace
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)

from relay.config import validators
from relay.config.address import TcpPort, UnixSocket, parse_listen_address
from relay.config.errors import ConfigIssue, InvalidValue, KeyPath, invalid

# few enough digits that their sum does not overflow a timedelta
_DURATION = re.compile(
    r"(?:([0-9]{1,7})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_MAX_DURATION = timedelta(days=3650)
"""Ten years: far below the point at which adding it to a date overflows."""
_SIZE = re.compile(r"([0-9]{1,12})(B|[kMG]B|[KMG]iB|)")
_BYTES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}
_RATE = re.compile(r"([0-9]{1,9})/(s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


class Rate(msgspec.Struct, frozen=True):
    """At most ``count`` in ``per_s`` seconds."""

    count: int
    per_s: float
    """The period, in seconds."""


def parse_duration(text: str) -> timedelta:
    """Parse a duration: ``500ms``, ``10s``, ``5m``, ``72h``, ``7d`` or ``1h30m``."""
    if text.isdecimal():
        raise ValueError("has no unit: write a duration as 500ms, 10s, 5m, 72h or 7d")
    found = _DURATION.fullmatch(text)
    if not text or not found:
        raise ValueError("is not a duration: write 500ms, 10s, 5m, 72h or 7d")
    days, hours, minutes, seconds, millis = (int(part or 0) for part in found.groups())
    length = timedelta(
        days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=millis
    )
    if length > _MAX_DURATION:
        raise ValueError("is too long: at most 3650d")
    return length


def parse_size(text: str) -> int:
    """Parse a size (``512``, ``512B``, ``10kB``, ``64MiB`` or ``1GiB``) into bytes."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("is not a size: write 512B, 10kB, 64MiB or 1GiB")
    return int(found[1]) * _BYTES[found[2]]


def parse_rate(text: str) -> Rate:
    """Parse a rate: ``5/s``, ``20/min`` or ``100/h``."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError("is not a rate: write 5/s, 20/min or 100/h")
    if not int(found[1]):
        raise ValueError("lets nothing through: write at least 1")
    return Rate(count=int(found[1]), per_s=_SECONDS[found[2]])


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


MAX_BODY_TEXTS = 200
"""The most texts in a body template: each of them is rendered for every notification."""


def _parse_duration(value: object) -> object:
    return parse_duration(str(value)) if _is_scalar(value) else value


def _parse_size(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


def _check_interval(value: timedelta) -> timedelta:
    if timedelta(0) < value < timedelta(seconds=10):
        raise ValueError("is less than 10s (0s turns it off)")
    return value


def at_least(minimum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a duration shorter than ``minimum``."""
    shortest = parse_duration(minimum)

    def check(value: timedelta) -> timedelta:
        if value < shortest:
            raise ValueError(f"is less than {minimum}")
        return value

    return AfterValidator(check)


def at_most(maximum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a duration longer than ``maximum``."""
    longest = parse_duration(maximum)

    def check(value: timedelta) -> timedelta:
        if value > longest:
            raise ValueError(f"is more than {maximum}")
        return value

    return AfterValidator(check)


def _check_positive(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("is not more than 0s")
    return value


def _between(minimum: str, maximum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a size outside of the limits."""
    least, most = parse_size(minimum), parse_size(maximum)

    def check(value: int) -> int:
        if not least <= value <= most:
            raise ValueError(
                f"is not between {minimum} and {maximum} (a number without a unit is bytes)"
            )
        return value

    return AfterValidator(check)


def _parse_rate(value: object) -> object:
    if isinstance(value, Rate):
        return value
    if not _is_scalar(value):
        raise invalid("must be a rate, such as 5/s")
    return parse_rate(str(value))


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int)


def _reject_bool(value: object) -> object:
    # pydantic accepts true as 1.
    if isinstance(value, bool):
        raise ValueError("is not a whole number")
    return value


def _reject_empty(value: object) -> object:
    if value == "":
        raise invalid("is empty: write a path")
    return value


def _parse_start_from(value: object) -> object:
    match value:
        case "now" | "oldest" | timedelta():
            return value
        case str() | int():
            try:
                return parse_duration(str(value))
            except ValueError:
                raise ValueError("is neither now nor oldest nor a duration such as 10m") from None
        case _:
            raise invalid("must be now, oldest or a duration such as 10m")


def check_content(*checks: Callable[[str], object]) -> AfterValidator:
    """Return a validator that applies ``checks`` to the content of a secret."""

    def check(secret: SecretStr) -> SecretStr:
        for each in checks:
            each(secret.get_secret_value())
        return secret

    return AfterValidator(check)


def _reject_empty_text(text: str) -> None:
    if not text:
        raise invalid("is empty")


def _check_template_tree(value: object) -> object:
    """Check plain data in which each text is a template."""
    issues = list(_find_template_issues(value, ()))
    if issues:
        raise InvalidValue(issues)
    if _count_texts(value) > MAX_BODY_TEXTS:
        raise invalid(f"holds more than {MAX_BODY_TEXTS} texts")
    return value


def _count_texts(value: object) -> int:
    match value:
        case dict():
            return sum(map(_count_texts, value.values()))
        case list():
            return sum(map(_count_texts, value))
        case _:
            return isinstance(value, str)


def _find_template_issues(value: object, path: KeyPath) -> Iterator[ConfigIssue]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _find_template_issues(inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                yield from _find_template_issues(inner, (*path, index))
        case str():
            try:
                validators.check_template(value)
            except InvalidValue as error:
                yield from (replace(one, path=(*path, *one.path)) for one in error.issues)


def split_lines(value: object) -> object:
    """Split a text into its lines; any other value is returned unchanged."""
    return tuple(value.split("\n")) if isinstance(value, str) else value


def _parse_listen_address(value: object) -> object:
    if isinstance(value, TcpPort | UnixSocket):
        return value
    if not _is_scalar(value):
        raise invalid("must be HOST:PORT or unix:/PATH")
    return parse_listen_address(str(value))


def as_list(value: object) -> object:
    """Wrap a single text or number in a tuple; any other value is returned unchanged."""
    return (value,) if _is_scalar(value) else value


StartFrom = Literal["now", "oldest"] | timedelta
"""Where an engine's stream begins at the very first start; a timedelta counts back from now."""
WhenFull = Literal["drop-oldest", "drop-new"]
"""What is given up when the store is full."""
Duration = Annotated[timedelta, BeforeValidator(_parse_duration), WithJsonSchema(DURATION)]
Size = Annotated[
    int,
    BeforeValidator(_parse_size),
    BeforeValidator(_reject_bool),
    WithJsonSchema(SIZE),
]
Name = Annotated[str, AfterValidator(validators.check_name), WithJsonSchema(NAME)]
NonEmptyPath = Annotated[Path, BeforeValidator(_reject_empty)]
WebhookUrl = Annotated[
    SecretStr, check_content(validators.check_webhook_url), WithJsonSchema(WEB_URL)
]
HeaderName = Annotated[str, AfterValidator(validators.check_header_name)]
HeaderText = Annotated[str, AfterValidator(validators.check_header_value)]
HeaderValue = Annotated[
    SecretStr, check_content(validators.check_header_value, validators.check_header_template)
]
QueryValue = Annotated[SecretStr, check_content(validators.check_template)]
Secret = Annotated[SecretStr, check_content(_reject_empty_text, validators.check_header_value)]
TemplateText = Annotated[str, AfterValidator(validators.check_template)]
TemplateTree = Annotated[object, PlainValidator(_check_template_tree)]
Ordering = Literal["container", "none"]
"""Which deliveries to one destination stay in order: those about one container, or none."""
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveDuration = Annotated[Duration, AfterValidator(_check_positive)]
HeartbeatInterval = Annotated[Duration, at_least("10s")]
MaxAge = Annotated[Duration, at_least("1m")]
WholeNumber = Annotated[int, BeforeValidator(_reject_bool)]
ReconcileInterval = Annotated[Duration, AfterValidator(_check_interval)]
BufferSize = Annotated[Size, _between("64KiB", "64GiB")]
StoreSize = Annotated[Size, _between("1MiB", "1024GiB")]
StartPosition = Annotated[StartFrom, BeforeValidator(_parse_start_from), WithJsonSchema(START)]
RateLimit = Annotated[Rate, BeforeValidator(_parse_rate), WithJsonSchema(RATE)]
EngineUrl = Annotated[str, AfterValidator(validators.check_engine_url), WithJsonSchema(ENGINE_URL)]
InspectField = Annotated[str, AfterValidator(validators.check_inspect_field)]
ListenAddress = Annotated[
    TcpPort | UnixSocket,
    PlainValidator(_parse_listen_address),
    WithJsonSchema(LISTEN_ADDRESS),
]
