"""The command line. Each command is in the module of its name."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import cast

import click

from relay import __version__
from relay.cli.group import Group
from relay.cli.output import open_missing_streams
from relay.core.errors import RelayError, describe_os_error

COMMANDS = (
    *("check", "dead", "demo", "destination", "explain", "fleet", "incidents", "init", "outbox"),
    *("reload", "replay", "run", "schema", "send", "silence", "status", "tail", "test"),
)


class _LazyGroup(Group):
    """Imports only the command that is called: the daemon needs none of the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            self._load(cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS:  # click suggests only commands that are loaded
            for name in COMMANDS:
                self._load(name)
        return super().resolve_command(ctx, args)

    def _load(self, name: str) -> None:
        if name not in self.commands:
            with creating_lasting_objects(), _without_extras():
                module = import_module(f"relay.cli.{name}")
            self.add_command(getattr(module, name))


@contextmanager
def creating_lasting_objects() -> Iterator[None]:
    """Keep the garbage collector from objects that are created in this context, now and later.

    It would find hardly any garbage among what is imported and configured, and takes an eighth of
    a start to look for it. Later, a collection that goes through all of that would pause relay.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _without_extras() -> Iterator[None]:
    """Keep libraries from importing what relay does not use.

    Where rich is installed, structlog imports it for tracebacks (3 MB and a tenth of a start), and
    pydantic looks through everything that is installed for plugins.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if "rich" in sys.modules:
        yield
        return
    modules = cast("dict[str, object]", sys.modules)
    modules["rich"] = None  # as the import system marks a module that must not be imported
    try:
        yield
    finally:
        del modules["rich"]


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="relay")
def relay() -> None:
    """Listens to Docker Engine events, and sends those that matter to webhooks.

    Without a configuration, `relay run` prints crashes, OOM kills and failing health checks of the
    local engine to the terminal.
    """


def _choose_tls_key_log() -> None:
    """Write the keys of TLS connections only to the file that ``RELAY_SSLKEYLOGFILE`` names.

    Python obeys ``SSLKEYLOGFILE``, which may be left over from debugging another program, and
    anybody who can read that file can decrypt everything. Some libraries read the variable when
    they are imported.
    """
    os.environ.pop("SSLKEYLOGFILE", None)
    if file := os.environ.get("RELAY_SSLKEYLOGFILE"):
        os.environ["SSLKEYLOGFILE"] = file
        click.echo(f"relay: RELAY_SSLKEYLOGFILE is set: TLS keys are written to {file}", err=True)


def main() -> None:
    """Run the command line. Exits with 0, with 1 if the command failed, with 2 for bad usage."""
    open_missing_streams()
    _choose_tls_key_log()
    try:
        relay()
    except RelayError as error:
        click.echo(f"relay: {error}" if error.exit_code == 1 else str(error), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"relay: {describe_os_error(error)}", err=True)
        sys.exit(1)
