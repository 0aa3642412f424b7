"""A file of tests, from YAML to a `Suite`, or to every problem in it at once."""

from collections.abc import Collection, Mapping
from pathlib import Path

from relay.config import Config, Match, default, load
from relay.config.errors import About, Mistake, Mistakes, Trail, did_you_mean, quoted, spelled
from relay.config.load import text_of
from relay.config.match_parser import parse_match, scalar_text
from relay.config.yaml_reader import Document, Kind, read
from relay.core.errors import ConfigError, Problem, system_words
from relay.dryrun.event_builder import Speaker
from relay.dryrun.recording import flaw_of, lines_of
from relay.dryrun.simulator import Spoken
from relay.dryrun.suite import Case, Expectation, Suite

_TESTS = Kind("tests", "'tests'")
_TOP = ("config", "environment", "tests")
_CASE = ("name", "engine", "podman", "events", "recording", "expect", "expect_some")
_EXPECTATION = ("route", "to", "match", "body")


def load_suite(
    file: Path, chosen: Path | None, usual: Path | None, environ: Mapping[str, str]
) -> Suite:
    """The tests in a file, and the configuration that they are for.

    That is the one in ``chosen``, else the one that the file names, else the one in ``usual``, else
    the one that holds without a file. Raises `ConfigError` with all that is wrong with the tests,
    or with the configuration.
    """
    document = read(text_of(file), str(file), _TESTS)
    reader = _Reader(document, file.parent)
    named, given = reader.top()
    reader.check()
    path = chosen or (file.parent / named if named else usual)
    config = default() if path is None else load(path, {**environ, **given})
    cases = reader.cases(config)
    reader.check()
    return Suite(file, config, cases)


