"""Whether what is found holds what is wanted: a part of a JSON value, or of a text."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from relay.core.text import escape_unprintable

SHOWN_MAX = 200
"""How much of what is found is shown."""


def find_missing(wanted: object, body: bytes) -> list[str]:
    """What of ``wanted`` a body lacks, each in words; nothing if it holds all of it.

    A text has to stand in the body, or in one of the texts of its JSON. A mapping or a list is a
    part of its JSON: of a mapping the keys that are given, of a list the items that are given, in
    this order, each again in part.
    """
    found = _decode(body)
    if isinstance(wanted, Mapping | list):
        if found is None:
            return [f": wanted JSON, found {_show(body.decode(errors='replace'))}"]
        return list(_missing_parts(wanted, found, ""))
    text = wanted if isinstance(wanted, str) else _to_json(wanted)
    texts = [body.decode(errors="replace"), *_texts(found)]
    if any(text in each for each in texts):
        return []
    return [f": wanted {text!r} in it, found {_show(texts[0])}"]


def _decode(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)


def _missing_parts(wanted: object, found: object, path: str) -> Iterator[str]:
    match wanted:
        case Mapping() if isinstance(found, Mapping):
            for key, value in wanted.items():
                here = f"{path}.{key}"
                if key not in found:
                    yield f"{here}: wanted {_show(value)}, found no such key"
                else:
                    yield from _missing_parts(value, found[key], here)
        case list() if isinstance(found, list):
            yield from _missing_items(wanted, found, path)
        case _ if not _is_equal(wanted, found):
            yield f"{path}: wanted {_show(wanted)}, found {_show(found)}"


def _missing_items(wanted: Sequence[object], found: Sequence[object], path: str) -> Iterator[str]:
    """Of the first item that is nowhere behind the one before it, what is nearest to it lacks."""
    begin = 0
    for value in wanted:
        lacking = [
            list(_missing_parts(value, item, f"{path}[{index}]"))
            for index, item in enumerate(found[begin:], start=begin)
        ]
        place = next((index for index, each in enumerate(lacking) if not each), None)
        if place is None:
            nearest = min(lacking, key=len, default=None)
            yield from nearest or [f"{path}: wanted {_show(value)}, found nothing more in the list"]
            return
        begin += place + 1


def _is_equal(wanted: object, found: object) -> bool:
    """YAML here makes texts of all numbers but whole ones."""
    if isinstance(wanted, bool) or isinstance(found, bool) or wanted is None:
        return wanted is found
    if isinstance(found, int | float) and isinstance(wanted, str):
        return wanted == _to_json(found)
    return type(wanted) is type(found) and wanted == found


def _show(value: object) -> str:
    text = value if isinstance(value, str) else _to_json(value)
    cut = text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 1] + "…"
    return repr(cut) if isinstance(value, str) else escape_unprintable(cut)


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
