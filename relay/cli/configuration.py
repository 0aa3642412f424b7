"""Which configuration a command works with."""

import os
from pathlib import Path

import click

from relay.config import Config, default, load

DEFAULT_FILE = Path("/etc/relay/config.yaml")

config_option = click.option(
    "--config",
    "chosen",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The configuration; else $RELAY_CONFIG, else {DEFAULT_FILE}.",
)


def find(chosen: Path | None) -> Path | None:
    """The file that counts; None where there is none and none was asked for."""
    if chosen is not None:
        return chosen
    if named := os.environ.get("RELAY_CONFIG"):
        return Path(named)
    try:
        DEFAULT_FILE.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # it is there, and reading it says what is wrong
    return DEFAULT_FILE


def read(chosen: Path | None) -> Config:
    """The configuration, or the one that holds without a file. Raises `ConfigError`."""
    file = find(chosen)
    return default() if file is None else load(file, os.environ)
