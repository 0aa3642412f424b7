"""A webhook receiver on loopback that answers as a test configures it, and keeps the requests."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, ThreadingTCPServer
from types import TracebackType
from typing import Any, Self, cast

WAIT_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it arrived."""

    number: int
    """Its position in the order of arrival, from 0."""
    method: str
    path: str
    headers: Mapping[str, str]
    """The names are in lower case."""
    body: bytes
    time_s: float
    """When it arrived, in Unix time."""

    @property
    def json(self) -> Any:
        """The decoded JSON of the body; raises ValueError if it is not JSON."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with headers or a body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Misbehaviour(Enum):
    """What can happen instead of an answer."""

    HANG = "hang"
    """No answer until the receiver is switched off."""
    RESET = "reset"
    """The connection is reset."""


Answer = int | Reply | Misbehaviour
Decide = Callable[[Received], Answer]


class Receiver:
    """A receiver that answers 200 until it is configured otherwise.

    It listens from the start; as a context manager it is switched off at the end.
    """

    def __init__(self) -> None:
        self._arrivals = threading.Condition()
        self._received: list[Received] = []
        self._faults: list[BaseException] = []
        self._answers: dict[str | None, Answer | Decide] = {None: 200}
        self._server: _Server | None = None
        self._port = 0
        self.switch_on()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.switch_off()

    @property
    def received(self) -> tuple[Received, ...]:
        """All requests so far, in order, whatever was answered."""
        with self._arrivals:
            return tuple(self._received)

    def url(self, path: str = "/") -> str:
        """Return its URL with this path. The port stays the same when it is switched off and on."""
        return f"http://127.0.0.1:{self._port}{path}"

    def answer(self, answer_or_decide: Answer | Decide, *, path: str | None = None) -> None:
        """Set the answer to all later requests, or to those to ``path``.

        A callable is called for each request, in the thread of that request.
        """
        with self._arrivals:
            self._answers[path] = answer_or_decide

    def switch_off(self) -> None:
        """Refuse connections and cut the open ones; does nothing if it is off."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def switch_on(self) -> None:
        """Listen again on the same port; does nothing if it is on."""
        if self._server is None:
            self._server = _Server(self._port, self)
            self._port = self._server.server_address[1]

    def wait_for(
        self,
        what: int | Callable[[tuple[Received, ...]], bool],
        timeout_s: float = WAIT_TIMEOUT_S,
    ) -> tuple[Received, ...]:
        """Wait for a number of requests, or for a condition on all of them; return all requests.

        Raises AssertionError that shows what arrived instead, or what failed in a callable.
        """

        def done() -> bool:
            arrived = tuple(self._received)
            return len(arrived) >= what if isinstance(what, int) else what(arrived)

        with self._arrivals:
            met = self._arrivals.wait_for(lambda: bool(self._faults) or done(), timeout_s)
            if self._faults:
                raise AssertionError("the receiver itself failed") from self._faults[0]
            if not met:
                raise AssertionError(self._describe_arrivals(what, timeout_s))
            return tuple(self._received)

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Keep a request, and return its answer. Called in the receiver's threads."""
        with self._arrivals:
            request = Received(len(self._received), method, path, headers, body, time.time())
            answer_or_decide = self._answers.get(path, self._answers[None])
            self._received.append(request)
            self._arrivals.notify_all()
        return answer_or_decide(request) if callable(answer_or_decide) else answer_or_decide

    def fail(self, error: BaseException) -> None:
        """Keep an error of a thread, for `wait_for` to raise."""
        with self._arrivals:
            self._faults.append(error)
            self._arrivals.notify_all()

    def _describe_arrivals(self, what: object, timeout_s: float) -> str:
        wanted = f"{what} requests" if isinstance(what, int) else "the condition"
        lines = [f"  {it.number}: {it.method} {it.path} {it.body[:300]!r}" for it in self._received]
        return "\n".join([f"not {wanted} in {timeout_s} s, but {len(lines)} requests:", *lines])


class _Server(ThreadingTCPServer):
    """The sockets and threads of a receiver, from `Receiver.switch_on` to `switch_off`."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, receiver: Receiver) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.receiver = receiver
        self.off = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), name="receiver")
        self._thread.start()

    def stop(self) -> None:
        """Stop listening, cut every connection, and wait until all threads have ended."""
        self.off.set()
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                _cut(connection)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
            super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: the client closed the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # so that an answer is one packet
    disable_nagle_algorithm = True

    def __init__(self, request: Any, client_address: Any, server: BaseServer) -> None:
        self._server = cast("_Server", server)
        super().__init__(request, client_address, server)

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            pass  # the client closed the connection, or the receiver was switched off
        except Exception as error:
            self._server.receiver.fail(error)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the requests are in the receiver."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        match self._server.receiver.handle(self.command, self.path, headers, body):
            case Misbehaviour.HANG:
                self._server.off.wait()
                self.close_connection = True
            case Misbehaviour.RESET:
                self._reset()
            case Reply() as reply:
                self._reply(reply)
            case status:
                self._reply(Reply(status))

    do_GET = do_POST = do_PUT = _serve  # noqa: N815 - the names that http.server calls

    def _reply(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _reset(self) -> None:
        """Close with a linger of zero: the kernel then sends a reset (socket(7))."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):  # the client has closed it already
        connection.shutdown(socket.SHUT_RDWR)
