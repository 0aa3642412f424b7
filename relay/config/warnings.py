"""Finds what is allowed in a configuration, but is probably a mistake: `relay check` warns of it.

What concerns one service only, such as an address that it has retired, is found by the service's
own model (`DestinationConfig.find_warnings`).
"""

import fnmatch
import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from pydantic import SecretStr

from relay.config.destination import DestinationConfig
from relay.config.destination_types import DestinationTypes
from relay.config.errors import ConfigIssue, IssueScope, KeyPath
from relay.config.match import (
    Exists,
    Field,
    Glob,
    Match,
    Pattern,
    Range,
    Regex,
    selects_relay_events,
)
from relay.config.match_warnings import find_match_warnings, is_plain, may_take_containers
from relay.config.model import Config
from relay.config.route import Route
from relay.config.section import Section
from relay.config.validators import describe_paste_mistake
from relay.core.incident import Audience

_PLACEHOLDER = re.compile(
    r"x{6}|0{8}/|<[^>]*>|your[-_ ](?!server\.de)|change[-_]?me|replace[-_]?me|placeholder|\.\.\.|…",
    re.IGNORECASE,
)
"""What stands in examples where a value is to be filled in. your-server.de is a hoster's domain."""
_EXAMPLE_HOST = re.compile(r"(.+\.)?(example\.(com|net|org)|example|invalid)\.?")
"""Hosts that are reserved for examples and do not exist: RFC 2606, sections 2 and 3."""


def find_warnings(config: Config, types: DestinationTypes) -> list[ConfigIssue]:
    """Return what is probably a mistake, with its path."""
    return [*_find_in_destinations(config, types), *_find_in_routes(config)]


def _find_in_destinations(config: Config, types: DestinationTypes) -> Iterator[ConfigIssue]:
    used = {name for route in config.routes for name in route.to}
    for name, destination in config.destinations.items():
        path = ("destinations", name)
        if name not in used:
            yield ConfigIssue(path, "no route sends to it", IssueScope.KEY)
        yield from _find_in_secrets(destination, path)
        yield from _find_other_service(destination, path, types)
        for issue in destination.find_warnings():
            yield ConfigIssue((*path, *issue.path), issue.message, issue.scope)


def _find_in_secrets(destination: DestinationConfig, path: KeyPath) -> Iterator[ConfigIssue]:
    """Yield the secrets that were not filled in, or copied with something around them."""
    for place, text in _find_secrets(destination, path):
        if "{{" in text or not text:
            continue
        if mistake := describe_paste_mistake(text):
            yield ConfigIssue(place, mistake, IssueScope.VALUE)
        elif _PLACEHOLDER.search(text) or _EXAMPLE_HOST.fullmatch(_host(text)):
            message = "looks like a placeholder: write the real value"
            yield ConfigIssue(place, message, IssueScope.VALUE)


def _find_secrets(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield the path and the text of every secret in a section."""
    match value:
        case SecretStr():
            yield path, value.get_secret_value()
        case Section():
            for key, inner in value:
                yield from _find_secrets(inner, (*path, key))
        case dict():
            for key, inner in value.items():
                yield from _find_secrets(inner, (*path, key))
        case tuple():
            for at, inner in enumerate(value):
                yield from _find_secrets(inner, (*path, at))


def _host(text: str) -> str:
    return (urlsplit(text).hostname or "") if "://" in text else ""


def _find_other_service(
    destination: DestinationConfig, path: KeyPath, types: DestinationTypes
) -> Iterator[ConfigIssue]:
    """Yield an issue if the URL is one of another service, which takes other messages."""
    url = destination.endpoint
    if not url or any(destination.body_texts) or destination.recognizes(url):
        return
    for name, model in types.models.items():
        if model.recognizes(url):
            message = f"belongs to another service: write 'type: {name}'"
            yield ConfigIssue((*path, "url"), message, IssueScope.VALUE)


def _find_in_routes(config: Config) -> Iterator[ConfigIssue]:
    for at, route in enumerate(config.routes):
        path = ("routes", at)
        yield from find_match_warnings(route.match, (*path, "match"))
        reaches_people = any(config.destinations[name].uses_route_texts for name in route.to)
        if route.match == Match() and reaches_people:
            message = (
                "sends every event of the engines to people, with each run of a health check: "
                "write what to match"
            )
            yield ConfigIssue((*path, "match"), message, IssueScope.KEY)
        unused = [key for key in ("title", "text", "link") if getattr(route, key)]
        if unused and not reaches_people:
            message = "does nothing: no destination of this route shows it"
            yield ConfigIssue((*path, unused[0]), message, IssueScope.KEY)
        takers = [config.destinations[name].audience for name in route.to]
        if route.severity is not None and takers and set(takers) == {Audience.RELAYS}:
            message = "does nothing: the routes of the hub say how severe an event is"
            yield ConfigIssue((*path, "severity"), message, IssueScope.KEY)
        if route.include.request is not None and not may_take_containers(route.match):
            message = "does nothing: only containers have logs, health and inspect fields"
            yield ConfigIssue((*path, "include"), message, IssueScope.KEY)
        if reason := _find_earlier(config.routes[:at], route):
            yield ConfigIssue((*path, "name"), reason, IssueScope.VALUE)


def _find_earlier(earlier: Sequence[Route], route: Route) -> str | None:
    """Return why the routes above a route leave it without effect; None if they do not."""
    served: set[str] = set()
    for at, above in enumerate(earlier):
        if not covers(above.match, route.match):
            continue
        if above.stop or above.drop:
            key = "drop" if above.drop else "stop"
            return f"is never reached: routes[{at}] takes all of its events first, and has '{key}'"
        served.update(above.to)
        if route.to and served.issuperset(route.to):
            return f"sends nothing: routes[{at}] sends all of its events there already"
    return None


def covers(above: Match, below: Match) -> bool:
    """Whether every event that fits ``below`` certainly fits ``above``."""
    if selects_relay_events(below) and not selects_relay_events(above):
        return False
    return _covers_conditions(above, below)


def _covers_conditions(above: Match, below: Match) -> bool:
    fields = list(_all_fields(below))
    return (
        all(any(_implies(field, other) for other in fields) for field in above.fields)
        and all(_covers_conditions(inner, below) for inner in above.all)
        and (not above.any or any(_covers_conditions(inner, below) for inner in above.any))
        and (above.not_ is None or above.not_ == below.not_)
    )


def _all_fields(match: Match) -> Iterator[Field]:
    yield from match.fields
    for inner in match.all:
        yield from _all_fields(inner)


def _implies(above: Field, below: Field) -> bool:
    """Whether each value that ``below`` takes is one that ``above`` takes."""
    return (above.name, above.key) == (below.name, below.key) and all(
        any(_takes(wide, narrow) for wide in above.patterns) for narrow in below.patterns
    )


def _takes(wide: Pattern, narrow: Pattern) -> bool:
    match wide, narrow:
        case _ if wide == narrow:
            return True
        case Glob(text="*"), Glob() | Regex():
            return True
        case Glob(), Glob(text=text) if is_plain(text):
            # the route above matches an action with and without its detail
            return any(
                fnmatch.fnmatchcase(each, wide.text) for each in (text, text.partition(": ")[0])
            )
        case Range(low=low, high=high), Range() as inner:
            above_low = low is None or (inner.low is not None and low <= inner.low)
            return above_low and (high is None or (inner.high is not None and inner.high <= high))
        case Exists(expected=True), Glob() | Regex() | Range():
            return True
        case _:
            return False
