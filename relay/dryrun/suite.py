"""A file of tests for a configuration, parsed: input events, and the notifications expected."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.config import Config, Match
from relay.dryrun.simulator import InputEvent


@dataclass(frozen=True, slots=True)
class Expectation:
    """One notification that must be sent."""

    route: str
    to: tuple[str, ...] | None = None
    """All destinations to which this route sends it; None for any."""
    match: Match | None = None
    """What its event must match; None for any event."""
    body: Mapping[str, object] | None = None
    """By destination: a part of the JSON, or of the text, that is sent there."""


@dataclass(frozen=True, slots=True)
class Case:
    """One test: events, and the notifications that they must cause."""

    name: str
    line: int
    """Where it begins in its file, from 1."""
    events: tuple[InputEvent, ...]
    expected: tuple[Expectation, ...]
    exact: bool = True
    """Whether the test fails if anything else is sent."""
    engine: str | None = None
    """The engine that sends the events; None for the first one configured."""
    podman: bool = False
    """Whether that engine is Podman."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One file of tests, and the configuration that they test."""

    file: Path
    config: Config
    cases: tuple[Case, ...]
