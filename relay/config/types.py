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
from relay.config.address import TcpPort, UnixSocket, listening
from relay.config.errors import Mistake, Mistakes, Trail, whole
from relay.config.units import Rate

LEAVES_MAX = 200
"""The texts of a body: all of them are rendered for every notification."""


def _duration(value: object) -> object:
    return units.duration(str(value)) if _is_scalar(value) else value


def _size(value: object) -> object:
    return units.size(value) if isinstance(value, str) else value


def _interval(value: timedelta) -> timedelta:
    if timedelta(0) < value < timedelta(seconds=10):
        raise ValueError("is less than 10s (0s turns it off)")
    return value


def _buffer(value: int) -> int:
    if not 2**16 <= value <= 2**36:
        raise ValueError("is not between 64KiB and 64GiB (a number without a unit is bytes)")
    return value


def _store_size(value: int) -> int:
    if not 2**20 <= value <= 2**40:
        raise ValueError("is not between 1MiB and 1024GiB (a number without a unit is bytes)")
    return value


def _rate(value: object) -> object:
    if isinstance(value, Rate):
        return value
    if not _is_scalar(value):
        raise whole("must be a rate, such as 5/s")
    return units.rate(str(value))


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int)


def _whole_number(value: object) -> object:
    # pydantic takes true for 1
    if isinstance(value, bool):
        raise ValueError("is not a whole number")
    return value


def _location(value: object) -> object:
    if value == "":
        raise whole("is empty: write a path")
    return value


def _start(value: object) -> object:
    match value:
        case "now" | "oldest" | timedelta():
            return value
        case str() | int():
            try:
                return units.duration(str(value))
            except ValueError:
                raise ValueError("is neither now nor oldest nor a duration such as 10m") from None
        case _:
            raise whole("must be now, oldest or a duration such as 10m")


def _webhook_url(value: SecretStr) -> SecretStr:
    validators.webhook_url(value.get_secret_value())
    return value


def _header_value(value: SecretStr) -> SecretStr:
    validators.header_value(value.get_secret_value())
    validators.header_template(value.get_secret_value())
    return value


def _query_value(value: SecretStr) -> SecretStr:
    validators.template(value.get_secret_value())
    return value


def _secret(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise whole("is empty")
    validators.header_value(value.get_secret_value())
    return value


def _tree(value: object) -> object:
    """Plain data, of which each text is a template."""
    mistakes = list(_in_tree(value, ()))
    if mistakes:
        raise Mistakes(mistakes)
    if _leaves(value) > LEAVES_MAX:
        raise whole(f"holds more than {LEAVES_MAX} texts")
    return value


def _leaves(value: object) -> int:
    match value:
        case dict():
            return sum(map(_leaves, value.values()))
        case list():
            return sum(map(_leaves, value))
        case _:
            return isinstance(value, str)


def _in_tree(value: object, trail: Trail) -> Iterator[Mistake]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _in_tree(inner, (*trail, key))
        case list():
            for index, inner in enumerate(value):
                yield from _in_tree(inner, (*trail, index))
        case str():
            try:
                validators.template(value)
            except Mistakes as error:
                yield from (replace(one, trail=(*trail, *one.trail)) for one in error.mistakes)


def _age(value: timedelta) -> timedelta:
    if value < timedelta(minutes=1):
        raise ValueError("is less than 1m")
    return value


def _beat(value: timedelta) -> timedelta:
    if value < timedelta(seconds=10):
        raise ValueError("is less than 10s")
    return value


def lines(value: object) -> object:
    """A text as a list of its lines, which may be one."""
    return tuple(value.split("\n")) if isinstance(value, str) else value


def _listen(value: object) -> object:
    if isinstance(value, TcpPort | UnixSocket):
        return value
    if not _is_scalar(value):
        raise whole("must be HOST:PORT or unix:/PATH")
    return listening(str(value))


def one_as_list(value: object) -> object:
    """A single text or number as a list of one."""
    return (value,) if _is_scalar(value) else value


StartFrom = Literal["now", "oldest"] | timedelta
"""Where an engine's stream begins at the very first start: a timedelta is so long ago."""
WhenFull = Literal["drop-oldest", "drop-new"]
"""What a store that is full gives up."""
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(schema_types.DURATION)]
Size = Annotated[
    int, BeforeValidator(_size), BeforeValidator(_whole_number), WithJsonSchema(schema_types.SIZE)
]
Name = Annotated[str, AfterValidator(validators.name), WithJsonSchema(schema_types.NAME)]
Location = Annotated[Path, BeforeValidator(_location)]
WebhookUrl = Annotated[
    SecretStr, AfterValidator(_webhook_url), WithJsonSchema(schema_types.WEB_URL)
]
HeaderName = Annotated[str, AfterValidator(validators.header_name)]
HeaderText = Annotated[str, AfterValidator(validators.header_value)]
HeaderValue = Annotated[SecretStr, AfterValidator(_header_value)]
QueryValue = Annotated[SecretStr, AfterValidator(_query_value)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
TemplateText = Annotated[str, AfterValidator(validators.template)]
TemplateTree = Annotated[object, PlainValidator(_tree)]
Ordering = Literal["container", "none"]
"""Within what deliveries to one destination stay in order."""
Share = Annotated[float, Field(ge=0, le=1)]
Beat = Annotated[Duration, AfterValidator(_beat)]
Age = Annotated[Duration, AfterValidator(_age)]
WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
Interval = Annotated[Duration, AfterValidator(_interval)]
BufferSize = Annotated[Size, AfterValidator(_buffer)]
StoreSize = Annotated[Size, AfterValidator(_store_size)]
Start = Annotated[StartFrom, BeforeValidator(_start), WithJsonSchema(schema_types.START)]
Throttle = Annotated[Rate, BeforeValidator(_rate), WithJsonSchema(schema_types.RATE)]
EngineUrl = Annotated[
    str, AfterValidator(validators.engine_url), WithJsonSchema(schema_types.ENGINE_URL)
]
InspectField = Annotated[str, AfterValidator(validators.inspect_field)]
Listening = Annotated[
    TcpPort | UnixSocket, PlainValidator(_listen), WithJsonSchema(schema_types.LISTENING)
]
