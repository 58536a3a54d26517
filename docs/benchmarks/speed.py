"""Everything about speed in one command: ratios side by side.

    python docs/benchmarks/speed.py --data FOLDER

Runs `speed_fit.py`, `speed_sparse.py`, `import_time.py` and, where real data is given, `speed_default.py`,
`speed_peers.py`, `speed_search.py` and `speed_bound.py`, one after the other, and prints what they print. What cost
grows with is told by `growth.py`, what pictures cost by `pictures.py`, and all about a GPU by `gpu.py`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = {
    "fit": ["speed_fit.py"],
    "fusions": ["speed_fit.py", "--rounds", "3", "--epochs", "5", "--samples", "4000", "--fusions", "all"],
    "sparse": ["speed_sparse.py"],
    "import": ["import_time.py"],
    "default": ["speed_default.py"],
    "peers": ["speed_peers.py"],
    "search": ["speed_search.py"],
    "bound": ["speed_bound.py"],
}
WITH_DATA = {
    "default": [],
    "peers": [],
    "search": ["--jobs", "2"],
    "bound": [],
}  # and what comes beside it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the real data sets; without it no search is timed")
    parser.add_argument("--only", nargs="*", choices=list(SCRIPTS), default=list(SCRIPTS))
    args = parser.parse_args()
    for name, command in SCRIPTS.items():
        if name not in args.only or (name in WITH_DATA and args.data is None):
            continue
        print(f"\n## {name}\n", flush=True)
        more = ["--data", str(args.data), *WITH_DATA[name]] if name in WITH_DATA else []
        subprocess.run([sys.executable, str(HERE / command[0]), *command[1:], *more], check=True)


if __name__ == "__main__":
    main()
