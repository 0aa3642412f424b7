"""The reference of the configuration: ``python -m tools.reference`` writes docs/reference.md.

It is relay's JSON Schema as tables: what `relay schema` says of a key is what people read there.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from relay.config import schema_types
from relay.config.schema import build_schema
from relay.core.notification import Severity
from relay.destinations.catalog import DESTINATION_TYPES

Node = dict[str, Any]
Row = tuple[str, str, str, str]
"""A key, how it is written, its default, and what it means."""

FILE = Path(__file__).parents[1] / "docs" / "reference.md"
COMMAND = "python -m tools.reference"

INTRODUCTION = f"""\
# Reference

Every key of the configuration, as [`relay schema`](configuration.md#editors) tells it to editors.
This page is written by `{COMMAND}`; what the sections are for, and how [texts, durations,
sizes and rates](configuration.md#values) are written, is in [configuration.md](configuration.md). A
key without a default can be left out, unless it is required. Where there may be a file, give one of
the two: the value, or the path of a file that holds it.
"""
DESTINATIONS = """\
Each has a `type`, keys that it shares with others, and keys of its own.
[destinations.md](destinations.md) says what each needs and what it is sent.
"""

_WRITTEN = {
    schema_types.DURATION["pattern"]: "duration",
    schema_types.RATE["pattern"]: "rate",
    schema_types.WEB_URL["pattern"]: "http or https URL",
    schema_types.ENGINE_URL["pattern"]: "URL",
    schema_types.LISTEN_ADDRESS["pattern"]: "place",
    schema_types.NAME["pattern"]: "name",
    "^([0-9]{1,12}(B|[kMG]B|[KMG]iB)?)$|\\$\\{": "size",
}
_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


def reference() -> str:
    """The whole page."""
    return _Page(build_schema(DESTINATION_TYPES)).text()


class _Page:
    def __init__(self, whole: Node) -> None:
        self._whole = whole
        self._defs: dict[str, Node] = whole["$defs"]

    def text(self) -> str:
        parts = [INTRODUCTION, *self._file(), *self._destinations(), *self._routes()]
        return "\n".join(parts)

    def _file(self) -> Iterator[str]:
        """The sections, and what is in those that stand once."""
        yield "## The file\n"
        yield _table(self._rows(self._whole, key)[0] for key in self._whole["properties"])
        for key, node in self._whole["properties"].items():
            name = self._section(node)
            if name is not None and key not in ("destinations", "routes"):
                yield f"## {key}\n"
                yield from self._described(self._defs[name])

    def _destinations(self) -> Iterator[str]:
        """What all of them share, what many do, and the rest."""
        kinds = {name: self._defs[kind.__name__] for name, kind in DESTINATION_TYPES.models.items()}
        web = {name: kind for name, kind in kinds.items() if name != "console"}
        vendors = {name: kind for name, kind in web.items() if name != "http"}
        groups = {
            "All of them": kinds,
            "All but `console`: those that are reached over HTTP": web,
            "All but `console` and `http`: those whose messages relay words": vendors,
        }
        yield f"## destinations\n\n{DESTINATIONS}"
        shown: dict[str, list[Row]] = {}
        for title, group in groups.items():
            first, *_ = group.values()
            keys = [
                key for key in _keys(first) if all(key in _keys(kind) for kind in group.values())
            ]
            shared = {key: self._rows(_usual(key, group), key) for key in keys if key not in shown}
            shown |= shared
            yield f"### {title}\n\n{_table(row for each in shared.values() for row in each)}"
        for name, kind in kinds.items():
            own = [self._rows(kind, key) for key in _keys(kind)]
            rows = [row for each in own for row in each if each not in shown.values()]
            yield f"### {name}\n\n{kind['description']}\n"
            yield _table(rows) if rows else "It has no keys of its own.\n"

    def _routes(self) -> Iterator[str]:
        yield "## routes\n"
        yield from self._described(self._defs["Route"])
        match = self._defs["Match"]
        yield f"### match\n\n{match['description']} A value is a"
        yield "[pattern](configuration.md#match), or a list of them: any of these.\n"
        rows = ((key, _plain(node["description"])) for key, node in match["properties"].items())
        yield "| field | compared with |\n|---|---|"
        yield "".join(f"| `{key}` | {meaning} |\n" for key, meaning in rows)

    def _described(self, node: Node) -> Iterator[str]:
        yield f"{_plain(node['description'])}\n"
        yield _table(row for key in _keys(node) for row in self._rows(node, key))

    def _rows(self, node: Node, key: str, outer: str = "") -> list[Row]:
        """A key, and below it those of the section that it holds."""
        value = node["properties"][key]
        name = self._section(value)
        row = _row(node, key, outer)
        if name is None or name == "Match":
            return [row]
        inner = self._defs[name]
        meaning = row[-1] or _plain(inner["description"])
        below = [r for k in _keys(inner) for r in self._rows(inner, k, f"{outer}{key}.")]
        return [(*row[:-1], meaning), *below]

    def _section(self, node: Node) -> str | None:
        """The name of the section that a key holds, of which there may be many."""
        for each in (node, node.get("additionalProperties"), node.get("items")):
            for choice in _choices(each) if isinstance(each, dict) else ():
                name = str(choice.get("$ref", "")).rpartition("/")[2]
                if self._defs.get(name, {}).get("properties"):
                    return name
        return None


def _keys(node: Node) -> list[str]:
    """Without the files that a key may be read from: they are described with it."""
    names = node["properties"]
    files = {f"{name}_file" for name in names}
    return [name for name in names if name != "type" and name not in files]


def _usual(key: str, group: dict[str, Node]) -> Node:
    """One of the types in which a key is what it is in most of them."""
    kinds = list(group.values())
    rows = [(kind["properties"][key], _is_required(kind, key)) for kind in kinds]
    return max(zip(kinds, rows, strict=True), key=lambda each: rows.count(each[1]))[0]


def _row(node: Node, key: str, outer: str = "") -> Row:
    value = node["properties"][key]
    written = _written(value, key)
    if f"{key}_file" in node["properties"]:
        written += f", or a file: `{key}_file`"
    return f"{outer}{key}", written, _default(node, key), _plain(value.get("description", ""))


def _default(node: Node, key: str) -> str:
    if _is_required(node, key):
        return "required"
    match node["properties"][key].get("default"):
        case None:
            return ""
        case True | False as known:
            return f"`{str(known).lower()}`"
        case int(size) if _written(node["properties"][key], key) == "size":
            unit, count = next(each for each in _UNITS if size % each[1] == 0)
            return f"`{size // count}{unit}`"
        case other:
            return f"`{other}`"


def _is_required(node: Node, key: str) -> bool:
    """Whether it has to be there, or the file that holds it."""
    either = [{"required": [key]}, {"required": [f"{key}_file"]}]
    return key in node.get("required", ()) or {"oneOf": either} in node.get("allOf", ())


def _written(node: Node, key: str) -> str:
    """What may stand there, in words."""
    if key == "path" or key.endswith("_file"):
        return "path"
    words = list(dict.fromkeys(word for each in _choices(node) for word in _words(each)))
    if "size" in words:
        return "size"  # a number is one, too
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _choices(node: Node) -> Iterator[Node]:
    """Each way to write it, except null and what comes from the environment."""
    for each in node.get("anyOf", [node]):
        if "anyOf" in each:
            yield from _choices(each)
        elif each.get("type") != "null" and each.get("$ref") != "#/$defs/reference":
            yield each


def _words(node: Node) -> Iterable[str]:
    match node:
        case {"enum": choices}:
            return [f"`{choice}`" for choice in choices]
        case {"pattern": pattern}:
            return [_WRITTEN[pattern]]
        case {"$ref": str(name)}:
            return [f"`{each}`" for each in Severity] if name.endswith("/Severity") else ["section"]
        case {"type": "array", "items": items}:
            return [f"list of {_written(items, '')}s"]
        case {"type": "object", "additionalProperties": inner}:
            return [f"mapping of names to {_written(inner, '')}s"]
        case {"type": "integer" | "number" as kind}:
            return [("whole number" if kind == "integer" else "number") + _between(node)]
        case {"type": "boolean"}:
            return ["`true`", "`false`"]
        case {"type": ["string", "number"]}:
            return ["text"]
        case _:
            return ["anything"]


def _between(node: Node) -> str:
    match node:
        case {"minimum": least, "maximum": most}:
            return f" from {least} to {most}"
        case {"minimum": least}:
            return f", at least {least}"
        case _:
            return ""


def _plain(text: str) -> str:
    """As Markdown within a table."""
    return text.replace("``", "`").replace("|", "\\|")


def _table(rows: Iterable[Row]) -> str:
    lines = [f"| `{key}` | {' | '.join(rest)} |\n" for key, *rest in rows]
    return "| key | type | default | meaning |\n|---|---|---|---|\n" + "".join(lines)


if __name__ == "__main__":
    FILE.write_text(reference())
