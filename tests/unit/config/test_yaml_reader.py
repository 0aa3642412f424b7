import pytest

from relay.config.yaml_reader import Document, read_document
from relay.core.errors import ConfigError

QUOTE = "a text that starts with '{' or '[' has to be in quotes"


def _read(text: str) -> Document:
    return read_document(text, "f.yaml")


def _refused(text: str) -> str:
    """The one line with which a text is refused."""
    with pytest.raises(ConfigError) as caught:
        _read(text)
    (problem,) = caught.value.problems
    return str(problem)


def _problems(text: str) -> list[str]:
    """The problems in a text that can still be read."""
    return [str(problem) for problem in _read(text).problems]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("false", False),
        ("0", 0),
        ("-12", -12),
        ("1.10", "1.10"),
        ("yes", "yes"),
        ("on", "on"),
        ("True", "True"),
        ("NULL", "NULL"),
        ("007", "007"),
        ("-0", "-0"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("1e3", "1e3"),
        ("22:30", "22:30"),
        ("2026-11-23", "2026-11-23"),
        ("9999999999999999999", "9999999999999999999"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("''", ""),
        ("|-\n  12", "12"),
    ],
)
def test_scalars(written: str, wanted: object) -> None:
    """A scalar stays text, except null, true, false and whole numbers in the usual notation."""
    found = _read(f"a: {written}").data["a"]
    assert found == wanted
    assert type(found) is type(wanted)


def test_locations() -> None:
    """Each value has its line and column, those of its key, and its text as written."""
    locations = _read("a:\n  b: [x, 1.10]\n").locations
    assert locations["a",].key == (1, 1)
    assert locations["a",].text is None
    assert locations["a", "b"].key == (2, 3)
    assert locations["a", "b"].value == (2, 6)
    assert locations["a", "b", 1].value == (2, 10)
    assert locations["a", "b", 1].text == "1.10"


def test_aliases_and_merge_keys() -> None:
    """Anchors, aliases and merge keys work; a key of the mapping wins over a merged one."""
    text = "a: &a {x: 1, y: 2}\nb: &b {y: 3}\nc: *a\nd: {<<: *a, x: 9}\ne: {<<: [*b, *a], z: 0}\n"
    data = _read(text).data
    assert data["c"] == {"x": 1, "y": 2}
    assert data["d"] == {"x": 9, "y": 2}
    assert data["e"] == {"z": 0, "y": 3, "x": 1}


def test_quoted_merge_key() -> None:
    """A quoted ``<<`` is an ordinary key."""
    assert _read("a: {'<<': x}").data == {"a": {"<<": "x"}}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f.yaml: holds no configuration: write 'destinations' and 'routes'"),
        ("# x\n", "f.yaml: holds no configuration: write 'destinations' and 'routes'"),
        ("---\n", "f.yaml: holds no configuration: write 'destinations' and 'routes'"),
        ("- a", "f.yaml:1:1: must be a mapping with 'destinations' and 'routes' at its top"),
        ("text", "f.yaml:1:1: must be a mapping with 'destinations' and 'routes' at its top"),
        (
            "a: 1\n---\nb: 2\n",
            "f.yaml:2:1: holds more than one document: remove everything from this '---' on",
        ),
        ("\ufeffa: 1", "f.yaml: starts with a byte order mark: save it as UTF-8 without one"),
        ("a:\n\tb: 1", "f.yaml:2:1: is not YAML: it is indented with a tab: use spaces"),
        ("a: 1\nb: x\x07y", "f.yaml:2:5: is not YAML: it holds a control character here"),
        ("a: \ud800", "f.yaml:1:4: is not YAML: it holds a control character here"),
        (
            "a: !!python/object:x.y z",
            "f.yaml:1:4: holds a tag ('!…'): write the plain value, or put the text in quotes",
        ),
        (
            "a: [!x b]",
            "f.yaml:1:5: holds a tag ('!…'): write the plain value, or put the text in quotes",
        ),
        (
            "a: !!str b",
            "f.yaml:1:4: holds a tag ('!…'): write the plain value, or put the text in quotes",
        ),
        ("a: &x [*x]", "f.yaml:1:4: holds an alias that contains itself"),
        ("a: &x {<<: *x}", "f.yaml:1:4: holds an alias that contains itself"),
        ('a: "\\UFFFFFFFF"', "f.yaml:1:7: is not YAML: it holds an impossible number here"),
        (
            "a: b: c",
            "f.yaml:1:5: is not YAML: a ':' cannot start a mapping here: quote the text, "
            "or fix its indentation",
        ),
        (
            "a: {b: ${X}}",
            "f.yaml:1:9: is not YAML: a text cannot start with '{' here: "
            'write "${NAME}" in quotes',
        ),
    ],
)
def test_unreadable_document(text: str, line: str) -> None:
    """A text that is not a document is refused with one clear line."""
    assert _refused(text) == line


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 9)}]\n"
            for i in range(9)
        ),
        "a0: &a0 {x: 1}\n"
        + "".join(f"a{i + 1}: &a{i + 1} {{<<: [*a{i}, *a{i}]}}\n" for i in range(30)),
        "a: [" + "x," * 30_000 + "]",
    ],
)
def test_too_large(text: str) -> None:
    """A document that is too large, by aliases, merge keys or itself, gives one clear error."""
    assert "is too large: more than 20000 keys and values" in _refused(text)


@pytest.mark.parametrize("text", ["a: " + "[" * 5000, "- " * 5000, "? " * 5000, "{" * 5000])
def test_too_deep(text: str) -> None:
    """A document that is nested too deeply gives one clear error, not a RecursionError."""
    assert "is nested more than 32 levels deep" in _refused(text)