class _Reader:
    """Reads one document and collects what is wrong with it."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._mistakes: list[Mistake] = []
        self._mistyped = set[int]()
        """The mappings with keys that nobody knows."""

    def check(self) -> None:
        """Raise `ConfigError` if anything was wrong so far."""
        found = [self._problem(mistake) for mistake in self._mistakes]
        if problems := {*self._document.problems, *found}:
            raise ConfigError(list(problems))

    def top(self) -> tuple[str | None, dict[str, str]]:
        """Which configuration it is, and what its environment has beside the real one."""
        data = self._document.data
        self._check_keys(data, (), _TOP)
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

    def _case(self, data: object, trail: Trail, config: Config) -> Case | None:
        case = self._mapping(data, trail)
        self._check_keys(case, trail, _CASE)
        name = self._text(case, "name", trail) if "name" in case else None
        if not name:
            self._lacks(case, (*trail, "name"), "needs 'name': what is to hold")
        engine = self._text(case, "engine", trail) if "engine" in case else None
        if engine is not None:
            self._one_of(engine, config.engines, (*trail, "engine"), "an engine")
        podman = case.get("podman", False)
        if not isinstance(podman, bool):
            self._wrong((*trail, "podman"), "must be true or false")
        key = self._either(case, ("expect", "expect_some"), trail)
        expected = self._expectations(case[key], (*trail, key), config) if key else ()
        return Case(
            name or "",
            self._line(trail),
            self._events(case, trail),
            expected,
            key != "expect_some",
            engine,
            podman is True,
        )

    def _events(self, case: Mapping[str, object], trail: Trail) -> tuple[Spoken, ...]:
        key = self._either(case, ("events", "recording"), trail)
        if key is None:
            return ()
        if key == "recording":
            return self._recorded(case, trail)
        here = (*trail, key)
        speaker = Speaker(self._mistakes.append)
        items = self._list(case[key], here, "[{action: die, name: web, exit_code: 3}]")
        spoken = [speaker.spoken(item, (*here, index)) for index, item in enumerate(items)]
        return tuple(each for each in spoken if each is not None)

    def _recorded(self, case: Mapping[str, object], trail: Trail) -> tuple[Spoken, ...]:
        here = (*trail, "recording")
        try:
            with (self._folder / (self._text(case, "recording", trail) or ".")).open("rb") as file:
                lines = [line.strip() for line in lines_of(file)]
        except OSError as error:
            what = f"cannot be read: {error.strerror or system_words(error)}"
            self._wrong(here, what, About.VALUE)
            return ()
        for number, line in enumerate(lines, start=1):
            if line and (flaw := flaw_of(line)):
                self._wrong(here, f"line {number} is no event ({flaw})", About.VALUE)
                break
        return tuple(Spoken(line) for line in lines if line)

    def _expectations(self, data: object, trail: Trail, config: Config) -> tuple[Expectation, ...]:
        if not isinstance(data, list):
            self._wrong(trail, "must be a list, as in [{route: crashed, to: ops}], or []")
            return ()
        if not data and trail[-1] == "expect_some":
            self._wrong(trail, "is empty: write what is to be sent, or 'expect: []' for nothing")
        return tuple(self._expectation(it, (*trail, i), config) for i, it in enumerate(data))

    def _expectation(self, data: object, trail: Trail, config: Config) -> Expectation:
        if isinstance(data, str):
            self._route(data, trail, config)
            return Expectation(data)
        item = self._mapping(data, trail)
        self._check_keys(item, trail, _EXPECTATION)
        route = self._text(item, "route", trail) if "route" in item else None
        if route is None:
            self._lacks(item, (*trail, "route"), "needs 'route': the one that sends it")
        else:
            self._route(route, (*trail, "route"), config)
        to = self._destinations(item, trail, config)
        match = self._match(item["match"], (*trail, "match"), config) if "match" in item else None
        return Expectation(route or "", to, match, self._body(item, trail, config, to))

    def _route(self, name: str, trail: Trail, config: Config) -> None:
        self._one_of(name, [route.name for route in config.routes], trail, "a route")

    def _destinations(
        self, item: Mapping[str, object], trail: Trail, config: Config
    ) -> tuple[str, ...] | None:
        if "to" not in item:
            return None
        value, here = item["to"], (*trail, "to")
        listed = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        found: list[str] = []
        for index, each in listed:
            place = here if index is None else (*here, index)
            text = scalar_text(each)
            if text is None:
                self._wrong(place, "must be a destination, or a list of them")
            else:
                self._one_of(text, config.destinations, place, "a destination")
                found.append(text)
        return tuple(found)

    def _match(self, data: object, trail: Trail, config: Config) -> Match | None:
        try:
            return parse_match(data, engines=[*config.engines, "relay"])
        except Mistakes as error:
            self._mistakes += (
                Mistake((*trail, *one.trail), one.message + one.quote, one.about)
                for one in error.mistakes
            )
            return None

    def _body(
        self,
        item: Mapping[str, object],
        trail: Trail,
        config: Config,
        to: Collection[str] | None,
    ) -> Mapping[str, object] | None:
        if "body" not in item:
            return None
        here = (*trail, "body")
        body = self._mapping(item["body"], here)
        if not body:
            self._wrong(here, "must be a mapping of destinations, as in {ops: a part of its text}")
        for name, part in body.items():
            self._one_of(name, config.destinations, (*here, name), "a destination")
            if to is not None and name in config.destinations and name not in to:
                self._wrong((*here, name), "is not among 'to'", About.KEY)
            if not isinstance(part, Mapping | list) and scalar_text(part) is None:
                self._wrong((*here, name), "is empty: write a part of what is sent")
        return body

    def _either(
        self, data: Mapping[str, object], keys: tuple[str, str], trail: Trail
    ) -> str | None:
        """The one of two keys that is there; None if there is neither, or both."""
        given = [key for key in keys if key in data]
        if len(given) == 1:
            return given[0]
        if given:
            message = f"'{keys[0]}' and '{keys[1]}' exclude each other: keep one"
            self._wrong((*trail, given[1]), message, About.KEY)
        else:
            self._lacks(data, trail, f"needs '{keys[0]}' or '{keys[1]}'")
        return None

    def _one_of(self, name: str, known: Collection[str], trail: Trail, what: str) -> None:
        if name not in known:
            place = self._document.places.get(trail)
            is_value = place is not None and place.text == name
            message = f"is not {what} of the configuration{did_you_mean(name, known)}"
            if is_value:
                self._wrong(trail, message, About.VALUE)
            else:
                self._wrong(trail, f"{quoted(name)} {message}", About.KEY)

    def _check_keys(self, data: Mapping[str, object], trail: Trail, keys: Collection[str]) -> None:
        for key in data:
            if key not in keys:
                message = f"unknown key {quoted(key)}{did_you_mean(key, keys)}"
                self._wrong((*trail, key), message, About.KEY)
                self._mistyped.add(id(data))

    def _lacks(self, data: Mapping[str, object], trail: Trail, message: str) -> None:
        """A key that was mistyped is not a key that was forgotten as well."""
        if id(data) not in self._mistyped:
            self._wrong(trail, message)

    def _mapping(self, data: object, trail: Trail) -> Mapping[str, object]:
        if data is None or isinstance(data, Mapping):
            return data or {}
        self._wrong(trail, "must be a mapping, with 'key: value' lines")
        return {}

    def _list(self, data: object, trail: Trail, example: str) -> list[object]:
        if isinstance(data, list) and data:
            return data
        self._wrong(trail, f"must be a list with at least one item, as in {example}")
        return []

    def _text(self, data: Mapping[str, object], key: str, trail: Trail) -> str | None:
        text = scalar_text(data[key])
        if text is None:
            self._wrong((*trail, key), "must be a text")
        return text

    def _line(self, trail: Trail) -> int:
        return self._document.places[trail].value[0]

    def _wrong(self, trail: Trail, message: str, about: About = About.WHOLE) -> None:
        self._mistakes.append(Mistake(trail, message, about))

    def _problem(self, mistake: Mistake) -> Problem:
        trail = mistake.trail
        while trail not in self._document.places:
            trail = trail[:-1]
        place = self._document.places[trail]
        message = mistake.message
        if mistake.about is About.VALUE and place.text is not None:
            message = f"{quoted(place.text)} {message}"
        line, column = place.key if mistake.about is About.KEY else place.value
        return Problem(self._document.file, line, column, spelled(mistake.trail), message)
