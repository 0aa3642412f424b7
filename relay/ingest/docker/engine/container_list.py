"""Parses an engine's list of containers as it arrives, in bounded memory.

Docker cannot be asked for a part of the list or of its fields, and labels may be of any length: the
answer can be far larger than the memory that relay may use. The parser therefore skips nested
values and long texts, and keeps the id and the state of each container. It lives as long as one
answer.
"""

import re
from typing import Annotated

import msgspec

CONTAINERS_MAX = 100_000
"""How many containers a list may contain."""

TEXT_MAX_BYTES = 4096
"""The longest text that is kept while an entry is read; an id has 64 bytes."""

ENTRY_MAX_BYTES = 64 * 1024
"""The longest entry of a container, without what is skipped."""

_UNREADABLE = "its list of containers cannot be read"

_LIST_DEPTH, _ENTRY_DEPTH = 1, 2
"""The depth of brackets inside the list, and inside one container's entry."""

_BRACKET_OR_QUOTE = re.compile(rb'[][{}"]')
_QUOTE_OR_ESCAPE = re.compile(rb'["\\]')


class InvalidContainerList(Exception):
    """The answer is not a list of containers, or is too long. The message is one line."""


class _Entry(msgspec.Struct):
    """The needed fields of one container (Docker Engine API, ``GET /containers/json``)."""

    id: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="Id")
    state: str = msgspec.field(default="", name="State")


_decode = msgspec.json.Decoder(_Entry).decode


class ContainerListParser:
    """Parses one answer to ``GET /containers/json``, in any chunks.

    Of each container's entry only the plain fields are kept until the entry ends, and of these no
    long text; labels, ports and other nested values are skipped. Memory is therefore bounded by the
    ids and states, and not by the length of labels.
    """

    def __init__(self, max_containers: int = CONTAINERS_MAX) -> None:
        self._max_containers = max_containers
        self._states: dict[str, str] = {}
        self._depth = 0
        self._ended = False
        self._in_string = False
        self._escaped = False
        self._string_start: int | None = None
        """Where the text that is being kept starts in the entry; None if it is not kept."""
        self._entry = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Parse the next chunk. Raises `InvalidContainerList`."""
        at = 0
        while at < len(chunk):
            scan = self._scan_string if self._in_string else self._scan_structure
            at = scan(chunk, at)

    def states(self) -> dict[str, str]:
        """Return the states (``running``, ``exited`` …) of all containers, by id.

        Raises `InvalidContainerList` if the list is incomplete.
        """
        if not self._ended:
            raise InvalidContainerList(_UNREADABLE)
        return self._states

    def _scan_structure(self, chunk: bytes, at: int) -> int:
        """Process the chunk up to the next bracket or string; return where to continue."""
        found = _BRACKET_OR_QUOTE.search(chunk, at)
        if found is None:
            self._append(chunk[at:])
            return len(chunk)
        self._append(chunk[at : found.start()])
        match found.group():
            case b'"':
                self._append(b'"')
                self._in_string, self._string_start = True, len(self._entry)
            case b"{" | b"[" as bracket:
                self._open(bracket)
            case bracket:
                self._close(bracket)
        return found.end()

    def _scan_string(self, chunk: bytes, at: int) -> int:
        """Process the chunk up to the end of the string or an escape; return where to continue."""
        if self._escaped:
            self._escaped = False
            self._append_string(chunk[at : at + 1])
            return at + 1
        found = _QUOTE_OR_ESCAPE.search(chunk, at)
        if found is None:
            self._append_string(chunk[at:])
            return len(chunk)
        self._append_string(chunk[at : found.start()])
        if found.group() == b'"':
            self._in_string = False
            self._append(b'"')
        else:
            self._escaped = True
            self._append_string(b"\\")
        return found.end()

    def _open(self, bracket: bytes) -> None:
        if self._ended or (self._depth < _ENTRY_DEPTH and bracket != (b"[", b"{")[self._depth]):
            raise InvalidContainerList(_UNREADABLE)
        if self._depth == _ENTRY_DEPTH:
            self._append(b"0")  # replaces the whole nested value
        self._depth += 1
        if self._depth == _ENTRY_DEPTH:
            self._entry[:] = b"{"

    def _close(self, bracket: bytes) -> None:
        if self._depth == _ENTRY_DEPTH:
            self._append(bracket)
            self._finish_entry()
        elif self._depth < _ENTRY_DEPTH and (self._depth, bracket) != (_LIST_DEPTH, b"]"):
            raise InvalidContainerList(_UNREADABLE)
        self._depth -= 1
        self._ended = self._depth == 0

    def _append(self, part: bytes) -> None:
        """Keep a part of an entry. Around entries only separators are allowed."""
        if self._depth == _ENTRY_DEPTH:
            self._entry += part
            if len(self._entry) > ENTRY_MAX_BYTES:
                raise InvalidContainerList(_UNREADABLE)
        elif self._depth < _ENTRY_DEPTH and part.strip(b" \t\r\n,"):
            raise InvalidContainerList(_UNREADABLE)

    def _append_string(self, part: bytes) -> None:
        """Keep a part of a string as long as it is short; one that gets too long becomes empty."""
        if self._depth != _ENTRY_DEPTH or self._string_start is None:
            return
        if len(self._entry) - self._string_start + len(part) > TEXT_MAX_BYTES:
            del self._entry[self._string_start :]
            self._string_start = None
        else:
            self._append(part)

    def _finish_entry(self) -> None:
        try:
            entry = _decode(self._entry)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InvalidContainerList(_UNREADABLE) from None
        self._states[entry.id] = entry.state
        if len(self._states) > self._max_containers:
            raise InvalidContainerList(f"a list of more than {self._max_containers} containers")
