"""Where notifications can go: what can be set of each type of destination.

The limits and defaults that a vendor gives are in the format of that vendor.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from yarl import URL

from relay.config import schema_types, validators
from relay.config.common import BatchConfig, DestinationConfig, Section, TimeoutConfig, TlsConfig
from relay.config.destination_types import DestinationTypes
from relay.config.errors import invalid
from relay.config.templates.template import is_template
from relay.config.types import (
    HeaderName,
    HeaderText,
    HeaderValue,
    QueryValue,
    RateLimit,
    Secret,
    TemplateText,
    TemplateTree,
    WebhookUrl,
    WholeNumber,
    split_lines,
)
from relay.config.units import Rate


class BasicAuth(Section):
    """A user and a password."""

    username: Annotated[str, AfterValidator(validators.check_user_name)]
    """Without a colon in it."""
    password: Secret
    """That of this user."""


class _Webhook(DestinationConfig):
    """Something that is reached over HTTP."""

    public_keys = DestinationConfig.public_keys | {"timeout", "batch", "tls"}
    schema_rules = tuple(
        schema_types.not_both("basic_auth", other)
        for other in ("bearer_token", "bearer_token_file")
    )

    url: WebhookUrl
    """Where it is reached."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Sent beside those that the format sets; values may be templates."""
    query: dict[str, QueryValue] = Field(default_factory=dict)
    """Added to what the URL has; values may be templates."""
    timeout: TimeoutConfig = TimeoutConfig()
    tls: TlsConfig | None = None
    """For an ``https://`` URL."""
    proxy: WebhookUrl | None = None
    """The URL of an HTTP proxy; nothing is taken from the environment."""
    basic_auth: BasicAuth | None = None
    """A user and a password; not beside a ``bearer_token``, a user in the ``url`` or an
    Authorization in ``headers``."""
    bearer_token: Secret | None = None
    """What is sent as ``Authorization: Bearer``; not beside another authorization."""

    @property
    def endpoint(self) -> str:
        """Where requests go, without what ``query`` adds."""
        return self.url.get_secret_value()

    @field_validator("headers")
    @classmethod
    def _check_distinct_headers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        validators.check_distinct_headers(value)
        return value

    @field_validator("headers")
    @classmethod
    def _check_header_authorization(
        cls, value: dict[str, SecretStr], info: ValidationInfo
    ) -> dict[str, SecretStr]:
        if _has_authorization(value) and _has_user(info):
            raise invalid("hold an Authorization, and the 'url' a user: keep one of them")
        return value

    @field_validator("tls")
    @classmethod
    def _check_tls_url(cls, value: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        url = info.data.get("url")
        if value is not None and url and not url.get_secret_value().startswith("https:"):
            raise invalid("is for an https:// 'url' only")
        return value

    @field_validator("basic_auth", "bearer_token")
    @classmethod
    def _check_one_authorization(cls, value: object, info: ValidationInfo) -> object:
        others = {
            "an Authorization in 'headers'": _has_authorization(info.data.get("headers") or {}),
            "a user in the 'url'": _has_user(info),
            "'basic_auth'": info.data.get("basic_auth") is not None,
        }
        for other, there in others.items():
            if value is not None and there:
                raise invalid(f"there is {other} as well: keep one of them")
        return value


def _has_authorization(headers: Mapping[str, object]) -> bool:
    return any(name.lower() == "authorization" for name in headers)


def _has_user(info: ValidationInfo) -> bool:
    url = info.data.get("url")  # absent if it is wrong itself
    return url is not None and validators.has_user(url.get_secret_value())


def _append_path(url: str, path: str) -> str:
    """The URL of what lies below another, with that one's query."""
    place = URL(url)
    below = place.raw_path.rstrip("/") + path
    return str(place.with_path(below, encoded=True, keep_query=True))


class HttpDestination(_Webhook):
    """A webhook that takes what its owner decides."""

    public_keys = _Webhook.public_keys | {"format", "method", "sign"}
    schema_rules = (
        schema_types.if_equals(
            "format",
            "template",
            {"oneOf": [{"required": ["body"]}, {"required": ["body_text"]}]},
            {
                "if": {"properties": {"format": False}},
                "then": schema_types.forbid("body", "body_text"),
            },
        ),
        {"dependentRequired": {"content_type": ["body_text"]}},
        {
            "if": {"properties": {"batch": {"type": "object"}}, "required": ["batch"]},
            "then": {
                "properties": {
                    "format": {"not": {"enum": ["cloudevents-binary", "template"]}},
                    "method": {"not": {"const": "GET"}},
                }
            },
        },
    )

    type: Literal["http"] = "http"
    method: Literal["POST", "PUT", "PATCH", "GET"] = "POST"
    """With ``GET`` there is no body, and neither ``format`` nor ``signing_secret``."""
    format: Literal["json", "cloudevents", "cloudevents-binary", "template"] = "json"
    """What is sent: relay's document, the same as a CloudEvent, or a template of your own."""
    body: TemplateTree | None = None
    """With ``format: template``: what becomes JSON, each text in it a template."""
    body_text: TemplateText | None = Field(default=None, validate_default=True)
    """With ``format: template``, in place of ``body``: anything but JSON."""
    content_type: HeaderText | None = None
    """Of ``body_text``; without it ``text/plain; charset=utf-8``."""
    batch: BatchConfig | None = None
    """With ``format: json`` or ``cloudevents``: many notifications in one request, as a JSON array
    of what each would be sent as; ``{}`` for the defaults. Without it each has its own."""
    sign: Literal["standard", "github"] | None = None
    """How it is signed: after the Standard Webhooks specification (without it, too), or as GitHub
    does."""
    signing_secret: Annotated[tuple[SecretStr, ...], BeforeValidator(split_lines)] = Field(
        default=(), validate_default=True
    )
    """``whsec_`` and the base64 of 24 to 64 bytes; for GitHub's way any text. Two while it is
    changed, the new one first; without it nothing is signed."""

    @field_validator("body_text")
    @classmethod
    def _check_body(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "format" not in info.data or "body" not in info.data:  # wrong themselves
            return value
        given = (info.data["body"] is not None) + (value is not None)
        if info.data.get("method") == "GET" and info.data["format"] != "json":
            raise invalid("with 'method: GET' there is no body: remove 'format'")
        if info.data["format"] != "template":
            if given:
                raise invalid("'body' and 'body_text' are for 'format: template' only")
        elif given != 1:
            raise invalid("'format: template' needs 'body' (becomes JSON) or 'body_text', not both")
        return value

    @field_validator("content_type")
    @classmethod
    def _check_content_type(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and "body_text" in info.data and info.data["body_text"] is None:
            raise invalid("'content_type' is for 'body_text' only")
        return value

    @field_validator("batch")
    @classmethod
    def _check_batch(cls, value: BatchConfig | None, info: ValidationInfo) -> BatchConfig | None:
        if value is None:
            return value
        if info.data.get("method") == "GET":
            raise invalid("with 'method: GET' there is no body that could hold many")
        if info.data.get("format") in ("cloudevents-binary", "template"):
            raise invalid("is for 'format: json' and 'format: cloudevents' only")
        for key in ("headers", "query"):
            for name, text in info.data.get(key, {}).items():
                if is_template(text.get_secret_value()):
                    raise invalid(f"'{key}.{name}' is a template, and many would share it")
        return value

    @field_validator("signing_secret")
    @classmethod
    def _check_signing_secret(
        cls, value: tuple[SecretStr, ...], info: ValidationInfo
    ) -> tuple[SecretStr, ...]:
        sign = info.data.get("sign")
        if "sign" in info.data and sign is not None and not value:
            raise invalid("'sign' needs a 'signing_secret' (or 'signing_secret_file')")
        if not all(secret.get_secret_value() for secret in value):
            raise invalid("is empty")
        if sign == "github" and len(value) != 1:
            raise invalid("'sign: github' needs one 'signing_secret', not two")
        if len(value) > 2:
            raise invalid("holds more than two secrets: keep the new one and the old one")
        if sign in ("standard", None):
            for secret in value:
                validators.check_signing_secret(secret.get_secret_value())
        if value and info.data.get("method") == "GET":
            raise invalid("with 'method: GET' there is no body to sign: remove 'signing_secret'")
        return value


class _Vendor(_Webhook):
    """A service whose messages relay words."""

    public_keys = _Webhook.public_keys | {"title", "text"}

    title: TemplateText | None = None
    """A template in place of relay's own headline."""
    text: TemplateText | None = None
    """A template in place of the facts below it."""


class SlackDestination(_Vendor):
    """A Slack incoming webhook."""

    type: Literal["slack"] = "slack"
    # "no more than one message per second": https://docs.slack.dev/apis/web-api/rate-limits
    rate_limit: RateLimit | None = Rate(1, 1.0)


class DiscordDestination(_Vendor):
    """A Discord webhook."""

    type: Literal["discord"] = "discord"
    # what its X-RateLimit-Limit and X-RateLimit-Reset-After say of webhooks
    rate_limit: RateLimit | None = Rate(5, 2.0)
    """As for all; without it five in two seconds, as Discord asks for."""

    @property
    def endpoint(self) -> str:
        """With ``wait=true``, so that Discord says whether it took the message."""
        url = super().endpoint.partition("#")[0]
        return f"{url}{'&' if '?' in url else '?'}wait=true"


class TeamsDestination(_Vendor):
    """A Microsoft Teams workflow that is started by a webhook request."""

    type: Literal["teams"] = "teams"


class MattermostDestination(_Vendor):
    """A Mattermost incoming webhook."""

    type: Literal["mattermost"] = "mattermost"


class RocketChatDestination(_Vendor):
    """A Rocket.Chat incoming webhook."""

    type: Literal["rocketchat"] = "rocketchat"


class GoogleChatDestination(_Vendor):
    """A Google Chat webhook."""

    type: Literal["googlechat"] = "googlechat"
    # one a second and space: https://developers.google.com/workspace/chat/limits
    rate_limit: RateLimit | None = Rate(1, 1.0)


class TelegramDestination(_Vendor):
    """A Telegram bot."""

    public_keys = _Vendor.public_keys | {"chat_id", "thread_id"}
    type: Literal["telegram"] = "telegram"
    url: WebhookUrl = SecretStr("https://api.telegram.org")
    """That of a server of the Bot API."""
    token: Annotated[SecretStr, AfterValidator(validators.check_telegram_token)]
    """The bot's, from @BotFather."""
    chat_id: Annotated[str, AfterValidator(validators.check_telegram_chat)]
    """A number, or ``@`` and the name of a channel; the bot has to be a member."""
    thread_id: Annotated[WholeNumber, Field(ge=1)] | None = None
    """The number of a topic in a group."""
    # 20 a minute and group: https://core.telegram.org/bots/faq
    rate_limit: RateLimit | None = Rate(20, 60.0)

    @property
    def endpoint(self) -> str:
        """The method that sends messages."""
        return _append_path(super().endpoint, f"/bot{self.token.get_secret_value()}/sendMessage")


class NtfyDestination(_Vendor):
    """A topic of an ntfy server."""

    type: Literal["ntfy"] = "ntfy"
    url: WebhookUrl = SecretStr("https://ntfy.sh")
    """That of the server."""
    topic: Annotated[SecretStr, AfterValidator(validators.check_ntfy_topic)]
    """The topic's name; whoever knows it can read it."""


class GotifyDestination(_Vendor):
    """An application of a Gotify server."""

    type: Literal["gotify"] = "gotify"
    token: Secret
    """That of an application."""

    @property
    def endpoint(self) -> str:
        """The server's messages."""
        return _append_path(super().endpoint, "/message")


class PagerDutyDestination(_Vendor):
    """An integration of a PagerDuty service (Events API v2)."""

    type: Literal["pagerduty"] = "pagerduty"
    url: WebhookUrl = SecretStr("https://events.pagerduty.com/v2/enqueue")
    routing_key: Secret
    """The integration key."""
    # https://developer.pagerduty.com/docs/events-api-v2-overview, "Rate Limiting"
    rate_limit: RateLimit | None = Rate(120, 60.0)


class AlertmanagerDestination(_Vendor):
    """A Prometheus Alertmanager."""

    type: Literal["alertmanager"] = "alertmanager"

    @property
    def endpoint(self) -> str:
        """The alerts of its API."""
        return _append_path(super().endpoint, "/api/v2/alerts")


class ConsoleDestination(DestinationConfig):
    """Standard output."""

    type: Literal["console"] = "console"


ServiceDestination = (
    SlackDestination
    | DiscordDestination
    | TeamsDestination
    | MattermostDestination
    | RocketChatDestination
    | GoogleChatDestination
    | TelegramDestination
    | NtfyDestination
    | GotifyDestination
    | PagerDutyDestination
    | AlertmanagerDestination
)
WebhookDestination = HttpDestination | ServiceDestination
"""Those that are reached over HTTP."""
Destination = WebhookDestination | ConsoleDestination

TYPES = DestinationTypes(get_args(Destination))
DESTINATION_TYPES = TYPES.models
"""By what ``type`` says."""
secret_keys = TYPES.secret_keys
