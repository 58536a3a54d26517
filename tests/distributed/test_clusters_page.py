"""The page about clusters: its code runs, also where it predicts in the tables of Dask, Ray and Spark."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "clusters.md"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.cluster,
    # what the engines leave open when they end, and say of this machine and its ports
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def page_blocks():
    """The code of the page, without what it says was not run."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.M | re.S)


def test_code_of_the_page_runs():
    for package in ("distributed", "ray"):
        pytest.importorskip(package)
    names = {}
    try:
        for block in page_blocks():
            if "pyspark" not in block:
                exec(compile(block, str(PAGE), "exec"), names)
    finally:
        if "client" in names:
            names["client"].shutdown()
        if "ray" in names:
            names["ray"].shutdown()
    assert np.isfinite(names["search"].cv_results_["mean_test_score"]).all()


def test_spark_of_the_page_runs(monkeypatch):
    pytest.importorskip("pyspark")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    first, *_, last = page_blocks()
    names = {}
    exec(compile(first, str(PAGE), "exec"), names)
    names["fitted"] = names["clf"].fit(names["frame"], names["y"])
    try:
        exec(compile(last, str(PAGE), "exec"), names)
    finally:
        if "spark" in names:
            names["spark"].stop()
