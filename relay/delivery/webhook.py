"""The headers by which a receiver knows a delivery."""

from dataclasses import replace

from relay.delivery.signing import Sign
from relay.exchange import Request


def stamped(request: Request, notification_id: str, now_ns: int, sign: Sign | None) -> Request:
    """The request with its id, the attempt's time in whole seconds, and its signature.

    As the Standard Webhooks specification names them (standard-webhooks.md, "Webhook metadata").
    Nothing of the request may change behind this.
    """
    time_s = now_ns // 1_000_000_000
    signature = {} if sign is None else sign(request, notification_id, time_s)
    metadata = {"webhook-id": notification_id, "webhook-timestamp": str(time_s)}
    return replace(request, headers={**request.headers, **metadata, **signature})
