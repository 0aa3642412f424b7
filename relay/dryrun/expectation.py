"""What a test expects to be sent, and how it is parsed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from relay.config import Config, Match
from relay.config.errors import InvalidValue, IssueScope, KeyPath, did_you_mean
from relay.config.match_parser import parse_match, scalar_to_text
from relay.core.incident import Status, UpdateReason
from relay.dryrun.field_reader import FieldReader

INCIDENT_KEYS = (
    *("id", "status", "state", "route", "severity", "subject", "host", "crash_looping"),
    *("started_at", "ended_at", "resolution", "count", "total", "notified_before"),
    *("restart_policy", "restart_count", "memory_limit", "ran_for"),
)
"""The keys of an incident in JSON."""
_KEYS = ("route", "to", "match", "body", "status", "reason", "count", "at", "incidents")


@dataclass(frozen=True, slots=True)
class Expectation:
    """One notification that must be sent."""

    route: str
    to: tuple[str, ...] | None = None
    """All destinations to which this route sends it; None for any."""
    match: Match | None = None
    """What its event, or one of its events, must match; None for any event."""
    body: Mapping[str, object] | None = None
    """By destination: a part of the JSON, or of the text, that is sent there."""
    status: str | None = None
    reason: str | None = None
    """Why it is sent, as an `UpdateReason`."""
    count: int | None = None
    """How many events it stands for."""
    at_ns: int | None = None
    """When it is sent, since the beginning of the case."""
    incidents: int | Sequence[str | Mapping[str, object]] | None = None
    """How many incidents it is about; or of each, in their order, the subject or a part of its
    JSON."""

    @property
    def is_timed(self) -> bool:
        """Whether it says anything about when it is sent, or about incidents."""
        said = (self.status, self.reason, self.count, self.at_ns, self.incidents)
        return any(each is not None for each in said)


class ExpectationParser:
    """Parses the expectations of one case."""

    def __init__(self, fields: FieldReader, config: Config) -> None:
        """``fields`` collects what is wrong; what is named is looked up in ``config``."""
        self._fields = fields
        self._config = config

    def parse_list(self, data: object, path: KeyPath) -> tuple[Expectation, ...]:
        """Return the expectations of a case; what is wrong with them is reported."""
        if not isinstance(data, list):
            self._fields.report(path, "must be a list, as in [{route: crashed, to: ops}], or []")
            return ()
        if not data and path[-1] == "expect_some":
            message = "is empty: list what must be sent, or write 'expect: []' if nothing may be"
            self._fields.report(path, message)
        return tuple(self._expectation(it, (*path, i)) for i, it in enumerate(data))

    def _expectation(self, data: object, path: KeyPath) -> Expectation:
        routes = [route.name for route in self._config.routes]
        if isinstance(data, str):
            self._fields.check_known(data, routes, path, "a route")
            return Expectation(data)
        item = self._fields.read_mapping(data, path)
        self._fields.check_keys(item, path, _KEYS)
        route = self._fields.read_optional_text(item, "route", path)
        if route is None:
            message = "needs 'route': name the route that sends it"
            self._fields.report_missing(item, (*path, "route"), message)
        else:
            self._fields.check_known(route, routes, (*path, "route"), "a route")
        to = self._destinations(item, path)
        match = self._match(item["match"], (*path, "match")) if "match" in item else None
        return Expectation(
            route or "",
            to,
            match,
            self._body(item, path, to),
            status=self._choice(item, "status", path, [each.value for each in Status]),
            reason=self._choice(item, "reason", path, [each.value for each in UpdateReason]),
            count=self._count(item, path),
            at_ns=self._at(item, path),
            incidents=self._incidents(item, path),
        )

    def _destinations(self, item: Mapping[str, object], path: KeyPath) -> tuple[str, ...] | None:
        if "to" not in item:
            return None
        value, here = item["to"], (*path, "to")
        listed = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        found: list[str] = []
        for index, each in listed:
            place = here if index is None else (*here, index)
            text = scalar_to_text(each)
            if text is None:
                self._fields.report(place, "must be a destination, or a list of destinations")
            else:
                self._fields.check_known(text, self._config.destinations, place, "a destination")
                found.append(text)
        return tuple(found)

    def _match(self, data: object, path: KeyPath) -> Match | None:
        try:
            return parse_match(data, engines=self._config.known_engines)
        except InvalidValue as error:
            for issue in error.issues:
                self._fields.report((*path, *issue.path), issue.message + issue.detail, issue.scope)
            return None

    def _body(
        self,
        item: Mapping[str, object],
        path: KeyPath,
        to: Collection[str] | None,
    ) -> Mapping[str, object] | None:
        if "body" not in item:
            return None
        here = (*path, "body")
        body, known = self._fields.read_mapping(item["body"], here), self._config.destinations
        if not body:
            example = "{ops: a part of its text}"
            self._fields.report(here, f"must be a mapping of destinations, as in {example}")
        for name, part in body.items():
            self._fields.check_known(name, known, (*here, name), "a destination")
            if to is not None and name in known and name not in to:
                self._fields.report((*here, name), "is not among 'to'", IssueScope.KEY)
            if not isinstance(part, Mapping | list) and scalar_to_text(part) is None:
                self._fields.report((*here, name), "is empty: write a part of what is sent")
        return body

    def _choice(
        self, item: Mapping[str, object], key: str, path: KeyPath, known: Sequence[str]
    ) -> str | None:
        text = self._fields.read_optional_text(item, key, path)
        if text is not None and text not in known:
            message = f"is not one of {', '.join(known)}{did_you_mean(text, known)}"
            self._fields.report((*path, key), message, IssueScope.VALUE)
        return text

    def _count(self, item: Mapping[str, object], path: KeyPath) -> int | None:
        if "count" not in item:
            return None
        value = item["count"]
        if not _is_count(value):
            self._fields.report((*path, "count"), "must be a whole number, at least 0")
            return None
        return value

    def _at(self, item: Mapping[str, object], path: KeyPath) -> int | None:
        return self._fields.read_duration_ns(item["at"], (*path, "at")) if "at" in item else None

    def _incidents(
        self, item: Mapping[str, object], path: KeyPath
    ) -> int | tuple[str | Mapping[str, object], ...] | None:
        value, here = item.get("incidents"), (*path, "incidents")
        if "incidents" not in item:
            return None
        if not isinstance(value, list):
            if _is_count(value):
                return value
            self._fields.report(here, "must be their number, or a list, as in [web, db]")
            return None
        parts = (self._incident(part, (*here, index)) for index, part in enumerate(value))
        return tuple(part for part in parts if part is not None)

    def _incident(self, part: object, path: KeyPath) -> str | Mapping[str, object] | None:
        """Return the subject of an incident, or a part of its JSON."""
        if isinstance(part, Mapping):
            self._fields.check_keys(part, path, INCIDENT_KEYS)
            return part
        text = scalar_to_text(part)
        if text is None:
            example = "{subject: web, state: up}"
            self._fields.report(path, f"must be the name of its container, or as in {example}")
        return text


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
