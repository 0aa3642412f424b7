"""The event loop of ``relay run``."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from relay.cli.run import _loop_factory


def test_with_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop is used if it is installed."""
    fake = SimpleNamespace(new_event_loop=asyncio.new_event_loop)
    monkeypatch.setitem(sys.modules, "uvloop", fake)
    assert _loop_factory() is asyncio.new_event_loop


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise asyncio's own loop is used."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert _loop_factory() is None
