"""The demo, as `relay demo` runs it."""

from relay.cli.demo import play


async def test_the_demo_loses_nothing() -> None:
    """A missed death comes from the engine's history; a refused delivery is retried."""
    narrated: list[tuple[str, str]] = []
    assert await play(lambda who, what: narrated.append((who, what)))
    receiver = [what for who, what in narrated if who == "receiver"]
    assert any("failed (replayed): answers 503" in what for what in receiver)
    assert any("failed (replayed): accepts it, the same id again" in what for what in receiver)
    assert "4 accepted in 5 attempts; lost 0, duplicated 0" in narrated[-1][1]
