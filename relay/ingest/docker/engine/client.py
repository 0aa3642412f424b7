"""One connection to an engine's API: aiodocker reaches it, relay reads it."""

import asyncio
import grp
import os
import re
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiodocker
import aiohttp
import msgspec
from aiodocker.ssh import SSHConnector
from aiohttp.client_exceptions import UnixClientConnectorError

from relay.core.errors import describe_os_error
from relay.ingest.docker.cursor import format_engine_time
from relay.ingest.docker.engine.container_list import ContainerListParser, InvalidContainerList
from relay.ingest.docker.engine.endpoint import Endpoint, TlsFiles
from relay.ingest.docker.engine.inspection import ContainerSnapshot, parse_inspection

CONNECT_TIMEOUT_S = 10
INFO_TIMEOUT_S = 5
"""The name is a nicety; a busy engine may take long to tell it."""

CLOSE_TIMEOUT_S = 2
"""A half-open ssh connection says no goodbye."""
RESPONSE_MAX_BYTES = 16 * 1024 * 1024
"""The most that is read of one answer, in bytes; the stream and the list of containers have no such
end."""

LOG_MAX_BYTES = 4 * 1024 * 1024
"""The most that is read of a log, in bytes: 200 lines of the 16 KiB at which Docker splits them
(moby's ``daemon/logger/copier.go``) are 3.2 MB."""

CLOCK_TOLERANCE_NS = 2_000_000_000
"""Clocks that agree within this are the same: HTTP dates have whole seconds."""

Now = Callable[[], int]
"""The local time, in nanoseconds since 1970."""


class EngineUnavailable(Exception):
    """The engine could not be reached or did not answer as an engine does; one line of text."""


class EngineRefused(EngineUnavailable):
    """The engine, or a proxy before it, answered with a status that is not 200."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


ENGINE_ERRORS = (
    EngineUnavailable,
    aiodocker.DockerError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)
"""Whatever a connection can end with that a new connection may mend."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine says of itself."""

    api_version: str
    """As in ``v1.41``."""
    name: str | None
    """The host's name; None where a socket proxy withholds it, or it takes too long."""
    ahead_ns: int
    """How far the engine's clock is ahead of the local one; 0 within `CLOCK_TOLERANCE_NS`."""
    identity: str | None
    """The engine's own id; None where it is withheld, or does not last: Podman makes up another
    for every answer."""
    podman: bool
    is_local: bool
    """Whether nothing but a Unix socket is between: a stream that ends there ends with its engine,
    and not with a network."""


