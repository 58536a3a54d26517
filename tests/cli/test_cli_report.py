"""``skmm report``: a saved model and a file, to one file for people who did not train the model."""

import numpy as np
import pandas as pd
import pytest
from conftest import small
from sklearn.pipeline import make_pipeline

import skmm
from skmm import ModalityTransformer
from skmm.cli import main

N = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model of a table, one of arrays, and what they read."""
    folder = tmp_path_factory.mktemp("report")
    rng = np.random.default_rng(0)
    label = np.arange(N) % 2
    frame = pd.DataFrame(
        {
            "label": np.where(label, "bad", "good"),
            "review": [f"word{i % 5} {rng.choice(['fine', 'dull'])} word{i % 7}" for i in range(N)],
            "price": rng.normal(size=N) + label,
            "secret": [f"person {i}" for i in range(N)],
            "shop": np.where(np.arange(N) % 3, "north", "south"),
        }
    )
    frame.to_csv(folder / "films.csv", index=False)
    X = frame[["review", "price"]]
    model = make_pipeline(ModalityTransformer.from_frame(X), small(max_epochs=2, modality_dropout=0.2))
    skmm.save(model.fit(X, frame["label"]), folder / "table.skmm")
    arrays = {"sound": rng.normal(size=(N, 3)) + label[:, None], "photo": rng.normal(size=(N, 2))}
    np.savez(folder / "films.npz", y=label, value=label + 0.5, **arrays)
    skmm.save(small(max_epochs=2, modality_dropout=0.2).fit(arrays, label), folder / "arrays.skmm")
    return folder


@pytest.fixture
def run(folder, capsys, monkeypatch, tmp_path):
    def call(*argv):
        monkeypatch.chdir(tmp_path)
        code = main(
            ["report", *(str(folder / a) if a.startswith(("films", "table", "arrays")) else a for a in argv)]
        )
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_table_becomes_a_report(run, tmp_path):
    code, out, err = run("table.skmm", "films.csv", "--target", "label", "--groups", "shop", "--worst", "3")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "wrote report.html"
    assert "of 40 rows it gets" in out
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "By shop: share right" in text
    assert "The 3 rows" in text or "No row is wrong" in text
    assert "person" not in text  # the model does not read that column
    assert ">label<" not in text


def test_arrays_become_markdown(run, tmp_path):
    argv = ["arrays.skmm", "films.npz", "--target", "y", "--out", "report.md"]
    assert run(*argv)[0] == 0
    assert (tmp_path / "report.md").read_text().startswith("# MultimodalClassifier: report on 40 rows")
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert "report.md exists; name another, or write over it with --force." in err
    assert run(*argv, "--force")[0] == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["table.skmm", "films.csv", "--target", "labels"], "has no 'labels'; valid are"),
        (["table.skmm", "films.csv", "--target", "label", "--groups", "shops"], "Did you mean 'shop'?"),
        (["table.skmm", "films.csv", "--target", "label", "--out", "a.pdf"], "--out a.pdf must end in one of"),
        (["table.skmm", "films.csv", "--target", "label", "--out", "no/a.html"], "there is no folder no"),
        (["table.skmm", "films.csv", "--target", "label", "--worst", "-1"], "worst == -1, must be >= 0"),
        (["table.skmm", "films.csv", "--target", "shop"], "y has the classes ['north', 'south']"),
        (["arrays.skmm", "films.npz", "--target", "value"], "y has the classes ['0.5', '1.5']"),
        (["tables.skmm", "films.csv", "--target", "label"], "there is no model"),
    ],
)
def test_what_cannot_be_reported_is_said(run, tmp_path, argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []
