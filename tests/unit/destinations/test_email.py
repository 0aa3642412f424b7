"""Mails."""

import email
import re
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings

from relay.config import RetryConfig
from relay.core.exchange import Dead, Delivered, Outcome, Reason, Response, Retry
from relay.core.incident import UpdateReason
from relay.core.notification import Notification
from relay.core.severity import Severity
from relay.core.text import ZERO_WIDTH_SPACE
from relay.core.zone import UTC_ZONE
from relay.delivery.redact import collect_secrets
from relay.delivery.retry import Attempt, classify
from relay.destinations.common.card import Card
from relay.destinations.common.mail_headers import parse_mailbox
from relay.destinations.email import SUBJECT_MAX, EmailDestination
from tests.support.profiles import examples
from tests.unit.destinations.common.test_plain_text import LINK
from tests.unit.destinations.configs import config_with, problems
from tests.unit.destinations.messages import read_golden
from tests.unit.destinations.samples import (
    ATTACKS,
    CRASH,
    CUSTOM_CARD,
    NOTIFICATIONS,
    STARTED,
    hostile_notification,
    with_fields,
)
from tests.unit.destinations.strategies import cards
from tests.unit.destinations.test_catalog import fail_on_template_error
from tests.unit.destinations.updates import (
    CRASH_LOOPING,
    GOLDEN_CARDS,
    OPENED,
    RESOLVED,
    longest_cards,
    report,
    resolved,
    update_of,
)

KEYS = "host: mail.example.com, sender: relay <relay@example.com>, recipients: [ops@example.com]"


def destination(more: str = "") -> EmailDestination:
    """A destination with these keys, as YAML."""
    to = config_with(f"type: email, {KEYS}{more}").destinations["to"]
    assert isinstance(to, EmailDestination)
    return to


DESTINATION = destination()


def parse(raw: bytes) -> EmailMessage:
    """A mail as mail programs read it."""
    message = email.message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def mail(notification: Notification, more: str = "") -> EmailMessage:
    """The mail about a notification."""
    made = destination(more).build_renderer((), fail_on_template_error, colour=False, zone=UTC_ZONE)
    return parse(made(notification).body)


def texts(message: EmailMessage) -> tuple[str, str]:
    """The plain text and the HTML."""
    plain, html = message.iter_parts()
    assert isinstance(plain, EmailMessage)
    assert isinstance(html, EmailMessage)
    one, other = (part.get_content().replace("\r\n", "\n") for part in (plain, html))
    return one, other


def readable(raw: bytes) -> str:
    """A mail with its texts decoded, as the golden file has it."""
    message = parse(raw)
    headers = "".join(f"{name}: {value}\n" for name, value in message.items())
    plain, html = texts(message)
    return f"{headers}\n{plain}\n{html}\n"


class _Reader(HTMLParser):
    """Collects what a mail program makes of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


TAGS = {"html", "head", "meta", "body", "div", "table", "tr", "td", "pre"}


def test_matches_the_golden_file() -> None:
    """The mails about the samples are those in the golden file."""
    made = ("".join(readable(DESTINATION.render(card).body) for card in GOLDEN_CARDS)).replace(
        "\r\n", "\n"
    )
    assert made == read_golden("email.txt")


def test_the_id_is_that_of_the_notification() -> None:
    """So the same notification has the same id in every attempt, and another one has not."""
    assert mail(OPENED)["Message-ID"] == f"<{OPENED.id}@example.com>"
    assert DESTINATION.render(Card(OPENED)) == DESTINATION.render(Card(OPENED))


def test_mails_about_an_incident_are_a_thread() -> None:
    """All refer to the incident, which is no mail; those after the first are replies."""
    root = "<inc_3f1d0c5e7a9b4826b1d2c3e4f5a60718@example.com>"
    first, second, last = map(mail, (OPENED, CRASH_LOOPING, RESOLVED))
    assert {each["References"] for each in (first, second, last)} == {root}
    assert [each["In-Reply-To"] for each in (first, second, last)] == [None, root, root]


def test_a_mail_about_several_incidents_is_in_the_threads_of_all() -> None:
    """The oldest is first, in every mail."""
    one, other = report(id="inc_b"), resolved(id="inc_a", started_ns=CRASH.time_ns + 1)
    found = mail(update_of(other, one))
    assert found["References"] == "<inc_b@example.com> <inc_a@example.com>"
    assert found["In-Reply-To"] == "<inc_a@example.com>"


def test_a_reminder_of_several_incidents_is_in_no_thread() -> None:
    """It would join the threads of all of them."""
    both = (report(id="inc_b", reason=UpdateReason.REMINDER), report(id="inc_a"))
    assert mail(update_of(*both))["References"] is None
    assert mail(update_of(both[0]))["References"] == "<inc_b@example.com>"


def test_an_event_is_in_no_thread() -> None:
    """Only incidents are."""
    assert mail(NOTIFICATIONS[0])["References"] is None


@pytest.mark.parametrize(
    ("severity", "importance", "priority"),
    [
        (Severity.CRITICAL, "high", "1"),
        (Severity.WARNING, None, None),
        (Severity.INFO, "low", "5"),
    ],
)
def test_the_priority_is_the_severity(
    severity: Severity, importance: str | None, priority: str | None
) -> None:
    """A mail about an incident that is over has a low one."""
    found = mail(msgspec.structs.replace(OPENED, severity=severity))
    assert (found["Importance"], found["X-Priority"]) == (importance, priority)
    assert (mail(RESOLVED)["Importance"], mail(RESOLVED)["X-Priority"]) == ("low", "5")


def test_headers_of_the_configuration() -> None:
    """They are templates, are encoded, and replace relay's own."""
    more = (
        ", headers: {X-Container: '{{ event.name }}', X-Note: 'Grüße', importance: low, "
        "Reply-To: 'team <team@example.com>'}"
    )
    found = mail(NOTIFICATIONS[0], more)
    assert found["X-Container"] == "shop-web-1"
    assert found["X-Note"] == "Grüße"
    assert found.get_all("Importance") == ["low"]
    assert found["Reply-To"] == "team <team@example.com>"
    assert found["From"] == "relay <relay@example.com>"
    assert texts(found) == texts(mail(NOTIFICATIONS[0]))


