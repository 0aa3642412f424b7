"""A container engine on a Unix socket whose answers a test controls, byte by byte."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import Enum
from pathlib import Path
from time import time_ns
from urllib.parse import parse_qs, unquote, urlsplit

from tests.component.scripted_containers import ScriptedContainer, container_id
from tests.component.wait import ChangeSignal

HISTORY_SIZE = 256
"""How many events an engine remembers (moby, ``daemon/events/events.go``)."""


class Framing(Enum):
    """How the end of a stream's body is marked (RFC 9112, section 6.3)."""

    CHUNKED = "chunked"
    UNTIL_CLOSE = "until close"


class NoAnswer(Enum):
    """What the engine does instead of answering."""

    SILENCE = "silence"
    """Sends nothing for as long as the client waits."""
    CLOSE = "close"
    """Closes the connection at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with a known length."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stream:
    """One client's stream of events."""

    target: str
    """The request target, with its query."""
    since_ns: int
    framing: Framing
    writer: asyncio.StreamWriter
    closed: bool = False

    def encode(self, content: bytes) -> bytes:
        """The content as sent over the wire: one chunk if the body is chunked."""
        if self.framing is Framing.CHUNKED and content:
            return b"%x\r\n%s\r\n" % (len(content), content)
        return content

    def write(self, content: bytes) -> None:
        """Send the content in one piece."""
        self.writer.write(self.encode(content))

    def cut(self) -> None:
        """Cut the connection without ending the body."""
        self.writer.close()

    def end(self) -> None:
        """End the body as its framing requires."""
        if self.framing is Framing.CHUNKED:
            self.writer.write(b"0\r\n\r\n")
        self.writer.close()


