"""What pydantic finds wrong, in words for people."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from relay.config import model
from relay.config.common import BatchConfig, RetryConfig, TimeoutConfig, TlsConfig
from relay.config.destinations import KINDS, BasicAuth, secret_keys
from relay.config.errors import About, Mistake, Mistakes, Trail, closest, did_you_mean, quoted

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "ingest": model.IngestConfig,
    "reconcile": model.ReconcileConfig,
    "store": model.StoreConfig,
    "admin": model.AdminConfig,
}
_PARTS: Mapping[str, type[BaseModel]] = {
    "retry": RetryConfig,
    "timeout": TimeoutConfig,
    "batch": BatchConfig,
    "tls": TlsConfig,
    "basic_auth": BasicAuth,
}
"""The mappings in a destination."""
_TYPES = ", ".join(KINDS)
_EXAMPLES: Mapping[Trail, str] = {
    ("destinations",): "where to send, as in {terminal: {type: console}}",
    ("routes",): "what goes where, as in [{name: all, to: terminal}]",
    ("engines",): "which engines to listen to, as in {here: {}}, or nothing for the local one",
}
_VALUE = {
    "string_type": "is not text: put it in quotes",
    "path_type": "is not text: put it in quotes",
    "float_type": "is not a number",
    "float_parsing": "is not a number",
    "finite_number": "is not a number",
    "int_type": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is not a whole number of any sensible size",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "time_delta_type": "is not a duration: write 500ms, 10s, 5m, 72h or 7d",
}
_WHOLE = {
    "dict_type": "must be a mapping, with 'key: value' lines",
    "model_type": "must be a mapping, with 'key: value' lines",
    "model_attributes_type": "must be a mapping, with 'key: value' lines",
    "tuple_type": "must be a list, with '- ' before each item",
}
_INSTEAD = {"drop": "to"}
"""A key that makes another one needless, beside those of files."""


def mistakes_of(error: ValidationError, data: Mapping[str, object]) -> list[Mistake]:
    """Every mistake in ``data``, one for each thing that a person did wrong."""
    details = error.errors(include_url=False)
    found = [mistake for detail in details for mistake in _mistakes(detail, data)]
    # a key that was mistyped is not a key that was forgotten as well
    excused = {trail for detail in details for trail in _mistyped(detail)}
    return [m for m in found if m.trail not in excused or _at(data, m.trail) is not None]


def _at(data: Any, trail: Trail) -> object:
    """What stands at a trail whose mapping exists; None where that lacks the last key."""
    for step in trail:
        data = data.get(step) if isinstance(data, dict) else data[step]
    return data


def _mistakes(detail: ErrorDetails, data: object) -> list[Mistake]:
    trail, context = _trail(detail["loc"]), detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return _own(context["error"], trail, is_key=detail["loc"][-1] == "[key]")
        case "missing":
            return [Mistake(trail, _needs(detail["loc"]))]
        case "extra_forbidden":
            key, known = str(trail[-1]), _fields(detail["loc"][:-1])
            meant = _elsewhere(key, detail["loc"]) or did_you_mean(key, known)
            message = f"unknown key {quoted(key)}{meant}"
            return [Mistake(trail, message, About.KEY)]
        case "union_tag_not_found":
            return [_no_type(trail, _at(data, trail))]
        case "union_tag_invalid":
            kind = _at(data, (*trail, "type"))
            meant = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
            message = f"is not a type of destination: there are {_TYPES}{meant}"
            return [Mistake((*trail, "type"), message, About.VALUE)]
        case "too_short" if detail["input"]:
            return []  # it only has nothing in it that is right
        case _:
            return [_simple(detail, trail)]


def _simple(detail: ErrorDetails, trail: Trail) -> Mistake:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "too_short" or detail["input"] is None:
        example = _EXAMPLES.get(trail)
        write = f"write {example}" if example else "write a value, or remove it"
        return Mistake(trail, f"is empty: {write}")
    if kind in _WHOLE:
        return Mistake(trail, _WHOLE[kind])
    match kind:
        case "greater_than_equal":
            message = f"is less than {context['ge']}"
        case "less_than_equal":
            message = f"is more than {context['le']}"
        case "literal_error" | "enum":
            message = f"is not {context['expected']}"
        case _:
            message = _VALUE[kind]
    return Mistake(trail, message, About.VALUE)


def _own(error: ValueError, trail: Trail, *, is_key: bool) -> list[Mistake]:
    """The mistakes that a validator of relay's own raised."""
    if isinstance(error, Mistakes):
        return [
            Mistake((*trail, *one.trail), one.message, one.about, one.quote)
            for one in error.mistakes
        ]
    if is_key:
        return [Mistake(trail, f"{quoted(str(trail[-1]))} {error}", About.KEY)]
    return [Mistake(trail, str(error), About.VALUE)]


