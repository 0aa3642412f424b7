"""Reads the variables that take the place of a configuration file, such as ``RELAY_SLACK_URL``.

Each may have ``_FILE`` at its end and name a file with the value. The values themselves are read
with the configuration, which refers to the variables: here only their names count, and whether they
are empty.
"""

import re
from collections.abc import Iterator, Mapping

from relay.config import builtin
from relay.config.errors import find_closest
from relay.config.secrets import FILE_SUFFIX as FILE_KEY_SUFFIX
from relay.config.services import PREFIX, SERVICES, Service, Setting, all_settings
from relay.core.errors import ConfigError, Problem

CONFIG = "RELAY_CONFIG"
CONFIG_YAML = "RELAY_CONFIG_YAML"
REQUIRE_CONFIG = "RELAY_REQUIRE_CONFIG"
HOST = "RELAY_HOST"
OTHERS = {
    CONFIG: "The path of the configuration file.",
    CONFIG_YAML: "A whole configuration, instead of a file.",
    HOST: "The name of this machine in messages, where there is no file.",
    REQUIRE_CONFIG: "With `1` relay does not run without a file and without a variable that names "
    "a destination; the image sets it.",
    "RELAY_SSLKEYLOGFILE": "A file for the keys of TLS connections, for debugging.",
}
"""The variables that belong to no destination, and what each is, in Markdown."""

PLACE = "environment"
"""What errors name instead of a file."""

_MEANT = {
    "RELAY_CONFIG_FILE": CONFIG,
    "RELAY_CONFIG_YAML_FILE": CONFIG,
}
"""What stands for another variable, but is not similar to it."""
_OF_THE_PLATFORM = re.compile(
    r"RELAY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?)"
)
"""Kubernetes sets such variables in every container if a service is named ``relay``:
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""


def read_variables(environ: Mapping[str, str]) -> builtin.Choices | None:
    """Return what the variables choose; None if they name no destination.

    Raises `ConfigError` with every problem: a variable that is empty, misspelled, or without the
    one that it belongs to, and a value that is given twice. No message contains a value.
    """
    problems = [*_find_unknown(environ), *_find_empty(environ)]
    destinations = []
    for service in SERVICES:
        given = [setting for setting in service.settings if is_set(setting, environ)]
        if given:
            problems += _find_contradictions(service, given, environ)
            values = tuple(to_value(setting, environ) for setting in given)
            destinations.append(builtin.Destination(service.name, service.type, values))
    if problems:
        raise ConfigError(problems)
    if not destinations:
        return None
    host = builtin.Value.reference("host", HOST) if HOST in environ else None
    return builtin.Choices(tuple(destinations), host)


def is_set(setting: Setting, environ: Mapping[str, str]) -> bool:
    """Whether a setting has a variable, or one that names its file."""
    return setting.variable in environ or setting.file_variable in environ


def to_value(setting: Setting, environ: Mapping[str, str]) -> builtin.Value:
    """Return the key of a setting that `is_set`, with a reference to its variable."""
    if setting.variable in environ:
        return builtin.Value.reference(setting.key, setting.variable)
    return builtin.Value.reference(setting.key + FILE_KEY_SUFFIX, setting.file_variable)


def find_destination_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables of destinations that are set."""
    names = (it for each in all_settings() for it in (each.variable, each.file_variable))
    return tuple(name for name in names if name in environ)


def find_source(path: str) -> str | None:
    """Return the variable that a value of the built-in configuration comes from, by its path.

    For the path of a destination that is the first variable of its service.
    """
    if path == "engines.local.host":
        return HOST
    for service in SERVICES:
        for setting in service.settings:
            key = f"destinations.{service.name}.{setting.key}"
            if path == key:
                return setting.variable
            if path == key + FILE_KEY_SUFFIX:
                return setting.file_variable
        if path.startswith(f"destinations.{service.name}"):
            return service.settings[0].variable
    return None


def _find_unknown(environ: Mapping[str, str]) -> Iterator[Problem]:
    known = [it for each in all_settings() for it in (each.variable, each.file_variable)]
    known += OTHERS
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in known or _OF_THE_PLATFORM.fullmatch(name):
            continue
        meant = _MEANT.get(name) or _find_of_service(name) or find_closest(name, known, cutoff=0.8)
        listed = ", ".join(each.variable for each in all_settings())
        hint = f"did you mean {meant}?" if meant else f"there are: {listed}; remove it"
        yield _problem(name, f"is no variable of relay's ({hint})")


def _find_of_service(name: str) -> str | None:
    """Return the variable that is meant, if the name begins as those of a service do."""
    for service in SERVICES:
        if name.startswith(f"{PREFIX}{service.name.upper()}"):
            names = (it for each in service.settings for it in (each.variable, each.file_variable))
            return find_closest(name, names)
    return None


def _find_empty(environ: Mapping[str, str]) -> Iterator[Problem]:
    for name in (*find_destination_variables(environ), HOST):
        if environ.get(name) == "":
            yield _problem(name, "is empty: set it to a value, or do not set it at all")


def _find_contradictions(
    service: Service, given: list[Setting], environ: Mapping[str, str]
) -> Iterator[Problem]:
    for setting in given:
        if setting.variable in environ and setting.file_variable in environ:
            message = f"{setting.variable} is set as well: keep one of the two"
            yield _problem(setting.file_variable, message)
    there = _name_of(given[0], environ)
    for setting in service.settings:
        if setting.is_required and setting not in given:
            message = f"is not set, but {there} is: set it too, or {setting.file_variable}"
            yield _problem(setting.variable, message)


def _name_of(setting: Setting, environ: Mapping[str, str]) -> str:
    return setting.variable if setting.variable in environ else setting.file_variable


def _problem(variable: str, message: str) -> Problem:
    return Problem(PLACE, 0, 0, variable, message)
