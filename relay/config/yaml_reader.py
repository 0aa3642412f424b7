"""YAML to plain data, with the place of everything in it.

PyYAML composes the nodes; the data is made here, so that a scalar stays the text it is: only
``null``, ``~`` and nothing are None, ``true`` and ``false`` booleans, and whole numbers in their
usual form integers. YAML 1.1 would read ``yes`` as true, ``007`` as 7 and ``1.10`` as 1.1.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from relay.config.errors import KeyPath, format_path, quote
from relay.core.errors import ConfigError, Problem

_MAX_NODES = 20_000
"""Keys and values, aliases written out: hundreds of routes, and still read in a second."""
_MAX_DEPTH = 32
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """Where a value stands in the file; lines and columns count from 1."""

    value: tuple[int, int]
    key: tuple[int, int]
    """Where its key stands; as ``value`` for what has none, such as an item of a list."""
    text: str | None
    """The scalar as it was written; None for mappings and lists."""


@dataclass(slots=True)
class Document:
    """A configuration file, read."""

    file: str
    data: dict[str, object] = field(default_factory=dict)
    locations: dict[KeyPath, SourceLocation] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """What is wrong that still leaves the rest to be checked."""


class _UnreadableError(Exception):
    """Nothing can be made of the file."""

    def __init__(self, message: str, position: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class DocumentKind:
    """What a document is to be, for whoever wrote something else."""

    noun: str
    keys: str
    """What stands at its top."""


CONFIGURATION = DocumentKind("configuration", "'destinations' and 'routes'")


def read_document(text: str, file: str, kind: DocumentKind = CONFIGURATION) -> Document:
    """The document in ``text``. Raises `ConfigError` with one problem where there is none."""
    try:
        return _Builder(file, kind).build(_compose(text, kind))
    except _UnreadableError as error:
        line, column = error.position
        problem = Problem(file, line, column, "", str(error))
    raise ConfigError([problem])


def _compose(text: str, kind: DocumentKind) -> Node:
    if text.startswith("\ufeff"):
        raise _UnreadableError("starts with a byte order mark: save it as UTF-8 without one")
    try:
        loader = _Loader(text)
    except ReaderError as error:
        raise _control_character_error(text, error.position) from None
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _UnreadableError(_describe_error(error), _position(error.problem_mark)) from None
    except (ValueError, OverflowError):  # an escape or a version with an impossible number
        here = (loader.line + 1, loader.column + 1)
        raise _UnreadableError("is not YAML: it holds an impossible number here", here) from None
    if node is None or (isinstance(node, ScalarNode) and _parse_scalar(node) is None):
        raise _UnreadableError(f"holds no {kind.noun}: write {kind.keys}")
    return node


def _describe_error(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "it cannot be read"
    if "'\\t'" in problem:
        return "is not YAML: a tab stands where there must be spaces"
    if "mapping values" in problem:
        return (
            "is not YAML: a ':' that can begin no mapping here: quote the text, or indent it right"
        )
    if "got '{'" in problem:
        return "is not YAML: a '{' that nothing can begin with: write \"${NAME}\" in quotes"
    if "another document" in problem:
        return "holds more than one document: remove all from this '---' on"
    if error.context and error.context_mark and error.problem_mark:
        since = error.context_mark.line + 1
        return f"is not YAML: {error.context} that starts on line {since}: {problem}"
    return f"is not YAML: {problem}"


def _control_character_error(text: str, position: int) -> _UnreadableError:
    before = text[:position]
    place = (before.count("\n") + 1, position - before.rfind("\n"))
    return _UnreadableError("is not YAML: it holds a control character here", place)


def _position(mark: yaml.Mark | None) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML without implicit types, and with bounds."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """The next node, refused where it would lead too far."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._nodes += 1
        _check_bounds(self._nodes, self._depth, event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _UnreadableError(
                "holds a tag ('!…'): write the plain value", _position(event.start_mark)
            )
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _check_bounds(nodes: int, depth: int, mark: yaml.Mark) -> None:
    if nodes > _MAX_NODES:
        raise _UnreadableError(
            f"is too large: more than {_MAX_NODES} keys and values, aliases written out",
            _position(mark),
        )
    if depth > _MAX_DEPTH:
        raise _UnreadableError(f"is nested more than {_MAX_DEPTH} levels deep", _position(mark))


class _Builder:
    """Makes plain data of nodes, aliases written out."""

    def __init__(self, file: str, kind: DocumentKind) -> None:
        self._document = Document(file)
        self._kind = kind
        self._nodes = 0
        self._open: list[Node] = []

    def build(self, root: Node) -> Document:
        if not isinstance(root, MappingNode):
            wrong = f"must be a mapping with {self._kind.keys} at its top"
            raise _UnreadableError(wrong, _position(root.start_mark))
        self._document.locations[()] = SourceLocation(
            _position(root.start_mark), _position(root.start_mark), None
        )
        self._document.data = self._build_mapping(root, ())
        return self._document

    def _build_value(self, node: Node, trail: KeyPath, key: Node) -> object:
        text = node.value if isinstance(node, ScalarNode) else None
        place = SourceLocation(_position(node.start_mark), _position(key.start_mark), text)
        self._document.locations[trail] = place
        if isinstance(node, MappingNode):
            return self._build_mapping(node, trail)
        if isinstance(node, SequenceNode):
            return self._build_sequence(node, trail)
        assert isinstance(node, ScalarNode), "there is no fourth kind of node"
        self._count_nodes(1, node)
        return _parse_scalar(node)

    def _build_sequence(self, node: SequenceNode, trail: KeyPath) -> list[object]:
        with self._enter(node):
            return [
                self._build_value(item, (*trail, index), item)
                for index, item in enumerate(node.value)
            ]

    def _build_mapping(self, node: MappingNode, trail: KeyPath) -> dict[str, object]:
        with self._enter(node):
            return {
                key: self._build_value(value, (*trail, key), key_node)
                for key, (key_node, value) in self._collect_entries(node, trail).items()
            }

    def _collect_entries(self, node: MappingNode, trail: KeyPath) -> dict[str, tuple[Node, Node]]:
        """Key and value nodes by key; what is merged in stands behind what is written."""
        self._count_nodes(len(node.value), node)
        entries: dict[str, tuple[Node, Node]] = {}
        merged: list[MappingNode] = []
        for key_node, value in node.value:
            if _is_merge(key_node):
                merged += self._merge_sources(value, trail)
            elif (key := self._read_key(key_node, trail)) is None:
                continue
            elif key in entries:
                self._add_duplicate_key(key_node, entries[key][0], (*trail, key))
            else:
                entries[key] = (key_node, value)
        for source in merged:
            with self._enter(source):
                for key, entry in self._collect_entries(source, trail).items():
                    entries.setdefault(key, entry)
        return entries

    def _merge_sources(self, node: Node, trail: KeyPath) -> list[MappingNode]:
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        if all(isinstance(source, MappingNode) for source in nodes):
            return list(nodes)
        self._add_problem(node, trail, "'<<' takes a mapping or a list of mappings")
        return []

    def _read_key(self, node: Node, trail: KeyPath) -> str | None:
        key = _parse_scalar(node) if isinstance(node, ScalarNode) else None
        if isinstance(key, str):
            return key
        written = f": write '{node.value}' in quotes" if isinstance(node, ScalarNode) else ""
        self._add_problem(node, trail, f"a key must be text{written}")
        return None

    def _add_duplicate_key(self, node: Node, first: Node, trail: KeyPath) -> None:
        here, there = node.start_mark.line + 1, first.start_mark.line + 1
        message = f"{quote(str(trail[-1]))} is written twice: on line {there} and on line {here}"
        self._add_problem(node, trail, message)

    def _add_problem(self, node: Node, trail: KeyPath, message: str) -> None:
        line, column = _position(node.start_mark)
        self._document.problems.append(
            Problem(self._document.file, line, column, format_path(trail), message)
        )

    @contextmanager
    def _enter(self, node: Node) -> Iterator[None]:
        if any(node is outer for outer in self._open):
            raise _UnreadableError(
                "holds an alias that contains itself", _position(node.start_mark)
            )
        self._count_nodes(1, node)
        self._open.append(node)
        yield
        self._open.pop()

    def _count_nodes(self, more: int, node: Node) -> None:
        self._nodes += more
        _check_bounds(self._nodes, len(self._open), node.start_mark)


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
