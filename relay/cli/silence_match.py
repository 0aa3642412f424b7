"""What a silence holds back, as people write it on a command line, and as commands show it."""

import os
import pwd
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
import msgspec

from relay.admin.operations import AdminOperations
from relay.cli.incident_id import check_incident_id, find_one_incident
from relay.config.known_names import KnownNames
from relay.config.match import MAPPING_FIELDS
from relay.config.match_parser import scalar_to_text
from relay.config.match_warnings import find_match_warnings
from relay.config.yaml_reader import DocumentKind, read_document
from relay.core.errors import ConfigError
from relay.incidents.silence import Silence
from relay.incidents.silence_request import (
    InvalidSilence,
    SilenceRequest,
    check_request,
    describe_issue,
    parse_silence_match,
)

Command = TypeVar("Command", bound=Callable[..., object])

_MATCH = DocumentKind("match", "{project: shop}")


def match_options(command: Command) -> Command:
    """Add what is held back, and why, to a command, which gets it as `read_request` takes it."""
    for decorate in (
        click.option(
            "--all", "everything", is_flag=True, help="Hold back everything, without a match."
        ),
        click.option(
            "--match",
            metavar="YAML",
            help="A match as routes have it, with the fields project, service and route besides: "
            "'{project: shop, name: {not: db}}'.",
        ),
        click.option("--by", metavar="NAME", help="Who wants it.  [default: $SUDO_USER or $USER]"),
        click.option(
            "--comment", required=True, metavar="TEXT", help="Why, for those who see the silence."
        ),
        click.argument("words", metavar="[MATCH]...", nargs=-1),
    ):
        command = decorate(command)
    return command


def read_request(
    words: Sequence[str],
    match: str | None,
    *,
    everything: bool,
    comment: str,
    by: str | None,
) -> SilenceRequest:
    """Return what is asked for by the arguments of a command, as far as it can be checked here.

    An incident may be named by the beginning of its id. Raises `click.UsageError`.
    """
    incident = words[0] if len(words) == 1 and words[0].startswith("inc_") else None
    if incident is not None:
        try:
            check_incident_id(incident)
        except ValueError as error:
            raise click.UsageError(f"{incident!r} {error}") from error
    data: Mapping[str, Any] | None = None
    if match is not None:
        if words:
            raise click.UsageError("both --match and conditions: write one of them")
        data = _read_match(match)
    elif words and incident is None:
        data = _read_words(words)
    request = SilenceRequest(
        comment, find_user() if by is None else by, data, incident, everything=everything
    )
    try:
        check_request(request, KnownNames())
    except InvalidSilence as error:
        raise click.UsageError(str(error)) from error
    return request


async def complete_incident(operations: AdminOperations, request: SilenceRequest) -> SilenceRequest:
    """Return the request with the whole id of its incident, if it is about one.

    Raises `Refused` if there is none, `click.UsageError` if several begin like this.
    """
    if request.incident is None:
        return request
    found = await find_one_incident(operations, request.incident)
    return msgspec.structs.replace(request, incident=found[0].incident.id)


def list_warnings(silence: Silence) -> list[str]:
    """Return a text for each condition that no event fulfils: see `relay.config.match_warnings`."""
    if silence.incident is not None:
        return []
    match = parse_silence_match(silence.match)
    return [describe_issue(each, silence.match) for each in find_match_warnings(match, ())]


def find_user() -> str:
    """Return who runs this command: before sudo, if it was used."""
    name = os.environ.get("SUDO_USER") or os.environ.get("USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return f"uid {os.getuid()}"


def _read_match(text: str) -> Mapping[str, Any]:
    try:
        document = read_document(text, "--match", _MATCH)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    if document.problems:
        raise click.UsageError("\n".join(map(str, document.problems)))
    return document.data


def _read_words(words: Sequence[str]) -> Mapping[str, Any]:
    """Return the match of conditions such as ``project=shop``; one of those on the same field has
    to hold."""
    found: dict[str, Any] = {}
    for word in words:
        field, sign, pattern = word.partition("=")
        if not sign or not field:
            raise click.UsageError(
                f"{word!r} is not a condition: write field=pattern, as in project=shop or "
                "name='web-*', or the id of an incident (inc_…)"
            )
        if field.endswith("!"):
            instead = f"--match '{{{field[:-1]}: {{not: {pattern}}}}}'"
            raise click.UsageError(f"{word!r}: to exclude something, write {instead}")
        if not pattern:  # perhaps the value of a variable that is not set
            raise click.UsageError(f"{word!r} has no pattern: write one, as in project=shop")
        mapping, _, key = field.partition(".")
        if mapping in MAPPING_FIELDS and key:
            found.setdefault(mapping, {}).setdefault(key, []).append(pattern)
        else:
            found.setdefault(field, []).append(pattern)
    return _without_lists_of_one(found)


def _without_lists_of_one(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        field: _without_lists_of_one(value)
        if isinstance(value, dict)
        else (value[0] if len(value) == 1 else value)
        for field, value in found.items()
    }


def describe_match(silence: Silence) -> str:
    """Return what a silence holds back, as it may be written on a command line."""
    if silence.incident is not None:
        return silence.incident
    words = _to_words(silence.match or {})
    if words is None:
        return f"--match {shlex.quote(msgspec.json.encode(silence.match).decode())}"
    return " ".join(words) or "everything"


def _to_words(match: Mapping[str, Any], prefix: str = "") -> list[str] | None:
    """Return the conditions of a match; None if it has more than fields with plain patterns that
    are not empty."""
    words: list[str] = []
    for field, value in match.items():
        if isinstance(value, Mapping):
            inner = _to_words(value, f"{field}.") if field in MAPPING_FIELDS else None
            if inner is None:
                return None
            words += inner
            continue
        for pattern in value if isinstance(value, list) else [value]:
            if not (text := scalar_to_text(pattern)):
                return None
            words.append(shlex.quote(f"{prefix}{field}={text}"))
    return words
