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

from relay.config.errors import Trail, quoted, spelled
from relay.core.errors import ConfigError, Problem

_MAX_NODES = 20_000
"""Keys and values, aliases written out: hundreds of routes, and still read in a second."""
_MAX_DEPTH = 32
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class Place:
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
    places: dict[Trail, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    """What is wrong that still leaves the rest to be checked."""


class _Unreadable(Exception):
    """Nothing can be made of the file."""

    def __init__(self, message: str, place: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True, slots=True)
class Kind:
    """What a document is to be, for whoever wrote something else."""

    noun: str
    keys: str
    """What stands at its top."""


CONFIGURATION = Kind("configuration", "'destinations' and 'routes'")


def read(text: str, file: str, kind: Kind = CONFIGURATION) -> Document:
    """The document in ``text``. Raises `ConfigError` with one problem where there is none."""
    try:
        return _Builder(file, kind).document(_compose(text, kind))
    except _Unreadable as error:
        line, column = error.place
        problem = Problem(file, line, column, "", str(error))
    raise ConfigError([problem])


def _compose(text: str, kind: Kind) -> Node:
    if text.startswith("\ufeff"):
        raise _Unreadable("starts with a byte order mark: save it as UTF-8 without one")
    try:
        loader = _Loader(text)
    except ReaderError as error:
        raise _unprintable(text, error.position) from None
    try:
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _Unreadable(_in_words(error), _place(error.problem_mark)) from None
    except (ValueError, OverflowError):  # an escape or a version with an impossible number
        here = (loader.line + 1, loader.column + 1)
        raise _Unreadable("is not YAML: it holds an impossible number here", here) from None
    if node is None or (isinstance(node, ScalarNode) and _scalar(node) is None):
        raise _Unreadable(f"holds no {kind.noun}: write {kind.keys}")
    return node


def _in_words(error: yaml.MarkedYAMLError) -> str:
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


def _unprintable(text: str, position: int) -> _Unreadable:
    before = text[:position]
    place = (before.count("\n") + 1, position - before.rfind("\n"))
    return _Unreadable("is not YAML: it holds a control character here", place)


def _place(mark: yaml.Mark | None) -> tuple[int, int]:
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
        _bound(self._nodes, self._depth, event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _Unreadable("holds a tag ('!…'): write the plain value", _place(event.start_mark))
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _bound(nodes: int, depth: int, mark: yaml.Mark) -> None:
    if nodes > _MAX_NODES:
        raise _Unreadable(
            f"is too large: more than {_MAX_NODES} keys and values, aliases written out",
            _place(mark),
        )
    if depth > _MAX_DEPTH:
        raise _Unreadable(f"is nested more than {_MAX_DEPTH} levels deep", _place(mark))


class _Builder:
    """Makes plain data of nodes, aliases written out."""

    def __init__(self, file: str, kind: Kind) -> None:
        self._document = Document(file)
        self._kind = kind
        self._nodes = 0
        self._open: list[Node] = []

    def document(self, root: Node) -> Document:
        if not isinstance(root, MappingNode):
            wrong = f"must be a mapping with {self._kind.keys} at its top"
            raise _Unreadable(wrong, _place(root.start_mark))
        self._document.places[()] = Place(_place(root.start_mark), _place(root.start_mark), None)
        self._document.data = self._mapping(root, ())
        return self._document

    def _value(self, node: Node, trail: Trail, key: Node) -> object:
        text = node.value if isinstance(node, ScalarNode) else None
        place = Place(_place(node.start_mark), _place(key.start_mark), text)
        self._document.places[trail] = place
        if isinstance(node, MappingNode):
            return self._mapping(node, trail)
        if isinstance(node, SequenceNode):
            return self._sequence(node, trail)
        assert isinstance(node, ScalarNode), "there is no fourth kind of node"
        self._count(1, node)
        return _scalar(node)

    def _sequence(self, node: SequenceNode, trail: Trail) -> list[object]:
        with self._inside(node):
            return [
                self._value(item, (*trail, index), item) for index, item in enumerate(node.value)
            ]

    def _mapping(self, node: MappingNode, trail: Trail) -> dict[str, object]:
        with self._inside(node):
            return {
                key: self._value(value, (*trail, key), key_node)
                for key, (key_node, value) in self._entries(node, trail).items()
            }

    def _entries(self, node: MappingNode, trail: Trail) -> dict[str, tuple[Node, Node]]:
        """Key and value nodes by key; what is merged in stands behind what is written."""
        self._count(len(node.value), node)
        entries: dict[str, tuple[Node, Node]] = {}
        merged: list[MappingNode] = []
        for key_node, value in node.value:
            if _is_merge(key_node):
                merged += self._sources(value, trail)
            elif (key := self._key(key_node, trail)) is None:
                continue
            elif key in entries:
                self._duplicate(key_node, entries[key][0], (*trail, key))
            else:
                entries[key] = (key_node, value)
        for source in merged:
            with self._inside(source):
                for key, entry in self._entries(source, trail).items():
                    entries.setdefault(key, entry)
        return entries

    def _sources(self, node: Node, trail: Trail) -> list[MappingNode]:
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        if all(isinstance(source, MappingNode) for source in nodes):
            return list(nodes)
        self._problem(node, trail, "'<<' takes a mapping or a list of mappings")
        return []

    def _key(self, node: Node, trail: Trail) -> str | None:
        key = _scalar(node) if isinstance(node, ScalarNode) else None
        if isinstance(key, str):
            return key
        written = f": write '{node.value}' in quotes" if isinstance(node, ScalarNode) else ""
        self._problem(node, trail, f"a key must be text{written}")
        return None

    def _duplicate(self, node: Node, first: Node, trail: Trail) -> None:
        here, there = node.start_mark.line + 1, first.start_mark.line + 1
        message = f"{quoted(str(trail[-1]))} is written twice: on line {there} and on line {here}"
        self._problem(node, trail, message)

    def _problem(self, node: Node, trail: Trail, message: str) -> None:
        line, column = _place(node.start_mark)
        self._document.problems.append(
            Problem(self._document.file, line, column, spelled(trail), message)
        )

    @contextmanager
    def _inside(self, node: Node) -> Iterator[None]:
        if any(node is outer for outer in self._open):
            raise _Unreadable("holds an alias that contains itself", _place(node.start_mark))
        self._count(1, node)
        self._open.append(node)
        yield
        self._open.pop()

    def _count(self, more: int, node: Node) -> None:
        self._nodes += more
        _bound(self._nodes, len(self._open), node.start_mark)


def _is_merge(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and node.value == _MERGE


def _scalar(node: ScalarNode) -> str | int | bool | None:
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
