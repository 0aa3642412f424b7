"""The kinds of single values in a configuration, and what is wrong with one."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

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
"""The texts of a body: all of them are rendered for every notification."""


def _parse_duration(value: object) -> object:
    return units.parse_duration(str(value)) if _is_scalar(value) else value


def _parse_size(value: object) -> object:
    return units.parse_size(value) if isinstance(value, str) else value


def _check_interval(value: timedelta) -> timedelta:
    if timedelta(0) < value < timedelta(seconds=10):
        raise ValueError("is less than 10s (0s turns it off)")
    return value


def _check_buffer_size(value: int) -> int:
    if not 2**16 <= value <= 2**36:
        raise ValueError("is not between 64KiB and 64GiB (a number without a unit is bytes)")
    return value


def _check_store_size(value: int) -> int:
    if not 2**20 <= value <= 2**40:
        raise ValueError("is not between 1MiB and 1024GiB (a number without a unit is bytes)")
    return value


def _parse_rate(value: object) -> object:
    if isinstance(value, Rate):
        return value
    if not _is_scalar(value):
        raise invalid("must be a rate, such as 5/s")
    return units.parse_rate(str(value))


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int)


def _reject_bool(value: object) -> object:
    # pydantic takes true for 1
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


def _check_webhook_url(value: SecretStr) -> SecretStr:
    validators.check_webhook_url(value.get_secret_value())
    return value


def _check_header_value(value: SecretStr) -> SecretStr:
    validators.check_header_value(value.get_secret_value())
    validators.check_header_template(value.get_secret_value())
    return value


def _check_query_value(value: SecretStr) -> SecretStr:
    validators.check_template(value.get_secret_value())
    return value


def _check_secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise invalid("is empty")
    validators.check_header_value(value.get_secret_value())
    return value


def _check_template_tree(value: object) -> object:
    """Plain data, of which each text is a template."""
    mistakes = list(_find_template_issues(value, ()))
    if mistakes:
        raise InvalidValue(mistakes)
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


def _find_template_issues(value: object, trail: KeyPath) -> Iterator[ConfigIssue]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _find_template_issues(inner, (*trail, key))
        case list():
            for index, inner in enumerate(value):
                yield from _find_template_issues(inner, (*trail, index))
        case str():
            try:
                validators.check_template(value)
            except InvalidValue as error:
                yield from (replace(one, path=(*trail, *one.path)) for one in error.issues)


def _check_max_age(value: timedelta) -> timedelta:
    if value < timedelta(minutes=1):
        raise ValueError("is less than 1m")
    return value


def _check_heartbeat_interval(value: timedelta) -> timedelta:
    if value < timedelta(seconds=10):
        raise ValueError("is less than 10s")
    return value


def split_lines(value: object) -> object:
    """A text as a list of its lines, which may be one."""
    return tuple(value.split("\n")) if isinstance(value, str) else value


def _parse_listen_address(value: object) -> object:
    if isinstance(value, TcpPort | UnixSocket):
        return value
    if not _is_scalar(value):
        raise invalid("must be HOST:PORT or unix:/PATH")
    return parse_listen_address(str(value))


def as_list(value: object) -> object:
    """A single text or number as a list of one."""
    return (value,) if _is_scalar(value) else value


StartFrom = Literal["now", "oldest"] | timedelta
"""Where an engine's stream begins at the very first start: a timedelta is so long ago."""
WhenFull = Literal["drop-oldest", "drop-new"]
"""What a store that is full gives up."""
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
    SecretStr, AfterValidator(_check_webhook_url), WithJsonSchema(schema_types.WEB_URL)
]
HeaderName = Annotated[str, AfterValidator(validators.check_header_name)]
HeaderText = Annotated[str, AfterValidator(validators.check_header_value)]
HeaderValue = Annotated[SecretStr, AfterValidator(_check_header_value)]
QueryValue = Annotated[SecretStr, AfterValidator(_check_query_value)]
Secret = Annotated[SecretStr, AfterValidator(_check_secret)]
TemplateText = Annotated[str, AfterValidator(validators.check_template)]
TemplateTree = Annotated[object, PlainValidator(_check_template_tree)]
Ordering = Literal["container", "none"]
"""Within what deliveries to one destination stay in order."""
Fraction = Annotated[float, Field(ge=0, le=1)]
HeartbeatInterval = Annotated[Duration, AfterValidator(_check_heartbeat_interval)]
MaxAge = Annotated[Duration, AfterValidator(_check_max_age)]
WholeNumber = Annotated[int, BeforeValidator(_reject_bool)]
ReconcileInterval = Annotated[Duration, AfterValidator(_check_interval)]
BufferSize = Annotated[Size, AfterValidator(_check_buffer_size)]
StoreSize = Annotated[Size, AfterValidator(_check_store_size)]
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