def _needs(loc: tuple[str | int, ...]) -> str:
    key = str(loc[-1])
    if example := _EXAMPLES.get(_trail(loc)):
        return f"needs '{key}': {example}"
    return f"needs '{key}' or '{key}_file'" if _of_file(loc, key) else f"needs '{key}'"


def _of_file(loc: tuple[str | int, ...], key: str) -> bool:
    """Whether what is at pydantic's location may come from a file."""
    match loc:
        case ("destinations", _, str(kind), _):
            return key in secret_keys(kind)
        case ("destinations", _, _, "basic_auth", _):
            return key == "password"
        case ("admin", _):
            return key == "token"
        case _:
            return False


def _elsewhere(key: str, loc: tuple[str | int, ...]) -> str:
    """`` (it is for 'type: x' only)``, where one other type of destination has the key."""
    kinds = [name for name, kind in KINDS.items() if key in kind.model_fields]
    match loc, kinds:
        case ("destinations", _, str(), _), [kind]:
            return f" (it is for 'type: {kind}' only)"
        case _:
            return ""


def _no_type(trail: Trail, entry: object) -> Mistake:
    known = {name for kind in KINDS.values() for name in kind.model_fields}
    for key in entry if isinstance(entry, dict) else ():
        if key not in known and closest(key, known) == "type":
            message = f"unknown key {quoted(key)} (did you mean 'type'?)"
            return Mistake((*trail, key), message, About.KEY)
    return Mistake((*trail, "type"), f"needs 'type': one of {_TYPES}")


def _mistyped(detail: ErrorDetails) -> list[Trail]:
    """The key that an unknown key was meant to be, and the key that this one replaces."""
    if detail["type"] != "extra_forbidden":
        return []
    *parent, key = _trail(detail["loc"])
    meant = closest(str(key), _fields(detail["loc"][:-1]))
    instead = _INSTEAD.get(meant or "") or (meant or "").removesuffix("_file")
    return [(*parent, name) for name in {meant, instead} if name]


def _trail(loc: tuple[str | int, ...]) -> Trail:
    """pydantic's location without what is not in the file: the tag of a union, ``[key]``."""
    if loc[-1] == "[key]":
        loc = loc[:-1]
    if loc[0] == "destinations" and len(loc) > 2:
        return (*loc[:2], *loc[3:])
    return loc


def _fields(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the mapping at pydantic's location may have."""
    kind: type[BaseModel] = model.Config
    match loc:
        case ("engines", _):
            kind = model.EngineConfig
        case ("engines", _, _):
            kind = TlsConfig
        case (str(section),):
            kind = _SECTIONS.get(section, model.Config)
        case ("destinations", _, str(tag)):
            kind = KINDS[tag]
        case ("destinations", _, _, str(part)):
            kind = _PARTS[part]
        case ("store", "dead_letters"):
            kind = model.DeadLettersConfig
        case ("routes", _):
            kind = model.Route
        case ("routes", _, "include"):
            kind = model.IncludeConfig
    fields = list(kind.model_fields)
    return [*fields, *(f"{name}_file" for name in fields if _of_file((*loc, name), name))]
