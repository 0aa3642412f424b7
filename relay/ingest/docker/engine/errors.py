"""The errors of connections and requests to an engine, and what they say to people."""

import grp
import stat
from pathlib import Path

import aiodocker
import aiohttp
from aiohttp.client_exceptions import UnixClientConnectorError

from relay.core.errors import describe_os_error


class EngineUnavailable(Exception):
    """The engine cannot be reached, or does not answer as an engine. The message is one line."""


class AnswerTooLong(EngineUnavailable):
    """The engine's answer is longer than what is read of it."""


class EngineRefused(EngineUnavailable):
    """The engine, or a proxy in front of it, answered with a status that is not 200."""

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
"""All errors with which a connection or a request can fail; another attempt may succeed."""


def describe_error(error: BaseException) -> str:
    """Describe in one line why an engine cannot be reached and, if known, what to do."""
    match error:
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
            return type(error).__name__  # their text contains the URL
        case OSError(errno=int()):
            return describe_os_error(error)
        case _:
            return " ".join(str(error).split())[:300] or type(error).__name__


def _suggest_permission(socket: str) -> str:
    """Say who may open a socket in the file system, and how relay becomes one of them."""
    try:
        found = Path(socket).stat()
    except OSError:
        return "relay's user must be in the socket's group, and may enter its folder"
    mode, gid = stat.S_IMODE(found.st_mode), found.st_gid
    as_owner = f"or run relay as the user {found.st_uid} (docker run --user {found.st_uid})"
    if mode & 0o060 != 0o060:  # connect(2) needs the right to write, and the docker command both
        return (
            f"its mode ({mode:04o}) lets no group in: give its group the right to read and write, "
            f"{as_owner}"
        )
    try:
        name = grp.getgrgid(gid).gr_name
        group, by_hand = f"{name} ({gid})", f"usermod -aG {name} USER, "
    except KeyError:  # in a container, where the host's groups have no names
        group, by_hand = str(gid), ""
    return (
        f"relay's user must be in the group {group}: {by_hand}docker run --group-add {gid}, or "
        f"SupplementaryGroups={gid} under systemd; {as_owner}"
    )
