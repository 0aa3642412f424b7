"""Finds the endpoint of an engine as the docker command does."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import msgspec
from pydantic import SecretStr

from relay.config import DockerEngineConfig
from relay.config.errors import quote
from relay.config.secrets import read_secret_file
from relay.config.validators import check_bearer_token, check_engine_url
from relay.core.errors import RelayError

DEFAULT_SOCKET = "unix:///var/run/docker.sock"

MAX_CONTEXTS = 20
"""How many docker contexts an error message lists."""


class EndpointError(RelayError):
    """The environment names an engine that relay cannot use."""

    exit_code = 2


class TlsFiles(msgspec.Struct, frozen=True):
    """The files for a TLS connection."""

    ca: Path | None
    cert: Path | None
    key: Path | None


class Endpoint(msgspec.Struct, frozen=True):
    """The address of an engine. Exactly one of ``url`` and ``context`` is set."""

    url: str | None
    context: str | None
    tls: TlsFiles | None
    headers: Mapping[str, SecretStr] = {}
    """Headers to send with each request."""
    bearer_token_file: Path | None = None
    """The file with the token to send with each request."""

    def __str__(self) -> str:
        """Return the URL without its password, or the name of the context."""
        if self.url is None:
            return f"docker context {self.context}"
        scheme, _, rest = self.url.partition("://")
        user, at, host = rest.rpartition("@")
        return f"{scheme}://{user.partition(':')[0]}{at}{host}"


def resolve_endpoint(
    config: DockerEngineConfig, environ: Mapping[str, str], current_context: str
) -> Endpoint:
    """Return the endpoint of an engine.

    The configuration's ``url`` or ``context`` comes first; then ``DOCKER_HOST``,
    ``DOCKER_CONTEXT``, the context selected by ``docker context use`` (``current_context``, empty
    for none), and the default socket. This is the order of docker's own command line (docker/cli,
    ``cli/command/cli.go``, ``resolveContextName``). ``DOCKER_TLS_VERIFY`` and ``DOCKER_CERT_PATH``
    apply to ``DOCKER_HOST`` only. Raises `EndpointError`.
    """
    return msgspec.structs.replace(
        _find_address(config, environ, current_context),
        headers=config.headers,
        bearer_token_file=config.bearer_token_file,
    )


def _find_address(
    config: DockerEngineConfig, environ: Mapping[str, str], current_context: str
) -> Endpoint:
    if config.url:
        tls = config.tls
        files = TlsFiles(tls.ca_file, tls.cert_file, tls.key_file) if tls is not None else None
        return Endpoint(config.url, None, files)
    if config.context:
        return _context_endpoint(config.context)
    if host := environ.get("DOCKER_HOST"):
        url = _docker_host_url(host)
        return Endpoint(url, None, _environment_tls(url, environ))
    return _context_endpoint(environ.get("DOCKER_CONTEXT") or current_context or "default")


def resolve_endpoints(
    engines: Mapping[str, DockerEngineConfig], environ: Mapping[str, str]
) -> dict[str, Endpoint]:
    """Return the endpoints of all these engines, by name.

    Reads docker's configuration file. Raises `EndpointError`.
    """
    home = Path(environ.get("HOME", "/"))
    current = read_current_context(home)
    found = {name: resolve_endpoint(engine, environ, current) for name, engine in engines.items()}
    for name, endpoint in found.items():
        if endpoint.context is not None:
            _check_context(name, endpoint.context, home)
    return found


def read_current_context(home: Path) -> str:
    """Return the context selected by ``docker context use``; empty if none is."""
    try:
        settings = json.loads((home / ".docker" / "config.json").read_bytes())
        return str(settings.get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def read_headers(endpoint: Endpoint) -> dict[str, str]:
    """Return the headers to send with each request; reads the file with the token.

    Raises `OSError`, or `ValueError` if the file holds no token. No message contains its content.
    """
    headers = {name: value.get_secret_value() for name, value in endpoint.headers.items()}
    if endpoint.bearer_token_file is not None:
        try:
            token = check_bearer_token(read_secret_file(endpoint.bearer_token_file))
        except ValueError as error:
            raise ValueError(f"{endpoint.bearer_token_file} {error}") from None
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _check_context(engine: str, context: str, home: Path) -> None:
    """Raise `EndpointError` if docker's command line has no context of this name.

    A context is a folder that is named by the SHA-256 of the context's name (docker/cli,
    ``cli/context/store/metadatastore.go``).
    """
    folder = home / ".docker" / "contexts" / "meta"
    if not (folder / hashlib.sha256(context.encode()).hexdigest() / "meta.json").exists():
        known = ", ".join(["default", *_read_context_names(folder)])
        raise EndpointError(
            f"engine {engine}: there is no docker context {quote(context)}; there are: {known}"
        )


def _read_context_names(folder: Path) -> list[str]:
    """Return the first names, sorted; a file that is not as docker writes it is left out."""
    names = []
    for file in sorted(folder.glob("*/meta.json"))[:MAX_CONTEXTS]:
        try:
            names.append(quote(json.loads(file.read_bytes())["Name"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(names)


def _docker_host_url(docker_host: str) -> str:
    """Return ``DOCKER_HOST`` as a URL; docker reads a value without a scheme as tcp."""
    is_url = "://" in docker_host or docker_host.startswith("/")
    url = docker_host if is_url else f"tcp://{docker_host}"
    try:
        return check_engine_url(url)
    except ValueError as error:
        raise EndpointError(
            f"DOCKER_HOST {error}; or write the engine's 'url' into the configuration"
        ) from None


def _context_endpoint(name: str) -> Endpoint:
    if name == "default":  # not a real context: it stands for the default socket
        return Endpoint(DEFAULT_SOCKET, None, None)
    return Endpoint(None, name, None)


def _environment_tls(host: str, environ: Mapping[str, str]) -> TlsFiles | None:
    if not host.startswith("tcp://") or not environ.get("DOCKER_TLS_VERIFY"):
        return None
    folder = Path(environ.get("DOCKER_CERT_PATH") or Path(environ.get("HOME", "/")) / ".docker")
    return TlsFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
