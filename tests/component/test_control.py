"""What commands ask of a relay: of its own desk, and of the same desk over a socket."""

import asyncio
import errno
import io
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from aiohttp import web

from relay import __version__
from relay.bookmark import Bookmark
from relay.condition import Condition
from relay.desk import (
    Desk,
    EngineReport,
    Listening,
    NothingRuns,
    OwnDesk,
    Report,
    Running,
    UnknownDestination,
)
from relay.event import Actor
from relay.exchange import Answer, Dead, Reason, Retry
from relay.notification import Include, Included, Notification
from relay.ops import api as served
from relay.ops import remote
from relay.ops.control import ControlError, control, socket_path
from relay.ops.remote import NoAnswer, NobodyListens, remote_desk
from relay.store.outbox import HOLD_NS, Backlog, Delivery, Names, Selection
from relay.store.sqlite import SqliteOutbox, open_outbox
from relay.tap import Tap
from tests.component.bell import PATIENCE_S
from tests.support.idle import idle
from tests.unit.store.samples import intake, told

NOW_NS = 1_795_416_514 * 10**9
ANSWER = Answer(400, "no\x1b[2J such \u202echannel\n\ud7ff \U0001f525", None)
CONDITIONS = {"ops": Condition(), "audit": Condition(stopped=True, failing=True, resumes_ns=7)}
REPORT = Report(
    {
        "here": EngineReport(NOW_NS, Listening(is_open=True, behind=3, gaps=2, reconnects=1)),
        "new": EngineReport(None, Listening(is_open=False, behind=0, gaps=0, reconnects=0)),
    },
    version="1.2.3",
    store_failing="full",
    store_failing_since_ns=5,
)
ALL = Selection()


@pytest_asyncio.fixture
async def outbox() -> AsyncIterator[SqliteOutbox]:
    async with open_outbox(None) as made:
        yield made


@pytest.fixture
def enabled() -> list[str]:
    """The destinations that were enabled."""
    return []


@pytest.fixture
def own(outbox: SqliteOutbox, enabled: list[str]) -> OwnDesk:
    """The desk of a relay that runs, with two destinations, one of them stopped."""

    def enable(name: str) -> bool:
        enabled.append(name)
        return CONDITIONS[name].stopped

    async def reload() -> Sequence[str]:
        return ["routes"]

    running = Running(lambda: CONDITIONS, enable, lambda: REPORT, reload)
    return OwnDesk(outbox, lambda: CONDITIONS, lambda: NOW_NS, running)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return socket_path(tmp_path / "relay.db")


@pytest_asyncio.fixture(params=["own", "remote"])
async def desk(request: pytest.FixtureRequest, own: OwnDesk, place: Path) -> AsyncIterator[Desk]:
    """The desk, directly and over the socket."""
    if request.param == "own":
        yield own
    else:
        async with control(place, own, Tap(), idle), remote_desk(place) as theirs:
            yield theirs


async def bury(outbox: SqliteOutbox, *notifications: Notification, to: str = "ops") -> None:
    await outbox.take_in(intake(*notifications, to=(to,)), 10)
    while found := await due(outbox, to):
        await outbox.settle(found[0], Dead(Reason.REFUSED), 20, ANSWER)


async def due(outbox: SqliteOutbox, to: str = "ops") -> list[Delivery]:
    return list((await outbox.due(to, 20 + HOLD_NS, 100)).deliveries)


def hostile(number: int) -> Notification:
    """One that holds what anybody can make it hold."""
    whole = told(number)
    words = 'a"b\\\x00\x1b\x9b\u202e\u2028\ue000\U0001f525\r\n{{x}}'
    (event,) = whole.events
    actor = Actor(words, words, words, {words: words, "": ""})
    return msgspec.structs.replace(
        whole,
        route=words,
        events=(msgspec.structs.replace(event, actor=actor, detail=words),),
        include=Include(1, True, ("a",)),
        included=Included((words,), words, {words: {"a": [1, None, words]}}, words),
    )


