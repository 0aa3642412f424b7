"""What pydantic finds wrong, in words for people."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from relay.config import model
from relay.config.common import BatchConfig, RetryConfig, TimeoutConfig, TlsConfig
from relay.config.destinations import DESTINATION_TYPES, BasicAuth, secret_keys
from relay.config.errors import (
    ConfigIssue,
    InvalidValue,
    IssueScope,
    KeyPath,
    did_you_mean,
    find_closest,
    quote,
)

_SECTIONS: Mapping[str, type[BaseModel]] = {
    "ingest": model.IngestConfig,
    "reconcile": model.ReconcileConfig,
    "store": model.StoreConfig,
    "admin": model.AdminConfig,
}
_DESTINATION_SECTIONS: Mapping[str, type[BaseModel]] = {
    "retry": RetryConfig,
    "timeout": TimeoutConfig,
    "batch": BatchConfig,
    "tls": TlsConfig,
    "basic_auth": BasicAuth,
}
"""The mappings in a destination."""
_TYPES = ", ".join(DESTINATION_TYPES)
_EXAMPLES: Mapping[KeyPath, str] = {
    ("destinations",): "where to send, as in {terminal: {type: console}}",
    ("routes",): "what goes where, as in [{name: all, to: terminal}]",
    ("engines",): "which engines to listen to, as in {here: {}}, or nothing for the local one",
}
_VALUE_MESSAGES = {
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
_STANDALONE_MESSAGES = {
    "dict_type": "must be a mapping, with 'key: value' lines",
    "model_type": "must be a mapping, with 'key: value' lines",
    "model_attributes_type": "must be a mapping, with 'key: value' lines",
    "tuple_type": "must be a list, with '- ' before each item",
}
_ALTERNATIVES = {"drop": "to"}
"""A key that makes another one needless, beside those of files."""


def to_issues(error: ValidationError, data: Mapping[str, object]) -> list[ConfigIssue]:
    """Every mistake in ``data``, one for each thing that a person did wrong."""
    details = error.errors(include_url=False)
    found = [mistake for detail in details for mistake in _issues_of(detail, data)]
    # a key that was mistyped is not a key that was forgotten as well
    excused = {trail for detail in details for trail in _intended_keys(detail)}
    return [m for m in found if m.path not in excused or _get_value(data, m.path) is not None]


def _get_value(data: Any, trail: KeyPath) -> object:
    """What stands at a trail whose mapping exists; None where that lacks the last key."""
    for step in trail:
        data = data.get(step) if isinstance(data, dict) else data[step]
    return data


def _issues_of(detail: ErrorDetails, data: object) -> list[ConfigIssue]:
    trail, context = _key_path(detail["loc"]), detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return _validator_issues(context["error"], trail, is_key=detail["loc"][-1] == "[key]")
        case "missing":
            return [ConfigIssue(trail, _missing_key_message(detail["loc"]))]
        case "extra_forbidden":
            key, known = str(trail[-1]), _known_keys(detail["loc"][:-1])
            meant = _other_type_hint(key, detail["loc"]) or did_you_mean(key, known)
            message = f"unknown key {quote(key)}{meant}"
            return [ConfigIssue(trail, message, IssueScope.KEY)]
        case "union_tag_not_found":
            return [_missing_type_issue(trail, _get_value(data, trail))]
        case "union_tag_invalid":
            kind = _get_value(data, (*trail, "type"))
            meant = did_you_mean(kind, DESTINATION_TYPES) if isinstance(kind, str) else ""
            message = f"is not a type of destination: there are {_TYPES}{meant}"
            return [ConfigIssue((*trail, "type"), message, IssueScope.VALUE)]
        case "too_short" if detail["input"]:
            return []  # it only has nothing in it that is right
        case _:
            return [_simple_issue(detail, trail)]


def _simple_issue(detail: ErrorDetails, trail: KeyPath) -> ConfigIssue:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "too_short" or detail["input"] is None:
        example = _EXAMPLES.get(trail)
        write = f"write {example}" if example else "write a value, or remove it"
        return ConfigIssue(trail, f"is empty: {write}")
    if kind in _STANDALONE_MESSAGES:
        return ConfigIssue(trail, _STANDALONE_MESSAGES[kind])
    match kind:
        case "greater_than_equal":
            message = f"is less than {context['ge']}"
        case "less_than_equal":
            message = f"is more than {context['le']}"
        case "literal_error" | "enum":
            message = f"is not {context['expected']}"
        case _:
            message = _VALUE_MESSAGES[kind]
    return ConfigIssue(trail, message, IssueScope.VALUE)


def _validator_issues(error: ValueError, trail: KeyPath, *, is_key: bool) -> list[ConfigIssue]:
    """The mistakes that a validator of relay's own raised."""
    if isinstance(error, InvalidValue):
        return [
            ConfigIssue((*trail, *one.path), one.message, one.scope, one.detail)
            for one in error.issues
        ]
    if is_key:
        return [ConfigIssue(trail, f"{quote(str(trail[-1]))} {error}", IssueScope.KEY)]
    return [ConfigIssue(trail, str(error), IssueScope.VALUE)]


