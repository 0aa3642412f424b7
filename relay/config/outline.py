"""The parts of a configuration that can be read without its secrets: names and the store's path."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from relay.config.errors import InvalidValue
from relay.config.load import read_text
from relay.config.references import DEFAULT_ENGINE
from relay.config.secrets import expand
from relay.config.yaml_reader import read_document
from relay.core.errors import ConfigError, Problem


class ConfigOutline(msgspec.Struct, frozen=True):
    """What could be read. Problems in the rest of the configuration are not reported."""

    store: Path | None
    """``store.path``; None if it is not set."""
    destinations: tuple[str, ...]
    unordered: tuple[str, ...]
    """The destinations with ``ordering: none``."""
    engines: tuple[str, ...]


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
    engines = tuple(_as_mapping(data.get("engines"))) or (DEFAULT_ENGINE,)
    return ConfigOutline(
        _store_path(store, path, environ), tuple(destinations), tuple(unordered), engines
    )


def _store_path(store: object, path: Path, environ: Mapping[str, str]) -> Path | None:
    if not isinstance(store, str) or not store:
        return None
    try:
        return Path(expand(store, environ))
    except InvalidValue as error:
        raise ConfigError([Problem(str(path), 0, 0, "store.path", str(error))]) from None


def _as_mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
