"""Freed large blocks go back to the system."""

import ctypes

import pytest

from relay.core import memory


def test_the_c_library_is_told_what_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both thresholds, so that neither adapts itself any longer."""
    calls: list[tuple[int, int]] = []

    class Library:
        def mallopt(self, parameter: int, value: int) -> int:
            calls.append((parameter, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library())
    memory.return_large_blocks()
    assert dict(calls) == {-3: 2**20, -1: 2 * 2**20}


@pytest.mark.parametrize("error", [AttributeError, OSError])
def test_another_c_library(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    """musl has no such function."""

    def refuse(_: object) -> None:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    memory.return_large_blocks()
