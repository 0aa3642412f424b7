"""Configurations with one destination, and what is wrong with them."""

from pathlib import Path

import pytest

from relay.config import Config
from relay.core.errors import ConfigError
from relay.destinations.catalog import parse_config


def config_with(entry: str, folder: Path = Path(), **environ: str) -> Config:
    """A configuration with one destination, ``to``."""
    text = f"destinations: {{to: {{{entry}}}}}\nroutes: [{{name: all, to: to}}]\n"
    return parse_config(text, file="f", environ=environ, folder=folder)


def problems(entry: str, folder: Path = Path(), **environ: str) -> list[str]:
    """What is wrong, without the file's name."""
    with pytest.raises(ConfigError) as caught:
        config_with(entry, folder, **environ)
    return [str(problem).removeprefix("f:") for problem in caught.value.problems]
