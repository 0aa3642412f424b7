"""The keys of a route: which events it matches, where it sends them, and with what."""

from functools import cached_property
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainValidator, ValidationInfo, field_validator

from relay.config import validators
from relay.config.errors import invalid
from relay.config.incident_keys import (
    LIFE_FIELDS,
    LIFE_KEYS,
    For,
    ResolveAfter,
    check_wants_incidents,
)
from relay.config.known_names import check_known, get_known_names
from relay.config.match import Match
from relay.config.match_parser import parse_match
from relay.config.mute_times import Mute
from relay.config.section import Section, forbid, get_key, if_equals
from relay.config.types import InspectField, LinkText, Name, TemplateText, WholeNumber, as_list
from relay.core.incident import Notify
from relay.core.include import Include
from relay.core.severity import Severity


def _to_match(value: object, info: ValidationInfo) -> Match:
    if isinstance(value, Match):
        return value
    return parse_match(value, engines=get_known_names(info).engines)


class IncludeConfig(Section):
    """What is sent about the container in addition to the event."""

    logs: Annotated[WholeNumber, Field(ge=0, le=200)] = 0
    """How many of its last log lines; at most the last 4 KiB of them. With ``die``, ``oom`` and
    ``stop`` the last before that, even if the container has started again."""
    health: bool = False
    """The output of its last health check; at most the last 4 KiB of it."""
    inspect: Annotated[tuple[InspectField, ...], BeforeValidator(as_list)] = ()
    """Fields of ``docker inspect``, at most 20, each by its path: ``RestartCount``, ``State.Pid``;
    at most 1 KiB of each."""

    @field_validator("inspect")
    @classmethod
    def _check_field_count(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(value) > validators.MAX_INSPECT_FIELDS:
            raise invalid(f"names more than {validators.MAX_INSPECT_FIELDS} fields")
        return value

    @cached_property
    def request(self) -> Include | None:
        """What to ask the engine for; None if nothing is included."""
        wanted = Include(self.logs, self.health, self.inspect)
        return None if wanted == Include() else wanted


class Route(Section):
    """Which events to match, and where to send them."""

    schema_rules = (
        if_equals(
            "drop",
            True,
            forbid(
                *("to", "stop", "include", "severity", "title", "text", "link", "notify"),
                *LIFE_KEYS,
            ),
        ),
        if_equals("notify", Notify.EVENTS.value, forbid(*LIFE_KEYS)),
        {"anyOf": [{"required": ["to"]}, {"required": ["drop"]}]},
        if_equals("drop", False, {"required": ["to"]}),
    )

    name: Name
    """The name of the route; no two routes have the same."""
    match: Annotated[Match, PlainValidator(_to_match)] = Match()
    """Which events match. Default: all except relay's own."""
    drop: bool = False
    """Instead of ``to``: send nothing for events that match, and skip the routes below."""
    stop: bool = False
    """Skip the routes below for events that match."""
    include: IncludeConfig = IncludeConfig()
    severity: Severity | None = None
    """Default: ``critical`` for out of memory, crashed, unhealthy, ``gap``, ``engine_lost`` and
    ``destination_failing``; ``warning`` for ``kill``, a death of unknown cause, ``dead_letter``, a
    node that is down and a service that has no replicas or whose update is paused or rolled back;
    ``info`` for everything else."""
    title: TemplateText | None = None
    """A template for the headline in chats, on phones and in alerts, instead of the
    destination's."""
    text: TemplateText | None = None
    """A template for the text below the headline, instead of the destination's."""
    link: LinkText | None = None
    """A template for the link of a message, instead of the destination's; ``""`` for none."""
    notify: Notify | None = None
    """What its destinations are notified of: ``incidents`` or ``events``, instead of what each of
    them says."""
    for_: For | None = Field(default=None, alias="for")
    """How long an incident has to be open before it is reported, instead of what the destination
    says: at most 7d, and longer than ``resolve_after``. With a second route to another destination
    it is an escalation."""
    mute: Mute | None = None
    """When its destinations are not notified, instead of what they say: the name of one of the
    ``mute_time_intervals``, or a list of such; ``[]`` for never."""
    resolve_after: ResolveAfter | None = None
    """How long a container has to be well before its incident is resolved, instead of what the
    destination says: from 1s to 24h."""
    send_resolved: bool | None = None
    """Whether the end of an incident is reported, instead of what the destination says."""
    to: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        default=(), validate_default=True
    )
    """The destinations; required without ``drop``. An event is sent to each destination once, by
    the first matching route that names it."""

    @field_validator("stop")
    @classmethod
    def _check_stop_without_drop(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("drop"):
            raise invalid("'drop' already skips the routes below: remove 'stop'")
        return value

    @field_validator("include")
    @classmethod
    def _check_include_without_drop(
        cls, value: IncludeConfig, info: ValidationInfo
    ) -> IncludeConfig:
        if info.data.get("drop"):
            raise invalid("'drop' sends nothing: remove 'include'")
        return value

    @field_validator("severity", "title", "text", "link", "notify", *LIFE_FIELDS)
    @classmethod
    def _check_without_drop(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("drop"):
            raise invalid(f"'drop' sends nothing: remove '{get_key(info)}'")
        return value

    @field_validator(*LIFE_FIELDS)
    @classmethod
    def _check_wants_incidents(cls, value: object, info: ValidationInfo) -> object:
        return check_wants_incidents(value, info)

    @field_validator("to")
    @classmethod
    def _check_to_or_drop(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        drop = info.data.get("drop")
        if drop and value:
            raise invalid("'drop' and 'to' exclude each other: keep one")
        if drop is False and not value:
            raise invalid("needs 'to': one destination or a list of them (or 'drop: true')")
        return value

    @field_validator("to")
    @classmethod
    def _check_destinations_exist(
        cls, value: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        return check_known(value, get_known_names(info).destinations, "is not a destination")
