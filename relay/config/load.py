"""From a file's text to a `Config`, or to every problem in it."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from relay.config.errors import ConfigIssue, IssueScope, KeyPath, format_path, quote
from relay.config.messages import to_issues
from relay.config.model import Config
from relay.config.references import collect_names, find_repeated_route_names
from relay.config.secrets import ExternalValues, read_files, substitute
from relay.config.yaml_reader import Document, SourceLocation, read_document
from relay.core.errors import ConfigError, Problem

_MAX_BYTES = 2**20
_PUBLIC_KEYS = (
    *("type", "concurrency", "retry", "rate_limit", "ordering", "timeout", "batch", "tls"),
    *("format", "method", "sign", "chat_id", "thread_id", "title", "text"),
)
"""Of a destination's keys those whose values an error may show."""
_DEFAULT = """
destinations:
  terminal: {type: console}
routes:
  - {name: out-of-memory, match: {type: container, action: oom}, to: terminal}
  - {name: crashed, match: {type: container, action: die, cause: crashed}, to: terminal}
  - {name: unhealthy, match: {type: container, health: unhealthy}, to: terminal}
"""


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """The configuration in a file. Raises `ConfigError` with all that is wrong with it."""
    return parse(read_text(path), file=str(path), environ=environ, folder=path.parent)


def parse(text: str, *, file: str, environ: Mapping[str, str], folder: Path) -> Config:
    """The configuration in a text.

    ``file`` is what problems call it, ``folder`` where its relative ``…_file`` paths start.
    Raises `ConfigError` with every problem, none of which holds a value of ``environ``, a
    secret or what a secret's file holds.
    """
    document, outside = read_document(text, file), ExternalValues()
    data = read_files(substitute(document.data, environ, outside), folder, outside)
    config, mistakes = _validate(data)
    problems = _ProblemReporter(document, outside).to_problems(
        [*mistakes, *find_repeated_route_names(data)]
    )
    if problems or config is None:
        raise ConfigError(problems)
    return config


def default() -> Config:
    """What relay does with no configuration: it prints what dies of the local engine."""
    return parse(_DEFAULT, file="default", environ={}, folder=Path())


def _validate(data: Mapping[str, object]) -> tuple[Config | None, list[ConfigIssue]]:
    try:
        return Config.model_validate(data, context=collect_names(data)), []
    except ValidationError as error:
        return None, to_issues(error, data)


def read_text(path: Path) -> str:
    """What a file of up to 1 MiB holds. Raises `ConfigError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            wrong = f"is larger than {_MAX_BYTES // 2**20} MiB"
        else:
            return content.decode()
    except OSError as error:
        wrong = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        wrong = f"is not UTF-8 text, on line {line}"
    except ValueError:
        wrong = "cannot be read: its name holds a NUL"
    raise ConfigError([Problem(str(path), 0, 0, "", wrong)])


class _ProblemReporter:
    """Says where in the file a mistake is, and shows the value as far as it may be shown."""

    def __init__(self, document: Document, outside: ExternalValues) -> None:
        self._document = document
        self._external = outside

    def to_problems(self, mistakes: Iterable[ConfigIssue]) -> list[Problem]:
        """Every problem once; what follows from a value that could not be had is left out."""
        missing = {mistake.path for mistake in self._external.issues}
        found = [self._to_problem(mistake) for mistake in self._external.issues]
        found += [
            self._to_problem(mistake)
            for mistake in mistakes
            if mistake.scope is IssueScope.KEY
            or not _is_within(self._path_in_file(mistake.path), missing)
        ]
        # an alias repeats a mistake, at one and the same place
        once = {
            (problem.line, problem.column, problem.message): problem
            for problem in sorted([*self._document.problems, *found], reverse=True)
        }
        return list(once.values())

    def _path_in_file(self, trail: KeyPath) -> KeyPath:
        """The trail in the file: of a secret from a file the key that named it."""
        return self._external.files.get(trail, trail)

    def _to_problem(self, mistake: ConfigIssue) -> Problem:
        trail = self._path_in_file(mistake.path)
        while trail not in self._document.locations:
            trail = trail[:-1]
        place = self._document.locations[trail]
        at_key = mistake.scope is IssueScope.KEY or place.text is None
        line, column = place.key if at_key else place.value
        return Problem(
            self._document.file,
            line,
            column,
            format_path(trail),
            self._format_message(mistake, place),
        )

    def _format_message(self, mistake: ConfigIssue, place: SourceLocation) -> str:
        secret = _is_secret(mistake.path)
        message = mistake.message
        if mistake.detail and not secret and mistake.path not in self._external.substituted:
            message += mistake.detail
        if mistake.scope is not IssueScope.VALUE:
            return message
        if secret or not place.text:
            return f"the value {message}"
        return f"{quote(place.text)} {message}"


def _is_within(trail: KeyPath, trails: Collection[KeyPath]) -> bool:
    return any(trail[:steps] in trails for steps in range(len(trail) + 1))


def _is_secret(trail: KeyPath) -> bool:
    """Whether what stands there must not be shown."""
    match trail:
        case ("engines", _, "url") | ("admin", "token"):
            return True
        case ("destinations", _, str(key), *_):
            return key not in _PUBLIC_KEYS and not str(trail[-1]).endswith("_file")
        case _:
            return trail[:1] == ("destinations",)
