"""``relay fleet genkey`` and ``relay fleet pubkey``."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from relay import cli
from relay.nats.nkey import make_seed, public_key


def run(*arguments: str, stdin: str = "") -> tuple[int, str]:
    """Return the exit code of a command, and what it prints."""
    result = CliRunner().invoke(cli.relay, ["fleet", *arguments], input=stdin)
    return result.exit_code, result.output


def test_a_key_is_made() -> None:
    """Each call prints another seed, alone on its line, and its public key can be told."""
    seeds = {run("genkey") for _ in range(2)}
    assert len(seeds) == 2
    for code, seed in seeds:
        assert code == 0
        assert seed.startswith("SU")
        assert seed.count("\n") == 1
        assert run("pubkey", stdin=seed) == (0, f"{public_key(seed.strip())}\n")


def test_the_seed_of_a_file(tmp_path: Path) -> None:
    """A file can be named instead."""
    seed = make_seed()
    file = tmp_path / "web-1.nkey"
    file.write_text(seed)
    assert run("pubkey", str(file)) == (0, f"{public_key(seed)}\n")


@pytest.mark.parametrize(
    "text",
    ["", "SUAB", public_key(make_seed()), "\udcff" * 3, "x" * 1000],
    ids=["nothing", "short", "public", "no UTF-8", "long"],  # each worker makes another key
)
def test_what_is_no_seed(text: str) -> None:
    """It is refused, and not shown: it may be a secret of something else."""
    code, output = run("pubkey", stdin=text.encode(errors="replace").decode())
    assert code == 1
    assert "is not the seed of an nkey" in output
    assert not text or text not in output
