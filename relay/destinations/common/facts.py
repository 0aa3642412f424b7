"""The facts of a message: what it says by name and value, below its headline.

A fact that relay's own headline says is left out, so that a message says nothing twice.
"""

from collections.abc import Sequence

from relay.core.event import TYPE_RELAY, Cause, Event
from relay.core.incident import IncidentReport, Status
from relay.core.notification import Notification
from relay.core.text import utf16_length
from relay.destinations.common.command import find_command
from relay.destinations.common.container_text import describe_restart_policy, format_memory
from relay.destinations.common.event_text import (
    PREDICATE_MAX,
    describe_host,
    describe_image,
    find_changes,
    find_container,
    find_error,
    find_reclaimed,
    shorten_error,
)
from relay.destinations.common.exit_code import describe_exit_code
from relay.destinations.common.incident_line import has_given_up

Facts = list[tuple[str, str]]

_REPORTED_CAUSES = (Cause.CRASHED, Cause.OOM, Cause.UNKNOWN)
"""The causes of a death that is a problem."""
_MEANWHILE = {
    "engine_lost": "what its containers do is not seen; relay keeps trying",
    "destination_failing": "its messages wait; relay keeps trying",
}
"""What an incident of relay's own means for its readers."""
_ERROR_MAX = PREDICATE_MAX - len("cannot start its tasks: ")
"""The UTF-16 units of an error that every sentence has room for."""


def list_facts(event: Event) -> Facts:
    """Return the most important facts of an event, also those that its sentence says."""
    return [*_list_host(event), *_list_details(event), *_list_origin(event)]


def list_further_facts(event: Event) -> Facts:
    """Return the facts of an event that its sentence does not say, and how to look into it."""
    facts = [*_list_host(event), *_list_truncated(event), *_list_origin(event, event.actor.name)]
    is_problem = event.action != "die" or event.cause in _REPORTED_CAUSES
    if is_problem and event.health != "healthy":
        facts += _list_command(event, event.action, event.time_ns)
    return facts


def list_incident_facts(
    last: Event, report: IncidentReport, *, with_details: bool = False
) -> Facts:
    """Return the facts of an incident, whose last problem is ``last``, that still hold.

    Without ``with_details`` they are those that its sentence does not say.
    """
    origin = _list_origin(last, report.subject)
    host = [(name, value) for name, value in _list_host(last) if value != report.subject]
    if report.status is Status.RESOLVED:
        return [*host, *origin]
    details = _list_details(last) if with_details else _list_truncated(last)
    return [*host, *details, *origin, *list_help(last, report)]


def list_help(last: Event, report: IncidentReport) -> Facts:
    """Return what explains an open incident, and the command with which to look further."""
    problem, container = report.problem, report.container
    facts = []
    if problem.is_about_host:
        facts.append(("Meanwhile", "what happens there is not seen"))
    elif problem.type == TYPE_RELAY and problem.action in _MEANWHILE:
        facts.append(("Meanwhile", _MEANWHILE[problem.action]))
    if container is not None:
        is_oom = problem.action == "oom" or problem.cause is Cause.OOM
        if is_oom and container.memory_limit is not None:
            facts.append(("Memory limit", format_memory(container.memory_limit)))
        policy = describe_restart_policy(container)
        if policy and not has_given_up(report):
            facts.append(("Restart policy", policy))
    return [*facts, *_list_command(last, problem.action, problem.time_ns)]


def list_commands(notification: Notification, reports: Sequence[IncidentReport]) -> Facts:
    """Return the commands with which to look into the open ones of the first incidents.

    One that cannot name its container has no command here, since nothing else would say which
    container it is about.
    """
    commands = []
    for event, report in zip(notification.events, reports, strict=False):
        problem, actor = report.problem, event.actor
        found = find_command(actor, event.type, problem.action, problem.time_ns)
        if found and report.status is Status.FIRING and found[1].endswith(f" {actor.name}"):
            commands.append(found)
    return commands


def _list_command(event: Event, action: str, time_ns: int) -> Facts:
    command = find_command(event.actor, event.type, action, time_ns)
    return [] if command is None else [command]


def _list_host(event: Event) -> Facts:
    """Return where it happened. A sentence about relay's own names the engine itself."""
    host = event.host if event.type == TYPE_RELAY else describe_host(event.host, event.engine)
    return _drop_empty([("Host", host)])


def _list_details(event: Event) -> Facts:
    """Return what `describe_event` says in its sentence."""
    code = event.exit_code
    return _drop_empty(
        [
            *((change.name, change.values) for change in find_changes(event)),
            ("Container", find_container(event)),
            ("Reclaimed", find_reclaimed(event)),
            ("Error", find_error(event)),
            ("Exit code", None if code is None else describe_exit_code(code)),
            ("Cause", event.cause),
        ]
    )


def _list_truncated(event: Event) -> Facts:
    """Return those details that are too long for a sentence."""
    changes = find_changes(event)
    is_long = utf16_length(", ".join(each.sentence for each in changes)) > PREDICATE_MAX
    error = shorten_error(find_error(event) or "")
    return [
        *((each.name, each.values) for each in changes if is_long),
        *([("Error", error)] if utf16_length(error) > _ERROR_MAX else []),
    ]


def _list_origin(event: Event, name: str | None = None) -> Facts:
    """Return image and service; without the service if ``name``, which is shown, begins with it."""
    labels, shown = event.actor.attributes, name or ""
    compose = [labels.get(f"com.docker.compose.{part}") for part in ("project", "service")]
    parts = [part for part in compose if part]
    is_default = len(parts) == 2 and any(
        f"{shown}{joint}".startswith(joint.join([*parts, ""])) for joint in "-_"
    )
    swarm = labels.get("com.docker.swarm.service.name")
    is_task = bool(swarm) and (shown == swarm or shown.startswith(f"{swarm}."))
    return _drop_empty(
        [
            ("Image", describe_image(event.actor.image or "")),
            ("Compose service", "" if is_default else " / ".join(parts)),
            ("Swarm service", None if is_task else swarm),
        ]
    )


def _drop_empty(facts: list[tuple[str, str | None]]) -> Facts:
    return [(name, value) for name, value in facts if value]
