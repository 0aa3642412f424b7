"""Finds conditions of a match that no event fulfils: a value that no engine sends, or two
conditions that exclude each other.

Engines may send values that relay does not know, so these are warnings of `relay check` and not
errors. What stands under `not` is not checked: if it never matches, the `not` does no harm.
"""

import fnmatch
import re
from collections.abc import Iterator

import msgspec

from relay.config.errors import ConfigIssue, IssueScope, KeyPath
from relay.config.match import (
    CONTAINER_ACTIONS,
    KNOWN_VALUES,
    NOT_LABELS,
    RELAY_ACTIONS,
    Exists,
    Field,
    Glob,
    Match,
    Not,
    Pattern,
    Range,
    Regex,
    selects_relay_events,
)
from relay.config.regex import compile_regex
from relay.core.event import TYPE_RELAY, Cause

_ACTIONS_WITH = {
    "cause": ("die",),
    "exit_code": ("die", "exec_die", "exec_died"),
    "signal": ("kill",),
    "health": ("health_status",),
}
"""The actions whose events have a value in a field: see `relay.core.event.Event`."""

_NOUNS = {"type": "type of events", "health": "state of health"}
_WITH_ARTICLE = {
    "cause": "a cause",
    "exit_code": "an exit code",
    "signal": "a signal",
    "health": "a health",
}
_MEANT = {
    **dict.fromkeys(("crash", "crashed", "fail", "failed"), "'action: die' with 'cause: crashed'"),
    **dict.fromkeys(("exit", "exited", "dead", "died", "death"), "'action: die'"),
    **dict.fromkeys(("oom_kill", "oomkilled", "out_of_memory"), "'action: oom'"),
    **dict.fromkeys(("unhealthy", "healthy"), "'health: unhealthy' or 'health: healthy'"),
    **dict.fromkeys(("delete", "deleted", "removed"), "'action: destroy'"),
}
"""What is probably meant by an action that no engine has."""

_SHORT_ID = re.compile(r"[0-9a-f]{12,63}")
_ID_CHARS = 64


class _Located(msgspec.Struct, frozen=True):
    """A field of a match, and its path."""

    field: Field
    path: KeyPath

    def fits(self, value: str) -> bool:
        """Whether the field takes this value."""
        return any(_fits(pattern, value) for pattern in self.field.patterns)

    def issue(self, message: str) -> ConfigIssue:
        """Return an issue about the field."""
        return ConfigIssue(self.path, message, IssueScope.VALUE)


def find_match_warnings(match: Match, path: KeyPath) -> list[ConfigIssue]:
    """Return an issue for each condition that no event fulfils; ``path`` leads to the match."""
    found = _find_in(match, path, (), for_relay=selects_relay_events(match))
    return list(dict.fromkeys(found))


def may_take_containers(match: Match) -> bool:
    """Whether the type that a match asks for may be that of containers."""
    return all(
        located.fits("container") for located in _locate(match, ()) if located.field.name == "type"
    )


def _find_in(
    match: Match, path: KeyPath, outer: tuple[_Located, ...], *, for_relay: bool
) -> Iterator[ConfigIssue]:
    """Yield what is wrong with a match whose conditions hold together with those of ``outer``.

    ``for_relay`` is whether the whole match may take relay's own events.
    """
    own = tuple(_locate(match, path))
    for located in own:
        yield from _check_values(located)
    for at, first in enumerate(own):
        for second in (*outer, *own[:at]):
            for one, other in ((first, second), (second, first)):
                about = first if second in outer else one
                yield from (about.issue(message) for message in _find_conflicts(one, other))
            if _are_disjoint(first.field, second.field):
                yield first.issue(
                    f"never matches: another condition on '{first.field.name}' excludes it"
                )
        yield from _check_action_of_relay(first, for_relay=for_relay)
    for at, inner in enumerate(match.any):
        yield from _find_in(inner, (*path, "any", at), (*outer, *own), for_relay=for_relay)


def _locate(match: Match, path: KeyPath) -> Iterator[_Located]:
    """Yield the fields of a match, with those in ``all``: an event has to fulfil every one."""
    for field in match.fields:
        keys = (field.name,) if field.key is None else (field.name, field.key)
        yield _Located(field, (*path, *keys))
    for at, inner in enumerate(match.all):
        yield from _locate(inner, (*path, "all", at))


def _check_values(located: _Located) -> Iterator[ConfigIssue]:
    """Check a field by itself: its name, and each of its plain values."""
    field = located.field
    if field.name == "label" and field.key in NOT_LABELS and _needs_value(field):
        message = f"never matches: the engine's own '{field.key}' replaces a label of this name"
        yield located.issue(message)
    for at, pattern in enumerate(field.patterns):
        if isinstance(pattern, Glob) and (odd := _find_odd(field.name, pattern.text)):
            yield ConfigIssue((*located.path, at), odd, IssueScope.VALUE)


