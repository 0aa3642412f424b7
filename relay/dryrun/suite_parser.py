"""A file of tests, from YAML to a `Suite`, or to every problem in it at once."""

from collections.abc import Collection, Mapping
from pathlib import Path

from relay.config import Config, Match, default, load
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
from relay.dryrun.event_builder import EventBuilder
from relay.dryrun.recording import find_error, read_lines
from relay.dryrun.simulator import InputEvent
from relay.dryrun.suite import Case, Expectation, Suite

_TESTS = DocumentKind("tests", "'tests'")
_SUITE_KEYS = ("config", "environment", "tests")
_CASE_KEYS = ("name", "engine", "podman", "events", "recording", "expect", "expect_some")
_EXPECTATION_KEYS = ("route", "to", "match", "body")


def load_suite(
    file: Path, chosen: Path | None, usual: Path | None, environ: Mapping[str, str]
) -> Suite:
    """The tests in a file, and the configuration that they are for.

    That is the one in ``chosen``, else the one that the file names, else the one in ``usual``, else
    the one that holds without a file. Raises `ConfigError` with all that is wrong with the tests,
    or with the configuration.
    """
    document = read_document(read_text(file), str(file), _TESTS)
    reader = _SuiteParser(document, file.parent)
    named, given = reader.top()
    reader.check()
    path = chosen or (file.parent / named if named else usual)
    config = default() if path is None else load(path, {**environ, **given})
    cases = reader.cases(config)
    reader.check()
    return Suite(file, config, cases)


