"""The commands that make models and use them: fit, predict, evaluate, and compare with --out."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, r2_score, recall_score

import skmm
from skmm.cli import _training, main
from skmm.cli._options import duration
from skmm.cli._training import in_words

N = 60
WORDS = ["film", "plot", "cast", "end", "music", "scene", "joke", "line"]
QUICK = ["--epochs", "2", "--members", "2", "--fusion", "concat"]


def run(capsys, *argv):
    code = main([str(argument) for argument in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def make_frame(seed=0):
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(N) % 2)
    frame = pd.DataFrame(
        {
            "film": [f"tt{i}" for i in rng.permutation(N)],
            "review": [
                f"{'dull' if c and rng.random() < 0.8 else 'witty'} {' '.join(rng.choice(WORDS, 4))}" for c in label
            ],
            "day": pd.date_range("2020-01-01", periods=N, freq="9D").astype(str),
            "shop": rng.choice(["north", "south"], N),
            "price": rng.normal(size=N) + label,
            "user": np.arange(N) // 3,
            "label": np.where(label, "bad", "good"),
        }
    )
    frame.loc[3, "review"] = None
    frame.loc[5, "price"] = None
    return frame


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with tables, and a model that the command fitted to one of them."""
    folder = tmp_path_factory.mktemp("films")
    make_frame(0).to_csv(folder / "films.csv", index=False)
    make_frame(1).to_csv(folder / "new.csv", index=False)
    fit = ["fit", folder / "films.csv", "--target", "label", "--groups", "user", *QUICK, "--out", folder / "m.skmm"]
    assert main([str(argument) for argument in fit]) == 0
    return folder


# -- fit ------------------------------------------------------------------------------------------------------


def test_fit_says_what_and_how_long_before_and_how_good_after(folder, tmp_path, capsys):
    code, out, _ = run(
        capsys, "fit", folder / "films.csv", "--target", "label", *QUICK, "--out", tmp_path / "m.skmm"
    )
    assert code == 0
    plan, time, *_, next_command = [line for line in out.splitlines() if line.startswith(("Will", "Time", "Next"))]
    assert "MultimodalClassifier with fusion 'concat' and 2 members to 60 rows; modalities: table, review" in plan
    assert "2 classes: bad (30), good (30)" in plan
    assert re.match(r"Time: (about \d+ s|less|about less).* on this machine .*first fit of 60 rows", time)
    model = skmm.load(tmp_path / "m.skmm")
    assert f"Out-of-fold accuracy: {model[-1].oof_score_:.4f} (0.5000 is that of the most frequent class)" in out
    assert out.index("Will fit") < out.index("Time:") < out.index("Fitted in") < out.index("Out-of-fold")
    assert next_command == f"Next: skmm predict {tmp_path}/m.skmm NEW.csv --out predictions.csv"


def test_a_fitted_model_reads_the_plain_table_in_python(folder):
    model, frame = skmm.load(folder / "m.skmm"), make_frame(1)
    assert set(model.predict(frame)) <= {"good", "bad"}
    assert (model.predict(frame.drop(columns=["label", "user", "film"])) == model.predict(frame)).all()


def test_fractions_are_regressed(folder, tmp_path, capsys):
    strings = [
        "fit",
        folder / "films.csv",
        "--target",
        "shop",
        "--task",
        "regression",
        "--out",
        tmp_path / "m.skmm",
    ]
    assert "regression needs numbers, and the target holds '" in run(capsys, *strings)[2]
    make_frame().dropna(subset="price").to_csv(tmp_path / "t.csv", index=False)
    code, out, _ = run(capsys, "fit", tmp_path / "t.csv", "--target", "price", *QUICK, "--out", tmp_path / "m.skmm")
    assert code == 0
    assert "Out-of-fold R2" in out
    code, _, _ = run(capsys, "predict", tmp_path / "m.skmm", folder / "new.csv", "--out", tmp_path / "p.csv")
    assert code == 0
    assert pd.read_csv(tmp_path / "p.csv").columns.tolist() == ["prediction"]
    _, out, _ = run(capsys, "evaluate", tmp_path / "m.skmm", tmp_path / "t.csv", "--target", "price")
    said, true = skmm.load(tmp_path / "m.skmm").predict(make_frame()), make_frame()["price"]
    scores = {row[0]: float(row[1]) for row in (line.split() for line in out.splitlines()[3:])}
    there = true.notna().to_numpy()
    assert scores["r2"] == pytest.approx(r2_score(true[there], said[there]), abs=1e-4)
    assert scores["mean_absolute_error"] == pytest.approx(mean_absolute_error(true[there], said[there]), abs=1e-4)


