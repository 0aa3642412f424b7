"""Reads YAML into plain data, with the line and column of every key and value.

PyYAML composes the nodes, but the data is made here, so that scalars stay the text that was
written: only ``null``, ``~`` and an empty value become None, ``true`` and ``false`` booleans, and
whole numbers in the usual notation integers. YAML 1.1 would read ``yes`` as true, ``007`` as 7 and
``1.10`` as 1.1.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from relay.config.errors import KeyPath, format_path, quote
from relay.config.yaml_errors import describe_yaml_error, to_position
from relay.core.errors import ConfigError, Problem

_MAX_NODES = 20_000
"""The most keys and values, after expanding aliases: enough for hundreds of routes, and still read
within a second."""
_MAX_DEPTH = 32
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_MERGE = "<<"
UNUSABLE = re.compile(r"[\x00\ud800-\udfff]")
"""The characters that YAML's escapes can write and that no key or value may hold: the system takes
no NUL, and half a surrogate pair is in no encoding."""
UNUSABLE_MESSAGE = "holds a NUL or an unpaired surrogate"


class SourceLocation(msgspec.Struct, frozen=True):
    """The position of a value in the file, as (line, column), both counted from 1."""

    value: tuple[int, int]
    key: tuple[int, int]
    """The position of its key; the same as ``value`` if it has no key, as an item of a list."""
    text: str | None
    """The scalar as it was written; None for mappings and lists."""


class Document(msgspec.Struct):
    """The content of a configuration file."""

    file: str
    data: dict[str, object] = msgspec.field(default_factory=dict)
    locations: dict[KeyPath, SourceLocation] = msgspec.field(default_factory=dict)
    problems: list[Problem] = msgspec.field(default_factory=list)
    """Problems that do not prevent checking the rest of the file."""


class _UnreadableError(Exception):
    """The file cannot be read at all."""

    def __init__(
        self, message: str, position: tuple[int, int] = (0, 0), path: KeyPath = ()
    ) -> None:
        super().__init__(message)
        self.position = position
        self.path = path


class DocumentKind(msgspec.Struct, frozen=True):
    """What kind of document is expected; used in error messages."""

    noun: str
    keys: str
    """Its most important top-level keys."""


CONFIGURATION = DocumentKind("configuration", "'destinations' and 'routes'")


def read_document(text: str, file: str, kind: DocumentKind = CONFIGURATION) -> Document:
    """Read the document in ``text``. Raises `ConfigError` with one problem if it is unreadable."""
    try:
        return _Builder(file, kind).build(_compose(text, kind))
    except _UnreadableError as error:
        line, column = error.position
        problem = Problem(file, line, column, format_path(error.path), str(error))
    raise ConfigError([problem])


def _compose(text: str, kind: DocumentKind) -> Node:
    if text.startswith("\ufeff"):
        raise _UnreadableError("starts with a byte order mark: save it as UTF-8 without one")
    try:
        loader = _Loader(text)
    except ReaderError as error:
        before = text[: error.position]
        here = (before.count("\n") + 1, error.position - before.rfind("\n"))
        raise _UnreadableError("is not YAML: it holds a control character here", here) from None
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _UnreadableError(*describe_yaml_error(error, text)) from None
    except (ValueError, OverflowError):  # an escape sequence or a version with an impossible number
        here = (loader.line + 1, loader.column + 1)
        raise _UnreadableError("is not YAML: it holds an impossible number here", here) from None
    if node is None or (isinstance(node, ScalarNode) and _parse_scalar(node) is None):
        raise _UnreadableError(f"holds no {kind.noun}: write {kind.keys}")
    return node


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's composer without implicit types, and with limits of size and depth."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose the next node. Raises `_UnreadableError` at a limit, and for a tag."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._nodes += 1
        _check_bounds(self._nodes, self._depth, event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _UnreadableError(
                "holds a tag ('!…'): write the plain value, or put the text in quotes",
                to_position(event.start_mark),
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _check_bounds(nodes: int, depth: int, mark: yaml.Mark) -> None:
    if nodes > _MAX_NODES:
        raise _UnreadableError(
            f"is too large: more than {_MAX_NODES} keys and values, counting each use of an alias",
            to_position(mark),
        )
    if depth > _MAX_DEPTH:
        raise _UnreadableError(f"is nested more than {_MAX_DEPTH} levels deep", to_position(mark))


class _Builder:
    """Turns nodes into plain data, with aliases and merge keys expanded."""

    def __init__(self, file: str, kind: DocumentKind) -> None:
        self._document = Document(file)
        self._kind = kind
        self._nodes = 0
        self._open: list[Node] = []

    def build(self, root: Node) -> Document:
        if not isinstance(root, MappingNode):
            message = f"must be a mapping with {self._kind.keys} at its top"
            raise _UnreadableError(message, to_position(root.start_mark))
        self._document.locations[()] = SourceLocation(
            to_position(root.start_mark), to_position(root.start_mark), None
        )
        self._document.data = self._build_mapping(root, ())
        return self._document

    def _build_value(self, node: Node, path: KeyPath, key: Node) -> object:
        text = node.value if isinstance(node, ScalarNode) else None
        location = SourceLocation(to_position(node.start_mark), to_position(key.start_mark), text)
        self._document.locations[path] = location
        if isinstance(node, MappingNode):
            return self._build_mapping(node, path)
        if isinstance(node, SequenceNode):
            with self._enter(node):
                return [
                    self._build_value(item, (*path, index), item)
                    for index, item in enumerate(node.value)
                ]
        assert isinstance(node, ScalarNode), "there is no fourth kind of node"
        self._count_nodes(1, node)
        _check_usable(node.value, node, path)
        return _parse_scalar(node)

    def _build_mapping(self, node: MappingNode, path: KeyPath) -> dict[str, object]:
        with self._enter(node):
            return {
                key: self._build_value(value, (*path, key), key_node)
                for key, (key_node, value) in self._collect_entries(node, path).items()
            }

    def _collect_entries(self, node: MappingNode, path: KeyPath) -> dict[str, tuple[Node, Node]]:
        """Return key and value nodes by key. A key of the mapping itself wins over a merged one."""
        self._count_nodes(len(node.value), node)
        entries: dict[str, tuple[Node, Node]] = {}
        merged: list[MappingNode] = []
        for key_node, value in node.value:
            if _is_merge(key_node):
                merged += self._merge_sources(value, path)
            elif (key := self._read_key(key_node, path)) is None:
                continue
            elif key in entries:
                first, again = entries[key][0].start_mark.line + 1, key_node.start_mark.line + 1
                message = f"{quote(key)} is written twice: on line {first} and on line {again}"
                self._add_problem(key_node, (*path, key), message)
            else:
                entries[key] = (key_node, value)
        for source in merged:
            with self._enter(source):
                for key, entry in self._collect_entries(source, path).items():
                    entries.setdefault(key, entry)
        return entries

    def _merge_sources(self, node: Node, path: KeyPath) -> list[MappingNode]:
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        if all(isinstance(source, MappingNode) for source in nodes):
            return list(nodes)
        self._add_problem(node, path, "'<<' takes a mapping or a list of mappings")
        return []

    def _read_key(self, node: Node, path: KeyPath) -> str | None:
        key = _parse_scalar(node) if isinstance(node, ScalarNode) else None
        if isinstance(key, str):
            _check_usable(key, node, path)
            return key
        if isinstance(node, ScalarNode):
            hint = f"write '{node.value}' in quotes"
        else:
            hint = "a text that starts with '{' or '[' has to be in quotes"
        self._add_problem(node, path, f"a key must be text: {hint}")
        return None

    def _add_problem(self, node: Node, path: KeyPath, message: str) -> None:
        line, column = to_position(node.start_mark)
        self._document.problems.append(
            Problem(self._document.file, line, column, format_path(path), message)
        )

    @contextmanager
    def _enter(self, node: Node) -> Iterator[None]:
        if any(node is outer for outer in self._open):
            raise _UnreadableError(
                "holds an alias that contains itself", to_position(node.start_mark)
            )
        self._count_nodes(1, node)
        self._open.append(node)
        yield
        self._open.pop()

    def _count_nodes(self, more: int, node: Node) -> None:
        self._nodes += more
        _check_bounds(self._nodes, len(self._open), node.start_mark)


def _check_usable(text: str, node: Node, path: KeyPath) -> None:
    if UNUSABLE.search(text):
        raise _UnreadableError(f"this text {UNUSABLE_MESSAGE}", to_position(node.start_mark), path)


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and node.value == _MERGE


def _parse_scalar(node: ScalarNode) -> str | int | bool | None:
    text: str = node.value
    if node.style is not None:
        return text
    match text:
        case "" | "~" | "null":
            return None
        case "true" | "false":
            return text == "true"
        case _:
            return int(text) if _INTEGER.fullmatch(text) else text
