"""What a relay logs in with at a NATS server, read from the configuration and its files.

The files are read at each connection, so renewed ones need no reload.
"""

from pathlib import Path

import msgspec
from pydantic import SecretStr

from relay.config.nats_keys import NatsKeys
from relay.core.errors import describe_os_error

MAX_FILE_BYTES = 65_536
"""Our own limit: a seed has 58 bytes, a credentials file about 1 KiB."""


class LoginError(Exception):
    """A file to log in with cannot be used. The text names the key and says why."""


class Login(msgspec.Struct, frozen=True):
    """What the client library takes. The repr of a login shows none of it."""

    username: str | None = None
    password: str | None = None
    token: str | None = None
    seed: str | None = None
    """The seed of an nkey."""
    credentials: str | None = None
    """The text of a credentials file."""

    def __repr__(self) -> str:
        return "Login()"


def read_login(keys: NatsKeys) -> Login:
    """Return what to log in with. It blocks while it reads files. Raises `LoginError`."""
    if keys.nkey_file is not None:
        seed = _read("nkey_file", keys.nkey_file).strip()
        if not seed.startswith("SU") or len(seed.split()) != 1:
            raise LoginError(f"nkey_file: {keys.nkey_file}: holds no seed of a user (SU…)")
        return Login(seed=seed)
    if keys.creds_file is not None:
        text = _read("creds_file", keys.creds_file)
        if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
            raise LoginError(
                f"creds_file: {keys.creds_file}: holds no credentials: it needs a JWT and a seed"
            )
        return Login(credentials=text)
    return Login(
        username=keys.username,
        password=_reveal(keys.password),
        token=_reveal(keys.token),
    )


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