def test_a_time_limit_reaches_training_with_what_reading_left(folder, tmp_path, capsys):
    command = ["fit", folder / "films.csv", "--target", "label", *QUICK, "--out", tmp_path / "m.skmm"]
    code, out, _ = run(capsys, *command, "--time-limit", "2m")
    assert code == 0
    assert "Time: at most about 2 min, as --time-limit says." in out
    assert skmm.load(tmp_path / "m.skmm")[-1].time_limit == 120


def test_a_short_time_limit_is_not_promised_to_be_kept(folder, tmp_path, capsys):
    command = ["fit", folder / "films.csv", "--target", "label", *QUICK, "--out", tmp_path / "m.skmm"]
    code, out, _ = run(capsys, *command, "--time-limit", "5s")
    assert code == 0
    assert "Time: at most about 5 s, as --time-limit says, or as long as reading the data and one epoch take" in out


def test_a_time_limit_that_reading_has_spent_is_said(folder, tmp_path, capsys):
    command = ["fit", folder / "films.csv", "--target", "label", *QUICK, "--out", tmp_path / "m.skmm"]
    code, _, err = run(capsys, *command, "--time-limit", "0.0001")
    assert code == 2
    assert "--time-limit of less than a second was spent before training began" in err
    assert not (tmp_path / "m.skmm").exists()


@pytest.mark.parametrize("text", ["0", "0m", "-5m", "soon", "", "10x"])
def test_a_time_limit_that_is_none_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "films.csv", "--target", "y", "--out", "m.skmm", f"--time-limit={text}"])
    assert "--time-limit" in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_that_is_none_is_refused(seed, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "films.csv", "--target", "y", "--out", "m.skmm", f"--seed={seed}"])
    assert f"{seed} is no seed; give one from 0 to" in capsys.readouterr().err


def test_a_fusion_that_there_is_not_is_told_before_anything_is_tried(folder, tmp_path, capsys):
    command = ["fit", folder / "films.csv", "--target", "label", "--out", tmp_path / "m.skmm"]
    code, out, err = run(capsys, *command, "--fusion", "atention")
    assert code == 2
    assert "unknown fusion 'atention'" in err
    assert "Time:" not in out


def test_times_as_they_are_written():
    assert [duration(text) for text in ("10m", "1h30m", "90s", "90", "1.5h", "2min")] == [
        600,
        5400,
        90,
        90,
        5400,
        120,
    ]
    assert [in_words(s) for s in (0.2, 45, 300, 7200)] == ["less than a second", "45 s", "5 min", "2.0 h"]


def test_arrays_are_fitted_and_predicted_by_the_names_that_are_given(tmp_path, capsys):
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    arrays = {
        "mfcc": rng.normal(size=(N, 5, 3)) + y[:, None, None],
        "w": rng.normal(size=N),
        "h": rng.normal(size=N),
    }
    np.savez(tmp_path / "d.npz", y=y, **arrays)
    chosen = ["--modality", "audio=mfcc", "--modality", "table=w,h"]
    code, out, _ = run(
        capsys, "fit", tmp_path / "d.npz", "--target", "y", *chosen, *QUICK, "--out", tmp_path / "m.skmm"
    )
    assert code == 0
    assert "NEW.npz --modality audio=mfcc --modality table=w,h" in out
    predict = ["predict", tmp_path / "m.skmm", tmp_path / "d.npz", "--out", tmp_path / "p.npz"]
    code, _, err = run(capsys, *predict)
    assert code == 2
    assert "has no array 'audio'" in err
    assert run(capsys, *predict, *chosen, "--id", "w")[0] == 0
    with np.load(tmp_path / "p.npz") as found:
        assert list(found) == ["w", "prediction", "probability_0", "probability_1"]
        assert (found["w"] == arrays["w"]).all()


