"""Compares what is sent with an expected part of it: of a text, or of its JSON."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from relay.config.types import find_texts
from relay.core.text import escape_unprintable

SHOWN_MAX = 200
"""Characters of a value that are shown; the rest is cut."""


def find_missing(wanted: object, body: bytes) -> list[str]:
    """Return what a body lacks of ``wanted``, one sentence each; empty if it holds all of it.

    A text must occur in the body, or in one of the strings in its JSON. A mapping or a list is
    compared with the body's JSON: of a mapping only the given keys, of a list only the given
    items, in their order; and each of these again in part.
    """
    found = _decode(body)
    if isinstance(wanted, Mapping | list):
        if found is None:
            return [f": wanted JSON, found {show(body.decode(errors='replace'))}"]
        return list(find_missing_parts(wanted, found, ""))
    text = wanted if isinstance(wanted, str) else _to_json(wanted)
    texts = [body.decode(errors="replace"), *(each for _, each in find_texts(found))]
    if any(text in each for each in texts):
        return []
    return [f": wanted {text!r} in it, found {show(texts[0])}"]


def _decode(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def find_missing_parts(wanted: object, found: object, path: str) -> Iterator[str]:
    """Yield what a JSON value lacks of ``wanted``; ``path`` is where it stands."""
    match wanted:
        case Mapping() if isinstance(found, Mapping):
            for key, value in wanted.items():
                here = f"{path}.{key}"
                if key not in found:
                    yield f"{here}: wanted {show(value)}, found no such key"
                else:
                    yield from find_missing_parts(value, found[key], here)
        case list() if isinstance(found, list):
            yield from _missing_items(wanted, found, path)
        case _ if not _is_equal(wanted, found):
            yield f"{path}: wanted {show(wanted)}, found {show(found)}"


def _missing_items(wanted: Sequence[object], found: Sequence[object], path: str) -> Iterator[str]:
    """Look for the items one after the other, each behind the one found before it.

    For the first one that is not there, yield what the most similar item lacks.
    """
    begin = 0
    for value in wanted:
        lacking = [
            list(find_missing_parts(value, item, f"{path}[{index}]"))
            for index, item in enumerate(found[begin:], start=begin)
        ]
        position = next((index for index, each in enumerate(lacking) if not each), None)
        if position is None:
            closest = min(lacking, key=len, default=None)
            yield from closest or [f"{path}: wanted {show(value)}, found nothing more in the list"]
            return
        begin += position + 1


def _is_equal(wanted: object, found: object) -> bool:
    """Compare two scalars; relay's YAML reader keeps all numbers but integers as texts."""
    if isinstance(wanted, bool) or isinstance(found, bool) or wanted is None:
        return wanted is found
    if isinstance(found, int | float) and isinstance(wanted, str):
        return wanted == _to_json(found)
    return type(wanted) is type(found) and wanted == found


def show(value: object) -> str:
    """Return a value as it is shown, on one line."""
    text = value if isinstance(value, str) else _to_json(value)
    cut = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
    return repr(cut) if isinstance(value, str) else escape_unprintable(cut)


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
