"""The JSON Schema of the configuration, so that editors complete and check what people write.

It is made from the model. What the model reads in more than one way (durations, one or a list,
secrets from files, matches) is put as it may be written. It knows less than `relay check`: nothing
of names that refer to each other, of files, of templates, or of how two durations compare.
"""

import ast
import inspect
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from textwrap import dedent
from typing import Any

from pydantic import SecretStr
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from relay.config import match_fields, schema_types
from relay.config.common import Section
from relay.config.destination_types import DestinationTypes, is_secret
from relay.config.types import as_list, split_lines
from relay.config.units import Rate

Node = dict[str, Any]

_NULL = {"type": "null"}
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
_RATE_UNITS = {1.0: "s", 60.0: "min", 3600.0: "h"}
_FILE_SUFFIX = "_file"
_GLOB_TEXT = {"type": "string", "pattern": r"[*?\[]"}


def build_schema(types: DestinationTypes | None = None) -> Node:
    """The schema, in draft 2020-12. ``types`` are the types of destinations."""
    types = types or _built_in_types()
    made = types.config_model.model_json_schema(schema_generator=_Generator)
    kinds = {kind.__name__: kind for kind in _sections(Section)}
    defs = made.pop("$defs")
    for name, node in {**defs, types.config_model.__name__: made}.items():
        if name in kinds:
            _complete_section(node, kinds[name])
        else:  # an enum
            defs[name] = _complete_value(node)
    sections = made["properties"]
    sections["engines"]["additionalProperties"] = {"anyOf": [_ref("EngineConfig"), _NULL]}
    sections["destinations"]["additionalProperties"] = _ref("Destination")
    sections["admin"]["anyOf"].remove(_NULL)  # it has to say where
    defs["AdminConfig"]["properties"]["token"]["anyOf"].remove(_NULL)  # nor is it forgotten
    match = defs["Route"]["properties"]["match"]
    defs["Route"]["properties"]["match"] = {"description": match["description"], **_ref("Match")}
    defs |= {
        "Destination": _destination_schema(types),
        "reference": schema_types.REFERENCE,
        **_match_definitions(),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "relay's configuration",
        **made,
        "$defs": dict(sorted(defs.items())),
    }


def _built_in_types() -> DestinationTypes:
    # until the models of the destinations have moved to relay.destinations
    from relay.config.destinations import TYPES  # noqa: PLC0415

    return TYPES


class _Generator(GenerateJsonSchema):
    """pydantic's, but for what is read in more than one way."""

    def function_before_schema(
        self, schema: core_schema.BeforeValidatorFunctionSchema
    ) -> JsonSchemaValue:
        """A list that may be written as its only item."""
        node = super().function_before_schema(schema)
        if schema["function"]["function"] in (as_list, split_lines) and "items" in node:
            return {"anyOf": [node["items"], {**node, "minItems": 1}]}
        return node

    def encode_default(self, dft: Any) -> Any:
        """As people write it; None where it is better left out."""
        match dft:
            case timedelta():
                return format_duration(dft)
            case Rate():
                return f"{dft.count}/{_RATE_UNITS[dft.per_s]}" if dft.per_s in _RATE_UNITS else None
            case SecretStr():  # the addresses of services
                return dft.get_secret_value()
            case Section() | tuple():
                return None
            case _:
                return super().encode_default(dft)


def format_duration(length: timedelta) -> str:
    """A duration as people write it, in the largest unit that it is a multiple of."""
    millis = length // timedelta(milliseconds=1)
    return next(f"{millis // size}{unit}" for unit, size in _UNITS if millis % size == 0)


def _sections(kind: type[Section]) -> Iterator[type[Section]]:
    yield kind
    for inner in kind.__subclasses__():
        yield from _sections(inner)


def _complete_section(node: Node, kind: type[Section]) -> None:
    """Mend the schema of one section in place."""
    words = _docstrings(kind)
    properties = {key: _complete_value(value, key) for key, value in node["properties"].items()}
    for key, value in properties.items():
        if words.get(key):
            value["description"] = words[key]
    node["properties"] = properties
    node.pop("title", None)
    for key, field in kind.model_fields.items():
        if is_secret(field.annotation):
            _allow_file(node, key)
    rules = node.setdefault("allOf", [])
    for base in reversed(kind.__mro__):
        rules += vars(base).get("schema_rules", ())
    if not node["allOf"]:
        del node["allOf"]


