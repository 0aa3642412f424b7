"""The plain script to beat, as people write it: each event posted, one after the other.

``python -m tools.bench.script SOCKET URL``. It keeps nothing, tries nothing again, and tells a
crash from nothing.
"""

import asyncio
import json
import sys
from functools import partial

import aiodocker
import aiohttp


async def main(socket: str, url: str) -> None:
    """Post for ever."""
    docker = aiodocker.Docker(url=f"unix://{socket}")
    subscriber = docker.events.subscribe()  # type: ignore[no-untyped-call]
    dumps = partial(json.dumps, default=str)  # aiodocker makes a datetime of the time
    async with aiohttp.ClientSession(json_serialize=dumps) as session:
        while (event := await subscriber.get()) is not None:
            async with session.post(url, json=event) as answer:
                await answer.read()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
