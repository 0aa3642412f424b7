"""The types of destinations that a configuration may use.

`relay.config` itself knows no service. Each module of `relay.destinations` has the model of its
type, a subclass of `DestinationConfig`; the catalogue collects the models in one `DestinationTypes`
and hands it to `load`, `parse`, `default` and `build_schema`.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property, reduce
from operator import or_
from typing import Annotated, Any, get_args, get_origin

from pydantic import Field, SecretStr, create_model

from relay.config.destination import DestinationConfig
from relay.config.model import Config
from relay.config.types import Name


class DestinationTypes:
    """The models of all types of destinations, and the `Config` that holds such destinations.

    Make one instance for the whole program: `config_model` is built once for each.
    """

    def __init__(self, models: Iterable[type[DestinationConfig]]) -> None:
        self.models: Mapping[str, type[DestinationConfig]] = {
            model.model_fields["type"].default: model for model in models
        }
        """The models by the value of their ``type``, in the order in which errors list them."""

    @cached_property
    def config_model(self) -> type[Config]:
        """A subclass of `Config` whose ``destinations`` are validated by these models."""
        union: Any = reduce(or_, self.models.values())
        destination: Any = Annotated[union, Field(discriminator="type")]
        return create_model(
            Config.__name__,
            __base__=Config,
            __doc__=Config.__doc__,
            __module__=Config.__module__,
            destinations=(dict[Name, destination], Field(min_length=1)),
        )

    def secret_keys(self, type_name: object) -> list[str]:
        """Return the keys of a type that hold a secret; ``KEY_file`` may name a file for each."""
        model = self._find(type_name)
        fields = {} if model is None else model.model_fields
        return [key for key, field in fields.items() if is_secret(field.annotation)]

    def is_public(self, type_name: object, key: str) -> bool:
        """Whether an error may show the value of a key: no if it may hold a secret."""
        model = self._find(type_name) or DestinationConfig
        return key in model.public_keys

    def _find(self, type_name: object) -> type[DestinationConfig] | None:
        return self.models.get(type_name) if isinstance(type_name, str) else None


def is_secret(annotation: object) -> bool:
    """Whether a key with this annotation holds a secret or a sequence of secrets.

    The secrets in a mapping, such as ``headers``, have keys of their own, so it counts as none.
    """
    if get_origin(annotation) is dict:
        return False
    return annotation is SecretStr or any(map(is_secret, get_args(annotation)))
