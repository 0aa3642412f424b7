"""Reads a configuration: from the text of a file to a `Config`, or to every problem in it.

The steps: parse the YAML (`yaml_reader`), resolve ``${NAME}`` and ``…_file`` (`secrets`), validate
the model (`model`), describe what pydantic found (`messages`), and add file, line and column.
`read_outline` reads only the names in a file, for commands whose user need not have its secrets.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from pydantic import ValidationError

from relay.config.destination_types import DestinationTypes
from relay.config.errors import (
    ConfigIssue,
    InvalidValue,
    IssueScope,
    KeyPath,
    find_closest,
    format_path,
    quote,
)
from relay.config.match_parser import scalar_to_text
from relay.config.messages import to_issues
from relay.config.model import Config, KnownNames
from relay.config.secrets import FILE_SUFFIX, ExternalValues, expand, read_files, substitute
from relay.config.yaml_reader import Document, SourceLocation, read_document
from relay.core.errors import ConfigError, Problem
from relay.core.event import DEFAULT_ENGINE, RELAY_ENGINE

_MAX_BYTES = 2**20
_DEFAULT = """
destinations:
  terminal: {type: console}
routes:
  - name: died
    match:
      type: container
      any: [{action: die, cause: [crashed, oom]}, {action: oom}]
      interactive: false
    to: terminal
  - {name: not-started, match: {action: start_failed}, to: terminal}
  - {name: unhealthy, match: {type: container, health: unhealthy}, to: terminal}
