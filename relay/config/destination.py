"""The base class of all types of destinations: the keys that they share, and their interface.

`relay.destinations` has a subclass for each type. The rest of relay knows only the class here.
"""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol

import msgspec
from pydantic import Field, SecretStr, ValidationInfo, field_validator
from yarl import URL

from relay.config.errors import ConfigIssue, invalid
from relay.config.incident_keys import (
    GROUP_KEYS,
    LIFE_FIELDS,
    LIFE_KEYS,
    For,
    GroupBy,
    GroupInterval,
    GroupWait,
    RepeatInterval,
    ResolveAfter,
    check_wants_incidents,
)
from relay.config.mute_times import Mute
from relay.config.section import Schema, Section, forbid, if_equals
from relay.config.types import (
    Duration,
    Fraction,
    NonEmptyPath,
    Ordering,
    PositiveDuration,
    RateLimit,
    WholeNumber,
    at_most,
)
from relay.core.exchange import NO_HINT, Request, Response, ResponseHint
from relay.core.incident import Audience, Notify
from relay.core.notification import Notification
from relay.core.zone import TimeZone


class TlsConfig(Section):
    """Which certificates to trust, and which one to present."""

    schema_rules = ({"dependentRequired": {"cert_file": ["key_file"], "key_file": ["cert_file"]}},)

    ca_file: NonEmptyPath | None = None
    """The only certificates to trust. Default: those that the system trusts."""
    cert_file: NonEmptyPath | None = None
    """The client certificate to present; needs ``key_file``."""
    key_file: NonEmptyPath | None = Field(default=None, validate_default=True)
    """The private key of ``cert_file``, without a passphrase."""

    @field_validator("key_file")
    @classmethod
    def _check_certificate_and_key(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if "cert_file" in info.data and (value is None) != (info.data["cert_file"] is None):
            raise invalid("'cert_file' and 'key_file' go together: write both or neither")
        return value


class RetryConfig(Section):
    """When a failed delivery is tried again, and when it is given up."""

    initial: PositiveDuration = timedelta(seconds=1)
    """The wait after the first failure: more than 0s."""
    max: Duration = Field(default=timedelta(minutes=10), validate_default=True)
    """The longest wait; not shorter than ``initial``."""
    factor: Annotated[float, Field(ge=1, le=10)] = 2
    """Each wait is this many times as long as the one before."""
    jitter: Fraction = 0.2
    """Each wait is shortened or lengthened at random by up to this fraction, so that retries do not
    reach a receiver all at once."""
    max_age: Duration = Field(default=timedelta(hours=72), validate_default=True)
    """A delivery older than this becomes a dead letter; not shorter than ``initial``."""
    max_attempts: Annotated[WholeNumber, Field(ge=1)] | None = None
    """A delivery becomes a dead letter after this many attempts, too. Default: no limit."""
    max_after: Duration = timedelta(hours=24)
    """The longest wait that a destination may ask for (``Retry-After``)."""

    @field_validator("max", "max_age")
    @classmethod
    def _check_not_below_initial(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if "initial" in info.data and value < info.data["initial"]:
            raise invalid(f"'{info.field_name}' is shorter than 'initial'")
        return value


class TimeoutConfig(Section):
    """How long one attempt may take."""

    connect: PositiveDuration = timedelta(seconds=5)
    """Time to open a connection: more than 0s."""
    total: Duration = Field(default=timedelta(seconds=15), validate_default=True)
    """Time until the status of the response is known; not shorter than ``connect``."""

    @field_validator("total")
    @classmethod
    def _check_not_below_connect(cls, value: timedelta, info: ValidationInfo) -> timedelta:
        if "connect" in info.data and value < info.data["connect"]:
            raise invalid("'total' is shorter than 'connect'")
        return value


class BatchConfig(Section):
    """How many notifications share one request, and how long the first waits for others."""

    max: Annotated[WholeNumber, Field(ge=2, le=1000)] = 500
    """At most this many, in a body of at most 1 MiB."""
    wait: Annotated[Duration, at_most("5s")] = timedelta(milliseconds=50)
    """How long the first notification waits for others after it was stored: at most 5s. With 0s
    only notifications that are due already share a request."""


class Signing(msgspec.Struct, frozen=True):
    """How requests to a destination are signed."""

    scheme: Literal["standard", "github"]
    """``standard``: by the Standard Webhooks specification; ``github``: as GitHub does."""
    secrets: tuple[SecretStr, ...]
    """At least one; the new one is first while a secret is being replaced."""


class Transport(StrEnum):
    """How the requests of a type are sent. `relay.delivery.senders` has the sender of each."""

    HTTP = "http"
    CONSOLE = "console"
    SMTP = "smtp"
    APPRISE = "apprise"
    NATS = "nats"


Renderer = Callable[[Notification], Request]
"""Turns a notification into the request that sends it."""
OnTemplateError = Callable[[str, str], None]
"""Called with the key of a template that failed, such as ``title``, and with the reason."""


class RouteTexts(Protocol):
    """The part of a route that a message may show."""

    @property
    def name(self) -> str:
        """The name of the route, which is unique."""

    @property
    def title(self) -> str | None:
        """The template for the headline, if there is one."""

    @property
    def text(self) -> str | None:
        """The template for the text below the headline, if there is one."""

    @property
    def link(self) -> str | None:
        """The template for the link, if there is one."""


class DestinationConfig(Section):
    """The keys of every destination, and what the rest of relay has to know of a destination.

    The properties and methods below the keys have a default; a type overrides those that differ.
    So no module outside `relay.destinations` depends on which types there are.
    """

    schema_rules: ClassVar[tuple[Schema, ...]] = (
        if_equals("notify", Notify.EVENTS.value, forbid(*LIFE_KEYS, *GROUP_KEYS)),
    )

    public_keys: ClassVar[frozenset[str]] = frozenset(
        {"type", "concurrency", "retry", "rate_limit", "ordering", "notify"}
        | {*LIFE_KEYS, *GROUP_KEYS}
    )
    """The keys whose values an error message may show, because they never hold a secret. A subclass
    adds its own keys to those of its base."""

    transport: ClassVar[Transport]
    """How its requests are sent."""
    audience: ClassVar[Audience] = Audience.PROGRAMS
    """Who reads what is sent: people are notified of incidents, programs of events."""
    max_refreshed: ClassVar[int] = 1
    """How many open incidents one request can repeat: see `join_refresh`."""
    limit_headers: ClassVar[tuple[str, ...]] = ()
    """The response headers that `parse_response` reads, in lower case."""
    max_response_bytes: ClassVar[int] = 4096
    """How much of the body of a response is read. More than the default is for services that repeat
    the notification in it, beside what `parse_response` looks for."""

    own_urls: ClassVar[str | None] = None
    """A regular expression for the beginning of all URLs of the service; None if its users run
    servers of their own."""

    if TYPE_CHECKING:
        # Each subclass declares it as a literal of one string. A field here would come first in the
        # schema.
        type: str

    concurrency: Annotated[WholeNumber, Field(ge=1, le=256)] = 8
    """How many requests may be sent at the same time; those about one container never are."""
    retry: RetryConfig = RetryConfig()
    rate_limit: RateLimit | None = None
    """How many requests may start in a period of time. Destinations with the same host and path
    (and chat, topic or routing key) share the limit."""
    ordering: Ordering = "container"
    """``container``: deliveries about the same container are sent in order. ``none``: in any
    order."""
    notify: Notify | None = None
    """What it is notified of: ``incidents`` (a message if a problem begins, changes or is over) or
    ``events`` (each event by itself). Default: ``events`` for ``http``, ``console`` and ``nats``,
    ``incidents`` for all others. The key of a route comes first."""
    for_: For | None = Field(default=None, alias="for")
    """How long an incident has to be open before it is reported: at most 7d, and longer than
    ``resolve_after``. What is over before is only counted. Default: ``0s``. The key of a route
    comes first."""
    mute: Mute | None = None
    """When it is not notified: the name of one of the ``mute_time_intervals``, or a list of such;
    ``[]`` for never, which is the default. What happens meanwhile is reported when the interval
    ends. The key of a route comes first."""
    resolve_after: ResolveAfter | None = None
    """How long a container has to be well before its incident is resolved: from 1s to 24h, by
    default ``1m``. Longer if it kept failing again after longer times. The key of a route comes
    first."""
    send_resolved: bool | None = None
    """Whether the end of an incident is reported. Default: ``true``. The key of a route comes
    first."""
    group_by: GroupBy | None = None
    """What the incidents and events in one message have in common, by default ``[engine,
    project]``, and ``[host, engine, project]`` if an engine is of ``type: nats``: at most 10 of
    ``host``, ``engine``, ``project``, ``service``, ``image``, ``container`` and ``label.NAME``;
    ``[]`` for everything in one. This key and the next three are not for ``pagerduty`` and
    ``alertmanager``, which group incidents by themselves."""
    group_wait: GroupWait | None = None
    """How long the first incident of a group waits for others, at most 1h. Default: ``3s``."""
    group_interval: GroupInterval | None = None
    """The least time between two messages of a group: from 1s to 24h. Default: ``1m``."""
    repeat_interval: RepeatInterval | None = None
    """How often the destination is reminded of the incidents that are open: from 1m to 6d, or
    ``0s`` for never. Default: ``24h``."""

    @field_validator(*LIFE_FIELDS, *GROUP_KEYS)
    @classmethod
    def _check_wants_incidents(cls, value: object, info: ValidationInfo) -> object:
        return check_wants_incidents(value, info)

    @field_validator(*GROUP_KEYS)
    @classmethod
    def _check_may_group(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and cls.audience.groups_by_itself:
            raise invalid(
                "this service groups incidents by itself, so each is sent at once: "
                f"remove '{info.field_name}'"
            )
        return value

    @property
    def endpoint(self) -> str:
        """The URL that requests go to, without what ``query`` adds; empty if it has no URL."""
        return ""

    @property
    def recipient(self) -> str:
        """The receiver behind the `endpoint`, such as a chat or a topic, if one URL serves many.

        Destinations with the same host, path and recipient share their rate limit.
        """
        return ""

    @property
    def shown_address(self) -> str:
        """Where requests go, without what may be secret; empty if there is nothing to show."""
        return f"{URL(self.endpoint).origin()}/…" if self.endpoint else ""

    @property
    def derived_secrets(self) -> Iterable[str]:
        """What is as secret as the values of its secret keys, because it is made of them."""
        return ()

    @property
    def tls_config(self) -> TlsConfig | None:
        """The certificates to use; None for those of the system."""
        return None

    @property
    def batching(self) -> BatchConfig | None:
        """How notifications are batched; None if each has a request of its own."""
        return None

    @property
    def signing(self) -> Signing | None:
        """How requests are signed; None if they are not."""
        return None

    @property
    def body_texts(self) -> Sequence[str]:
        """The texts of a configured body. Any word in them may be a secret."""
        return ()

    @property
    def uses_route_texts(self) -> bool:
        """Whether messages show the ``title``, the ``text`` and the ``link`` of their route."""
        return False

    @classmethod
    def recognizes(cls, url: str) -> bool:
        """Whether a URL belongs to the service of this type, and to no other."""
        return cls.own_urls is not None and re.match(cls.own_urls, url, re.IGNORECASE) is not None

    def find_warnings(self) -> Iterable[ConfigIssue]:
        """Return what is allowed, but cannot work with this service; paths begin at this section.

        A message that continues a sentence has the scope of a value, as in a validator.
        """
        return ()

    @abstractmethod
    def build_renderer(
        self,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        *,
        colour: bool,
        zone: TimeZone,
    ) -> Renderer:
        """Return a function that turns a notification into a request.

        ``routes`` have the texts that messages may show; ``colour`` is whether standard output is a
        terminal; ``zone`` is the time zone of people who read the messages. If a template fails,
        ``on_template_error`` is called, and the notification is rendered without it.
        """

    def join_refresh(self, requests: Sequence[Request]) -> Request:
        """Return one request that repeats the incidents of all ``requests``.

        There are at least one and at most `max_refreshed`, with the same URL and headers. Only
        services whose alerts expire are asked for it.
        """
        (request,) = requests
        return request

    def read_response(self, response: Response) -> ResponseHint:
        """Return what body and headers of a response mean for this destination.

        Its body has up to `max_response_bytes`.
        """
        return self.parse_response(response)

    @staticmethod
    def parse_response(_: Response) -> ResponseHint:
        """Return what body and headers of a response add to its status. By default: nothing."""
        return NO_HINT
