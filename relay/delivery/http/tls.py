"""Whom relay trusts over TLS, and who it is there."""

import ssl
from functools import cache

from relay.config import TlsConfig
from relay.core.errors import RelayError, describe_os_error


class TlsError(RelayError):
    """The files of a destination's ``tls`` cannot be used."""


def create_ssl_context(files: TlsConfig | None) -> ssl.SSLContext:
    """What the files say; without any, what the system trusts. Raises `TlsError`."""
    return _system_context() if files is None else _load_context(files)


@cache
def _system_context() -> ssl.SSLContext:
    """One for all: it takes a while to read them, and room."""
    return _set_alpn(ssl.create_default_context())


def _load_context(files: TlsConfig) -> ssl.SSLContext:
    file = files.ca_file
    try:
        context = ssl.create_default_context(cafile=file)
        if files.cert_file is not None:
            file = files.cert_file
            # a key with a passphrase is refused: nobody could be asked for it
            context.load_cert_chain(files.cert_file, files.key_file, password="")
    except (OSError, ValueError) as error:
        words = describe_os_error(error) if isinstance(error, OSError) else str(error)
        raise TlsError(f"{file}: cannot be used for TLS: {words}") from error
    return _set_alpn(context)


def _set_alpn(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    return context
