"""Whether servers write each message to disk before they confirm it.

JetStream's API does not say that. The page ``/jsz`` of a server's monitoring port does
(https://docs.nats.io/running-a-nats-service/nats_admin/monitoring; ``sync_always`` of
``JetStreamConfig`` in nats-server's ``server/jetstream.go``).
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from http.client import HTTPException, InvalidURL
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import msgspec

from relay.core.errors import describe_os_error
from relay.core.tasks import run_in_thread
from relay.nats.requirements import Finding

TIMEOUT_S = 5.0
MAX_BYTES = 2**20


class _Config(msgspec.Struct):
    sync_always: bool = False


class _Page(msgspec.Struct):
    config: _Config | None = None


async def find_sync_faults(monitors: Sequence[str]) -> list[Finding]:
    """Ask each monitoring port (``http://HOST:8222``); return what is wrong."""
    asking = [run_in_thread(partial(_ask, url), f"monitoring port {url}") for url in monitors]
    return [finding for finding in await asyncio.gather(*asking) if finding is not None]


def _ask(url: str) -> Finding | None:
    no_url = Finding(f"{url!r} is not the URL of a monitoring port: write http://HOST:8222")
    try:
        if urlsplit(url).scheme not in ("http", "https"):
            return no_url
        page = Request(f"{url.rstrip('/')}/jsz?config=1")  # noqa: S310 - the scheme was checked
        with urlopen(page, timeout=TIMEOUT_S) as answer:  # noqa: S310
            content = answer.read(MAX_BYTES)
        config = msgspec.json.decode(content, type=_Page).config
    except HTTPError as error:
        return Finding(f"{url} answers {error.code}: is it the monitoring port of a nats-server?")
    except OSError as error:
        reason = getattr(error, "reason", error)
        text = describe_os_error(reason) if isinstance(reason, OSError) else str(reason)
        return Finding(f"{url} cannot be asked: {text}")
    except (HTTPException, msgspec.MsgspecError, UnicodeDecodeError) as error:
        if isinstance(error, InvalidURL):
            return no_url
        return Finding(f"{url} is not the monitoring port of a nats-server, which is mostly 8222")
    except ValueError:  # no URL at all, such as one with half of an IPv6 address
        return no_url
    if config is None:
        return Finding(f"{url}: JetStream is not enabled at this server")
    if not config.sync_always:
        return Finding(
            f"{url}: the server confirms messages before they are on its disk, so a power cut may "
            "lose them, and even the stream: set sync_interval to always in its block jetstream"
        )
    return None
