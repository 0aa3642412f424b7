"""Which requests the access policy allows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from relay.admin.auth import AccessPolicy, Denial, Permission, RequestIdentity, build_policy
from relay.config import AdminConfig
from relay.config.address import parse_listen_address

TOKEN = "0123456789abcdef0123456789abcdef"
CREDENTIALS = [f"Bearer {TOKEN}"]
LOCAL_HOST = "127.0.0.1:9321"
REMOTE_HOST = "relay.example.com:9321"
FOREIGN = RequestIdentity(host="rebound.example.com:9321")
PERMISSIONS = list(Permission)


def make_policy(address: str, token: str | None = None) -> AccessPolicy:
    secret = None if token is None else SecretStr(token)
    return build_policy(
        AdminConfig.model_construct(listen=parse_listen_address(address), token=secret)
    )


LOCAL = make_policy("127.0.0.1:9321")
LOCAL_WITH_TOKEN = make_policy("127.0.0.1:9321", TOKEN)
SOCKET = make_policy("unix:/run/relay.sock")
SOCKET_WITH_TOKEN = make_policy("unix:/run/relay.sock", TOKEN)
REMOTE = make_policy("0.0.0.0:9321")
REMOTE_WITH_TOKEN = make_policy("0.0.0.0:9321", TOKEN)
POLICIES = [LOCAL, LOCAL_WITH_TOKEN, SOCKET, SOCKET_WITH_TOKEN, REMOTE, REMOTE_WITH_TOKEN]


@pytest.mark.parametrize("permission", PERMISSIONS)
@pytest.mark.parametrize(
    "host", ["127.0.0.1:9321", "localhost", "LOCALHOST:80", "[::1]:9321", "[::1]", "127.0.0.53"]
)
def test_local_requests_need_no_token(permission: Permission, host: str) -> None:
    """Requests with a loopback Host need no token, whatever port is forwarded to relay's."""
    assert LOCAL.check(permission, RequestIdentity(host)) is None
    assert LOCAL.may_read(RequestIdentity(host))


@pytest.mark.parametrize(
    "host", [None, "", "relay", REMOTE_HOST, "[", "[::1", "127.0.0.1.nip.io", "::1"]
)
def test_a_foreign_host_is_denied(host: str | None) -> None:
    """A page whose own name resolves to loopback can neither read nor change anything."""
    for permission in (Permission.READ, Permission.FULL):
        assert LOCAL.check(permission, RequestIdentity(host)) is Denial.FOREIGN_HOST
    assert LOCAL_WITH_TOKEN.check(Permission.READ, RequestIdentity(host)) is Denial.FOREIGN_HOST
    assert not LOCAL.may_read(RequestIdentity(host))
    assert LOCAL.check(Permission.PUBLIC, RequestIdentity(host)) is None


@pytest.mark.parametrize("permission", PERMISSIONS)
def test_a_unix_socket_ignores_the_host(permission: Permission) -> None:
    """No page reaches a Unix socket, so any Host is allowed there."""
    assert SOCKET.check(permission, FOREIGN) is None
    assert SOCKET.check(permission, RequestIdentity()) is None
    assert SOCKET.may_read(RequestIdentity())


@pytest.mark.parametrize("policy", [LOCAL_WITH_TOKEN, SOCKET_WITH_TOKEN])
def test_a_configured_token_is_required_locally_too(policy: AccessPolicy) -> None:
    """With a token configured, only it gives full permission, also on this machine."""
    assert policy.check(Permission.FULL, RequestIdentity(LOCAL_HOST)) is Denial.TOKEN_MISSING
    assert (
        policy.check(Permission.FULL, RequestIdentity(LOCAL_HOST, authorizations=CREDENTIALS))
        is None
    )
    assert policy.check(Permission.READ, RequestIdentity(LOCAL_HOST)) is None
    assert policy.may_read(RequestIdentity(LOCAL_HOST))


def test_remote_requests_need_the_token() -> None:
    """Reading names needs the token; public paths do not."""
    for permission in (Permission.READ, Permission.FULL):
        assert (
            REMOTE_WITH_TOKEN.check(permission, RequestIdentity(REMOTE_HOST))
            is Denial.TOKEN_MISSING
        )
        assert (
            REMOTE_WITH_TOKEN.check(
                permission, RequestIdentity(REMOTE_HOST, authorizations=CREDENTIALS)
            )
            is None
        )
    assert REMOTE_WITH_TOKEN.check(Permission.PUBLIC, RequestIdentity(REMOTE_HOST)) is None
    assert not REMOTE_WITH_TOKEN.may_read(RequestIdentity(REMOTE_HOST))
    assert REMOTE_WITH_TOKEN.may_read(RequestIdentity(REMOTE_HOST, authorizations=CREDENTIALS))


