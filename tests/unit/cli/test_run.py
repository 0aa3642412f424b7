"""The loop that ``relay run`` runs in."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from relay.cli.run import _loop_factory


def test_uvloop_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes less CPU."""
    fake = SimpleNamespace(new_event_loop=asyncio.new_event_loop)
    monkeypatch.setitem(sys.modules, "uvloop", fake)
    assert _loop_factory() is asyncio.new_event_loop


def test_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio's own."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert _loop_factory() is None
