"""A file of tests for a configuration: input events, and the notifications expected.

It is parsed from YAML to a `Suite`, and every problem in it is reported at once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.config import Config, Match
from relay.config.errors import (
    ConfigIssue,
    InvalidValue,
    IssueScope,
    KeyPath,
    did_you_mean,
    format_path,
    quote,
)
from relay.config.load import read_text
from relay.config.match_parser import parse_match, scalar_to_text
from relay.config.yaml_reader import Document, DocumentKind, read_document
from relay.core.errors import ConfigError, Problem, describe_os_error
from relay.destinations import catalog
from relay.dryrun.event_builder import EventBuilder, FieldReader
from relay.dryrun.history import InvalidLine, find_error, number_records, read_lines
from relay.dryrun.simulator import InputEvent


@dataclass(frozen=True, slots=True)
class Expectation:
    """One notification that must be sent."""

    route: str
    to: tuple[str, ...] | None = None
    """All destinations to which this route sends it; None for any."""
    match: Match | None = None
    """What its event must match; None for any event."""
    body: Mapping[str, object] | None = None
    """By destination: a part of the JSON, or of the text, that is sent there."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test: events, and the notifications that they must cause."""

    name: str
    line: int
    """Where it begins in its file, from 1."""
    events: tuple[InputEvent, ...]
    expected: tuple[Expectation, ...]
    exact: bool = True
    """Whether the test fails if anything else is sent."""
    engine: str | None = None
    """The engine that sends the events; None for the first one configured."""
    podman: bool = False
    """Whether that engine is Podman."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One file of tests, and the configuration that they test."""

    file: Path
    config: Config
    cases: tuple[Case, ...]


_TESTS = DocumentKind("tests", "'tests'")
_SUITE_KEYS = ("config", "environment", "tests")
_CASE_KEYS = ("name", "engine", "podman", "events", "recording", "expect", "expect_some")
_EXPECTATION_KEYS = ("route", "to", "match", "body")


def load_suite(
    file: Path,
    config_file: Path | None,
    default_config: Path | None,
    environ: Mapping[str, str],
) -> Suite:
    """Load the tests in a file, and the configuration that they test.

    That is ``config_file`` if given, else the one that the file names, else ``default_config``,
    else the built-in configuration. ``environ`` is the environment for it; the file's own
    ``environment`` takes precedence. Raises `ConfigError` with everything that is wrong with the
    tests, or with the configuration.
    """
    document = read_document(read_text(file), str(file), _TESTS)
    parser = _SuiteParser(document, file.parent)
    named, environment = parser.parse_header()
    parser.raise_problems()
    path = config_file or (file.parent / named if named else default_config)
    config = (
        catalog.default_config()
        if path is None
        else catalog.load_config(path, {**environ, **environment})
    )
    cases = parser.parse_cases(config)
    parser.raise_problems()
    return Suite(file, config, cases)


