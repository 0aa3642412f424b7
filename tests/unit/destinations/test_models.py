"""The keys of each type of destination, and the errors in them."""

import base64
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from relay.config import BatchConfig, Rate, RetryConfig, TimeoutConfig
from relay.core.errors import ConfigError
from relay.destinations.catalog import DESTINATION_TYPES, parse_config
from relay.destinations.http import HttpDestination
from relay.destinations.telegram import TelegramDestination
from tests.unit.destinations.configs import config_with, problems
from tests.unit.destinations.contract import contracts

SIGNING = "whsec_" + base64.b64encode(b"s" * 32).decode()
MINIMAL = {
    "http": "url: https://x",
    "console": "",
    "email": "host: mail.example.com, sender: relay@example.com, recipients: ops@example.com",
    "apprise": "url: json://localhost/hook",
    "nats": "url: nats://localhost, stream: RELAY",
} | {name: contract.keys for name, contract in contracts().items()}


def http(entry: str) -> HttpDestination:
    to = config_with(f"type: http, url: https://x, {entry}").destinations["to"]
    assert isinstance(to, HttpDestination)
    return to


@pytest.mark.parametrize("kind", DESTINATION_TYPES.models)
def test_the_minimal_keys_are_enough(kind: str) -> None:
    """A destination with only these keys is valid."""
    assert config_with(f"type: {kind}, {MINIMAL[kind]}").destinations["to"].type == kind


@pytest.mark.parametrize("kind", contracts())
def test_where_requests_go(kind: str) -> None:
    """relay adds the path of the service's API."""
    to = config_with(f"type: {kind}, {MINIMAL[kind]}").destinations["to"]
    assert to.endpoint == contracts()[kind].endpoint


@pytest.mark.parametrize("kind", [*contracts(), "http"])
def test_default_rate_limits(kind: str) -> None:
    """The default holds unless another limit is set."""
    rate = None if kind == "http" else contracts()[kind].rate
    assert config_with(f"type: {kind}, {MINIMAL[kind]}").destinations["to"].rate_limit == rate
    other = config_with(f"type: {kind}, {MINIMAL[kind]}, rate_limit: 7/h").destinations["to"]
    assert other.rate_limit == Rate(7, 3600.0)


def test_defaults() -> None:
    """The documented defaults: timeouts, retries, order, method and concurrency."""
    to = http("")
    assert to.timeout == TimeoutConfig(connect=timedelta(seconds=5), total=timedelta(seconds=15))
    assert to.retry == RetryConfig(
        initial=timedelta(seconds=1),
        max=timedelta(minutes=10),
        factor=2,
        jitter=0.2,
        max_age=timedelta(hours=72),
        max_attempts=None,
        max_after=timedelta(hours=24),
    )
    assert (to.ordering, to.method, to.concurrency) == ("container", "POST", 8)


def test_a_batch_has_defaults() -> None:
    """Without ``batch`` there are no batches; ``{}`` gives 500 notifications or 50 ms."""
    assert http("").batch is None
    assert http("batch: {}").batch == BatchConfig(max=500, wait=timedelta(milliseconds=50))
    assert http("batch: {max: 2, wait: 5s}").batch == BatchConfig(max=2, wait=timedelta(seconds=5))
    assert http("format: cloudevents, batch: {wait: 0s}").batch == BatchConfig(wait=timedelta(0))


def is_second_authorization(kind: str, key: str) -> bool:
    """Whether a key excludes one that the type needs: a second authorization."""
    authorization_key = getattr(DESTINATION_TYPES.models[kind], "authorization_key", None)
    return key == "bearer_token" and authorization_key is not None


SECRETS = [
    (kind, key)
    for kind in DESTINATION_TYPES.models
    for key in DESTINATION_TYPES.secret_keys(kind)
    if not is_second_authorization(kind, key)
]
SAMPLES = {
    "url": "https://canary.example/x",
    "proxy": "http://u:canary@proxy.example",
    "signing_secret": SIGNING,
}


@pytest.mark.parametrize(("kind", "key"), SECRETS)
def test_every_secret_may_come_from_a_file(kind: str, key: str, tmp_path: Path) -> None:
    """``KEY_file`` gives the same value as ``KEY``, and no repr shows it."""
    own = contracts()[kind].secrets if kind in contracts() else {}
    value = own.get(key) or SAMPLES.get(key, "canary")
    value = "json://canary.example/x" if kind == "apprise" else value
    (tmp_path / "secret").write_text(f"{value}\n")
    parts = [part for part in MINIMAL[kind].split(", ") if not part.startswith(f"{key}:")]
    parts += ["username: u"] if key == "password" else []
    rest = ", ".join([f"type: {kind}", *filter(None, parts)])
    from_file = config_with(f"{rest}, {key}_file: secret", tmp_path)
    assert from_file == config_with(f"{rest}, {key}: '{value}'")
    assert value not in repr(from_file)


