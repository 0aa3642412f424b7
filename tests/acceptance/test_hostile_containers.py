"""Real containers whose labels are meant to hurt relay, and a real proxy that wants a token."""

from pathlib import Path

from tests.support.daemon import RelayProcess, write_config
from tests.support.docker import PrivateEngine
from tests.support.proxy import socket_proxy
from tests.support.receiver import Receiver

GUARDED = """
defaults
    mode http
    timeout connect 10s
    timeout client 1d
    timeout server 1d
frontend relay
    bind "unix@${LISTEN}" mode 666
    http-request deny deny_status 401 unless { req.hdr(X-Tenant) -m str shop }
    http-request deny deny_status 401 unless { req.hdr(Authorization) -m str "Bearer t0ken" }
    default_backend engine
backend engine
    server engine "unix@${SOCKET_PATH}"
"""
"""A proxy that refuses requests without this header and this token."""


def test_a_label_that_no_expression_can_be_stopped_by(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path
) -> None:
    """Nested repeats and 40 letters: Python's engine would not return before the test ends."""
    config = write_config(
        relay_folder,
        engines={"here": {"url": f"unix://{engine.socket_path}"}},
        store={"path": str(relay_folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[
            {
                "name": "team",
                "match": {"action": "die", "label": {"team": {"regex": "([a-z]+-?)+"}}},
                "to": "hook",
            }
        ],
    )
    with RelayProcess(config) as relay:
        relay.wait_for_log("engine.connected", engine="here")
        for name, team in (("hostile", "a" * 40 + "!"), ("long", "a" * 1_000), ("own", "shop")):
            engine.run("false", name=name, labels={"team": team})
            engine.wait(name)
        requests = receiver.wait_for(2)
        assert relay.terminate() == 0
    names = [request.json["events"][0]["actor"]["name"] for request in requests]
    assert names == ["long", "own"]


def test_an_engine_behind_a_proxy_that_wants_a_token(
    engine: PrivateEngine, receiver: Receiver, relay_folder: Path, haproxy: str
) -> None:
    """It is reached with both, and the log shows neither."""
    (relay_folder / "guarded.cfg").write_text(GUARDED)
    (relay_folder / "token").write_text("wrong")
    listen = relay_folder / "proxy.sock"
    here = {
        "url": f"unix://{listen}",
        "headers": {"X-Tenant": "shop"},
        "bearer_token_file": "token",
    }
    config = write_config(
        relay_folder,
        engines={"here": here},
        store={"path": str(relay_folder / "relay.db")},
        destinations={"hook": {"type": "http", "url": receiver.url("/hook")}},
        routes=[{"name": "made", "match": {"type": "volume", "action": "create"}, "to": "hook"}],
    )
    with (
        socket_proxy(haproxy, engine.socket_path, listen, relay_folder / "guarded.cfg"),
        RelayProcess(config) as relay,
    ):
        refused = relay.wait_for_log("engine.unreachable", engine="here")
        assert "answers 401" in refused["reason"]
        (relay_folder / "token").write_text("t0ken\n")  # no reload is needed
        relay.wait_for_log("engine.connected", engine="here")
        (created, _) = engine.make_events(2)
        (request,) = receiver.wait_for(1)
        assert relay.terminate() == 0
        assert "t0ken" not in relay.stderr
    (event,) = request.json["events"]
    assert (event["action"], event["actor"]["id"]) == created
