"""Decides which HTTP requests are allowed.

relay has one optional token (``admin.token_file``) and no users. What a request may do depends on
where relay listens (TCP on this machine only, TCP beyond it, or a Unix socket), on the token, and
on signs that a browser made the request on behalf of a web page. The decision is a pure function of
the `AccessPolicy` and the `RequestIdentity`.
"""

import hmac
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr

from relay.config import AdminConfig
from relay.config.address import TcpPort, is_loopback

log = structlog.get_logger()

_ALLOWED_FETCH_SITES = ("same-origin", "none")
"""``Sec-Fetch-Site`` of a page that relay itself served (there is none), and of a person who typed
the address (Fetch Metadata Request Headers, section 2.4). A page from another port of the same host
is ``same-site``, which is denied."""


class Permission(Enum):
    """What a path requires of a request."""

    PUBLIC = "public"
    """The path shows only whether all is well. Requests that have `READ` are shown names, too."""
    READ = "read"
    """The path shows names."""
    FULL = "full"
    """The path shows what was sent, or changes something."""


class Denial(Enum):
    """Why a request is denied, as the message of the answer."""

    BROWSER_PAGE = "a page in a browser may not send requests to relay"
    FOREIGN_HOST = (
        "the Host of the request is not this machine: ask for localhost or 127.0.0.1, or set "
        "admin.token_file and send 'Authorization: Bearer TOKEN'"
    )
    NO_TOKEN_CONFIGURED = (
        "relay listens beyond this machine and has no token: set admin.token_file, and send "
        "'Authorization: Bearer TOKEN'"
    )
    TOKEN_MISSING = "send 'Authorization: Bearer TOKEN', with the token of admin.token_file"
    TOKEN_WRONG = "the token is not that of admin.token_file"


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """The headers of a request that decide what it may do."""

    host: str | None = None
    """The ``Host`` header; None if there is none or more than one."""
    has_origin: bool = False
    """Whether there is an ``Origin``: the page that made the request (RFC 6454, section 7)."""
    fetch_site: str | None = None
    """The ``Sec-Fetch-Site`` header."""
    authorizations: Collection[str] = field(default=(), repr=False)
    """All ``Authorization`` headers."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The rules of one listener."""

    is_tcp: bool
    is_local: bool
    """Whether only this machine can reach the listener."""
    token: SecretStr | None

    @property
    def lacks_required_token(self) -> bool:
        """Whether all paths that are not public are denied, because no token is configured."""
        return self.token is None and not self.is_local

    def check(self, permission: Permission, identity: RequestIdentity) -> Denial | None:
        """Return why a request is denied, or None if it is allowed."""
        site = identity.fetch_site
        if identity.has_origin or (site is not None and site not in _ALLOWED_FETCH_SITES):
            return Denial.BROWSER_PAGE
        if permission is Permission.PUBLIC:
            return None
        return self._check_token(permission, identity)

    def may_read(self, identity: RequestIdentity) -> bool:
        """Return whether the answer of a public path may show names."""
        return self._check_token(Permission.READ, identity) is None

    def _check_token(self, permission: Permission, identity: RequestIdentity) -> Denial | None:
        if self.token is None:
            return self._check_host(identity) if self.is_local else Denial.NO_TOKEN_CONFIGURED
        if _has_token(identity, self.token):
            return None
        if permission is Permission.READ and self.is_local:
            return self._check_host(identity)
        return Denial.TOKEN_WRONG if identity.authorizations else Denial.TOKEN_MISSING

    def _check_host(self, identity: RequestIdentity) -> Denial | None:
        """Deny a ``Host`` that is not this machine.

        A web page can let its own name resolve to this machine (DNS rebinding); its requests have
        that name as ``Host``. No page can send requests to a Unix socket.
        """
        if self.is_tcp and not _is_loopback_host(identity.host):
            return Denial.FOREIGN_HOST
        return None


def build_policy(config: AdminConfig) -> AccessPolicy:
    """Return the rules for a listener that is configured like this."""
    address = config.listen
    return AccessPolicy(isinstance(address, TcpPort), address.is_local, config.token)


def warn_if_token_missing(config: AdminConfig) -> None:
    """Log a warning if relay must deny most requests because it has no token."""
    if build_policy(config).lacks_required_token:
        log.warning(
            "admin.without_token",
            at=str(config.listen),
            refused="/metrics and /api/",
            remedy="set admin.token_file",
        )


def _is_loopback_host(host: str | None) -> bool:
    try:
        return host is not None and is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _has_token(identity: RequestIdentity, token: SecretStr) -> bool:
    """Compare in constant time, so that the time does not reveal how much of the token is right."""
    if len(identity.authorizations) != 1:
        return False
    (authorization,) = identity.authorizations
    scheme, _, credentials = authorization.partition(" ")
    expected = token.get_secret_value().encode()
    received = credentials.strip(" ").encode(errors="replace")
    return hmac.compare_digest(received, expected) and scheme.lower() == "bearer"
