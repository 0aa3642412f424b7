"""Exit codes in words."""

import signal

import pytest

from relay.core.event import Cause
from relay.destinations.common.exit_code import describe_end, describe_exit_code


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (0, "0"),
        (1, "1"),
        (2, "2"),
        (125, "125"),
        (126, "126 (command cannot be executed)"),
        (127, "127 (command not found)"),
        (128, "128"),
        (134, "134 (SIGABRT: aborted by itself)"),
        (137, "137 (SIGKILL: killed)"),
        (138, "138 (SIGUSR1)"),
        (139, "139 (SIGSEGV: invalid memory access)"),
        (143, "143 (SIGTERM: asked to end)"),
        (255, "255"),
        (-1, "-1"),
    ],
)
def test_says_what_an_exit_code_means(code: int, expected: str) -> None:
    """Only what shells and engines agree on has words: 126, 127, and 128 + n of a signal."""
    assert describe_exit_code(code) == expected


def test_every_signal_has_its_name() -> None:
    """So nobody has to look up what a code above 128 stands for."""
    for each in signal.Signals:
        assert f"({each.name}" in describe_exit_code(128 + each)


def test_a_kill_for_memory_needs_no_further_words() -> None:
    """It is always a SIGKILL; another code is what its process made of it."""
    assert describe_end(137, Cause.OOM) == "137"
    assert describe_end(137, Cause.CRASHED) == "137 (SIGKILL: killed)"
    assert describe_end(127, Cause.OOM) == "127 (command not found)"
