"""What each account of a fleet may do, as the configuration of nats-server says it.

https://docs.nats.io/running-a-nats-service/configuration/securing_nats/authorization
"""

from collections.abc import Sequence

import msgspec

from relay.nats.subjects import host_subjects


class Permissions(msgspec.Struct, frozen=True):
    """The subjects that an account may use."""

    publish: Sequence[str]
    subscribe: Sequence[str]


def host_permissions(host: str) -> Permissions:
    """Return what a host needs: its own subjects, and the answers to what it publishes."""
    return Permissions([host_subjects(host)], [inbox_subjects(host)])


def hub_permissions(stream: str, consumer: str) -> Permissions:
    """Return what a hub and its standby need: to read, to acknowledge, and to see what there is."""
    return Permissions(
        [
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}",
            f"$JS.API.CONSUMER.INFO.{stream}.{consumer}",
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.ACK.{stream}.{consumer}.>",
        ],
        [inbox_subjects(consumer)],
    )


def inbox_subjects(identity: str) -> str:
    """Return the subjects of the answers to an account."""
    return f"_INBOX.{identity}.>"


def format_user(permissions: Permissions, public_key: str | None, comment: str) -> list[str]:
    """Return the lines of one user in a list of users; without a key a placeholder for it."""
    key = f"nkey: {public_key}" if public_key else 'user: "NAME", password: "PASSWORD"'
    return [
        f"# {comment}",
        f"{{ {key}, permissions: {{",
        f"    publish: [{_quote(permissions.publish)}]",
        f"    subscribe: [{_quote(permissions.subscribe)}] }} }}",
    ]


def _quote(subjects: Sequence[str]) -> str:
    return ", ".join(f'"{subject}"' for subject in subjects)
