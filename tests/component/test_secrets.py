"""A secret in every option that takes one, and every output that could show it.

The receiver repeats everything that it is sent, in every part of its responses.
"""

import asyncio
import base64
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import aiohttp

from relay.config.destination import Transport
from relay.destinations.catalog import DESTINATION_TYPES
from tests.component.scripted_engine import ScriptedEngine
from tests.support.daemon import RelayProcess, write_config
from tests.support.receiver import Received, Receiver, Reply
from tests.unit.destinations.contract import contracts
from tools.flaky import death

CANARY = "canary7e1f"
"""Is a part of every secret."""
SIGNING = "whsec_" + base64.b64encode(f"{CANARY}-signing-signing".encode().ljust(32, b"-")).decode()
PAIRS = (f"u:{CANARY}-password", f"{CANARY}-user:{CANARY}-password", f"u:{CANARY}-proxy")
HIDDEN = (
    *(CANARY, SIGNING.removeprefix("whsec_")),
    *(base64.b64encode(pair.encode()).decode() for pair in PAIRS),
)
"""What must not be found, in any case: the secrets, and their encodings in HTTP."""
ENTRIES = {name: contract.canary for name, contract in contracts().items()}
DEFAULT_ENTRY = {"url": "{at}/services/{canary}-path?key={canary}-query"}


OTHERS = {
    "email": {"type": "email", "username": "u", "password": f"{CANARY}\n", "recipients": "a@b"},
    "apprise": {"type": "apprise", "url": f"json://{CANARY} path"},
    "nats": {
        "type": "nats",
        "url": f"nats://u:{CANARY}@x y",
        "stream": "S",
        "token": f"{CANARY}\n",
    },
}
"""Mistaken entries of the types that are not reached over HTTP."""
COMMON_STATUSES = (400, 404, 500, 302, 200)
RARE_STATUSES = {20: 410, 39: 429}
"""Statuses that stop or pause a destination, by the number of the request modulo 40."""


def fill(value: object, at: str) -> object:
    """Replace ``{at}`` and ``{canary}`` in all strings of a value."""
    match value:
        case str():
            return value.replace("{at}", at).replace("{canary}", CANARY)
        case dict():
            return {key: fill(inner, at) for key, inner in value.items()}
        case _:
            return value


def destinations(at: str) -> dict[str, object]:
    """One destination of every type, and webhooks with every way to authorize and to sign."""
    http = {"type": "http", **DEFAULT_ENTRY}
    entries: dict[str, object] = {
        kind: {"type": kind, **ENTRIES.get(kind, DEFAULT_ENTRY)}
        for kind, model in DESTINATION_TYPES.models.items()
        if model.transport is Transport.HTTP
    }
    entries |= {
        "basic": {**http, "basic_auth": {"username": "u", "password": "{canary}-password"}},
        "bearer": {**http, "bearer_token": "{canary}-bearer"},
        "header": {**http, "headers": {"X-Key": "{canary}-header {{ event.name }}"}},
        "query": {**http, "query": {"other": "{canary}-other"}},
        "signed": {**http, "signing_secret": SIGNING},
        "github": {**http, "sign": "github", "signing_secret": "{canary}-github"},
        "proxied": {**http, "proxy": "http://u:{canary}-proxy@127.0.0.1:9"},
        "named": {**http, "url": f"http://{CANARY}-user:{CANARY}-password@{at[7:]}/x"},
        "nowhere": {**http, "url": "http://nowhere.invalid/{canary}"},
        "untrusted": {**http, "url": "https://{canary}-user:{canary}-password@127.0.0.1:9/x"},
        "template": {
            **http,
            "format": "template",
            "body": {"token": "{canary}-body", "text": "{{ event.labels.none }}"},
        },
    }
    configured = fill(entries, at)
    assert isinstance(configured, dict)
    return configured


def echo_request(request: Received) -> Reply:
    """Answer with everything that was sent, in body and headers, with a status of each kind."""
    body = f"{request.method} {request.path} {dict(request.headers)}\n".encode() + request.body
    status = (
        RARE_STATUSES.get(request.number % 40)
        or COMMON_STATUSES[request.number % len(COMMON_STATUSES)]
    )
    headers = {"Location": f"http://elsewhere.example{request.path}", "Retry-After": request.path}
    return Reply(status, headers, body)


RUN_COMMANDS = """
import json, os, sys
from copy import deepcopy
from pathlib import Path
from relay.cli import dead, main, outbox, send
from relay.cli.options import read_config
config = sys.argv[1]
read_config(Path(config))
for command in sys.argv[2:]:
    print("command", command, flush=True)
    if not os.fork():
        sys.argv = ["relay", *json.loads(command), "--config", config]
        main()
    os.wait()
"""
"""Loads relay and builds the models of a configuration, and forks a process for each command: each
of the fifty would take longer for that than for all else."""