async def test_the_time(desk: Desk) -> None:
    """It is that of the deliveries."""
    assert await desk.now_ns() == NOW_NS


async def test_conditions(desk: Desk) -> None:
    """Those that the lanes tell, each with all that it says."""
    assert await desk.conditions() == CONDITIONS


async def test_the_report(desk: Desk) -> None:
    """What the relay that runs says of its engines and its store."""
    assert await desk.report() == REPORT


async def test_since_when_it_waits(desk: Desk, outbox: SqliteOutbox) -> None:
    """How much waits for whom, and since when."""
    await outbox.take_in(intake(told(1), told(2)), 10)
    await outbox.take_in(intake(told(3), to=("audit",)), 2**62)
    assert await desk.backlog() == {"ops": Backlog(2, 10), "audit": Backlog(1, 2**62)}


async def test_what_waits(desk: Desk, outbox: SqliteOutbox) -> None:
    """How many there are, and the oldest of them, of one destination or of all."""
    await outbox.take_in(intake(told(1), hostile(2)), 10)
    await outbox.take_in(intake(told(3), to=("audit",)), 10)
    await outbox.settle((await due(outbox))[0], Retry(5, Reason.UNAVAILABLE), 10, ANSWER)
    assert await desk.pending() == {"ops": 2, "audit": 1}
    assert await desk.waiting(None, 500) == await outbox.waiting(None, 500)
    assert await desk.waiting("audit", 500) == await outbox.waiting("audit", 500)
    assert len(await desk.waiting(None, 2)) == 2
    assert await desk.waiting("nobody", 2) == []


async def test_dead_letters(desk: Desk, outbox: SqliteOutbox) -> None:
    """With all that is kept of them."""
    await bury(outbox, told(1), hostile(2))
    assert await desk.dead_letters(ALL, 10) == await outbox.dead_letters(ALL, 10)
    assert (await desk.dead_letters(ALL, 1))[0].notification == hostile(2)
    assert (await desk.dead_letters(ALL, 10, 2))[0].answer == ANSWER


@pytest.mark.parametrize(
    "selection",
    [
        Selection(ids=(2, told(3).id)),
        Selection(ids=()),
        Selection(destination="audit"),
        Selection(route="crashed"),
        Selection(route="a\x00\U0001f525"),
        Selection(since_ns=20),
        Selection(since_ns=21),
        Selection(ids=(1, 4), destination="ops", route="crashed", since_ns=0),
    ],
)
async def test_those_that_are_meant(desk: Desk, outbox: SqliteOutbox, selection: Selection) -> None:
    """Every filter arrives."""
    await bury(outbox, told(1), told(2), told(3))
    await bury(outbox, told(1), to="audit")
    found = await outbox.dead_letters(selection, 10)
    assert await desk.dead_letters(selection, 10) == found
    assert sum((await desk.tally(selection)).values()) == len(found)
    assert await desk.drop(selection) == len(found)
    assert sum((await desk.tally(ALL)).values()) == 4 - len(found)


async def test_a_tally(desk: Desk, outbox: SqliteOutbox) -> None:
    """Of more than are read at once, by destination."""
    await bury(outbox, *(told(number, about=str(number)) for number in range(1, 151)))
    await bury(outbox, told(1), to="audit")
    assert await desk.tally(ALL) == {"ops": 150, "audit": 1}


async def test_a_replay(desk: Desk, outbox: SqliteOutbox) -> None:
    """It is made now, under the same id."""
    await bury(outbox, told(1), told(2))
    replayed = await desk.replay(Selection(ids=(1,)))
    assert (replayed.count, replayed.left) == (1, {})
    (waiting,) = await outbox.waiting(None, 9)
    assert (waiting.notification, waiting.created_ns) == (told(1), NOW_NS)


