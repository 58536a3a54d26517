"""Measure what it costs to import the estimators of skmm beyond the packages that they stand on.

    python docs/benchmarks/import_time.py --repeats 7

Every measurement is a fresh interpreter; the conditions take turns, so that a slow moment of the machine hits all
of them. Also lists the optional packages that were loaded, and by whom.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

OPTIONAL = (
    "h5py",
    "IPython",
    "matplotlib",
    "onnx",
    "pandas",
    "PIL",
    "polars",
    "pyarrow",
    "torchvision",
    "transformers",
)
BASES = {
    "nothing": "",
    "torch, sklearn": "import torch, sklearn",
    "torch, sklearn, skorch": "import torch, sklearn, skorch",
}
SCRIPT = """
import json, sys, time
start = time.perf_counter()
{base}
middle = time.perf_counter()
before = set(sys.modules)
from skmm import MultimodalClassifier
end = time.perf_counter()
print(json.dumps([middle - start, end - middle, sorted(before), sorted(set(sys.modules) - before)]))
"""


def measure(base: str) -> tuple[float, float, set[str], set[str]]:
    """Seconds for the base and then for skmm, and the modules that each loaded."""
    command = [sys.executable, "-c", SCRIPT.format(base=base)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    base_seconds, seconds, before, added = json.loads(done.stdout)
    return base_seconds, seconds, set(before), set(added)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    for base in BASES.values():
        measure(base)  # warm the disk cache and the byte code
    runs = {name: [] for name in BASES}
    for _ in range(args.repeats):
        for name, base in BASES.items():
            runs[name].append(measure(base))

    print(f"Medians of {args.repeats} fresh interpreters (range), milliseconds.\n")
    print("| imported before | that takes | `import skmm` then takes | modules it adds |")
    print("|---|---|---|---|")
    for name, found in runs.items():
        cells = []
        for column in (0, 1):
            values = [1000 * run[column] for run in found]
            cells.append(f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})")
        print(f"| {name} | {' | '.join(cells)} | {len(found[0][3])} |")
    _, _, before, added = runs["torch, sklearn, skorch"][0]
    print()
    print(
        "Optional packages loaded by torch, sklearn and skorch:",
        ", ".join(p for p in OPTIONAL if p in before) or "none",
    )
    print("Optional packages loaded by skmm:", ", ".join(p for p in OPTIONAL if p in added) or "none")


if __name__ == "__main__":
    main()
