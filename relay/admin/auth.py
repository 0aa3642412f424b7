"""Who may ask relay what over HTTP: decided by where it listens and what a request says."""

import hmac
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

from pydantic import SecretStr

from relay.config import AdminConfig
from relay.config.address import TcpPort, is_loopback

_OWN_SITE = ("same-origin", "none")
"""``Sec-Fetch-Site`` of a page of relay's own, of which there is none, and of a person who typed
the address (Fetch Metadata Request Headers, section 2.4). Other ports are ``same-site``."""


class Need(Enum):
    """What a path asks of whoever asks for it."""

    NOTHING = "nothing"
    """It says only whether all is well; names are for those who may see more."""
    SIGHT = "sight"
    """It shows names."""
    TRUST = "trust"
    """It shows what was sent, or changes something."""


class Refusal(Enum):
    """Why a request is not answered, in words for whoever made it."""

    PAGE = "a page in a browser may not ask relay"
    HOST = (
        "the name that was asked for is not this machine's: ask for localhost or 127.0.0.1, or set "
        "admin.token_file and send 'Authorization: Bearer TOKEN'"
    )
    UNGUARDED = (
        "relay listens beyond this machine and has no token: set admin.token_file, and send "
        "'Authorization: Bearer TOKEN'"
    )
    MISSING = "send 'Authorization: Bearer TOKEN', with the token of admin.token_file"
    WRONG = "the token is not that of admin.token_file"


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request decides."""

    host: str | None = None
    """Its ``Host``; None without one, or with more than one."""
    has_origin: bool = False
    """Whether it names the page that made it (RFC 6454, section 7)."""
    site: str | None = None
    """Its ``Sec-Fetch-Site``."""
    authorizations: Collection[str] = field(default=(), repr=False)
    """Every ``Authorization``."""


@dataclass(frozen=True, slots=True)
class Access:
    """The rule of one place."""

    is_tcp: bool
    is_local: bool
    """Whether only the machine itself reaches it."""
    token: SecretStr | None

    @property
    def is_closed(self) -> bool:
        """Whether all is refused but what needs nothing."""
        return self.token is None and not self.is_local

    def refusal(self, need: Need, asked: Asked) -> Refusal | None:
        """Why a request is refused; None where it is not."""
        if asked.has_origin or (asked.site is not None and asked.site not in _OWN_SITE):
            return Refusal.PAGE
        return None if need is Need.NOTHING else self._distrust(need, asked)

    def may_see(self, asked: Asked) -> bool:
        """Whether names may be shown."""
        return self._distrust(Need.SIGHT, asked) is None

    def _distrust(self, need: Need, asked: Asked) -> Refusal | None:
        if self.token is None:
            return self._stranger(asked) if self.is_local else Refusal.UNGUARDED
        if _shows(asked, self.token):
            return None
        if need is Need.SIGHT and self.is_local:
            return self._stranger(asked)
        return Refusal.WRONG if asked.authorizations else Refusal.MISSING

    def _stranger(self, asked: Asked) -> Refusal | None:
        """A page whose name was made to lead here (DNS rebinding) asks for that name.

        No page can ask a socket in the file system.
        """
        return Refusal.HOST if self.is_tcp and not _is_own(asked.host) else None


def access(config: AdminConfig) -> Access:
    """The rule of ``admin``."""
    place = config.listen
    return Access(isinstance(place, TcpPort), place.is_local, config.token)


def _is_own(host: str | None) -> bool:
    try:
        return host is not None and is_loopback(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False


def _shows(asked: Asked, token: SecretStr) -> bool:
    """In a time that does not tell how much of it is right."""
    if len(asked.authorizations) != 1:
        return False
    (authorization,) = asked.authorizations
    scheme, _, shown = authorization.partition(" ")
    wanted = token.get_secret_value().encode()
    given = shown.strip(" ").encode(errors="replace")
    return hmac.compare_digest(given, wanted) and scheme.lower() == "bearer"
