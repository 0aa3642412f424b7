"""Mail and Apprise at a whole daemon: through a server that fails, and a kill in between."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.component.scripted_engine import ScriptedEngine
from tests.component.wait import TIMEOUT_S
from tests.support.daemon import RelayProcess, write_config
from tests.support.mail_server import OK, MailServer, serving_mail
from tests.support.receiver import Misbehaviour, Received, Receiver

CANARY = "canary7e1f"


def write(folder: Path, engine: ScriptedEngine, **destination: object) -> Path:
    """Write a configuration with one destination, which gets every death, and retries at once."""
    return write_config(
        folder,
        engines={"here": {"url": f"unix://{engine.socket}", "start_from": "oldest"}},
        reconcile={"every": "0s", "on_reconnect": False},
        store={"path": str(folder / "relay.db")},
        destinations={
            "to": {
                **destination,
                "notify": "events",
                "retry": {"initial": "100ms", "max": "200ms"},
            }
        },
        routes=[{"name": "died", "match": {"type": "container", "action": "die"}, "to": "to"}],
    )


def email_keys(server: MailServer) -> dict[str, object]:
    return {
        "type": "email",
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "sender": "relay@example.com",
        "recipients": ["ops@example.com"],
    }


async def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_mail_through_refusals_and_a_kill(tmp_path: Path) -> None:
    """The mail that was under way is sent again with the same Message-ID, and none is lost."""
    engine = ScriptedEngine(tmp_path / "engine.sock")
    async with engine.serve(), serving_mail() as server:
        config = write(tmp_path, engine, **email_keys(server))
        server.answer = lambda _: "451 4.3.0 later" if server.attempts <= 2 else OK
        with RelayProcess(config) as relay:
            engine.emit_deaths("web-1")
            await wait_until(lambda: len(server.mails) == 1)
            server.hangs = True
            server.answer = lambda _: OK
            engine.emit_deaths("web-2")
            await wait_until(lambda: len(server.mails) == 2)
            await asyncio.to_thread(relay.kill9)
        server.hangs = False
        with RelayProcess(config):
            await wait_until(lambda: len(server.mails) == 3)
            engine.emit_deaths("web-3")
            await wait_until(lambda: len(server.mails) == 4)
    messages = [mail.message for mail in server.mails]
    assert server.attempts == 6
    assert [each["Subject"] for each in messages] == [
        f"web-{number} crashed with exit code 3" for number in (1, 2, 2, 3)
    ]
    ids = [each["Message-ID"] for each in messages]
    assert ids[1] == ids[2]
    assert len(set(ids)) == 3


async def test_apprise_through_failures_and_a_kill(tmp_path: Path) -> None:
    """Nothing is lost, and no output shows a part of the URL, in debug logs neither."""
    engine = ScriptedEngine(tmp_path / "engine.sock")
    with Receiver() as receiver:
        place = receiver.url("").removeprefix("http://")
        url = f"json://u:{CANARY}-password@{place}/{CANARY}-path?-key={CANARY}-query"
        config = write(tmp_path, engine, type="apprise", url=url)
        receiver.answer(lambda request: (503, Misbehaviour.RESET, 200)[min(request.number, 2)])
        program = (sys.executable, "-m", "relay", "run", "--debug")
        async with engine.serve():
            with RelayProcess(config, program=program) as relay:
                engine.emit_deaths("web-1")
                await asyncio.to_thread(receiver.wait_for, 3)
                receiver.answer(Misbehaviour.HANG)
                engine.emit_deaths("web-2")
                await asyncio.to_thread(receiver.wait_for, 4)
                await asyncio.to_thread(relay.kill9)
                shown = relay.stdout + relay.stderr
            receiver.switch_off()
            receiver.switch_on()
            receiver.answer(200)
            with RelayProcess(config, program=program) as relay:
                await asyncio.to_thread(receiver.wait_for, reported("web-2", 2))
                engine.emit_deaths("web-3")
                await asyncio.to_thread(receiver.wait_for, reported("web-3", 1))
                await asyncio.to_thread(relay.terminate)
                shown += relay.stdout + relay.stderr
    assert shown.count("delivery.attempted") >= 4
    assert CANARY not in shown
    store = b"".join(file.read_bytes() for file in tmp_path.glob("relay.db*") if file.is_file())
    assert CANARY.encode() not in store
    for command in ("check", "check --connect", "send to"):
        arguments = [sys.executable, "-m", "relay", *command.split(), "--config", str(config)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
        assert CANARY not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def reported(name: str, times: int) -> Callable[[tuple[Received, ...]], bool]:
    """Return a condition: so many messages report the crash of a container."""
    title = f"🔴 {name} crashed with exit code 3"
    return lambda requests: (
        sum(json.loads(request.body)["title"] == title for request in requests) >= times
    )


async def test_a_mail_that_is_refused_for_ever_is_a_dead_letter(tmp_path: Path) -> None:
    """It has the server's words, and the password is nowhere."""
    engine = ScriptedEngine(tmp_path / "engine.sock")
    async with engine.serve(), serving_mail() as server:
        server.answer = lambda _: f"554 5.7.1 no mail for {CANARY}-password"
        server.password = f"{CANARY}-password"
        config = write(
            tmp_path,
            engine,
            **email_keys(server),
            username="relay",
            password=f"{CANARY}-password",
        )
        with RelayProcess(config) as relay:
            engine.emit_deaths("web-1")
            await asyncio.to_thread(relay.wait_for_log, "delivery.attempted", outcome="dead")
            await asyncio.to_thread(relay.terminate)
            shown = relay.stderr
        command = [sys.executable, "-m", "relay", "dead", "show", "1", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert server.logins == [("relay", f"{CANARY}-password")]
    assert "554" in done.stdout
    assert "5.7.1 no mail for •••" in done.stdout
    assert CANARY not in shown + done.stdout + done.stderr
