"""What a message about several incidents holds."""

from tests.unit.incidents.events import die
from tests.unit.incidents.world import World


def test_the_first_event_is_that_of_the_first_incident() -> None:
    """A route's title and text are about the container that relay's own lines begin with."""
    events = [die(t, name, project="shop") for name, t in (("db", 0), ("api", 1.5), ("web", 2))]
    (message, *_) = World().play(events, 60).messages()
    named = [each.subject for each in message.update.incidents]
    assert named == ["db", "api", "web"]
    assert [each.actor.name for each in message.events] == named
