"""The keys of a connection to NATS, as a test needs them."""

from pathlib import Path
from typing import Any

from relay.config.nats_keys import NatsKeys
from tests.support.nats_server import NatsServer


class ClientKeys(NatsKeys):
    """The keys of a client that is neither an engine nor a destination."""

    name: str = "web-17"

    @property
    def identity(self) -> str:
        """See `NatsKeys`."""
        return self.name


def client_keys(*servers: NatsServer | str, **keys: Any) -> ClientKeys:
    """Return the keys of a client of these servers."""
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return ClientKeys(url=urls, **keys)


def write_secret(folder: Path, name: str, text: str) -> Path:
    """Write a file with a secret; return its path."""
    file = folder / name
    file.write_text(text)
    file.chmod(0o600)
    return file
