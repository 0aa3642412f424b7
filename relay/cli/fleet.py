"""``relay fleet``: what an administrator of the NATS servers does for relays of many hosts."""

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import click
from pydantic import SecretStr, ValidationError

from relay.admin import logs
from relay.cli.group import Group
from relay.config import validators
from relay.config.errors import InvalidValue
from relay.config.nats_keys import LOGIN_KEYS, NatsKeys, check_nats_name
from relay.config.types import parse_size
from relay.core.clock import loop_time_s
from relay.core.errors import RelayError, describe_os_error
from relay.core.text import escape_unprintable
from relay.nats.connection import NatsConnection
from relay.nats.disk_sync import find_sync_faults
from relay.nats.failure import FailureKind, RequestError
from relay.nats.nkey import InvalidSeed, make_seed, public_key
from relay.nats.permissions import format_user, host_permissions, hub_permissions
from relay.nats.probe import CONNECT_TIMEOUT_S, describe_server
from relay.nats.requirements import SYNC_UNKNOWN, Finding, find_server_faults
from relay.nats.setup import Setup, Step, set_up
from relay.nats.subjects import is_token

MAX_SEED_CHARS = 256
"""Our own limit for what is read as a seed, which has 58 characters."""
PATIENCE_S = 20.0
"""How long JetStream may be asked in vain: servers that have just started elect a leader first."""
RETRY_S = 0.5

NOT_ADMIN = "Is this the administrator's login? (With prepare: --nkey-file made/admin/nkey)"

_PUBLIC_KEY = re.compile(r"U[A-Z2-7]{55}")

_SYNC_UNKNOWN = Finding(
    f"{SYNC_UNKNOWN}: name their monitoring ports with --monitor, or look at their configuration",
    is_error=False,
)


class FleetError(RelayError):
    """The servers could not be reached, or what is there is not as it has to be."""


class AdminKeys(NatsKeys):
    """How an administrator connects."""

    @property
    def identity(self) -> str:
        """See `NatsKeys`."""
        return "setup"


