"""Sections of a configuration, and rules between their keys.

`Section` is the base class of all mappings with known keys. The functions below it return the keys
of a section, and make the rules of its JSON Schema.
"""

from keyword import iskeyword
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo
from pydantic.fields import FieldInfo

Schema = dict[str, Any]
"""A JSON Schema, or a part of one."""


class Section(BaseModel):
    """Base class of a section: a mapping with known keys. Unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        coerce_numbers_to_str=True,
        hide_input_in_errors=True,
        defer_build=True,
        arbitrary_types_allowed=True,  # `Rate` and other values that relay itself parses
    )
    schema_rules: ClassVar[tuple[Schema, ...]] = ()
    """Rules between the keys of this class as JSON Schema, which `relay schema` adds to ``allOf``.

    Each class has its own rules only; those of its bases apply as well.
    """
    keys_in_files: ClassVar[frozenset[str]] = frozenset()
    """Keys that hold no secret, but whose value may be in a file, too: with ``KEY_file``."""


def to_field(key: str) -> str:
    """Return the field of a model that holds a key: Python reserves some of the words."""
    return f"{key}_" if iskeyword(key) else key


def get_key(info: ValidationInfo) -> str:
    """Return the key that is validated."""
    return (info.field_name or "").removesuffix("_")


def list_keys(model: type[Section]) -> dict[str, FieldInfo]:
    """Return the fields of a section, by their keys as people write them."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def not_both(one: str, other: str) -> Schema:
    """Return the rule that two keys exclude each other."""
    return {"not": {"required": [one, other]}}


def forbid(*keys: str) -> Schema:
    """Return the rule that none of the keys may be there."""
    return {"properties": dict.fromkeys(keys, False)}


def if_equals(key: str, value: object, then: Schema, otherwise: Schema | None = None) -> Schema:
    """Return the rule ``then`` for a key that is there with this value, else ``otherwise``."""
    condition = {"properties": {key: {"const": value}}, "required": [key]}
    rule: Schema = {"if": condition, "then": then}
    return rule if otherwise is None else {**rule, "else": otherwise}
