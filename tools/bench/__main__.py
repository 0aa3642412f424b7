"""Measure and print: ``python -m tools.bench [SCENARIO…] [--pairs N] [--json]``."""

import argparse
import compileall
import json
import sys
from pathlib import Path

import relay
from tools.bench.scenarios import SCENARIOS
from tools.bench.table import Row, lines

PAIRS = 3


def main() -> int:
    """Measure what was asked for, everything if nothing was."""
    options = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    options.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    options.add_argument("--pairs", type=int, default=PAIRS, help="how often each is measured")
    options.add_argument("--json", action="store_true", help="all values, for programs")
    given = options.parse_args()
    if unknown := set(given.scenarios) - SCENARIOS.keys():
        options.error(f"no scenario {sorted(unknown)[0]!r}; there are: {', '.join(SCENARIOS)}")
    # as an installer does, so that no start compiles it, whatever the environment says
    compileall.compile_dir(Path(relay.__file__).parent, quiet=1)
    rows: list[Row] = []
    for name in given.scenarios or SCENARIOS:
        print(f"{name} …", file=sys.stderr)
        rows += SCENARIOS[name](given.pairs)
    if given.json:
        print(json.dumps([row.as_json() for row in rows], indent=1))
    else:
        print("\n".join(lines(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
