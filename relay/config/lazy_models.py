"""Models that are chosen by the ``type`` of a section, and imported only if a file uses them.

Most configurations use one or two types; importing all of them would delay each start by 100 ms.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from importlib import import_module
from typing import TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from relay.config.section import Section

M_co = TypeVar("M_co", bound=Section, covariant=True)


class LazyModels(Mapping[str, type[M_co]]):
    """The models by the value of their ``type``. A model is imported when it is looked up."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """``places`` says for each type where its model is: ``module:class``."""
        self._places = places

    def __getitem__(self, name: str) -> type[M_co]:
        module, _, class_name = self._places[name].partition(":")
        model: type[M_co] = getattr(import_module(module), class_name)
        return model

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class ByType:
    """Validates a section by the model of its ``type``.

    pydantic's ``Field(discriminator="type")`` does the same, but refuses to choose from one model.
    """

    def __init__(
        self,
        models: Mapping[str, type[Section]],
        discriminator: str | Callable[[object], Hashable] = "type",
    ) -> None:
        self._models = models
        self._discriminator = discriminator

    def __get_pydantic_core_schema__(self, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(model) for name, model in self._models.items()}
        return core_schema.tagged_union_schema(choices, discriminator=self._discriminator)
