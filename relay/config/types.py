"""The types of values in a configuration: how each is parsed and checked, and its JSON Schema.

Numbers and lists come first, then durations, sizes, rates, names and addresses, secrets, templates.
"""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
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
from relay.config.section import Schema

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


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int)


def _check_that(holds: Callable[[Any], bool], message: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a value for which ``holds`` is False."""

    def check(value: object) -> object:
        if not holds(value):
            raise ValueError(message)
        return value

    return AfterValidator(check)


def as_list(value: object) -> object:
    """Wrap a single text or number in a tuple; any other value is returned unchanged."""
    return (value,) if _is_scalar(value) else value


def _reject_bool(value: object) -> object:
    # pydantic accepts true as 1.
    if isinstance(value, bool):
        raise ValueError("is not a whole number")
    return value


WholeNumber = Annotated[int, BeforeValidator(_reject_bool)]
Fraction = Annotated[float, Field(ge=0, le=1)]

# few enough digits that their sum does not overflow a timedelta
_DURATION = re.compile(
    r"(?:([0-9]{1,7})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?(?:([0-9]{1,9})ms)?"
)
_MAX_DURATION = timedelta(days=3650)
"""Ten years: far below the point at which adding it to a date overflows."""
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
DURATION: Final = text_like(
    r"(?=[0-9])([0-9]{1,7}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?([0-9]{1,9}ms)?", "10m"
)


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


def format_duration(length: timedelta) -> str:
    """Format a duration as people write it, in the largest unit that divides it."""
    millis = length // timedelta(milliseconds=1)
    return next(f"{millis // size}{unit}" for unit, size in _UNITS if millis % size == 0)


Duration = Annotated[
    timedelta,
    BeforeValidator(lambda value: parse_duration(str(value)) if _is_scalar(value) else value),
    WithJsonSchema(DURATION),
]


def at_least(minimum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a duration shorter than ``minimum``."""
    shortest = parse_duration(minimum)
    return _check_that(lambda value: value >= shortest, f"is less than {minimum}")


def at_most(maximum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a duration longer than ``maximum``."""
    longest = parse_duration(maximum)
    return _check_that(lambda value: value <= longest, f"is more than {maximum}")


PositiveDuration = Annotated[Duration, _check_that(bool, "is not more than 0s")]
HeartbeatInterval = Annotated[Duration, at_least("10s")]
MaxAge = Annotated[Duration, at_least("1m")]


def _at_least_or_never(minimum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a shorter duration that is not 0s."""
    shortest = parse_duration(minimum)
    return _check_that(
        lambda value: not value or value >= shortest, f"is less than {minimum} (0s turns it off)"
    )


ReconcileInterval = Annotated[Duration, _at_least_or_never("10s")]
SilentAfter = Annotated[Duration, _at_least_or_never("30s"), at_most("7d")]

StartFrom = Literal["now", "oldest"] | timedelta
"""Where an engine's stream begins at the very first start; a timedelta counts back from now."""
START: Final[Schema] = {"anyOf": [{"enum": ["now", "oldest"]}, DURATION]}


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


StartPosition = Annotated[StartFrom, BeforeValidator(_parse_start_from), WithJsonSchema(START)]

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
SIZE: Final[Schema] = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        text_like("[0-9]{1,12}(B|[kMG]B|[KMG]iB)?", "64MiB"),
    ]
}


def parse_size(text: str) -> int:
    """Parse a size (``512``, ``512B``, ``10kB``, ``64MiB`` or ``1GiB``) into bytes."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError("is not a size: write 512B, 10kB, 64MiB or 1GiB")
    return int(found[1]) * _BYTES[found[2]]


Size = Annotated[
    int,
    BeforeValidator(lambda value: parse_size(value) if isinstance(value, str) else value),
    BeforeValidator(_reject_bool),
    WithJsonSchema(SIZE),
]


def _between(minimum: str, maximum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a size outside of the limits."""
    least, most = parse_size(minimum), parse_size(maximum)
    message = f"is not between {minimum} and {maximum} (a number without a unit is bytes)"
    return _check_that(lambda value: least <= value <= most, message)


BufferSize = Annotated[Size, _between("64KiB", "64GiB")]
StoreSize = Annotated[Size, _between("1MiB", "1024GiB")]
WhenFull = Literal["drop-oldest", "drop-new"]
"""What is given up when the store is full."""
LogLevel = Literal["debug", "info", "warning", "error"]
"""The least important lines that are logged."""


class Rate(msgspec.Struct, frozen=True):
    """At most ``count`` in ``per_s`` seconds."""

    count: int
    per_s: float
    """The period, in seconds."""


