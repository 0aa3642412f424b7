"""Repairs records that break the API's rules, so that their events are not lost.

An engine, or a proxy before it, may send an attribute that is a number, half of a surrogate pair,
or bytes that are not UTF-8. Such records are rare, so they may take longer than others.
"""

import json
from collections.abc import Mapping

import msgspec

_TIMES = ("time", "timeNano")
_NOT_TEXTS = (*_TIMES, "Actor")


class _Number(str):
    """A JSON number as it was written: an attribute keeps its digits."""

    __slots__ = ()


def repair_record(record: bytes) -> bytes | None:
    """Return the record with a value of the right type in each field; None if it is not an object.

    Attributes become texts. An ``Actor`` that is not an object becomes an empty one, and any other
    value of a wrong type is left out. Half of a surrogate pair becomes U+FFFD, as in Go's JSON.
    """
    try:
        data = json.loads(record.decode(errors="replace"), parse_int=_Number, parse_float=_Number)
        if isinstance(data, dict):
            return msgspec.json.encode(_repair_object(data))
    except (ValueError, RecursionError):
        pass
    return None


def _repair_object(data: Mapping[str, object]) -> dict[str, object]:
    repaired: dict[str, object] = {}
    for key, value in data.items():
        match value:
            case _Number() if key in _TIMES and len(value) < 20 and value.isdecimal():
                repaired[key] = int(value)
            case dict() if key == "Actor":
                repaired[key] = _repair_actor(value)
            case str() if key not in _NOT_TEXTS and not isinstance(value, _Number):
                repaired[key] = _replace_surrogates(value)
    return repaired


def _repair_actor(actor: Mapping[str, object]) -> dict[str, object]:
    id_, attributes = actor.get("ID"), actor.get("Attributes")
    return {
        "ID": _replace_surrogates(_to_text(id_)) if isinstance(id_, str) else "",
        "Attributes": {
            _replace_surrogates(name): _replace_surrogates(_to_text(value))
            for name, value in (attributes.items() if isinstance(attributes, dict) else ())
        },
    }


def _to_text(value: object) -> str:
    """Return an attribute as text: a number as it was written, anything but a text as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
