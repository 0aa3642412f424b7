"""Any notification, update and card, for hypothesis: texts are hostile, numbers are extreme."""

import msgspec
from hypothesis import strategies as st

from relay.core.container_facts import ContainerFacts
from relay.core.event import Actor, Cause, Event, Origin
from relay.core.incident import (
    Condition,
    IncidentReport,
    Problem,
    Resolution,
    Status,
    Update,
    UpdateReason,
)
from relay.core.include import Included
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.destinations.common.card import Card
from tests.unit.destinations.samples import ATTACKS, INCLUDE, filled

hostile = st.sampled_from(ATTACKS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
_numbers = st.none() | st.integers(-(2**31), 2**31)
_labels = st.sampled_from(
    (
        "com.docker.compose.project",
        "com.docker.compose.service",
        "com.docker.swarm.service.name",
        "engine",
        "oldName",
        "reason",
    )
)
_actors = st.builds(
    Actor,
    id=hostile,
    name=st.none() | hostile,
    image=st.none() | hostile,
    attributes=st.dictionaries(_labels | hostile, hostile, max_size=6),
)
_actions = ("die", "exec_start", "gap", "health_status", "kill", "oom", "rename", "started")
events = st.builds(
    Event,
    id=hostile,
    engine=hostile,
    host=hostile,
    type=st.sampled_from(("container", "relay", "network")) | hostile,
    action=st.sampled_from(_actions) | hostile,
    detail=st.none() | hostile,
    scope=hostile,
    time_ns=st.integers(0, 2**63 - 1),
    actor=_actors,
    cause=st.none() | st.sampled_from(Cause),
    exit_code=_numbers,
    signal=_numbers,
    health=st.none() | hostile,
    origin=st.sampled_from(Origin),
)
_words = hostile | st.text(st.characters(exclude_categories=["Cs"]), max_size=4_096)
_json = st.none() | st.integers(-(2**63), 2**63) | _words | st.lists(hostile, max_size=3)
_included = st.builds(
    Included,
    logs=st.none() | st.lists(_words, max_size=200).map(tuple),
    health=st.none() | _words,
    inspect=st.dictionaries(hostile, _json, max_size=20),
    missing=st.none() | hostile,
)
notifications = st.builds(
    Notification,
    id=hostile,
    route=hostile,
    events=st.lists(events, min_size=1, max_size=3).map(tuple),
    status=st.sampled_from(Status),
    count=st.integers(1, 2**63 - 1),
    suppressed=st.integers(0, 2**63 - 1),
    include=st.none() | st.just(INCLUDE),
    included=st.none() | _included,
    severity=st.none() | st.sampled_from(Severity),
)


_actions_of_plain = st.sampled_from(("start", "stop", "destroy"))
_times = st.integers(0, 2**62)
_problems = st.builds(
    Problem,
    type=st.sampled_from(("container", "relay", "service")),
    action=st.sampled_from(
        ("die", "oom", "health_status", "start_failed", "engine_lost", "destination_failing")
    )
    | hostile,
    time_ns=_times,
    engine=hostile,
    host=hostile,
    cause=st.none() | st.sampled_from(Cause),
    exit_code=_numbers,
    error=hostile,
    is_like_first=st.booleans(),
    has_first_code=st.booleans(),
    ran_ns=st.none() | _times,
)
_facts = st.builds(
    ContainerFacts,
    restart_policy=st.none() | st.sampled_from(("no", "always", "on-failure")) | hostile,
    max_retries=st.integers(0, 2**31),
    restart_count=st.none() | st.integers(0, 2**62),
    memory_limit=st.none() | st.integers(0, 2**62),
)
_reports = st.builds(
    IncidentReport,
    id=st.integers(0, 2**128 - 1).map("inc_{:032x}".format),
    status=st.sampled_from(Status),
    condition=st.sampled_from(Condition),
    route=hostile,
    severity=st.sampled_from(Severity),
    subject=hostile,
    reason=st.sampled_from(UpdateReason),
    crash_looping=st.booleans(),
    started_ns=_times,
    ended_ns=st.none() | _times,
    resolution=st.none() | st.sampled_from(Resolution),
    count=st.integers(0, 2**62),
    total=st.integers(1, 2**62),
    deaths=st.integers(0, 2**62),
    unhealthy=st.integers(0, 2**62),
    notified_before=st.booleans(),
    sequence=st.integers(1, 9),
    opening_route=hostile,
    problem=_problems,
    opening_event=events,
    opening_severity=st.sampled_from(Severity),
    unknown_since_ns=st.none() | _times,
    included=st.none() | _included,
    container=st.none() | _facts,
    given_up=st.booleans(),
)


def updates(max_incidents: int = 100, min_incidents: int = 1) -> st.SearchStrategy[Notification]:
    """Any update with at most and at least this many incidents."""
    update = st.builds(
        Update,
        reason=st.sampled_from(UpdateReason),
        incidents=st.lists(_reports, min_size=min_incidents, max_size=max_incidents).map(tuple),
        more=st.integers(0, 20_000),
        group=st.none() | st.dictionaries(hostile, hostile, max_size=4),
        actions=st.dictionaries(_actions_of_plain | hostile, st.integers(1, 2**62), max_size=25),
        names=st.lists(hostile, max_size=3).map(tuple),
        overflow=st.booleans(),
        made_ns=_times,
        late_ns=st.none() | _times,
    )
    return st.builds(
        lambda notification, update: msgspec.structs.replace(
            notification, include=None, update=update
        ),
        notifications,
        update,
    )


for_people = notifications | updates(3, 0)
"""Everything that a message to people can report."""


def cards(*attacks: str) -> st.SearchStrategy[Card]:
    """Anything, with or without hostile custom texts, ``attacks`` among them."""
    lines = hostile | st.sampled_from(attacks) if attacks else hostile
    texts = st.lists(lines).map("\n".join)
    return st.builds(
        Card, for_people, custom_title=lines.map(filled), custom_text=texts.map(filled)
    )
