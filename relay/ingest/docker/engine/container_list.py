"""What is needed of an engine's list of containers, read as it comes, however long it is."""

import re
from typing import Annotated

import msgspec

CONTAINERS_MAX = 100_000
"""How many containers a list may have."""

TEXT_MAX_BYTES = 4096
"""How long a text may be that is looked at, in bytes; an id has 64."""

ENTRY_MAX_BYTES = 64 * 1024
"""How long a container's entry may be without what is passed over, in bytes."""

_UNREADABLE = "its list of containers cannot be read"

_LIST_DEPTH, _ENTRY_DEPTH = 1, 2
"""How deep the brackets are inside the list, and inside one container's entry."""

_BRACKET_OR_QUOTE = re.compile(rb'[][{}"]')
_QUOTE_OR_ESCAPE = re.compile(rb'["\\]')


class InvalidContainerList(Exception):
    """What comes is no list of containers, or too long a one; one line of text."""


class _Entry(msgspec.Struct):
    """What is needed of one container; lists tell much more (Docker Engine API)."""

    id: Annotated[str, msgspec.Meta(min_length=1)] = msgspec.field(name="Id")
    state: str = msgspec.field(default="", name="State")


_decode = msgspec.json.Decoder(_Entry).decode


class ContainerListParser:
    """Reads one answer to ``GET /containers/json``, in any chunks.

    Of each container's entry only the plain fields are kept until it ends, and of these no long
    text: labels, ports and the like are passed over unread. So memory is bounded whatever anybody
    writes into a label, but for the ids and states themselves.
    """

    def __init__(self, max_containers: int = CONTAINERS_MAX) -> None:
        self._max_containers = max_containers
        self._states: dict[str, str] = {}
        self._depth = 0
        self._ended = False
        self._in_string = False
        self._escaped = False
        self._string_start: int | None = None
        """Where the text begins that is being kept; None if it is not to be."""
        self._entry = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Read on. Raises `InvalidContainerList`."""
        at = 0
        while at < len(chunk):
            at = (
                self._scan_string(chunk, at) if self._in_string else self._scan_structure(chunk, at)
            )

    def states(self) -> dict[str, str]:
        """The states (``running``, ``exited`` …) of all containers, by id.

        Raises `InvalidContainerList` if the list has no end.
        """
        if not self._ended:
            raise InvalidContainerList(_UNREADABLE)
        return self._states

    def _scan_structure(self, chunk: bytes, at: int) -> int:
        """Read up to the next bracket or text, and what it means; where to go on."""
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
        """Read up to the end of the text or the next escape; where to go on."""
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
            self._append(b"0")  # in the place of all that is inside
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
        """Keep what belongs to an entry itself; around entries there is nothing to be kept."""
        if self._depth == _ENTRY_DEPTH:
            self._entry += part
            if len(self._entry) > ENTRY_MAX_BYTES:
                raise InvalidContainerList(_UNREADABLE)
        elif self._depth < _ENTRY_DEPTH and part.strip(b" \t\r\n,"):
            raise InvalidContainerList(_UNREADABLE)

    def _append_string(self, part: bytes) -> None:
        """Keep a text as long as it is short; one that gets too long becomes an empty one."""
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
