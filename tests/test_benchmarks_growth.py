"""The script that measures how cost grows: its points are kept, and not measured again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "benchmarks" / "growth.py"


def run(*arguments):
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--axes", "members", "--models", "members", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=True).stdout


@pytest.mark.slow
def test_points_are_kept_and_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    log, plot = tmp_path / "growth.jsonl", tmp_path / "growth.png"
    first = run("--log", str(log), "--largest", "2", "--plot", str(plot))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row["axis"], row["model"], row["size"]) for row in rows] == [
        ("members", "members", 1),
        ("members", "members", 2),
    ]
    assert all(row["seconds"] > 0 for row in rows)
    assert "members, members, 1: " in first
    assert plot.stat().st_size > 1000
    again = run("--log", str(log), "--largest", "2")
    assert "members, members, 1: " not in again
    assert "| members | members |" in again