@pytest.mark.parametrize(
    "attack", [*ATTACKS, "x\r\nBcc: evil@evil.example\r\n\r\nbody", "=?utf-8?q?=0A?="]
)
def test_no_name_becomes_a_header(attack: str) -> None:
    """The headers are the same, whatever a container is called."""
    failures = []
    made = destination(", headers: {X-Container: '{{ event.name }}'}").build_renderer(
        (), lambda *failure: failures.append(failure), colour=False, zone=UTC_ZONE
    )
    raw = made(hostile_notification(attack)).body
    found = parse(raw)
    usual = {name for name, _ in mail(NOTIFICATIONS[0]).items()}
    assert set(found.keys()) - {"X-Container"} == usual
    assert found["To"] == "ops@example.com"
    assert "X-Container" in found or failures
    assert all(len(line) <= 78 + 20 for line in raw.split(b"\r\n"))
    assert raw.isascii()


@settings(max_examples=examples(100))
@given(cards())
def test_any_mail_is_harmless(card: Card) -> None:
    """It has the usual headers and elements, no link, and nothing that does not print."""
    found = parse(DESTINATION.render(card).body)
    assert found.defects == []
    assert str(found["Subject"]).isprintable()
    plain, html = texts(found)
    reader = _Reader(html)
    assert reader.tags <= TAGS
    assert reader.links == []
    for text in (plain, reader.text):
        assert not LINK.search(text)
        assert text.replace("\n", "").replace(ZERO_WIDTH_SPACE, "").isprintable()


def test_only_the_links_of_the_configuration_are_links() -> None:
    """In HTML; in plain text mail programs find them."""
    plain, html = texts(parse(DESTINATION.render(CUSTOM_CARD).body))
    link = "https://wiki.example.com/run_book/shop-web-1?a=1&b=(2)"
    reader = _Reader(html)
    assert reader.links == [link]
    assert link in plain
    assert "http://evil.example" not in plain + reader.text


def test_the_subject_is_not_repeated() -> None:
    """Mail programs show the first line of a text beside the subject."""
    found = mail(OPENED)
    plain, html = texts(found)
    assert plain.startswith("Host: ")
    assert found["Subject"] not in plain + html


def test_a_headline_with_a_link_stands_in_the_text_too() -> None:
    """In a subject nobody can follow it."""
    found = mail(OPENED, ", title: 'see https://wiki.example.com/shop'")
    plain, html = texts(found)
    assert plain.startswith(f"{found['Subject']}\n\n")
    assert _Reader(html).links == ["https://wiki.example.com/shop"]


def test_an_image_can_be_copied() -> None:
    """Nothing invisible is in it."""
    image = "registry.example.com:5000/shop/web:1.2.3"
    actor = msgspec.structs.replace(CRASH.actor, image=image)
    event = with_fields(CRASH, actor=actor)
    for text in texts(mail(msgspec.structs.replace(NOTIFICATIONS[0], events=(event,)))):
        assert image in text


