"""Uses up the file descriptors of this process."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def no_descriptors() -> Iterator[list[int]]:
    """Use up all descriptors of this process; yields them, to be closed."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield taken
    finally:
        release(taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def release(taken: list[int]) -> None:
    """Close descriptors, and remove them from the list."""
    while taken:
        os.close(taken.pop())
