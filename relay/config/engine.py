"""The types of engines, and the keys of a Docker one: how relay reaches it, where it begins."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator

from relay.config import validators
from relay.config.destination import TlsConfig
from relay.config.errors import invalid
from relay.config.lazy_models import LazyModels
from relay.config.section import Section, not_both
from relay.config.types import EngineUrl, HeaderName, NonEmptyPath, PlainHeaderValue, StartPosition


def _has_user(info: ValidationInfo) -> bool:
    """Whether the engine's URL holds a user for its HTTP requests, and not one for ssh."""
    url = info.data.get("url") or ""
    return url.startswith(("tcp:", "http:", "https:")) and validators.has_user(url)


class EngineConfig(Section):
    """The base class of all types of engines: where relay takes events from."""

    if TYPE_CHECKING:
        # Each subclass declares these; its `type` is a literal of one string.
        type: str
        tls: TlsConfig | None


class DockerEngineConfig(EngineConfig):
    """A Docker API. Without any key: the one that the docker command would use."""

    schema_rules = (not_both("url", "context"),)

    type: Literal["docker"] = "docker"
    url: EngineUrl | None = None
    """``unix:///run/docker.sock``, ``tcp://HOST:2376``, ``http://HOST``, ``https://HOST`` or
    ``ssh://USER@HOST``. Without it and ``context``: what the docker command would use."""
    context: Annotated[str, AfterValidator(validators.check_title)] | None = None
    """A docker context, instead of ``url``."""
    host: Annotated[str, AfterValidator(validators.check_title)] | None = None
    """The host name to show. Default: the one that the engine reports or, if a socket proxy hides
    that, the engine's name in this file."""
    tls: TlsConfig | None = None
    """For a ``tcp://`` or ``https://`` URL."""
    headers: dict[HeaderName, PlainHeaderValue] = Field(default_factory=dict)
    """Headers that a proxy before the engine wants with each request. ``NAME_file`` names a file
    with the value."""
    bearer_token_file: NonEmptyPath | None = None
    """A file with a token, sent as ``Authorization: Bearer``. It is read at each connection, so a
    renewed token needs no reload."""
    start_from: StartPosition = "now"
    """Where the very first start begins: ``now``, ``oldest`` (everything that the engine
    remembers), or a duration before now."""

    @field_validator("context")
    @classmethod
    def _check_url_or_context(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("url") is not None:
            raise invalid("'url' and 'context' exclude each other: keep one")
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(
        cls, value: dict[str, SecretStr], info: ValidationInfo
    ) -> dict[str, SecretStr]:
        validators.check_distinct_headers(value)
        if validators.has_authorization(value) and _has_user(info):
            raise invalid("hold an Authorization, and the 'url' holds a user: keep one of them")
        return value

    @field_validator("bearer_token_file")
    @classmethod
    def _check_one_authorization(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and validators.has_authorization(info.data.get("headers") or {}):
            raise invalid("there is an Authorization in 'headers' as well: keep one of them")
        if value is not None and _has_user(info):
            raise invalid("there is a user in the 'url' as well: keep one of them")
        return value

    @field_validator("tls")
    @classmethod
    def _check_tls_url(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        # "url" is missing here if it is invalid itself
        url = info.data.get("url", "tcp:")
        if value is not None and not (url or "").startswith(("tcp:", "https:")):
            raise invalid("is for a tcp:// or https:// 'url' only")
        return value


ENGINE_MODELS: LazyModels[EngineConfig] = LazyModels(
    {
        "docker": "relay.config.engine:DockerEngineConfig",
        "nats": "relay.config.nats_engine:NatsEngineConfig",
    }
)
"""The models of engines by the value of their ``type``."""
DEFAULT_ENGINE_TYPE = "docker"


def find_engine_type(entry: object) -> str | None:
    """Return the type of an engine in raw data or as a model; None if that is no text."""
    match entry:
        case EngineConfig():
            return entry.type
        case dict():
            found = entry.get("type", DEFAULT_ENGINE_TYPE)
            return found if isinstance(found, str) else None
        case _:
            return DEFAULT_ENGINE_TYPE


def has_nats_engine(data: Mapping[str, object]) -> bool:
    """Whether a configuration, in raw data, names an engine of ``type: nats``."""
    engines = data.get("engines")
    return isinstance(engines, dict) and "nats" in map(find_engine_type, engines.values())
