from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.errors import InvalidValue, KeyPath
from relay.config.secrets import ExternalValues, expand, read_files, substitute
from relay.destinations.catalog import DESTINATION_TYPES

ENVIRON = {"NAME": "value", "EMPTY": "", "MONEY": "a$b${NAME}", "_x1": "y"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", "plain"),
        ("${NAME}", "value"),
        ("<${NAME}|${_x1}>", "<value|y>"),
        ("${NOPE:-default}", "default"),
        ("${NOPE:-}", ""),
        ("${NAME:-default}", "value"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("$$", "$"),
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$value"),
        ("${NOPE:-a$$b $c :-}", "a$b $c :-"),
        ("$NAME $ 5$", "$NAME $ 5$"),
        ("${MONEY}", "a$b${NAME}"),
    ],
)
def test_expand(text: str, wanted: str) -> None:
    """References are resolved once, ``$$`` is a dollar sign, and a single ``$`` stays."""
    assert expand(text, ENVIRON) == wanted


@pytest.mark.parametrize(
    "text", ["${", "${}", "${NAME", "${1A}", "${A-b}", "${A:b}", "${A b}", "${A:-${NAME}}", "$$${"]
)
def test_malformed_reference(text: str) -> None:
    """A ``${`` that is not a valid reference is an error."""
    with pytest.raises(InvalidValue, match=r"holds a '\$\{' that is not"):
        expand(text, ENVIRON)


def test_missing_variables() -> None:
    """The error names every missing variable."""
    with pytest.raises(InvalidValue) as caught:
        expand("${ONE} ${NAME} ${TWO}", ENVIRON)
    assert [one.message for one in caught.value.issues] == [
        "the environment has no variable ONE: set it, or write ${ONE:-default}",
        "the environment has no variable TWO: set it, or write ${TWO:-default}",
    ]


def test_length_is_limited() -> None:
    """A value may have at most 64 KiB after references are resolved."""
    with pytest.raises(InvalidValue, match="is longer than 65536"):
        expand("${BIG}" * 100, {"BIG": "x" * 1000})


@given(st.text(alphabet="${}:-AB_1 "))
def test_expand_any_text(text: str) -> None:
    """Any text is expanded or refused, and no error shows a variable's value."""
    try:
        expand(text, {"A": "CANARY", "B": "CANARY"})
    except InvalidValue as error:
        message = str(error)
    else:
        message = ""
    assert "CANARY" not in message


def test_substitute() -> None:
    """Only string values are changed, at any depth; those with a reference are remembered."""
    external = ExternalValues()
    data = {"a": ["${NAME}", 1, None, True], "${NAME}": {"b": "$$"}}
    assert substitute(data, ENVIRON, external) == {
        "a": ["value", 1, None, True],
        "${NAME}": {"b": "$"},
    }
    assert external.substituted == {("a", 0)}
    assert not external.issues


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_unusable_text(value: str) -> None:
    """A value that cannot be in a file name or a request is refused."""
    external = ExternalValues()
    assert substitute({"a": "${X}"}, {"X": value}, external) == {"a": ""}
    (issue,) = external.issues
    assert (issue.path, issue.message) == (("a",), "holds a NUL or an unpaired surrogate")


def _destination(entry: Mapping[str, object], folder: Path) -> tuple[object, ExternalValues]:
    external = ExternalValues()
    data = read_files({"destinations": {"d": entry}}, folder, external, DESTINATION_TYPES)
    destinations = data["destinations"]
    assert isinstance(destinations, dict)
    return destinations["d"], external


def _at(*steps: str) -> KeyPath:
    return ("destinations", "d", *steps)


@pytest.mark.parametrize("content", ["secret", "secret\n", "secret\r\n"])
def test_secret_from_a_file(tmp_path: Path, content: str) -> None:
    """A secret's file is read from the folder, without the line break at its end."""
    (tmp_path / "hook").write_bytes(content.encode())
    found, external = _destination({"type": "slack", "url_file": "hook"}, tmp_path)
    assert found == {"type": "slack", "url": "secret"}
    assert external.files == {_at("url"): _at("url_file")}


def test_absolute_path(tmp_path: Path) -> None:
    """An absolute path is used as it is."""
    (tmp_path / "hook").write_text("secret")
    found, _ = _destination({"type": "http", "url_file": str(tmp_path / "hook")}, Path("/nowhere"))
    assert found == {"type": "http", "url": "secret"}


