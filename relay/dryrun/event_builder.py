"""Events as people write them in a test, as the records that an engine would have sent."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from relay.config import Range, patterns, units
from relay.config.errors import About, Mistake, Trail, did_you_mean, quoted
from relay.config.match_parser import scalar_text
from relay.core.event import Cause
from relay.dryrun.recording import flaw_of
from relay.dryrun.simulator import Spoken

BEGIN_NS: Final = 1_767_225_600_000_000_000
"""When a case begins, where its events do not say: 2026-01-01, midnight in UTC."""
STEP_NS: Final = 1_000_000_000
"""How far events are apart that do not say when they happen."""
KEYS: Final = (
    *("type", "action", "id", "name", "image", "label", "attribute"),
    *("exit_code", "signal", "scope", "cause", "at"),
)
_TEXTS: Final = ("type", "action", "id", "name", "image", "scope")

Wrong = Callable[[Mistake], None]


class Speaker:
    """Makes records of the events of one case, each later than the one before it."""

    def __init__(self, wrong: Wrong) -> None:
        """``wrong`` is told of every mistake."""
        self._wrong = wrong
        self._now_ns = BEGIN_NS - STEP_NS

    def spoken(self, data: object, trail: Trail) -> Spoken | None:
        """The record of one event; None where there is a mistake in it."""
        if isinstance(data, str):
            data = self._json(data, trail)
        if not isinstance(data, Mapping):
            if data is not None:
                what = "must be an event, as in {action: die, name: web, exit_code: 3}"
                self._wrong(Mistake(trail, what))
            return None
        if "Type" in data or "Action" in data:
            return self._engines_own(data, trail)
        return self._short(data, trail)

    def _json(self, text: str, trail: Trail) -> object:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._wrong(Mistake(trail, "is not JSON", About.VALUE))
            return None

    def _engines_own(self, data: Mapping[str, object], trail: Trail) -> Spoken | None:
        """As ``docker events --format '{{json .}}'`` prints it; numbers may have become text."""
        wire = dict(data)
        for key in ("time", "timeNano"):
            text = scalar_text(wire.get(key))
            if text is not None and text.isdecimal():
                wire[key] = int(text)
        self._tick(wire.get("timeNano"), wire.get("time"))
        if not wire.get("time") and not wire.get("timeNano"):
            wire["timeNano"] = self._now_ns
        actor = wire.get("Actor")
        if isinstance(actor, Mapping) and isinstance(actor.get("Attributes"), Mapping):
            texts = {key: scalar_text(value) for key, value in actor["Attributes"].items()}
            wire["Actor"] = {**actor, "Attributes": texts}
        return self._encoded(wire, trail, None)

    def _tick(self, time_ns: object, time_s: object) -> None:
        if isinstance(time_ns, int) and time_ns:
            self._now_ns = time_ns
        elif isinstance(time_s, int) and time_s:
            self._now_ns = time_s * 10**9
        else:
            self._now_ns += STEP_NS

    def _short(self, data: Mapping[str, object], trail: Trail) -> Spoken | None:
        self._check_keys(data, trail)
        texts = {key: self._text(data, key, trail) for key in _TEXTS if key in data}
        if not texts.get("action"):
            if all(key in KEYS for key in data):  # else it was mistyped
                self._wrong(Mistake((*trail, "action"), "needs 'action', as in die or oom"))
            return None
        type_, name = texts.get("type") or "container", texts.get("name")
        attributes = self._attributes(data, trail)
        attributes |= {key: text for key in ("name", "image") if (text := texts.get(key))}
        self._now_ns = self._moment(data, trail)
        wire = {
            "Type": type_,
            "Action": texts.get("action"),
            "Actor": {"ID": texts.get("id") or _id(type_, name), "Attributes": attributes},
            "scope": texts.get("scope") or "local",
            "timeNano": self._now_ns,
        }
        return self._encoded(wire, trail, self._cause(data, trail))

    def _check_keys(self, data: Mapping[str, object], trail: Trail) -> None:
        for key in data:
            if key not in KEYS:
                message = f"unknown key {quoted(key)}{did_you_mean(key, KEYS)}"
                self._wrong(Mistake((*trail, key), message, About.KEY))

    def _text(self, data: Mapping[str, object], key: str, trail: Trail) -> str:
        text = scalar_text(data[key])
        if text is None:
            self._wrong(Mistake((*trail, key), "must be a text"))
        return text or ""

    def _attributes(self, data: Mapping[str, object], trail: Trail) -> dict[str, str]:
        found = self._texts(data, "label", trail) | self._texts(data, "attribute", trail)
        if "exit_code" in data:
            found["exitCode"] = self._number(data, "exit_code", patterns.exit_code, trail)
        if "signal" in data:
            found["signal"] = self._number(data, "signal", patterns.signal, trail)
        return found

    def _texts(self, data: Mapping[str, object], key: str, trail: Trail) -> dict[str, str]:
        value = data.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            what = "must be a mapping of names to texts, as in {tier: web}"
            self._wrong(Mistake((*trail, key), what))
            return {}
        return {name: self._text(value, name, (*trail, key)) for name in value}

    def _number(
        self,
        data: Mapping[str, object],
        key: str,
        read: Callable[[str], Range],
        trail: Trail,
    ) -> str:
        try:
            found = read(scalar_text(data[key]) or "")
        except ValueError as error:
            self._wrong(Mistake((*trail, key), str(error), About.VALUE))
            return ""
        if found.low is None or found.low != found.high:
            self._wrong(Mistake((*trail, key), "is not one number", About.VALUE))
        return str(found.low)

    def _moment(self, data: Mapping[str, object], trail: Trail) -> int:
        if "at" not in data:
            return self._now_ns + STEP_NS
        try:
            since = units.duration(scalar_text(data["at"]) or "")
        except ValueError as error:
            self._wrong(Mistake((*trail, "at"), str(error), About.VALUE))
            return self._now_ns
        return BEGIN_NS + int(since.total_seconds() * 1e9)

    def _cause(self, data: Mapping[str, object], trail: Trail) -> Cause | None:
        if "cause" not in data:
            return None
        try:
            return Cause(scalar_text(data["cause"]) or "")
        except ValueError:
            known = [cause.value for cause in Cause]
            what = f"is no cause: there are {', '.join(known)}"
            self._wrong(Mistake((*trail, "cause"), what, About.VALUE))
            return None

    def _encoded(self, wire: object, trail: Trail, cause: Cause | None) -> Spoken | None:
        try:
            record = msgspec.json.encode(wire)
        except (UnicodeError, OverflowError):
            self._wrong(Mistake(trail, "holds half a character, or too large a number"))
            return None
        if flaw := flaw_of(record):
            self._wrong(Mistake(trail, f"is no event of an engine's ({flaw})"))
        return Spoken(record, cause)


def _id(type_: str, name: str | None) -> str:
    """What is about one name is about one thing."""
    if type_ != "container":
        return name or ""
    return hashlib.blake2b((name or "").encode(errors="replace"), digest_size=32).hexdigest()
