"""``relay demo``."""

import asyncio
import logging
import sys

import click

from relay.admin import logs
from relay.cli.demo.play import make_narrator, play


@click.command()
def demo() -> None:
    """Show the whole pipeline at work with nothing installed, in a few seconds.

    A recorded stream of a real engine is served on a private socket, a webhook receiver runs on
    loopback, and the daemon's own code is between them. The stream is cut once and the receiver
    fails once, so that resume and retry are seen.
    """
    logs.configure(sys.stderr, level=logging.ERROR)
    if not asyncio.run(play(make_narrator())):
        raise SystemExit(1)