def test_the_keys_that_hold_secrets() -> None:
    """A new secret that is no SecretStr would be shown, so the keys are listed."""
    everywhere = {"url", "proxy", "bearer_token"}
    own: dict[str, frozenset[str]] = {
        name: frozenset(it.secrets) for name, it in contracts().items()
    }
    own["http"] = frozenset({"signing_secret"})
    no_webhook = {"console": set(), "email": {"password"}, "apprise": {"url"}}
    no_webhook["nats"] = {"password", "token"}
    for kind in DESTINATION_TYPES.models:
        wanted = no_webhook.get(kind, everywhere | own.get(kind, set()))
        assert set(DESTINATION_TYPES.secret_keys(kind)) == wanted, kind


def test_a_password_may_come_from_a_file(tmp_path: Path) -> None:
    """``password_file`` names its file."""
    (tmp_path / "secret").write_text("canary")
    entry = "type: slack, url: https://x, basic_auth: {username: u, password_file: secret}"
    assert config_with(entry, tmp_path) == config_with(
        "type: slack, url: https://x, basic_auth: {username: u, password: canary}"
    )


def test_two_signing_secrets(tmp_path: Path) -> None:
    """Two secrets are a list, or two lines of a file."""
    (tmp_path / "secret").write_text(f"{SIGNING}\n{SIGNING[:-4]}AAA=\n")
    from_file = config_with("type: http, url: https://x, signing_secret_file: secret", tmp_path)
    listed = config_with(
        f"type: http, url: https://x, signing_secret: ['{SIGNING}', '{SIGNING[:-4]}AAA=']"
    )
    assert from_file == listed


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        (
            "signing_secret: hush",
            "signing_secret: is not 'whsec_' and the base64 of 24 to 64 bytes",
        ),
        ("signing_secret: whsec_aGk=", "signing_secret: is not 'whsec_' and the base64 of"),
        (
            f"signing_secret: ['{SIGNING}', '{SIGNING}', '{SIGNING}']",
            "signing_secret: holds more than two secrets",
        ),
        ("sign: github", "to: 'sign' needs a 'signing_secret' (or 'signing_secret_file')"),
        ("sign: standard", "to: 'sign' needs a 'signing_secret' (or 'signing_secret_file')"),
        ("sign: github, signing_secret: ''", "signing_secret: is empty"),
        ("sign: standard, signing_secret: ''", "signing_secret: is empty"),
        ("signing_secret: ''", "signing_secret: is empty"),
        (f"signing_secret: ['{SIGNING}', '']", "signing_secret: is empty"),
        (
            "sign: github, signing_secret: [a, b]",
            "signing_secret: 'sign: github' needs one 'signing_secret', not two",
        ),
        (
            f"method: GET, signing_secret: {SIGNING}",
            "signing_secret: with 'method: GET' there is no body to sign: remove 'signing_secret'",
        ),
        ("method: GET, format: cloudevents", "with 'method: GET' there is no body: remove"),
        (
            "method: GET, format: template, body: {}",
            "with 'method: GET' there is no body: remove 'format'",
        ),
        ("sign: gitlab", "sign: 'gitlab' is not 'standard' or 'github'"),
        ("format: template", "'format: template' needs 'body'"),
        ("format: template, body: {}, body_text: x", "'format: template' needs 'body'"),
        ("body: {a: b}", "to: 'body' and 'body_text' are for 'format: template' only"),
        ("content_type: text/x", "content_type: 'content_type' is for 'body_text' only"),
        ("method: DELETE", "method: 'DELETE' is not 'POST', 'PUT', 'PATCH' or 'GET'"),
        ("tls: {ca_file: x}", "tls.ca_file: 'x' cannot be read"),
        ("timeout: {connect: 20s}", "timeout: 'total' is shorter than 'connect'"),
        ("timeout: {connect: 0s}", "timeout.connect: '0s' is not more than 0s"),
        ("retry: {factor: 0.5}", "retry.factor: '0.5' is less than 1"),
        ("retry: {factor: x}", "retry.factor: 'x' is not a number"),
        ("retry: {factor: nan}", "retry.factor: 'nan' is"),
        ("retry: {jitter: 2}", "retry.jitter: '2' is more than 1"),
        ("retry: {max_attempts: 0}", "retry.max_attempts: '0' is less than 1"),
        ("ordering: name", "ordering: 'name' is not 'container' or 'none'"),
        ("batch: {max: 1}", "batch.max: '1' is less than 2"),
        ("batch: {max: 1001}", "batch.max: '1001' is more than 1000"),
        ("batch: {wait: 5001ms}", "batch.wait: '5001ms' is more than 5s"),
        ("batch: {wait: 50}", "batch.wait: '50' has no unit"),
        ("batch: {mx: 5}", "unknown key 'mx' (did you mean 'max'?)"),
        ("batch: 500", "batch: must be a mapping"),
        ("format: cloudevents-binary, batch: {}", "batch: is for 'format: json' and"),
        ("format: template, body: {}, batch: {}", "batch: is for 'format: json' and"),
        ("method: GET, batch: {}", "batch: with 'method: GET' there is no body that could hold"),
        (
            "headers: {X-To: '{{ event.name }}'}, batch: {}",
            "batch: 'headers.X-To' is a template, and many would share it",
        ),
        (
            "query: {to: '{{ event.name }}'}, batch: {}",
            "batch: 'query.to' is a template, and many would share it",
        ),
        ("bearer_token: ''", "bearer_token: is empty"),
        ('bearer_token: "a\\nb"', "bearer_token: the value holds 2 lines"),
        ("proxy: socks5://x", "proxy: the value is not an http or https URL"),
        ("basic_auth: {username: 'a:b', password: c}", "basic_auth.username: the value is not a"),
        ("basic_auth: {username: a}", "basic_auth: needs 'password' or 'password_file'"),
        (
            "basic_auth: {usrname: a, password: b}",
            "unknown key 'usrname' (did you mean 'username'?)",
        ),
        (
            "basic_auth: {username: a, password: b}, bearer_token: c",
            "bearer_token: there is 'basic_auth' as well: keep one of them",
        ),
        (
            "headers: {authorization: x}, bearer_token: c",
            "bearer_token: there is an Authorization in 'headers' as well",
        ),
        ("headers: {Content-Type: x}", "'Content-Type' is a header that relay sets itself"),
        ('headers: {X: "a\\r\\nb"}', "headers.X: the value holds 2 lines"),
        ("singing_secret: x", "unknown key 'singing_secret' (did you mean 'signing_secret'?)"),
        (
            "bearer_token_fil: x",
            "unknown key 'bearer_token_fil' (did you mean 'bearer_token_file'?)",
        ),
    ],
)
def test_problems_of_a_webhook(entry: str, wrong: str) -> None:
    """Each mistake gives exactly one clear problem."""
    (problem,) = problems(f"type: http, url: https://x, {entry}")
    assert wrong in problem


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("type: telegram, chat_id: 1", "needs 'token' or 'token_file'"),
        ("type: telegram, token: x, chat_id: 1", "token: the value is not the token of a bot"),
        ("type: telegram, token: '1:aaaaaaaaaaaa'", "needs 'chat_id'"),
        *(
            (f"type: telegram, token: '1:aaaaaaaaaaaa', chat_id: {chat}", "chat_id: ")
            for chat in ("''", "'@ab'", "ops", "'@a b'", "'1.5'", "'- 1'", "'٤٢'", f"'{'1' * 21}'")
        ),
        *(
            (
                f"type: telegram, token: '1:aaaaaaaaaaaa', chat_id: 1, thread_id: {thread}",
                "thread_id: ",
            )
            for thread in ("0", "-1", "true", "x", "1.5")
        ),
        ("type: ntfy, topic: a/b", "topic: the value is not a topic"),
        ("type: ntfy", "needs 'topic' or 'topic_file'"),
        ("type: pagerduty", "needs 'routing_key' or 'routing_key_file'"),
        ("type: gotify, url: https://x", "needs 'token' or 'token_file'"),
        ("type: slack, url: http://x, tls: {}", "tls: is for an https:// 'url' only"),
        ("type: slack, url: https://x, format: json", "unknown key 'format'"),
        ("type: slack, url: https://x, batch: {}", "'batch' (it is for 'type: http' only)"),
        ("type: console, batch: {}", "'batch' (it is for 'type: http' only)"),
        ("type: console, title: x", "unknown key 'title'"),
        ("type: discrod, url: https://x", "is not a type of destination"),
    ],
)
def test_problems_of_a_service(entry: str, wrong: str) -> None:
    """Each mistake gives exactly one clear problem."""
    (problem,) = problems(entry)
    assert wrong in problem