# -- predict --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_predictions_keep_the_order_of_the_rows(folder, tmp_path, capsys, ending):
    out = tmp_path / f"p.{ending}"
    code, said, _ = run(capsys, "predict", folder / "m.skmm", folder / "new.csv", "--out", out, "--id", "film")
    frame, model = pd.read_csv(folder / "new.csv"), skmm.load(folder / "m.skmm")
    found = {"csv": pd.read_csv, "tsv": lambda f: pd.read_csv(f, sep="\t"), "parquet": pd.read_parquet}[ending](out)
    assert code == 0
    assert said == f"{out}: 60 rows of film, prediction, probability_bad, probability_good.\n"
    assert found["film"].tolist() == frame["film"].tolist()
    assert found["prediction"].tolist() == model.predict(frame).tolist()
    np.testing.assert_allclose(
        found[["probability_bad", "probability_good"]], model.predict_proba(frame), atol=1e-6
    )


def test_no_file_is_written_over_unless_that_is_said(folder, tmp_path, capsys):
    out = tmp_path / "p.csv"
    out.write_text("mine")
    command = ["predict", folder / "m.skmm", folder / "new.csv", "--out", out]
    code, _, err = run(capsys, *command)
    assert (code, err) == (2, f"skmm: --out {out} exists; name another, or write over it with --force.\n")
    assert out.read_text() == "mine"
    assert run(capsys, *command, "--force")[0] == 0
    assert out.read_text().startswith("prediction,")
    assert [file.name for file in tmp_path.iterdir()] == ["p.csv"]


@pytest.mark.parametrize("name", ["new.csv", "m.skmm"])
def test_what_is_read_is_not_written_over_by_force_either(folder, capsys, monkeypatch, name):
    monkeypatch.setattr("skmm.cli.predict._WRITERS", {".csv": None, ".skmm": None})
    before = (folder / name).read_bytes()
    command = ["predict", folder / "m.skmm", folder / "new.csv", "--out", folder / name, "--force"]
    code, _, err = run(capsys, *command)
    assert (code, err) == (2, f"skmm: --out {folder / name} is a file that is read; name another.\n")
    assert (folder / name).read_bytes() == before


