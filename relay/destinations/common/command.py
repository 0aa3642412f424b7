"""The command with which a reader looks further: a fact that people copy into a shell.

Names are hostile, and an app on a phone may show part of one as a link. So a name is in a command
only if it has nothing but letters, digits, ``-`` and ``_``, and does not begin with ``-``: a shell
takes it as it stands, and no app makes a link of it. Otherwise the short id is there. A command has
at most `COMMAND_MAX` characters, so that every service shows it whole.
"""

import re

from relay.core.event import Actor, format_second

LOGS_COMMAND = "Logs"
"""The name of the fact whose command prints the log of a container."""
TASKS_COMMAND = "Tasks"
"""The name of the fact whose command lists the tasks of a service with their errors."""

COMMAND_MAX = 70
"""Our own limit: what the smallest message has room for, that of Pushover."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""A name that needs no quotes. Names of containers may also have dots (moby,
``daemon/names/names.go``), and so look like hosts."""
_ID = re.compile(r"[0-9a-z]{12}")
"""The beginning of an id: hexadecimal of a container; of a service also with other letters."""
_BEFORE_NS = 60 * 10**9
"""How much of the log before a problem the command asks for."""
_LOGGED = frozenset({"die", "oom", "health_status"})
"""The problems about which a log says more. What cannot be started has printed nothing."""


def is_command(name: str) -> bool:
    """Whether a fact of this name is a command."""
    return name in (LOGS_COMMAND, TASKS_COMMAND)


def find_command(actor: Actor, type_: str, action: str, time_ns: int) -> tuple[str, str] | None:
    """Return the fact that says how to look into a problem; None if no command shows more.

    ``time_ns`` is when it happened. ``docker logs`` takes a time by RFC 3339:
    https://docs.docker.com/reference/cli/docker/container/logs/
    """
    if type_ == "container" and action in _LOGGED:
        # only Podman's events of deaths have this attribute
        program = "podman" if "containerExitCode" in actor.attributes else "docker"
        since = format_second(max(0, time_ns - _BEFORE_NS))
        return _complete(LOGS_COMMAND, f"{program} logs --since {since}", actor)
    if type_ == "service" and action == "start_failed":
        return _complete(TASKS_COMMAND, "docker service ps --no-trunc", actor)
    return None


def _complete(name: str, beginning: str, actor: Actor) -> tuple[str, str] | None:
    """Return a command with its object as the last word; None if nothing can name that safely."""
    known = actor.name or ""
    if _NAME.fullmatch(known) and len(f"{beginning} {known}") <= COMMAND_MAX:
        return name, f"{beginning} {known}"
    found = _ID.match(actor.id)
    return (name, f"{beginning} {found[0]}") if found else None
