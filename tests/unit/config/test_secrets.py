from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.config.destinations import TYPES
from relay.config.errors import InvalidValue, KeyPath
from relay.config.secrets import ExternalValues, expand, read_files, substitute

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
    """References are resolved once, ``$$`` is a dollar, and a lone dollar stays."""
    assert expand(text, ENVIRON) == wanted


@pytest.mark.parametrize(
    "text", ["${", "${}", "${NAME", "${1A}", "${A-b}", "${A:b}", "${A b}", "${A:-${NAME}}", "$$${"]
)
def test_malformed(text: str) -> None:
    """A ``${`` that is no reference is an error."""
    with pytest.raises(InvalidValue, match=r"holds a '\$\{' that is not"):
        expand(text, ENVIRON)


def test_missing_variables() -> None:
    """Every variable that is missing is named."""
    with pytest.raises(InvalidValue) as caught:
        expand("${ONE} ${NAME} ${TWO}", ENVIRON)
    assert [one.message for one in caught.value.issues] == [
        "the environment has no variable ONE: set it, or write ${ONE:-default}",
        "the environment has no variable TWO: set it, or write ${TWO:-default}",
    ]


def test_values_are_bounded() -> None:
    """A value does not grow beyond 64 KiB by what it refers to."""
    with pytest.raises(InvalidValue, match="is longer than 65536"):
        expand("${BIG}" * 100, {"BIG": "x" * 1000})


@given(st.text(alphabet="${}:-AB_1 "))
def test_expand_any_text(text: str) -> None:
    """Any text is expanded or refused, without an environment's value in the words."""
    try:
        expand(text, {"A": "CANARY", "B": "CANARY"})
    except InvalidValue as error:
        words = str(error)
    else:
        words = ""
    assert "CANARY" not in words


def test_substitute() -> None:
    """Only string values are touched, wherever they stand; those that hold something are known."""
    outside = ExternalValues()
    data = {"a": ["${NAME}", 1, None, True], "${NAME}": {"b": "$$"}}
    assert substitute(data, ENVIRON, outside) == {
        "a": ["value", 1, None, True],
        "${NAME}": {"b": "$"},
    }
    assert outside.substituted == {("a", 0)}
    assert not outside.issues


@pytest.mark.parametrize("value", ["a\0b", "\ud800"])
def test_what_is_no_text(value: str) -> None:
    """Values that no file name and no request can hold are refused where they come in."""
    outside = ExternalValues()
    assert substitute({"a": "${X}"}, {"X": value}, outside) == {"a": ""}
    (mistake,) = outside.issues
    assert (mistake.path, mistake.message) == (("a",), "holds a NUL or an unpaired surrogate")


def _destination(entry: Mapping[str, object], folder: Path) -> tuple[object, ExternalValues]:
    outside = ExternalValues()
    data = read_files({"destinations": {"d": entry}}, folder, outside, TYPES)
    destinations = data["destinations"]
    assert isinstance(destinations, dict)
    return destinations["d"], outside


def _at(*steps: str) -> KeyPath:
    return ("destinations", "d", *steps)


@pytest.mark.parametrize("content", ["secret", "secret\n", "secret\r\n"])
def test_secret_from_a_file(tmp_path: Path, content: str) -> None:
    """A secret's file is read from the folder; one line end behind it is not part of it."""
    (tmp_path / "hook").write_bytes(content.encode())
    found, outside = _destination({"type": "slack", "url_file": "hook"}, tmp_path)
    assert found == {"type": "slack", "url": "secret"}
    assert outside.files == {_at("url"): _at("url_file")}


def test_absolute_path(tmp_path: Path) -> None:
    """An absolute path is taken as it is."""
    (tmp_path / "hook").write_text("secret")
    found, _ = _destination({"type": "http", "url_file": str(tmp_path / "hook")}, Path("/nowhere"))
    assert found == {"type": "http", "url": "secret"}


def test_header_from_a_file(tmp_path: Path) -> None:
    """A header's name with ``_file`` behind it reads that header's value."""
    (tmp_path / "token").write_text("Bearer x\n")
    entry = {"type": "http", "headers": {"Authorization_file": "token", "A": "b"}}
    found, outside = _destination(entry, tmp_path)
    assert found == {"type": "http", "headers": {"A": "b", "Authorization": "Bearer x"}}
    assert outside.files[_at("headers", "Authorization")] == _at("headers", "Authorization_file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is an empty file"),
        (b"\n", "is an empty file"),
        (b"x" * 65537, "is a file of more than 64 KiB: too large for a secret"),
        (b"\xff\xfe", "is a file that is not UTF-8 text"),
        (b"a\0b", "is a file that holds a NUL"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that can hold no secret is refused."""
    (tmp_path / "hook").write_bytes(content)
    _, outside = _destination({"type": "slack", "url_file": "hook"}, tmp_path)
    assert [(one.path, one.message) for one in outside.issues] == [(_at("url_file"), words)]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nope", "cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("", "must be the path of a file"),
        (None, "must be the path of a file"),
        (5, "must be the path of a file"),
    ],
)
def test_no_file(tmp_path: Path, value: object, words: str) -> None:
    """A file that cannot be read is an error at the key that names it."""
    _, outside = _destination({"type": "slack", "url_file": value}, tmp_path)
    assert [(one.path, one.message) for one in outside.issues] == [(_at("url_file"), words)]


def test_value_and_file(tmp_path: Path) -> None:
    """A value and its file exclude each other; the file is not read then."""
    entry = {"type": "http", "url": "u", "url_file": "nope", "headers": {"A": "b", "A_file": "c"}}
    found, outside = _destination(entry, tmp_path)
    assert found == {"type": "http", "url": "u", "headers": {"A": "b"}}
    assert [one.message for one in outside.issues] == [
        "'url' and 'url_file' exclude each other: keep one",
        "'A' and 'A_file' exclude each other: keep one",
    ]


def test_console_has_no_secrets(tmp_path: Path) -> None:
    """A destination without secrets keeps the key, to be told that it is unknown."""
    entry: dict[str, object] = {"type": "console", "url_file": "nope"}
    assert _destination(entry, tmp_path)[0] == entry


def test_tls_files(tmp_path: Path) -> None:
    """TLS files are looked for, from the folder on, and stay in files."""
    (tmp_path / "ca.pem").write_text("x")
    outside = ExternalValues()
    tls = {"ca_file": "ca.pem", "key_file": "nope", "cert_file": 5, "x": "y"}
    data = read_files({"engines": {"e": {"url": "u", "tls": tls}}}, tmp_path, outside, TYPES)
    wanted = {**tls, "ca_file": str(tmp_path / "ca.pem")}
    assert data == {"engines": {"e": {"url": "u", "tls": wanted}}}
    assert [(one.path, one.message) for one in outside.issues] == [
        (("engines", "e", "tls", "key_file"), "cannot be read: No such file or directory")
    ]