def test_a_failed_prediction_leaves_no_file(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("csv.writer", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["predict", str(folder / "m.skmm"), str(folder / "new.csv"), "--out", str(tmp_path / "p.csv")])
    assert list(tmp_path.iterdir()) == []


def test_renamed_and_missing_columns_are_named_with_what_they_may_be(folder, tmp_path, capsys):
    changed = make_frame(1).rename(columns={"review": "Review"}).drop(columns="shop")
    changed.to_csv(tmp_path / "t.csv", index=False)
    code, _, err = run(capsys, "predict", folder / "m.skmm", tmp_path / "t.csv", "--out", tmp_path / "p.csv")
    assert code == 2
    assert "lacks 2 of the 4 columns that" in err
    assert "['review', 'shop']. Is 'review' now 'Review'?" in err
    assert "Is 'shop' now" not in err
    assert not (tmp_path / "p.csv").exists()
    filled = changed.rename(columns={"Review": "review"}).assign(shop=None)
    filled.to_csv(tmp_path / "t.csv", index=False)
    assert run(capsys, "predict", folder / "m.skmm", tmp_path / "t.csv", "--out", tmp_path / "p.csv")[0] == 0


@pytest.mark.filterwarnings("default:1 of 60")
def test_paths_start_at_the_table_that_is_predicted(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        for i in range(N):
            image.new("RGB", (4, 4), (200 * (i % 2), i, 0)).save(tmp_path / name / f"{i}.png")
        table = pd.DataFrame({"photo": [f"{i}.png" for i in range(N)], "y": np.where(np.arange(N) % 2, "a", "b")})
        table.to_csv(tmp_path / name / "t.csv", index=False)
    fit = ["fit", tmp_path / "old/t.csv", "--target", "y", *QUICK, "--out", tmp_path / "m.skmm"]
    assert run(capsys, *fit)[0] == 0
    for i in range(N):
        (tmp_path / "old" / f"{i}.png").unlink()
    predict = ["predict", tmp_path / "m.skmm", tmp_path / "new/t.csv", "--out", tmp_path / "p.csv"]
    assert run(capsys, *predict)[0] == 0
    (tmp_path / "new/7.png").write_bytes(b"no image")
    code, _, err = run(capsys, *predict, "--force")
    assert code == 2
    assert "row 7" in err
    code, _, err = run(capsys, *predict, "--force", "--unreadable", "missing")
    assert code == 0
    assert err.startswith("skmm: 1 of 60 rows cannot be read and are missing; row 7: cannot read '7.png'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.skmm", "{new}", "--out", "{tmp}/p.csv"], "there is no model none.skmm"),
        (["{new}", "{new}", "--out", "{tmp}/p.csv"], "is no file that skmm.save wrote"),
        (["{later}", "{new}", "--out", "{tmp}/p.csv"], "has format 99, of skmm 9.9; this version reads up to"),
        (["{model}", "none.csv", "--out", "{tmp}/p.csv"], "there is no file none.csv"),
        (["{model}", "{new}", "--out", "{tmp}"], "--out {tmp} holds other things, later.skmm"),
        (["{model}", "{new}", "--out", "{tmp}/none/p.csv"], "there is no folder {tmp}/none; make it first"),
        (["{model}", "{new}", "--out", "{tmp}/p.xlsx"], "must end in one of ['.csv', '.tsv', '.parquet', '.npz']"),
        (["{model}", "{new}", "--out", "{tmp}/p.csv", "--id", "flim"], "has no 'flim'; valid are"),
        (["{model}", "{new}", "--out", "{tmp}/p.csv", "--modality", "a=b"], "--modality is for .npz files"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_explained(folder, tmp_path, capsys, arguments, message):
    import zipfile

    with zipfile.ZipFile(tmp_path / "later.skmm", "w") as archive:
        archive.writestr("skmm.json", json.dumps({"format": 99, "skmm": "9.9"}))
    places = {
        "new": folder / "new.csv",
        "model": folder / "m.skmm",
        "tmp": tmp_path,
        "later": tmp_path / "later.skmm",
    }
    code, out, err = run(capsys, "predict", *(argument.format(**places) for argument in arguments))
    assert (code, out) == (2, "")
    assert message.format(**places) in err


def test_a_target_with_gaps_is_refused_with_the_row(folder, tmp_path, capsys):
    make_frame().assign(label=lambda t: t["label"].where(t.index != 4)).to_csv(tmp_path / "t.csv", index=False)
    for command in (
        ["fit", tmp_path / "t.csv", "--out", tmp_path / "m.skmm"],
        ["evaluate", folder / "m.skmm", tmp_path / "t.csv"],
    ):
        code, _, err = run(capsys, *command, "--target", "label")
        assert code == 2
        assert "column 'label' lacks 1 of its 60 values, the first in row 4" in err


# -- evaluate -------------------------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn(folder, tmp_path, capsys):
    frame, model = make_frame(1), skmm.load(folder / "m.skmm")
    code, out, _ = run(
        capsys,
        "evaluate",
        folder / "m.skmm",
        folder / "new.csv",
        "--target",
        "label",
        "--json",
        tmp_path / "e.json",
    )
    said, proba, y = model.predict(frame), model.predict_proba(frame), frame["label"]
    found = json.loads((tmp_path / "e.json").read_text())
    scores = {row["metric"]: row["score"] for row in found["summary"]}
    assert code == 0
    assert scores == pytest.approx(
        {
            "accuracy": accuracy_score(y, said),
            "recall_macro": recall_score(y, said, average="macro"),
            "f1_macro": f1_score(y, said, average="macro"),
            "log_loss": log_loss(y, proba),
        }
    )
    for row in found["summary"]:
        assert row["low"] <= row["score"] <= row["high"]
    table = {row[0]: row[1:] for row in (line.split() for line in out.splitlines()[-2:])}
    assert [int(x) for x in table["bad"]] == [sum((y == "bad") & (said == c)) for c in ("bad", "good")]


def test_intervals_of_groups_are_wider_where_rows_repeat(folder, tmp_path, capsys):
    pd.concat([make_frame(1)] * 4).to_csv(tmp_path / "t.csv", index=False)
    widths = []
    for options in ([], ["--groups", "film"]):
        out = tmp_path / f"e{len(options)}.json"
        run(capsys, "evaluate", folder / "m.skmm", tmp_path / "t.csv", "--target", "label", *options, "--json", out)
        row = json.loads(out.read_text())["summary"][-1]
        widths.append(row["high"] - row["low"])
    assert widths[1] > 1.5 * widths[0]


def test_classes_that_the_model_does_not_know_count_as_wrong(folder, tmp_path, capsys):
    strange = make_frame(1)
    strange.loc[:9, "label"] = "odd"
    strange.to_csv(tmp_path / "t.csv", index=False)
    code, out, _ = run(capsys, "evaluate", folder / "m.skmm", tmp_path / "t.csv", "--target", "label")
    said = skmm.load(folder / "m.skmm").predict(strange)
    assert code == 0
    assert f"accuracy      {accuracy_score(strange['label'], said):.4f}" in out
    assert "does not know the classes ['odd'], 10 rows" in out
    assert "log_loss" not in out
    code, _, err = run(capsys, "evaluate", folder / "m.skmm", folder / "new.csv", "--target", "shop")
    assert code == 2
    assert "the target has the classes ['north', 'south'], the model knows ['bad', 'good']" in err


# -- compare --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_compare_ends_with_the_best_fusion_fitted(folder, tmp_path, capsys):
    code, out, err = run(
        capsys, "compare", folder / "films.csv", "--target", "label", "--fusions", "late,concat", "--cv", "2",
        "--epochs", "1", "--members", "2", "--jobs", "1", "--baselines", "LR concat", "--out", tmp_path / "m.skmm",
    )  # fmt: skip
    assert code == 0
    best = next(line.split()[0] for line in out.splitlines() if " fusion " in line)
    assert skmm.load(tmp_path / "m.skmm")[-1].fusion == best
    assert f"The best fusion, {best}, is fitted to all rows" in out
    assert "6 fits: late, concat, LR concat, on 2 folds each." in err
    assert re.search(r"A fit of late took .* s: about .* for 6, 1 at once", err)


def test_compare_takes_a_few_in_short_trainings_unless_all_are_asked_for(folder, capsys, monkeypatch):
    asked = {}

    def note(X, y, **options):
        asked.update(options)
        raise ValueError("enough seen")

    monkeypatch.setattr("skmm.model_selection.compare_fusions", note)
    command = ["compare", folder / "films.csv", "--target", "label"]
    run(capsys, *command)
    assert asked["fusions"] == "few"
    assert (asked["estimator"][-1].max_epochs, asked["estimator"][-1].n_members) == (20, 4)
    run(capsys, *command, "--all")
    assert asked["fusions"] is None
    assert asked["estimator"][-1].get_params() == skmm.MultimodalClassifier().get_params()
    run(capsys, *command, "--fusions", "late")
    assert asked["fusions"] == ["late"]
    assert asked["estimator"][-1].max_epochs == "auto"


# -- the README -----------------------------------------------------------------------------------------------

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.slow
def test_the_commands_of_the_readme_run_as_they_stand(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = re.search(r"python - <<'END'\n(.*?)\nEND\n", README, re.DOTALL)[1]
    exec(script, {})
    commands = re.findall(r"^\.venv/bin/skmm ([^#\n]*)", README, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["fit", "evaluate", "report", "predict", "compare"]
    quick = {
        "fit": ["--epochs", "1"],
        "compare": ["--epochs", "1", "--cv", "2", "--fusions", "late", "--jobs", "1"],
    }
    for command in map(shlex.split, commands):
        assert main([*command, *quick.get(command[0], [])]) == 0
    with open("predictions.csv", newline="") as file:
        assert len(list(csv.reader(file))) == 61
    assert Path("report.html").read_text().startswith("<!DOCTYPE html>")
    capsys.readouterr()


def test_what_writes_models_is_looked_for_before_the_work(folder, tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "skops.io", None)
    monkeypatch.setattr(_training, "fit", lambda *args: pytest.fail("began to fit"))
    code, _, err = run(capsys, "fit", folder / "films.csv", "--target", "label", "--out", tmp_path / "m.skmm")
    assert code == 2
    assert "pip install" in err
    assert "skmm[files]" in err
