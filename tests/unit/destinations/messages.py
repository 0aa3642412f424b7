"""Reads messages: their strings, and the golden files that they are compared with."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

GOLDEN = Path(__file__).parent / "golden"


def read_golden(name: str) -> str:
    """Read a golden file, whose content somebody has approved."""
    return (GOLDEN / name).read_text()


def format_golden(bodies: Iterable[bytes]) -> str:
    """Format JSON bodies as a golden file has them: an indented list."""
    return msgspec.json.format(b"[" + b",".join(bodies) + b"]", indent=2).decode() + "\n"


def strings(value: Any, *, names: bool = False) -> Iterator[str]:
    """Every string in a JSON value, with ``names`` those of its objects too."""
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from strings(item, names=names)
        case dict():
            for name, item in value.items():
                if names:
                    yield name
                yield from strings(item, names=names)


def without_objects(kind: str, value: Any) -> Any:
    """A JSON value without its objects of a ``type``."""
    match value:
        case list():
            return [without_objects(kind, item) for item in value]
        case dict() if value.get("type") == kind:
            return None
        case dict():
            return {name: without_objects(kind, item) for name, item in value.items()}
    return value
