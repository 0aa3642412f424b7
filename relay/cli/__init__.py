"""The commands."""

import sys

import click

from relay import __version__
from relay.cli.check import check
from relay.cli.dead import dead
from relay.cli.demo import demo
from relay.cli.destination import destination
from relay.cli.explain import explain
from relay.cli.outbox import outbox
from relay.cli.output import fill_closed
from relay.cli.reload import reload
from relay.cli.replay import replay
from relay.cli.run import run
from relay.cli.schema import schema
from relay.cli.send import send
from relay.cli.status import status
from relay.cli.tail import tail
from relay.cli.test import test
from relay.errors import RelayError, system_words


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="relay")
def relay() -> None:
    """Listens to Docker Engine events and tells webhooks what happened.

    Without a configuration, `relay run` prints crashes, OOM kills and failing health checks of the
    local engine to the terminal.
    """


for command in (
    *(run, check, reload, status, tail, explain, test, replay, send),
    *(outbox, dead, destination, schema, demo),
):
    relay.add_command(command)


def main() -> None:
    """Run the command line; end with 0, with 1 for a job that failed, 2 for bad usage."""
    fill_closed()
    try:
        relay()
    except RelayError as error:
        click.echo(f"relay: {error}" if error.exit_code == 1 else str(error), err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        click.echo(f"relay: {system_words(error)}", err=True)
        sys.exit(1)