def _convert_size(_: click.Context, __: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from error


def _convert_name(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        return check_nats_name(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} {error}") from error


def _check_key(key: str | None) -> str | None:
    if key is not None and _PUBLIC_KEY.fullmatch(key) is None:
        raise click.BadParameter(
            f"{key!r} is not the public key of a user (U…): relay fleet pubkey prints it"
        )
    return key


def _convert_key(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    return _check_key(value)


def _convert_hosts(
    _: click.Context, __: click.Parameter, values: Sequence[str]
) -> list[tuple[str, str | None]]:
    hosts = []
    for value in values:
        name, _equals, key = value.partition("=")
        if not is_token(name):
            raise click.BadParameter(
                f"{name!r} cannot be a part of a subject: it has no blank, '.', '*' or '>', and at "
                "most 128 characters"
            )
        hosts.append((name, _check_key(key or None)))
    return hosts


@click.group(cls=Group)
def fleet() -> None:
    """Prepare NATS JetStream for the relays of many hosts."""


@fleet.command()
def genkey() -> None:
    """Print the seed of a new nkey, with which one relay logs in: its secret (SU…).

    \b
    umask 077; relay fleet genkey > web-1.nkey
    """
    click.echo(make_seed())


@fleet.command()
@click.argument("file", type=click.File("r", errors="replace"), default="-")
def pubkey(file: TextIO) -> None:
    """Print the public key (U…) of the seed in FILE or standard input, which servers know it by.

    \b
    relay fleet pubkey < web-1.nkey
    """
    seed = file.read(MAX_SEED_CHARS).strip()
    try:
        click.echo(public_key(seed))
    except InvalidSeed as error:
        raise click.ClickException(f"this {error}") from error


@fleet.command()
@click.option(
    "--url",
    "urls",
    multiple=True,
    required=True,
    metavar="URL",
    help="A server, as in tls://HOST:4222; may be given several times.",
)
@click.option(
    "--nkey-file", type=click.Path(path_type=Path), help="The seed of the administrator's nkey."
)
@click.option(
    "--creds-file", type=click.Path(path_type=Path), help="The administrator's credentials file."
)
@click.option("--username", metavar="NAME", help="The administrator's name.")
@click.option("--password-file", type=click.Path(path_type=Path), help="A file with its password.")
@click.option("--token-file", type=click.Path(path_type=Path), help="A file with a token.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="The certificates to trust.")
@click.option("--cert-file", type=click.Path(path_type=Path), help="A client certificate.")
@click.option("--key-file", type=click.Path(path_type=Path), help="Its private key.")
@click.option("--inbox-prefix", metavar="PREFIX", help="Default: _INBOX.setup.")
@click.option(
    "--stream",
    default="RELAY",
    callback=_convert_name,
    metavar="NAME",
    help="The stream to which hosts publish. Default: RELAY.",
)
@click.option(
    "--consumer",
    default="HUB",
    callback=_convert_name,
    metavar="NAME",
    help="The consumer from which the hub reads. Default: HUB.",
)
@click.option(
    "--max-size",
    "max_bytes",
    callback=_convert_size,
    metavar="SIZE",
    help="How much the stream may hold, as in 10GiB. Default: 2GiB.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1, 5),
    help="On how many servers each message is. Default: 3 in a cluster, else 1.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    callback=_convert_hosts,
    metavar="NAME[=KEY]",
    help="Print the permissions of this host, with its public key; may be given several times.",
)
@click.option(
    "--hub-key", callback=_convert_key, metavar="KEY", help="The public key of the hub's nkey."
)
@click.option(
    "--monitor",
    "monitors",
    multiple=True,
    metavar="URL",
    help="A server's monitoring port, as in http://HOST:8222: asks whether it syncs each message.",
)
@click.option("--update", "updates", is_flag=True, help="Change what is there and differs.")
@click.option("--dry-run", "is_dry", is_flag=True, help="Make and change nothing.")
def setup(
    hosts: Sequence[tuple[str, str | None]],
    hub_key: str | None,
    monitors: Sequence[str],
    stream: str,
    consumer: str,
    **options: Any,
) -> None:
    """Make the stream and the consumer of a fleet, and print what each account may do.

    It connects as an administrator. What is there is compared with what relay needs, and changed
    only with --update. The exit code is 1 if anything is not as it has to be.
    """
    _require_extra()
    wanted = Setup(
        stream,
        consumer,
        *(options.pop(it) for it in ("max_bytes", "replicas", "updates", "is_dry")),
    )
    logs.configure(sys.stderr, level="error")  # the steps say all the rest
    steps = asyncio.run(_set_up(_read_keys(options), wanted, monitors))
    for step in steps:
        _print_step(step)
    click.echo(
        "\n# What accounts may do. deploy/fleet/prepare has put it into the servers' list of users."
    )
    hub = hub_permissions(stream, consumer)
    for line in format_user(hub, hub_key, "the hub, and its standby"):
        click.echo(line)
    for name, public in hosts:
        for line in format_user(host_permissions(name), public, f"the host {name}"):
            click.echo(line)
    if not all(step.is_well for step in steps):
        raise FleetError("not all is as it has to be")


def _require_extra() -> None:
    try:
        validators.require_package("nats", "nats")
    except InvalidValue as error:
        raise FleetError(str(error)) from error


def _print_step(step: Step) -> None:
    click.echo(escape_unprintable(step.text))
    for finding in step.findings:
        kind = "error" if finding.is_error else "note"
        click.echo(f"  {kind}: {escape_unprintable(finding.text)}")


async def _set_up(keys: NatsKeys, wanted: Setup, monitors: Sequence[str]) -> list[Step]:
    connection = NatsConnection("fleet setup", keys)
    await connection.open()
    try:
        if not await connection.try_open(CONNECT_TIMEOUT_S):
            problem = connection.problem or "no server answers"
            who = f". {NOT_ADMIN}" if "may not subscribe" in problem else ""
            raise FleetError(problem + who)
        faults = list(find_server_faults(connection.server))
        synced = await find_sync_faults(monitors) if monitors else [_SYNC_UNKNOWN]
        steps = [Step(describe_server(connection.server), [*faults, *synced])]
        return steps if faults else [*steps, *await _set_up_patiently(connection, wanted)]
    finally:
        await connection.close()


async def _set_up_patiently(connection: NatsConnection, wanted: Setup) -> list[Step]:
    """Make what is missing, as soon as JetStream answers."""
    deadline_s = loop_time_s() + PATIENCE_S
    while True:
        try:
            return await set_up(connection, wanted)
        except RequestError as error:
            if error.kind not in (FailureKind.NO_ANSWER, FailureKind.NO_RESPONDERS):
                raise FleetError(str(error)) from error
            if loop_time_s() >= deadline_s:
                raise FleetError(
                    f"JetStream does not answer: {error}. It is not enabled for the account, or "
                    "the servers cannot elect a leader: are most of them running?"
                ) from error
        await asyncio.sleep(RETRY_S)


def _read_keys(options: dict[str, Any]) -> AdminKeys:
    """Return the keys that the options say; raises `click.UsageError`."""
    tls = {key: options.pop(key) for key in ("ca_file", "cert_file", "key_file")}
    values = {
        "url": list(options.pop("urls")),
        "password": _read_secret(options.pop("password_file")),
        "token": _read_secret(options.pop("token_file")),
        **options,
    }
    if any(tls.values()):
        values["tls"] = {key: value for key, value in tls.items() if value is not None}
    try:
        return AdminKeys(**{key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_context=False, include_url=False)[0]
        option = str(first["loc"][0] if first["loc"] else "").replace("_", "-")
        option = "ca-file" if option == "tls" else option
        if option in LOGIN_KEYS:
            option = f"{option}-file"
        message = first["msg"].removeprefix("Value error, ")
        raise click.UsageError(f"--{option}: {message}") from error


def _read_secret(file: Path | None) -> SecretStr | None:
    if file is None:
        return None
    try:
        return SecretStr(file.read_text().strip())
    except (OSError, UnicodeDecodeError) as error:
        text = describe_os_error(error) if isinstance(error, OSError) else "is not a text"
        raise click.UsageError(f"{file}: {text}") from error
