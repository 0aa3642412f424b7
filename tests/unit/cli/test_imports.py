"""What the command line does not import."""

import subprocess
import sys

import pytest

CODE = """
import sys
from relay.cli import main
try:
    main()
except SystemExit:
    print(*sorted(sys.modules))
"""


@pytest.mark.parametrize("name", ["rich", "jinja2", "prometheus_client", "aiohttp.web"])
def test_relay_run_does_not_import(name: str) -> None:
    """What a start does not need costs neither time nor memory."""
    arguments = [sys.executable, "-c", CODE, "run", "--help"]
    found = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    imported = found.stdout.split()
    assert "relay.daemon.run" in imported
    assert name not in imported
