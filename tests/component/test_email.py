"""Mail to a real SMTP server: what it gets, and what its answers mean."""

import asyncio
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Request, Response, Retry
from relay.core.zone import UTC_ZONE, TimeZone
from relay.delivery.client import ConsoleOutput, open_client
from relay.delivery.retry import Attempt, classify
from relay.delivery.smtp import SmtpSender
from relay.destinations.email import EmailDestination
from tests.component.wait import TIMEOUT_S
from tests.support.certificates import Authority
from tests.support.mail_server import MailServer, serving_mail
from tests.unit.destinations.samples import NOTIFICATIONS

USER, PASSWORD = "relay", "s3cret-canary"
FIRST = Attempt(earlier_attempts=0, age_s=0, random_fraction=0.5)


def mail_to(server: MailServer, **keys: object) -> EmailDestination:
    """A destination that sends to the server, without encryption."""
    usual = {
        "host": "127.0.0.1",
        "port": server.port,
        "security": "none",
        "sender": "relay <relay@example.com>",
        "recipients": ["ops@example.com", "night@example.com"],
    }
    return EmailDestination.model_validate({**usual, **keys})


async def send(to: EmailDestination, zone: TimeZone = UTC_ZONE) -> Response:
    """Send the mail about the first sample as the daemon does."""
    console = ConsoleOutput(open("/dev/null", "wb", buffering=0), colour=False)  # noqa: SIM115, PTH123
    with console.stream:
        async with (
            asyncio.timeout(TIMEOUT_S),
            open_client("to", to, (), console, zone=zone) as client,
        ):
            return await client.send(NOTIFICATIONS[0])


def outcome_of(response: Response) -> Outcome:
    """What relay makes of a response."""
    return classify(response, FIRST, RetryConfig())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server_tls(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("server"))
    return context


async def test_a_mail_arrives() -> None:
    """Both recipients get it, with a date, and the text in two forms."""
    async with serving_mail() as server:
        response = await send(mail_to(server))
    assert outcome_of(response) == Delivered()
    assert (response.status, response.body) == (250, b"2.0.0 taken")
    (mail,) = server.mails
    assert mail.sender == "relay@example.com"
    assert mail.recipients == ["ops@example.com", "night@example.com"]
    message = mail.message
    assert message["Message-ID"] == f"<{NOTIFICATIONS[0].id}@example.com>"
    assert message["Subject"] == "shop-web-1 crashed with exit code 42"
    assert message["Date"].datetime is not None
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "text/html",
    ]


@pytest.mark.parametrize(
    ("name", "shown", "offset"),
    [
        ("UTC", "2026-11-23T07:29:49Z", timedelta()),
        ("Asia/Kolkata", "2026-11-23 12:59:49 IST", timedelta(hours=5, minutes=30)),
    ],
)
async def test_the_time_zone_of_a_mail(name: str, shown: str, offset: timedelta) -> None:
    """Its date is in the zone of the configuration, as its text is; its headers are as before."""
    async with serving_mail() as server:
        await send(mail_to(server, headers={"X-Zone": "{{ event.time }}"}), TimeZone(name))
    (mail,) = server.mails
    assert mail.message["Date"].datetime.utcoffset() == offset
    assert mail.message["X-Zone"] == "2026-11-23T07:29:49.176843878Z"
    assert mail.message["time-zone"] is None
    (text, _) = mail.message.iter_parts()
    assert f"Time: {shown}" in text.get_content()


@pytest.mark.parametrize("is_implicit", [False, True], ids=["starttls", "tls"])
async def test_encryption_and_login(
    authority: Authority, server_tls: ssl.SSLContext, is_implicit: bool
) -> None:
    """The password is sent once, and only when the connection is encrypted."""
    async with serving_mail(server_tls, implicit_tls=is_implicit) as server:
        server.password = PASSWORD
        to = mail_to(
            server,
            security="tls" if is_implicit else "starttls",
            tls={"ca_file": authority.certificate},
            username=USER,
            password=PASSWORD,
        )
        response = await send(to)
        reached = await SmtpSender(to).reach()
    assert outcome_of(response) == Delivered()
    assert server.logins == [(USER, PASSWORD)] * 2
    assert [(mail.user, mail.is_encrypted) for mail in server.mails] == [(USER, True)]
    scheme = "smtps" if is_implicit else "smtp"
    assert reached.is_reached
    assert reached.text == f"reached and logged in ({scheme}://127.0.0.1:{server.port})"