class _SuiteParser:
    """Reads one document and collects what is wrong with it."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._issues: list[ConfigIssue] = []
        self._mistyped = set[int]()
        """The mappings with keys that nobody knows."""

    def check(self) -> None:
        """Raise `ConfigError` if anything was wrong so far."""
        found = [self._to_problem(mistake) for mistake in self._issues]
        if problems := {*self._document.problems, *found}:
            raise ConfigError(list(problems))

    def top(self) -> tuple[str | None, dict[str, str]]:
        """Which configuration it is, and what its environment has beside the real one."""
        data = self._document.data
        self._check_keys(data, (), _SUITE_KEYS)
        named = self._text(data, "config", ()) if "config" in data else None
        values = self._mapping(data.get("environment"), ("environment",))
        given = {key: self._text(values, key, ("environment",)) or "" for key in values}
        return named, given

    def cases(self, config: Config) -> tuple[Case, ...]:
        """All of them, with names that the configuration knows."""
        example = "[{name: …, events: …, expect: …}]"
        items = self._list(self._document.data.get("tests"), ("tests",), example)
        found = [self._case(item, ("tests", index), config) for index, item in enumerate(items)]
        return tuple(case for case in found if case is not None)

    def _case(self, data: object, trail: KeyPath, config: Config) -> Case | None:
        case = self._mapping(data, trail)
        self._check_keys(case, trail, _CASE_KEYS)
        name = self._text(case, "name", trail) if "name" in case else None
        if not name:
            self._report_missing(case, (*trail, "name"), "needs 'name': what is to hold")
        engine = self._text(case, "engine", trail) if "engine" in case else None
        if engine is not None:
            self._check_known(engine, config.engines, (*trail, "engine"), "an engine")
        podman = case.get("podman", False)
        if not isinstance(podman, bool):
            self._report((*trail, "podman"), "must be true or false")
        key = self._choose_key(case, ("expect", "expect_some"), trail)
        expected = self._expectations(case[key], (*trail, key), config) if key else ()
        return Case(
            name or "",
            self._line_of(trail),
            self._events(case, trail),
            expected,
            key != "expect_some",
            engine,
            podman is True,
        )

    def _events(self, case: Mapping[str, object], trail: KeyPath) -> tuple[InputEvent, ...]:
        key = self._choose_key(case, ("events", "recording"), trail)
        if key is None:
            return ()
        if key == "recording":
            return self._read_recording(case, trail)
        here = (*trail, key)
        speaker = EventBuilder(self._issues.append)
        items = self._list(case[key], here, "[{action: die, name: web, exit_code: 3}]")
        spoken = [speaker.build(item, (*here, index)) for index, item in enumerate(items)]
        return tuple(each for each in spoken if each is not None)

    def _read_recording(self, case: Mapping[str, object], trail: KeyPath) -> tuple[InputEvent, ...]:
        here = (*trail, "recording")
        try:
            with (self._folder / (self._text(case, "recording", trail) or ".")).open("rb") as file:
                lines = [line.strip() for line in read_lines(file)]
        except OSError as error:
            what = f"cannot be read: {error.strerror or describe_os_error(error)}"
            self._report(here, what, IssueScope.VALUE)
            return ()
        for number, line in enumerate(lines, start=1):
            if line and (flaw := find_error(line)):
                self._report(here, f"line {number} is no event ({flaw})", IssueScope.VALUE)
                break
        return tuple(InputEvent(line) for line in lines if line)

    def _expectations(
        self, data: object, trail: KeyPath, config: Config
    ) -> tuple[Expectation, ...]:
        if not isinstance(data, list):
            self._report(trail, "must be a list, as in [{route: crashed, to: ops}], or []")
            return ()
        if not data and trail[-1] == "expect_some":
            self._report(trail, "is empty: write what is to be sent, or 'expect: []' for nothing")
        return tuple(self._expectation(it, (*trail, i), config) for i, it in enumerate(data))

    def _expectation(self, data: object, trail: KeyPath, config: Config) -> Expectation:
        if isinstance(data, str):
            self._route(data, trail, config)
            return Expectation(data)
        item = self._mapping(data, trail)
        self._check_keys(item, trail, _EXPECTATION_KEYS)
        route = self._text(item, "route", trail) if "route" in item else None
        if route is None:
            self._report_missing(item, (*trail, "route"), "needs 'route': the one that sends it")
        else:
            self._route(route, (*trail, "route"), config)
        to = self._destinations(item, trail, config)
        match = self._match(item["match"], (*trail, "match"), config) if "match" in item else None
        return Expectation(route or "", to, match, self._body(item, trail, config, to))

    def _route(self, name: str, trail: KeyPath, config: Config) -> None:
        self._check_known(name, [route.name for route in config.routes], trail, "a route")

    def _destinations(
        self, item: Mapping[str, object], trail: KeyPath, config: Config
    ) -> tuple[str, ...] | None:
        if "to" not in item:
            return None
        value, here = item["to"], (*trail, "to")
        listed = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        found: list[str] = []
        for index, each in listed:
            place = here if index is None else (*here, index)
            text = scalar_to_text(each)
            if text is None:
                self._report(place, "must be a destination, or a list of them")
            else:
                self._check_known(text, config.destinations, place, "a destination")
                found.append(text)
        return tuple(found)

    def _match(self, data: object, trail: KeyPath, config: Config) -> Match | None:
        try:
            return parse_match(data, engines=[*config.engines, "relay"])
        except InvalidValue as error:
            self._issues += (
                ConfigIssue((*trail, *one.path), one.message + one.detail, one.scope)
                for one in error.issues
            )
            return None

    def _body(
        self,
        item: Mapping[str, object],
        trail: KeyPath,
        config: Config,
        to: Collection[str] | None,
    ) -> Mapping[str, object] | None:
        if "body" not in item:
            return None
        here = (*trail, "body")
        body = self._mapping(item["body"], here)
        if not body:
            self._report(here, "must be a mapping of destinations, as in {ops: a part of its text}")
        for name, part in body.items():
            self._check_known(name, config.destinations, (*here, name), "a destination")
            if to is not None and name in config.destinations and name not in to:
                self._report((*here, name), "is not among 'to'", IssueScope.KEY)
            if not isinstance(part, Mapping | list) and scalar_to_text(part) is None:
                self._report((*here, name), "is empty: write a part of what is sent")
        return body

    def _choose_key(
        self, data: Mapping[str, object], keys: tuple[str, str], trail: KeyPath
    ) -> str | None:
        """The one of two keys that is there; None if there is neither, or both."""
        given = [key for key in keys if key in data]
        if len(given) == 1:
            return given[0]
        if given:
            message = f"'{keys[0]}' and '{keys[1]}' exclude each other: keep one"
            self._report((*trail, given[1]), message, IssueScope.KEY)
        else:
            self._report_missing(data, trail, f"needs '{keys[0]}' or '{keys[1]}'")
        return None

    def _check_known(self, name: str, known: Collection[str], trail: KeyPath, what: str) -> None:
        if name not in known:
            place = self._document.locations.get(trail)
            is_value = place is not None and place.text == name
            message = f"is not {what} of the configuration{did_you_mean(name, known)}"
            if is_value:
                self._report(trail, message, IssueScope.VALUE)
            else:
                self._report(trail, f"{quote(name)} {message}", IssueScope.KEY)

    def _check_keys(
        self, data: Mapping[str, object], trail: KeyPath, keys: Collection[str]
    ) -> None:
        for key in data:
            if key not in keys:
                message = f"unknown key {quote(key)}{did_you_mean(key, keys)}"
                self._report((*trail, key), message, IssueScope.KEY)
                self._mistyped.add(id(data))

    def _report_missing(self, data: Mapping[str, object], trail: KeyPath, message: str) -> None:
        """A key that was mistyped is not a key that was forgotten as well."""
        if id(data) not in self._mistyped:
            self._report(trail, message)

    def _mapping(self, data: object, trail: KeyPath) -> Mapping[str, object]:
        if data is None or isinstance(data, Mapping):
            return data or {}
        self._report(trail, "must be a mapping, with 'key: value' lines")
        return {}

    def _list(self, data: object, trail: KeyPath, example: str) -> list[object]:
        if isinstance(data, list) and data:
            return data
        self._report(trail, f"must be a list with at least one item, as in {example}")
        return []

    def _text(self, data: Mapping[str, object], key: str, trail: KeyPath) -> str | None:
        text = scalar_to_text(data[key])
        if text is None:
            self._report((*trail, key), "must be a text")
        return text

    def _line_of(self, trail: KeyPath) -> int:
        return self._document.locations[trail].value[0]

    def _report(
        self, trail: KeyPath, message: str, about: IssueScope = IssueScope.STANDALONE
    ) -> None:
        self._issues.append(ConfigIssue(trail, message, about))

    def _to_problem(self, mistake: ConfigIssue) -> Problem:
        trail = mistake.path
        while trail not in self._document.locations:
            trail = trail[:-1]
        place = self._document.locations[trail]
        message = mistake.message
        if mistake.scope is IssueScope.VALUE and place.text is not None:
            message = f"{quote(place.text)} {message}"
        line, column = place.key if mistake.scope is IssueScope.KEY else place.value
        return Problem(self._document.file, line, column, format_path(mistake.path), message)
