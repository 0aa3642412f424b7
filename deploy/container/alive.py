"""The image's health check: asks relay at the control socket whether it makes progress.

It does not report on engines and destinations, because a restart of relay would not repair those
(``relay status`` shows them). It imports nothing that takes long to load, because it runs every
minute.
"""

import os
import socket
import sys

USER = 65532
"""The user and the group that relay runs as in a container that starts as root."""

ANSWER_S = 5.0
"""How long relay may take to answer."""


def fault(path: str) -> str | None:
    """Return what is wrong with the relay at the socket ``path``; None if it makes progress."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(path)
            connection.sendall(b"GET /livez HTTP/1.0\r\nHost: relay\r\n\r\n")
            answer = connection.recv(64)
    except TimeoutError:
        return f"relay has not answered at {path} for {ANSWER_S:g} s"
    except OSError as error:
        return f"nothing answers at {path}: {error.strerror}; is store.path set to another place?"
    if answer.split(b" ")[1:2] == [b"503"]:
        return "relay makes no progress: its log says what is stuck"
    if answer.split(b" ")[1:2] != [b"200"]:
        return f"what answers at {path} is not relay: {answer!r}"
    return None


def main() -> None:
    """Check the socket that the argument names, or else that of the image's store."""
    if os.geteuid() == 0:  # root without capabilities may not open the socket of another user
        os.setgid(USER)
        os.setuid(USER)
    standard = os.environ.get("STATE_DIRECTORY", "/var/lib/relay") + "/relay.db.sock"
    # None exits with 0; a text is printed and exits with 1, which means unhealthy.
    sys.exit(fault(sys.argv[1] if len(sys.argv) > 1 else standard))


if __name__ == "__main__":
    main()