async def test_a_wrong_password_is_tried_once_and_never_shown(
    authority: Authority, server_tls: ssl.SSLContext
) -> None:
    """Servers lock out whoever fails often."""
    async with serving_mail(server_tls) as server:
        to = mail_to(
            server,
            security="starttls",
            tls={"ca_file": authority.certificate},
            username=USER,
            password=PASSWORD,
        )
        response = await send(to)
        reached = await SmtpSender(to).reach()
    assert outcome_of(response) == Dead(Reason.REFUSED)
    assert response.status == 535
    assert server.logins == [(USER, PASSWORD)] * 2
    assert (server.attempts, reached.is_reached) == (0, False)
    assert reached.text.startswith("answered 535")
    assert PASSWORD not in repr(response) + repr(to) + reached.text


async def test_without_encryption_nothing_is_sent() -> None:
    """A server that does not offer STARTTLS gets neither password nor mail."""
    async with serving_mail() as server:
        to = mail_to(server, security="starttls", username=USER, password=PASSWORD)
        response = await send(to)
    assert (response.failure, response.error) == (
        Reason.TLS,
        "the server offers no encryption (STARTTLS)",
    )
    assert isinstance(outcome_of(response), Retry)
    assert (server.logins, server.attempts) == ([], 0)


@pytest.mark.parametrize("is_implicit", [False, True], ids=["starttls", "tls"])
async def test_an_unknown_certificate_gets_nothing(
    server_tls: ssl.SSLContext, is_implicit: bool
) -> None:
    """Only the authorities of the system, or those of ``tls``, are trusted."""
    async with serving_mail(server_tls, implicit_tls=is_implicit) as server:
        to = mail_to(server, security="tls" if is_implicit else "starttls")
        response = await send(to)
    assert response.failure is Reason.TLS
    assert "certificate not accepted" in (response.error or "")
    assert server.attempts == 0


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("421 4.7.0 too many connections", Reason.RATE_LIMITED),
        ("450 4.2.1 too many mails", Reason.RATE_LIMITED),
        ("451 4.3.0 local error", Reason.UNAVAILABLE),
        ("452 4.3.1 disk full", Reason.UNAVAILABLE),
        ("550 5.7.1 spam", Reason.REFUSED),
        ("554 5.6.0 refused", Reason.REFUSED),
    ],
)
@pytest.mark.parametrize("where", ["greeting", "recipient", "data"])
async def test_refusals(answer: str, outcome: Reason, where: str) -> None:
    """4yz is tried again, 5yz is not, wherever the server says it."""
    async with serving_mail() as server:
        match where:
            case "greeting":
                server.greeting = answer
            case "recipient":
                server.answer_recipient = lambda _: answer
            case "data":
                server.answer = lambda _: answer
        response = await send(mail_to(server))
    assert response.status == int(answer[:3])
    assert response.body.decode() == answer[4:]
    found = outcome_of(response)
    assert (type(found), found.reason) == (Dead if answer[0] == "5" else Retry, outcome)
    assert server.mails == []


async def test_one_of_two_recipients_is_refused() -> None:
    """The other one has the mail, so it is delivered, and the log says who has not."""
    async with serving_mail() as server:
        server.answer_recipient = lambda address: (
            "550 5.1.1 no such user" if address.startswith("night") else "250 ok"
        )
        response = await send(mail_to(server))
    assert outcome_of(response) == Delivered()
    assert [mail.recipients for mail in server.mails] == [["ops@example.com"]]
    assert response.error == (
        "1 of 2 recipients refused: night@example.com: 550 5.1.1 no such user"
    )


