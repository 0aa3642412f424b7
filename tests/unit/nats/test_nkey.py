"""The key pairs of NATS accounts."""

import base64
import binascii

import pytest
from nacl.signing import VerifyKey

from relay.nats.nkey import InvalidSeed, make_seed, public_key, sign

# https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth
SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY"
PUBLIC_KEY = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


def test_the_public_key_is_what_the_tools_of_nats_show() -> None:
    """The example of the documentation."""
    assert public_key(SEED) == PUBLIC_KEY


def test_a_signature_can_be_verified() -> None:
    """With the 32 bytes of the public key."""
    raw = base64.b32decode(PUBLIC_KEY)[1:33]
    VerifyKey(raw).verify(b"nonce", base64.b64decode(sign(SEED, "nonce")))


def test_a_new_seed_is_that_of_a_user() -> None:
    """And no other one."""
    seed, other = make_seed(), make_seed()
    assert seed.startswith("SU")
    assert public_key(seed).startswith("U")
    assert seed != other


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        ("", "or not all of it"),
        ("hello", "is not the seed"),
        (SEED[:-1], "is not the seed"),
        (SEED[:-2] + "AA", "or not all of it"),
        (SEED.replace("SSL", "SSM"), "or not all of it"),
        (PUBLIC_KEY, "or not all of it"),
        ("SAADH5CXU5XPZO47BLFC5AYOWCXXRHUCQTXXRHIH2BYPVTZVMNKXOWKHO4", "is not"),
    ],
)
def test_what_is_no_seed_is_refused(seed: str, words: str) -> None:
    """A cut one, one with a typing error, a public key, the key of an account."""
    with pytest.raises(InvalidSeed, match=words):
        public_key(seed)


def test_the_key_of_something_else_is_named() -> None:
    """An operator's or an account's seed is a mistake that is easily made."""
    raw = base64.b32decode(SEED + "=" * (-len(SEED) % 8))
    account = bytes((18 << 3, 0)) + raw[2:-2]  # the prefix of an account: A
    text = base64.b32encode(account + binascii.crc_hqx(account, 0).to_bytes(2, "little"))
    with pytest.raises(InvalidSeed, match="something else than a user"):
        public_key(text.decode().rstrip("="))
