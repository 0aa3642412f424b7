"""Turns pydantic's validation errors into issues with messages for people."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from relay.config import match
from relay.config.destination import DestinationConfig
from relay.config.destination_types import DestinationTypes, file_keys
from relay.config.engine import ENGINE_MODELS, EngineConfig
from relay.config.errors import (
    ConfigIssue,
    InvalidValue,
    IssueScope,
    KeyPath,
    did_you_mean,
    find_closest,
    quote,
)
from relay.config.model import Config
from relay.config.mute_times import MuteTimes
from relay.config.route import Route
from relay.config.section import Section, list_keys
from relay.config.unknown_keys import (
    CONFIG_SYNONYMS,
    DESTINATION_SYNONYMS,
    ENGINE_SYNONYMS,
    MATCH_SYNONYMS,
    MUTE_SYNONYMS,
    ROUTE_SYNONYMS,
    TARGETS,
    Synonyms,
    find_target,
    hint,
)

_Location = tuple[str | int, ...]
"""A location of pydantic: a path with the tags of unions in it."""
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
    "int_parsing_size": "is too large a number",
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
"""Keys that replace a required key, besides ``…_file`` keys."""


def to_issues(
    error: ValidationError, data: Mapping[str, object], types: DestinationTypes
) -> list[ConfigIssue]:
    """Return the issues in ``data``: one for each thing that a person did wrong."""
    return _Messages(data, types).to_issues(error)


class _Messages:
    """Describes the errors in one configuration."""

    def __init__(self, data: Mapping[str, object], types: DestinationTypes) -> None:
        self._data = data
        self._types = types
        self._type_names = ", ".join(types.models)

    def to_issues(self, error: ValidationError) -> list[ConfigIssue]:
        """Return the issues of all errors."""
        details = error.errors(include_url=False)
        found = [issue for detail in details for issue in self._issues_of(detail)]
        # A mistyped key is reported once, not also as a missing key.
        excused = {path for detail in details for path in self._intended_keys(detail)}
        return [
            issue
            for issue in found
            if issue.path not in excused or self._get_value(issue.path) is not None
        ]

    def _get_value(self, path: KeyPath) -> object:
        """Return the value at a path whose parent exists; None if the last key is missing."""
        value: Any = self._data
        for step in path:
            value = value.get(step) if isinstance(value, dict) else value[step]
        return value

    def _issues_of(self, detail: ErrorDetails) -> list[ConfigIssue]:
        loc, context = detail["loc"], detail.get("ctx", {})
        path = _key_path(loc)
        match detail["type"]:
            case "value_error":
                return _validator_issues(context["error"], path, is_key=loc[-1] == "[key]")
            case "missing":
                return [ConfigIssue(path, self._missing_key_message(loc))]
            case "extra_forbidden":
                key = str(path[-1])
                advice = self._other_type_hint(key, loc) or self._unknown_key_hint(key, loc[:-1])
                return [ConfigIssue(path, f"unknown key {quote(key)}{advice}", IssueScope.KEY)]
            case "union_tag_not_found" | "union_tag_invalid" if loc[0] == "engines":
                return [self._engine_type_issue((*path, "type"))]
            case "union_tag_not_found":
                return [self._missing_type_issue(path)]
            case "union_tag_invalid":
                name = self._get_value((*path, "type"))
                meant = did_you_mean(name, self._types.models) if isinstance(name, str) else ""
                message = f"is not a type of destination: there are {self._type_names}{meant}"
                return [ConfigIssue((*path, "type"), message, IssueScope.VALUE)]
            case "too_short" if detail["input"]:
                return []  # all its entries are wrong, and reported already
            case _:
                return [_simple_issue(detail, path)]

    def _missing_key_message(self, loc: _Location) -> str:
        key = str(loc[-1])
        if example := _EXAMPLES.get(_key_path(loc)):
            return f"needs '{key}': {example}"
        known = self._known_keys(loc[:-1])
        return f"needs '{key}' or '{key}_file'" if f"{key}_file" in known else f"needs '{key}'"

    def _other_type_hint(self, key: str, loc: _Location) -> str:
        """Return `` (it is for 'type: x' only)`` if exactly one other type has the key."""
        models: Mapping[str, type[Section]] = {}
        match loc:
            case ("destinations", _, str(), _):
                models = self._types.models
            case ("engines", _, str(), _):
                models = ENGINE_MODELS
        names = [name for name, model in models.items() if key in list_keys(model)]
        return f" (it is for 'type: {names[0]}' only)" if len(names) == 1 else ""

    def _unknown_key_hint(self, key: str, loc: _Location) -> str:
        """Return what to write instead of an unknown key of the mapping at pydantic's location."""
        model = self._model_at(loc)
        if model is Route:
            if key in match.FIELDS:
                return " (indent it under 'match')"
            if key in list_keys(DestinationConfig):
                return " (write it at the destination)"
            if meant := MATCH_SYNONYMS.get(key.casefold()):
                return f" (did you mean {meant} under 'match'?)"
        for name, field in list_keys(model).items():
            is_many = get_origin(field.annotation) in (dict, tuple)
            section = None if is_many else _find_section(field.annotation)
            if section is not None and key in section.model_fields:
                return f" (indent it under '{name}')"
        fields = model.model_fields
        if key == "channel" and "url" in fields and not fields.keys() & set(TARGETS):
            return " (the webhook decides the channel: remove it)"
        return hint(key, self._known_keys(loc), _synonyms_of(model))

    def _missing_type_issue(self, path: KeyPath) -> ConfigIssue:
        entry = self._get_value(path)
        known = {key for model in self._types.models.values() for key in list_keys(model)}
        for key in entry if isinstance(entry, dict) else ():
            if key not in known and find_closest(key, known) == "type":
                message = f"unknown key {quote(key)} (did you mean 'type'?)"
                return ConfigIssue((*path, key), message, IssueScope.KEY)
        return ConfigIssue((*path, "type"), f"needs 'type': one of {self._type_names}")

    def _engine_type_issue(self, path: KeyPath) -> ConfigIssue:
        name = self._get_value(path)
        meant = did_you_mean(name, ENGINE_MODELS) if isinstance(name, str) else ""
        message = f"is not a type of engine: there are {', '.join(ENGINE_MODELS)}{meant}"
        return ConfigIssue(path, message, IssueScope.VALUE)

    def _intended_keys(self, detail: ErrorDetails) -> list[KeyPath]:
        """Return the key that an unknown key is a typo of, and the required key it replaces."""
        if detail["type"] != "extra_forbidden":
            return []
        *parent, key = _key_path(detail["loc"])
        loc = detail["loc"][:-1]
        synonyms = _synonyms_of(self._model_at(loc))
        intended = find_target(str(key), self._known_keys(loc), synonyms) or ""
        replaced = _ALTERNATIVES.get(intended) or intended.removesuffix("_file")
        return [(*parent, name) for name in {intended, replaced} if name]

    def _known_keys(self, loc: _Location) -> list[str]:
        """Return the keys that the mapping at pydantic's location may have."""
        model = self._model_at(loc)
        return [*list_keys(model), *(f"{key}_file" for key in file_keys(model))]

    def _model_at(self, loc: _Location) -> type[Section]:
        model: type[Section]
        match loc:
            case ("destinations", _, str(type_name), *keys):
                model = self._types.models[type_name]
            case ("engines", _, str(type_name), *keys):
                model = ENGINE_MODELS[type_name]
            case ("routes", _, *keys):
                model = Route
            case ("mute_time_intervals", _, _, *keys):
                model = MuteTimes
            case _:
                model, keys = Config, list(loc)
        for key in keys:
            model = _find_section(list_keys(model)[str(key)].annotation) or model
        return model


