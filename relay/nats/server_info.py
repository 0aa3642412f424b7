"""What a NATS server says about itself when a connection is opened."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

DEFAULT_MAX_PAYLOAD = 1_048_576
"""What a server takes if it does not say otherwise: nats-server's default of ``max_payload``."""


class ServerInfo(msgspec.Struct, frozen=True):
    """What a server says about itself when a connection is opened."""

    name: str = ""
    version: str = ""
    max_payload: int = DEFAULT_MAX_PAYLOAD
    """How long a message may be with its headers, in bytes."""
    jetstream: bool = False
    cluster: str = ""
    domain: str = ""

    @property
    def version_tuple(self) -> tuple[int, int, int]:
        """The version as numbers; zeros if it cannot be read."""
        found = re.match(r"(\d+)\.(\d+)\.(\d+)", self.version)
        return (0, 0, 0) if found is None else (int(found[1]), int(found[2]), int(found[3]))


def read_server_info(info: Mapping[str, Any]) -> ServerInfo:
    """Return what is known of a server; what it says in an odd type is as if it were not there."""
    known: dict[str, Any] = {}
    for field in ServerInfo.__struct_fields__:
        value = info.get("server_name" if field == "name" else field)
        if type(value) is type(getattr(_NOTHING_KNOWN, field)):
            known[field] = value
    return ServerInfo(**known)


_NOTHING_KNOWN = ServerInfo()