def test_too_deep_by_aliases() -> None:
    """The depth includes the content of aliases."""
    text = "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}]\n" for i in range(40))
    assert "is nested more than 32 levels deep" in _refused(text)


def test_duplicate_key() -> None:
    """A duplicate key is reported with both lines; the first value counts."""
    text = "a:\n  ops: 1\n  ops: 2\n"
    assert _problems(text) == ["f.yaml:3:3: a.ops: 'ops' is written twice: on line 2 and on line 3"]
    assert _read(text).data == {"a": {"ops": 1}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("12: x", "f.yaml:1:1: a key must be text: write '12' in quotes"),
        ("true: x", "f.yaml:1:1: a key must be text: write 'true' in quotes"),
        ("a: {~: x}", "f.yaml:1:5: a: a key must be text: write '~' in quotes"),
        ("? [a, b]\n: x", f"f.yaml:1:3: a key must be text: {QUOTE}"),
        ("a: {{ b }}", f"f.yaml:1:5: a: a key must be text: {QUOTE}"),
        ("a: {<<: x}", "f.yaml:1:9: a: '<<' takes a mapping or a list of mappings"),
    ],
)
def test_invalid_keys(text: str, message: str) -> None:
    """An invalid key or merge is reported, and the rest of the file is read."""
    assert _problems(text + "\n") == [message]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "a:\n    b: {c: d}\n  e: f\n",
            "3:3: this line is indented by 2 spaces, line 2 by 4 spaces: "
            "indent what belongs together equally",
        ),
        ("a:\n  b: {c: d}\n    e: f\n", "3:5: this line is indented by 4 spaces, line 2 by 2"),
        ("a:\n  - b: c\n   d: e\n", "3:4: this line is indented by 3 spaces, line 2 by 4"),
        ("a:\n  - b: c\n    d: e\n - f: g\n", "4:2: this line is indented by 1 space, line 2 by 2"),
        (
            "a:\n    b: c\n    d: e\n\n # x\n  f: g\n",
            "6:3: this line is indented by 2 spaces, line 2",
        ),
        ("a:\n  - b\n  c: d\n", "3:3: the block that starts on line 2 has items"),
        ("- a\nb: c\n", "2:1: the block that starts on line 1 has items"),
        ("a: {b: c\nd: e\n", "2:2: the '{' on line 1 is not closed: a '}' or a ',' is missing"),
        ("a: {b: c\n", "2:1: the '{' on line 1 is not closed"),
        ("a: [b\nc: {d: e}\n", "2:2: the '[' on line 1 is not closed: a ']' or a ',' is missing"),
        ('{"a": 1 "b": 2}', "1:12: a ',' or a '}' is missing before this"),
        ("a: b}\nc: }\n", "2:4: this '}' closes nothing: remove it, or open it with '{'"),
        ("a: {b: c}}\n", "1:10: this '}' closes nothing"),
        ("a: [b, , c]", "1:8: there is nothing before this ','"),
        ("a: *web", "1:4: a text cannot start with '*': put it in quotes, as in '*web'"),
        ("a: *", "1:4: a text cannot start with '*': put it in quotes"),
        ("a: [*]", "1:5: a text cannot start with '*': put it in quotes"),
        ("a: *web-*", "1:4: a text cannot start with '*': put it in quotes"),
        ("a: &", "1:4: a text cannot start with '&': put it in quotes"),
        ("a: @b", "1:4: a text cannot start with '@': put it in quotes"),
        ("a: %b", "1:4: a text cannot start with '%': put it in quotes"),
        ("a: `b`", "1:4: a text cannot start with '`': put it in quotes"),
        ("%a", "1:3: a line cannot start with '%'"),
        ("a: >=128", "1:4: a text cannot start with '>' or '|': put it in quotes"),
        ('a: "b', "1:4: this quote is never closed"),
        ("a: 'b\nc: d\n", "1:4: this quote is never closed"),
        ('a: "b" c', "1:8: text follows a closing quote or brace: put the whole value in quotes"),
        ('a: "\\d"', r"1:4: '\d' means nothing in double quotes: write the text in single quotes"),
        ('a: "\\x1"', "1:7: it holds an escape that is not complete"),
        ("a: - b", "1:4: a '- ' cannot stand here"),
        ("a:\n  b:c\n  d: e\n", "3:4: line 2 is no 'key: value': write a ':' and a space"),
        ("a: b\n  c: d\n", "2:4: line 1 has a value already: indent this line as that one"),
        ("a: b\nc\n", "2:1: this line has no 'key: value'"),
    ],
)
def test_what_to_do_about_a_text_that_is_not_yaml(text: str, line: str) -> None:
    """The message is about what was written, with the line that it has to agree with."""
    position, _, message = line.partition(": ")
    assert _refused(text).startswith(f"f.yaml:{position}: is not YAML: {message}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"\\ud800": 1', "1:1: this text"),
        ('a: {b: [{"\\udfff": 1}]}', "1:10: a.b[0]: this text"),
        ('a: ["\\0"]', "1:5: a[0]: this text"),
        ('? "\\ud800"\n: <<\n', "1:3: this text"),
        ('a: {<<: {"\\ud800": 1}}', "1:10: a: this text"),
    ],
)
def test_a_text_that_no_encoding_has(text: str, line: str) -> None:
    """YAML's escapes can write what no key or value may hold; it is refused wherever it stands."""
    assert _refused(text) == f"f.yaml:{line} holds a NUL or an unpaired surrogate"
