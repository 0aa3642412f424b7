"""The demo, as `relay demo` plays it."""

from relay.cli.demo.play import play


async def test_the_demo_shows_resume_and_retry_and_loses_nothing() -> None:
    """A death is missed live and comes out of the history; a refused delivery comes again."""
    said: list[tuple[str, str]] = []
    assert await play(lambda who, what: said.append((who, what)))
    receiver = [what for who, what in said if who == "receiver"]
    assert any("failed (replayed): answers 503" in what for what in receiver)
    assert any("failed (replayed): takes it, the same id again" in what for what in receiver)
    assert "4 taken in 5 attempts; lost 0, doubled 0" in said[-1][1]
