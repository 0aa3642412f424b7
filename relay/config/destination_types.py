"""The types of destinations that a configuration may use.

`relay.config` itself knows no service. Each module of `relay.destinations` has the model of its
type, a subclass of `DestinationConfig`; the catalogue says where each model is, in one
`DestinationTypes`, and hands that to `load`, `parse`, `default` and `build_schema`.

A model is imported, and made part of the `Config`, only if a configuration uses its type; so are
the models of engines.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import BeforeValidator, Field, SecretStr, create_model

from relay.config.destination import DestinationConfig
from relay.config.engine import DEFAULT_ENGINE_TYPE, ENGINE_MODELS, EngineConfig, find_engine_type
from relay.config.lazy_models import ByType, LazyModels
from relay.config.model import Config
from relay.config.section import Section
from relay.config.types import Name

Models = Mapping[str, type[DestinationConfig]]
"""The models of destinations by the value of their ``type``."""


class DestinationTypes:
    """The models of all types of destinations, and the `Config` that holds such destinations."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """``places`` says for each type where its model is: ``module:class``."""
        self.models: Models = LazyModels(places)
        """The models by the value of their ``type``, in the order in which errors list them. A
        model is imported when it is looked up."""

    @property
    def config_model(self) -> type[Config]:
        """A subclass of `Config` that is validated by the models of all types."""
        return _build_config_model(tuple(self.models.items()), tuple(ENGINE_MODELS.items()))

    def config_model_for(self, data: Mapping[str, object]) -> type[Config]:
        """Return a subclass of `Config` with only the models of the types that ``data`` names.

        If it names no type that exists, the subclass has all models, and validating reports errors.
        """
        entries = data.get("destinations")
        entries = entries.values() if isinstance(entries, Mapping) else ()
        names = [entry.get("type") for entry in entries if isinstance(entry, Mapping)]
        used = tuple((name, self.models[name]) for name in self.models if name in names)
        if not used:
            return self.config_model
        engines = data.get("engines")
        engines = engines.values() if isinstance(engines, Mapping) else ()
        engine_types = {DEFAULT_ENGINE_TYPE, *map(find_engine_type, engines)}
        return _build_config_model(
            used,
            tuple((name, ENGINE_MODELS[name]) for name in ENGINE_MODELS if name in engine_types),
        )

    def secret_keys(self, type_name: object) -> list[str]:
        """Return the keys of a type that hold a secret."""
        model = self._find(type_name)
        fields = {} if model is None else model.model_fields
        return [key for key, field in fields.items() if is_secret(field.annotation)]

    def file_keys(self, type_name: object) -> list[str]:
        """Return the keys of a type whose values may be in a file that ``KEY_file`` names."""
        model = self._find(type_name)
        return [] if model is None else file_keys(model)

    def is_public(self, type_name: object, key: str) -> bool:
        """Whether an error may show the value of a key: no if it may hold a secret."""
        model = self._find(type_name) or DestinationConfig
        return key in model.public_keys

    def _find(self, type_name: object) -> type[DestinationConfig] | None:
        return self.models.get(type_name) if isinstance(type_name, str) else None


@cache
def _build_config_model(
    models: tuple[tuple[str, type[DestinationConfig]], ...],
    engine_models: tuple[tuple[str, type[EngineConfig]], ...],
) -> type[Config]:
    destination: Any = Annotated[DestinationConfig, ByType(dict(models))]
    engine: Any = Annotated[
        EngineConfig,
        ByType(dict(engine_models), find_engine_type),
        BeforeValidator(lambda value: {} if value is None else value),
    ]
    return create_model(
        Config.__name__,
        __base__=Config,
        __doc__=Config.__doc__,
        __module__=Config.__module__,
        engines=(dict[Name, engine], Config.model_fields["engines"]),
        destinations=(dict[Name, destination], Field(min_length=1)),
    )


def file_keys(model: type[Section]) -> list[str]:
    """Return the keys of a section that may be in a file: its secrets, and what goes with them."""
    return [
        key
        for key, field in model.model_fields.items()
        if is_secret(field.annotation) or key in model.keys_in_files
    ]


def is_secret(annotation: object) -> bool:
    """Whether a key with this annotation holds a secret or a sequence of secrets.

    The secrets in a mapping, such as ``headers``, have keys of their own, so it counts as none.
    """
    if get_origin(annotation) is dict:
        return False
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))
