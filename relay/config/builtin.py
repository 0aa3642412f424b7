"""The built-in configuration, as a text: what relay uses without a file, and `relay init` writes.

It reports crashes, OOM kills, failing health checks, containers and services that cannot start,
and lost engines. `relay check --show` prints it, so its comments are for people.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

_COMPOSE_PROJECT = "com.docker.compose.project"
_PLAIN = re.compile(r'[^"\\\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]')
"""The characters that stand for themselves in a YAML text in double quotes."""


class Value(msgspec.Struct, frozen=True):
    """One key of a destination, with its value as YAML."""

    key: str
    text: str

    @classmethod
    def literal(cls, key: str, value: str) -> "Value":
        """Return a key whose value is written into the configuration."""
        return cls(key, quote_yaml(value.replace("$", "$$")))

    @classmethod
    def reference(cls, key: str, variable: str) -> "Value":
        """Return a key whose value is a variable of the environment."""
        return cls(key, f'"${{{variable}}}"')


class Destination(msgspec.Struct, frozen=True):
    """A destination of the built-in configuration."""

    name: str
    type: str
    values: tuple[Value, ...] = ()


TERMINAL = Destination("terminal", "console")


class Choices(msgspec.Struct, frozen=True):
    """What differs between one built-in configuration and another."""

    destinations: tuple[Destination, ...] = (TERMINAL,)
    host: Value | None = None
    """The name of the machine in messages; None for the one that the engine reports."""
    projects: tuple[str, ...] = ()
    """Only these compose projects are reported; empty for everything."""
    includes_logs: bool = False
    """Whether a message about a crash has the last lines of the container's log."""


def quote_yaml(text: str) -> str:
    """Return any text as a YAML scalar in double quotes."""
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if _PLAIN.match(character):
        return character
    if character in '"\\':
        return f"\\{character}"
    return f"\\U{ord(character):08x}"


def compose(choices: Choices, introduction: Sequence[str]) -> str:
    """Return the configuration; ``introduction`` are the lines of the comment at its top."""
    lines = [
        *(f"# {line}".rstrip() for line in introduction),
        "",
        *_engine_lines(choices.host),
        "",
        "# The time zone of messages and commands. Without it: UTC.",
        "# time_zone: Europe/Berlin",
        "",
        "# Quiet nights: these lines, and 'mute: nights' at a destination. What happens then is",
        "# reported in the morning.",
        "# mute_time_intervals:",
        '#   nights: [{times: "22:00-07:00"}]',
        "",
        "destinations:",
        *(line for it in choices.destinations for line in _destination_lines(it)),
        "",
        *_route_lines(choices),
    ]
    return "\n".join(lines) + "\n"


def _engine_lines(host: Value | None) -> list[str]:
    comment = "# The local engine, which relay finds as the docker command does."
    if host is None:
        return [
            comment,
            "# engines:",
            "#   local: {host: web-1}  # the name of this machine in messages",
        ]
    return [comment, "engines:", f"  local: {{{host.key}: {host.text}}}"]


def _destination_lines(destination: Destination) -> Iterator[str]:
    yield f"  {destination.name}:"
    yield f"    type: {destination.type}"
    for value in destination.values:
        yield f"    {value.key}: {value.text}"


def _route_lines(choices: Choices) -> list[str]:
    names = ", ".join(destination.name for destination in choices.destinations)
    to = f"    to: [{names}]"
    label = ""
    if choices.projects:
        projects = ", ".join(quote_yaml(name.replace("$", "$$")) for name in choices.projects)
        label = f"label: {{{_COMPOSE_PROJECT}: [{projects}]}}"
    rest = f", {label}" if label else ""
    include = [
        "    # Messages show the last lines of the log. Logs can hold secrets: without this line",
        "    # messages have none.",
        "    include: {logs: 20}",
    ]
    return [
        "# Routes are tried from top to bottom, and every one that matches applies.",
        "routes:",
        "  - name: died  # it crashed or ran out of memory, and nobody had asked for its end",
        "    match:",
        "      type: container",
        "      any:",
        "        - {action: die, cause: [crashed, oom]}",
        "        - {action: oom}  # the kernel killed one of its processes; it may run on",
        "      interactive: false  # not in a terminal (docker run -it), and not a docker build",
        *([f"      {label}"] if label else []),
        *(include if choices.includes_logs else []),
        to,
        "  - name: not-started  # it should run, and cannot be started",
        f"    match: {{action: start_failed{rest}}}",
        to,
        "  - name: unhealthy  # its health check fails",
        f"    match: {{type: container, health: unhealthy{rest}}}",
        *(["    include: {health: true}"] if choices.includes_logs else []),
        to,
        "  - name: engine-lost  # relay cannot reach the engine, or can again",
        "    match: {type: relay, action: [engine_lost, engine_back]}",
        to,
    ]
