"""Who may ask relay for what over HTTP.

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

from pydantic import SecretStr

from relay.config import AdminConfig
from relay.config.address import TcpPort, is_loopback

_ALLOWED_FETCH_SITES = ("same-origin", "none")
"""``Sec-Fetch-Site`` of a page that relay itself served (there is none), and of a person who typed
the address (Fetch Metadata Request Headers, section 2.4). Other ports are ``same-site``."""


class Permission(Enum):
    """What a path requires of a request."""

    PUBLIC = "public"
    """It says only whether all is well. Names are shown to requests that have `READ`."""
    READ = "read"
    """It shows names."""
    FULL = "full"
    """It shows what was sent, or changes something."""


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
    """Its ``Host``; None if it has none or more than one."""
    has_origin: bool = False
    """Whether it names the page that made it (``Origin``: RFC 6454, section 7)."""
    fetch_site: str | None = None
    """Its ``Sec-Fetch-Site``."""
    authorizations: Collection[str] = field(default=(), repr=False)
    """Every ``Authorization``."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The rules of one listener."""

    is_tcp: bool
    is_local: bool
    """Whether only this machine can reach the listener."""
    token: SecretStr | None

    @property
    def lacks_required_token(self) -> bool:
        """Whether everything that is not public is denied, because there is no token to show."""
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
        """Whether names may be shown in the answer to a public path."""
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
        """Deny a page whose own name resolves to this machine (DNS rebinding): it sends that name.

        No page can send requests to a socket in the file system.
        """
        if self.is_tcp and not _is_loopback_host(identity.host):
            return Denial.FOREIGN_HOST
        return None


def build_policy(config: AdminConfig) -> AccessPolicy:
    """Return the rules for a listener that is configured like this."""
    address = config.listen
    return AccessPolicy(isinstance(address, TcpPort), address.is_local, config.token)


def _is_loopback_host(host: str | None) -> bool:
    try:
        return host is not None and is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _has_token(identity: RequestIdentity, token: SecretStr) -> bool:
    """Compare in constant time, so that the time does not reveal how much of a token is right."""
    if len(identity.authorizations) != 1:
        return False
    (authorization,) = identity.authorizations
    scheme, _, credentials = authorization.partition(" ")
    expected = token.get_secret_value().encode()
    given = credentials.strip(" ").encode(errors="replace")
    return hmac.compare_digest(given, expected) and scheme.lower() == "bearer"
