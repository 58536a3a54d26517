"""The command ``skmm``, on small files of every kind that it reads."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import skmm
from skmm.cli import main
from skmm.compose import ModalityTransformer
from skmm.model_selection import compare_fusions
from skmm.model_selection._search_loop import SearchLoop

N = 48
QUICK = ["--fusions", "concat", "--cv", "2", "--epochs", "1", "--members", "2", "--jobs", "1"]
TABLE = ["--target", "label", "--modality", "text=review", "--modality", "table=price,age,shop"]


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, N)
    words = np.array(["good", "bad", *(f"word{i}" for i in range(30))])
    frame = pd.DataFrame(
        {
            "label": np.where(label, "bad", "good"),
            "review": [f"{words[c]} {' '.join(rng.choice(words[2:], 2))}" for c in label],
            "title": [" ".join(rng.choice(words[2:], 3)) for _ in label],
            "price": rng.normal(size=N),
            "age": rng.integers(1, 90, N),
            "shop": rng.choice(["north", "south"], N),
            "user": np.arange(N) // 4,
            "value": rng.normal(size=N) + label,
        }
    )
    frame["empty"] = None
    frame.loc[3, ["review", "title"]] = None
    frame.loc[5, "price"] = None
    return frame


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    return {
        "y": y,
        "sound": rng.normal(size=(N, 5, 3)) + y[:, None, None],
        "photo": rng.integers(0, 255, (N, 8, 8)).astype(np.uint8),
        "weight": rng.normal(size=N),
        "sizes": rng.normal(size=(N, 2)),
        "user": np.arange(N) // 4,
    }


@pytest.fixture
def csv(frame, tmp_path):
    frame.to_csv(tmp_path / "films.csv", index=False)
    return str(tmp_path / "films.csv")


@pytest.fixture
def npz(arrays, tmp_path):
    np.savez(tmp_path / "films.npz", **arrays)
    return str(tmp_path / "films.npz")


def run(capsys, *argv):
    code = main(list(argv))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def faults(err):
    """What is said on stderr, but for how far the work is."""
    return [line for line in err.splitlines() if line.startswith("skmm:")]


# -- compare --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_compare_without_a_file_runs_on_the_data_that_comes_along(capsys):
    code, out, err = run(capsys, "compare", "--rows", "160", *QUICK)
    assert (code, faults(err)) == (0, [])
    assert out.startswith(
        "spoken digits: 160 of 1797 samples, 2 folds, max_epochs=1, n_members=2; times in seconds\n"
    )
    for method in ("concat", "LR concat", "LR image", "LR audio", "late mean", "stacked", "boosting", "trees"):
        assert f"\n{method} " in out
    assert out.splitlines()[-1].startswith("Deep fusion")


def test_the_whole_demonstration_is_the_default(capsys, monkeypatch):
    asked = {}

    def note(X, y, **options):
        asked.update(options, n_samples=len(X))
        raise ValueError("enough seen")

    monkeypatch.setattr("skmm.model_selection.compare_fusions", note)
    assert run(capsys, "compare") == (2, "", "skmm: enough seen\n")
    assert asked["n_samples"] == 1797
    assert asked["estimator"].max_epochs == 7  # half as many as training in full takes of so many rows
    assert asked["fusions"] == "few"
    assert asked["baselines"] is True
    assert asked["cv"].get_n_splits() == 5


@pytest.mark.slow
def test_a_table_is_compared_as_the_same_pipeline_in_python(frame, csv, tmp_path, capsys):
    code, out, _ = run(capsys, "compare", csv, *TABLE, *QUICK, "--json", str(tmp_path / "out.json"))
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    table = make_column_transformer((numbers, ["price", "age"]), (OneHotEncoder(), ["shop"]))
    transformer = ModalityTransformer(
        [("text", TfidfVectorizer(sublinear_tf=True), "review"), ("table", table, ["price", "age", "shop"])]
    )
    expected = compare_fusions(
        frame,
        frame["label"],
        estimator=make_pipeline(transformer, skmm.MultimodalClassifier(max_epochs=1, n_members=2)),
        fusions=["concat"],
        cv=StratifiedKFold(2, shuffle=True, random_state=0),
        random_state=0,
    )
    assert code == 0
    assert expected.verdict in out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["metric"] == "accuracy"
    assert written["verdict"] == expected.verdict
    assert written["differences"] == list(expected.differences)
    timeless = [{k: v for k, v in row.items() if not k.endswith("_time")} for row in written["summary"]]
    assert timeless == [{k: row[k] for k in timeless[0]} for row in expected.summary]


def test_parquet_gives_what_csv_gives(frame, csv, tmp_path, capsys):
    frame.to_parquet(tmp_path / "films.parquet")
    verdicts = []
    for file in (csv, str(tmp_path / "films.parquet")):
        _, out, _ = run(capsys, "compare", file, *TABLE, *QUICK, "--no-baselines")
        verdicts.append(out.splitlines()[-1])
    assert verdicts[0] == verdicts[1]
    assert verdicts[0].startswith("The best fusion by accuracy is concat")


@pytest.mark.parametrize(
    "columns",
    ["review", "review,title", "review,price,shop", "shop", "price", "price,shop", "label2", "flag", "day,price"],
)
def test_every_mixture_of_columns_becomes_a_modality(frame, tmp_path, capsys, columns):
    # in another order: a copy of the target would be named as one
    frame["label2"] = frame["label"].sample(frac=1, random_state=0).to_numpy()
    frame["label2"] = frame["label2"].astype("category")
    frame["flag"] = frame["age"] > 40
    frame["day"] = pd.date_range("2020-01-01", periods=N)
    frame.to_parquet(tmp_path / "films.parquet")
    code, out, err = run(
        capsys, "compare", str(tmp_path / "films.parquet"), "--target", "label", "--modality", f"one={columns}",
        "--modality", "two=age", "--no-baselines", *QUICK,
    )  # fmt: skip
    assert (code, faults(err)) == (0, [])
    assert "\nconcat " in out


@pytest.mark.slow
def test_without_modalities_the_columns_say_what_they_are(csv, capsys):
    code, out, err = run(capsys, "compare", csv, "--target", "label", "--groups", "user", *QUICK)
    assert code == 0
    assert faults(err) == [
        "skmm: column 'empty' is dropped: all its cells are missing. Keep it with from_frame(df, {'empty': "
        "'category'}), or modalities=AutoModalities({'empty': 'category'}) of an estimator."
    ]
    found, compared = out.split("\n\n", 1)
    rows = {line.split()[0]: line.split()[1:] for line in found.splitlines()}
    assert rows["review"][:3] == ["text", "review", "TfidfVectorizer"]
    assert rows["price"][:2] == rows["age"][:2] == ["number", "table"]
    assert rows["shop"][:2] == ["category", "table"]
    assert rows["label"][0] == rows["user"][0] == rows["empty"][0] == "drop"  # target and groups are no features
    for baseline in ("LR table", "LR review", "LR title"):
        assert f"\n{baseline} " in compared


def test_fusions_that_cannot_read_the_data_are_listed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("skmm.model_selection._compare.list_fusions", lambda: ["concat", "tensor"])
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame({f"m{i}": rng.normal(size=N) for i in range(19)}).assign(label=["a", "b"] * (N // 2))
    numbers.to_csv(tmp_path / "many.csv", index=False)
    modalities = [part for i in range(19) for part in ("--modality", f"m{i}=m{i}")]
    options = [option for option in QUICK if option not in ("--fusions", "concat")]
    code, out, err = run(
        capsys, "compare", str(tmp_path / "many.csv"), "--target", "label", *modalities, *options, "--no-baselines",
        "--all", "--json", str(tmp_path / "out.json"),
    )  # fmt: skip
    assert (code, faults(err)) == (0, [])
    written = json.loads((tmp_path / "out.json").read_text())
    assert list(written["skipped"]) == ["tensor"]
    assert f"\ntensor is left out: {written['skipped']['tensor']}\n" in out
    assert [row["method"] for row in written["summary"]] == ["concat"]


def test_the_choice_that_estimators_make_is_a_fusion(csv, capsys):
    code, out, _ = run(capsys, "compare", csv, *TABLE, *QUICK, "--fusions", "auto", "--no-baselines")
    assert code == 0
    assert "\nauto " in out


@pytest.mark.slow
def test_text_says_the_class(csv, capsys):
    arguments = ["--target", "label", "--modality", "a=review,shop", "--modality", "b=age"]
    _, out, _ = run(capsys, "compare", csv, *arguments, *QUICK)
    line = next(line for line in out.splitlines() if line.startswith("LR a"))
    assert float(line.split()[3]) > 0.9


def test_what_a_fold_has_not_seen_does_not_stop_it(frame, tmp_path, capsys):
    frame["shop"] = [f"shop{i}" if i < 20 else "shop0" for i in range(N)]
    frame.to_csv(tmp_path / "films.csv")
    arguments = ["--target", "label", "--modality", "shop=shop", "--modality", "b=age,price", "--no-baselines"]
    code, _, err = run(capsys, "compare", str(tmp_path / "films.csv"), *arguments, *QUICK)
    assert (code, faults(err)) == (0, [])


def test_fractions_are_regressed(csv, capsys):
    code, out, _ = run(capsys, "compare", csv, "--target", "value", "--modality", "table=price,age", *QUICK)
    assert code == 0
    assert "r2" in out
    assert "ridge table" in out


@pytest.mark.parametrize(("task", "found"), [("classification", "accuracy"), ("regression", "mean_absolute_error")])
def test_task(csv, capsys, task, found):
    target = {"classification": "shop", "regression": "age"}[task]
    arguments = ["--target", target, "--modality", "table=price,value", "--no-baselines", "--task", task]
    code, out, _ = run(capsys, "compare", csv, *arguments, *QUICK)
    assert code == 0
    assert found in out


def test_arrays_keep_their_dimensions_or_are_joined(npz, capsys):
    code, out, err = run(
        capsys, "compare", npz, "--target", "y", "--modality", "audio=sound", "--modality", "image=photo",
        "--modality", "table=weight,sizes", "--no-baselines", *QUICK,
    )  # fmt: skip
    assert (code, faults(err)) == (0, [])
    assert "\nconcat " in out


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ([], True),
        (["--no-baselines"], False),
        (["--baselines", "LR a, boosting"], ["LR a", "boosting"]),
    ],
)
def test_baselines_are_all_none_or_those_named(npz, capsys, monkeypatch, option, wanted):
    asked = {}

    def note(X, y, **options):
        asked.update(options)
        raise ValueError("enough seen")

    monkeypatch.setattr("skmm.model_selection.compare_fusions", note)
    assert run(capsys, "compare", npz, "--target", "y", "--modality", "a=weight", *option)[0] == 2
    assert asked["baselines"] == wanted


def test_an_unknown_baseline_is_refused(npz, capsys):
    code, _, err = run(
        capsys, "compare", npz, "--target", "y", "--modality", "a=weight", *QUICK, "--baselines", "LR b,trees"
    )
    assert code == 2
    assert err.startswith("skmm: unknown baseline 'LR b', valid are ['LR a', 'boosting', 'trees'].")


def test_options_reach_the_comparison(npz, arrays, capsys, monkeypatch):
    asked = {}

    def note(X, y, **options):
        asked.update(options, X=X, y=y)
        raise ValueError("enough seen")

    monkeypatch.setattr("skmm.model_selection.compare_fusions", note)
    code, _, err = run(
        capsys, "compare", npz, "--target", "y", "--modality", "table=weight,sizes", "--groups", "user",
        "--fusions", "mfb, sum", "--cv", "4", "--scoring", "f1_macro,accuracy", "--rows", "30", "--epochs", "7",
        "--members", "6", "--seed", "9", "--jobs", "3", "--no-baselines",
    )  # fmt: skip
    assert (code, err) == (2, "skmm: enough seen\n")
    assert asked["fusions"] == ["mfb", "sum"]
    assert asked["scoring"] == ["f1_macro", "accuracy"]
    assert asked["baselines"] is False
    assert asked["random_state"] == 9
    assert asked["n_jobs"] == 3
    assert asked["estimator"].max_epochs == 7
    assert asked["estimator"].n_members == 6
    assert len(asked["X"]) == len(asked["y"]) == len(asked["groups"]) == 30
    whole = np.column_stack([arrays["weight"], arrays["sizes"]])
    rows = [int(np.flatnonzero((whole == row).all(axis=1))[0]) for row in asked["X"]["table"]]
    assert len(set(rows)) == 30
    np.testing.assert_array_equal(arrays["y"][rows], asked["y"])
    np.testing.assert_array_equal(arrays["user"][rows], asked["groups"])
    for train, test in asked["cv"].split(asked["X"], asked["y"], asked["groups"]):
        assert not set(asked["groups"][train]) & set(asked["groups"][test])


# -- what is written ------------------------------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch):
    """What the comparison is asked for, which then ends as a fit that fails."""
    asked = {}

    def note(X, y, **options):
        asked.update(options, X=X, y=y)
        raise ValueError("enough seen")

    monkeypatch.setattr("skmm.model_selection.compare_fusions", note)
    return asked


@pytest.mark.parametrize("spelling", ["same", "relative", "symbolic link", "hard link"])
@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_what_is_read_is_never_written(csv, npz, tmp_path, capsys, monkeypatch, seen, kind, spelling):
    file = {"csv": csv, "npz": npz}[kind]
    chosen = {"csv": TABLE, "npz": ["--target", "y", "--modality", "a=weight"]}[kind]
    with open(file, "rb") as before:
        content = before.read()
    other = tmp_path / f"other.{kind}"
    if spelling == "relative":
        monkeypatch.chdir(tmp_path)
        other = f"../{tmp_path.name}/films.{kind}"
    elif spelling == "same":
        other = file
    else:
        {"symbolic link": other.symlink_to, "hard link": other.hardlink_to}[spelling](file)
    code, out, err = run(capsys, "compare", file, *chosen, *QUICK, "--json", str(other))
    assert (code, out, err) == (2, "", f"skmm: --json {other} is the file that is read; name another.\n")
    with open(file, "rb") as after:
        assert after.read() == content
    assert not seen


@pytest.mark.filterwarnings("ignore:. of 2 fits, the first is:UserWarning")
def test_a_score_that_is_none_is_null_in_json(frame, tmp_path, capsys):
    frame["label"] = np.where(frame["user"] == 0, "rare", frame["label"])  # a fold without it cannot be scored
    frame.to_csv(tmp_path / "films.csv", index=False)
    asked = ["--modality", "table=price,age", "--groups", "user", "--scoring", "neg_log_loss", "--no-baselines"]
    code, _, _ = run(
        capsys, "compare", str(tmp_path / "films.csv"), "--target", "label", *asked, *QUICK,
        "--json", str(tmp_path / "out.json"),
    )  # fmt: skip
    written = json.loads((tmp_path / "out.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert code == 0
    assert written["summary"][0]["log_loss"] is None


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("nowhere/out.json", "nowhere/out.json: there is no folder {tmp}/nowhere."),
        (".", "cannot be written: Is a directory."),
        ("x" * 300, "cannot be written: File name too long."),
        ("photo.png", "exists and holds no earlier result; remove it, or name another."),
        ("list.json", "exists and holds no earlier result; remove it, or name another."),
        ("deep.json", "exists and holds no earlier result; remove it, or name another."),
    ],
)
def test_outputs_are_tried_before_the_work_begins(csv, tmp_path, capsys, seen, out, message):
    """A picture that the table names is written over as little as the table."""
    contents = {"photo.png": "pixels", "list.json": "[1, 2]", "deep.json": "[" * 100_000}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    code, printed, err = run(capsys, "compare", csv, *TABLE, *QUICK, "--json", str(tmp_path / out))
    assert (code, printed, seen) == (2, "", {})
    assert err.startswith("skmm: --json ")
    assert err.endswith(message.format(tmp=tmp_path) + "\n")
    assert {name: (tmp_path / name).read_text() for name in contents} == contents


def test_a_result_is_written_over_an_earlier_one_and_only_when_there_is_another(csv, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.json"
    command = ["compare", csv, *TABLE, *QUICK, "--no-baselines", "--json", str(out)]
    assert run(capsys, *command)[0] == 0
    first = json.loads(out.read_text())
    assert run(capsys, *command)[0] == 0
    assert json.loads(out.read_text()).keys() == first.keys()
    assert run(capsys, *command[:-1], os.devnull)[0] == 0

    def fail(*args, **kwargs):
        raise ValueError("no")

    monkeypatch.setattr("skmm.model_selection.compare_fusions", fail)
    kept = out.read_text()
    assert run(capsys, *command)[0] == 2
    assert out.read_text() == kept
    assert run(capsys, *command[:-1], str(tmp_path / "new.json"))[0] == 2
    assert not (tmp_path / "new.json").exists()


# -- tables as they are written --------------------------------------------------------------------------------

WORDS = pd.DataFrame(
    {
        "label": ["gut", "übel"] * 6,
        "review": [f"schön, {i}; «wörtlich» | “so”" for i in range(12)],
        "price": [f"{i},5" for i in range(12)],
    }
)
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
COMPARE = ["compare", "{file}", "--target", "label", "--modality", "text=review", "--modality", "table=price"]


def read_words(file, *options):
    return [part.format(file=file) for part in COMPARE] + [*QUICK, *options]


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_separator_and_encoding_are_found_out(tmp_path, capsys, seen, sep, encoding):
    file = tmp_path / "t.CSV"
    WORDS.to_csv(file, sep=sep, encoding=encoding, index=False)
    code, _, err = run(capsys, *read_words(file))
    assert (code, err.endswith("skmm: enough seen\n")) == (2, True)
    pd.testing.assert_frame_equal(seen["X"], WORDS)
    # a guess is said
    assert ("is not UTF-8, and read as cp1252; --encoding says another" in err) == (encoding == "cp1252")


@pytest.mark.parametrize("suffix", ["tsv", "TSV", "Csv"])
def test_separator_and_encoding_are_taken_as_given(tmp_path, capsys, seen, suffix):
    file = tmp_path / f"t.{suffix}"
    wanted = WORDS.assign(review=[f"{i} € schön" for i in range(12)])
    wanted.to_csv(file, sep="\t", encoding="iso8859_15", index=False)
    given = ["--encoding", "iso8859_15", *(["--sep", "tab"] if suffix == "Csv" else [])]
    assert run(capsys, *read_words(file, *given))[2] == "skmm: enough seen\n"
    pd.testing.assert_frame_equal(seen["X"], wanted)
    wanted.to_csv(file, sep="~", index=False)
    assert run(capsys, *read_words(file, "--sep", "~"))[2] == "skmm: enough seen\n"
    pd.testing.assert_frame_equal(seen["X"], wanted)


def test_bytes_that_windows_lacks_are_latin_1(tmp_path, capsys, seen):
    file = tmp_path / "t.csv"
    file.write_bytes(WORDS.to_csv(index=False).replace("“", "\x81").replace("”", "").encode("latin-1"))
    assert "read as latin-1" in run(capsys, *read_words(file))[2]
    assert seen["X"]["label"].tolist() == WORDS["label"].tolist()


def test_blanks_around_names_and_cells_are_none_of_them(tmp_path, capsys, seen):
    (tmp_path / "t.csv").write_text(' label , review,"price "\n' + 'a, "one, two",1\nb, three four,2\n' * 6)
    assert run(capsys, *read_words(tmp_path / "t.csv"))[2] == "skmm: enough seen\n"
    assert list(seen["X"].columns) == ["label", "review", "price"]
    assert seen["X"]["review"].tolist() == ["one, two", "three four"] * 6


def test_a_table_whose_first_column_has_no_separator_is_one_column(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("label\na\nb\n")
    assert "has no 'review'; valid are ['label']" in run(capsys, *read_words(tmp_path / "t.csv"))[2]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a,b;c\n1,2;3\n", [], "separated by comma or by semicolon; say which with --sep"),
        ("a,b\n1,2\n", ["--sep", "::"], "--sep takes one character, or 'tab'; got '::'"),
        ("a,b\n1,2\n", ["--sep", ""], "--sep takes one character, or 'tab'; got ''"),
        ("a,b\n1,2\n", ["--encoding", "klingon"], "--encoding klingon is none that Python knows"),
        ("é,b\n1,2\n", ["--encoding", "ascii"], "codec can't decode"),
        ("a,a \n1,2\n", [], "has 2 columns 'a'; columns are ['a', 'a']"),
        ("a,b\n1,2\n", ["--base", "nowhere"], "--base nowhere is no folder"),
        ("a,b\n1,2\n", ["--within", "nowhere"], "--within nowhere is no folder"),
    ],
)
def test_what_cannot_be_found_out_of_a_table_is_said(tmp_path, capsys, content, options, message):
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    code, out, err = run(capsys, "compare", str(tmp_path / "t.csv"), "--target", "b", *options)
    assert (code, out) == (2, "")
    assert message in err


def test_how_a_table_is_written_is_said_of_tables_alone(npz, capsys):
    arguments = ["compare", npz, "--target", "y", "--modality", "a=weight", "--sep", ";", "--encoding", "utf-8"]
    assert run(capsys, *arguments)[2] == "skmm: --sep, --encoding needs a .csv or .tsv file.\n"


# -- files that a table names ----------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path):
    """A folder with pictures, and a table beside them that names them."""
    image = pytest.importorskip("PIL.Image")
    for folder in ("album/photos", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(12):
            image.new("RGB", (4, 4), (20 * i, 0, 0)).save(tmp_path / folder / f"{i}.png")
    (tmp_path / "album/photos/link.png").symlink_to(tmp_path / "elsewhere/0.png")

    def write(cells, name="album/t.csv"):
        pd.DataFrame({"label": ["a", "b"] * 6, "photo": cells}).to_csv(tmp_path / name, index=False)
        return ["compare", str(tmp_path / name), "--target", "label", *QUICK]

    return write


@pytest.mark.parametrize("chosen", [[], ["--modality", "a=photo"]], ids=["all", "chosen"])
def test_relative_paths_start_at_the_table(album, tmp_path, capsys, monkeypatch, seen, chosen):
    command = album([f"photos/{i}.png" for i in range(12)]) + chosen
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(capsys, *command)[2] == "skmm: enough seen\n"
    made = seen["estimator"][0].fit_transform(seen["X"])
    assert made[next(iter(made))][:, 0, 0, 0].tolist() == [20 * i for i in range(12)]
    assert run(capsys, *command, "--base", str(tmp_path / "album/photos"))[2] != "skmm: enough seen\n"
    command = album([f"{i}.png" for i in range(12)]) + chosen
    code, _, err = run(capsys, *command)
    assert code == 2
    assert f"No such file or directory; looked for {tmp_path / 'album/0.png'}" in err
    assert run(capsys, *command, "--base", str(tmp_path / "album/photos"))[2] == "skmm: enough seen\n"


@pytest.mark.parametrize("chosen", [[], ["--modality", "a=photo"]], ids=["all", "chosen"])
@pytest.mark.parametrize("cell", ["{tmp}/elsewhere/0.png", "../elsewhere/0.png", "photos/link.png"])
def test_files_outside_of_the_folder_of_the_table_are_read_if_that_is_said(
    album, tmp_path, capsys, seen, chosen, cell
):
    command = album([cell.format(tmp=tmp_path)] * 6 + [f"photos/{i}.png" for i in range(6)]) + chosen
    run(capsys, *command)
    with pytest.raises(ValueError, match=f"row 0: .*it leads to {tmp_path}/elsewhere/0.png, outside of"):
        seen["estimator"][0].fit(seen["X"])
    command = album([cell.format(tmp=tmp_path)] * 12) + chosen
    code, out, err = run(capsys, *command)
    assert (code, out) == (2, "")
    assert f"it leads to {tmp_path}/elsewhere/0.png, outside of {tmp_path}/album; if files" in err
    assert run(capsys, *command, "--within", str(tmp_path))[2] == "skmm: enough seen\n"
    assert seen["estimator"][0].fit_transform(seen["X"]).kinds.popitem()[1] == "image"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.csv", "--target", "y"], "there is no file nowhere.csv"),
        (["{tmp}/films.xlsx"], "no suffix that skmm reads; valid are .npz, .csv, .tsv, .parquet"),
        (["--target", "y"], "--target needs a FILE"),
        (["{csv}", "--modality", "text=review"], "needs --target NAME; valid are ['label', 'review'"),
        (["{npz}", "--target", "y"], "needs --modality NAME=COLUMNS"),
        (["{csv}", "--target", "label", "--modality", "a=empty"], "column 'empty' has no values"),
        (["{tmp}/mixed.parquet", "--target", "y", "--modality", "a=x"], "column 'x' holds dict in row 0"),
        (["{csv}", "--target", "lable", "--modality", "a=review"], "has no 'lable'; valid are ['label', 'review'"),
        (["{csv}", "--target", "label", "--modality", "a=review,pirce"], "has no 'pirce'; valid are ['label'"),
        (["{csv}", *TABLE, "--groups", "usr"], "has no 'usr'; valid are ['label'"),
        (["{csv}", "--target", "label", "--modality", "review"], "for example image=photo,scan; got 'review'"),
        (["{csv}", *TABLE, "--modality", "text=title"], "--modality text is given twice"),
        (["{csv}", "--target", "label", "--modality", "a=review,label"], "contains the target 'label'"),
        (["{csv}", "--target", "title", "--modality", "a=age"], "'title' lacks 1 of its 48 values, the first"),
        (["{csv}", *TABLE, "--fusions", "glue"], "unknown fusion 'glue', valid are ['auto', "),
        (["{csv}", *TABLE, "--scoring", "beauty"], "beauty"),
        (["{csv}", *TABLE, "--cv", "1"], "n_splits=1"),
        (["{csv}", "--target", "value", "--task", "classification", "--modality", "a=price"], "y is 'continuous'"),
        (["{npz}", "--target", "y", "--modality", "a=sound,weight"], "must be 1-D or 2-D; 'sound' is 3-D"),
        (["{npz}", "--target", "y", "--modality", "a=noise"], "has no 'noise'; valid are ['y', 'sound'"),
        (["{tmp}/names.npz", "--target", "y", "--modality", "a=name"], "modality 'a' must be numeric"),
        (["{tmp}/short.npz", "--target", "y", "--modality", "a=x"], "the target has 4 rows, but the modalities: 3"),
        (["{tmp}/objects.npz", "--target", "y", "--modality", "a=x"], "cannot read"),
        (["{tmp}/broken.npz", "--target", "y", "--modality", "a=x"], "cannot read"),
        (["{tmp}/empty.csv", "--target", "y", "--modality", "a=x"], "cannot read"),
        (["{tmp}/header.csv", "--target", "y", "--modality", "a=x"], "has the columns ['x', 'y'] and no rows"),
        (["{tmp}", "--target", "y", "--modality", "a=x"], "is a folder; give one of its files"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_explained(csv, npz, tmp_path, capsys, arguments, message):
    (tmp_path / "films.xlsx").write_text("")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("x,y\n")
    (tmp_path / "broken.npz").write_text("no archive")
    np.savez(tmp_path / "names.npz", y=[0, 1], name=["a", "b"])
    np.savez(tmp_path / "short.npz", y=[0, 1, 0, 1], x=[1.0, 2.0, 3.0])
    np.savez(tmp_path / "objects.npz", y=[0, 1], x=np.array([{}, {}]))
    pd.DataFrame({"y": [0, 1], "x": [{"a": 1}, {"a": 2}]}).to_parquet(tmp_path / "mixed.parquet")
    places = {"csv": csv, "npz": npz, "tmp": tmp_path}
    code, out, err = run(capsys, "compare", *(argument.format(**places) for argument in arguments))
    assert code == 2
    assert out == ""
    assert err.startswith("skmm: ")
    assert message in err


def test_files_with_pickles_are_never_unpickled(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").write_text, ("",))

    np.savez(tmp_path / "trap.npz", y=[0, 1], x=np.array([Trap(), Trap()]))
    arguments = ["--target", "y", "--modality", "a=x"]
    assert run(capsys, "compare", str(tmp_path / "trap.npz"), *arguments)[0] == 2
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(("suffix", "package"), [("csv", "pandas"), ("parquet", "pandas"), ("parquet", "pyarrow")])
def test_a_lacking_package_names_the_extra(tmp_path, capsys, monkeypatch, suffix, package):
    path = tmp_path / f"films.{suffix}"
    path.write_text("")
    monkeypatch.setitem(sys.modules, package, None)
    if package == "pyarrow":
        monkeypatch.setattr("pandas.read_parquet", lambda path: __import__("pyarrow"))
    code, _, err = run(capsys, "compare", str(path), *TABLE)
    assert code == 2
    assert f"reading .{suffix} files needs more packages: {sys.executable} -m pip install " in err
    assert "(for skmm[dataframe])" in err


# -- the rest -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["fusions", "encoders", "optimizers"])
def test_list_prints_the_described_table(capsys, what):
    code, out, err = run(capsys, "list", what)
    assert (code, err) == (0, "")
    table = getattr(skmm, f"list_{what}")(describe=True)
    assert out == f"{table}\n"
    assert len(out.splitlines()) == len(table) + 1


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"skmm {skmm.__version__}\n"


@pytest.mark.parametrize(
    "argv",
    [[], ["compair"], ["list"], ["list", "colours"], ["compare", "--rows", "0"], ["compare", "--cv", "many"]],
)
def test_wrong_usage_exits_with_2(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert "usage: skmm" in capsys.readouterr().err


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "skmm", "compare", "nowhere.npz"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "skmm: there is no file nowhere.npz.\n"


@pytest.mark.filterwarnings("default:1 of .* rows cannot be read")
@pytest.mark.one_by_default
@pytest.mark.parametrize("chosen", [[], ["--modality", "a=photo", "--modality", "b=value"]], ids=["all", "chosen"])
def test_files_that_cannot_be_read(frame, tmp_path, capsys, chosen):
    image = pytest.importorskip("PIL.Image")
    paths = [tmp_path / f"{i}.png" for i in range(N)]
    for i, path in enumerate(paths):
        image.fromarray(np.full((4, 4, 3), 5 * i, np.uint8)).save(path)
    paths[7].write_bytes(b"no image")
    table = frame[["label", "value"]].assign(photo=[str(path) for path in paths])
    table.to_csv(tmp_path / "t.csv", index=False)
    command = ["compare", str(tmp_path / "t.csv"), "--target", "label", *chosen, *QUICK]
    assert main(command) != 0
    assert "7.png" in capsys.readouterr().err
    assert main([*command, "--unreadable", "missing"]) == 0
    (said, *_) = faults(capsys.readouterr().err)
    assert "rows cannot be read" in said


def test_ctrl_c_ends_the_command_without_a_result(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("skmm.model_selection._search_loop.SearchLoop.run", interrupted)
    assert main(["compare", "--fusions", "concat", "--rows", "200", "--jobs", "1", "--no-baselines"]) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert "skmm: interrupted.\ncompare_fusions ended after 0 of 5 fits." in err


def test_ctrl_c_prints_what_is_finished(npz, tmp_path, monkeypatch, capsys):
    run = SearchLoop.run

    def interrupted(self, until=None):
        if self.learners[0].estimator.fusion == "late":
            raise KeyboardInterrupt
        run(self, until)

    monkeypatch.setattr(SearchLoop, "run", interrupted)
    asked = ["compare", npz, "--target", "y", "--modality", "a=weight", "--modality", "b=sizes", *QUICK]
    wanted = tmp_path / "out.json"
    assert main([*asked, "--fusions", "concat,late", "--no-baselines", "--json", str(wanted)]) == 130
    out, err = capsys.readouterr()
    assert "\nconcat " in out
    assert "\nlate " not in out
    assert "skmm: interrupted.\ncompare_fusions ended after 2 of 4 fits." in err
    assert not wanted.exists()  # half a result is none that a program should read


def test_quantize_says_what_it_cannot_read(tmp_path, capsys):
    assert main(["quantize", str(tmp_path / "absent.onnx"), str(tmp_path / "q.onnx")]) == 2
    assert "there is no file" in capsys.readouterr().err
    assert main(["quantize", str(tmp_path / "absent.onnx"), str(tmp_path / "q.onnx"), "--to", "int4"]) == 2
    assert "'int4', valid are ['int8', 'float16']" in capsys.readouterr().err
