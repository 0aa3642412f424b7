"""A connection to an engine's API: aiodocker connects, and relay reads the answers."""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from urllib.parse import quote

import aiodocker
import aiohttp
import msgspec

from relay.core.tasks import import_in_thread, run_in_thread
from relay.ingest.docker.engine.container_details import get_path, parse_object
from relay.ingest.docker.engine.container_list import ContainerListParser, InvalidContainerList
from relay.ingest.docker.engine.endpoint import Endpoint, TlsFiles, read_headers
from relay.ingest.docker.engine.errors import AnswerTooLong, EngineRefused, EngineUnavailable
from relay.ingest.docker.engine.inspection import ContainerSnapshot, parse_inspection
from relay.ingest.docker.engine.parser import MAX_TIME_NS
from relay.ingest.docker.engine.swarm import (
    ServiceFailure,
    parse_failures,
    parse_service_names,
)

CONNECT_TIMEOUT_S = 10

INFO_TIMEOUT_S = 5
"""The host's name is not essential, and a busy engine may take long to give it."""

CLOSE_TIMEOUT_S = 2
"""A half-open ssh connection never confirms that it is closed."""

RESPONSE_MAX_BYTES = 16 * 1024 * 1024
"""The most that is read of one answer; the stream and the list of containers have no such limit."""

REFUSAL_MAX_BYTES = 500
"""How much is shown of an answer that says why a request is refused."""

REFUSAL_TIMEOUT_S = 2
"""How long to wait for the rest of such an answer."""

LOG_MAX_BYTES = 4 * 1024 * 1024
"""The most that is read of a log: 200 lines of the 16 KiB at which Docker splits them (moby's
``daemon/logger/copier.go``) are 3.2 MB."""

LOG_PERIOD_MAX_BYTES = 1024 * 1024
"""The most that is read of the log of a period."""

EQUAL_CLOCKS_NS = 2_000_000_000
"""Clocks that differ by at most this count as equal: HTTP dates have whole seconds."""

NAME_MAX_CHARS = 256
"""The longest name or id of an engine; a host's name has at most 255 bytes."""

SAYS_STOPPED_SINCE = (4, 8)
"""From this version of Podman on an inspection over its own API has ``State.StoppedByUser``
(https://github.com/containers/podman/pull/19889); it leaves the field out if it is false."""

Now = Callable[[], int]
"""Returns the local time, in nanoseconds since 1970."""

UNKNOWN_HOST = "no ~/.ssh/known_hosts: add the host's key with ssh-keyscan, and compare it"


class EngineInfo(msgspec.Struct, frozen=True):
    """What an engine says about itself."""

    api_version: str
    """As in ``v1.41``."""
    name: str | None
    """The host's name; None if a socket proxy withholds it, or it takes too long."""
    ahead_ns: int
    """How far the engine's clock is ahead of the local one; 0 within `EQUAL_CLOCKS_NS`."""
    identity: str | None
    """The engine's own id; None if it is withheld, or does not last: Podman makes up a new one for
    every answer."""
    podman: bool
    is_local: bool
    """Whether only a Unix socket connects it: if its stream ends, the engine has ended, and not
    just a network connection."""


