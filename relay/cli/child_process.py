"""Runs a command as a child process that gets the signals which this process gets."""

import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from math import inf
from time import monotonic

from relay.core.errors import describe_os_error

_FORWARDED = frozenset(
    {
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
        *(signal.SIGUSR1, signal.SIGUSR2),
    }
)
_WATCHED = _FORWARDED | {signal.SIGCHLD}
_LONGEST_WAIT_S = 3600.0
"""The kernel takes no endless wait."""
_SI_KERNEL = 0x80
"""``si_code`` of a signal that the kernel sent (sigaction(2)), as for Ctrl-C: the terminal sends it
to its whole foreground process group, so the child has it already."""

NOT_FOUND = 127
NOT_EXECUTABLE = 126
"""What a shell returns for a command that does not exist, or cannot be executed: POSIX, Shell
Command Language, 2.8.2."""
_SIGNALLED = 128


class NotStarted(Exception):
    """A command could not be started. The message says why, `exit_code` as a shell would."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


def run_child(command: Sequence[str], limit_s: float, on_limit: Callable[[], None]) -> int:
    """Run a command to its end; return its exit code, or 128 and the number of its signal.

    Signals to this process are passed on, so that the command decides what to do. If it runs for
    ``limit_s``, ``on_limit`` is called, and it runs on. Raises `NotStarted`.
    """
    # If it is ignored, as some parents let it be, there is no signal and no exit code (wait(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    try:
        child = _start(command, before)
        _wait(child, limit_s)
        if child.returncode is None:
            on_limit()
            _wait(child, None)
        while signal.sigtimedwait(_FORWARDED, 0) is not None:
            pass  # it was meant for the command, which has ended
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return child.returncode if child.returncode >= 0 else _SIGNALLED - child.returncode


def _start(command: Sequence[str], mask: Iterable[int]) -> subprocess.Popen[bytes]:
    """Start a command with this mask of signals. Raises `NotStarted`."""
    try:
        return subprocess.Popen(  # noqa: S603 - it is what the user wants to run
            command,
            # The mask is inherited; there are no threads that could hold a lock now.
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, mask),  # noqa: PLW1509
        )
    except FileNotFoundError as error:
        raise NotStarted("command not found", NOT_FOUND) from error
    except (OSError, ValueError) as error:  # a NUL in an argument
        reason = (
            describe_os_error(OSError(error.errno, "")) if isinstance(error, OSError) else error
        )
        raise NotStarted(str(reason), NOT_EXECUTABLE) from error


def _wait(child: subprocess.Popen[bytes], limit_s: float | None) -> None:
    """Pass on signals until the child ends, or for a time."""
    end_s = inf if limit_s is None else monotonic() + limit_s
    while child.poll() is None:
        left_s = end_s - monotonic()
        if left_s <= 0:
            return
        info = signal.sigtimedwait(_WATCHED, min(left_s, _LONGEST_WAIT_S))
        if info is not None and info.si_signo in _FORWARDED and info.si_code != _SI_KERNEL:
            child.send_signal(info.si_signo)
