"""Turns the events in a file of tests into records as an engine would have sent them.

An event is written in a short form (``{action: die, name: web, exit_code: 3}``), or as the JSON
that ``docker events --format '{{json .}}'`` prints.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import msgspec

from relay.config import Range
from relay.config.errors import IssueScope, KeyPath
from relay.config.match_parser import parse_exit_code, parse_signal, scalar_to_text
from relay.core.event import Cause
from relay.dryrun.field_reader import FieldReader
from relay.dryrun.history import find_error
from relay.dryrun.simulator import InputEvent

START_NS: Final = 1_767_225_600_000_000_000
"""When a case begins unless its events have times: 2026-01-01, midnight in UTC."""
STEP_NS: Final = 1_000_000_000
"""The time from an event to the next one that has no time of its own."""
KEYS: Final = (
    *("type", "action", "id", "name", "image", "label", "attribute"),
    *("exit_code", "signal", "scope", "cause", "interactive", "at"),
)
_TEXTS: Final = ("type", "action", "id", "name", "image", "scope")


class EventBuilder:
    """Builds the records of one case. Events without a time follow each other by `STEP_NS`."""

    def __init__(self, fields: FieldReader, start_ns: int = START_NS) -> None:
        """``fields`` collects what is wrong with the events.

        ``start_ns`` is when the case begins unless its events have times.
        """
        self._fields = fields
        self._start_ns = start_ns
        self._now_ns = start_ns
        self._next_ns = start_ns
        self.begin_ns: int | None = None
        """When the case begins, by the engine's clock; None before the first event or wait."""
        self.until_ns: int | None = None
        """The end of the last wait; None if there was none."""

    def build(self, data: object, path: KeyPath) -> InputEvent | None:
        """Return the record of one event; None for a wait, or if something is wrong with it."""
        if isinstance(data, str):
            try:
                data = msgspec.json.decode(data)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                self._fields.report(path, "is not JSON", IssueScope.VALUE)
                return None
        if not isinstance(data, Mapping):
            if data is not None:
                example = "{action: die, name: web, exit_code: 3}"
                self._fields.report(path, f"must be an event, as in {example}")
            return None
        if "wait" in data:
            self._wait(data, path)
            return None
        is_from_engine = "Type" in data or "Action" in data
        build = self._from_engine_json if is_from_engine else self._from_short_form
        event = build(data, path)
        if self.begin_ns is None:
            self.begin_ns = self._now_ns if is_from_engine else self._start_ns
        self._check_not_before_wait(path)
        self._next_ns = self._now_ns + STEP_NS
        return event

    def _wait(self, data: Mapping[str, object], path: KeyPath) -> None:
        """Let time pass before the next event."""
        here = (*path, "wait")
        if len(data) > 1:
            message = "stands by itself: write '- wait: 25h' above the event"
            self._fields.report(here, message, IssueScope.KEY)
        self._now_ns += self._fields.read_duration_ns(data["wait"], here) or 0
        self._next_ns = self.until_ns = self._now_ns
        self.begin_ns = self.begin_ns or self._start_ns

    def _check_not_before_wait(self, path: KeyPath) -> None:
        if self.until_ns is not None and self._now_ns < self.until_ns:
            self._fields.report(path, "happens before the end of the 'wait' above it")

    def _from_engine_json(self, data: Mapping[str, object], path: KeyPath) -> InputEvent | None:
        """Complete an event as the engine prints it; YAML may have made its numbers texts."""
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
        return self._encode(wire, path, None)

    def _advance_clock(self, time_ns: object, time_s: object) -> None:
        if isinstance(time_ns, int) and time_ns:
            self._now_ns = time_ns
        elif isinstance(time_s, int) and time_s:
            self._now_ns = time_s * 10**9
        else:
            self._now_ns = self._next_ns

    def _from_short_form(self, data: Mapping[str, object], path: KeyPath) -> InputEvent | None:
        self._fields.check_keys(data, path, KEYS)
        texts = {key: self._read_text(data, key, path) for key in _TEXTS if key in data}
        if not texts.get("action"):
            self._fields.report_missing(data, (*path, "action"), "needs 'action', as in die or oom")
            return None
        type_, name = texts.get("type") or "container", texts.get("name")
        attributes = self._read_attributes(data, path)
        attributes |= {key: text for key in ("name", "image") if (text := texts.get(key))}
        self._now_ns = self._read_time_ns(data, path)
        wire = {
            "Type": type_,
            "Action": texts.get("action"),
            "Actor": {"ID": texts.get("id") or _actor_id(type_, name), "Attributes": attributes},
            "scope": texts.get("scope") or "local",
            "timeNano": self._now_ns,
        }
        found = self._encode(wire, path, self._read_cause(data, path))
        return found and replace(found, interactive=self._read_interactive(data, path))

    def _read_text(self, data: Mapping[str, object], key: str, path: KeyPath) -> str:
        return self._fields.read_text(data, key, path) or ""

    def _read_attributes(self, data: Mapping[str, object], path: KeyPath) -> dict[str, str]:
        found = self._read_texts(data, "label", path) | self._read_texts(data, "attribute", path)
        if "exit_code" in data:
            found["exitCode"] = self._read_number(data, "exit_code", parse_exit_code, path)
        if "signal" in data:
            found["signal"] = self._read_number(data, "signal", parse_signal, path)
        return found

    def _read_texts(self, data: Mapping[str, object], key: str, path: KeyPath) -> dict[str, str]:
        here = (*path, key)
        message = "must be a mapping of names to texts, as in {tier: web}"
        values = self._fields.read_mapping(data.get(key), here, message)
        return {name: self._read_text(values, name, here) for name in values}

    def _read_number(
        self,
        data: Mapping[str, object],
        key: str,
        parse: Callable[[str], Range],
        path: KeyPath,
    ) -> str:
        """Return a number that a match may also write in other ways, such as a signal's name."""
        here = (*path, key)
        try:
            found = parse(scalar_to_text(data[key]) or "")
        except ValueError as error:
            self._fields.report(here, str(error), IssueScope.VALUE)
            return ""
        if found.low is None or found.low != found.high:
            self._fields.report(here, "is not one number", IssueScope.VALUE)
        return str(found.low)

    def _read_time_ns(self, data: Mapping[str, object], path: KeyPath) -> int:
        if "at" not in data:
            return self._next_ns
        since_ns = self._fields.read_duration_ns(data["at"], (*path, "at"))
        return self._next_ns if since_ns is None else self._start_ns + since_ns

    def _read_cause(self, data: Mapping[str, object], path: KeyPath) -> Cause | None:
        if "cause" not in data:
            return None
        try:
            return Cause(scalar_to_text(data["cause"]) or "")
        except ValueError:
            known = ", ".join(cause.value for cause in Cause)
            self._fields.report(
                (*path, "cause"), f"is not a cause: write one of {known}", IssueScope.VALUE
            )
            return None

    def _read_interactive(self, data: Mapping[str, object], path: KeyPath) -> bool:
        value = scalar_to_text(data.get("interactive", False))
        if value not in ("true", "false"):
            self._fields.report((*path, "interactive"), "must be true or false")
        return value == "true"

    def _encode(self, wire: object, path: KeyPath, cause: Cause | None) -> InputEvent | None:
        try:
            record = msgspec.json.encode(wire)
        except (UnicodeError, OverflowError):
            self._fields.report(path, "holds half a surrogate pair, or a number that is too large")
            return None
        if error := find_error(record):
            self._fields.report(path, f"is not an event of an engine ({error})")
        return InputEvent(record, cause)


def _actor_id(type_: str, name: str | None) -> str:
    """Return the same id for the same name; of anything but a container the name is the id."""
    if type_ != "container":
        return name or ""
    return hashlib.blake2b((name or "").encode(errors="replace"), digest_size=32).hexdigest()
