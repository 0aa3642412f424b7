"""Who may ask relay what over HTTP: decided by where it listens and what a request says."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from pydantic import SecretStr

from relay.config import AdminConfig
from relay.config.address import TcpPort, is_loopback

_ALLOWED_FETCH_SITES = ("same-origin", "none")
"""``Sec-Fetch-Site`` of a page of relay's own, of which there is none, and of a person who typed
the address (Fetch Metadata Request Headers, section 2.4). Other ports are ``same-site``."""


class Permission(Enum):
    """What a path asks of whoever asks for it."""

    PUBLIC = "nothing"
    """It says only whether all is well; names are for those who may see more."""
    READ = "sight"
    """It shows names."""
    FULL = "trust"
    """It shows what was sent, or changes something."""


class Denial(Enum):
    """Why a request is not answered, in words for whoever made it."""

    BROWSER_PAGE = "a page in a browser may not ask relay"
    FOREIGN_HOST = (
        "the name that was asked for is not this machine's: ask for localhost or 127.0.0.1, or set "
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
    """What of a request decides."""

    host: str | None = None
    """Its ``Host``; None without one, or with more than one."""
    has_origin: bool = False
    """Whether it names the page that made it (RFC 6454, section 7)."""
    fetch_site: str | None = None
    """Its ``Sec-Fetch-Site``."""
    authorizations: Collection[str] = field(default=(), repr=False)
    """Every ``Authorization``."""


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The rule of one place."""

    is_tcp: bool
    is_local: bool
    """Whether only the machine itself reaches it."""
    token: SecretStr | None

    @property
    def lacks_required_token(self) -> bool:
        """Whether all is refused but what needs nothing."""
        return self.token is None and not self.is_local

    def check(self, need: Permission, asked: RequestIdentity) -> Denial | None:
        """Why a request is refused; None where it is not."""
        if asked.has_origin or (
            asked.fetch_site is not None and asked.fetch_site not in _ALLOWED_FETCH_SITES
        ):
            return Denial.BROWSER_PAGE
        return None if need is Permission.PUBLIC else self._check_token(need, asked)

    def may_read(self, asked: RequestIdentity) -> bool:
        """Whether names may be shown."""
        return self._check_token(Permission.READ, asked) is None

    def _check_token(self, need: Permission, asked: RequestIdentity) -> Denial | None:
        if self.token is None:
            return self._check_host(asked) if self.is_local else Denial.NO_TOKEN_CONFIGURED
        if _has_token(asked, self.token):
            return None
        if need is Permission.READ and self.is_local:
            return self._check_host(asked)
        return Denial.TOKEN_WRONG if asked.authorizations else Denial.TOKEN_MISSING

    def _check_host(self, asked: RequestIdentity) -> Denial | None:
        """A page whose name was made to lead here (DNS rebinding) asks for that name.

        No page can ask a socket in the file system.
        """
        return Denial.FOREIGN_HOST if self.is_tcp and not _is_loopback_host(asked.host) else None


def build_policy(config: AdminConfig) -> AccessPolicy:
    """The rule of ``admin``."""
    place = config.listen
    return AccessPolicy(isinstance(place, TcpPort), place.is_local, config.token)


def _is_loopback_host(host: str | None) -> bool:
    try:
        return host is not None and is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _has_token(asked: RequestIdentity, token: SecretStr) -> bool:
    """In a time that does not tell how much of it is right."""
    if len(asked.authorizations) != 1:
        return False
    (authorization,) = asked.authorizations
    scheme, _, shown = authorization.partition(" ")
    wanted = token.get_secret_value().encode()
    given = shown.strip(" ").encode(errors="replace")
    return hmac.compare_digest(given, wanted) and scheme.lower() == "bearer"
