"""What formats make, as tests read it: its strings, and what was approved of it."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

GOLDEN = Path(__file__).parent / "golden"


def read_golden(name: str) -> str:
    """A golden file: what somebody looked at and found right."""
    return (GOLDEN / name).read_text()


def format_golden(bodies: Iterable[bytes]) -> str:
    """JSON bodies as a golden file has them: a list, indented to be read."""
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
