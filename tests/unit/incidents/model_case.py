"""A case of the model: the problems of one subject at one destination."""

from dataclasses import dataclass, field
from typing import Any

from relay.core.event import Event
from tests.unit.incidents.model_story import MINUTE, Heard, Story, loops

HOUR = 60 * MINUTE
SEVERITY = ["info", "warning", "critical"]


@dataclass
class Case:
    """The problems of one subject at one destination."""

    destination: str
    subject: tuple[str, str]
    first: Event
    route: str
    group: tuple[str, str]
    severity: str
    before: list[int]
    """Earlier ends with exit code 0."""
    heard: list[Heard] = field(default_factory=list)
    problems: list[Event] = field(default_factory=list)
    open: bool = True
    ended_at: int = 0
    resolution: str | None = None
    total: int = 0
    unreported: int = 0
    looping: bool = False
    died_ill: bool = False
    overdue: bool = False
    again: bool = False
    reported: dict[str, Any] | None = None
    refused: bool = False
    times_reported: int = 0
    named: int | None = None
    last_event: int = 0
    waiting: int | None = None
    opened_at: int = 0
    held: str | None = None
    """Why its news waits."""
    silence: Any = None
    ask_at: int | None = None
    """When to ask again why."""
    seen: Any = None
    """What it was when that was decided last."""

    @property
    def last(self) -> Event:
        """The last problem that a route took."""
        return self.problems[-1]

    @property
    def story(self) -> Story:
        """All that was heard, from the beginning."""
        story = Story(self.heard[0].container, failures=list(self.before))
        for it in self.heard:
            story.hear(it)
        return story

    def news(self) -> str | None:
        """Why it has to be reported; None if there is no reason."""
        if self.reported is None:
            return "opened"
        if not self.reported["open"]:
            return ("reopened" if self.times_reported else "opened") if self.again else None
        if not self.open:
            return "resolved"
        if self.looping and not self.reported["looping"]:
            return "crash_looping"
        if self.died_ill or SEVERITY.index(self.severity) > SEVERITY.index(
            self.reported["severity"]
        ):
            return "worse"
        return "stays_down" if self.overdue else None

    def end(self, wait: int) -> tuple[int, str] | None:
        """When it is over if nothing happens, and why."""
        story = self.story
        if story.blind or (story.ended is None and story.well is None):
            return None
        if story.ended is not None:
            return story.changed + wait, story.ended
        assert story.well is not None
        return story.well + max(wait, min(HOUR, 2 * story.spell)), "recovered"

    def missed(self) -> int | None:
        """When it should have come back at the latest, if a message reported that it would."""
        story = self.story
        if self.reported is None or self.reported["condition"] not in ("up", "restarting"):
            return None
        if self.overdue or story.up or story.ended or story.blind:
            return None
        return story.died + 2 * MINUTE

    def reopen(self, at: int) -> None:
        """It is open again."""
        self.opened_at = at
        self.open, self.resolution = True, None
        self.again = self.reported is not None and not self.reported["open"]
        self.looping = loops(self.story.failures)
