"""``relay demo``: shows that nothing is lost or sent twice when the stream and a delivery fail.

A recorded stream is played through the daemon's own code: a demo engine serves it on a private
socket, and a webhook receiver runs on loopback. The engine cuts its stream while a container dies,
so relay finds that death in the engine's history after it reconnects. The receiver answers its
first request with 503, so relay retries that delivery under the same id.
"""

import asyncio
import sys

import click

from relay.admin import logs
from relay.cli.demo.play import make_narrator, play


@click.command()
def demo() -> None:
    """Show the whole pipeline at work in a few seconds, with nothing installed.

    A recorded stream of a real engine is served on a private socket, a webhook receiver runs on
    loopback, and the daemon's own code runs between them. The stream is cut once and the receiver
    fails once, to show how relay resumes and retries. Exit code 1 if anything is lost or repeated.
    """
    logs.configure(sys.stderr, level="error")
    if not asyncio.run(play(make_narrator())):
        raise SystemExit(1)