async def test_all_recipients_are_refused_one_of_them_for_now() -> None:
    """Then the mail is tried again."""
    async with serving_mail() as server:
        server.answer_recipient = lambda address: (
            "550 5.1.1 no such user" if address.startswith("ops") else "451 4.3.0 later"
        )
        response = await send(mail_to(server))
    assert response.status == 451
    assert isinstance(outcome_of(response), Retry)


async def test_a_silent_server() -> None:
    """An attempt ends with ``timeout.total``."""
    async with serving_mail() as server:
        server.hangs = True
        to = mail_to(server, timeout={"connect": "100ms", "total": "300ms"})
        response = await send(to)
    assert (response.failure, response.error) == (Reason.TIMEOUT, "no answer in 0.3 s")


async def test_a_server_that_breaks_off_gets_the_same_mail_again() -> None:
    """Nobody knows whether it took the mail, so the repetition has the same Message-ID."""
    async with serving_mail() as server:
        server.answer = lambda _: "" if server.attempts == 1 else "250 ok"
        first, second = await send(mail_to(server)), await send(mail_to(server))
    assert first.failure is Reason.CONNECTION
    assert outcome_of(second) == Delivered()
    one, other = (mail.message for mail in server.mails)
    assert one["Message-ID"] == other["Message-ID"]


async def test_nobody_listens() -> None:
    """A refused connection is tried again."""
    async with serving_mail() as server:
        pass
    response = await send(mail_to(server))
    assert (response.failure, response.error) == (Reason.CONNECTION, "Connection refused")
    reached = await SmtpSender(mail_to(server)).reach()
    assert (reached.text, reached.is_reached) == ("Connection refused", False)


@pytest.mark.parametrize("is_known", [True, False])
async def test_addresses_beyond_ascii(is_known: bool) -> None:
    """They need SMTPUTF8. A domain does not: it is written in ASCII."""
    async with serving_mail(utf8=is_known) as server:
        plain = await send(mail_to(server, recipients="ops@münchen.example"))
        response = await send(mail_to(server, recipients="jörg@münchen.example"))
    assert outcome_of(plain) == Delivered()
    assert server.mails[0].recipients == ["ops@xn--mnchen-3ya.example"]
    if is_known:
        assert outcome_of(response) == Delivered()
        assert server.mails[1].recipients == ["jörg@xn--mnchen-3ya.example"]
        assert "SMTPUTF8" in server.mails[1].options
        assert "jörg@xn--mnchen-3ya.example".encode() in server.mails[1].raw
    else:
        assert outcome_of(response) == Dead(Reason.REFUSED)
        assert "SMTPUTF8" in (response.error or "")


async def test_an_endless_answer() -> None:
    """A server cannot fill relay's memory."""
    async with serving_mail() as server:
        server.answer = lambda _: "550 " + "x" * 5_000_000
        response = await send(mail_to(server))
    assert response.failure is Reason.CONNECTION
    assert len(response.error or "") <= 300


async def test_the_date_of_a_mail_is_that_of_the_attempt() -> None:
    """A retry has another one than the attempt before."""
    async with serving_mail() as server:
        for second in (1_795_416_514, 1_795_416_600):
            sender = SmtpSender(mail_to(server), lambda now_s=second: now_s * 10**9)  # type: ignore[misc]
            await sender.send(Request(b"Subject: x\r\n\r\nx\r\n"))
    dates = [mail.message["Date"].datetime for mail in server.mails]
    assert [date.timestamp() for date in dates] == [1_795_416_514, 1_795_416_600]


async def test_a_mail_that_is_cancelled_leaves_no_connection() -> None:
    """As at the end of the process."""
    async with serving_mail() as server:
        server.hangs = True
        to = mail_to(server)
        request = Request(b"Subject: x\r\n\r\nx\r\n")
        sending = asyncio.create_task(SmtpSender(to).send(request))
        async with asyncio.timeout(TIMEOUT_S):
            await server.arrived.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


def test_the_files_of_tls_are_read_when_the_client_is_opened(tmp_path: Path) -> None:
    """`relay check` refuses files that are not there."""
    with pytest.raises(ValueError, match="is not for 'security: none'"):
        mail_to(MailServer(port=25), tls={"ca_file": tmp_path / "ca.pem"})