@pytest.mark.parametrize("host", [REMOTE_HOST, LOCAL_HOST])
def test_remote_requests_without_a_configured_token_are_denied(host: str) -> None:
    """Nothing is shown, not even to a request from this machine."""
    identity = RequestIdentity(host, authorizations=CREDENTIALS)
    assert REMOTE.lacks_required_token
    for permission in (Permission.READ, Permission.FULL):
        assert REMOTE.check(permission, identity) is Denial.NO_TOKEN_CONFIGURED
    assert not REMOTE.may_read(identity)
    assert REMOTE.check(Permission.PUBLIC, identity) is None


@pytest.mark.parametrize(
    "policy", [LOCAL, LOCAL_WITH_TOKEN, SOCKET, SOCKET_WITH_TOKEN, REMOTE_WITH_TOKEN]
)
def test_policies_that_can_grant_full_permission(policy: AccessPolicy) -> None:
    """With a local listener or a token, somebody can have full permission."""
    assert not policy.lacks_required_token


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("permission", PERMISSIONS)
@pytest.mark.parametrize(
    "headers",
    [
        {"has_origin": True},
        {"fetch_site": "cross-site"},
        {"fetch_site": "same-site"},
        {"fetch_site": "new-site"},
    ],
)
def test_requests_of_a_web_page_are_denied(
    policy: AccessPolicy, permission: Permission, headers: dict[str, bool | str]
) -> None:
    """No request of a web page is allowed, on any listener and with any token."""
    identity = RequestIdentity(LOCAL_HOST, authorizations=CREDENTIALS, **headers)  # type: ignore[arg-type]
    assert policy.check(permission, identity) is Denial.BROWSER_PAGE


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_a_person_with_a_browser_is_allowed(site: str) -> None:
    """A person who types the address may read."""
    assert LOCAL.check(Permission.READ, RequestIdentity(LOCAL_HOST, fetch_site=site)) is None


@pytest.mark.parametrize(
    "authorizations",
    [
        [f"bearer {TOKEN}"],
        [f"BEARER  {TOKEN} "],
    ],
)
def test_forms_of_the_authorization_header(authorizations: list[str]) -> None:
    """The scheme is case-insensitive and may have several spaces after it (RFC 9110, 11.4)."""
    assert (
        REMOTE_WITH_TOKEN.check(Permission.FULL, RequestIdentity(authorizations=authorizations))
        is None
    )


@pytest.mark.parametrize(
    "authorizations",
    [
        [f"Basic {TOKEN}"],
        [TOKEN],
        [f"Bearer{TOKEN}"],
        [f"Bearer {TOKEN[:-1]}"],
        [f"Bearer {TOKEN}0"],
        [f"Bearer {TOKEN.upper()}"],
        ["Bearer "],
        [""],
        [*CREDENTIALS, *CREDENTIALS],
        ["Bearer \udcff"],
    ],
)
def test_wrong_tokens(authorizations: list[str]) -> None:
    """The whole token must be right, and be given once."""
    identity = RequestIdentity(LOCAL_HOST, authorizations=authorizations)
    for policy in (LOCAL_WITH_TOKEN, SOCKET_WITH_TOKEN, REMOTE_WITH_TOKEN):
        assert policy.check(Permission.FULL, identity) is Denial.TOKEN_WRONG
    assert not REMOTE_WITH_TOKEN.may_read(identity)


TEXTS = st.text() | st.sampled_from([LOCAL_HOST, REMOTE_HOST, TOKEN, f"Bearer {TOKEN[1:]}", "none"])


@given(
    st.builds(
        RequestIdentity,
        st.none() | TEXTS,
        st.booleans(),
        st.none() | TEXTS,
        st.lists(TEXTS.filter(lambda text: TOKEN not in text)),
    ),
    st.sampled_from([Permission.READ, Permission.FULL]),
)
def test_no_request_without_the_token_is_allowed(
    identity: RequestIdentity, permission: Permission
) -> None:
    """Beyond this machine, no request without the token is allowed."""
    assert REMOTE_WITH_TOKEN.check(permission, identity) is not None
    assert REMOTE.check(permission, identity) is not None


@given(st.sampled_from(POLICIES), st.booleans(), st.none() | TEXTS)
def test_permissions_are_ordered(policy: AccessPolicy, has_origin: bool, host: str | None) -> None:
    """A request that has a higher permission has all lower ones."""
    identity = RequestIdentity(host, has_origin)
    allowed = [policy.check(permission, identity) is None for permission in PERMISSIONS]
    assert allowed == sorted(allowed, reverse=True)


def test_the_repr_shows_no_secret() -> None:
    """The token is not in the repr of the policy or of the request."""
    assert TOKEN not in f"{REMOTE_WITH_TOKEN!r} {RequestIdentity(authorizations=CREDENTIALS)!r}"
