"""How every format shows the severity of a notification."""

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from relay.core.notification import Notification, build_notification
from relay.core.severity import Severity
from relay.destinations.catalog import DESTINATION_TYPES
from tests.unit.destinations.contract import SEVERITY_NAMES, contracts
from tests.unit.destinations.samples import CRASH, KILLED, RESOLVED, STARTED
from tests.unit.destinations.test_every_destination import (
    PROGRAM_FORMATS,
    SERVICES,
    cached_renderer,
)

EVENTS = {Severity.CRITICAL: CRASH, Severity.WARNING: KILLED, Severity.INFO: STARTED}
"""An event of each severity."""
Extract = Callable[[Any], object]
EXPECTED: dict[str, tuple[Extract, tuple[object, ...]]] = {
    **{name: (it.severity, it.shown) for name, it in contracts().items()},
    "json": (lambda it: it["severity"], SEVERITY_NAMES),
    "cloudevents": (lambda it: it["data"]["severity"], SEVERITY_NAMES),
    "cloudevents-binary": (lambda it: it["severity"], SEVERITY_NAMES),
    "console": (
        lambda it: re.findall(r"\x1b\[1;3\dm[A-Z]+ *\x1b\[0m", it)[0],
        (
            "\x1b[1;31mCRITICAL\x1b[0m",
            "\x1b[1;33mWARNING \x1b[0m",
            "\x1b[1;36mINFO    \x1b[0m",
            "\x1b[1;32mRESOLVED\x1b[0m",
        ),
    ),
}
"""How to read the severity from a message, and what is read: critical, warning, info, resolved."""
every_kind = pytest.mark.parametrize("kind", EXPECTED)


def shown_severity(kind: str, notification: Notification) -> object:
    """How a message shows its severity."""
    where, _ = EXPECTED[kind]
    body = cached_renderer(kind, colour=True)(notification).body
    return where(body.decode() if kind == "console" else json.loads(body))


def expected_severity(kind: str, level: Severity | None) -> object:
    """The entry of `EXPECTED` for a level; None is a resolved notification."""
    return dict(zip((*EVENTS, None), EXPECTED[kind][1], strict=True))[level]


def test_every_format_is_covered() -> None:
    """`EXPECTED` has every type and format."""
    assert set(EXPECTED) == {*SERVICES, *PROGRAM_FORMATS}
    assert set(SERVICES) < set(DESTINATION_TYPES.models)


@every_kind
@pytest.mark.parametrize("level", EVENTS)
def test_shows_the_severity_of_the_event(kind: str, level: Severity) -> None:
    """Without a severity in the route, the event determines it."""
    assert shown_severity(kind, build_notification("r", EVENTS[level])) == expected_severity(
        kind, level
    )


@every_kind
@pytest.mark.parametrize("level", EVENTS)
def test_shows_the_severity_of_the_route(kind: str, level: Severity) -> None:
    """The route overrides the event."""
    for event in EVENTS.values():
        assert shown_severity(
            kind, build_notification("r", event, severity=level)
        ) == expected_severity(kind, level)


@every_kind
@pytest.mark.parametrize("level", [None, *Severity])
def test_shows_that_it_is_resolved(kind: str, level: Severity | None) -> None:
    """Messages for people look resolved; documents for programs keep the severity."""
    over = expected_severity(kind, None) or level or Severity.CRITICAL
    assert shown_severity(kind, msgspec.structs.replace(RESOLVED, severity=level)) == over