def _docstrings(kind: type[Section]) -> dict[str, str]:
    """What the model says below each of its keys, those that it inherits too."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if issubclass(each, Section):
            with suppress(OSError):  # installed without sources
                (body,) = ast.parse(dedent(inspect.getsource(each))).body
                found |= _said(body)
    return found


def _said(body: ast.AST) -> dict[str, str]:
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


def _complete_value(node: Node, key: str = "") -> Node:
    """What may be written for a value, wherever in it something stands."""
    node = {name: value for name, value in node.items() if name not in _UNUSED_KEYS}
    if node.get("default", 0) is None:
        del node["default"]
    for ours, theirs in (("minimum", "ge"), ("maximum", "le")):
        if theirs in node:
            node[ours] = node.pop(theirs)
    for name in ("items", "additionalProperties"):
        if isinstance(node.get(name), dict):
            node[name] = _complete_value(node[name])
    if "anyOf" in node:
        node["anyOf"] = [_complete_value(each) for each in node["anyOf"]]
    if "patternProperties" in node:
        return _complete_named_mapping(node)
    return _allow_reference(node, key)


_UNUSED_KEYS = frozenset({"title", "format", "writeOnly"})


def _complete_named_mapping(node: Node) -> Node:
    """A mapping of names of our own, each of which has to be one."""
    ((pattern, value),) = node.pop("patternProperties").items()
    names = {"propertyNames": {"pattern": pattern}}
    return {**node, **names, "additionalProperties": _complete_value(value)}


def _allow_reference(node: Node, key: str) -> Node:
    """A value that is checked may come from the environment as well; a text always may."""
    if key == "type":
        return node
    match node.get("type"):
        case "string" if "enum" not in node and "pattern" not in node:
            return {**node, **schema_types.TEXT}
        case "integer" | "number" | "boolean":
            pass
        case _ if "enum" not in node:
            return node
    outer: Node = {name: node.pop(name) for name in ("default", "description") if name in node}
    return {**outer, "anyOf": [node, _ref("reference")]}


def _allow_file(node: Node, key: str) -> None:
    """A secret, or the path of the file that holds it; not both."""
    named = key + _FILE_SUFFIX
    node["properties"][named] = {
        **schema_types.TEXT,
        "description": f"The path of a file that holds the '{key}'.",
    }
    rules = node.setdefault("allOf", [])
    if key in node.get("required", ()):
        node["required"] = [name for name in node["required"] if name != key]
        rules.append({"oneOf": [{"required": [key]}, {"required": [named]}]})
    else:
        rules.append(schema_types.not_both(key, named))
    if not node.get("required", True):
        del node["required"]


def _destination_schema(types: DestinationTypes) -> Node:
    """Of each type what it takes, so that an editor says what is wrong with that one."""
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": list(types.models), "description": "Where it goes."}},
        "allOf": [
            schema_types.if_equals("type", name, _ref(model.__name__))
            for name, model in types.models.items()
        ],
    }


def _match_definitions() -> dict[str, Node]:
    """The match language, as `match_reader` reads it."""
    own = {*match_fields.FIXED_VALUES, *match_fields.KNOWN_VALUES, *_NUMBER_FIELDS}
    fields: Node = {
        name: (_one_or_list(_pattern_schema(name)) if name in own else _ref("Text"))
        | {"description": meaning}
        for name, meaning in match_fields.FIELDS.items()
    }
    keyed = {"type": "object", "minProperties": 1, "additionalProperties": _ref("Text")}
    some = {"allOf": [_ref("Match"), {"type": "object", "minProperties": 1}]}
    group = {"type": "array", "minItems": 1, "items": some}
    return {
        "Match": {
            "type": ["object", "null"],
            "description": "All of it must hold; empty or absent, it takes everything.",
            "additionalProperties": False,
            "properties": {
                **fields,
                **{
                    name: keyed | {"description": match_fields.FIELDS[name]}
                    for name in _MAPPING_FIELDS
                },
                "any": {**group, "description": "At least one of these must hold."},
                "all": {**group, "description": "All of these must hold."},
                "not": {**some, "description": "This must not hold."},
            },
        },
        "Text": _one_or_list(_pattern_schema("name"))
        | {"description": "A glob, {regex: …}, {not: …}, {exists: …}, or a list: any of them."},
    }


def _pattern_schema(field: str) -> Node:
    plain = _plain_pattern_schema(field)
    special = {
        "exists": {"anyOf": [{"type": "boolean"}, _ref("reference")]},
        "not": _one_or_list(plain),
    }
    if field not in _NUMBER_FIELDS:
        special["regex"] = schema_types.TEXT
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


def _plain_pattern_schema(field: str) -> Node:
    match field:
        case "exit_code":
            return _number_schema(r"[0-9]{1,10}(-[0-9]{1,10})?|(>=|<=|>|<) ?[0-9]{1,10}")
        case "signal":
            return _number_schema(r"[0-9]{1,10}|[A-Za-z]{3,9}[0-9]*|(SIG)?RTM(IN|AX)[+-][0-9]{1,2}")
        case _ if field in match_fields.FIXED_VALUES:
            return {
                "anyOf": [{"enum": list(match_fields.FIXED_VALUES[field])}, _GLOB_TEXT, _REFERENCE]
            }
        case _ if field in match_fields.KNOWN_VALUES:
            return {"anyOf": [{"enum": list(match_fields.KNOWN_VALUES[field])}, _TEXT]}
        case _:
            return _TEXT


_NUMBER_FIELDS = ("exit_code", "signal")
_MAPPING_FIELDS = ("label", "attribute")
_REFERENCE = {"$ref": "#/$defs/reference"}
_TEXT = {"type": ["string", "number", "boolean"]}


def _number_schema(pattern: str) -> Node:
    return {"anyOf": [{"type": "integer", "minimum": 0}, schema_types.text_like(pattern, "1")]}


def _one_or_list(one: Node) -> Node:
    return {"anyOf": [one, {"type": "array", "minItems": 1, "items": one}]}


def _ref(name: str) -> Node:
    return {"$ref": f"#/$defs/{name}"}
