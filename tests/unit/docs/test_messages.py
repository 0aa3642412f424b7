"""The page of messages shows what is sent."""

import pytest

from relay.core.zone import UTC_ZONE
from relay.destinations.common.headline import headline
from tests.unit.destinations.updates import FOR_PEOPLE
from tests.unit.docs.pages import DOCS

SHOWN = (
    *("opened", "opened, a group", "crash-looping", "worse", "stays down", "resolved"),
    *("mixed", "plain events", "delayed", "flapping", "reopened"),
    *("given up", "reminder of one"),
)


@pytest.mark.parametrize("what", SHOWN)
def test_shows_the_sentences_as_they_are(what: str) -> None:
    """Word by word."""
    assert headline(FOR_PEOPLE[what], 200, zone=UTC_ZONE) in (DOCS / "messages.md").read_text()
