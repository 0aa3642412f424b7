"""Why a connection failed, in words."""

import errno

import pytest

from relay.nats.failure import MAX_ERROR_CHARS, describe_error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (
            OSError(
                "Multiple exceptions: [Errno 111] Connect call failed ('::1', 4222, 0, 0), [Errno "
                "111] Connect call failed ('127.0.0.1', 4222)"
            ),
            "Connection refused",
        ),
        (TimeoutError(), "did not answer in time"),
        (
            Exception("nats: 'Authorization Violation'"),
            "refused the login (authorization violation)",
        ),
        (Exception("nats: authorization failed"), "refused the login (authorization violation)"),
        (Exception("nats: unexpected EOF"), "unexpected EOF"),
        (Exception(""), "Exception"),
        (Exception("nats: a\r\n\x1b[2Jb"), "a   [2Jb"),
    ],
)
def test_what_is_said(error: Exception, words: str) -> None:
    """One line, without what a terminal would obey, and without the library's name."""
    assert describe_error(error) == words


def test_a_long_text_is_cut() -> None:
    """A server may say what it likes."""
    assert len(describe_error(Exception("x" * 10_000))) == MAX_ERROR_CHARS