OWN_HEADERS = (
    *("content-type", "Content-Length", "CONTENT-ENCODING", "host", "user-agent", "connection"),
    *("transfer-encoding", "Expect", "TE", "trailer", "upgrade", "keep-alive"),
    *("proxy-authorization", "proxy-connection", "X-Hub-Signature-256", "X-Gotify-Key"),
    *("webhook-id", "Webhook-Anything", "ce-id", "Ce-Anything"),
)


@pytest.mark.parametrize("name", OWN_HEADERS)
def test_relays_own_headers_cannot_be_set(name: str) -> None:
    """They frame the request, or hold what only relay knows."""
    (problem,) = problems(f"type: http, url: https://x, headers: {{{name}: x}}")
    assert "is a header that relay sets itself" in problem


HEADERS_OF_TYPES = {name for contract in contracts().values() for name in contract.headers}


@pytest.mark.parametrize("name", sorted(HEADERS_OF_TYPES - {"Authorization"}))
def test_the_header_of_a_type_that_is_not_imported_cannot_be_set(name: str) -> None:
    """All types refuse it, whether or not the module of its type is imported already."""
    code = f"""
from tests.unit.destinations.configs import problems
print(problems("type: http, url: https://x, headers: {{{name}: x}}"))
"""
    command = [sys.executable, "-c", code]
    root = Path(__file__).parents[3]
    printed = subprocess.check_output(command, cwd=root, text=True, timeout=60)
    assert "is a header that relay sets itself" in printed


