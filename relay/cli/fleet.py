"""``relay fleet``: prepares the servers that connect the relays of many hosts."""

from typing import TextIO

import click

from relay.cli.group import Group

MAX_SEED_CHARS = 256
"""Our own limit for what is read as a seed, which has 58 characters."""


@click.group(cls=Group)
def fleet() -> None:
    """Prepare NATS servers for the relays of many hosts."""


@fleet.command()
def genkey() -> None:
    """Print the seed of a new nkey, with which one relay logs in: its secret (SU…).

    \b
    umask 077; relay fleet genkey > web-1.nkey
    """
    from relay.nats.nkey import make_seed  # noqa: PLC0415 - only who has a fleet imports it

    click.echo(make_seed())


@fleet.command()
@click.argument("file", type=click.File("r", errors="replace"), default="-")
def pubkey(file: TextIO) -> None:
    """Print the public key (U…) of the seed in FILE or standard input, which servers know it by.

    \b
    relay fleet pubkey < web-1.nkey
    """
    from relay.nats.nkey import InvalidSeed, public_key  # noqa: PLC0415

    seed = file.read(MAX_SEED_CHARS).strip()
    try:
        click.echo(public_key(seed))
    except InvalidSeed as error:
        raise click.ClickException(f"this {error}") from error