class _SuiteParser:
    """Parses one document, and collects what is wrong with it."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._fields = FieldReader()

    def raise_problems(self) -> None:
        """Raise `ConfigError` if anything was wrong so far."""
        found = [self._to_problem(issue) for issue in self._fields.issues]
        if problems := {*self._document.problems, *found}:
            raise ConfigError(list(problems))

    def parse_header(self) -> tuple[str | None, dict[str, str]]:
        """Return the configuration that is named, and the variables for its environment."""
        data = self._document.data
        self._fields.check_keys(data, (), _SUITE_KEYS)
        named = self._optional_text(data, "config", ())
        here = ("environment",)
        values = self._fields.read_mapping(data.get("environment"), here)
        environment = {key: self._fields.read_text(values, key, here) or "" for key in values}
        return named, environment

    def parse_cases(self, config: Config) -> tuple[Case, ...]:
        """Return all cases; what they name is looked up in the configuration."""
        example = "[{name: …, events: …, expect: …}]"
        items = self._fields.read_list(self._document.data.get("tests"), ("tests",), example)
        return tuple(self._case(item, ("tests", i), config) for i, item in enumerate(items))

    def _case(self, data: object, path: KeyPath, config: Config) -> Case:
        case = self._fields.read_mapping(data, path)
        self._fields.check_keys(case, path, _CASE_KEYS)
        name = self._optional_text(case, "name", path)
        if not name:
            message = "needs 'name': say what must hold"
            self._fields.report_missing(case, (*path, "name"), message)
        engine = self._optional_text(case, "engine", path)
        if engine is not None:
            self._check_known(engine, config.engines, (*path, "engine"), "an engine")
        podman = case.get("podman", False)
        if not isinstance(podman, bool):
            self._fields.report((*path, "podman"), "must be true or false")
        key = self._choose_key(case, ("expect", "expect_some"), path)
        expected = self._expectations(case[key], (*path, key), config) if key else ()
        return Case(
            name or "",
            self._document.locations[path].value[0],
            self._events(case, path),
            expected,
            key != "expect_some",
            engine,
            podman is True,
        )

    def _events(self, case: Mapping[str, object], path: KeyPath) -> tuple[InputEvent, ...]:
        key = self._choose_key(case, ("events", "recording"), path)
        if key is None:
            return ()
        if key == "recording":
            return self._read_recording(case, path)
        here = (*path, key)
        builder = EventBuilder(self._fields)
        items = self._fields.read_list(case[key], here, "[{action: die, name: web, exit_code: 3}]")
        events = [builder.build(item, (*here, index)) for index, item in enumerate(items)]
        return tuple(event for event in events if event is not None)

    def _read_recording(self, case: Mapping[str, object], path: KeyPath) -> tuple[InputEvent, ...]:
        here = (*path, "recording")
        name = self._fields.read_text(case, "recording", path) or "."
        try:
            with (self._folder / name).open("rb") as file:
                records = list(number_records(read_lines(file)))
        except OSError as error:
            message = f"cannot be read: {error.strerror or describe_os_error(error)}"
            self._fields.report(here, message, IssueScope.VALUE)
            return ()
        for number, record in records:
            if kind := find_error(record):
                self._fields.report(here, str(InvalidLine(number, kind)), IssueScope.VALUE)
                break
        return tuple(InputEvent(record) for _, record in records)

    def _expectations(self, data: object, path: KeyPath, config: Config) -> tuple[Expectation, ...]:
        if not isinstance(data, list):
            self._fields.report(path, "must be a list, as in [{route: crashed, to: ops}], or []")
            return ()
        if not data and path[-1] == "expect_some":
            message = "is empty: list what must be sent, or write 'expect: []' if nothing may be"
            self._fields.report(path, message)
        return tuple(self._expectation(it, (*path, i), config) for i, it in enumerate(data))

    def _expectation(self, data: object, path: KeyPath, config: Config) -> Expectation:
        routes = [route.name for route in config.routes]
        if isinstance(data, str):
            self._check_known(data, routes, path, "a route")
            return Expectation(data)
        item = self._fields.read_mapping(data, path)
        self._fields.check_keys(item, path, _EXPECTATION_KEYS)
        route = self._optional_text(item, "route", path)
        if route is None:
            message = "needs 'route': name the route that sends it"
            self._fields.report_missing(item, (*path, "route"), message)
        else:
            self._check_known(route, routes, (*path, "route"), "a route")
        to = self._destinations(item, path, config)
        match = self._match(item["match"], (*path, "match"), config) if "match" in item else None
        return Expectation(route or "", to, match, self._body(item, path, config, to))

    def _destinations(
        self, item: Mapping[str, object], path: KeyPath, config: Config
    ) -> tuple[str, ...] | None:
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
                self._check_known(text, config.destinations, place, "a destination")
                found.append(text)
        return tuple(found)

    def _match(self, data: object, path: KeyPath, config: Config) -> Match | None:
        try:
            return parse_match(data, engines=[*config.engines, "relay"])
        except InvalidValue as error:
            for issue in error.issues:
                self._fields.report((*path, *issue.path), issue.message + issue.detail, issue.scope)
            return None

    def _body(
        self,
        item: Mapping[str, object],
        path: KeyPath,
        config: Config,
        to: Collection[str] | None,
    ) -> Mapping[str, object] | None:
        if "body" not in item:
            return None
        here = (*path, "body")
        body = self._fields.read_mapping(item["body"], here)
        if not body:
            example = "{ops: a part of its text}"
            self._fields.report(here, f"must be a mapping of destinations, as in {example}")
        for name, part in body.items():
            self._check_known(name, config.destinations, (*here, name), "a destination")
            if to is not None and name in config.destinations and name not in to:
                self._fields.report((*here, name), "is not among 'to'", IssueScope.KEY)
            if not isinstance(part, Mapping | list) and scalar_to_text(part) is None:
                self._fields.report((*here, name), "is empty: write a part of what is sent")
        return body

    def _optional_text(self, data: Mapping[str, object], key: str, path: KeyPath) -> str | None:
        return self._fields.read_text(data, key, path) if key in data else None

    def _choose_key(
        self, data: Mapping[str, object], keys: tuple[str, str], path: KeyPath
    ) -> str | None:
        """Return the one of two keys that is there; None if there is neither, or both."""
        present = [key for key in keys if key in data]
        if len(present) == 1:
            return present[0]
        if present:
            message = f"'{keys[0]}' and '{keys[1]}' exclude each other: keep one"
            self._fields.report((*path, present[1]), message, IssueScope.KEY)
        else:
            self._fields.report_missing(data, path, f"needs '{keys[0]}' or '{keys[1]}'")
        return None

    def _check_known(self, name: str, known: Collection[str], path: KeyPath, noun: str) -> None:
        if name in known:
            return
        message = f"is not {noun} of the configuration{did_you_mean(name, known)}"
        location = self._document.locations.get(path)
        if location is not None and location.text == name:
            self._fields.report(path, message, IssueScope.VALUE)
        else:
            self._fields.report(path, f"{quote(name)} {message}", IssueScope.KEY)

    def _to_problem(self, issue: ConfigIssue) -> Problem:
        path = issue.path
        while path not in self._document.locations:
            path = path[:-1]
        location = self._document.locations[path]
        message = issue.message
        if issue.scope is IssueScope.VALUE and location.text is not None:
            message = f"{quote(location.text)} {message}"
        line, column = location.key if issue.scope is IssueScope.KEY else location.value
        return Problem(self._document.file, line, column, format_path(issue.path), message)
