"""What a configuration takes from elsewhere: ``${NAME}`` from the environment, ``…_file``."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from relay.config.destinations import secret_keys
from relay.config.errors import About, Mistake, Mistakes, Trail, whole

_MAX_VALUE = 64 * 1024
"""Of one value after substitution, in characters, and of a secret's file, in bytes."""
_REFERENCE = re.compile(
    r"\$\$"
    r"|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-((?:[^}$]|\$\$|\$(?![{$]))*))?\}"
    r"|\$\{"  # one that is not well-formed
)
_UNUSABLE = re.compile(r"[\x00\ud800-\udfff]")
_FILE = "_file"
_TLS = ("ca_file", "cert_file", "key_file")


@dataclass(slots=True)
class Outside:
    """What came from elsewhere, and what did not come."""

    substituted: set[Trail] = field(default_factory=set)
    """The values that hold something of the environment: they are shown as written."""
    files: dict[Trail, Trail] = field(default_factory=dict)
    """From a value to the key that named its file."""
    mistakes: list[Mistake] = field(default_factory=list)


def substitute(
    data: Mapping[str, object], environ: Mapping[str, str], outside: Outside
) -> dict[str, object]:
    """``data`` with every reference in it resolved; what cannot be is empty."""
    return {key: _walk(value, (key,), environ, outside) for key, value in data.items()}


def expand(text: str, environ: Mapping[str, str]) -> str:
    """``text`` with ``${NAME}``, ``${NAME:-default}`` and ``$$`` resolved.

    The default is for a variable that is not set or empty, as in sh. Raises `Mistakes` that name
    variables and never their values.
    """
    pieces: list[str] = []
    wrong: list[Mistake] = []
    end = size = 0
    for found in _REFERENCE.finditer(text):
        try:
            piece = text[end : found.start()] + _resolve(found, environ)
        except Mistakes as error:
            wrong += error.mistakes
            continue
        pieces.append(piece)
        size += len(piece)
        end = found.end()
        if size > _MAX_VALUE:
            raise whole(f"is longer than {_MAX_VALUE} characters")
    if wrong:
        raise Mistakes(wrong)
    return "".join((*pieces, text[end:]))


def _walk(value: object, trail: Trail, environ: Mapping[str, str], outside: Outside) -> object:
    match value:
        case dict():
            return {k: _walk(v, (*trail, k), environ, outside) for k, v in value.items()}
        case list():
            return [_walk(v, (*trail, i), environ, outside) for i, v in enumerate(value)]
        case str():
            return _text(value, trail, environ, outside)
        case _:
            return value


def _text(text: str, trail: Trail, environ: Mapping[str, str], outside: Outside) -> str:
    if "${" in text:
        outside.substituted.add(trail)
    try:
        expanded = expand(text, environ)
        if _UNUSABLE.search(expanded):
            raise whole("holds a NUL or half a character")
    except Mistakes as error:
        outside.mistakes += (Mistake(trail, one.message) for one in error.mistakes)
        return ""
    return expanded


def _resolve(found: re.Match[str], environ: Mapping[str, str]) -> str:
    name, default = found[1], found[3]
    if found[0] == "$$":
        return "$"
    if name is None:
        raise whole("holds a '${' that is not ${NAME} or ${NAME:-default}: write '$${' for itself")
    if default is not None:
        return environ.get(name) or default.replace("$$", "$")
    if name not in environ:
        raise whole(
            f"the environment has no variable {name}: set it, or write ${{{name}:-default}}"
        )
    return environ[name]


def read_files(data: Mapping[str, object], folder: Path, outside: Outside) -> dict[str, object]:
    """``data`` with every ``…_file`` of a secret replaced by what the file holds.

    The files of a ``tls`` are only looked for. Relative paths start at ``folder``.
    """
    reader = _Files(folder, outside)
    result = dict(data)
    admin = data.get("admin")
    if isinstance(admin, Mapping):
        result["admin"] = reader.admin(admin)
    for section, read in (("destinations", reader.destination), ("engines", reader.engine)):
        entries = data.get(section)
        if isinstance(entries, Mapping):
            result[section] = {
                name: read(entry, (section, name)) if isinstance(entry, Mapping) else entry
                for name, entry in entries.items()
            }
    return result


class _Files:
    """Reads the files that a configuration names."""

    def __init__(self, folder: Path, outside: Outside) -> None:
        self._folder = folder
        self._outside = outside
        self._missing = {mistake.trail for mistake in outside.mistakes}

    def admin(self, entry: Mapping[str, object]) -> Mapping[str, object]:
        """The section with its token in it."""
        return self._filled(entry, ("admin",), ["token_file"])

    def destination(self, entry: Mapping[str, object], trail: Trail) -> Mapping[str, object]:
        """A destination with its secrets in it."""
        keys = [name + _FILE for name in secret_keys(entry.get("type"))]
        result = self._filled(entry, trail, keys)
        headers, basic = entry.get("headers"), entry.get("basic_auth")
        if isinstance(headers, Mapping):
            keys = [key for key in headers if key.endswith(_FILE)]
            result["headers"] = self._filled(headers, (*trail, "headers"), keys)
        if isinstance(basic, Mapping):
            result["basic_auth"] = self._filled(basic, (*trail, "basic_auth"), ["password_file"])
        return self._trusting(result, trail)

    def engine(self, entry: Mapping[str, object], trail: Trail) -> Mapping[str, object]:
        """An engine with its TLS files found."""
        return self._trusting(entry, trail)

    def _trusting(self, entry: Mapping[str, object], trail: Trail) -> Mapping[str, object]:
        tls = entry.get("tls")
        if not isinstance(tls, Mapping):
            return entry
        found = {
            key: self._found(value, (*trail, "tls", key)) if key in _TLS else value
            for key, value in tls.items()
        }
        return {**entry, "tls": found}

    def _filled(
        self, entry: Mapping[str, object], trail: Trail, keys: Iterable[str]
    ) -> dict[str, object]:
        result = dict(entry)
        for key in keys:
            if key not in result:
                continue
            named, name = result.pop(key), key.removesuffix(_FILE)
            if name in entry:
                message = f"'{name}' and '{key}' exclude each other: keep one"
                self._outside.mistakes.append(Mistake((*trail, key), message, About.KEY))
                continue
            self._outside.files[(*trail, name)] = (*trail, key)
            result[name] = self._content(named, (*trail, key))
        return result

    def _found(self, value: object, trail: Trail) -> object:
        if not isinstance(value, str) or not value:
            return value
        path = self._folder / value
        try:
            with path.open("rb"):
                return str(path)
        except OSError as error:
            self._wrong(trail, f"cannot be read: {error.strerror}")
            return value

    def _content(self, value: object, trail: Trail) -> str:
        if trail in self._missing:
            return ""
        if not isinstance(value, str) or not value:
            self._wrong(trail, "must be the path of a file", About.WHOLE)
            return ""
        try:
            return _secret(self._folder / value)
        except ValueError as error:
            self._wrong(trail, str(error))
        except OSError as error:
            self._wrong(trail, f"cannot be read: {error.strerror}")
        return ""

    def _wrong(self, trail: Trail, message: str, about: About = About.VALUE) -> None:
        self._outside.mistakes.append(Mistake(trail, message, about))


def _secret(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MAX_VALUE + 1)
    if len(content) > _MAX_VALUE:
        raise ValueError(f"is a file of more than {_MAX_VALUE // 1024} KiB: that is no secret")
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
