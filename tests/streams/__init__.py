"""Recorded streams of real engines: one scenario, line by line as the engine sent it."""

from pathlib import Path

ENGINES = ("docker20", "docker26")


def read_records(engine: str) -> list[bytes]:
    """Return the records of one engine's stream."""
    return Path(__file__).with_name(f"{engine}.jsonl").read_bytes().splitlines()