class EngineClient:
    """An engine's API over one `aiodocker.Docker`. Every method raises one of `FAILURES`."""

    def __init__(self, docker: aiodocker.Docker, now: Now) -> None:
        self._docker = docker
        self._now = now
        self._podman = False

    async def handshake(self) -> EngineInfo:
        """Negotiate the API version and learn the host's name and clock."""
        headers, _ = await self._get("_ping", versioned=False)
        version = headers.get("Api-Version") or await self._version()
        if not re.fullmatch(r"\d+\.\d+", version):
            raise EngineUnavailable("answers, but not as a container engine does")
        self._docker.api_version = f"v{version}"
        ahead_ns = clock_ahead_ns(headers.get("Date"), self._now())
        self._podman = headers.get("Server", "").startswith("Libpod/")
        info = await self._info()
        return EngineInfo(
            api_version=self._docker.api_version,
            name=_get_text(info, "Name"),
            ahead_ns=ahead_ns,
            identity=None if self._podman else _get_text(info, "ID"),
            podman=self._podman,
            is_local=isinstance(self._docker.connector, aiohttp.UnixConnector),
        )

    async def ping(self) -> None:
        """Return if the engine answers."""
        await self._get("_ping", versioned=False)

    async def history(self, since_ns: int, until_ns: int) -> bytes:
        """What the engine remembers from ``since_ns`` on, framed as the stream is.

        Docker tells what happened before ``until_ns``. Podman, which for a past one tells
        nothing, tells what happened until now.
        """
        params = {"since": format_engine_time(since_ns)}
        params |= {"stream": "false"} if self._podman else {"until": format_engine_time(until_ns)}
        _, body = await self._get("events", params)
        return body

    async def list_containers(self) -> dict[str, str]:
        """The states (``running``, ``exited`` …) of all containers, by id.

        The answer may be of any length, for Docker cannot be asked for less than everything.
        """
        listing = ContainerListParser()
        try:
            async with self._open("containers/json", {"all": "1"}) as answer:
                async for chunk in answer.content.iter_any():
                    listing.feed(chunk)
            return listing.states()
        except InvalidContainerList as bad:
            raise EngineUnavailable(str(bad)) from None

    async def inspect(self, container: str) -> bytes | None:
        """What the engine says of a container, as JSON; None if there is no such container."""
        try:
            _, body = await self._get(f"containers/{quote(container, safe='')}/json")
        except EngineRefused as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return body

    async def snapshot(self, container: str) -> ContainerSnapshot | None:
        """A container as it is seen now; None if there is no such container."""
        body = await self.inspect(container)
        return None if body is None else parse_inspection(body, podman=self._podman)

    @asynccontextmanager
    async def stream(self, since_ns: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The engine's events from ``since_ns`` on, in chunks as they come, for ever."""
        async with self._open("events", {"since": format_engine_time(since_ns)}) as answer:
            yield answer.content.iter_any()

    async def logs(self, container: str, lines: int) -> bytes:
        """The container's last lines as the API frames them: see `container_details`.

        Raises `EngineRefused` with 404 where there is no such container, with 501 where its log
        driver keeps none.
        """
        params = {"stdout": "1", "stderr": "1", "tail": str(lines)}
        async with self._open(f"containers/{quote(container, safe='')}/logs", params) as answer:
            return await _read_limited(answer.content, LOG_MAX_BYTES)

    async def _version(self) -> str:
        _, body = await self._get("version", versioned=False)
        return str(_parse_object(body).get("ApiVersion"))

    async def _info(self) -> dict[str, Any]:
        """Empty where a socket proxy withholds it, or it takes too long."""
        try:
            async with asyncio.timeout(INFO_TIMEOUT_S):
                _, body = await self._get("info")
        except (EngineUnavailable, TimeoutError):
            return {}
        return _parse_object(body)

    async def _get(
        self, path: str, params: Mapping[str, str] | None = None, *, versioned: bool = True
    ) -> tuple[Mapping[str, str], bytes]:
        async with self._open(path, params or {}, versioned=versioned) as answer:
            return answer.headers, await _read_limited(answer.content)

    @asynccontextmanager
    async def _open(
        self, path: str, params: Mapping[str, str], *, versioned: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._docker.session.closed:  # its connection ended since whoever asks has got it
            raise EngineUnavailable("the connection is closed")
        prefix = f"{self._docker.api_version}/" if versioned else ""
        url = f"{self._docker.docker_host}/{prefix}{path}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        async with self._docker.session.get(
            url, params=params, timeout=timeout, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                body = await answer.content.read(500)
                raise EngineRefused(_describe_refusal(path, answer.status, body), answer.status)
            yield answer


@asynccontextmanager
async def connect(endpoint: Endpoint, now: Now) -> AsyncIterator[EngineClient]:
    """A client of the engine at ``endpoint``; nothing is sent yet."""
    docker = _make_docker(endpoint)
    try:
        yield EngineClient(docker, now)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await docker.close()
                await docker.connector.close()


def clock_ahead_ns(date: str | None, local_ns: int) -> int:
    """How far an HTTP ``Date`` (RFC 9110, section 5.6.7) is ahead of the local time."""
    try:
        engine_s = parsedate_to_datetime(date or "").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return 0
    ahead_ns = int(engine_s) * 1_000_000_000 - local_ns
    return ahead_ns if abs(ahead_ns) > CLOCK_TOLERANCE_NS else 0


class _CleanSSHConnector(SSHConnector):
    """aiodocker's connector offers the remote host the whole environment, secrets and all."""

    def _clean_environment(self) -> dict[str, str]:
        return {}


def _make_docker(endpoint: Endpoint) -> aiodocker.Docker:
    url = endpoint.url
    if endpoint.tls and url:
        return aiodocker.Docker(
            url=re.sub("^tcp:", "https:", url), ssl_context=_make_ssl_context(endpoint.tls)
        )
    if url and url.startswith("ssh://"):
        if find_spec("asyncssh") is None:
            raise EngineUnavailable("ssh needs: pip install 'docker-event-relay[ssh]'")
        docker = aiodocker.Docker(url=url, connector=_CleanSSHConnector(url))
        docker.docker_host = "unix://localhost"
        return docker
    if url and not url.startswith("unix://"):
        # With a connector of ours, aiodocker does not look for TLS in the environment.
        return aiodocker.Docker(url=url, connector=aiohttp.TCPConnector())
    return aiodocker.Docker(url=url, context=endpoint.context)


def _make_ssl_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca and os.fspath(files.ca))
    if files.cert and files.key:
        # a key with a passphrase is refused: nobody could be asked for it
        context.load_cert_chain(files.cert, files.key, password="")
    return context


def describe_error(failure: BaseException) -> str:
    """One line that says why an engine cannot be reached, and where known what to do."""
    match failure:
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            return f"its certificate is not accepted: {cause}"
        case UnixClientConnectorError(os_error=PermissionError(), path=path):
            return f"{path}: permission denied: {_suggest_permission(path)}"
        case UnixClientConnectorError(os_error=cause, path=path):
            return f"{path}: {describe_os_error(cause)}"
        case aiohttp.ClientConnectorError(os_error=cause, host=host, port=port):
            return f"{host}:{port}: {describe_os_error(cause)}"
        case aiohttp.ClientPayloadError():
            return "the connection broke"
        case aiohttp.InvalidURL() | aiohttp.ClientResponseError():
            return type(failure).__name__  # their text holds the URL
        case OSError(errno=int()):
            return describe_os_error(failure)
        case _:
            return " ".join(str(failure).split())[:300] or type(failure).__name__


def _suggest_permission(socket: str) -> str:
    """Who may open a socket in the file system, as far as that can be seen."""
    try:
        found = Path(socket).stat()
    except OSError:
        return "relay's user must be in the socket's group, and may enter its folder"
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o060 != 0o060:  # connect(2) takes the right to write, and a docker command both
        return f"its mode ({mode:04o}) lets no group in: give its group the right to read and write"
    try:
        group = f"{grp.getgrgid(found.st_gid).gr_name} ({found.st_gid})"
    except KeyError:  # in a container, where the host's groups have no names
        group = str(found.st_gid)
    return f"relay's user must be in the group {group}"


async def _read_limited(content: aiohttp.StreamReader, limit: int = RESPONSE_MAX_BYTES) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limit:
            raise EngineUnavailable(f"an answer of more than {limit} bytes")
    return bytes(body)


def _get_text(answer: dict[str, Any], key: str) -> str | None:
    value = answer.get(key)
    return value if isinstance(value, str) and value else None


def _parse_object(body: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one where a proxy answers something else."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {}


def _describe_refusal(path: str, status: int, body: bytes) -> str:
    message = _parse_object(body).get("message") or body.decode(errors="replace")
    words = " ".join(str(message).split())[:200]
    return f"answers {status} to /{path}" + (f": {words}" if words else "")
