"""Resolves external values: ``${NAME}`` from the environment, and secrets from ``…_file`` keys."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from relay.config import validators
from relay.config.destination_types import DestinationTypes
from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, KeyPath, invalid
from relay.config.yaml_reader import UNUSABLE, UNUSABLE_MESSAGE

_MAX_CHARS = 64 * 1024
"""The longest value after substitution, in characters, and the largest secret's file, in bytes."""
_REFERENCE = re.compile(
    r"\$\$"
    r"|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-((?:[^}$]|\$\$|\$(?![{$]))*))?\}"
    r"|\$\{"  # a malformed reference
)
FILE_SUFFIX = "_file"
"""The end of a key that names a file with the value of another key."""
_TLS_KEYS = ("ca_file", "cert_file", "key_file")
_LOGIN_FILES = ("nkey_file", "creds_file")
"""The files that a connection to NATS reads each time that it is made."""
_NATS_SECRETS = ("password_file", "token_file")
"""The keys of an engine of ``type: nats`` that name a file with a secret."""


class ExternalValues(msgspec.Struct):
    """Which values came from the environment or from files, and which could not be resolved."""

    substituted: set[KeyPath] = msgspec.field(default_factory=set)
    """The values that contain a reference: errors show them as written in the file."""
    files: dict[KeyPath, KeyPath] = msgspec.field(default_factory=dict)
    """For a value read from a file: the path of the ``…_file`` key that names it."""
    empty: dict[KeyPath, str] = msgspec.field(default_factory=dict)
    """For a value that is empty because its variable is: the name of the variable."""
    variables: set[str] = msgspec.field(default_factory=set)
    """The names of all variables that are referred to."""
    issues: list[ConfigIssue] = msgspec.field(default_factory=list)


