"""Events as people write them in a test, as the records that an engine would have sent."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from relay.config import Range, patterns, units
from relay.config.errors import ConfigIssue, IssueScope, KeyPath, did_you_mean, quote
from relay.config.match_parser import scalar_to_text
from relay.core.event import Cause
from relay.dryrun.recording import find_error
from relay.dryrun.simulator import InputEvent

START_NS: Final = 1_767_225_600_000_000_000
"""When a case begins, where its events do not say: 2026-01-01, midnight in UTC."""
STEP_NS: Final = 1_000_000_000
"""How far events are apart that do not say when they happen."""
KEYS: Final = (
    *("type", "action", "id", "name", "image", "label", "attribute"),
    *("exit_code", "signal", "scope", "cause", "at"),
)
_TEXTS: Final = ("type", "action", "id", "name", "image", "scope")

ReportIssue = Callable[[ConfigIssue], None]


class EventBuilder:
    """Makes records of the events of one case, each later than the one before it."""

    def __init__(self, wrong: ReportIssue) -> None:
        """``wrong`` is told of every mistake."""
        self._report = wrong
        self._now_ns = START_NS - STEP_NS

    def build(self, data: object, trail: KeyPath) -> InputEvent | None:
        """The record of one event; None where there is a mistake in it."""
        if isinstance(data, str):
            data = self._parse_json(data, trail)
        if not isinstance(data, Mapping):
            if data is not None:
                what = "must be an event, as in {action: die, name: web, exit_code: 3}"
                self._report(ConfigIssue(trail, what))
            return None
        if "Type" in data or "Action" in data:
            return self._from_engine_json(data, trail)
        return self._from_short_form(data, trail)

    def _parse_json(self, text: str, trail: KeyPath) -> object:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._report(ConfigIssue(trail, "is not JSON", IssueScope.VALUE))
            return None

    def _from_engine_json(self, data: Mapping[str, object], trail: KeyPath) -> InputEvent | None:
        """As ``docker events --format '{{json .}}'`` prints it; numbers may have become text."""
        wire = dict(data)
        for key in ("time", "timeNano"):
            text = scalar_to_text(wire.get(key))
            if text is not None and text.isdecimal():
                wire[key] = int(text)
        self._advance_clock(wire.get("timeNano"), wire.get("time"))
        if not wire.get("time") and not wire.get("timeNano"):
            wire["timeNano"] = self._now_ns
        actor = wire.get("Actor")
        if isinstance(actor, Mapping) and isinstance(actor.get("Attributes"), Mapping):
            texts = {key: scalar_to_text(value) for key, value in actor["Attributes"].items()}
            wire["Actor"] = {**actor, "Attributes": texts}
        return self._encode(wire, trail, None)

    def _advance_clock(self, time_ns: object, time_s: object) -> None:
        if isinstance(time_ns, int) and time_ns:
            self._now_ns = time_ns
        elif isinstance(time_s, int) and time_s:
            self._now_ns = time_s * 10**9
        else:
            self._now_ns += STEP_NS

    def _from_short_form(self, data: Mapping[str, object], trail: KeyPath) -> InputEvent | None:
        self._check_keys(data, trail)
        texts = {key: self._read_text(data, key, trail) for key in _TEXTS if key in data}
        if not texts.get("action"):
            if all(key in KEYS for key in data):  # else it was mistyped
                self._report(ConfigIssue((*trail, "action"), "needs 'action', as in die or oom"))
            return None
        type_, name = texts.get("type") or "container", texts.get("name")
        attributes = self._read_attributes(data, trail)
        attributes |= {key: text for key in ("name", "image") if (text := texts.get(key))}
        self._now_ns = self._read_time_ns(data, trail)
        wire = {
            "Type": type_,
            "Action": texts.get("action"),
            "Actor": {"ID": texts.get("id") or _actor_id(type_, name), "Attributes": attributes},
            "scope": texts.get("scope") or "local",
            "timeNano": self._now_ns,
        }
        return self._encode(wire, trail, self._read_cause(data, trail))

    def _check_keys(self, data: Mapping[str, object], trail: KeyPath) -> None:
        for key in data:
            if key not in KEYS:
                message = f"unknown key {quote(key)}{did_you_mean(key, KEYS)}"
                self._report(ConfigIssue((*trail, key), message, IssueScope.KEY))

    def _read_text(self, data: Mapping[str, object], key: str, trail: KeyPath) -> str:
        text = scalar_to_text(data[key])
        if text is None:
            self._report(ConfigIssue((*trail, key), "must be a text"))
        return text or ""

    def _read_attributes(self, data: Mapping[str, object], trail: KeyPath) -> dict[str, str]:
        found = self._read_texts(data, "label", trail) | self._read_texts(data, "attribute", trail)
        if "exit_code" in data:
            found["exitCode"] = self._read_number(
                data, "exit_code", patterns.parse_exit_code, trail
            )
        if "signal" in data:
            found["signal"] = self._read_number(data, "signal", patterns.parse_signal, trail)
        return found

    def _read_texts(self, data: Mapping[str, object], key: str, trail: KeyPath) -> dict[str, str]:
        value = data.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            what = "must be a mapping of names to texts, as in {tier: web}"
            self._report(ConfigIssue((*trail, key), what))
            return {}
        return {name: self._read_text(value, name, (*trail, key)) for name in value}

    def _read_number(
        self,
        data: Mapping[str, object],
        key: str,
        read: Callable[[str], Range],
        trail: KeyPath,
    ) -> str:
        try:
            found = read(scalar_to_text(data[key]) or "")
        except ValueError as error:
            self._report(ConfigIssue((*trail, key), str(error), IssueScope.VALUE))
            return ""
        if found.low is None or found.low != found.high:
            self._report(ConfigIssue((*trail, key), "is not one number", IssueScope.VALUE))
        return str(found.low)

    def _read_time_ns(self, data: Mapping[str, object], trail: KeyPath) -> int:
        if "at" not in data:
            return self._now_ns + STEP_NS
        try:
            since = units.parse_duration(scalar_to_text(data["at"]) or "")
        except ValueError as error:
            self._report(ConfigIssue((*trail, "at"), str(error), IssueScope.VALUE))
            return self._now_ns
        return START_NS + int(since.total_seconds() * 1e9)

    def _read_cause(self, data: Mapping[str, object], trail: KeyPath) -> Cause | None:
        if "cause" not in data:
            return None
        try:
            return Cause(scalar_to_text(data["cause"]) or "")
        except ValueError:
            known = [cause.value for cause in Cause]
            what = f"is no cause: there are {', '.join(known)}"
            self._report(ConfigIssue((*trail, "cause"), what, IssueScope.VALUE))
            return None

    def _encode(self, wire: object, trail: KeyPath, cause: Cause | None) -> InputEvent | None:
        try:
            record = msgspec.json.encode(wire)
        except (UnicodeError, OverflowError):
            self._report(ConfigIssue(trail, "holds half a character, or too large a number"))
            return None
        if flaw := find_error(record):
            self._report(ConfigIssue(trail, f"is no event of an engine's ({flaw})"))
        return InputEvent(record, cause)


def _actor_id(type_: str, name: str | None) -> str:
    """What is about one name is about one thing."""
    if type_ != "container":
        return name or ""
    return hashlib.blake2b((name or "").encode(errors="replace"), digest_size=32).hexdigest()
