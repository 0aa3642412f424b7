"""Writes the reference of the configuration, docs/reference.md: ``python -m tools.reference``.

The page shows relay's JSON Schema as tables, so that it says the same as `relay schema`.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from relay.config.destination import Transport
from relay.config.engine import ENGINE_MODELS
from relay.config.incident_keys import GROUP_FIELD
from relay.config.mute_times import DAYS, TIMES
from relay.config.nats_keys import NATS_URL
from relay.config.schema import build_schema
from relay.config.services import SERVICES
from relay.config.types import DURATION, ENGINE_URL, LISTEN_ADDRESS, NAME, RATE, TIME_ZONE, WEB_URL
from relay.config.variables import OTHERS
from relay.core.incident import Notify
from relay.core.severity import Severity
from relay.destinations.catalog import DESTINATION_TYPES

Node = dict[str, Any]
Row = tuple[str, str, str, str]
"""A key, how its value is written, its default, and what it means."""

FILE = Path(__file__).parents[1] / "docs" / "reference.md"
COMMAND = "python -m tools.reference"

INTRODUCTION = f"""\
# Reference

Every key of the configuration; [`relay schema`](configuration.md#editors) has them for editors.
This page is written by `{COMMAND}`; what the sections are for, and how [texts, durations,
sizes and rates](configuration.md#values) are written, is in [configuration.md](configuration.md). A
key without a default can be left out, unless it is required. Where there may be a file, give one of
the two: the value, or the path of a file that holds it.
"""
ENGINES = """\
Each has a `type`, and the keys of its type. Without a `type` it is `docker`.
"""
DESTINATIONS = """\
Each has a `type`, keys that it shares with others, and keys of its own.
[destinations.md](destinations.md) says what each needs and what it is sent.
"""
VARIABLES = """\
Without a configuration file these are the destinations of the built-in configuration, which sends
them what fails ([quick start](quick-start.md)). Each may have `_FILE` at its end and name a file
with the value. `relay init` takes the same values as options.
"""

_TYPE_NAMES = {
    DURATION["pattern"]: "duration",
    RATE["pattern"]: "rate",
    WEB_URL["pattern"]: "http or https URL",
    ENGINE_URL["pattern"]: "URL",
    NATS_URL["pattern"]: "NATS URL",
    LISTEN_ADDRESS["pattern"]: "place",
    NAME["pattern"]: "name",
    GROUP_FIELD["pattern"]: "field",
    TIME_ZONE["pattern"]: "time zone",
    TIMES["pattern"]: "times",
    DAYS["pattern"]: "weekdays",
    "^([0-9]{1,12}(B|[kMG]B|[KMG]iB)?)$|\\$\\{": "size",
}
_ENUMS: Mapping[str, type[StrEnum]] = {each.__name__: each for each in (Notify, Severity)}
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


def reference() -> str:
    """Return the whole page."""
    return _Page(build_schema(DESTINATION_TYPES)).text()


class _Page:
    def __init__(self, schema: Node) -> None:
        self._schema = schema
        self._defs: dict[str, Node] = schema["$defs"]

    def text(self) -> str:
        parts = [INTRODUCTION, *self._file(), *self._destinations(), *self._routes()]
        return "\n".join([*parts, *_variables()])

    def _file(self) -> Iterator[str]:
        """Yield the table of sections, and the keys of those that occur once."""
        yield "## The file\n"
        yield _table(self._rows(self._schema, key)[0] for key in self._schema["properties"])
        for key, node in self._schema["properties"].items():
            name = self._section(node)
            if key == "engines":
                yield from self._engines()
            elif name is not None and key not in ("destinations", "routes"):
                yield f"## {key}\n"
                yield from self._describe(self._defs[name])

    def _engines(self) -> Iterator[str]:
        """Yield the keys of each type."""
        yield f"## engines\n\n{ENGINES}"
        for name, model in ENGINE_MODELS.items():
            yield f"### Engines of `type: {name}`\n"
            yield from self._describe(self._defs[model.__name__])

    def _destinations(self) -> Iterator[str]:
        """Yield the keys that all types share, those that many share, and the keys of each type."""
        types = {
            name: self._defs[model.__name__] for name, model in DESTINATION_TYPES.models.items()
        }
        models = DESTINATION_TYPES.models
        web = {name: it for name, it in types.items() if models[name].transport is Transport.HTTP}
        worded = {name: it for name, it in types.items() if "title" in models[name].model_fields}
        groups = {
            "All of them": types,
            "Those that are reached over HTTP": web,
            "All but `console` and `http`: those whose messages relay words": worded,
        }
        yield f"## destinations\n\n{DESTINATIONS}"
        shared_rows: dict[str, list[Row]] = {}
        known: dict[str, list[list[Row]]] = {name: [] for name in types}
        for title, group in groups.items():
            first, *_ = group.values()
            keys = [
                key for key in _keys(first) if all(key in _keys(model) for model in group.values())
            ]
            shared = {
                key: self._rows(_most_common(key, group), key)
                for key in keys
                if key not in shared_rows
            }
            shared_rows |= shared
            for name in group:
                known[name] += shared.values()
            yield f"### {title}\n\n{_table(row for each in shared.values() for row in each)}"
        for name, model in types.items():
            own_rows = [self._rows(model, key) for key in _keys(model)]
            rows = [row for each in own_rows for row in each if each not in known[name]]
            yield f"### {name}\n\n{model['description']}\n"
            yield _table(rows) if rows else "It has no keys of its own.\n"

    def _routes(self) -> Iterator[str]:
        yield "## routes\n"
        yield from self._describe(self._defs["Route"])
        match = self._defs["Match"]
        yield f"### match\n\n{match['description']} A value is a"
        yield "[pattern](configuration.md#match), or a list of them: any of these.\n"
        rows = ((key, _markdown(node["description"])) for key, node in match["properties"].items())
        yield "| field | compared with |\n|---|---|"
        yield "".join(f"| `{key}` | {meaning} |\n" for key, meaning in rows)

    def _describe(self, node: Node) -> Iterator[str]:
        yield f"{_markdown(node['description'])}\n"
        yield _table(row for key in _keys(node) for row in self._rows(node, key))

    def _rows(self, node: Node, key: str, outer: str = "") -> list[Row]:
        """Return the row of a key, followed by the rows of the section that it holds."""
        value = node["properties"][key]
        name = self._section(value)
        row = _row(node, key, outer)
        if name is None or name == "Match":
            return [row]
        inner = self._defs[name]
        meaning = row[-1] or _markdown(inner["description"])
        below = [r for k in _keys(inner) for r in self._rows(inner, k, f"{outer}{key}.")]
        return [(*row[:-1], meaning), *below]

    def _section(self, node: Node) -> str | None:
        """Return the name of the section that a key holds, or a mapping or list of; else None."""
        entries = node.get("additionalProperties")
        inner = entries.get("items") if isinstance(entries, dict) else None
        for each in (node, entries, node.get("items"), inner):
            for choice in _choices(each) if isinstance(each, dict) else ():
                name = str(choice.get("$ref", "")).rpartition("/")[2]
                if self._defs.get(name, {}).get("properties"):
                    return name
        return None


def _variables() -> Iterator[str]:
    """Yield the table of the variables, and of the options of `relay init`."""
    yield f"## Variables\n\n{VARIABLES}"
    yield "| variable | option of `relay init` | key of the destination | what it is |"
    yield "|---|---|---|---|"
    for service in SERVICES:
        for it in service.settings:
            key, meaning = f"`{service.name}.{it.key}`", it.meaning
            yield f"| `{it.variable}` | `--{it.option}` | {key} | {meaning} |"
    yield "".join(f"\n- `{name}`: {meaning}" for name, meaning in OTHERS.items()) + "\n"


def _keys(node: Node) -> list[str]:
    """Return the keys, without ``…_file`` keys: these are described with the key they replace."""
    names = node["properties"]
    files = {f"{name}_file" for name in names}
    return [name for name in names if name != "type" and name not in files]


def _most_common(key: str, group: dict[str, Node]) -> Node:
    """Return a type in which the key is described as in most of them."""
    types = list(group.values())
    rows = [(model["properties"][key], _is_required(model, key)) for model in types]
    return max(zip(types, rows, strict=True), key=lambda each: rows.count(each[1]))[0]


def _row(node: Node, key: str, outer: str = "") -> Row:
    value = node["properties"][key]
    type_ = _type(value, key)
    if f"{key}_file" in node["properties"]:
        type_ += f", or a file: `{key}_file`"
    return f"{outer}{key}", type_, _default(node, key), _markdown(value.get("description", ""))


def _default(node: Node, key: str) -> str:
    if _is_required(node, key):
        return "required"
    match node["properties"][key].get("default"):
        case None:
            return ""
        case True | False as known:
            return f"`{str(known).lower()}`"
        case int(size) if _type(node["properties"][key], key) == "size":
            unit, count = next(each for each in _UNITS if size % each[1] == 0)
            return f"`{size // count}{unit}`"
        case other:
            return f"`{other}`"


def _is_required(node: Node, key: str) -> bool:
    """Return whether the key is required, or the file that holds its value."""
    either = [{"required": [key]}, {"required": [f"{key}_file"]}]
    return key in node.get("required", ()) or {"oneOf": either} in node.get("allOf", ())


def _type(node: Node, key: str) -> str:
    """Return how a value is written, in words."""
    if key == "path" or key.endswith("_file"):
        return "path"
    names = list(dict.fromkeys(name for each in _choices(node) for name in _type_names(each)))
    if "size" in names:
        return "size"  # sizes may be written as numbers too
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _choices(node: Node) -> Iterator[Node]:
    """Yield each way to write a value, except null and references to the environment."""
    for each in node.get("anyOf", [node]):
        if "anyOf" in each:
            yield from _choices(each)
        elif each.get("type") != "null" and each.get("$ref") != "#/$defs/reference":
            yield each


def _plural(type_: str) -> str:
    for one, many in (("number", "numbers"), ("list of", "lists of")):
        if one in type_:
            return type_.replace(one, many, 1)
    return type_ if type_.endswith("s") else f"{type_}s"


def _type_names(node: Node) -> Iterable[str]:
    match node:
        case {"enum": choices}:
            return [f"`{choice}`" for choice in choices]
        case {"pattern": pattern}:
            return [_TYPE_NAMES[pattern]]
        case {"$ref": str(name)}:
            choices = _ENUMS.get(name.rpartition("/")[2])
            return ["section"] if choices is None else [f"`{each}`" for each in choices]
        case {"type": "array", "items": items}:
            return [f"list of {_plural(_type(items, ''))}"]
        case {"type": "object", "additionalProperties": inner}:
            return [f"mapping of names to {_plural(_type(inner, ''))}"]
        case {"type": "integer" | "number" as kind}:
            return [("whole number" if kind == "integer" else "number") + _range(node)]
        case {"type": "boolean"}:
            return ["`true`", "`false`"]
        case {"type": ["string", "number"]}:
            return ["text"]
        case _:
            return ["anything"]


def _range(node: Node) -> str:
    match node:
        case {"minimum": least, "maximum": most}:
            return f" from {least} to {most}"
        case {"minimum": least}:
            return f", at least {least}"
        case _:
            return ""


def _markdown(text: str) -> str:
    """Return a description as Markdown for a table cell."""
    return text.replace("``", "`").replace("|", "\\|")


def _table(rows: Iterable[Row]) -> str:
    lines = [f"| `{key}` | {' | '.join(rest)} |\n" for key, *rest in rows]
    return "| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(lines)


if __name__ == "__main__":
    FILE.write_text(reference())
