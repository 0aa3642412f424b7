"""Unit tests of a configuration: which events, and what is to come of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.config import Config, Match
from relay.dryrun.simulator import InputEvent


@dataclass(frozen=True, slots=True)
class Expectation:
    """One notification that is to be sent."""

    route: str
    to: tuple[str, ...] | None = None
    """All destinations that it goes to by this route; None for any."""
    match: Match | None = None
    """What holds of its event."""
    body: Mapping[str, object] | None = None
    """By destination: a part of the JSON that it is sent, or of its text."""


@dataclass(frozen=True, slots=True)
class Case:
    """Events, and what is to be sent."""

    name: str
    line: int
    events: tuple[InputEvent, ...]
    expected: tuple[Expectation, ...]
    exact: bool = True
    """Whether nothing else may be sent."""
    engine: str | None = None
    """The engine that says it; None for the first that is configured."""
    podman: bool = False


@dataclass(frozen=True, slots=True)
class Suite:
    """One file of tests, and the configuration that it tests."""

    file: Path
    config: Config
    cases: tuple[Case, ...]
