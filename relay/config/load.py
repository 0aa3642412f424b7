"""Reads a configuration: from its text to a `Config`, or to every problem in it.

The steps: parse the YAML (`yaml_reader`), resolve ``${NAME}`` and ``…_file`` (`secrets`), validate
the model (`model`), describe what pydantic found (`messages`), and add file, line and column.
`read_outline` reads only the names in a file, for commands whose user need not have its secrets.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace
from pydantic import ValidationError

from relay.config.destination_types import DestinationTypes
from relay.config.engine import has_nats_engine
from relay.config.errors import (
    ConfigIssue,
    InvalidValue,
    IssueScope,
    KeyPath,
    find_closest,
    format_path,
    quote,
)
from relay.config.incident_checks import find_short_for
from relay.config.known_names import KnownNames, find_section_names
from relay.config.match_parser import scalar_to_text
from relay.config.messages import to_issues
from relay.config.model import Config
from relay.config.origin import ConfigOrigin, OriginKind, built_in, of_file
from relay.config.secrets import (
    ExternalValues,
    expand,
    is_secret_path,
    read_files,
    substitute,
)
from relay.config.services import FILE_SUFFIX as FILE_VARIABLE_SUFFIX
from relay.config.variables import PLACE, find_source
from relay.config.yaml_reader import Document, SourceLocation, read_document
from relay.core.errors import ConfigError, Problem
from relay.core.event import DEFAULT_ENGINE, RELAY_ENGINE
from relay.core.zone import UTC_NAME


def load(path: Path, environ: Mapping[str, str], types: DestinationTypes) -> Config:
    """Read the configuration in a file. Raises `ConfigError` with every problem in it.

    ``types`` are the types of destinations that it may use.
    """
    return load_located(of_file(path), environ, types).config


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
    return _parse(text, file, environ, folder, types)[0].config


class LocatedConfig(msgspec.Struct, frozen=True):
    """A configuration, and where in its file each value is."""

    config: Config
    locate: Callable[[Iterable[ConfigIssue]], list[Problem]]
    """Turns issues, whose paths begin at the top of the file, into problems from top to bottom."""
    unused_variables: tuple[str, ...] = ()
    """The variables of destinations that are set, and that it does not refer to."""


def load_located(
    origin: ConfigOrigin, environ: Mapping[str, str], types: DestinationTypes
) -> LocatedConfig:
    """Read a configuration, and keep the lines of its file.

    Raises `ConfigError` with every problem; one is a variable of a destination that the
    configuration does not refer to, unless the command line has named the file.
    """
    try:
        found, used = _parse(origin.read(), origin.name, environ, origin.folder, types)
    except ConfigError as error:
        raise ConfigError(_name_sources(error.problems, origin, environ)) from None
    if origin.kind in (OriginKind.VARIABLES, OriginKind.BUILT_IN):
        return replace(
            found, locate=lambda issues: _name_sources(found.locate(issues), origin, environ)
        )
    unused = tuple(name for name in origin.variables if name not in used)
    if unused and not origin.may_ignore_variables:
        raise ConfigError([unused_variable(origin, name) for name in unused])
    return replace(found, unused_variables=unused)


def _parse(
    text: str, file: str, environ: Mapping[str, str], folder: Path, types: DestinationTypes
) -> tuple[LocatedConfig, set[str]]:
    """Return the configuration in a text, and the variables that it refers to."""
    document, external = read_document(text, file), ExternalValues()
    data = read_files(substitute(document.data, environ, external), folder, external, types)
    config, issues = None, _find_repeated_route_names(data)
    try:
        model = types.config_model_for(data)
        config = model.model_validate(data, context=_collect_names(data))
        issues += find_short_for(config)
    except ValidationError as error:
        issues += to_issues(error, data, types)
    reporter = _ProblemReporter(document, data, external, types)
    problems = reporter.to_problems(issues)
    if problems or config is None:
        raise ConfigError(problems)
    return LocatedConfig(config, reporter.to_problems), external.variables


def unused_variable(origin: ConfigOrigin, variable: str) -> Problem:
    """Return the problem that a variable of a destination is set, and not referred to."""
    message = (
        f"is set, but {origin.name} is the configuration and does not refer to it: remove the "
        f"variable, or write ${{{variable}}} where its value belongs"
    )
    return Problem(PLACE, 0, 0, variable, message)


def _name_sources(
    problems: Iterable[Problem], origin: ConfigOrigin, environ: Mapping[str, str]
) -> list[Problem]:
    """Return the problems with variables in place of lines, if there is no file to look into."""
    if origin.kind in (OriginKind.FILE, OriginKind.TEXT):
        return list(problems)
    return [name_source(problem, environ) for problem in problems]


def name_source(problem: Problem, environ: Mapping[str, str]) -> Problem:
    """Return the problem as one of the variable that the value comes from, if there is one."""
    variable = find_source(problem.path)
    if variable is None:
        return replace(problem, line=0, column=0)
    # the text has a reference: people know the path of a file, and must not see any other value
    is_path = variable.endswith(FILE_VARIABLE_SUFFIX)
    shown = quote(environ[variable]) if is_path else "the value"
    message = problem.message.replace(f"'${{{variable}}}'", shown)
    return Problem(PLACE, 0, 0, variable, message)


def default(types: DestinationTypes) -> Config:
    """Return the configuration for when there is neither a file nor a variable.

    It prints when a container of the local engine fails: it runs out of memory, crashes,
    cannot be started or becomes unhealthy; and when the engine is lost.
    """
    return load_located(built_in(), {}, types).config


def _collect_names(data: Mapping[str, object]) -> KnownNames:
    """Return the names in a configuration, which may have any errors."""
    engines = find_section_names(data, "engines")
    if not _may_hold(data, "engines"):
        engines = frozenset({DEFAULT_ENGINE})
    if engines is not None:
        engines |= {RELAY_ENGINE}
    if has_nats_engine(data):
        engines = None  # the relays of other hosts name their engines as they like
    intervals = find_section_names(data, "mute_time_intervals")
    if data.get("mute_time_intervals") == {} or not _may_hold(data, "mute_time_intervals"):
        intervals = frozenset()
    return KnownNames(engines, find_section_names(data, "destinations"), intervals)


def _may_hold(data: Mapping[str, object], section: str) -> bool:
    """Whether there is a section, or a key that is probably meant as its name."""
    keys = Config.model_fields
    return section in data or any(
        find_closest(key, keys) == section for key in data if key not in keys
    )


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
        secret = is_secret_path(issue.path, self._data, self._types)
        message = issue.message
        if issue.detail and not secret and issue.path not in self._external.substituted:
            message += issue.detail
        if issue.scope is not IssueScope.VALUE:
            return message
        if secret or not location.text or issue.path in self._external.files:
            return f"the value {message}"
        return f"{quote(location.text)} {message}"


class ConfigOutline(msgspec.Struct, frozen=True):
    """What could be read. Problems in the rest of the configuration are not reported."""

    store: Path | None
    """``store.path``; None if it is not set."""
    destinations: tuple[str, ...]
    unordered: tuple[str, ...]
    """The destinations with ``ordering: none``."""
    engines: tuple[str, ...]
    routes: tuple[str, ...]
    is_hub: bool = False
    """See `Config.is_hub`."""
    time_zone: str = UTC_NAME
    """As it is written if it cannot be resolved; it may be no time zone."""


def read_outline(origin: ConfigOrigin, environ: Mapping[str, str]) -> ConfigOutline:
    """Read the outline of a configuration.

    For commands that ask a running relay or its store: their user need not have its secrets.
    Raises `ConfigError` if it is not YAML, or if ``store.path`` cannot be resolved.
    """
    data = read_document(origin.read(), origin.name).data
    destinations = _as_mapping(data.get("destinations"))
    unordered = [
        name for name, to in destinations.items() if _as_mapping(to).get("ordering") == "none"
    ]
    store = _as_mapping(data.get("store")).get("path")
    try:
        store_path = Path(expand(store, environ)) if isinstance(store, str) and store else None
    except InvalidValue as error:
        raise ConfigError([Problem(origin.name, 0, 0, "store.path", str(error))]) from None
    engines = tuple(_as_mapping(data.get("engines"))) or (DEFAULT_ENGINE,)
    routes = data.get("routes")
    names = [_as_mapping(it).get("name") for it in routes] if isinstance(routes, list) else []
    return ConfigOutline(
        store_path,
        tuple(destinations),
        tuple(unordered),
        engines,
        tuple(name for name in names if isinstance(name, str)),
        has_nats_engine(data),
        _resolve_zone(data, environ),
    )


def _resolve_zone(data: Mapping[str, object], environ: Mapping[str, str]) -> str:
    written = data.get("time_zone")
    if not isinstance(written, str):
        return UTC_NAME
    try:
        return expand(written, environ)
    except InvalidValue:
        return written


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