@pytest.mark.parametrize("name", ["Authorization", "X-Ce", "Accept", "ce", "X-Webhook-Id"])
def test_any_other_header_can(name: str) -> None:
    """Headers that relay does not set are accepted, even if their names resemble reserved ones."""
    assert name in http(f"headers: {{{name}: x}}").headers


@pytest.mark.parametrize("chat", ["1", "-1001234567890", "'-100'", "'@ops_1'"])
def test_a_chat_has_a_number_or_a_name(chat: str) -> None:
    """A chat may be a number with or without quotes; the topic is another number."""
    entry = f"type: telegram, token: '1:aaaaaaaaaaaa', chat_id: {chat}, thread_id: 7"
    to = config_with(entry).destinations["to"]
    assert isinstance(to, TelegramDestination)
    assert (to.chat_id, to.thread_id) == (chat.strip("'"), 7)


@pytest.mark.parametrize("sign", ["sign: github, signing_secret: a", f"signing_secret: {SIGNING}"])
def test_signing_needs_a_secret(sign: str) -> None:
    """Each scheme requires a secret, in its own form."""
    assert len(http(sign).signing_secret) == 1


def test_a_get_needs_only_a_query() -> None:
    """A GET has no body, as heartbeat services expect."""
    to = http("method: GET, query: {text: '{{ headline }}'}")
    assert (to.method, to.format) == ("GET", "json")


def test_a_secret_is_never_in_a_problem() -> None:
    """No problem with a secret quotes it."""
    entry = (
        "type: telegram, token: 'canary ', chat_id: 1, bearer_token: \"canary\\n\", "
        'proxy: canary, headers: {X: "canary\\n"}, '
        'basic_auth: {username: a, password: "canary\\n"}'
    )
    found = problems(entry)
    assert len(found) == 5
    assert not any("canary" in problem for problem in found)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("severity: fatal", "severity: 'fatal' is not 'info', 'warning' or 'critical'"),
        ("drop: true, to: [], severity: info", "severity: 'drop' sends nothing"),
    ],
)
def test_problems_of_the_texts_of_a_route(entry: str, wrong: str) -> None:
    """Each mistake gives exactly one clear problem."""
    to = "" if "drop" in entry else "to: to, "
    text = f"destinations: {{to: {{type: console}}}}\nroutes: [{{name: all, {to}{entry}}}]\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="f", environ={}, folder=Path())
    assert any(wrong in str(problem) for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("max_age: 1s", "max_age: '1s' is less than 1m"),
        ("max_count: -1", "max_count: '-1' is less than 0"),
        ("max_cuont: 1", "unknown key 'max_cuont' (did you mean 'max_count'?)"),
    ],
)
def test_problems_of_the_limits_of_dead_letters(entry: str, wrong: str) -> None:
    """Each mistake gives exactly one clear problem."""
    text = (
        "destinations: {to: {type: console}}\nroutes: [{name: all, to: to}]\n"
        f"store: {{dead_letters: {{{entry}}}}}\n"
    )
    with pytest.raises(ConfigError) as caught:
        parse_config(text, file="f", environ={}, folder=Path())
    (problem,) = caught.value.problems
    assert wrong in str(problem)
