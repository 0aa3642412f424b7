"""The names that keys of a configuration may refer to, which are the context of a validation."""

from collections.abc import Mapping

import msgspec
from pydantic import ValidationInfo

from relay.config.errors import ConfigIssue, InvalidValue, IssueScope, did_you_mean


class KnownNames(msgspec.Struct, frozen=True):
    """The names of each kind. None: unknown, so references are not checked."""

    engines: frozenset[str] | None = None
    destinations: frozenset[str] | None = None
    mute_time_intervals: frozenset[str] | None = None


def get_known_names(info: ValidationInfo) -> KnownNames:
    """Return the names of a validation."""
    return info.context if isinstance(info.context, KnownNames) else KnownNames()


def check_known(
    names: tuple[str, ...], known: frozenset[str] | None, message: str
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
