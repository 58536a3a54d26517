"""The script that checks and measures a GPU runs every path of it on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "docs" / "benchmarks" / "gpu.py"


def run(*arguments):
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_every_part_of_the_gpu_script_runs_at_tiny_sizes(tmp_path):
    pytest.importorskip("transformers")
    log = tmp_path / "gpu.jsonl"
    done = run("--log", str(log))
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(rows) == 13
    assert [row for row in rows if row["status"] not in ("ok", "needs cuda")] == []
    assert {row["part"] for row in rows if row["status"] == "needs cuda"} == {"gpu_tests", "compiled"}
    assert done.returncode == 0
    assert "| predictions | ok |" in done.stdout


@pytest.mark.slow
def test_a_part_of_the_gpu_script_that_fails_leaves_the_others_alone(tmp_path):
    log = tmp_path / "gpu.jsonl"
    done = run("--log", str(log), "--parts", "streamed", "device", "--device", "cpu:nowhere")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert "nowhere" in rows[0]["error"]
    assert done.returncode == 1