def _find_odd(field: str, text: str) -> str | None:
    """Return why a field never has this value; None if it may."""
    match field:
        case "action" if ":" in text and ": " not in text:
            return "has no space after the ':': engines write 'health_status: unhealthy'"
        case "action" if is_plain(text) and text.partition(": ")[0] not in KNOWN_VALUES[field]:
            if meant := _MEANT.get(text.lower()):
                return f"is not an action of any engine (did you mean {meant}?)"
            return "is not an action that relay knows: `relay tail` shows what comes"
        case "type" | "health" if is_plain(text) and text not in KNOWN_VALUES[field]:
            known, noun = ", ".join(KNOWN_VALUES[field]), _NOUNS[field]
            return f"is not a {noun} that relay knows: there are {known}"
        case "name" if text.startswith("/"):
            return "begins with a '/', as no name in an event does: remove it"
        case "id" if _SHORT_ID.fullmatch(text):
            return f"is the beginning of an id, which has {_ID_CHARS} digits: write a '*' after it"
    return None


def _find_conflicts(one: _Located, other: _Located) -> Iterator[str]:
    """Yield why two conditions cannot hold together."""
    name, beside = one.field.name, other.field.name
    if name in _ACTIONS_WITH and _needs_value(one.field):
        if beside == "action" and not any(map(other.fits, _ACTIONS_WITH[name])):
            actions = " or ".join(f"'{action}'" for action in _ACTIONS_WITH[name])
            yield f"never matches: only events with the action {actions} have {_WITH_ARTICLE[name]}"
        if beside == "type" and not other.fits("container"):
            yield f"never matches: only containers have {_WITH_ARTICLE[name]}"
    if (name, beside) == ("exit_code", "cause"):
        yield from _find_exit_code_conflicts(one, other)
    if (name, beside) == ("action", "type"):
        yield from _find_type_conflicts(one, other)


def _find_exit_code_conflicts(code: _Located, cause: _Located) -> Iterator[str]:
    causes = {each for each in Cause if cause.fits(each.value)}
    ranges = [each for each in code.field.patterns if isinstance(each, Range)]
    if len(ranges) < len(code.field.patterns):
        return
    if causes == {Cause.CRASHED} and all(each.high == 0 for each in ranges):
        yield "never matches: a container that crashed has another exit code than 0"
    if causes == {Cause.FINISHED} and all(each.low for each in ranges):
        yield "never matches: a container that finished has the exit code 0"


def _find_type_conflicts(action: _Located, type_: _Located) -> Iterator[str]:
    taken = [each for each in KNOWN_VALUES["action"] if action.fits(each)]
    types = [each for each in KNOWN_VALUES["type"] if type_.fits(each)]
    if not taken or not types:
        return
    if types == [TYPE_RELAY] and not {*RELAY_ACTIONS}.intersection(taken):
        yield f"never matches: relay's own events have the actions {', '.join(RELAY_ACTIONS)}"
    elif {*CONTAINER_ACTIONS}.issuperset(taken) and not {"container", "pod"}.intersection(types):
        yield "never matches: only containers have this action"


def _check_action_of_relay(located: _Located, *, for_relay: bool) -> Iterator[ConfigIssue]:
    """Check that a match for relay's own events names their type."""
    if located.field.name != "action" or for_relay:
        return
    taken = [each for each in KNOWN_VALUES["action"] if located.fits(each)]
    if taken and {*RELAY_ACTIONS}.issuperset(taken):
        yield located.issue("is an action of relay's own events: write 'type: relay' beside it")


def is_plain(text: str) -> bool:
    """Whether a glob has no special characters: only this text fits it."""
    return not any(mark in text for mark in "*?[")


def _needs_value(field: Field) -> bool:
    """Whether an event without a value in this field does not fulfil the condition."""
    return not any(_fits_absent(pattern) for pattern in field.patterns)


def _fits_absent(pattern: Pattern) -> bool:
    match pattern:
        case Exists(expected=expected):
            return not expected
        case Not(patterns=patterns):
            return any(isinstance(each, Exists) for each in patterns)
        case _:
            return False


def _fits(pattern: Pattern, value: str) -> bool:
    """Whether a pattern fits a value. Of an action, whether it may fit the value with a detail."""
    match pattern:
        case Glob(text=text):
            return fnmatch.fnmatchcase(value, text.partition(": ")[0])
        case Regex(text=text):
            return compile_regex(text)(value) or ":" in text
        case Not(patterns=patterns):
            return not any(_fits(each, value) for each in patterns)
        case Exists(expected=expected):
            return expected
        case Range():
            return True


def _are_disjoint(one: Field, other: Field) -> bool:
    """Whether two conditions on the same field take plain values only, and no common one."""
    if (one.name, one.key) != (other.name, other.key) or one.name == "action":
        return False
    values = [
        {each.text for each in field.patterns if isinstance(each, Glob) and is_plain(each.text)}
        for field in (one, other)
    ]
    complete = [*map(len, values)] == [len(one.patterns), len(other.patterns)]
    return complete and values[0].isdisjoint(values[1])
