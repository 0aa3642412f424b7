"""Whom relay trusts over TLS, and who it is there."""

import ssl
from functools import cache

from relay.config import TlsConfig
from relay.core.errors import RelayError, system_words


class TlsError(RelayError):
    """The files of a destination's ``tls`` cannot be used."""


def trust(files: TlsConfig | None) -> ssl.SSLContext:
    """What the files say; without any, what the system trusts. Raises `TlsError`."""
    return _of_the_system() if files is None else _of(files)


@cache
def _of_the_system() -> ssl.SSLContext:
    """One for all: it takes a while to read them, and room."""
    return _for_http(ssl.create_default_context())


def _of(files: TlsConfig) -> ssl.SSLContext:
    file = files.ca_file
    try:
        context = ssl.create_default_context(cafile=file)
        if files.cert_file is not None:
            file = files.cert_file
            # a key with a passphrase is refused: nobody could be asked for it
            context.load_cert_chain(files.cert_file, files.key_file, password="")
    except (OSError, ValueError) as error:
        words = system_words(error) if isinstance(error, OSError) else str(error)
        raise TlsError(f"{file}: cannot be used for TLS: {words}") from error
    return _for_http(context)


def _for_http(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    return context
