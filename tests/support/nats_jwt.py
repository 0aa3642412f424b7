"""Operators, accounts and users whose rights are in JWTs, as nsc makes them.

The claims are those of github.com/nats-io/jwt, version 2, as far as a server asks for them.
"""

import base64
import binascii
import json
import secrets
import time
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

_PREFIXES = {"O": 14 << 3, "A": 0, "U": 20 << 3}
_NO_LIMITS = {"subs": -1, "data": -1, "payload": -1}


class Identity:
    """A key pair: ``O`` for an operator, ``A`` for an account, ``U`` for a user."""

    def __init__(self, kind: str) -> None:
        raw = secrets.token_bytes(32)
        self._key = SigningKey(raw)
        prefix = _PREFIXES[kind]
        self.seed = _encode(bytes((18 << 3 | prefix >> 5, (prefix & 31) << 3)) + raw)
        self.public_key = _encode(bytes((prefix,)) + bytes(self._key.verify_key))

    def sign(self, subject: "Identity", name: str, claims: dict[str, Any]) -> str:
        """Return a JWT that says this of another identity."""
        body = {
            "jti": secrets.token_hex(16),
            "iat": int(time.time()),
            "iss": self.public_key,
            "name": name,
            "sub": subject.public_key,
            "nats": {**claims, "version": 2},
        }
        parts = [_base64({"typ": "JWT", "alg": "ed25519-nkey"}), _base64(body)]
        signature = self._key.sign(".".join(parts).encode()).signature
        return ".".join([*parts, base64.urlsafe_b64encode(signature).decode().rstrip("=")])


def make_credentials(folder: Path) -> tuple[str, Path]:
    """Return the configuration of a server with one account, and a user's credentials file."""
    operator, account, user = Identity("O"), Identity("A"), Identity("U")
    own = operator.sign(operator, "operator", {"type": "operator"})
    limits = {
        **_NO_LIMITS,
        **dict.fromkeys(("imports", "exports", "conn", "leaf"), -1),
        "wildcards": True,
    }
    of_account = operator.sign(account, "fleet", {"type": "account", "limits": limits})
    of_user = account.sign(user, "web-17", {"type": "user", "pub": {}, "sub": {}, **_NO_LIMITS})
    file = folder / "web-17.creds"
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n\n"
    )
    preload = f'{{ {account.public_key}: "{of_account}" }}'
    return f'operator: "{own}"\nresolver: MEMORY\nresolver_preload: {preload}\n', file


def _encode(raw: bytes) -> str:
    checksum = binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw + checksum).decode().rstrip("=")


def _base64(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
