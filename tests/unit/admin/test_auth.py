"""Who may ask what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from relay.admin.auth import AccessPolicy, Denial, Permission, RequestIdentity, build_policy
from relay.config import AdminConfig
from relay.config.address import parse_listen_address

TOKEN = "0123456789abcdef0123456789abcdef"
SHOWN = [f"Bearer {TOKEN}"]
HERE = "127.0.0.1:9321"
AWAY = "relay.example.com:9321"
STRANGE = RequestIdentity(host="rebound.example.com:9321")
ALL = list(Permission)


def rule(place: str, token: str | None = None) -> AccessPolicy:
    secret = None if token is None else SecretStr(token)
    return build_policy(
        AdminConfig.model_construct(listen=parse_listen_address(place), token=secret)
    )


LOCAL = rule("127.0.0.1:9321")
LOCAL_GUARDED = rule("127.0.0.1:9321", TOKEN)
SOCKET = rule("unix:/run/relay.sock")
SOCKET_GUARDED = rule("unix:/run/relay.sock", TOKEN)
BEYOND = rule("0.0.0.0:9321")
BEYOND_GUARDED = rule("0.0.0.0:9321", TOKEN)
EVERY = [LOCAL, LOCAL_GUARDED, SOCKET, SOCKET_GUARDED, BEYOND, BEYOND_GUARDED]


@pytest.mark.parametrize("need", ALL)
@pytest.mark.parametrize(
    "host", ["127.0.0.1:9321", "localhost", "LOCALHOST:80", "[::1]:9321", "[::1]", "127.0.0.53"]
)
def test_on_the_machine(need: Permission, host: str) -> None:
    """Nobody is asked for a token, whatever port is forwarded to relay's."""
    assert LOCAL.check(need, RequestIdentity(host)) is None
    assert LOCAL.may_read(RequestIdentity(host))


@pytest.mark.parametrize("host", [None, "", "relay", AWAY, "[", "[::1", "127.0.0.1.nip.io", "::1"])
def test_a_name_that_was_made_to_lead_here(host: str | None) -> None:
    """A page whose own name leads to loopback reads and changes nothing."""
    for need in (Permission.READ, Permission.FULL):
        assert LOCAL.check(need, RequestIdentity(host)) is Denial.FOREIGN_HOST
    assert LOCAL_GUARDED.check(Permission.READ, RequestIdentity(host)) is Denial.FOREIGN_HOST
    assert not LOCAL.may_read(RequestIdentity(host))
    assert LOCAL.check(Permission.PUBLIC, RequestIdentity(host)) is None


@pytest.mark.parametrize("need", ALL)
def test_a_socket(need: Permission) -> None:
    """No page reaches it, and whatever name a client gives it is fine."""
    assert SOCKET.check(need, STRANGE) is None
    assert SOCKET.check(need, RequestIdentity()) is None
    assert SOCKET.may_read(RequestIdentity())


@pytest.mark.parametrize("guarded", [LOCAL_GUARDED, SOCKET_GUARDED])
def test_a_token_on_the_machine(guarded: AccessPolicy) -> None:
    """With one configured, what shows more than names takes it there too."""
    assert guarded.check(Permission.FULL, RequestIdentity(HERE)) is Denial.TOKEN_MISSING
    assert guarded.check(Permission.FULL, RequestIdentity(HERE, authorizations=SHOWN)) is None
    assert guarded.check(Permission.READ, RequestIdentity(HERE)) is None
    assert guarded.may_read(RequestIdentity(HERE))


def test_beyond_the_machine() -> None:
    """Names take the token; whether all is well does not."""
    for need in (Permission.READ, Permission.FULL):
        assert BEYOND_GUARDED.check(need, RequestIdentity(AWAY)) is Denial.TOKEN_MISSING
        assert BEYOND_GUARDED.check(need, RequestIdentity(AWAY, authorizations=SHOWN)) is None
    assert BEYOND_GUARDED.check(Permission.PUBLIC, RequestIdentity(AWAY)) is None
    assert not BEYOND_GUARDED.may_read(RequestIdentity(AWAY))
    assert BEYOND_GUARDED.may_read(RequestIdentity(AWAY, authorizations=SHOWN))