def _synonyms_of(model: type[Section]) -> Synonyms:
    """Return the words that people may use for the keys of a section."""
    if issubclass(model, DestinationConfig):
        return DESTINATION_SYNONYMS
    if issubclass(model, EngineConfig):
        return ENGINE_SYNONYMS
    synonyms: Mapping[type[Section], Synonyms] = {
        Config: CONFIG_SYNONYMS,
        MuteTimes: MUTE_SYNONYMS,
        Route: ROUTE_SYNONYMS,
    }
    return synonyms.get(model, {})


def _find_section(annotation: object) -> type[Section] | None:
    """Return the section in an annotation such as ``TlsConfig | None``."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_find_section, get_args(annotation))), None)


def _simple_issue(detail: ErrorDetails, path: KeyPath) -> ConfigIssue:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "too_short" or detail["input"] is None:
        example = _EXAMPLES.get(path)
        write = f"write {example}" if example else "write a value, or remove it"
        return ConfigIssue(path, f"is empty: {write}")
    if kind in _STANDALONE_MESSAGES:
        return ConfigIssue(path, _STANDALONE_MESSAGES[kind])
    match kind:
        case "greater_than_equal":
            message = f"is less than {context['ge']}"
        case "less_than_equal":
            message = f"is more than {context['le']}"
        case "literal_error" | "enum":
            message = f"is not {context['expected']}"
        case _:
            message = _VALUE_MESSAGES[kind]
    return ConfigIssue(path, message, IssueScope.VALUE)


def _validator_issues(error: ValueError, path: KeyPath, *, is_key: bool) -> list[ConfigIssue]:
    """Return the issues that one of relay's own validators raised."""
    if isinstance(error, InvalidValue):
        return error.issues_below(path)
    if is_key:
        return [ConfigIssue(path, f"{quote(str(path[-1]))} {error}", IssueScope.KEY)]
    return [ConfigIssue(path, str(error), IssueScope.VALUE)]


def _key_path(loc: _Location) -> KeyPath:
    """Return the path in the file: the location without ``[key]`` and the tag of a union."""
    if loc[-1] == "[key]":
        loc = loc[:-1]
    if loc[0] in ("destinations", "engines") and len(loc) > 2:
        return (*loc[:2], *loc[3:])
    return loc
