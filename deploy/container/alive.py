"""Whether relay lives: whether it answers at the socket that its commands use.

The health check of the image. It says nothing of engines and destinations: one that is out of reach
gets no better by a restart of relay (``relay status`` tells of those). Nothing is imported that
takes long to load, since it runs every minute.
"""

import os
import socket
import sys

ANSWER_S = 5.0
"""How long relay may take to answer."""


def fault(path: str) -> str | None:
    """Why relay does not seem to live, by its socket at ``path``; None if it answers."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_S)
            connection.connect(path)
            connection.sendall(b"GET /livez HTTP/1.0\r\nHost: relay\r\n\r\n")
            answer = connection.recv(64)
    except TimeoutError:
        return f"relay has not answered at {path} for {ANSWER_S:g} s"
    except OSError as error:
        return f"nobody answers at {path}: {error.strerror}; is store.path set to another place?"
    if answer.split(b" ")[1:2] == [b"503"]:
        return "relay makes no progress: what is stuck is in its log"
    if answer.split(b" ")[1:2] != [b"200"]:
        return f"what answers at {path} is no relay: {answer!r}"
    return None


def main() -> None:
    """Look at the socket that is named, else at that of the store where the image has it."""
    standard = os.environ.get("STATE_DIRECTORY", "/var/lib/relay") + "/relay.db.sock"
    # Without a fault, None: 0. A text is shown, and is 1: unhealthy.
    sys.exit(fault(sys.argv[1] if len(sys.argv) > 1 else standard))


if __name__ == "__main__":
    main()
