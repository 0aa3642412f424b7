"""Exit codes and signals in words."""

from signal import Signals

from relay.core.event import Cause

_COMMANDS = {126: "command cannot be executed", 127: "command not found"}
"""What shells, and engines in their name, mean by a code:
https://docs.docker.com/reference/cli/docker/container/run/#exit-status. The 125 there is that of
``docker run`` itself, and of no container."""
_FIRST_SIGNAL = 128
"""Engines get 128 + n from containerd if signal n ended the process (``pkg/sys/reaper``,
``exitSignalOffset``); shells use the same offset."""
_SIGNALS = {
    Signals.SIGHUP: "hung up",
    Signals.SIGINT: "interrupted",
    Signals.SIGQUIT: "asked to quit",
    Signals.SIGILL: "invalid instruction",
    Signals.SIGABRT: "aborted by itself",
    Signals.SIGBUS: "invalid memory access",
    Signals.SIGFPE: "invalid arithmetic",
    Signals.SIGKILL: "killed",
    Signals.SIGSEGV: "invalid memory access",
    Signals.SIGPIPE: "nobody reads its output",
    Signals.SIGTERM: "asked to end",
    Signals.SIGXCPU: "used too much CPU time",
    Signals.SIGXFSZ: "file too large",
    Signals.SIGSYS: "forbidden system call",
}
"""What each means, in short: https://man7.org/linux/man-pages/man7/signal.7.html"""


def describe_signal(number: int) -> str:
    """Return the name of a signal, as in ``SIGKILL``; ``signal 99`` for one without a name."""
    try:
        return Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_exit_code(code: int) -> str:
    """Return an exit code and what it means, if that is known.

    As in ``127 (command not found)`` and ``139 (SIGSEGV: invalid memory access)``.
    """
    if code in _COMMANDS:
        return f"{code} ({_COMMANDS[code]})"
    try:
        found = Signals(code - _FIRST_SIGNAL)
    except ValueError:
        return str(code)
    meaning = _SIGNALS.get(found)
    return f"{code} ({found.name}: {meaning})" if meaning else f"{code} ({found.name})"


def describe_end(code: int, cause: Cause | None) -> str:
    """Return the exit code of a container that ended, to follow its cause.

    A kill for memory ends a process with SIGKILL, so its meaning goes without saying.
    """
    is_killed = code == _FIRST_SIGNAL + Signals.SIGKILL
    return str(code) if cause is Cause.OOM and is_killed else describe_exit_code(code)
