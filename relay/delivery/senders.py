"""The sender of each destination: it is imported when a destination needs it.

A type says how its requests are sent (`DestinationConfig.transport`); what sends them is chosen
here, and nowhere else.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from relay.config.destination import DestinationConfig, Transport
from relay.core.exchange import Reached, Sender
from relay.core.tasks import import_in_thread

if TYPE_CHECKING:
    from relay.destinations.apprise import AppriseDestination
    from relay.destinations.common.webhook import WebhookDestination
    from relay.destinations.email import EmailDestination
    from relay.destinations.nats import NatsDestination

# ruff: noqa: PLC0415 (each import is for the destinations that need it)


@asynccontextmanager
async def open_sender(destination: DestinationConfig, console: BinaryIO) -> AsyncIterator[Sender]:
    """Open a sender with connections of its own; ``console`` is what the console writes to.

    Raises `TlsError` if the destination's certificates cannot be used.
    """
    match destination.transport:
        case Transport.HTTP:
            from relay.delivery.http.sender import open_http_sender

            async with open_http_sender(cast("WebhookDestination", destination)) as http:
                yield http
        case Transport.CONSOLE:
            from relay.delivery.console import open_console_sender

            async with open_console_sender(console) as sender:
                yield sender
        case Transport.SMTP:
            await import_in_thread("relay.delivery.smtp")
            from relay.delivery.smtp import SmtpSender

            yield SmtpSender(cast("EmailDestination", destination))
        case Transport.APPRISE:
            await import_in_thread("relay.delivery.apprise")
            from relay.delivery.apprise import AppriseSender

            yield AppriseSender(cast("AppriseDestination", destination))
        case Transport.NATS:
            from relay.delivery.nats import open_nats_sender

            async with open_nats_sender(cast("NatsDestination", destination)) as nats:
                yield nats


async def reach(destination: DestinationConfig) -> Reached | None:
    """Try to connect to a destination without sending anything; None if there is nothing to try."""
    match destination.transport:
        case Transport.HTTP:
            from relay.delivery.http.sender import reach_over_http

            return await reach_over_http(cast("WebhookDestination", destination))
        case Transport.CONSOLE:
            return None
        case Transport.SMTP:
            from relay.delivery.smtp import SmtpSender

            return await SmtpSender(cast("EmailDestination", destination)).reach()
        case Transport.APPRISE:
            return Reached("not tried: Apprise can only send", is_reached=True)
        case Transport.NATS:
            from relay.delivery.nats import reach_over_nats

            return await reach_over_nats(cast("NatsDestination", destination))
