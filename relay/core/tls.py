"""TLS of relay's connections: the certificates that it trusts, and the one that it shows.

Certificates are renewed while relay runs, mostly by replacing their files. So each new connection
checks whether the files have changed, and if so, reads them again.
"""

import ssl
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import structlog

from relay.core.descriptors import check_descriptors
from relay.core.errors import RelayError, describe_os_error

log = structlog.get_logger()

HTTP = ("http/1.1",)
"""What relay speaks to a web server, as ALPN names it (RFC 7301)."""

_FileState = tuple[int, int, int] | None
"""Inode, size and time of change of a file; None if it cannot be found."""


class TlsFiles(Protocol):
    """The keys ``tls`` of a configuration."""

    @property
    def ca_file(self) -> Path | None:
        """The only certificates to trust; None for those of the system."""

    @property
    def cert_file(self) -> Path | None:
        """The client certificate to show, if any."""

    @property
    def key_file(self) -> Path | None:
        """Its private key."""


class TlsError(RelayError):
    """The files of ``tls`` cannot be used."""


class ClientTls:
    """The TLS context for the next connection."""

    def __init__(self, files: TlsFiles | None, protocols: Sequence[str] = HTTP) -> None:
        """``protocols`` are offered to the server (ALPN). Raises `TlsError`."""
        self._files = files
        self._protocols = tuple(protocols)
        self._states = _file_states(files)
        self._context = None if files is None else create_ssl_context(files, self._protocols)

    def context(self) -> ssl.SSLContext:
        """Return the context, with the files as they are now.

        If they cannot be used, for instance because only one of a certificate and its key is
        renewed yet, the previous ones are used, and this is logged once. Raises `OSError` if there
        is no file descriptor to read them.
        """
        if self._files is None or self._context is None:
            return create_ssl_context(None, self._protocols)
        states = _file_states(self._files)
        if states != self._states:
            check_descriptors()  # without one, the files could not be read and would seem unusable
            self._states = states
            try:
                self._context = create_ssl_context(self._files, self._protocols)
            except TlsError as error:
                log.warning("tls.not_renewed", error=str(error))
        return self._context


def create_ssl_context(files: TlsFiles | None, protocols: tuple[str, ...] = HTTP) -> ssl.SSLContext:
    """Return a context with these files; with None, one with the system's certificate authorities.

    Raises `TlsError`; with None `OSError`, if there is no file descriptor.
    """
    if files is None:
        return _system_context(protocols)
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
    return _with_alpn(context, protocols)


@cache
def _system_context(protocols: tuple[str, ...]) -> ssl.SSLContext:
    """Return a context that destinations without ``tls`` share: each takes time and memory."""
    check_descriptors()  # OpenSSL would silently trust nothing, and this context is kept for ever
    return _with_alpn(ssl.create_default_context(), protocols)


def _with_alpn(context: ssl.SSLContext, protocols: tuple[str, ...]) -> ssl.SSLContext:
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def _file_states(files: TlsFiles | None) -> tuple[_FileState, ...]:
    if files is None:
        return ()
    return tuple(map(_file_state, (files.ca_file, files.cert_file, files.key_file)))


def _file_state(file: Path | None) -> _FileState:
    try:
        found = None if file is None else file.stat()
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_size, found.st_mtime_ns)