def substitute(
    data: Mapping[str, object], environ: Mapping[str, str], external: ExternalValues
) -> dict[str, object]:
    """Return ``data`` with every reference resolved; a value that cannot be resolved is empty."""
    return {key: _substitute_value(value, (key,), environ, external) for key, value in data.items()}


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with ``${NAME}``, ``${NAME:-default}`` and ``$$`` resolved.

    The default applies if the variable is unset or empty, as in sh. Raises `InvalidValue`, which
    names variables but never contains their values.
    """
    pieces: list[str] = []
    issues: list[ConfigIssue] = []
    end = size = 0
    for found in _REFERENCE.finditer(text):
        try:
            piece = text[end : found.start()] + _resolve(found, environ)
        except InvalidValue as error:
            issues += error.issues
            continue
        pieces.append(piece)
        size += len(piece)
        end = found.end()
        if size > _MAX_CHARS:
            raise invalid(f"is longer than {_MAX_CHARS} characters")
    if issues:
        raise InvalidValue(issues)
    return "".join((*pieces, text[end:]))


def is_reference(text: str) -> bool:
    """Whether a text is one reference without a default, so that it holds nothing itself."""
    found = _REFERENCE.fullmatch(text)
    return found is not None and found[1] is not None and found[3] is None


def _substitute_value(
    value: object, path: KeyPath, environ: Mapping[str, str], external: ExternalValues
) -> object:
    match value:
        case dict():
            return {
                k: _substitute_value(v, (*path, k), environ, external) for k, v in value.items()
            }
        case list():
            return [
                _substitute_value(v, (*path, i), environ, external) for i, v in enumerate(value)
            ]
        case str():
            return _substitute_text(value, path, environ, external)
        case _:
            return value


def _substitute_text(
    text: str, path: KeyPath, environ: Mapping[str, str], external: ExternalValues
) -> str:
    if "${" in text:
        external.substituted.add(path)
        external.variables.update(found[1] for found in _REFERENCE.finditer(text) if found[1])
    try:
        expanded = expand(text, environ)
        if UNUSABLE.search(expanded):
            raise invalid(UNUSABLE_MESSAGE)
    except InvalidValue as error:
        external.issues += (ConfigIssue(path, one.message) for one in error.issues)
        return ""
    if not expanded and (found := _REFERENCE.search(text)) is not None and found[3] is None:
        external.empty[path] = found[1]
    return expanded


def _resolve(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name, default = found[1], found[3]
    if found[0] == "$$":
        return "$"
    if name is None:
        raise invalid(
            "holds a '${' that is not ${NAME} or ${NAME:-default}: write '$${' for a plain '${'"
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
    """Return ``data`` with every ``…_file`` key of a secret replaced by the content of its file.

    Relative paths start at ``folder``. The files of a ``tls`` section, an engine's
    ``bearer_token_file`` and the key of a connection to NATS are read at each connection: their
    paths are joined to ``folder``, and a file that cannot be read now is an issue.
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
    """Reads the files that a configuration names, and collects the issues."""

    def __init__(self, folder: Path, external: ExternalValues, types: DestinationTypes) -> None:
        self._folder = folder
        self._types = types
        self._external = external
        self._missing = {issue.path for issue in external.issues}

    def read_admin(self, entry: Mapping[str, object]) -> Mapping[str, object]:
        """Return the ``admin`` section with its token."""
        return self._fill_from_files(entry, ("admin",), ["token_file"])

    def read_destination(self, entry: Mapping[str, object], path: KeyPath) -> Mapping[str, object]:
        """Return a destination with its secrets, and with the paths of its TLS files resolved."""
        keys = [name + FILE_SUFFIX for name in self._types.file_keys(entry.get("type"))]
        result = self._fill_headers(self._fill_from_files(entry, path, keys), path)
        basic = entry.get("basic_auth")
        if isinstance(basic, Mapping):
            result["basic_auth"] = self._fill_from_files(
                basic, (*path, "basic_auth"), ["password_file"]
            )
        return self.resolve_tls_files(self._resolve_login_files(result, path), path)

    def read_engine(self, entry: Mapping[str, object], path: KeyPath) -> Mapping[str, object]:
        """Return an engine with its headers, and with the paths of its other files resolved."""
        keys = _NATS_SECRETS if entry.get("type") == "nats" else ()
        result = self._fill_headers(self._fill_from_files(entry, path, keys), path)
        if "bearer_token_file" in result:
            value, here = result["bearer_token_file"], (*path, "bearer_token_file")
            token = self._read_secret(value, here)
            if token and isinstance(value, str):
                result["bearer_token_file"] = str(self._folder / value)
                self._check_token(token, here)
        return self.resolve_tls_files(self._resolve_login_files(result, path), path)

    def _resolve_login_files(self, entry: dict[str, object], path: KeyPath) -> Mapping[str, object]:
        files = {key: entry[key] for key in _LOGIN_FILES if entry.get(key) is not None}
        return entry | {key: self._resolve_file(it, (*path, key)) for key, it in files.items()}

    def _check_token(self, token: str, path: KeyPath) -> None:
        try:
            validators.check_bearer_token(token)
        except ValueError as error:
            self._add_issue(path, str(error))

    def _fill_headers(self, entry: dict[str, object], path: KeyPath) -> dict[str, object]:
        headers = entry.get("headers")
        if isinstance(headers, Mapping):
            keys = [key for key in headers if key.endswith(FILE_SUFFIX)]
            entry["headers"] = self._fill_from_files(headers, (*path, "headers"), keys)
        return entry

    def resolve_tls_files(self, entry: Mapping[str, object], path: KeyPath) -> Mapping[str, object]:
        """Return a destination or an engine with the paths of its TLS files resolved."""
        tls = entry.get("tls")
        if not isinstance(tls, Mapping):
            return entry
        resolved = {
            key: self._resolve_file(value, (*path, "tls", key)) if key in _TLS_KEYS else value
            for key, value in tls.items()
        }
        return {**entry, "tls": resolved}

    def _fill_from_files(
        self, entry: Mapping[str, object], path: KeyPath, keys: Iterable[str]
    ) -> dict[str, object]:
        result = dict(entry)
        for key in keys:
            if key not in result:
                continue
            file_path, name = result.pop(key), key.removesuffix(FILE_SUFFIX)
            if name in entry:
                message = f"'{name}' and '{key}' exclude each other: keep one"
                self._add_issue((*path, key), message, IssueScope.KEY)
                continue
            self._external.files[(*path, name)] = (*path, key)
            result[name] = self._read_secret(file_path, (*path, key))
        return result

    def _resolve_file(self, value: object, path: KeyPath) -> object:
        if not isinstance(value, str) or not value:
            return value
        file_path = self._folder / value
        try:
            with file_path.open("rb"):
                return str(file_path)
        except OSError as error:
            self._add_issue(path, f"cannot be read: {error.strerror}")
            return value

    def _read_secret(self, value: object, path: KeyPath) -> str:
        if path in self._missing:
            return ""
        if not isinstance(value, str) or not value:
            self._add_issue(path, "must be the path of a file", IssueScope.STANDALONE)
            return ""
        try:
            return read_secret_file(self._folder / value)
        except ValueError as error:
            self._add_issue(path, str(error))
        except OSError as error:
            self._add_issue(path, f"cannot be read: {error.strerror}")
        return ""

    def _add_issue(self, path: KeyPath, message: str, scope: IssueScope = IssueScope.VALUE) -> None:
        self._external.issues.append(ConfigIssue(path, message, scope))


def read_secret_file(file_path: Path) -> str:
    """Return the content of a file without its last line break.

    Raises `OSError`, or `ValueError` whose message continues a sentence that starts with the path.
    """
    with file_path.open("rb") as file:
        content = file.read(_MAX_CHARS + 1)
    if len(content) > _MAX_CHARS:
        raise ValueError(f"is a file of more than {_MAX_CHARS // 1024} KiB: too large for a secret")
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


def is_secret_path(path: KeyPath, data: Mapping[str, object], types: DestinationTypes) -> bool:
    """Whether the value at this path of a configuration may be a secret, and must not be shown."""
    match path:
        case ("admin", "token") | ("engines", _, "url" | "username" | "password" | "token", *_):
            return True
        case ("engines", _, "headers", str(name)):
            return not name.endswith(FILE_SUFFIX)
        case ("destinations", name, str(key), *_):
            if str(path[-1]).endswith(FILE_SUFFIX):
                return False
            destinations: Any = data["destinations"]
            type_name = destinations[name].get("type")  # which may be missing or invalid
            return not types.is_public(type_name, key)
        case _:
            return path[:1] == ("destinations",)
