"""Nkeys: the key pairs of NATS accounts, which sign what the server says at a login.

A seed is base32 of two bytes that say what it is, 32 bytes of an Ed25519 key, and a checksum; a
public key has one such byte (https://docs.nats.io/running-a-nats-service/configuration/
securing_nats/auth_intro/nkey_auth, and ``strkey.go`` of github.com/nats-io/nkeys).
"""

import base64
import binascii
import secrets

_SEED = 18 << 3
"""Encodes as ``S``."""
_USER = 20 << 3
"""Encodes as ``U``."""
_KEY_BYTES = 32


class InvalidSeed(ValueError):
    """A text that is not the seed of a user."""


def make_seed() -> str:
    """Return the seed of a new user."""
    prefix = bytes((_SEED | _USER >> 5, (_USER & 31) << 3))
    return _encode(prefix + secrets.token_bytes(_KEY_BYTES))


def public_key(seed: str) -> str:
    """Return the public key of a seed: ``U…``, as a server's configuration names it.

    Raises `InvalidSeed`, and `ImportError` without the extra ``nats``.
    """
    from nacl.signing import SigningKey  # noqa: PLC0415 - only some accounts have nkeys

    return _encode(bytes((_USER,)) + bytes(SigningKey(_decode_seed(seed)).verify_key))


def sign(seed: str, text: str) -> bytes:
    """Return the signature of a text in base64. See `public_key`."""
    from nacl.signing import SigningKey  # noqa: PLC0415

    return base64.b64encode(SigningKey(_decode_seed(seed)).sign(text.encode()).signature)


def _decode_seed(seed: str) -> bytes:
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except (binascii.Error, ValueError) as error:
        raise InvalidSeed("is not the seed of an nkey (SU…)") from error
    if len(raw) != 2 + _KEY_BYTES + 2 or raw[-2:] != _checksum(raw[:-2]):
        raise InvalidSeed("is not the seed of an nkey (SU…), or not all of it")
    if raw[0] & 0xF8 != _SEED or ((raw[0] & 7) << 5 | raw[1] >> 3) != _USER:
        raise InvalidSeed("is the nkey of something else than a user, whose seed begins with SU")
    return raw[2:-2]


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    return binascii.crc_hqx(raw, 0).to_bytes(2, "little")
