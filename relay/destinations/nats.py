"""A stream of NATS JetStream, from which the relay of a hub takes the events of many hosts.

Each message is one event, whole, with what its route includes. What people are notified of is
decided at the hub, so a route's severity, its texts and its keys about incidents change nothing.
"""

import re
import socket
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from relay.config import validators
from relay.config.destination import (
    DestinationConfig,
    OnTemplateError,
    Renderer,
    RouteTexts,
    TimeoutConfig,
    Transport,
)
from relay.config.errors import ConfigIssue, IssueScope, invalid
from relay.config.incident_keys import GROUP_KEYS, LIFE_FIELDS, LIFE_KEYS
from relay.config.nats_keys import NatsKeys, NatsName, NatsToken
from relay.config.section import forbid, get_key
from relay.config.types import WholeNumber
from relay.core.exchange import Request
from relay.core.incident import Audience, Notify
from relay.core.notification import Notification
from relay.core.zone import TimeZone
from relay.destinations.common.included import get_included
from relay.nats.message import HEADROOM_BYTES, MAX_BYTES, encode_event, message_headers
from relay.nats.subjects import event_subject, make_token

_CONTAINER_ID = re.compile(r"[0-9a-f]{12}")
"""How Docker and Podman name the host of a container to which nobody gave a name."""
_NO_NAMES = ("", "localhost", "localhost.localdomain")


class NatsDestination(NatsKeys, DestinationConfig):
    """A stream of NATS JetStream."""

    transport = Transport.NATS
    audience = Audience.RELAYS
    public_keys = DestinationConfig.public_keys | {
        *("stream", "as", "nkey_file", "creds_file", "username", "tls", "inbox_prefix"),
        "timeout",
    }
    schema_rules = (
        forbid(*LIFE_KEYS, *GROUP_KEYS),
        {"properties": {"notify": {"const": Notify.EVENTS.value}}},
    )

    type: Literal["nats"] = "nats"
    stream: NatsName
    """The name of the stream that has to store the events. relay never makes or changes it."""
    as_: NatsToken | None = Field(default=None, alias="as")
    """Who the hub takes this relay for: the host of its events. The account has to be allowed to
    publish to ``relay.events.AS.>``. Default: the name of this machine, with ``-`` for each dot."""
    timeout: TimeoutConfig = TimeoutConfig()
    concurrency: Annotated[WholeNumber, Field(ge=1, le=256)] = 64
    """How many events may be under way, which the stream has not stored yet; of those about one
    container there is one at a time."""

    @property
    def identity(self) -> str:
        """Who connects: ``as``, or the name of this machine."""
        return self.as_ or make_token(socket.gethostname())

    @property
    def endpoint(self) -> str:
        """The first server of the cluster."""
        return self.url[0]

    @property
    def recipient(self) -> str:
        """The stream, and who publishes to it."""
        return f"{self.stream} {self.identity}"

    @property
    def shown_address(self) -> str:
        """The servers, the stream, and who publishes to it."""
        return f"{', '.join(self.url)} stream {self.stream} as {self.identity}"

    def find_warnings(self) -> Iterator[ConfigIssue]:
        """Return what is wrong with the name of this machine, if it is used."""
        if self.as_ is not None:
            return
        name = socket.gethostname()
        why = None
        if _CONTAINER_ID.fullmatch(name):
            why = "is the id of this container, and another one after the next upgrade"
        elif name in _NO_NAMES:
            why = "is that of many machines"
        if why is not None:
            message = f"is not there, and the name of this machine ({name!r}) {why}: set 'as'"
            yield ConfigIssue(("as",), message, IssueScope.KEY)

    def build_renderer(
        self,
        routes: Sequence[RouteTexts],
        on_template_error: OnTemplateError,
        *,
        colour: bool,
        zone: TimeZone,
    ) -> Renderer:
        """See `DestinationConfig`. The URL of a request is the subject of its message."""
        host = self.identity

        def render(notification: Notification) -> Request:
            (event, *_) = notification.events
            body = encode_event(host, event, get_included(notification), MAX_BYTES - HEADROOM_BYTES)
            subject = event_subject(host, event.type, event.action)
            return Request(body, subject, message_headers(host, event))

        return render

    @field_validator("type")
    @classmethod
    def _check_installed(cls, value: str) -> str:
        validators.require_package("nats", "nats")
        return value

    @field_validator("notify")
    @classmethod
    def _check_notify(cls, value: Notify | None) -> Notify | None:
        if value is Notify.INCIDENTS:
            raise invalid(
                "is for those who are told: this is told of every event, and the relay of the hub "
                "makes incidents of them: remove 'notify'"
            )
        return value

    @field_validator(*LIFE_FIELDS, *GROUP_KEYS)
    @classmethod
    def _check_no_incidents(cls, value: object, info: ValidationInfo) -> object:
        if value is not None:
            raise invalid(
                "the relay of the hub makes incidents of the events, and has the keys about them: "
                f"remove '{get_key(info)}' here"
            )
        return value
