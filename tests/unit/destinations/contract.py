"""What the tests for all services need to know of one service.

The test module of each service has a `Contract`; `contracts` finds it by the name of the type. So a
new service brings its own module of tests, and the tests for all services apply to it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from relay.config import Rate
from relay.destinations.catalog import DESTINATION_TYPES
from relay.destinations.common.card import Card
from relay.destinations.common.service import ServiceDestination
from tests.unit.destinations.messages import strings
from tests.unit.destinations.samples import SAMPLE_CARDS


@dataclass(frozen=True, slots=True)
class Contract:
    """What one service needs, gets and must never get."""

    keys: str
    """The keys that the type needs, as YAML."""
    endpoint: str
    """The endpoint with these keys."""
    sample: ServiceDestination
    """The destination that renders the golden file."""
    dangerous: tuple[str, ...]
    """What the service would interpret in the texts that `interpreted` yields."""
    severity: Callable[[Any], object]
    """Returns how a message shows its severity."""
    shown: tuple[object, ...]
    """What `severity` returns: critical, warning, info, resolved."""
    golden: Sequence[Card] = SAMPLE_CARDS
    """What the golden file shows, in its order."""
    interpreted: Callable[[Any], Iterator[str]] = strings
    """Yields the texts of a message in which the service looks for mentions, links and markup."""
    rate: Rate | None = None
    """The default rate limit."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """The keys of this type that hold secrets, beside those of all services, with valid values."""
    method: str = "POST"
    path: str = ""
    """A pattern for what follows the endpoint in the URL of a request."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The headers beside the content type."""
    max_bytes: int = 70_000
    """No message is longer."""
    canary: Mapping[str, object] = field(
        default_factory=lambda: {"url": "{at}/services/{canary}-path?key={canary}-query"}
    )
    """Its keys with a secret in each of them: ``{at}`` is the receiver's URL."""


@cache
def contracts() -> Mapping[str, Contract]:
    """The contracts of all services by the name of their type."""
    names = [
        name
        for name, model in DESTINATION_TYPES.models.items()
        if issubclass(model, ServiceDestination)
    ]
    return {name: import_module(f"tests.unit.destinations.test_{name}").CONTRACT for name in names}


CHAT_STYLES = ("🔴 #d0021b", "🟠 #f5a623", "🔵 #439fe0", "🟢 #2eb886")
EMOJI = ("🔴", "🟠", "🔵", "🟢")
SEVERITY_NAMES = ("critical", "warning", "info", None)
"""Another field says that the trouble is over."""
TAGS = ("<!channel>", "<@U123>", "<http://evil.example|text>")
MARKDOWN = ("*bold*", "_it_", "~no~", "`code`", "```block```", ":rotating_light:")
WORDS = re.compile(r"[A-Za-z0-9 ,;:()+•·\n🔴🟠🔵🟢-]*")
"""What sentences about incidents are written with, apart from names and errors: nothing of it is
markup, a mention or a link in any service."""
