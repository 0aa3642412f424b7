"""The base class of services that show messages to people, such as chats."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import msgspec

from relay.config.destination import OnTemplateError, Renderer, RouteTexts
from relay.config.types import TemplateText
from relay.core.exchange import Request
from relay.core.notification import Notification
from relay.destinations.common.card import Card
from relay.destinations.common.custom_text import CustomText
from relay.destinations.common.envelope import Envelope
from relay.destinations.common.webhook import WebhookDestination


class ServiceDestination(WebhookDestination):
    """A service that shows messages to people: relay's own text, or that of a template."""

    public_keys = WebhookDestination.public_keys | {"title", "text"}

    title: TemplateText | None = None
    """A template that replaces relay's headline."""
    text: TemplateText | None = None
    """A template that replaces the facts below the headline."""

    @property
    def uses_route_texts(self) -> bool:
        """True: messages show the ``title`` and the ``text`` of their route."""
        return True

    @abstractmethod
    def render(self, card: Card) -> Request:
        """Return the message about the first event, with the number of further events."""

    def json_request(self, message: object, headers: Mapping[str, str] | None = None) -> Request:
        """Return the request that sends ``message`` as JSON to the `endpoint`."""
        all_headers = {"Content-Type": "application/json", **(headers or {})}
        return Request(msgspec.json.encode(message), self.endpoint, all_headers)

    def build_renderer(
        self, routes: Sequence[RouteTexts], on_template_error: OnTemplateError, *, colour: bool
    ) -> Renderer:
        """See `DestinationConfig`. The repr of the renderer shows no secret."""
        texts = CustomText(self.title, self.text, routes, on_template_error)
        envelope = Envelope(self, on_template_error)

        def render(notification: Notification) -> Request:
            return envelope.wrap(self.render(texts.make_card(notification)), notification)

        return render
