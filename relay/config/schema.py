"""The JSON Schema of the configuration, so that editors can complete and check it.

It is generated from the model, and completed with every notation that relay reads: durations, one
value or a list, secrets from files, matches. It checks less than `relay check`: no references
between names, no files, no templates, and no comparison of two durations.
"""

import ast
import inspect
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any

from pydantic import SecretStr
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from relay.config.destination import DestinationConfig
from relay.config.destination_types import DestinationTypes, file_keys
from relay.config.engine import DEFAULT_ENGINE_TYPE, ENGINE_MODELS
from relay.config.incident_keys import GROUP_KEYS
from relay.config.match import FIELDS, FIXED_VALUES, KNOWN_VALUES, MAPPING_FIELDS, NUMBER_FIELDS
from relay.config.secrets import FILE_SUFFIX
from relay.config.section import Schema, Section, forbid, if_equals, not_both
from relay.config.types import (
    REFERENCE,
    TEXT,
    Rate,
    as_list,
    format_duration,
    split_lines,
    text_like,
)

_NULL = {"type": "null"}
_RATE_UNITS = {1.0: "s", 60.0: "min", 3600.0: "h"}
_SCALAR = {"type": ["string", "number", "boolean"]}
_GLOB_TEXT = {"type": "string", "pattern": r"[*?\[]"}
_UNUSED_KEYS = frozenset({"title", "format", "writeOnly"})
"""Keywords of pydantic's schema that relay's leaves out."""


def build_schema(types: DestinationTypes) -> Schema:
    """Build the schema, in draft 2020-12. ``types`` are the types of destinations."""
    root = types.config_model.model_json_schema(schema_generator=_Generator)
    models = {model.__name__: model for model in _subclasses(Section)}
    defs = root.pop("$defs")
    _complete_section(root, types.config_model)
    for name, node in defs.items():
        if name in models:
            _complete_section(node, models[name])
        else:  # an enum
            defs[name] = _complete_value(node)
    sections = root["properties"]
    sections["engines"]["additionalProperties"] = {"anyOf": [_ref("Engine"), _NULL]}
    sections["destinations"]["additionalProperties"] = _ref("Destination")
    # relay refuses these two if they are empty, although the model has None as their default
    sections["admin"]["anyOf"].remove(_NULL)
    defs["AdminConfig"]["properties"]["token"]["anyOf"].remove(_NULL)
    match = defs["Route"]["properties"]["match"]
    defs["Route"]["properties"]["match"] = {"description": match["description"], **_ref("Match")}
    defs |= {
        "Destination": _destination_schema(types),
        "Engine": _engine_schema(),
        "reference": REFERENCE,
        **_match_definitions(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "relay's configuration",
        **root,
        "$defs": dict(sorted(defs.items())),
    }


class _Generator(GenerateJsonSchema):
    """pydantic's generator, except for values that have more than one notation."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """Accept the single item of a list without the list."""
        node = super().function_before_schema(schema)
        if schema["function"]["function"] in (as_list, split_lines) and "items" in node:
            return {"anyOf": [node["items"], {**node, "minItems": 1}]}
        return node

    def encode_default(self, dft: Any) -> Any:
        """Return a default as people write it; None to leave it out of the schema."""
        match dft:
            case timedelta():
                return format_duration(dft)
            case Rate():
                return f"{dft.count}/{_RATE_UNITS[dft.per_s]}" if dft.per_s in _RATE_UNITS else None
            case SecretStr():  # the public URL of a service
                return dft.get_secret_value()
            case Section() | tuple():
                return None
            case _:
                return super().encode_default(dft)


def _subclasses(model: type[Section]) -> Iterator[type[Section]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _complete_section(node: Schema, model: type[Section]) -> None:
    """Complete the schema of one section in place: notations, descriptions, files and rules."""
    descriptions = _read_descriptions(model)
    properties = {key: _complete_value(value, key) for key, value in node["properties"].items()}
    for key, description in descriptions.items():
        properties[key]["description"] = description
    node["properties"] = properties
    node.pop("title", None)
    for key in file_keys(model):
        _allow_file(node, key)
    rules = node.setdefault("allOf", [])
    for base in reversed(model.__mro__):
        rules += vars(base).get("schema_rules", ())
    if issubclass(model, DestinationConfig) and model.audience.groups_by_itself:
        rules.append(forbid(*GROUP_KEYS))
    if not rules:
        del node["allOf"]


def _read_descriptions(model: type[Section]) -> dict[str, str]:
    """Return the docstrings of the keys of a model and its bases, by key.

    pydantic reads them itself with `use_attribute_docstrings`, but only while the classes are
    defined, which costs 60 ms each time that relay starts. So they are read here, when a schema is
    printed, as pydantic would read them.
    """
    return {
        model.model_fields[name].alias or name: text
        for base in reversed(model.__mro__)
        if issubclass(base, Section)
        for name, text in _read_docstrings(base).items()
        if name in model.model_fields
    }


@cache
def _read_docstrings(section: type[Section]) -> dict[str, str]:
    """Return the docstrings of the fields that a class itself defines, by name."""
    found: dict[str, str] = {}
    with suppress(OSError):  # installed without sources
        (definition,) = ast.parse(dedent(inspect.getsource(section))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            match field, text:
                case (
                    ast.AnnAssign(target=ast.Name(name)),
                    ast.Expr(ast.Constant(str(docstring))),
                ):
                    found[name] = " ".join(docstring.split())
    return found


def _complete_value(node: Schema, key: str = "") -> Schema:
    """Complete the schema of a value, and of the values inside of it."""
    node = {name: value for name, value in node.items() if name not in _UNUSED_KEYS}
    if node.get("default", 0) is None:
        del node["default"]
    for keyword, constraint in (("minimum", "ge"), ("maximum", "le")):
        if constraint in node:
            node[keyword] = node.pop(constraint)
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            node[name] = _complete_value(node[name])
    if "anyOf" in node:
        node["anyOf"] = [_complete_value(each) for each in node["anyOf"]]
    if "patternProperties" in node:  # its keys are names: any other key is an error
        ((pattern, value),) = node.pop("patternProperties").items()
        names = {"propertyNames": {"pattern": pattern}}
        return {**node, **names, "additionalProperties": _complete_value(value)}
    return _allow_reference(node, key)


def _allow_reference(node: Schema, key: str) -> Schema:
    """Accept a reference to the environment for a value that is not plain text."""
    if key == "type":
        return node
    match node.get("type"):
        case "string" if "enum" not in node and "pattern" not in node:
            return {**node, **TEXT}
        case "integer" | "number" | "boolean":
            pass
        case _ if "enum" not in node:
            return node
    outer: Schema = {name: node.pop(name) for name in ("default", "description") if name in node}
    return {**outer, "anyOf": [node, _ref("reference")]}


def _allow_file(node: Schema, key: str) -> None:
    """Accept either a value or, in another key, the path of a file that holds it."""
    file_key = key + FILE_SUFFIX
    node["properties"][file_key] = {
        **TEXT,
        "description": f"The path of a file that holds the '{key}'.",
    }
    rules = node.setdefault("allOf", [])
    if key in node.get("required", ()):
        node["required"] = [name for name in node["required"] if name != key]
        rules.append({"oneOf": [{"required": [key]}, {"required": [file_key]}]})
    else:
        rules.append(not_both(key, file_key))
    if not node.get("required", True):
        del node["required"]


def _destination_schema(types: DestinationTypes) -> Schema:
    """Return one sub-schema for each type: editors then report errors for the chosen type only."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"enum": list(types.models), "description": "The type of the destination."}
        },
        "allOf": [
            if_equals("type", name, _ref(model.__name__)) for name, model in types.models.items()
        ],
    }


