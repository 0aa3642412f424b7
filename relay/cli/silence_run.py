"""``relay silence run``: a silence for as long as a command takes, as a deployment.

The deployment matters more than the silence. If relay cannot be asked, the command runs all the
same, with a warning. The silence has its end from the start, so it ends even if this process is
killed.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep, time_ns
from typing import Any

import click
import msgspec

from relay.admin.operation import Refused
from relay.cli.child_process import NotStarted, run_child
from relay.cli.connect import connect, locate_store, require_store
from relay.cli.options import config_option
from relay.cli.silence_match import complete_incident, list_warnings, match_options, read_request
from relay.cli.silence_table import describe_silence
from relay.core.errors import RelayError
from relay.core.text import truncate
from relay.core.zone import TimeZone
from relay.incidents.silence_request import SilenceRequest
from relay.incidents.silence_view import SilenceView

LIMIT_S = 3600
"""How long the silence is at most."""
AFTER_S = 60
"""How long it goes on after the command: what was restarted has to be well for ``resolve_after``,
which is a minute by default, before its incident is over."""
RETRIES = 10
RETRY_S = 1.0
"""The command may have restarted relay itself, which takes a few seconds."""

_COMMAND = "relay.silence.command"
"""The key of the command in click's context."""


class _CommandWithCommand(click.Command):
    """Has the command to run behind ``--``, where click reads nothing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[_COMMAND] = args[:at], args[at + 1 :]
        elif args and not {"-h", "--help"}.intersection(args):
            raise _without_command(ctx)  # else click would read options of the command
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "-- COMMAND..."]


def _without_command(context: click.Context) -> click.UsageError:
    return click.UsageError(
        "write the command behind --, as in: relay silence run --comment deploy project=shop -- "
        "docker compose up -d",
        context,
    )


@click.command(cls=_CommandWithCommand)
@match_options
@config_option
@click.pass_context
def run(context: click.Context, /, config_file: Path | None, **options: Any) -> None:
    """Run COMMAND, and hold back what fits MATCH until a minute after it; at most an hour.

    For example: relay silence run --comment deploy project=shop -- docker compose up -d

    The exit code is that of COMMAND, or 128 and the number of the signal that ended it; signals are
    passed on to it. If relay cannot be asked, COMMAND runs all the same, and a warning says so.
    """
    command: list[str] = context.meta.get(_COMMAND, [])
    if not command:
        raise _without_command(context)
    request = read_request(**options)
    request = msgspec.structs.replace(request, duration_ns=LIMIT_S * 10**9)
    context.exit(_run(config_file, request, command))


def _run(config_file: Path | None, request: SilenceRequest, command: Sequence[str]) -> int:
    added = _try_to_add(config_file, request)
    end_s = 0  # if the command does not come to its end
    try:
        code = run_child(command, LIMIT_S, lambda: _report_limit(added))
        end_s = AFTER_S
    except NotStarted as error:
        _say(f"{truncate(command[0], 200)}: {error}")
        code = error.exit_code
    finally:
        if added is not None:
            _end(config_file, added, end_s)
    return code


def _try_to_add(config_file: Path | None, request: SilenceRequest) -> SilenceView | None:
    """Add the silence; return None if relay cannot be asked. Raises what is wrong with the request:
    then the command does not run."""
    try:
        added, zone = asyncio.run(_add(config_file, request))
    except Refused as error:
        raise click.UsageError(str(error)) from error
    except (RelayError, OSError) as error:
        _say(f"no silence, the command runs all the same: {error}")
        return None
    _say(describe_silence(added, zone, time_ns()))
    for warning in list_warnings(added):
        _say(f"warning: {warning}")
    return added


async def _add(config_file: Path | None, request: SilenceRequest) -> tuple[SilenceView, TimeZone]:
    location = locate_store(config_file)
    async with connect(location) as connection:
        require_store(location, connection)
        request = await complete_incident(connection.operations, request)
        return await connection.operations.add_silence(request), connection.zone


def _report_limit(added: SilenceView | None) -> None:
    if added is not None:
        _say(
            f"silence {added.id} has ended: it was in force for an hour. The command goes on, and "
            "what happens from now on is told"
        )


def _end(config_file: Path | None, added: SilenceView, after_s: int) -> None:
    """Let the silence end. If relay cannot be asked for long, it ends by itself."""
    for number in range(1, RETRIES + 1):
        try:
            asyncio.run(_expire(config_file, added.id, after_s))
        except Refused:  # it has ended by itself, or somebody has ended it
            return
        except (RelayError, OSError) as error:
            if number == RETRIES:
                minutes = max(0, added.until_ns - time_ns()) // (60 * 10**9) + 1
                _say(f"silence {added.id} ends by itself in {minutes} min: {error}")
                return
            sleep(RETRY_S)
        else:
            return


async def _expire(config_file: Path | None, id_: int, after_s: int) -> None:
    async with connect(locate_store(config_file)) as connection:
        await connection.operations.expire_silence(id_, after_s)


def _say(message: str) -> None:
    """Write to standard error, if that is possible: standard output is the command's."""
    with suppress(OSError):
        click.echo(f"relay: {message}", err=True)
