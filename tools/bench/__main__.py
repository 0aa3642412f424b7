"""Measures and prints: ``python -m tools.bench [SCENARIO…] [--pairs N] [--json]``."""

import argparse
import compileall
import json
import sys
from pathlib import Path

import relay
from tools.bench.process import OtherWork
from tools.bench.scenarios import SCENARIOS
from tools.bench.table import Row, lines

PAIRS = 3


def main() -> int:
    """Measure the given scenarios, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--pairs", type=int, default=PAIRS, help="how often each is measured")
    parser.add_argument("--json", action="store_true", help="all values, for programs")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - SCENARIOS.keys():
        parser.error(f"no scenario {sorted(unknown)[0]!r}; there are: {', '.join(SCENARIOS)}")
    # As an installer does: no start of relay has to compile it, whatever the environment says.
    compileall.compile_dir(Path(relay.__file__).parent, quiet=1)
    rows: list[Row] = []
    for name in arguments.scenarios or SCENARIOS:
        print(f"{name} …", file=sys.stderr)
        other = OtherWork()
        rows += SCENARIOS[name](arguments.pairs)
        rows.append(Row(name, "other work on this machine", "% of a core", [other.percent]))
    if arguments.json:
        print(json.dumps([row.as_json() for row in rows], indent=1))
    else:
        print("\n".join(lines(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