class EngineClient:
    """An engine's API over one `aiodocker.Docker`. Every method raises one of `ENGINE_ERRORS`."""

    def __init__(
        self, docker: aiodocker.Docker, now: Now, headers: Mapping[str, str] | None = None
    ) -> None:
        """``headers`` are sent with each request, and never appear in an error's message."""
        self._docker = docker
        self._now = now
        self._headers = headers or {}
        self._podman = False
        self._is_manager = False
        """Whether it managed a Swarm when it was asked last."""
        self._libpod_prefix: str | None = None
        """Where Podman's own API begins; None if its inspections say no more than Docker's do."""

    async def handshake(self) -> EngineInfo:
        """Negotiate the API version; learn the host's name and the engine's clock."""
        headers, _ = await self._get("_ping", versioned=False)
        version = headers.get("Api-Version")
        if not version:
            _, body = await self._get("version", versioned=False)
            version = str((parse_object(body) or {}).get("ApiVersion"))
        if not re.fullmatch(r"\d+\.\d+", version):
            raise EngineUnavailable("answers, but not as a container engine does")
        self._docker.api_version = f"v{version}"
        ahead_ns = clock_ahead_ns(headers.get("Date"), self._now())
        self._podman = headers.get("Server", "").startswith("Libpod/")
        self._libpod_prefix = _libpod_prefix(headers.get("Libpod-Api-Version", ""))
        info = await self._info()
        self._is_manager = get_path(info, "Swarm.ControlAvailable") is True
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
        """Return the events since ``since_ns`` that the engine remembers, framed as the stream is.

        Docker returns the events before ``until_ns``. Podman returns those until now, because for a
        past ``until`` it returns nothing.
        """
        params = {"since": format_engine_time(since_ns)}
        params |= {"stream": "false"} if self._podman else {"until": format_engine_time(until_ns)}
        _, body = await self._get("events", params)
        return body

    async def list_containers(self) -> dict[str, str]:
        """Return the states (``running``, ``exited`` …) of all containers, by id.

        The answer may be of any length, because Docker cannot be asked for a part of it.
        """
        parser = ContainerListParser()
        try:
            async with self._open("containers/json", {"all": "1"}) as response:
                async for chunk in response.content.iter_any():
                    parser.feed(chunk)
            return parser.states()
        except InvalidContainerList as error:
            raise EngineUnavailable(str(error)) from None

    async def inspect(self, container: str) -> bytes | None:
        """Return the engine's inspection of a container, as JSON; None if it does not exist."""
        try:
            _, body = await self._get(f"containers/{quote(container, safe='')}/json")
        except EngineRefused as refused:
            if refused.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return body

    async def snapshot(self, container: str) -> ContainerSnapshot | None:
        """Return the current state of a container; None if it does not exist."""
        if self._libpod_prefix is not None:
            path = f"{self._libpod_prefix}containers/{quote(container, safe='')}/json"
            with suppress(EngineRefused):  # a proxy may let only Docker's API through
                _, answer = await self._get(path, versioned=False)
                return parse_inspection(answer, podman=True, says_stopped=True)
        body = await self.inspect(container)
        return None if body is None else parse_inspection(body, podman=self._podman)

    async def list_failing_services(self) -> list[ServiceFailure]:
        """Return those services of the engine's Swarm whose tasks cannot start.

        If the engine managed no Swarm when the client connected, nothing is requested and the list
        is empty.
        """
        if not self._is_manager:
            return []
        _, tasks = await self._get("tasks")
        failures = parse_failures(tasks)
        if failures is None:
            raise EngineUnavailable("its list of tasks cannot be read")
        if not failures:
            return []
        ids = msgspec.json.encode({"id": [failure.id for failure in failures]}).decode()
        _, services = await self._get("services", {"filters": ids})
        names = parse_service_names(services)
        return [msgspec.structs.replace(it, name=names.get(it.id)) for it in failures]

    @asynccontextmanager
    async def stream(self, since_ns: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the stream of events since ``since_ns``: chunks of bytes, without end."""
        async with self._open("events", {"since": format_engine_time(since_ns)}) as response:
            yield response.content.iter_any()

    async def logs(self, container: str, lines: int) -> bytes:
        """Return the container's last lines with their times: see `container_details`.

        Raises `EngineRefused` with 404 if the container does not exist, and with 501 if its log
        driver keeps no logs.
        """
        return await self._logs(container, LOG_MAX_BYTES, {"tail": str(lines)})

    async def logs_between(self, container: str, since_ns: int, until_ns: int) -> bytes:
        """Return all lines that the container wrote in a period, with their times.

        The number of lines cannot be limited too: Docker would take the last lines of the whole
        log, and leave out those that are not of the period. Raises as `logs` does, and
        `AnswerTooLong` if there is more than `LOG_PERIOD_MAX_BYTES`.
        """
        period = {"since": format_engine_time(since_ns), "until": format_engine_time(until_ns)}
        return await self._logs(container, LOG_PERIOD_MAX_BYTES, period)

    async def _logs(self, container: str, max_bytes: int, selected: Mapping[str, str]) -> bytes:
        params = {"stdout": "1", "stderr": "1", "timestamps": "1", **selected}
        async with self._open(f"containers/{quote(container, safe='')}/logs", params) as response:
            return await _read_limited(response.content, max_bytes)

    async def _info(self) -> Mapping[str, object]:
        """Return the engine's info; empty if a socket proxy withholds it, or it takes too long."""
        try:
            async with asyncio.timeout(INFO_TIMEOUT_S):
                _, body = await self._get("info")
        except (EngineUnavailable, TimeoutError):
            return {}
        return parse_object(body) or {}

    async def _get(
        self, path: str, params: Mapping[str, str] | None = None, *, versioned: bool = True
    ) -> tuple[Mapping[str, str], bytes]:
        async with self._open(path, params or {}, versioned=versioned) as response:
            return response.headers, await _read_limited(response.content, RESPONSE_MAX_BYTES)

    @asynccontextmanager
    async def _open(
        self, path: str, params: Mapping[str, str], *, versioned: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._docker.session.closed:  # the connection ended after the caller got this client
            raise EngineUnavailable("the connection is closed")
        prefix = f"{self._docker.api_version}/" if versioned else ""
        url = f"{self._docker.docker_host}/{prefix}{path}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        async with self._docker.session.get(
            url, params=params, headers=self._headers, timeout=timeout, allow_redirects=False
        ) as response:
            if response.status != 200:
                text = await self._read_refusal(response)
                raise EngineRefused(_describe_refusal(path, response.status, text), response.status)
            yield response

    async def _read_refusal(self, response: aiohttp.ClientResponse) -> str:
        """Return the beginning of an answer's text, without any header's value that it repeats."""
        values = self._headers.values()
        secrets = {word for value in values for word in (value, *value.split()) if len(word) >= 6}
        longest = max((len(secret.encode()) for secret in secrets), default=0)
        body = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout(REFUSAL_TIMEOUT_S):
                # so far that no secret within the limit is cut off
                while len(body) < REFUSAL_MAX_BYTES + longest:
                    if not (part := await response.content.readany()):
                        break
                    body += part
        message = (parse_object(bytes(body)) or {}).get("message")
        text = str(message or body.decode(errors="replace"))
        for secret in sorted(secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text[:REFUSAL_MAX_BYTES]


@asynccontextmanager
async def connect(endpoint: Endpoint, now: Now) -> AsyncIterator[EngineClient]:
    """Yield a client of the engine at ``endpoint``; nothing is sent before its first call."""
    if (endpoint.url or "").startswith("ssh://"):
        # asyncssh is large: only engines that need it import it, in a thread so that others go on
        await import_in_thread("relay.ingest.docker.engine.ssh")
    headers = await _read_headers(endpoint)
    docker = _make_docker(endpoint)
    try:
        yield EngineClient(docker, now, headers)
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await docker.close()
                await docker.connector.close()


def _libpod_prefix(version: str) -> str | None:
    """Return the path of Podman's own API; None before `SAYS_STOPPED_SINCE`, or without one."""
    found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})\.\d{1,4}", version)
    if found is None or (int(found[1]), int(found[2])) < SAYS_STOPPED_SINCE:
        return None
    return f"v{version}/libpod/"


