"""Mattermost posts."""

import json
from typing import Any

from relay.core.notification import build_notification
from relay.core.text import utf16_length
from relay.destinations import mattermost
from relay.destinations.common.card import Card
from relay.destinations.mattermost import MattermostDestination
from tests.unit.destinations.common.test_slack_compatible import any_card, attachment_contract
from tests.unit.destinations.samples import CRASH, NOTIFICATIONS, with_fields
from tests.unit.destinations.updates import longest_cards

DESTINATION = MattermostDestination.model_validate({"url": "https://chat.example/hooks/x"})
CONTRACT = attachment_contract(DESTINATION)


def post(card: Card) -> Any:
    """The post as Mattermost reads it."""
    return json.loads(DESTINATION.render(card).body)


def test_a_push_notification_names_the_host() -> None:
    """The fallback of the first attachment is the host, as plain text."""
    assert post(Card(NOTIFICATIONS[0]))["attachments"][0]["fallback"] == "node-1"
    tricky = with_fields(CRASH, host="a\n*b*")
    assert post(Card(build_notification("r", tricky)))["attachments"][0]["fallback"] == r"a\n*b*"


@any_card
def test_keeps_every_limit_of_mattermost(card: Card) -> None:
    """Text and attachments are within the limits, so Mattermost does not split the post."""
    sent = post(card)
    assert set(sent) == {"text", "attachments"}
    assert 1 <= utf16_length(sent["text"]) <= mattermost.TEXT_MAX
    props = json.dumps(sent["attachments"])
    assert len(props) <= mattermost.PROPS_MAX
    for part in sent["attachments"]:
        assert set(part) <= {"fallback", "color", "text", "fields"}
        for field in part.get("fields", ()):
            assert set(field) == {"title", "value", "short"}


def test_the_longest_post_is_within_the_limits() -> None:
    """Every value is present, longer than its limit, and expensive to encode."""
    for card in longest_cards("@\u202e" * 2500, output="\u202e" * 4096):
        size = utf16_length(DESTINATION.render(card).body.decode())
        assert 7_000 < size < mattermost.TEXT_MAX
