"""What engines are asked about the containers of incidents, when, and what they answer.

One inspection answers both what the route includes and what messages say of every container: its
restart policy, how often it was restarted, its memory limit. An engine is asked when an incident
opens, when it becomes crash-looping, and when a death may be the last that its policy allows or
what is known is old; never more often than `INQUIRIES` and `INTERVAL_NS` allow.
"""

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from relay.core.container_facts import ContainerFacts
from relay.core.event import Event
from relay.core.include import FACTS_ONLY, Include, Included
from relay.incidents.incident import Incident
from relay.incidents.life import MINUTE_NS, SECOND_NS
from relay.incidents.subject import is_task, subject_key

INQUIRIES = 20
INTERVAL_NS = 3 * SECOND_NS
"""An engine is asked at most `INQUIRIES` times at once, and once more after each interval: 20 times
a minute."""

FACTS_AGE_NS = 10 * MINUTE_NS
"""How old the answer may be when a container dies again, until the engine is asked again."""


FindFacts = Callable[[str], ContainerFacts | None]
"""Returns what relay knows of a container by its id, without asking its engine."""


class Inquiry(msgspec.Struct, frozen=True):
    """A question to an engine about the container of an incident."""

    incident: str
    """The incident's id."""
    event: Event
    """What happened to the container."""
    include: Include
    """What the incident's route includes; `FACTS_ONLY` for nothing."""


class Answer(msgspec.Struct, frozen=True):
    """What an engine answered, or what relay knows without asking it."""

    included: Included | None = None
    """What the route includes; None if it includes nothing."""
    facts: ContainerFacts | None = None
    """None if the engine did not answer."""
    is_final: bool = False
    """Whether the container ended with the event that the question was about, and its restart
    policy does not start it again."""


class Inquiries:
    """The questions that wait to be taken, limited by engine."""

    def __init__(self) -> None:
        self._waiting: list[Inquiry] = []
        self._full_ns: dict[str, int] = {}

    def take(self) -> list[Inquiry]:
        """Return the questions since the last call."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def ask(self, incident: str, event: Event, include: Include | None, now_ns: int) -> bool:
        """Add a question, unless the engine was asked too often; return whether it is asked.

        If another one is about the same event, its answer has the facts, too. ``now_ns`` is the
        steady clock's time.
        """
        for place, other in enumerate(self._waiting):
            if other.event.id == event.id:
                if include is None or other.incident == incident:
                    return True
                if other.include == FACTS_ONLY:
                    self._waiting[place] = Inquiry(incident, event, include)
                    return True
        full_ns = max(self._full_ns.get(event.engine, 0), now_ns)
        if full_ns - now_ns > (INQUIRIES - 1) * INTERVAL_NS:
            return False
        self._full_ns[event.engine] = full_ns + INTERVAL_NS
        self._waiting.append(Inquiry(incident, event, include or FACTS_ONLY))
        return True


def needs_facts(incident: Incident, event: Event) -> bool:
    """Whether what is known of a container is not enough, after an event that is a problem."""
    asked_ns, facts = incident.asked_ns, incident.container
    if asked_ns is None or event.time_ns - asked_ns > FACTS_AGE_NS:
        return True
    if event.action != "die" or facts is None or not facts.max_retries:
        return False
    deaths_since = incident.deaths - incident.counted_deaths
    return (facts.restart_count or 0) + deaths_since >= facts.max_retries


def learn(incident: Incident, inquiry: Inquiry, answer: Answer) -> Incident:
    """Return an incident of the subject of an inquiry with its answer.

    What the engine does not know any more stays known. That the container is not restarted holds
    for the end that the question was about.
    """
    if answer.included is not None and incident.id == inquiry.incident:
        incident = replace(incident, included=answer.included)
    life, event = incident.life, inquiry.event
    if life.container != event.actor.id:
        return incident
    incident = add_facts(incident, answer.facts)
    is_that_end = not life.is_up and life.ended is None and life.changed_ns <= event.time_ns
    if answer.is_final and is_that_end and life.will_restart and not is_task(incident.subject):
        incident = replace(incident, life=replace(life, will_restart=False))
    return incident


def add_facts(incident: Incident, facts: ContainerFacts | None) -> Incident:
    """Return the incident with what is known of its container.

    Not its own policy but its service replaces a task of a Swarm, so only the limit counts there.
    """
    if facts is None:
        return incident
    if is_task(incident.subject):
        facts = ContainerFacts(memory_limit=facts.memory_limit)
    if (facts, incident.deaths) == (incident.container, incident.counted_deaths):
        return incident
    return replace(incident, container=facts, counted_deaths=incident.deaths)


def find_current_facts(incident: Incident) -> ContainerFacts | None:
    """Return what is known of the container now: once it has failed again, not how often it was
    restarted."""
    facts = incident.container
    if facts is None or incident.deaths == incident.counted_deaths:
        return facts
    return replace(facts, restart_count=None)


def subject_of(inquiry: Inquiry) -> str:
    """Return the key of the subject that an inquiry is about."""
    return subject_key(inquiry.event)