def _engine_schema() -> Schema:
    """Return one sub-schema for each type, as for destinations; without a type it is the first."""
    docker, nats = (_ref(model.__name__) for model in ENGINE_MODELS.values())
    return {
        "type": "object",
        "properties": {
            "type": {
                "enum": list(ENGINE_MODELS),
                "default": DEFAULT_ENGINE_TYPE,
                "description": "The type of the engine.",
            }
        },
        "allOf": [if_equals("type", "nats", nats, docker)],
    }


def _match_definitions() -> dict[str, Schema]:
    """Return the schemas of the match language that `match_parser` reads."""
    checked = {*FIXED_VALUES, *KNOWN_VALUES, *NUMBER_FIELDS}
    fields: Schema = {
        name: (_one_or_list(_pattern_schema(name)) if name in checked else _ref("Text"))
        | {"description": meaning}
        for name, meaning in FIELDS.items()
    }
    mapping = {"type": "object", "minProperties": 1, "additionalProperties": _ref("Text")}
    nested = {"allOf": [_ref("Match"), {"type": "object", "minProperties": 1}]}
    group = {"type": "array", "minItems": 1, "items": nested}
    return {
        "Match": {
            "type": ["object", "null"],
            "description": "All of these have to match. Without any: all but relay's own events.",
            "additionalProperties": False,
            "properties": {
                **fields,
                **{name: mapping | {"description": FIELDS[name]} for name in MAPPING_FIELDS},
                "any": {**group, "description": "At least one of these has to match."},
                "all": {**group, "description": "All of these have to match."},
                "not": {**nested, "description": "This must not match."},
            },
        },
        "Text": _one_or_list(_pattern_schema("name"))
        | {"description": "A glob, {regex: …}, {not: …}, {exists: …}, or a list: any of them."},
    }


def _pattern_schema(field: str) -> Schema:
    plain = _plain_pattern_schema(field)
    special = {
        "exists": {"anyOf": [{"type": "boolean"}, _ref("reference")]},
        "not": _one_or_list(plain),
    }
    if field not in NUMBER_FIELDS:
        special["regex"] = TEXT
    return {
        "anyOf": [
            plain,
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": special,
            },
        ]
    }


def _plain_pattern_schema(field: str) -> Schema:
    match field:
        case "exit_code":
            return _number_schema(r"[0-9]{1,10}(-[0-9]{1,10})?|(>=|<=|>|<) ?[0-9]{1,10}")
        case "signal":
            return _number_schema(r"[0-9]{1,10}|[A-Za-z]{3,9}[0-9]*|(SIG)?RTM(IN|AX)[+-][0-9]{1,2}")
        case "interactive":
            booleans = {"enum": [True, False, *FIXED_VALUES[field]]}  # YAML's, or in quotes
            return {"anyOf": [booleans, _GLOB_TEXT, _ref("reference")]}
        case _ if field in FIXED_VALUES:
            return {"anyOf": [{"enum": list(FIXED_VALUES[field])}, _GLOB_TEXT, _ref("reference")]}
        case _ if field in KNOWN_VALUES:
            return {"anyOf": [{"enum": list(KNOWN_VALUES[field])}, _SCALAR]}
        case _:
            return _SCALAR


def _number_schema(pattern: str) -> Schema:
    return {"anyOf": [{"type": "integer", "minimum": 0}, text_like(pattern, "1")]}


def _one_or_list(one: Schema) -> Schema:
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}
