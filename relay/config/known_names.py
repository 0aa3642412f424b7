"""The names in a configuration, which its keys and the matches of silences refer to."""

from collections.abc import Collection, Mapping

import msgspec
from pydantic import ValidationInfo

from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, did_you_mean


class KnownNames(msgspec.Struct, frozen=True):
    """The names of each kind. None: unknown, so references are not checked."""

    engines: Collection[str] | None = None
    destinations: Collection[str] | None = None
    mute_time_intervals: Collection[str] | None = None
    routes: Collection[str] | None = None


def get_known_names(info: ValidationInfo) -> KnownNames:
    """Return the names of a validation: they are its context."""
    return info.context if isinstance(info.context, KnownNames) else KnownNames()


def check_known(
    names: tuple[str, ...], known: Collection[str] | None, message: str
) -> tuple[str, ...]:
    """Check that each name is known; else ``message`` follows it in an error."""
    issues = [
        ConfigIssue((at,), f"{message}{did_you_mean(name, known)}", IssueScope.VALUE)
        for at, name in enumerate(names)
        if known is not None and name not in known
    ]
    if issues:
        raise InvalidValue(issues)
    return names


def find_section_names(data: Mapping[str, object], section: str) -> frozenset[str] | None:
    """Return the names in a section of raw data; None if it has none or is not a mapping."""
    entries = data.get(section)
    return frozenset(entries) or None if isinstance(entries, dict) else None
