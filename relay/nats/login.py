"""What a relay logs in with at a NATS server, read from the configuration and its files.

The files are read at each connection, so renewed ones need no reload.
"""

import re
from pathlib import Path

import msgspec
from pydantic import SecretStr

from relay.config.nats_keys import NatsKeys
from relay.core.errors import describe_os_error
from relay.nats.nkey import InvalidSeed, public_key

MAX_FILE_BYTES = 65_536
"""Our own limit: a seed has 58 bytes, a credentials file about 1 KiB."""

_PARTS = {
    name: re.compile(rf"-----BEGIN {title}-----\s+([A-Za-z0-9._=-]+)\s+-+END {title}-+")
    for name, title in (("jwt", "NATS USER JWT"), ("seed", "USER NKEY SEED"))
}
"""What a credentials file holds, as nsc writes it."""


class LoginError(Exception):
    """A file to log in with cannot be used. The text names the key and says why."""


class Login(msgspec.Struct, frozen=True):
    """What the client library takes. The repr of a login shows none of it."""

    username: str | None = None
    password: str | None = None
    token: str | None = None
    seed: str | None = None
    """The seed of an nkey, which signs what the server says."""
    jwt: str | None = None
    """Who the account of the seed is, as its operator has signed it; without it the server knows
    the public key of the seed."""

    def __repr__(self) -> str:
        return "Login()"


def read_login(keys: NatsKeys) -> Login:
    """Return what to log in with. It blocks while it reads files. Raises `LoginError`."""
    if keys.nkey_file is not None:
        file = keys.nkey_file
        return Login(seed=_check_seed("nkey_file", file, _read("nkey_file", file).strip()))
    if keys.creds_file is not None:
        file = keys.creds_file
        text = _read("creds_file", file)
        parts = {name: found[1] for name, at in _PARTS.items() if (found := at.search(text))}
        if len(parts) < len(_PARTS):
            raise LoginError(
                f"creds_file: {file}: holds no credentials, which are a JWT and a seed"
            )
        seed = _check_seed("creds_file", file, parts["seed"])
        return Login(seed=seed, jwt=parts["jwt"])
    return Login(
        username=keys.username,
        password=_reveal(keys.password),
        token=_reveal(keys.token),
    )


def _check_seed(key: str, file: Path, seed: str) -> str:
    try:
        public_key(seed)
    except InvalidSeed as error:
        raise LoginError(f"{key}: {file}: {error}") from error
    return seed


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _read(key: str, file: Path) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise LoginError(f"{key}: {file}: is longer than {MAX_FILE_BYTES} bytes")
        return content.decode("ascii")
    except OSError as error:
        raise LoginError(f"{key}: {describe_os_error(error)}") from error
    except UnicodeDecodeError as error:
        raise LoginError(f"{key}: {file}: is not a text") from error
