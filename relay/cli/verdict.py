"""Says what relay does after an answer, and what a person can do about it."""

from collections.abc import Mapping
from types import MappingProxyType

from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry

_ADVICE: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.TIMEOUT: "check the host and the port, and whether a firewall drops the request; "
        "'timeout.total' is how long relay waits",
        Reason.NAME_NOT_FOUND: "check the host name in its URL, and whether this machine (or this "
        "container) can resolve names",
        Reason.TLS: "check the certificate, and whether the URL should begin with http://; for an "
        "authority of your own set 'tls.ca_file'",
        Reason.CONNECTION: "check the host, the port, the proxy and the firewall; in a container, "
        "localhost is the container itself",
        Reason.RATE_LIMITED: "wait; if this happens often, set 'rate_limit' to what it allows",
        Reason.UNAVAILABLE: "it has a problem of its own: look at its answer and at its log",
        Reason.GONE: "make a new webhook there and put its URL into the configuration; if it is "
        "back, 'relay destination enable NAME' makes relay send again",
        Reason.REDIRECT: "put the address to which it redirects into the URL, if that is right",
        Reason.UNEXPECTED: "something else answers, such as a login page or a proxy: check the "
        "URL; 'expect' says which of its answers mean success",
        Reason.REJECTED: "its answer says what is wrong, such as an unknown channel or a bad token",
        Reason.EXHAUSTED: "relay itself lacks file descriptors or memory: raise its limit "
        "(LimitNOFILE, ulimit -n)",
    }
)
_BODY = "it does not accept this body: check 'type' and 'format'; its answer may say what is wrong"
_STATUS_ADVICE: Mapping[int, str] = MappingProxyType(
    {
        400: _BODY,
        401: "it does not accept the credentials: check the token, the password, or the secret in "
        "the URL",
        403: "it does not accept the credentials, or they do not allow this: check the token, the "
        "secret in the URL, and the rights of the account",
        404: "there is nothing at this URL: check all of it, and whether the webhook still exists",
        405: "this URL takes no such request: check the URL and 'method'",
        407: "the proxy wants credentials: put them into the URL of 'proxy'",
        413: "the message is too long for it: 'include' less",
        415: _BODY,
        422: _BODY,
    }
)
_WITH_STATUS = (Reason.REFUSED, Reason.CONNECTION, Reason.UNAVAILABLE)
_OTHER = "its answer may say what is wrong"


def describe_outcome(outcome: Outcome) -> str:
    """Say what the daemon would do after an answer."""
    match outcome:
        case Delivered():
            return "delivered"
        case Retry(reason=Reason.GONE):
            return "relay would stop sending to it (gone)"
        case Retry():
            return f"relay would try this again ({outcome.reason})"
        case _:
            return f"relay would make this a dead letter ({_reason(outcome)})"


def advise(outcome: Outcome, response: Response) -> str | None:
    """Say what to do about an outcome; None if the notification was delivered."""
    if isinstance(outcome, Delivered):
        return None
    status, reason = response.hint.status or response.status or 0, _reason(outcome)
    if reason in _WITH_STATUS and status in _STATUS_ADVICE:
        return _STATUS_ADVICE[status]
    return _ADVICE.get(reason, _OTHER)


def _reason(outcome: Retry | Dead) -> Reason:
    """Return the reason of the attempt, even if it was the last that is allowed."""
    return (outcome.last_reason if isinstance(outcome, Dead) else None) or outcome.reason
