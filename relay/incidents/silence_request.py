"""The request for a silence, and the checks that it has to pass."""

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from relay.config.errors import (
    ConfigIssue,
    InvalidValue,
    IssueScope,
    did_you_mean,
    format_path,
    quote,
)
from relay.config.known_names import KnownNames
from relay.config.match import SILENCE_FIELDS, Field, Glob, Match
from relay.config.match_parser import parse_match
from relay.core.errors import RelayError
from relay.incidents.life import HOUR_NS, MINUTE_NS

DEFAULT_DURATION_NS = HOUR_NS
MAX_DURATION_NS = 90 * 24 * HOUR_NS
"""How long a silence may be. What nobody is to be notified of for longer is up to the routes."""

PAST_TOLERANCE_NS = MINUTE_NS
"""A silence that is to begin less than this ago begins now: people write minutes."""

LATEST_NS = 9_214_646_400 * 10**9
"""2262-01-01: about the end of what 64 bits of nanoseconds can represent."""

MAX_COMMENT = 1000
"""The longest comment, in characters."""
MAX_BY = 200
"""The longest name of who made a silence, in characters."""
MAX_MATCH_BYTES = 4 * 2**10
"""The longest match, as JSON."""

_ALWAYS_THERE = ("engine", "host", "type", "action", "scope", "id", "route", "origin")
"""The fields that every event has."""


class InvalidSilence(RelayError):
    """A silence cannot be added or changed like this; the message says what to do."""


class SilenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A silence that somebody asks for. Times are in nanoseconds since 1970, by the wall clock."""

    comment: str
    """Why nobody is to be notified."""
    by: str
    """Who asks for it."""
    match: Mapping[str, Any] | None = None
    """What it holds back, in the language of routes."""
    incident: str | None = None
    """The id of an incident, instead of a match."""
    everything: bool = False
    """Whether everything is meant, without a match."""
    from_ns: int | None = None
    """None for now."""
    until_ns: int | None = None
    duration_ns: int | None = None
    """How long, instead of ``until_ns``; without both `DEFAULT_DURATION_NS`."""


def parse_silence_match(data: object, *, engines: Collection[str] | None = None) -> Match:
    """Parse the match of a silence: see `relay.config.match_parser.parse_match`."""
    return parse_match(data, engines=engines, fields=SILENCE_FIELDS)


def check_request(request: SilenceRequest, known: KnownNames) -> None:
    """Check the texts and the match. Raises `InvalidSilence`."""
    _check_text("comment", request.comment, MAX_COMMENT, "why, as in --comment deploy")
    _check_text("by", request.by, MAX_BY, "who wants it, as in --by ann")
    if request.incident is not None:
        if request.match is not None or request.everything:
            raise InvalidSilence("both a match and an incident: write one of them")
    elif request.everything:
        if request.match:
            raise InvalidSilence("both --all and a match: write one of them")
    else:
        _check_match(request.match or {}, known)


def find_times(request: SilenceRequest, wall_ns: int) -> tuple[int, int]:
    """Return when a silence begins and ends. Raises `InvalidSilence`."""
    from_ns = wall_ns if request.from_ns is None else request.from_ns
    if from_ns < wall_ns - PAST_TOLERANCE_NS:
        raise InvalidSilence("its beginning is in the past: without --from it begins now")
    from_ns, until_ns = max(from_ns, wall_ns), request.until_ns
    if until_ns is None:
        duration_ns = request.duration_ns
        until_ns = from_ns + (DEFAULT_DURATION_NS if duration_ns is None else duration_ns)
    elif request.duration_ns is not None:
        raise InvalidSilence("both a duration and an end: write --for or --until")
    elif until_ns <= wall_ns:
        raise InvalidSilence("its end is in the past: write a later --until, or --for 1h")
    if until_ns <= from_ns:
        raise InvalidSilence(
            "its end is not after its beginning: write a later --until, or a longer --for"
        )
    if until_ns - from_ns > MAX_DURATION_NS:
        raise InvalidSilence(
            f"it is longer than {MAX_DURATION_NS // (24 * HOUR_NS)} days: shorten it, or change "
            "the routes so that they do not send this"
        )
    if until_ns >= LATEST_NS:
        raise InvalidSilence("it ends after 2261: write an earlier time")
    return from_ns, until_ns


def _check_text(name: str, text: str, limit: int, wanted: str) -> None:
    if not text.strip():
        raise InvalidSilence(f"--{name} is empty: write {wanted}")
    if len(text) > limit:
        raise InvalidSilence(f"--{name} is longer than {limit:,} characters: shorten it")
    if not _is_unicode(text):
        raise InvalidSilence(f"--{name} is not UTF-8: {quote(text)}")


def _is_unicode(text: str) -> bool:
    """Whether it has no lone surrogate, as an argument has that is not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _check_match(data: Mapping[str, Any], known: KnownNames) -> None:
    try:
        encoded = msgspec.json.encode(data)
    except UnicodeEncodeError as error:
        raise InvalidSilence("the match is not UTF-8") from error
    if len(encoded) > MAX_MATCH_BYTES:
        raise InvalidSilence(
            f"the match is longer than {MAX_MATCH_BYTES:,} bytes as JSON: shorten it, or write "
            "several silences"
        )
    try:
        match = parse_silence_match(data, engines=known.engines)
    except InvalidValue as error:
        issues = (describe_issue(each, data) for each in error.issues)
        raise InvalidSilence("\n".join(issues)) from error
    if _takes_nothing(match):
        raise InvalidSilence(
            "it would hold back nothing: what stands under 'not' fits every event; write less there"
        )
    if _takes_everything(match):
        raise InvalidSilence(
            "it would hold back everything: write what to match, as in project=shop, or --all if "
            "everything is meant"
        )
    for field in match.fields:
        _check_route(field, known.routes)


def describe_issue(issue: ConfigIssue, data: object) -> str:
    """Return what is wrong, after the path and, if the message goes on from it, the value."""
    message, steps = issue.message + issue.detail, list[str | int]()
    for step in issue.path:
        if isinstance(data, Mapping):
            data = data.get(str(step))
        elif isinstance(data, list) and isinstance(step, int):
            data = data[step]
        else:
            break  # a single pattern is written without a list
        steps.append(step)
    if issue.scope is IssueScope.VALUE:
        message = f"{quote(str(data))} {message}"
    elif issue.scope is IssueScope.KEY:
        steps = steps[:-1]
    path = format_path(tuple(steps))
    return f"{path}: {message}" if path else message


def _check_route(field: Field, routes: Collection[str] | None) -> None:
    """Check that a route that is named exists; one that is not configured sends nothing."""
    if field.name != "route" or routes is None:
        return
    for text in (each.text for each in field.patterns if isinstance(each, Glob)):
        if not any(mark in text for mark in "*?[") and text not in routes:
            near = did_you_mean(text, routes)
            raise InvalidSilence(f"route: {quote(text)} is not a configured route{near}")


def _takes_nothing(match: Match) -> bool:
    """Whether what it excludes is everything."""
    return (
        (match.not_ is not None and _takes_everything(match.not_))
        or any(map(_takes_nothing, match.all))
        or (bool(match.any) and all(map(_takes_nothing, match.any)))
    )


def _takes_everything(match: Match) -> bool:
    """Whether it is empty, or has only conditions that every event fulfils."""
    return (
        (not match.any or any(map(_takes_everything, match.any)))
        and (match.not_ is None or _takes_nothing(match.not_))
        and all(map(_takes_everything, match.all))
        and all(
            field.name in _ALWAYS_THERE and Glob("*") in field.patterns for field in match.fields
        )
    )