def run_command(config: Path, *args: str) -> str:
    """Run a command, and return everything that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "relay", *args, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


COMMANDS = (
    ("check",),
    ("check", "--show"),
    ("outbox", "list"),
    ("outbox", "list", "--json"),
    ("dead", "list"),
    ("dead", "list", "--json"),
    ("dead", "show", "1"),
    ("dead", "show", "1", "--json"),
)


async def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    """Not by the daemon with debug logs, not by a command, and not in the store."""
    engine = ScriptedEngine(tmp_path / "engine.sock")
    with Receiver() as receiver:
        receiver.answer(echo_request)
        (tmp_path / "engine-token").write_text(f"{CANARY}-engine-token\n")
        to = destinations(receiver.url("").rstrip("/"))
        config = write_config(
            tmp_path,
            engines={
                "here": {
                    "url": f"unix://{engine.socket}",
                    "headers": {"X-Engine": f"{CANARY}-engine"},
                    "bearer_token_file": str(tmp_path / "engine-token"),
                },
                "refused": {
                    "url": receiver.url(""),
                    "headers": {"Authorization": f"Basic {CANARY}-refused"},
                },
            },
            store={"path": str(tmp_path / "relay.db")},
            admin={"listen": f"unix:{tmp_path}/admin.sock", "token": f"{CANARY}-admin-token"},
            destinations=to,
            routes=[
                {"name": "all", "match": {"type": "container"}, "to": list(to)},
                {"name": "own", "match": {"type": "relay"}, "to": list(to)},
            ],
        )
        async with engine.serve():
            printed = await provoke_output(engine, receiver, config, list(to))
    store = b"".join(file.read_bytes() for file in tmp_path.glob("relay.db*") if file.is_file())
    shown = {name: text for name, text in printed.items() if has_secret(text)}
    sent = sum(str(request).count(CANARY) for request in receiver.received)
    figures = {
        "in requests": sent,
        "in printed": len(shown),
        "printed": len("".join(printed.values())),
    }
    print(figures)  # noqa: T201 - shown with -s, and whenever this fails
    assert sent > 100
    assert shown == {}
    assert not has_secret(store.decode("latin-1"))


def has_secret(text: str) -> bool:
    """Whether a text holds a secret."""
    return any(secret.lower() in text.lower() for secret in HIDDEN)


async def provoke_output(
    engine: ScriptedEngine, receiver: Receiver, config: Path, to: list[str]
) -> dict[str, str]:
    """Run relay and its commands, and return everything that they print, by source."""
    printed: dict[str, str] = {}
    program = (sys.executable, "-m", "relay", "run", "--debug")
    with RelayProcess(config, program=program) as relay:
        await asyncio.to_thread(relay.wait_for_log, "relay.started")
        while not engine.streams:
            await asyncio.sleep(0.01)
        for number in range(20):
            engine.streams[0].write(death(engine.now_ns() + number, number))
        await asyncio.to_thread(receiver.wait_for, 150, 60)
        enabling = [("destination", "enable", name) for name in to[:3]]
        printed |= await run_commands(config, [*COMMANDS, *enabling])
        printed |= await fetch_admin_responses(config.parent / "admin.sock")
        await asyncio.to_thread(relay.terminate)
        printed["relay run"] = relay.stdout + relay.stderr
    offline = await run_commands(config, COMMANDS)
    printed |= {f"offline {command}": text for command, text in offline.items()}
    return printed | await run_commands(config, [("send", name) for name in to])


async def fetch_admin_responses(socket: Path) -> dict[str, str]:
    """The responses of the admin API, to the right token and to one that is nearly right."""
    responses: dict[str, str] = {}
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session:
        for path in ("/livez", "/readyz", "/metrics", "/api/", "/api/conditions", "/api/report"):
            for token in (f"{CANARY}-admin-token", f"{CANARY}-admin-tokem"):
                headers = {"Authorization": f"Bearer {token}"}
                async with session.get(f"http://relay{path}", headers=headers) as response:
                    responses[f"{path} {token[-1]}"] = f"{response.headers} {await response.text()}"
    return responses


async def run_commands(config: Path, commands: Sequence[tuple[str, ...]]) -> dict[str, str]:
    """The output of commands, one after the other, by their command line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN_COMMANDS, str(config), *map(json.dumps, commands)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(120):
        printed = (await process.communicate())[0].decode()
    assert "Traceback" not in printed
    outputs = dict(re.findall(r"^command (.*)\n((?s:.*?))(?=^command |\Z)", printed, re.MULTILINE))
    assert [*outputs] == [*map(json.dumps, commands)]
    assert all(outputs.values())
    return outputs


def test_no_mistake_shows_a_secret(tmp_path: Path) -> None:
    """Whatever is wrong with a destination, the error does not hold the values."""
    mistakes = {
        "basic_auth": {"username": "u:u", "password": f"{CANARY}\n"},
        "bearer_token": f"{CANARY}\n",
        "proxy": CANARY,
        "headers": {"X": f"{CANARY}\n", "Y": f"{CANARY} {{{{ event.nothing }}}}"},
        "query": {"q": f"{CANARY} {{{{ 1 +"},
        "tls": {"ca_file": "/none"},
        "signing_secret": CANARY,
    }
    entries = {**destinations("not a url "), **OTHERS}
    invalid: dict[str, dict[str, object]] = {}
    for kind in DESTINATION_TYPES.models.keys() - {"console"}:
        entry = entries[kind]
        assert isinstance(entry, dict)
        invalid[kind] = {**entry, **deepcopy(mistakes)}  # YAML would have one for all
    routes = [{"name": "all", "to": [*invalid]}]
    output = run_command(write_config(tmp_path, destinations=invalid, routes=routes), "check")
    for kind in invalid:
        assert output.count(f" destinations.{kind}.") > 5
    assert CANARY not in output
    assert json.dumps(CANARY) not in output
