"""The headers by which a receiver knows a delivery."""

from dataclasses import replace

from relay.exchange import Request


def stamped(request: Request, notification_id: str, now_ns: int) -> Request:
    """The request with its id and the attempt's time, in whole seconds.

    As the Standard Webhooks specification names them (standard-webhooks.md, "Webhook metadata").
    """
    metadata = {
        "webhook-id": notification_id,
        "webhook-timestamp": str(now_ns // 1_000_000_000),
    }
    return replace(request, headers={**request.headers, **metadata})