@pytest.mark.parametrize("filler", ["x", "&", "漢", "🔥", "\u202e", "\n", "@."])
def test_the_longest_mail_is_bounded(filler: str) -> None:
    """Names of 64 KB make no mail that Gmail would cut."""
    for card in longest_cards(filler * (65_536 // len(filler))):
        raw = DESTINATION.render(card).body
        assert len(raw) < 250_000
        assert all(len(text.encode()) < 102_000 for text in texts(parse(raw)))
        assert len(str(parse(raw)["Subject"])) <= SUBJECT_MAX


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (250, Delivered()),
        (421, Reason.RATE_LIMITED),
        (450, Reason.RATE_LIMITED),
        (451, Reason.UNAVAILABLE),
        (354, Reason.UNAVAILABLE),
        (535, Reason.REFUSED),
        (550, Reason.REFUSED),
        (571, Reason.REFUSED),
    ],
)
def test_codes(code: int, outcome: Outcome | Reason) -> None:
    """What the codes of SMTP mean is in `relay.destinations.email`."""
    response = Response(code, hint=DESTINATION.read_response(Response(code)))
    found = classify(response, Attempt(0, 0, 0.5), RetryConfig())
    if isinstance(outcome, Delivered):
        assert found == outcome
    else:
        assert found.reason is outcome
        assert isinstance(found, Dead if outcome is Reason.REFUSED else Retry)


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("a@b.example", "a@b.example", ""),
        ("Ops Team <a+b@b.example>", "a+b@b.example", "Ops Team"),
        ('"Ops, Team" <a@localhost>', "a@localhost", "Ops, Team"),
        ("<a@b.example>", "a@b.example", ""),
        ("jörg@münchen.example", "jörg@xn--mnchen-3ya.example", ""),
    ],
)
def test_addresses(text: str, address: str, name: str) -> None:
    """With a name and without."""
    found = parse_mailbox(text)
    assert (found.address, found.name) == (address, name)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a@", "@b", "a b@c", "a@b c", "a@b>", "<a@b", "a@b,c@d", "a@b\n", "x\r\n<a@b>",
     "a@" + "b" * 64 + ".example", "a" * 65 + "@b", "a@b..c", "a;b@c", "x <a@b> y"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """Nothing that could begin a header or a command."""
    with pytest.raises(ValueError, match=r"is|has|holds|ends"):
        parse_mailbox(text)


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        (", username: u", "'username' and 'password' go together"),
        (", password: p", "'username' and 'password' go together"),
        (", username: u, password: p, security: none", "would be sent without encryption"),
        (", security: ssl", "'ssl' is not 'starttls', 'tls' or 'none'"),
        (", security: none, tls: {}", "tls: is not for 'security: none'"),
        (", headers: {Subject: x}", "'Subject' is a header that relay sets itself"),
        (", headers: {content-type: x}", "'content-type' is a header that relay sets itself"),
        (", headers: {'X Y': x}", "'X Y' is not the name of a header"),
        (', headers: {X: "a\\r\\nBcc: b"}', "headers.X: the value holds 2 lines"),
        (", headers: {X: a, x: b}", "is the header 'X' again"),
        (", port: 0", "port: '0' is less than 1"),
        (", from: x@y", "unknown key 'from' (did you mean 'sender'?)"),
        (", url: x", "unknown key 'url'"),
    ],
)
def test_problems(more: str, wrong: str) -> None:
    """Each mistake gives exactly one clear problem."""
    (problem,) = problems(f"type: email, {KEYS}{more}")
    assert wrong in problem


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "'::1'"])
def test_a_server_on_this_machine_may_get_the_password(host: str) -> None:
    """Nobody else sees it."""
    keys = KEYS.replace("mail.example.com", host)
    to = config_with(f"type: email, {keys}, security: none, username: u, password: p")
    assert to.destinations["to"].endpoint.endswith(":25")


def test_ports() -> None:
    """Those that RFC 6409 and RFC 8314 name."""
    endpoints = {
        destination(f", security: {security}").endpoint for security in ("starttls", "tls", "none")
    }
    assert endpoints == {
        "smtp://mail.example.com:587",
        "smtps://mail.example.com:465",
        "smtp://mail.example.com:25",
    }
    assert destination(", port: 2525").shown_address == "smtp://mail.example.com:2525/…"


def test_the_password_is_secret_in_every_form() -> None:
    """A server may repeat what it was sent."""
    secrets = collect_secrets(destination(", username: u, password: s3cret-canary"))
    assert {"s3cret-canary", "czNjcmV0LWNhbmFyeQ==", "AHUAczNjcmV0LWNhbmFyeQ=="} <= secrets


def test_a_password_from_a_file(tmp_path: Path) -> None:
    """As every secret."""
    (tmp_path / "secret").write_text("s3cret-canary\n")
    entry = f"type: email, {KEYS}, username: u, password_file: secret"
    to = config_with(entry, tmp_path).destinations["to"]
    assert to == destination(", username: u, password: s3cret-canary")
    assert "s3cret" not in repr(to)


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At its line, as every problem of a configuration."""
    monkeypatch.setattr("relay.config.validators.find_spec", lambda _: None)
    (problem,) = problems(f"type: email, {KEYS}")
    assert "pip install 'docker-event-relay[email]'" in problem
    assert re.match(r"\d+:\d+: destinations\.to\.type: ", problem)


def test_a_plain_event_is_no_alarm() -> None:
    """A start has the priority of info."""
    assert mail(msgspec.structs.replace(NOTIFICATIONS[0], events=(STARTED,)))["X-Priority"] == "5"
