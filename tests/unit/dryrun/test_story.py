"""The story of `relay demo` and of the pictures."""

from pathlib import Path

import pytest

from relay.core.event import Event
from relay.core.incident import UpdateReason
from relay.destinations.catalog import parse_config
from relay.dryrun.story import CHAT, DEMONSTRATION, Cast, chat_config, list_messages, tell_story

START_NS = 1_795_416_514 * 10**9


def test_has_a_beginning_and_an_end() -> None:
    """Opened, crash-looping, resolved: each at the time at which the daemon would report it."""
    steps = tell_story(chat_config(), CHAT, Cast(), START_NS)
    messages = list_messages(steps)
    assert [it.notification.update and it.notification.update.reason for it in messages] == [
        UpdateReason.OPENED,
        UpdateReason.CRASH_LOOPING,
        UpdateReason.RESOLVED,
    ]
    assert [round((it.at_ns - START_NS) / 1e9) for it in messages] == [3, 63, 134]
    times = [it.time_ns if isinstance(it, Event) else it.at_ns for it in steps]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ("type: pagerduty, routing_key: 0123456789abcdef0123456789abcdef", 3),
        ('type: alertmanager, url: "http://h/"', 3),
        ('type: http, url: "http://h/"', 8),
        ('type: http, url: "http://h/", notify: incidents, send_resolved: false', 2),
    ],
)
def test_a_destination_gets_what_its_keys_ask_for(keys: str, count: int) -> None:
    """The routes of its configuration do not count; every message has the names and the logs."""
    text = (
        f"destinations: {{x: {{{keys}}}}}\nroutes: [{{name: none, match: {{type: image}}, to: x}}]"
    )
    config = parse_config(text, file="c", environ={}, folder=Path("/"))
    sent = [
        it.notification for it in list_messages(tell_story(config, "x", DEMONSTRATION, START_NS))
    ]
    assert len(sent) == count
    assert all(it.included and it.included.logs == DEMONSTRATION.logs for it in sent)
    assert all(it.events[0].actor.name == DEMONSTRATION.container for it in sent)