def test_header_from_a_file(tmp_path: Path) -> None:
    """The value of a header ``NAME_file`` is read from a file."""
    (tmp_path / "token").write_text("Bearer x\n")
    entry = {"type": "http", "headers": {"Authorization_file": "token", "A": "b"}}
    found, external = _destination(entry, tmp_path)
    assert found == {"type": "http", "headers": {"A": "b", "Authorization": "Bearer x"}}
    assert external.files[_at("headers", "Authorization")] == _at("headers", "Authorization_file")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty file"),
        (b"\n", "is an empty file"),
        (b"x" * 65537, "is a file of more than 64 KiB: too large for a secret"),
        (b"\xff\xfe", "is a file that is not UTF-8 text"),
        (b"a\0b", "is a file that holds a NUL"),
    ],
)
def test_invalid_secret_file(tmp_path: Path, content: bytes, message: str) -> None:
    """A file that cannot hold a secret is refused."""
    (tmp_path / "hook").write_bytes(content)
    _, external = _destination({"type": "slack", "url_file": "hook"}, tmp_path)
    assert [(one.path, one.message) for one in external.issues] == [(_at("url_file"), message)]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nope", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("", "must be the path of a file"),
        (None, "must be the path of a file"),
        (5, "must be the path of a file"),
    ],
)
def test_unreadable_file(tmp_path: Path, value: object, message: str) -> None:
    """A file that cannot be read is an error at the key that names it."""
    _, external = _destination({"type": "slack", "url_file": value}, tmp_path)
    assert [(one.path, one.message) for one in external.issues] == [(_at("url_file"), message)]


def test_value_and_file(tmp_path: Path) -> None:
    """A value and its file exclude each other; the file is not read."""
    entry = {"type": "http", "url": "u", "url_file": "nope", "headers": {"A": "b", "A_file": "c"}}
    found, external = _destination(entry, tmp_path)
    assert found == {"type": "http", "url": "u", "headers": {"A": "b"}}
    assert [one.message for one in external.issues] == [
        "'url' and 'url_file' exclude each other: keep one",
        "'A' and 'A_file' exclude each other: keep one",
    ]


def test_console_has_no_secrets(tmp_path: Path) -> None:
    """A type without secrets keeps the key, so that it is reported as unknown."""
    entry: dict[str, object] = {"type": "console", "url_file": "nope"}
    assert _destination(entry, tmp_path)[0] == entry


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a.b-c_d~e+f/g==\n", None),
        (b"", "is an empty file"),
        (b"two words", "holds no token: a token has letters, digits and -._~+/= only"),
        (b"a\nb", "holds no token: a token has letters, digits and -._~+/= only"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_the_token_of_an_engine(tmp_path: Path, content: bytes | None, message: str | None) -> None:
    """Its file is checked, and its path is kept: it is read at each connection."""
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    (tmp_path / "tenant").write_text("t1\n")
    external = ExternalValues()
    engine = {"bearer_token_file": "token", "headers": {"X-Tenant_file": "tenant"}}
    data = read_files({"engines": {"e": engine}}, tmp_path, external, DESTINATION_TYPES)
    issues = [(issue.path[-1], issue.message) for issue in external.issues]
    assert issues == ([] if message is None else [("bearer_token_file", message)])
    if message is None:
        kept = {"bearer_token_file": str(tmp_path / "token"), "headers": {"X-Tenant": "t1"}}
        assert data == {"engines": {"e": kept}}


def test_tls_files(tmp_path: Path) -> None:
    """The paths of TLS files are resolved and checked, but the files are not read."""
    (tmp_path / "ca.pem").write_text("x")
    external = ExternalValues()
    tls = {"ca_file": "ca.pem", "key_file": "nope", "cert_file": 5, "x": "y"}
    data = read_files(
        {"engines": {"e": {"url": "u", "tls": tls}}}, tmp_path, external, DESTINATION_TYPES
    )
    wanted = {**tls, "ca_file": str(tmp_path / "ca.pem")}
    assert data == {"engines": {"e": {"url": "u", "tls": wanted}}}
    assert [(one.path, one.message) for one in external.issues] == [
        (("engines", "e", "tls", "key_file"), "cannot be read: No such file or directory")
    ]