async def test_a_replay_to_nobody(desk: Desk, outbox: SqliteOutbox) -> None:
    """What is for a destination that there is no more stays, and that is said."""
    await bury(outbox, told(1))
    await bury(outbox, told(1), told(2), to="gone")
    replayed = await desk.replay(ALL)
    assert (replayed.count, replayed.left) == (1, {"gone": 2})
    assert await desk.tally(ALL) == {"gone": 2}


async def test_what_dies_again_has_been_replayed(
    desk: Desk, outbox: SqliteOutbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a dead letter once more, but none that nothing could be done for."""
    await bury(outbox, told(1))
    replay = outbox.replay

    async def replay_in_vain(selection: Selection, destinations: Names, now_ns: int) -> int:
        count = await replay(selection, destinations, now_ns)
        await bury(outbox, told(2, about="db"))
        return count

    monkeypatch.setattr(outbox, "replay", replay_in_vain)
    replayed = await desk.replay(ALL)
    assert (replayed.count, replayed.left) == (1, {})
    assert await desk.tally(ALL) == {"ops": 1}


@pytest.mark.parametrize(("name", "was_stopped"), [("ops", False), ("audit", True)])
async def test_enable(desk: Desk, enabled: list[str], name: str, was_stopped: bool) -> None:
    """The lane is told, and says whether it was stopped."""
    assert await desk.enable(name) is was_stopped
    assert enabled == [name]


async def test_enable_nobody(desk: Desk, enabled: list[str]) -> None:
    """Who is not there is told by name, with those who are."""
    with pytest.raises(UnknownDestination, match=r"^no destination 'op\\x1bs'; there are: ops, a"):
        await desk.enable("op\x1bs")
    assert enabled == []


async def test_a_desk_without_a_relay(outbox: SqliteOutbox) -> None:
    """It knows of no conditions, only how far engines were heard, and has nothing to enable."""
    await outbox.take_in(intake(bookmark=Bookmark(7, 3)), 10)
    desk = OwnDesk(outbox, lambda: ["ops"], lambda: NOW_NS, engines=["here", "new"])
    assert await desk.conditions() == {}
    report = Report({"here": EngineReport(7), "new": EngineReport(None)})
    assert await desk.report() == report
    with pytest.raises(NothingRuns, match="no relay is running"):
        await desk.enable("ops")


# over the socket


async def test_pages(
    own: OwnDesk, outbox: SqliteOutbox, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many come in several answers, and not one more than asked for."""
    monkeypatch.setattr(remote, "PAGE", 40)
    await bury(outbox, *(told(number, about=str(number)) for number in range(1, 101)))
    async with control(place, own, Tap(), idle), remote_desk(place) as desk:
        assert await desk.dead_letters(ALL, 1000) == await outbox.dead_letters(ALL, 1000)
        assert [each.number for each in await desk.dead_letters(ALL, 50, 90)] == [
            *range(89, 39, -1)
        ]


async def test_long_ones(
    own: OwnDesk, outbox: SqliteOutbox, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer ends where it is long enough; dead letters go on in the next."""
    monkeypatch.setattr(served, "PAGE_BYTES", 1)
    await bury(outbox, told(1), told(2), told(3))
    await outbox.take_in(intake(told(4), told(5)), 10)
    async with control(place, own, Tap(), idle), remote_desk(place) as desk:
        assert [each.number for each in await desk.dead_letters(ALL, 10)] == [3, 2, 1]
        assert len(await desk.waiting(None, 10)) == 1


async def ask(place: Path, path: str, body: bytes | io.BytesIO | None = None) -> tuple[int, object]:
    """The status of an answer, and what it says."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(place))) as session,
        session.request(
            "GET" if body is None else "POST", f"http://relay{path}", data=body
        ) as said,
    ):
        return said.status, await said.json()


async def test_a_greeting(own: OwnDesk, place: Path) -> None:
    """It says who answers."""
    async with control(place, own, Tap(), idle):
        assert await ask(place, "/api/") == (200, {"version": __version__, "now_ns": NOW_NS})


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/api/dead", b"", "truncated"),
        ("/api/dead", b"\xff", "malformed"),
        ("/api/dead", b"[" * 100_000, "Expected `object`"),
        ("/api/dead", b'{"most": 5}', "missing required field `selection`"),
        ("/api/dead", b'{"selection": {}, "most": 0}', "`int` >= 1"),
        ("/api/dead", b'{"selection": {}, "most": 501}', "`int` <= 500"),
        ("/api/dead", b'{"selection": {}, "most": 1, "below": 9223372036854775808}', "$.below"),
        ("/api/dead/drop", b'{"destinaton": "ops"}', "unknown field `destinaton`"),
        ("/api/dead/drop", b'{"since_ns": 9223372036854775808}', "$.since_ns"),
        ("/api/dead/drop", b'{"since_ns": -1}', "$.since_ns"),
        ("/api/dead/drop", b'{"since_ns": 1.5}', "$.since_ns"),
        ("/api/dead/drop", b'{"ids": [9223372036854775808]}', "$.ids"),
        ("/api/dead/drop", b'{"ids": [null]}', "$.ids"),
        ("/api/dead/drop", b'{"ids": "1"}', "$.ids"),
        ("/api/dead/drop", rb'{"route": "\ud800"}', "truncated"),
        ("/api/dead/drop", b'{"route": "\xed\xa0\x80"}', "utf-8"),
        ("/api/waiting", b'{"destination": null, "most": 501}', "$.most"),
        ("/api/enable", b"{}", "missing required field `destination`"),
    ],
)
async def test_what_cannot_be_meant(
    own: OwnDesk, outbox: SqliteOutbox, place: Path, path: str, body: bytes, words: str
) -> None:
    """It is refused in words, and never gets to the store, which it would break for all."""
    await bury(outbox, told(1))
    async with control(place, own, Tap(), idle):
        status, said = await ask(place, path, body)
        assert status == 400
        assert isinstance(said, dict)
        assert words in said["error"]
    assert await own.tally(ALL) == {"ops": 1}


