"""The status structs as they go over the control socket."""

import msgspec

from relay.core.status import DaemonStatus, EngineStatus, StreamStatus


def test_the_encoded_names_stay() -> None:
    """They are part of the interface between commands and daemons of different versions."""
    stream = StreamStatus(is_open=True, behind=3, gaps=2, reconnects=1)
    status = DaemonStatus({"here": EngineStatus(7, stream)}, version="1.2.3")
    assert msgspec.to_builtins(status) == {
        "engines": {
            "here": {
                "position_ns": 7,
                "listening": {
                    "is_open": True,
                    "behind": 3,
                    "gaps": 2,
                    "reconnects": 1,
                    "problem": None,
                    "is_standby": False,
                    "backlog": None,
                },
            }
        },
        "version": "1.2.3",
        "store_failing": None,
        "store_failing_since_ns": None,
        "reload_failed": None,
    }
