"""The accounts of a fleet in a server's configuration: nkeys, permissions, TLS."""

from collections.abc import Sequence
from pathlib import Path

from relay.nats.nkey import make_seed, public_key
from tests.support.certificates import Authority


class Account:
    """A user with an nkey; its seed is in a file."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        seed = make_seed()
        self.public_key = public_key(seed)
        self.seed_file = folder / f"{name}.nk"
        self.seed_file.write_text(seed + "\n")
        self.seed_file.chmod(0o600)

    def may(self, *, publish: Sequence[str], subscribe: Sequence[str]) -> str:
        """Return the user's entry in a list of users."""
        allowed = (
            f"publish: [{', '.join(map(_quote, publish))}], "
            f"subscribe: [{', '.join(map(_quote, subscribe))}]"
        )
        return f"{{ nkey: {self.public_key}, permissions: {{ {allowed} }} }}"

    def may_do_all(self) -> str:
        """Return the entry of a user who may do everything."""
        return f"{{ nkey: {self.public_key} }}"


def users(*entries: str) -> str:
    """Return the block of a server's configuration that knows these users."""
    return f"authorization {{ users: [\n{chr(10).join(entries)}\n] }}\n"


def edge_entry(account: Account, name: str | None = None) -> str:
    """Return the entry of a host that publishes its events, and nothing else."""
    host = name or account.name
    return account.may(publish=[f"relay.events.{host}.>"], subscribe=[f"_INBOX.{host}.>"])


def hub_entry(account: Account, stream: str = "RELAY", consumer: str = "HUB") -> str:
    """Return the entry of a hub, with what it needs and nothing else."""
    return account.may(
        publish=[
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
            f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
            f"$JS.ACK.{stream}.{consumer}.>",
        ],
        subscribe=[f"_INBOX.{consumer}.>"],
    )


def tls(authority: Authority) -> str:
    """Return the block of a server's configuration that requires TLS."""
    certificate, key = authority.issue("server")
    return f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}\n'


def _quote(text: str) -> str:
    return f'"{text}"'
