"""What a configuration takes from elsewhere: ``${NAME}`` from the environment, ``…_file``."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relay.config.destination_types import DestinationTypes
from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, KeyPath, invalid

_MAX_CHARS = 64 * 1024
"""Of one value after substitution, in characters, and of a secret's file, in bytes."""
_REFERENCE = re.compile(
    r"\$\$"
    r"|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-((?:[^}$]|\$\$|\$(?![{$]))*))?\}"
    r"|\$\{"  # one that is not well-formed
)
_FORBIDDEN = re.compile(r"[\x00\ud800-\udfff]")
_FILE_SUFFIX = "_file"
_TLS_KEYS = ("ca_file", "cert_file", "key_file")


@dataclass(slots=True)
class ExternalValues:
    """What came from elsewhere, and what did not come."""

    substituted: set[KeyPath] = field(default_factory=set)
    """The values that hold something of the environment: they are shown as written."""
    files: dict[KeyPath, KeyPath] = field(default_factory=dict)
    """From a value to the key that named its file."""
    issues: list[ConfigIssue] = field(default_factory=list)


def substitute(
    data: Mapping[str, object], environ: Mapping[str, str], external: ExternalValues
) -> dict[str, object]:
    """``data`` with every reference in it resolved; what cannot be is empty."""
    return {key: _substitute_value(value, (key,), environ, external) for key, value in data.items()}


def expand(text: str, environ: Mapping[str, str]) -> str:
    """``text`` with ``${NAME}``, ``${NAME:-default}`` and ``$$`` resolved.

    The default applies if the variable is unset or empty, as in sh. Raises `InvalidValue`, which
    names variables but never contains their values.
    """
    pieces: list[str] = []
    wrong: list[ConfigIssue] = []
    end = size = 0
    for found in _REFERENCE.finditer(text):
        try:
            piece = text[end : found.start()] + _resolve(found, environ)
        except InvalidValue as error:
            wrong += error.issues
            continue
        pieces.append(piece)
        size += len(piece)
        end = found.end()
        if size > _MAX_CHARS:
            raise invalid(f"is longer than {_MAX_CHARS} characters")
    if wrong:
        raise InvalidValue(wrong)
    return "".join((*pieces, text[end:]))


def _substitute_value(
    value: object, trail: KeyPath, environ: Mapping[str, str], external: ExternalValues
) -> object:
    match value:
        case dict():
            return {
                k: _substitute_value(v, (*trail, k), environ, external) for k, v in value.items()
            }
        case list():
            return [
                _substitute_value(v, (*trail, i), environ, external) for i, v in enumerate(value)
            ]
        case str():
            return _substitute_text(value, trail, environ, external)
        case _:
            return value


def _substitute_text(
    text: str, trail: KeyPath, environ: Mapping[str, str], external: ExternalValues
) -> str:
    if "${" in text:
        external.substituted.add(trail)
    try:
        expanded = expand(text, environ)
        if _FORBIDDEN.search(expanded):
            raise invalid("holds a NUL or half a character")
    except InvalidValue as error:
        external.issues += (ConfigIssue(trail, one.message) for one in error.issues)
        return ""
    return expanded


