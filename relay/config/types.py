"""The types of single values in a configuration, with their parsers and checks."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from msgspec.structs import replace
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    SecretStr,
    WithJsonSchema,
)

from relay.config import schema_types, units, validators
from relay.config.address import TcpPort, UnixSocket, parse_listen_address
from relay.config.errors import ConfigIssue, InvalidValue, KeyPath, invalid
from relay.config.units import Rate

MAX_BODY_TEXTS = 200
"""The most texts in a body template: each of them is rendered for every notification."""


def _parse_duration(value: object) -> object:
    return units.parse_duration(str(value)) if _is_scalar(value) else value


def _parse_size(value: object) -> object:
    return units.parse_size(value) if isinstance(value, str) else value


def _check_interval(value: timedelta) -> timedelta:
    if timedelta(0) < value < timedelta(seconds=10):
        raise ValueError("is less than 10s (0s turns it off)")
    return value


def at_least(minimum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a duration shorter than ``minimum``."""
    shortest = units.parse_duration(minimum)

    def check(value: timedelta) -> timedelta:
        if value < shortest:
            raise ValueError(f"is less than {minimum}")
        return value

    return AfterValidator(check)


def at_most(maximum: str) -> AfterValidator:
    """Return a validator that raises `ValueError` for a duration longer than ``maximum``."""
    longest = units.parse_duration(maximum)

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
    least, most = units.parse_size(minimum), units.parse_size(maximum)

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
    return units.parse_rate(str(value))


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
                return units.parse_duration(str(value))
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
Duration = Annotated[
    timedelta, BeforeValidator(_parse_duration), WithJsonSchema(schema_types.DURATION)
]
Size = Annotated[
    int,
    BeforeValidator(_parse_size),
    BeforeValidator(_reject_bool),
    WithJsonSchema(schema_types.SIZE),
]
Name = Annotated[str, AfterValidator(validators.check_name), WithJsonSchema(schema_types.NAME)]
NonEmptyPath = Annotated[Path, BeforeValidator(_reject_empty)]
WebhookUrl = Annotated[
    SecretStr, check_content(validators.check_webhook_url), WithJsonSchema(schema_types.WEB_URL)
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
StartPosition = Annotated[
    StartFrom, BeforeValidator(_parse_start_from), WithJsonSchema(schema_types.START)
]
RateLimit = Annotated[Rate, BeforeValidator(_parse_rate), WithJsonSchema(schema_types.RATE)]
EngineUrl = Annotated[
    str, AfterValidator(validators.check_engine_url), WithJsonSchema(schema_types.ENGINE_URL)
]
InspectField = Annotated[str, AfterValidator(validators.check_inspect_field)]
ListenAddress = Annotated[
    TcpPort | UnixSocket,
    PlainValidator(_parse_listen_address),
    WithJsonSchema(schema_types.LISTEN_ADDRESS),
]
