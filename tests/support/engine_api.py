"""A minimal client of the Docker API, for tests that ask the engine directly."""

import http.client
import json
import socket
import time
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

EVENT_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 60.0


class EngineApi:
    """The API of one engine on a Unix socket: no version in the path, no cache."""

    def __init__(self, socket_path: Path) -> None:
        self.socket_path = socket_path
        self._volumes = count(1)

    @property
    def url(self) -> str:
        """The value for ``DOCKER_HOST``, or for an engine's ``url``."""
        return f"unix://{self.socket_path}"

    def get(self, path: str) -> Any:
        """Return the decoded JSON at ``path``; for ``/events``, the list of all streamed events.

        ``/events`` needs an ``until``, or the stream never ends. Raises AssertionError for any
        status except 2xx, and OSError if the engine does not answer.
        """
        connection = self._connect()
        try:
            body = self._call(connection, "GET", path)
        finally:
            connection.close()
        if path.startswith("/events"):
            return [json.loads(line) for line in body.splitlines()]
        return json.loads(body)

    def events(self, since_ns: int = 0) -> list[dict[str, Any]]:
        """Return the engine's history from ``since_ns`` (since 1970, inclusive) to now."""
        window = {"since": timestamp(since_ns), "until": timestamp(time.time_ns())}
        found: list[dict[str, Any]] = self.get(f"/events?{urlencode(window)}")
        return found

    def inspect(self, name: str) -> dict[str, Any]:
        """Inspect a container."""
        found: dict[str, Any] = self.get(f"/containers/{quote(name)}/json")
        return found

    def wait_for_event(
        self, action: str, name: str, *, since_ns: int, timeout_s: float = EVENT_TIMEOUT_S
    ) -> dict[str, Any]:
        """Wait for the first event since ``since_ns`` with this action and actor name; return it.

        ``action`` includes the detail, as the engine writes it. Raises AssertionError that lists
        the other events.
        """
        deadline = time.monotonic() + timeout_s
        seen: list[str] = []
        connection = self._connect()
        try:
            connection.request("GET", f"/events?since={timestamp(since_ns)}")
            response = connection.getresponse()
            while (remaining_s := deadline - time.monotonic()) > 0:
                connection.sock.settimeout(remaining_s)
                event: dict[str, Any] = json.loads(response.readline())
                who = event["Actor"]["Attributes"].get("name")
                if (event["Action"], who) == (action, name):
                    return event
                seen.append(f"{event['Type']} {event['Action']} {who}")
        except TimeoutError:
            pass
        finally:
            connection.close()
        raise AssertionError(f"no {action!r} of {name!r} in {timeout_s} s, but: {seen}")

    def make_events(self, number: int) -> list[tuple[str, str]]:
        """Cause ``number`` volume events, as fast as one connection can.

        Returns the action and the volume of each, in order: create, destroy, create, … No volume
        name is used twice. ``number`` must be even, so that no volume is left.
        """
        assert number % 2 == 0, "a volume makes two events"
        made: list[tuple[str, str]] = []
        connection = self._connect()
        try:
            for _ in range(number // 2):
                volume = f"volume-{next(self._volumes)}"
                self._call(connection, "POST", "/volumes/create", json.dumps({"Name": volume}))
                self._call(connection, "DELETE", f"/volumes/{volume}")
                made += [("create", volume), ("destroy", volume)]
        finally:
            connection.close()
        return made

    def create_and_remove(self, image: str, number: int) -> None:
        """Create ``number`` containers over one connection, and remove each at once."""
        connection, body = self._connect(), json.dumps({"Image": image, "Cmd": ["true"]})
        try:
            for _ in range(number):
                made = json.loads(self._call(connection, "POST", "/containers/create", body))
                self._call(connection, "DELETE", f"/containers/{made['Id']}")
        finally:
            connection.close()

    def answers(self) -> bool:
        """Return whether the engine answers."""
        connection = self._connect()
        try:
            self._call(connection, "GET", "/_ping")
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def _connect(self) -> "_UnixConnection":
        return _UnixConnection(self.socket_path)

    def _call(
        self, connection: "_UnixConnection", method: str, path: str, body: str | None = None
    ) -> bytes:
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        assert 200 <= response.status < 300, f"{method} {path}: {response.status} {answer!r}"
        return answer


def timestamp(time_ns: int) -> str:
    """Return a time as the API expects it: seconds with nine decimals, as in ``12.000000345``."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return f"{seconds}.{nanos:09d}"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