async def test_what_is_not_there(own: OwnDesk, place: Path) -> None:
    """It is told in the same form; nothing is done by asking for it."""
    async with control(place, own, Tap(), idle):
        assert await ask(place, "/api/nothing") == (404, {"error": "Not Found"})
        assert await ask(place, "/api/dead/drop") == (405, {"error": "Method Not Allowed"})


async def test_too_long_a_question(own: OwnDesk, place: Path) -> None:
    """No more of it than a bound is read."""
    long = b" " * (served.QUESTION_BYTES + 1)
    async with control(place, own, Tap(), idle):
        status, _ = await ask(place, "/api/dead/drop", io.BytesIO(long))
        assert status == 413


@asynccontextmanager
async def hanging(outbox: SqliteOutbox) -> AsyncIterator[Callable[[], None]]:
    """Let the store hang until what this gives is called, or the end."""
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_: object) -> None:
        hangs.set()
        goes_on.wait(PATIENCE_S)

    job = asyncio.create_task(outbox._committer.run(hang))
    await asyncio.to_thread(hangs.wait)
    try:
        yield goes_on.set
    finally:
        goes_on.set()
        await job


async def test_a_store_that_hangs(
    own: OwnDesk, outbox: SqliteOutbox, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told soon; what needs no store is answered; and what was asked is done later."""
    monkeypatch.setattr(served, "ANSWER_S", 0.01)
    await bury(outbox, told(1))
    async with (
        control(place, own, Tap(), idle),
        remote_desk(place) as desk,
        hanging(outbox) as go_on,
    ):
        for question in (desk.pending, lambda: desk.drop(ALL), lambda: desk.waiting(None, 9)):
            with pytest.raises(NoAnswer, match=r"its store has not answered for 0\.01 s; if"):
                await question()
        assert await desk.conditions() == CONDITIONS
        assert await desk.enable("audit")
        assert await desk.now_ns() == NOW_NS
        go_on()
        async with asyncio.timeout(PATIENCE_S):
            while await own.tally(ALL):
                await asyncio.sleep(0.001)


async def test_few_wait_for_a_store_that_hangs(
    own: OwnDesk, outbox: SqliteOutbox, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked; once it works, there is room again."""
    monkeypatch.setattr(served, "ANSWER_S", 0.01)
    monkeypatch.setattr(served, "AT_ONCE", 2)
    async with control(place, own, Tap(), idle), remote_desk(place) as desk:
        async with hanging(outbox):
            asked = outbox._committer._unanswered
            for _ in range(5):
                with pytest.raises(NoAnswer):
                    await desk.pending()
            assert len(asked) == 1 + 2 + 1  # what hangs, the questions, the probe
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    assert await desk.pending() == {}
                    break
                except NoAnswer:
                    await asyncio.sleep(0.001)


async def test_work_that_takes_long(
    outbox: SqliteOutbox, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for as long as the store answers others."""
    monkeypatch.setattr(served, "ANSWER_S", 0.01)
    probed = 0
    finished = asyncio.Event()

    class Slow(OwnDesk):
        async def pending(self) -> dict[str, int]:
            nonlocal probed
            probed += 1
            if probed == 3:
                finished.set()
            return {}

        async def drop(self, selection: Selection) -> int:
            await finished.wait()
            return 7

    desk = Slow(outbox, lambda: ["ops"], lambda: NOW_NS)
    async with control(place, desk, Tap(), idle), remote_desk(place) as theirs:
        assert await theirs.drop(ALL) == 7
    assert probed == 3


async def test_the_end_does_not_wait_for_the_store(
    own: OwnDesk, outbox: SqliteOutbox, place: Path
) -> None:
    """Whoever asks is told that the relay went away."""
    async with hanging(outbox):
        serving = control(place, own, Tap(), idle)
        await serving.__aenter__()
        async with remote_desk(place) as desk:
            asking = asyncio.create_task(desk.pending())
            async with asyncio.timeout(PATIENCE_S):
                while len(outbox._committer._unanswered) < 2:
                    await asyncio.sleep(0.001)
            await serving.__aexit__(None, None, None)
            with pytest.raises(NoAnswer, match="says: it is ending"):
                await asking


async def test_for_its_owner_alone(own: OwnDesk, place: Path) -> None:
    """Its mode is 0600 whatever the mask, which stays as it was; it goes with relay."""
    before = os.umask(0)
    try:
        async with control(place, own, Tap(), idle):
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
    finally:
        assert os.umask(before) == 0
    assert not place.exists()


async def test_in_use(own: OwnDesk, place: Path) -> None:
    """It is left to the one who has it."""
    async with control(place, own, Tap(), idle):
        with pytest.raises(ControlError, match=r"^socket .*\.sock cannot be had: it is taken by"):
            await control(place, own, Tap(), idle).__aenter__()
        assert (await ask(place, "/api/"))[0] == 200


async def test_left_over(own: OwnDesk, place: Path) -> None:
    """Of a relay that was killed: nobody listens there, and the next relay does."""
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(place))
    with pytest.raises(NobodyListens, match=r"relay\.db\.sock: Connection refused"):
        await remote_desk(place).__aenter__()
    async with control(place, own, Tap(), idle):
        assert (await ask(place, "/api/"))[0] == 200


async def test_a_file_in_its_place(own: OwnDesk, place: Path) -> None:
    """It is not touched, and nobody listens there."""
    place.write_text("precious")
    with pytest.raises(ControlError, match="it is taken by another program or, as a path"):
        await control(place, own, Tap(), idle).__aenter__()
    with pytest.raises(NobodyListens):
        await remote_desk(place).__aenter__()
    assert place.read_text() == "precious"


@pytest.mark.parametrize("folders", [0, 1, 10])
async def test_not_there(tmp_path: Path, folders: int) -> None:
    """Neither the socket nor, perhaps, its folder."""
    folder = tmp_path.joinpath(*["nowhere at all, far away"] * folders)
    with pytest.raises(NobodyListens, match="No such file or directory"):
        await remote_desk(folder / "relay.db.sock").__aenter__()


async def test_a_path_that_is_too_long_for_a_socket(own: OwnDesk, tmp_path: Path) -> None:
    """It is reached all the same, by both sides, with all that holds for a short one."""
    folder = tmp_path / ("d" * 120) / ("e" * 120)
    folder.mkdir(parents=True)
    place = socket_path(folder / "relay.db")
    async with control(place, own, Tap(), idle), remote_desk(place) as desk:
        assert await desk.now_ns() == NOW_NS
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        with pytest.raises(ControlError, match="it is taken"):
            await control(place, own, Tap(), idle).__aenter__()
    assert not place.exists()
    os.mknod(place, stat.S_IFSOCK)
    async with control(place, own, Tap(), idle), remote_desk(place) as desk:
        assert await desk.now_ns() == NOW_NS


async def test_a_name_that_is_too_long_for_a_socket(own: OwnDesk, tmp_path: Path) -> None:
    """There is no way around that; nobody can listen there."""
    place = socket_path(tmp_path / ("d" * 200))
    with pytest.raises(ControlError, match=r"\.sock cannot be had: File name too long"):
        await control(place, own, Tap(), idle).__aenter__()
    with pytest.raises(NobodyListens):
        await remote_desk(place).__aenter__()


async def test_a_socket_of_somebody_else(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who has to ask, instead of taking it for one that is not there."""

    refused = OSError(errno.EACCES, "")

    def refuse(_: Path) -> str:
        raise refused

    monkeypatch.setattr(remote, "address", refuse)
    with pytest.raises(NoAnswer, match="Permission denied: run this as the user that runs relay"):
        await remote_desk(place).__aenter__()
    refused.errno = errno.EIO
    with pytest.raises(NoAnswer, match=r"relay\.db\.sock: Input/output error$"):
        await remote_desk(place).__aenter__()


async def test_one_that_says_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that is stopped (SIGSTOP) accepts and is silent."""
    monkeypatch.setattr(remote, "ANSWER_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place))
        silent.listen()
        with pytest.raises(NoAnswer, match=r"relay\.db\.sock has not answered for 0\.05 s"):
            await remote_desk(place).__aenter__()


async def test_one_that_has_no_time(
    own: OwnDesk, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue is full: it is there, and its socket is left to it."""
    monkeypatch.setattr(remote, "ANSWER_S", 0.05)
    with ExitStack() as sockets:
        busy = sockets.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(place))
        busy.listen(0)
        with suppress(BlockingIOError):
            while True:
                waiting = sockets.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(place))
        with pytest.raises(ControlError, match="it is taken"):
            await control(place, own, Tap(), idle).__aenter__()
        with pytest.raises(NoAnswer):
            await remote_desk(place).__aenter__()


@asynccontextmanager
async def answering(place: Path, status: int, body: bytes) -> AsyncIterator[None]:
    """Something that answers everything with this."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.UnixSite(runner, str(place)).start()
    try:
        yield
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, b'{"version": 7}', "answers what is not understood (200): Expected `str`"),
        (200, b"hello", "answers what is not understood (200)"),
        (200, b"\xff", "answers what is not understood (200)"),
        (500, b"oh \x1b[2J", "answers what is not understood (500)"),
        (404, b'{"error": "Not Found"}', "does not take this command (404): Not Found"),
    ],
)
async def test_another_version(place: Path, status: int, body: bytes, words: str) -> None:
    """What is not understood is told, and nothing that a terminal would obey."""
    async with answering(place, status, body):
        with pytest.raises(NoAnswer) as caught:
            await remote_desk(place).__aenter__()
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


async def test_not_http(place: Path) -> None:
    """Another program's socket."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 \x1b[2J mail\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, place)
    async with server:
        with pytest.raises(NoAnswer, match="broke off") as caught:
            await remote_desk(place).__aenter__()
    assert "\x1b" not in str(caught.value)