_RATE = re.compile(r"([0-9]{1,9})/(s|min|h)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
RATE: Final = text_like("0*[1-9][0-9]{0,8}/(s|min|h)", "5/s")


def parse_rate(text: str) -> Rate:
    """Parse a rate: ``5/s``, ``20/min`` or ``100/h``."""
    found = _RATE.fullmatch(text)
    if not found:
        raise ValueError("is not a rate: write 5/s, 20/min or 100/h")
    if not int(found[1]):
        raise ValueError("lets nothing through: write at least 1")
    return Rate(count=int(found[1]), per_s=_SECONDS[found[2]])


def _parse_rate(value: object) -> object:
    if isinstance(value, Rate):
        return value
    if not _is_scalar(value):
        raise invalid("must be a rate, such as 5/s")
    return parse_rate(str(value))


RateLimit = Annotated[Rate, BeforeValidator(_parse_rate), WithJsonSchema(RATE)]
Ordering = Literal["container", "none"]
"""Which deliveries to one destination stay in order: those about one container, or none."""

NAME: Final[Schema] = {
    "type": ["string", "number"],
    "pattern": f"^{validators.NAME_PATTERN.pattern}$" + _OR_REFERENCE,
}
Name = Annotated[str, AfterValidator(validators.check_name), WithJsonSchema(NAME)]


def _reject_empty(value: object) -> object:
    if value == "":
        raise invalid("is empty: write a path")
    return value


NonEmptyPath = Annotated[Path, BeforeValidator(_reject_empty)]

ENGINE_URL: Final = text_like(
    r"unix:(//)?/.+|tcp://[^/\s]+:[0-9]+(/\S*)?|(https?|ssh)://[^/\s]\S*", "unix:///run/docker.sock"
)
EngineUrl = Annotated[str, AfterValidator(validators.check_engine_url), WithJsonSchema(ENGINE_URL)]

LISTEN_ADDRESS: Final = text_like(r"unix:/.*[^/]|[^/@\s]+:[0-9]{1,5}", "127.0.0.1:9321")


def _parse_listen_address(value: object) -> object:
    if isinstance(value, TcpPort | UnixSocket):
        return value
    if not _is_scalar(value):
        raise invalid("must be HOST:PORT or unix:/PATH")
    return parse_listen_address(str(value))


TIME_ZONE: Final = text_like(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", "Europe/Berlin")
TimeZoneName = Annotated[str, AfterValidator(validators.check_time_zone), WithJsonSchema(TIME_ZONE)]

ListenAddress = Annotated[
    TcpPort | UnixSocket,
    PlainValidator(_parse_listen_address),
    WithJsonSchema(LISTEN_ADDRESS),
]
InspectField = Annotated[str, AfterValidator(validators.check_inspect_field)]


def check_content(*checks: Callable[[str], object]) -> AfterValidator:
    """Return a validator that applies ``checks`` to the content of a secret."""

    def check(secret: SecretStr) -> SecretStr:
        for each in checks:
            each(secret.get_secret_value())
        return secret

    return AfterValidator(check)


WEB_URL: Final = text_like(r"[Hh][Tt][Tt][Pp][Ss]?://[^/\s]\S*", "https://example.com/hook")
WebhookUrl = Annotated[
    SecretStr, check_content(validators.check_webhook_url), WithJsonSchema(WEB_URL)
]
HeaderName = Annotated[str, AfterValidator(validators.check_header_name)]
HeaderText = Annotated[str, AfterValidator(validators.check_header_value)]
HeaderValue = Annotated[
    SecretStr, check_content(validators.check_header_value, validators.check_header_template)
]
PlainHeaderValue = Annotated[SecretStr, check_content(validators.check_header_value)]
"""A header's value without a template."""
QueryValue = Annotated[SecretStr, check_content(validators.check_template)]


def _reject_empty_text(text: str) -> None:
    if not text:
        raise invalid("is empty")


Secret = Annotated[SecretStr, check_content(_reject_empty_text, validators.check_header_value)]

MAX_BODY_TEXTS = 200
"""The most texts in a body template: each of them is rendered for every notification."""
TemplateText = Annotated[str, AfterValidator(validators.check_template)]
LinkText = Annotated[str, AfterValidator(validators.check_link)]
"""A template that makes a URL."""


def _check_template_tree(value: object) -> object:
    """Check plain data in which each text is a template."""
    texts = list(find_texts(value))
    issues: list[ConfigIssue] = []
    for path, text in texts:
        try:
            validators.check_template(text)
        except InvalidValue as error:
            issues += error.issues_below(path)
    if issues:
        raise InvalidValue(issues)
    if len(texts) > MAX_BODY_TEXTS:
        raise invalid(f"holds more than {MAX_BODY_TEXTS} texts")
    return value


def find_texts(value: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and the text of every text in plain data; ``path`` is that of the data."""
    match value:
        case dict():
            for key, inner in value.items():
                yield from find_texts(inner, (*path, key))
        case list():
            for index, inner in enumerate(value):
                yield from find_texts(inner, (*path, index))
        case str():
            yield path, value


TemplateTree = Annotated[object, PlainValidator(_check_template_tree)]


def split_lines(value: object) -> object:
    """Split a text into its lines; any other value is returned unchanged."""
    return tuple(value.split("\n")) if isinstance(value, str) else value