"""


def load(path: Path, environ: Mapping[str, str], types: DestinationTypes) -> Config:
    """Read the configuration in a file. Raises `ConfigError` with every problem in it.

    ``types`` are the types of destinations that it may use.
    """
    text = read_text(path)
    return parse(text, file=str(path), environ=environ, folder=path.parent, types=types)


def parse(
    text: str,
    *,
    file: str,
    environ: Mapping[str, str],
    folder: Path,
    types: DestinationTypes,
) -> Config:
    """Read the configuration in a text.

    ``file`` is its name in error messages. Relative ``…_file`` paths start at ``folder``.
    ``types`` are the types of destinations that it may use.
    Raises `ConfigError` with every problem. No message contains a value of ``environ``, a secret,
    or the content of a secret's file.
    """
    return _parse(text, file, environ, folder, types).config


class LocatedConfig(msgspec.Struct, frozen=True):
    """A configuration, and where in its file each value is."""

    config: Config
    locate: Callable[[Iterable[ConfigIssue]], list[Problem]]
    """Turns issues, whose paths begin at the top of the file, into problems from top to bottom."""


def load_located(
    path: Path | None, environ: Mapping[str, str], types: DestinationTypes
) -> LocatedConfig:
    """Do what `load` does, or `default` if ``path`` is None, and keep the lines of the file."""
    if path is None:
        found = _parse(_DEFAULT, "(built in)", {}, Path(), types)
        # nobody can look up a line of it
        return LocatedConfig(
            found.config, lambda issues: [replace(it, line=0) for it in found.locate(issues)]
        )
    return _parse(read_text(path), str(path), environ, path.parent, types)


def _parse(
    text: str, file: str, environ: Mapping[str, str], folder: Path, types: DestinationTypes
) -> LocatedConfig:
    document, external = read_document(text, file), ExternalValues()
    data = read_files(substitute(document.data, environ, external), folder, external, types)
    config, issues = None, _find_repeated_route_names(data)
    try:
        model = types.config_model_for(data)
        config = model.model_validate(data, context=_collect_names(data))
    except ValidationError as error:
        issues += to_issues(error, data, types)
    reporter = _ProblemReporter(document, data, external, types)
    problems = reporter.to_problems(issues)
    if problems or config is None:
        raise ConfigError(problems)
    return LocatedConfig(config, reporter.to_problems)


def default(types: DestinationTypes) -> Config:
    """Return the configuration for when there is no file.

    It prints when a container of the local engine fails: it runs out of memory, crashes,
    cannot be started or becomes unhealthy.
    """
    return parse(_DEFAULT, file="default", environ={}, folder=Path(), types=types)


def read_text(path: Path) -> str:
    """Return the text of a file of at most 1 MiB. Raises `ConfigError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            message = f"is larger than {_MAX_BYTES // 2**20} MiB"
        else:
            return content.decode()
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"is not UTF-8 text, on line {line}"
    except ValueError:
        message = "cannot be read: its name holds a NUL"
    raise ConfigError([Problem(str(path), 0, 0, "", message)])


def _collect_names(data: Mapping[str, object]) -> KnownNames:
    """Return the names in a configuration, which may have any errors."""
    engines = _section_names(data, "engines")
    if "engines" not in data:
        keys = Config.model_fields
        if not any(find_closest(key, keys) == "engines" for key in data if key not in keys):
            engines = frozenset({DEFAULT_ENGINE})
    if engines is not None:
        engines |= {RELAY_ENGINE}
    return KnownNames(engines=engines, destinations=_section_names(data, "destinations"))


def _find_repeated_route_names(data: Mapping[str, object]) -> list[ConfigIssue]:
    """Return an issue for every route that has the name of an earlier route."""
    routes = data.get("routes")
    first: dict[str, int] = {}
    found = []
    for index, route in enumerate(routes if isinstance(routes, list) else []):
        name = scalar_to_text(route.get("name")) if isinstance(route, Mapping) else None
        if name is None:
            continue
        earlier = first.setdefault(name, index)
        if earlier != index:
            message = f"is already the name of routes[{earlier}]: each route needs its own"
            found.append(ConfigIssue(("routes", index, "name"), message, IssueScope.VALUE))
    return found


def _section_names(data: Mapping[str, object], section: str) -> frozenset[str] | None:
    """Return the names in a section; None if it has none or is not a mapping."""
    return frozenset(_as_mapping(data.get(section))) or None


class _ProblemReporter:
    """Turns issues into problems: adds line and column, and the value unless it may be secret."""

    def __init__(
        self,
        document: Document,
        data: Mapping[str, object],
        external: ExternalValues,
        types: DestinationTypes,
    ) -> None:
        self._document = document
        self._data = data
        self._external = external
        self._types = types

    def to_problems(self, issues: Iterable[ConfigIssue]) -> list[Problem]:
        """Return each problem once.

        A value that could not be resolved has that one problem; other issues about it are left out.
        """
        missing = {issue.path for issue in self._external.issues}
        found = [self._to_problem(issue) for issue in self._external.issues]
        for issue in issues:
            path = self._path_in_file(issue.path)
            is_missing = any(path[:steps] in missing for steps in range(len(path) + 1))
            if issue.scope is IssueScope.KEY or not is_missing:
                found.append(self._to_problem(issue))
        # An alias repeats a problem at the same line and column.
        once = {
            (problem.line, problem.column, problem.message): problem
            for problem in sorted([*self._document.problems, *found], reverse=True)
        }
        return sorted(once.values())

    def _path_in_file(self, path: KeyPath) -> KeyPath:
        """Return the path as written: for a value read from a file, that of its ``…_file`` key."""
        return self._external.files.get(path, path)

    def _to_problem(self, issue: ConfigIssue) -> Problem:
        path = self._path_in_file(issue.path)
        while path not in self._document.locations:
            path = path[:-1]
        location = self._document.locations[path]
        at_key = issue.scope is IssueScope.KEY or location.text is None
        line, column = location.key if at_key else location.value
        return Problem(
            self._document.file,
            line,
            column,
            format_path(path),
            self._format_message(issue, location, path),
        )

    def _format_message(self, issue: ConfigIssue, location: SourceLocation, path: KeyPath) -> str:
        if variable := self._external.empty.get(path):
            return f"the variable {variable} is empty: set it, or write ${{{variable}:-default}}"
        secret = self._is_secret(issue.path)
        message = issue.message
        if issue.detail and not secret and issue.path not in self._external.substituted:
            message += issue.detail
        if issue.scope is not IssueScope.VALUE:
            return message
        if secret or not location.text:
            return f"the value {message}"
        return f"{quote(location.text)} {message}"

    def _is_secret(self, path: KeyPath) -> bool:
        """Whether the value at this path may be a secret, so that it is not shown."""
        match path:
            case ("engines", _, "url") | ("admin", "token"):
                return True
            case ("engines", _, "headers", str(name)):
                return not name.endswith(FILE_SUFFIX)
            case ("destinations", name, str(key), *_):
                if str(path[-1]).endswith(FILE_SUFFIX):
                    return False
                destinations: Any = self._data["destinations"]
                type_name = destinations[name].get("type")  # which may be missing or invalid
                return not self._types.is_public(type_name, key)
            case _:
                return path[:1] == ("destinations",)


class ConfigOutline(msgspec.Struct, frozen=True):
    """What could be read. Problems in the rest of the configuration are not reported."""

    store: Path | None
    """``store.path``; None if it is not set."""
    destinations: tuple[str, ...]
    unordered: tuple[str, ...]
    """The destinations with ``ordering: none``."""
    engines: tuple[str, ...]
    routes: tuple[str, ...]


def read_outline(path: Path, environ: Mapping[str, str]) -> ConfigOutline:
    """Read the outline of a file.

    For commands that ask a running relay or its store: their user need not have its secrets.
    Raises `ConfigError` if the file is not YAML, or if ``store.path`` cannot be resolved.
    """
    data = read_document(read_text(path), str(path)).data
    destinations = _as_mapping(data.get("destinations"))
    unordered = [
        name for name, to in destinations.items() if _as_mapping(to).get("ordering") == "none"
    ]
    store = _as_mapping(data.get("store")).get("path")
    try:
        store_path = Path(expand(store, environ)) if isinstance(store, str) and store else None
    except InvalidValue as error:
        raise ConfigError([Problem(str(path), 0, 0, "store.path", str(error))]) from None
    engines = tuple(_as_mapping(data.get("engines"))) or (DEFAULT_ENGINE,)
    routes = data.get("routes")
    names = [_as_mapping(it).get("name") for it in routes] if isinstance(routes, list) else []
    return ConfigOutline(
        store_path,
        tuple(destinations),
        tuple(unordered),
        engines,
        tuple(name for name in names if isinstance(name, str)),
    )


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
