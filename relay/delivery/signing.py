"""Webhook headers: the id, the time and the signature of a request.

The signature lets a receiver verify that a request comes from relay and was not changed.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from relay.config import DestinationConfig
from relay.core.exchange import Request

Signer = Callable[[Request, str, int], Mapping[str, str]]
"""Returns the headers that sign a request, from its id and its time in seconds since 1970."""


def make_signer(destination: DestinationConfig) -> Signer | None:
    """Return the signer of a destination's requests; None if they are not signed."""
    if (signing := destination.signing) is None:
        return None
    secrets = [secret.get_secret_value() for secret in signing.secrets]
    if signing.scheme == "github":
        return lambda request, *_: sign_github(request.body, secrets[0])
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    return lambda request, id_, time_s: sign_standard(request.body, id_, time_s, keys)


def sign_standard(body: bytes, id_: str, time_s: int, keys: Sequence[bytes]) -> Mapping[str, str]:
    """Return ``webhook-signature`` of the Standard Webhooks specification, signed with each key.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
    """
    content = f"{id_}.{time_s}.".encode() + body
    digests = (hmac.digest(key, content, hashlib.sha256) for key in keys)
    signatures = (f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return {"webhook-signature": " ".join(signatures)}


def sign_github(body: bytes, secret: str) -> Mapping[str, str]:
    """Return the header with which GitHub signs its webhooks.

    https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
    """
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}"}


def add_webhook_headers(
    request: Request, webhook_id: str, now_ns: int, sign: Signer | None
) -> Request:
    """Return the request with its id, the time of the attempt in whole seconds, and a signature.

    The names are those of the Standard Webhooks specification (standard-webhooks.md, "Webhook
    metadata"). The request must not be changed afterwards: it is signed.
    """
    time_s = now_ns // 1_000_000_000
    signature = {} if sign is None else sign(request, webhook_id, time_s)
    metadata = {"webhook-id": webhook_id, "webhook-timestamp": str(time_s)}
    return replace(request, headers={**request.headers, **metadata, **signature})