@pytest.mark.parametrize("host", [AWAY, HERE])
def test_beyond_the_machine_without_a_token(host: str) -> None:
    """Nothing is given out, whatever is asked for or shown, even to the machine itself."""
    asked = RequestIdentity(host, authorizations=SHOWN)
    assert BEYOND.lacks_required_token
    for need in (Permission.READ, Permission.FULL):
        assert BEYOND.check(need, asked) is Denial.NO_TOKEN_CONFIGURED
    assert not BEYOND.may_read(asked)
    assert BEYOND.check(Permission.PUBLIC, asked) is None


@pytest.mark.parametrize("each", [LOCAL, LOCAL_GUARDED, SOCKET, SOCKET_GUARDED, BEYOND_GUARDED])
def test_what_is_not_closed(each: AccessPolicy) -> None:
    """Somebody may ask for everything."""
    assert not each.lacks_required_token


@pytest.mark.parametrize("each", EVERY)
@pytest.mark.parametrize("need", ALL)
@pytest.mark.parametrize(
    "page",
    [
        {"has_origin": True},
        {"fetch_site": "cross-site"},
        {"fetch_site": "same-site"},
        {"fetch_site": "new-site"},
    ],
)
def test_a_page(each: AccessPolicy, need: Permission, page: dict[str, bool | str]) -> None:
    """None is answered, on whatever machine and with whatever it got hold of."""
    asked = RequestIdentity(HERE, authorizations=SHOWN, **page)  # type: ignore[arg-type]
    assert each.check(need, asked) is Denial.BROWSER_PAGE


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_a_person_with_a_browser(site: str) -> None:
    """Who types the address sees what is there."""
    assert LOCAL.check(Permission.READ, RequestIdentity(HERE, fetch_site=site)) is None


@pytest.mark.parametrize(
    "authorizations",
    [
        [f"bearer {TOKEN}"],
        [f"BEARER  {TOKEN} "],
    ],
)
def test_ways_to_show_it(authorizations: list[str]) -> None:
    """The scheme is of either case, and more than one blank may follow: RFC 9110, section 11.4."""
    assert (
        BEYOND_GUARDED.check(Permission.FULL, RequestIdentity(authorizations=authorizations))
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
        [*SHOWN, *SHOWN],
        ["Bearer \udcff"],
    ],
)
def test_what_is_not_the_token(authorizations: list[str]) -> None:
    """All of it counts, and it is shown once."""
    asked = RequestIdentity(HERE, authorizations=authorizations)
    for each in (LOCAL_GUARDED, SOCKET_GUARDED, BEYOND_GUARDED):
        assert each.check(Permission.FULL, asked) is Denial.TOKEN_WRONG
    assert not BEYOND_GUARDED.may_read(asked)


TEXTS = st.text() | st.sampled_from([HERE, AWAY, TOKEN, f"Bearer {TOKEN[1:]}", "none"])


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
def test_whatever_is_asked(asked: RequestIdentity, need: Permission) -> None:
    """Beyond the machine nothing is given out to who does not know the token."""
    assert BEYOND_GUARDED.check(need, asked) is not None
    assert BEYOND.check(need, asked) is not None


@given(st.sampled_from(EVERY), st.booleans(), st.none() | TEXTS)
def test_more_trust_never_shows_less(
    each: AccessPolicy, has_origin: bool, host: str | None
) -> None:
    """Who may have something that needs more may have all that needs less."""
    asked = RequestIdentity(host, has_origin)
    given = [each.check(need, asked) is None for need in ALL]
    assert given == sorted(given, reverse=True)


def test_no_secret_is_shown() -> None:
    """Neither the token nor what was shown is in what is printed of them."""
    assert TOKEN not in f"{BEYOND_GUARDED!r} {RequestIdentity(authorizations=SHOWN)!r}"
