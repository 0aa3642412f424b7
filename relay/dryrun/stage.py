"""What a case of a test sets up before its events, and what it expects to be held back.

It may set the time of day, and silences.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.config import Config
from relay.config.errors import InvalidValue, IssueScope, KeyPath, did_you_mean
from relay.config.known_names import KnownNames
from relay.config.match_parser import scalar_to_text
from relay.core.written_time import parse_written_time
from relay.core.zone import TimeZone
from relay.dryrun.event_builder import START_NS
from relay.dryrun.field_reader import FieldReader
from relay.incidents.held import HeldReason
from relay.incidents.silence_request import (
    MAX_DURATION_NS,
    InvalidSilence,
    SilenceRequest,
    check_request,
    parse_silence_match,
)

STAGE_KEYS = ("wall", "silence", "held")
_SILENCE_KEYS = ("match", "from", "for")
_MAX_SILENCES = 100
_HOUR_NS = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class StagedSilence:
    """A silence of a case. Its times are relative to the beginning of the case."""

    match: Mapping[str, Any]
    from_ns: int
    duration_ns: int

    def to_request(self, begin_ns: int) -> SilenceRequest:
        """Return what an operator would ask for if the case begins at this time."""
        return SilenceRequest(
            comment="relay test",
            by="relay test",
            match=self.match or None,
            everything=not self.match,
            from_ns=begin_ns + self.from_ns,
            duration_ns=self.duration_ns,
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """What a case sets up, and what it expects to be held back."""

    start_ns: int = START_NS
    """When it begins by the wall clock, if its events have no times of their own."""
    silences: tuple[StagedSilence, ...] = ()
    held: Mapping[str, int] | None = None
    """How many events are held back at its end, by reason; None if it does not say."""
    is_set: bool = False
    """Whether the case says any of this."""


class StageParser:
    """Parses the stage of one case."""

    def __init__(self, fields: FieldReader, config: Config) -> None:
        """``fields`` collects what is wrong; times are in the time zone of ``config``."""
        self._fields = fields
        self._config = config

    def parse(self, case: Mapping[str, object], path: KeyPath) -> Stage:
        """Return the stage of a case; what is wrong with it is reported."""
        return Stage(
            self._read_wall(case, path),
            self._read_silences(case, path),
            self._read_held(case, path),
            any(key in case for key in STAGE_KEYS),
        )

    def _read_wall(self, case: Mapping[str, object], path: KeyPath) -> int:
        if "wall" not in case:
            return START_NS
        here = (*path, "wall")
        if "recording" in case:
            message = "a recording has its own times: remove 'wall'"
            self._fields.report(here, message, IssueScope.KEY)
            return START_NS
        text = self._fields.read_text(case, "wall", path)
        if text is None:
            return START_NS
        try:
            written, zone = parse_written_time(text), TimeZone(self._config.time_zone)
            return written.to_ns(zone, START_NS - 1, ahead=True)
        except ValueError as error:
            self._fields.report(here, str(error), IssueScope.VALUE)
            return START_NS

    def _read_silences(
        self, case: Mapping[str, object], path: KeyPath
    ) -> tuple[StagedSilence, ...]:
        if "silence" not in case:
            return ()
        value, here = case["silence"], (*path, "silence")
        if not isinstance(value, list):
            return (self._read_silence(value, here),)
        if len(value) > _MAX_SILENCES:
            self._fields.report(here, f"has more than {_MAX_SILENCES} silences")
            return ()
        return tuple(self._read_silence(each, (*here, at)) for at, each in enumerate(value))

    def _read_silence(self, data: object, path: KeyPath) -> StagedSilence:
        message = "must be a mapping, as in {match: {project: shop}, for: 1h}"
        silence = self._fields.read_mapping(data, path, message)
        self._fields.check_keys(silence, path, _SILENCE_KEYS)
        from_ns = self._read_duration(silence, "from", path, 0)
        duration_ns = self._read_duration(silence, "for", path, _HOUR_NS)
        if not 0 < duration_ns <= MAX_DURATION_NS:
            days = MAX_DURATION_NS // (24 * _HOUR_NS)
            self._fields.report((*path, "for"), f"is not between 1ms and {days}d", IssueScope.VALUE)
        match = silence.get("match")
        if not isinstance(match, Mapping):
            if "match" in silence or not isinstance(data, Mapping):
                self._fields.report((*path, "match"), "must be a mapping, as in {project: shop}")
            else:
                message = "needs 'match': what it holds back, or {} for everything"
                self._fields.report_missing(silence, (*path, "match"), message)
            return StagedSilence({}, from_ns, duration_ns)
        self._check_match(match, (*path, "match"))
        return StagedSilence(match, from_ns, duration_ns)

    def _read_duration(
        self, data: Mapping[str, object], key: str, path: KeyPath, default: int
    ) -> int:
        if key not in data:
            return default
        found = self._fields.read_duration_ns(data[key], (*path, key))
        return default if found is None else found

    def _check_match(self, match: Mapping[str, object], path: KeyPath) -> None:
        try:
            parse_silence_match(match, engines=self._config.known_engines)
        except InvalidValue as error:
            for issue in error.issues:
                self._fields.report((*path, *issue.path), issue.message + issue.detail, issue.scope)
            return
        try:
            routes = [route.name for route in self._config.routes]
            check_request(
                StagedSilence(match, 0, _HOUR_NS).to_request(0), KnownNames(routes=routes)
            )
        except InvalidSilence as error:
            self._fields.report(path, str(error))

    def _read_held(self, case: Mapping[str, object], path: KeyPath) -> Mapping[str, int] | None:
        if "held" not in case:
            return None
        here, known = (*path, "held"), [each.value for each in HeldReason]
        message = "must be a mapping of reasons to numbers, as in {muted: 2}, or {} for none"
        held = self._fields.read_mapping(case["held"], here, message)
        found = {}
        for reason, count in held.items():
            if reason not in known:
                message = f"is not one of {', '.join(known)}{did_you_mean(reason, known)}"
                self._fields.report((*here, reason), f"{reason!r} {message}", IssueScope.KEY)
            number = scalar_to_text(count) or ""
            if not (number.isascii() and number.isdecimal()):
                self._fields.report((*here, reason), "must be a whole number, at least 0")
            else:
                found[reason] = int(number)
        return found