def _missing_key_message(loc: tuple[str | int, ...]) -> str:
    key = str(loc[-1])
    if example := _EXAMPLES.get(_key_path(loc)):
        return f"needs '{key}': {example}"
    return f"needs '{key}' or '{key}_file'" if _may_come_from_file(loc, key) else f"needs '{key}'"


def _may_come_from_file(loc: tuple[str | int, ...], key: str) -> bool:
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


def _other_type_hint(key: str, loc: tuple[str | int, ...]) -> str:
    """`` (it is for 'type: x' only)``, where one other type of destination has the key."""
    kinds = [name for name, kind in DESTINATION_TYPES.items() if key in kind.model_fields]
    match loc, kinds:
        case ("destinations", _, str(), _), [kind]:
            return f" (it is for 'type: {kind}' only)"
        case _:
            return ""


def _missing_type_issue(trail: KeyPath, entry: object) -> ConfigIssue:
    known = {name for kind in DESTINATION_TYPES.values() for name in kind.model_fields}
    for key in entry if isinstance(entry, dict) else ():
        if key not in known and find_closest(key, known) == "type":
            message = f"unknown key {quote(key)} (did you mean 'type'?)"
            return ConfigIssue((*trail, key), message, IssueScope.KEY)
    return ConfigIssue((*trail, "type"), f"needs 'type': one of {_TYPES}")


def _intended_keys(detail: ErrorDetails) -> list[KeyPath]:
    """The key that an unknown key was meant to be, and the key that this one replaces."""
    if detail["type"] != "extra_forbidden":
        return []
    *parent, key = _key_path(detail["loc"])
    meant = find_closest(str(key), _known_keys(detail["loc"][:-1]))
    instead = _ALTERNATIVES.get(meant or "") or (meant or "").removesuffix("_file")
    return [(*parent, name) for name in {meant, instead} if name]


def _key_path(loc: tuple[str | int, ...]) -> KeyPath:
    """pydantic's location without what is not in the file: the tag of a union, ``[key]``."""
    if loc[-1] == "[key]":
        loc = loc[:-1]
    if loc[0] == "destinations" and len(loc) > 2:
        return (*loc[:2], *loc[3:])
    return loc


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
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
            kind = DESTINATION_TYPES[tag]
        case ("destinations", _, _, str(part)):
            kind = _DESTINATION_SECTIONS[part]
        case ("store", "dead_letters"):
            kind = model.DeadLettersConfig
        case ("routes", _):
            kind = model.Route
        case ("routes", _, "include"):
            kind = model.IncludeConfig
    fields = list(kind.model_fields)
    return [
        *fields,
        *(f"{name}_file" for name in fields if _may_come_from_file((*loc, name), name)),
    ]