def _resolve(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name, default = found[1], found[3]
    if found[0] == "$$":
        return "$"
    if name is None:
        raise invalid(
            "holds a '${' that is not ${NAME} or ${NAME:-default}: write '$${' for itself"
        )
    if default is not None:
        return environ.get(name) or default.replace("$$", "$")
    if name not in environ:
        raise invalid(
            f"the environment has no variable {name}: set it, or write ${{{name}:-default}}"
        )
    return environ[name]


def read_files(
    data: Mapping[str, object], folder: Path, external: ExternalValues, types: DestinationTypes
) -> dict[str, object]:
    """``data`` with every ``…_file`` of a secret replaced by what the file holds.

    The files of a ``tls`` are only looked for. Relative paths start at ``folder``.
    """
    reader = _FileReader(folder, external, types)
    result = dict(data)
    admin = data.get("admin")
    if isinstance(admin, Mapping):
        result["admin"] = reader.read_admin(admin)
    for section, read in (
        ("destinations", reader.read_destination),
        ("engines", reader.read_engine),
    ):
        entries = data.get(section)
        if isinstance(entries, Mapping):
            result[section] = {
                name: read(entry, (section, name)) if isinstance(entry, Mapping) else entry
                for name, entry in entries.items()
            }
    return result


class _FileReader:
    """Reads the files that a configuration names."""

    def __init__(self, folder: Path, external: ExternalValues, types: DestinationTypes) -> None:
        self._folder = folder
        self._types = types
        self._external = external
        self._missing = {mistake.path for mistake in external.issues}

    def read_admin(self, entry: Mapping[str, object]) -> Mapping[str, object]:
        """The section with its token in it."""
        return self._fill_from_files(entry, ("admin",), ["token_file"])

    def read_destination(self, entry: Mapping[str, object], trail: KeyPath) -> Mapping[str, object]:
        """A destination with its secrets in it."""
        keys = [name + _FILE_SUFFIX for name in self._types.secret_keys(entry.get("type"))]
        result = self._fill_from_files(entry, trail, keys)
        headers, basic = entry.get("headers"), entry.get("basic_auth")
        if isinstance(headers, Mapping):
            keys = [key for key in headers if key.endswith(_FILE_SUFFIX)]
            result["headers"] = self._fill_from_files(headers, (*trail, "headers"), keys)
        if isinstance(basic, Mapping):
            result["basic_auth"] = self._fill_from_files(
                basic, (*trail, "basic_auth"), ["password_file"]
            )
        return self._resolve_tls_files(result, trail)

    def read_engine(self, entry: Mapping[str, object], trail: KeyPath) -> Mapping[str, object]:
        """An engine with its TLS files found."""
        return self._resolve_tls_files(entry, trail)

    def _resolve_tls_files(
        self, entry: Mapping[str, object], trail: KeyPath
    ) -> Mapping[str, object]:
        tls = entry.get("tls")
        if not isinstance(tls, Mapping):
            return entry
        found = {
            key: self._resolve_file(value, (*trail, "tls", key)) if key in _TLS_KEYS else value
            for key, value in tls.items()
        }
        return {**entry, "tls": found}

    def _fill_from_files(
        self, entry: Mapping[str, object], trail: KeyPath, keys: Iterable[str]
    ) -> dict[str, object]:
        result = dict(entry)
        for key in keys:
            if key not in result:
                continue
            named, name = result.pop(key), key.removesuffix(_FILE_SUFFIX)
            if name in entry:
                message = f"'{name}' and '{key}' exclude each other: keep one"
                self._external.issues.append(ConfigIssue((*trail, key), message, IssueScope.KEY))
                continue
            self._external.files[(*trail, name)] = (*trail, key)
            result[name] = self._read_secret(named, (*trail, key))
        return result

    def _resolve_file(self, value: object, trail: KeyPath) -> object:
        if not isinstance(value, str) or not value:
            return value
        path = self._folder / value
        try:
            with path.open("rb"):
                return str(path)
        except OSError as error:
            self._add_issue(trail, f"cannot be read: {error.strerror}")
            return value

    def _read_secret(self, value: object, trail: KeyPath) -> str:
        if trail in self._missing:
            return ""
        if not isinstance(value, str) or not value:
            self._add_issue(trail, "must be the path of a file", IssueScope.STANDALONE)
            return ""
        try:
            return _read_secret_file(self._folder / value)
        except ValueError as error:
            self._add_issue(trail, str(error))
        except OSError as error:
            self._add_issue(trail, f"cannot be read: {error.strerror}")
        return ""

    def _add_issue(
        self, trail: KeyPath, message: str, about: IssueScope = IssueScope.VALUE
    ) -> None:
        self._external.issues.append(ConfigIssue(trail, message, about))


def _read_secret_file(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_CHARS + 1)
    if len(content) > _MAX_CHARS:
        raise ValueError(f"is a file of more than {_MAX_CHARS // 1024} KiB: that is no secret")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("is a file that is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("is an empty file")
    if "\0" in text:
        raise ValueError("is a file that holds a NUL")
    return text