class ScriptedEngine:
    """An engine with a history like moby's, and any number of streams."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.changes = ChangeSignal()
        """Notified of every request, and when a client has closed a stream."""
        self.requests: list[str] = []
        self.request_heads: list[str] = []
        """The lines of each request, with its headers."""
        """The request targets in order, with their queries."""
        self.streams: list[Stream] = []
        """Every stream that was opened, in order."""
        self.answers: dict[str, Answer | NoAnswer] = {}
        """Replacements for the usual answers, by ``_ping``, ``version``, ``info``, ``events`` (the
        stream), ``history`` (events up to a time), ``containers`` (the list), ``inspect`` or the
        id of the inspected container, ``libpod`` (an inspection over Podman's own API)."""
        self.before_answer: dict[str, Callable[[], Awaitable[object]]] = {}
        """Awaited before the engine answers, by the same names."""
        self.identity: str | None = None
        """The engine's own id."""
        self.podman = False
        """Whether the engine identifies itself as Podman."""
        self.podman_version = "4.3.1"
        self.containers: dict[str, ScriptedContainer] = {}
        """All containers, by name."""
        self.framing = Framing.CHUNKED
        self.ahead_ns = 0
        """How far this engine's clock is ahead of the local clock."""
        self.mute = False
        """Whether events go only into the history, and not into the streams."""
        self.on_stream: Callable[[Stream], None] = lambda stream: None
        """Called with every stream that is opened."""
        self._history: list[tuple[int, bytes]] = []
        self._clients: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Serve while the context lasts; afterwards abort every connection."""
        server = await asyncio.start_unix_server(self._handle_client, self.socket)
        try:
            yield
        finally:
            server.close()
            clients = dict(self._clients)
            for writer in clients.values():
                writer.transport.abort()
            if clients:
                await asyncio.wait(clients)

    def now_ns(self) -> int:
        """The time of this engine's clock."""
        return time_ns() + self.ahead_ns

    def run(
        self, name: str, labels: Mapping[str, str] | None = None, stop_signal: str | None = None
    ) -> ScriptedContainer:
        """Add a running container without an event."""
        made = ScriptedContainer(name, self.now_ns(), labels or {}, stop_signal)
        self.containers[name] = made
        return made

    def die(
        self, name: str, exit_code: int = 0, *, oom: bool = False, stopped_by_user: bool = False
    ) -> ScriptedContainer:
        """Let a container die without an event."""
        container = self.containers[name]
        container.die(self.now_ns(), exit_code, oom=oom)
        container.stopped_by_user = stopped_by_user
        return container

    def clear_history(self) -> None:
        """Forget every event, as after a restart."""
        self._history.clear()

    def forget(self, until_ns: int) -> None:
        """Forget every event up to this time."""
        self._history = [each for each in self._history if each[0] > until_ns]

    def record(
        self,
        name: str,
        *,
        action: str = "die",
        ago_s: float = 0,
        attributes: Mapping[str, str] | None = None,
    ) -> bytes:
        """Add an event of a container to the history without sending it. Returns its line.

        A label overwrites an attribute of the same name, as it does in Docker.
        """
        happened_ns = self.now_ns() - int(ago_s * 1e9)
        if self._history and not ago_s:
            happened_ns = max(happened_ns, self._history[-1][0] + 1)
        given = {"exitCode": "3"} if attributes is None else attributes
        labels = self.containers[name].labels if name in self.containers else {}
        event = {
            "Type": "container",
            "Action": action,
            "Actor": {
                "ID": container_id(name),
                "Attributes": {**given, **labels, "name": name, "image": "bb:1"},
            },
            "scope": "local",
            "time": happened_ns // 10**9,
            "timeNano": happened_ns,
        }
        line = json.dumps(event).encode() + b"\n"
        self._history.append((happened_ns, line))
        return line

    def emit_deaths(self, *names: str) -> None:
        """Let a container of each name die, and send the events."""
        self.send(*(self.record(name) for name in names))

    def emit(self, name: str, action: str, **attributes: str) -> None:
        """Send an event of a container, and add it to the history."""
        self.send(self.record(name, action=action, attributes=attributes))

    def send(self, *lines: bytes) -> None:
        """Write the lines to every open stream, each in a write of its own."""
        for stream in [] if self.mute else self.open_streams():
            for line in lines:
                stream.write(line)

    def open_streams(self) -> list[Stream]:
        """The streams that are still open."""
        return [stream for stream in self.streams if not stream.writer.is_closing()]

    def request_count(self, endpoint: str) -> int:
        """How often an endpoint was requested; the names are those of `answers`."""
        return sum(_endpoint(target) == endpoint for target in self.requests)

    def last_event_ns(self) -> int:
        """The time of the last event in the history."""
        return self._history[-1][0]

    def _matching_backwards(self, since_ns: int, until_ns: int) -> Iterator[bytes]:
        """The matching events from the youngest backwards, until one is older than ``since_ns``."""
        for happened_ns, line in reversed(self._history[-HISTORY_SIZE:]):
            if happened_ns < since_ns:
                return
            if happened_ns <= until_ns:
                yield line

    def _replay(self, since_ns: int, until_ns: int) -> bytes:
        return b"".join(reversed(list(self._matching_backwards(since_ns, until_ns))))

    async def _handle_client(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with self._track_client(writer):
            while head := await _read_head(reader):
                target = head.split()[1].decode()
                self.requests.append(target)
                self.request_heads.append(head.decode())
                self.changes.notify()
                for name in _answer_names(target):
                    if name in self.before_answer:
                        await self.before_answer[name]()
                match self._answer(target):
                    case Answer() as answer:
                        writer.write(self._encode_answer(answer))
                    case NoAnswer.CLOSE:
                        return
                    case NoAnswer.SILENCE:
                        await reader.read()
                        return
                    case None:
                        await self._serve_stream(target, reader, writer)
                        return

    @contextmanager
    def _track_client(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = writer
        try:
            yield
        finally:
            del self._clients[task]
            writer.close()

    def _answer(self, target: str) -> Answer | NoAnswer | None:
        """The answer to a request; None if it asks for a stream."""
        for name in _answer_names(target):
            if name in self.answers:
                return self.answers[name]
        match _endpoint(target):
            case "_ping":
                return Answer(b"OK", headers={"Api-Version": "1.45", **self._server_headers()})
            case "version":
                return Answer(b'{"ApiVersion": "1.41", "MinAPIVersion": "1.24"}')
            case "info":
                return _json({"Name": "node-1", "ID": self.identity})
            case "history":
                until_ns = _parse_time_ns(target, "until") if "until=" in target else self.now_ns()
                return Answer(self._replay(_parse_time_ns(target, "since"), until_ns))
            case "containers":
                return _json([each.list_entry() for each in self.containers.values()])
            case "inspect":
                return self._inspect(_answer_names(target)[1], libpod="/libpod/" in target)
            case "events":
                return None
            case _:
                return Answer(b'{"message": "page not found"}', 404)

    def _server_headers(self) -> dict[str, str]:
        version = self.podman_version
        server = {"Server": f"Libpod/{version} (linux)", "Libpod-Api-Version": version}
        return server if self.podman else {}

    def _inspect(self, id_: str, *, libpod: bool) -> Answer:
        for container in self.containers.values():
            if container.id == id_:
                return Answer(container.inspect_body(libpod=libpod))
        return Answer(b'{"message": "No such container"}', 404)

    def _encode_answer(self, answer: Answer) -> bytes:
        headers = {"Content-Length": str(len(answer.body)), **answer.headers}
        return self._preamble(answer.status, headers) + answer.body

    def _preamble(self, status: int, headers: Mapping[str, str]) -> bytes:
        dated = {"Date": formatdate(self.now_ns() / 1e9, usegmt=True), **headers}
        lines = [f"HTTP/1.1 {status} So", *(f"{name}: {value}" for name, value in dated.items())]
        return "\r\n".join([*lines, "", ""]).encode()

    async def _serve_stream(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Send the history in one write with the headers, then leave the stream to the test."""
        stream = Stream(target, _parse_time_ns(target, "since"), self.framing, writer)
        chunked = self.framing is Framing.CHUNKED
        headers = {"Transfer-Encoding": "chunked"} if chunked else {"Connection": "close"}
        past = self._replay(stream.since_ns, self.now_ns() + 10**9)
        writer.write(self._preamble(200, headers) + stream.encode(past))
        self.streams.append(stream)
        self.on_stream(stream)
        self.changes.notify()
        with suppress(ConnectionError):  # the client was killed
            await reader.read()
        stream.closed = True
        self.changes.notify()


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Read a request's head; none has a body. Empty if the client is gone."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _endpoint(target: str) -> str:
    return _answer_names(target)[0]


def _answer_names(target: str) -> list[str]:
    """The names of a request in `ScriptedEngine.answers`; an inspection has two or three."""
    url = urlsplit(target)
    *_, before, name = url.path.split("/")
    if name == "json":
        own = ["libpod"] if "libpod" in url.path.split("/") else []
        return ["containers"] if before == "containers" else ["inspect", unquote(before), *own]
    past = name == "events" and {"until", "stream"} & parse_qs(url.query).keys()
    return ["history" if past else name]


def _json(value: object) -> Answer:
    return Answer(json.dumps(value).encode())


def _parse_time_ns(target: str, key: str) -> int:
    """Parse a time of the query: seconds, a point, nine digits."""
    seconds, _, nanos = parse_qs(urlsplit(target).query)[key][0].partition(".")
    return int(seconds) * 10**9 + int(nanos.ljust(9, "0"))
