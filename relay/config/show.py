"""Shows a configuration without its secrets, so that it can be read over a shoulder or posted."""

from collections.abc import Mapping

import yaml

from relay.config.destination_types import DestinationTypes
from relay.config.errors import KeyPath
from relay.config.origin import ConfigOrigin, OriginKind
from relay.config.secrets import is_reference, is_secret_path
from relay.config.yaml_reader import read_document

HIDDEN = "(hidden)"


def show(origin: ConfigOrigin, types: DestinationTypes) -> str:
    """Return a valid configuration as YAML.

    Secrets are hidden. What refers to the environment is shown as it is written, and so are the
    paths of files with secrets. Aliases are expanded; comments are only kept in the built-in
    configuration, since those of a file may hold anything.
    """
    if origin.kind in (OriginKind.VARIABLES, OriginKind.BUILT_IN):
        return origin.text
    data = read_document(origin.read(), origin.name).data
    shown = {key: _hide(value, (key,), data, types) for key, value in data.items()}
    text: str = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=1000)
    return f"# {origin.name}, without its secrets\n{text}"


def _hide(
    value: object, path: KeyPath, data: Mapping[str, object], types: DestinationTypes
) -> object:
    match value:
        case dict():
            return {key: _hide(inner, (*path, key), data, types) for key, inner in value.items()}
        case list():
            return [_hide(inner, (*path, at), data, types) for at, inner in enumerate(value)]
        case None | bool():
            return value
        case str() if is_reference(value) or _is_plain_engine(path, value):
            return value
        case _:
            return HIDDEN if is_secret_path(path, data, types) else value


def _is_plain_engine(path: KeyPath, url: str) -> bool:
    """Whether this is the URL of an engine without a password in it."""
    match path:
        case ("engines", _, "url", *_):
            return "@" not in url or url.startswith("ssh://")
    return False
