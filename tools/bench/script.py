"""The simple script that relay is compared with: it posts each event, one after the other.

``python -m tools.bench.script SOCKET URL``. It stores nothing, retries nothing, and does not know
why a container died.
"""

import asyncio
import json
import sys
from functools import partial

import aiodocker
import aiohttp


async def main(socket: str, url: str) -> None:
    """Post events until the stream ends."""
    docker = aiodocker.Docker(url=f"unix://{socket}")
    subscriber = docker.events.subscribe()  # type: ignore[no-untyped-call]
    dumps = partial(json.dumps, default=str)  # aiodocker converts the time to a datetime
    async with aiohttp.ClientSession(json_serialize=dumps) as session:
        while (event := await subscriber.get()) is not None:
            async with session.post(url, json=event) as answer:
                await answer.read()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
