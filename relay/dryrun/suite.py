"""A file of tests for a configuration: input events, and the notifications expected.

It is parsed from YAML to a `Suite`, and every problem in it is reported at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relay.config import Config, ConfigOrigin
from relay.config.errors import (
    ConfigIssue,
    IssueScope,
    KeyPath,
    format_path,
    quote,
)
from relay.config.origin import of_file, read_text
from relay.config.yaml_reader import Document, DocumentKind, read_document
from relay.core.errors import ConfigError, Problem, describe_os_error
from relay.destinations import catalog
from relay.dryrun.event_builder import START_NS, EventBuilder
from relay.dryrun.expectation import Expectation, ExpectationParser
from relay.dryrun.field_reader import FieldReader
from relay.dryrun.history import InvalidLine, find_error, find_time, number_records, read_lines
from relay.dryrun.simulator import InputEvent
from relay.dryrun.stage import STAGE_KEYS, Stage, StageParser


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
    host: str | None = None
    """The host of the events; None for one that is called like the engine."""
    podman: bool = False
    """Whether that engine is Podman."""
    begin_ns: int = START_NS
    """When it begins, by the engine's clock."""
    until_ns: int | None = None
    """It does not end before this time, by the same clock; None if it has no ``wait``."""
    stage: Stage = field(default_factory=Stage)

    @property
    def is_timed(self) -> bool:
        """Whether it says anything about time or incidents."""
        if self.until_ns is not None or self.stage.is_set:
            return True
        return any(each.is_timed for each in self.expected)


@dataclass(frozen=True, slots=True)
class Suite:
    """One file of tests, and the configuration that they test."""

    file: Path
    config: Config
    cases: tuple[Case, ...]


_TESTS = DocumentKind("tests", "'tests'")
_SUITE_KEYS = ("config", "environment", "tests")
_CASE_KEYS = (
    *("name", "engine", "host", "podman", "events", "recording", "expect", "expect_some"),
    *STAGE_KEYS,
)


def load_suite(
    file: Path,
    config_file: Path | None,
    find_default: Callable[[], ConfigOrigin],
    environ: Mapping[str, str],
) -> Suite:
    """Load the tests in a file, and the configuration that they test.

    The configuration is ``config_file`` if given, else the one that the file names, else what
    ``find_default`` finds. ``environ`` is its environment; the file's own ``environment`` takes
    precedence. Raises `ConfigError` with everything that is wrong with the tests, or with the
    configuration.
    """
    document = read_document(read_text(file), str(file), _TESTS)
    parser = _SuiteParser(document, file.parent)
    named, environment = parser.parse_header()
    parser.raise_problems()
    path = config_file or (file.parent / named if named else None)
    origin = find_default() if path is None else of_file(path)
    config = catalog.load_located_config(origin, {**environ, **environment}).config
    cases = parser.parse_cases(config)
    parser.raise_problems()
    return Suite(file, config, cases)


@dataclass(frozen=True, slots=True)
class _Events:
    """The events of a case, and its times."""

    records: tuple[InputEvent, ...] = ()
    begin_ns: int = START_NS
    until_ns: int | None = None


class _SuiteParser:
    """Parses one document, and collects what is wrong with it."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._fields = FieldReader(document)

    def raise_problems(self) -> None:
        """Raise `ConfigError` if anything was wrong so far."""
        found = [self._to_problem(issue) for issue in self._fields.issues]
        if problems := {*self._document.problems, *found}:
            raise ConfigError(list(problems))

    def parse_header(self) -> tuple[str | None, dict[str, str]]:
        """Return the configuration that is named, and the variables for its environment."""
        data = self._document.data
        self._fields.check_keys(data, (), _SUITE_KEYS)
        named = self._fields.read_optional_text(data, "config", ())
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
        name = self._fields.read_optional_text(case, "name", path)
        if not name:
            message = "needs 'name': say what must hold"
            self._fields.report_missing(case, (*path, "name"), message)
        engine = self._fields.read_optional_text(case, "engine", path)
        if engine is not None and config.known_engines is not None:
            self._fields.check_known(engine, config.engines, (*path, "engine"), "an engine")
        podman = case.get("podman", False)
        if not isinstance(podman, bool):
            self._fields.report((*path, "podman"), "must be true or false")
        key = self._choose_key(case, ("expect", "expect_some"), path)
        parser = ExpectationParser(self._fields, config)
        expected = parser.parse_list(case[key], (*path, key)) if key else ()
        stage = StageParser(self._fields, config).parse(case, path)
        events = self._events(case, path, stage.start_ns)
        return Case(
            name=name or "",
            line=self._document.locations[path].value[0],
            events=events.records,
            expected=expected,
            exact=key != "expect_some",
            engine=engine,
            host=self._fields.read_optional_text(case, "host", path),
            podman=podman is True,
            begin_ns=events.begin_ns,
            until_ns=events.until_ns,
            stage=stage,
        )

    def _events(self, case: Mapping[str, object], path: KeyPath, start_ns: int) -> _Events:
        key = self._choose_key(case, ("events", "recording"), path)
        if key is None:
            return _Events()
        if key == "recording":
            return self._read_recording(case, path)
        here = (*path, key)
        builder = EventBuilder(self._fields, start_ns)
        items = self._fields.read_list(case[key], here, "[{action: die, name: web, exit_code: 3}]")
        events = [builder.build(item, (*here, index)) for index, item in enumerate(items)]
        found = tuple(event for event in events if event is not None)
        return _Events(found, builder.begin_ns or start_ns, builder.until_ns)

    def _read_recording(self, case: Mapping[str, object], path: KeyPath) -> _Events:
        here = (*path, "recording")
        name = self._fields.read_text(case, "recording", path) or "."
        try:
            with (self._folder / name).open("rb") as file:
                records = list(number_records(read_lines(file)))
        except OSError as error:
            message = f"cannot be read: {error.strerror or describe_os_error(error)}"
            self._fields.report(here, message, IssueScope.VALUE)
            return _Events()
        for number, record in records:
            if kind := find_error(record):
                self._fields.report(here, str(InvalidLine(number, kind)), IssueScope.VALUE)
                break
        begin_ns = find_time(records[0][1]) if records else START_NS
        return _Events(tuple(InputEvent(record) for _, record in records), begin_ns)

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