async def _read_headers(endpoint: Endpoint) -> Mapping[str, str]:
    if endpoint.bearer_token_file is None:
        return read_headers(endpoint)
    try:  # in a thread, because a disk may hang
        return await run_in_thread(partial(read_headers, endpoint), "read bearer token")
    except ValueError as error:
        raise EngineUnavailable(str(error)) from None


def clock_ahead_ns(date: str | None, local_ns: int) -> int:
    """Return how far an HTTP ``Date`` (RFC 9110, section 5.6.7) is ahead of the local time.

    0 within `EQUAL_CLOCKS_NS`, and for anything that is not a date on which events are accepted.
    """
    try:
        date_s = parsedate_to_datetime(date or "").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return 0
    engine_ns = int(date_s) * 1_000_000_000
    is_ahead = 0 < engine_ns < MAX_TIME_NS and abs(engine_ns - local_ns) > EQUAL_CLOCKS_NS
    return engine_ns - local_ns if is_ahead else 0


def _make_docker(endpoint: Endpoint) -> aiodocker.Docker:
    url = endpoint.url
    if endpoint.tls and url:
        return aiodocker.Docker(
            url=re.sub("^tcp:", "https:", url), ssl_context=_make_ssl_context(endpoint.tls)
        )
    if url and url.startswith("ssh://"):
        if find_spec("asyncssh") is None:
            raise EngineUnavailable(
                "ssh:// needs asyncssh: install requirements.lock into relay's environment"
            )
        from relay.ingest.docker.engine.ssh import CleanSSHConnector  # noqa: PLC0415 (see `connect`)

        try:
            docker = aiodocker.Docker(url=url, connector=CleanSSHConnector(url))
        except aiodocker.DockerError as error:  # its words name options that relay does not have
            if "Host key" not in error.message:
                raise
            raise EngineUnavailable(UNKNOWN_HOST) from None
        docker.docker_host = "unix://localhost"
        return docker
    if url and not url.startswith("unix://"):
        # Without a connector, aiodocker would search the environment for TLS settings.
        return aiodocker.Docker(url=url, connector=aiohttp.TCPConnector())
    return aiodocker.Docker(url=url, context=endpoint.context)


def _make_ssl_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=files.ca and os.fspath(files.ca))
    if files.cert and files.key:
        # A key with a passphrase is refused: there is nobody to ask for it.
        context.load_cert_chain(files.cert, files.key, password="")
    return context


async def _read_limited(content: aiohttp.StreamReader, limit: int) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > limit:
            raise AnswerTooLong(f"an answer of more than {limit} bytes")
    return bytes(body)


def _get_text(info: Mapping[str, object], key: str) -> str | None:
    """Return a text of the engine's info; None if it is missing or longer than any real one."""
    value = info.get(key)
    return value if isinstance(value, str) and 0 < len(value) <= NAME_MAX_CHARS else None


def _describe_refusal(path: str, status: int, message: str) -> str:
    text = " ".join(message.split())[:200]
    return f"answers {status} to /{path}" + (f": {text}" if text else "")


def format_engine_time(time_ns: int) -> str:
    """Format a time for the engine's ``since`` and ``until``: seconds, a point, nine digits."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{seconds}.{nanos:09d}"
