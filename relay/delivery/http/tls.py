"""TLS contexts: the certificate authorities that relay trusts, and its client certificate."""

import ssl
from functools import cache

from relay.config import TlsConfig
from relay.core.errors import RelayError, describe_os_error


class TlsError(RelayError):
    """The files of a destination's ``tls`` cannot be used."""


def create_ssl_context(files: TlsConfig | None) -> ssl.SSLContext:
    """Return a context with these files; with None, one with the system's certificate authorities.

    Raises `TlsError`.
    """
    if files is None:
        return _system_context()
    file = files.ca_file
    try:
        context = ssl.create_default_context(cafile=file)
        if files.cert_file is not None:
            file = files.cert_file
            # A key that has a passphrase is refused because of the empty password. Without one,
            # OpenSSL would ask for the passphrase on the terminal and wait.
            context.load_cert_chain(files.cert_file, files.key_file, password="")
    except (OSError, ValueError) as error:
        text = describe_os_error(error) if isinstance(error, OSError) else str(error)
        raise TlsError(f"{file}: cannot be used for TLS: {text}") from error
    return _with_alpn(context)


@cache
def _system_context() -> ssl.SSLContext:
    """Return a context that destinations without ``tls`` share: each takes time and memory."""
    return _with_alpn(ssl.create_default_context())


def _with_alpn(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])
    return context
