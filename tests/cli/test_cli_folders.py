"""Predictions of a folder of files, and of a large one, part by part: those of one file, and on after a stop."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from conftest import small
from sklearn.pipeline import make_pipeline

import skmm
from skmm import ModalityTransformer
from skmm.cli import main

N = 60
Y = np.arange(N) % 2
MANIFEST = "_skmm.json"


def run(capsys, *argv):
    code = main([str(argument) for argument in argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def make_frame():
    """Films whose codes look like numbers in the first half."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "film": [f"{i:04}" for i in range(N)],
            "code": [*rng.choice(["01", "02"], N // 2), *rng.choice(["01", "x1"], N // 2)],
            "price": np.where(np.arange(N) < 20, rng.integers(0, 9, N), rng.normal(size=N)) + Y,
            "review": [f"{'dull' if label else 'witty'} film of {i % 7} scenes" for i, label in enumerate(Y)],
            "tags": ["1, 2", "3, 4"] * (N // 2),
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.skmm"
    frame = make_frame().drop(columns="film")
    reader = ModalityTransformer.from_frame(frame, code="category", tags="category")
    skmm.save(make_pipeline(reader, small(n_members=2, max_epochs=2, experts=None)).fit(frame, Y), path)
    return path


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


def read(path):
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype={"film": str})


def parts_of(folder):
    return sorted(path for path in folder.iterdir() if path.name != MANIFEST)


@pytest.fixture
def films(tmp_path):
    """A folder of four .csv files, of 15 rows each."""
    (tmp_path / "films").mkdir()
    for k in range(4):
        write(make_frame()[15 * k : 15 * k + 15], tmp_path / "films" / f"part-{k}.csv")
    return tmp_path / "films"


# -- what is written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_parts_are_what_predict_makes_of_the_table_as_one_file(model, tmp_path, capsys, ending):
    frame = make_frame()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "_SUCCESS").touch()
    for k in range(3):
        write(frame[20 * k : 20 * k + 20], tmp_path / "in" / f"{k}.{ending}")
    whole = write(frame, tmp_path / f"whole.{ending}")
    code, said, _ = run(
        capsys, "predict", model, tmp_path / "in", "--out", tmp_path / "out", "--id", "film", "--batch", "7"
    )
    assert (code, said) == (
        0, f"{tmp_path / 'out'}: 60 rows of film, prediction, probability_0, probability_1 in 3 parts.\n"
    )  # fmt: skip
    assert run(capsys, "predict", model, whole, "--out", tmp_path / f"one.{ending}", "--id", "film")[0] == 0
    found = parts_of(tmp_path / "out")
    assert [part.name for part in found] == [f"{k}.{ending}" for k in range(3)]
    one = read(tmp_path / f"one.{ending}")
    # a sum may be rounded otherwise in its last bit where other rows go through the network with it
    pd.testing.assert_frame_equal(pd.concat(map(read, found), ignore_index=True), one, rtol=0, atol=1e-14)
    assert one["film"].tolist() == frame["film"].tolist()
    told = (
        frame.assign(film=None) if ending == "parquet" else pd.read_csv(whole, dtype=str, sep=None, engine="python")
    )
    by_hand = skmm.load(model).predict_proba(told.assign(price=frame["price"]))
    np.testing.assert_allclose(one[["probability_0", "probability_1"]], by_hand, atol=1e-12)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_each_part_is_to_the_bit_what_predict_makes_of_its_file(model, tmp_path, capsys, ending):
    (tmp_path / "in").mkdir()
    for k in range(2):
        write(make_frame()[30 * k : 30 * k + 27], tmp_path / "in" / f"{k}.{ending}")
    assert run(capsys, "predict", model, tmp_path / "in", "--out", tmp_path / "out", "--id", "code")[0] == 0
    for part in parts_of(tmp_path / "out"):
        alone = tmp_path / f"alone-{part.name}"
        assert run(capsys, "predict", model, tmp_path / "in" / part.name, "--out", alone, "--id", "code")[0] == 0
        pd.testing.assert_frame_equal(read(part), read(alone), check_exact=True)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_large_file_is_divided_into_parts(model, tmp_path, capsys, ending):
    large = write(make_frame(), tmp_path / f"large.{ending}")
    options = ["--id", "film", "--part-rows", "25", "--batch", "10"]
    code, said, _ = run(capsys, "predict", model, large, "--out", f"{tmp_path}/out/", *options)
    assert (code, "in 3 parts" in said) == (0, True)
    found = parts_of(tmp_path / "out")
    assert [part.name for part in found] == [f"large-0000{k}.{ending}" for k in range(3)]
    assert [len(read(part)) for part in found] == [25, 25, 10]
    run(capsys, "predict", model, large, "--out", tmp_path / f"one.{ending}", "--id", "film")
    one = read(tmp_path / f"one.{ending}")
    # a sum may be rounded otherwise in its last bit where other rows go through the network with it
    pd.testing.assert_frame_equal(pd.concat(map(read, found), ignore_index=True), one, rtol=0, atol=1e-14)
    found[1].unlink()
    code, said, _ = run(capsys, "predict", model, large, "--out", tmp_path / "out", *options)
    assert "3 parts, 2 of which were there before" in said
    pd.testing.assert_frame_equal(read(found[1]), one[25:50].reset_index(drop=True), rtol=0, atol=1e-14)


@pytest.mark.filterwarnings("default:column 'code'")
def test_a_warning_is_said_once_with_its_place(model, films, tmp_path, capsys):
    for path in films.iterdir():
        write(read_text(path).assign(code="new"), path)
    _, _, err = run(capsys, "predict", model, films, "--out", tmp_path / "out", "--batch", "5")
    (said,) = [line for line in err.splitlines() if line.startswith("skmm:")]
    assert said.startswith(f"skmm: {films / 'part-0.csv'}, rows 0 to 4: column 'code': 5 of 5 cells are categories")


def read_text(path):
    return pd.read_csv(path, dtype=str)


def test_the_bar_comes_to_its_end(model, films, tmp_path, capsys):
    _, _, err = run(capsys, "predict", model, films / "part-1.csv", "--out", f"{tmp_path}/out/", "--part-rows", "4")
    last = [line for line in err.splitlines() if line.startswith("predicting")][-1]
    assert last.startswith("predicting: 100% ")


def test_a_file_without_rows_gets_no_part(model, films, tmp_path, capsys):
    write(make_frame()[:0], films / "part-2.csv")
    code, said, err = run(capsys, "predict", model, films, "--out", tmp_path / "out")
    assert (code, "45 rows" in said, "part-2.csv has no rows" in err) == (0, True, True)
    code, said, _ = run(capsys, "predict", model, films, "--out", tmp_path / "out")
    assert "3 parts, 3 of which were there before" in said


def test_rows_of_a_part_are_refused_where_they_divide_nothing(model, films, tmp_path, capsys):
    few = ["--part-rows", "4"]
    code, _, err = run(capsys, "predict", model, films, "--out", tmp_path / "out", *few)
    assert (code, "--part-rows 4 divides one large file, and" in err) == (2, True)
    code, _, err = run(capsys, "predict", model, films / "part-1.csv", "--out", tmp_path / "out.csv", *few)
    assert (code, "is one file; end it in /" in err) == (2, True)
    assert not list(tmp_path.glob("out*"))


def test_a_folder_of_parts_is_not_gone_on_with_for_one_file_of_them(model, films, tmp_path, capsys):
    assert run(capsys, "predict", model, films, "--out", tmp_path / "out")[0] == 0
    code, _, err = run(capsys, "predict", model, films / "part-1.csv", "--out", tmp_path / "out")
    assert (code, "was written for another input, with part-0.csv" in err) == (2, True)


# -- stopped, and on -----------------------------------------------------------------------------------------------


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in parts_of(folder)}


def test_ctrl_c_leaves_whole_parts_and_the_same_command_goes_on(model, films, tmp_path, capsys, monkeypatch):
    run(capsys, "predict", model, films, "--out", tmp_path / "wanted", "--batch", "5")
    command = ["predict", model, films, "--out", tmp_path / "out", "--batch", "5"]
    calls = []

    def interrupted(*given):
        calls.append(given)
        if len(calls) == 8:  # in the middle of the third file
            raise KeyboardInterrupt
        return predictions(*given)

    from skmm.cli._folders import predictions

    with monkeypatch.context() as patched:
        patched.setattr("skmm.cli._folders.predictions", interrupted)
        code, _, err = run(capsys, *command)
    assert code == 130
    assert f"{tmp_path / 'out'} has 2 whole parts, and nothing else; the same command goes on." in err
    assert sorted(os.listdir(tmp_path / "out")) == [MANIFEST, "part-0.csv", "part-1.csv"]
    before = {path: path.stat().st_mtime_ns for path in parts_of(tmp_path / "out")}
    code, said, _ = run(capsys, *command)
    assert (code, "4 parts, 2 of which were there before" in said) == (0, True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "wanted")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def whole_parts(folder):
    return list(folder.glob("[!._]*"))


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True])
def test_a_killed_run_goes_on_to_the_same_bytes(model, tmp_path, capsys, large):
    frame = pd.concat([make_frame()] * 8)
    source = tmp_path / "films"
    if large:
        source = write(frame, tmp_path / "films.csv")
    else:
        source.mkdir()
        for k in range(8):
            write(frame[60 * k : 60 * k + 60], source / f"part-{k}.csv")
    options = ["--batch", "6", "--id", "film", *(["--part-rows", "60"] if large else [])]
    command = ["predict", str(model), str(source), "--out", f"{tmp_path}/out/", *options]
    process = subprocess.Popen([sys.executable, "-m", "skmm", *command], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(whole_parts(tmp_path / "out")) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    told = json.loads((tmp_path / "out" / MANIFEST).read_text())["sources"]
    done = {name for source in told.values() for name in source["parts"]}
    assert 1 <= len(done) < 8
    before = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in done}
    code, said, _ = run(capsys, *command)
    assert (code, "of which were there before" in said) == (0, True)
    run(capsys, "predict", model, source, "--out", f"{tmp_path}/wanted/", *options)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "wanted")
    assert len(bytes_of(tmp_path / "out")) == 8
    assert before == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in done}


def test_files_that_came_since_are_predicted_too(model, films, tmp_path, capsys):
    run(capsys, "predict", model, films, "--out", tmp_path / "out")
    write(make_frame()[:5], films / "part-9.csv")
    code, said, _ = run(capsys, "predict", model, films, "--out", tmp_path / "out")
    assert (code, "65 rows" in said, "5 parts, 4 of which were there before" in said) == (0, True, True)


# -- what is refused -----------------------------------------------------------------------------------------------


def other_model(model, films):
    skmm.save(skmm.load(model).set_params(verbose=True), films.parent / "m.skmm")
    return [films.parent / "m.skmm", films, "--out", films.parent / "out"]


def changed_input(model, films):
    write(make_frame()[:3], films / "part-1.csv")
    return [model, films, "--out", films.parent / "out"]


def lost_input(model, films):
    (films / "part-1.csv").unlink()
    return [model, films, "--out", films.parent / "out"]


def other_options(model, films):
    return [model, films, "--out", films.parent / "out", "--id", "film"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_model, "was written by another model."),
        (changed_input, "was written for another input: {films}/part-1.csv has changed since."),
        (lost_input, "was written for another input, with part-1.csv."),
        (other_options, "was written with --id [], and now it is ['film']."),
    ],
)
def test_what_was_written_otherwise_is_not_gone_on_with(model, films, tmp_path, capsys, change, said):
    assert run(capsys, "predict", model, films, "--out", tmp_path / "out")[0] == 0
    before = bytes_of(tmp_path / "out")
    command = ["predict", *change(model, films)]
    code, _, err = run(capsys, *command)
    assert (code, said.format(films=films) in err, "--force" in err) == (2, True, True)
    assert bytes_of(tmp_path / "out") == before
    code, said, _ = run(capsys, *command, "--force")
    assert (code, "there before" in said) == (0, False)
    assert len(parts_of(tmp_path / "out")) == len(list(films.iterdir()))


def nothing(films):
    pass


def empty(films):
    for path in films.iterdir():
        path.unlink()


def mixed(films):
    write(make_frame(), films / "more.parquet")


def folder_inside(films):
    (films / "more").mkdir()


def lacking(films):
    write(make_frame().drop(columns="price"), films / "part-2.csv")


def others_there(films):
    (films.parent / "out").mkdir()
    (films.parent / "out" / "notes.txt").touch()


def a_file_there(films):
    (films.parent / "out").touch()


def of_another_type(films):
    empty(films)
    write(make_frame(), films / "a.parquet")
    write(make_frame().astype({"price": str}), films / "b.parquet")


def cut(films):
    empty(films)
    write(make_frame(), films / "a.parquet")
    (films / "b.parquet").write_bytes((films / "a.parquet").read_bytes()[:-20])


def no_number(films):
    frame = make_frame().astype({"price": object})
    frame.loc[12, "price"] = "cheap"
    write(frame, films / "part-0.csv")


@pytest.mark.parametrize(
    ("change", "out", "said"),
    [
        (empty, "out", "{films} is empty; it should hold .csv, .tsv, .parquet files"),
        (mixed, "out", "files of the endings ['.csv', '.parquet'], such as part-0.csv, more.parquet"),
        (folder_inside, "out", "holds the folder more"),
        (lacking, "out", "{films}/part-2.csv lacks 1 of the 4 columns that {model} learned from: ['price']"),
        (of_another_type, "out", "column 'price' of {films}/b.parquet holds strings, and numbers in a.parquet"),
        (cut, "out", "cannot read {films}/b.parquet"),
        (others_there, "out", "holds other things, notes.txt"),
        (a_file_there, "out", "is a file, and predictions of {films} are parts in a folder"),
        (nothing, "films/out", "lies in {films}, where it would be read"),
        (nothing, "none/out", "there is no folder {films}/../none; make it first"),
        (nothing, "out.csv", "is called as a file"),
        (no_number, "out", "rows 10 to 14: column 'price', row 2: 'cheap' is no number"),
    ],
)  # fmt: skip
def test_what_cannot_be_predicted_is_named_and_nothing_is_half_written(model, films, capsys, change, out, said):
    change(films)
    command = ["predict", model, films, "--out", f"{films}/../{out}", "--batch", "5"]
    code, told, err = run(capsys, *command)
    assert (code, told) == (2, "")
    assert said.format(films=films, model=model) in err
    target = films.parent / out
    assert not target.is_dir() or {path.suffix for path in target.iterdir()} <= {".json", ".txt"}


def test_a_file_that_grows_while_it_is_read_is_no_part(model, films, tmp_path, capsys, monkeypatch):
    from skmm.cli._folders import predictions

    def growing(*given):
        with (films / "part-1.csv").open("a") as stream:
            stream.write("more")
        return predictions(*given)

    monkeypatch.setattr("skmm.cli._folders.predictions", growing)
    code, _, err = run(capsys, "predict", model, films / "part-1.csv", "--out", f"{tmp_path}/out/")
    assert (code, "part-1.csv is being written: it changed while it was read" in err) == (2, True)
    assert parts_of(tmp_path / "out") == []


def test_a_table_that_somebody_put_beside_the_parts_is_no_part(model, films, tmp_path, capsys):
    run(capsys, "predict", model, films, "--out", tmp_path / "out")
    (tmp_path / "out" / "mine.csv").write_text("mine")
    for more in ([], ["--force"]):
        code, _, err = run(capsys, "predict", model, films, "--out", tmp_path / "out", *more)
        assert (code, "holds other things, mine.csv" in err) == (2, True)
    assert (tmp_path / "out" / "mine.csv").read_text() == "mine"
    assert len(parts_of(tmp_path / "out")) == 5


def test_arrays_are_no_parts(model, tmp_path, capsys):
    np.savez(tmp_path / "a.npz", x=Y)
    code, _, err = run(capsys, "predict", model, tmp_path / "a.npz", "--out", f"{tmp_path}/out/")
    assert (code, "name a file in it" in err) == (2, True)


def test_a_column_that_is_written_is_no_id(model, films, tmp_path, capsys):
    for path in films.iterdir():
        write(read_text(path).assign(prediction=1), path)
    code, _, err = run(capsys, "predict", model, films, "--out", tmp_path / "out", "--id", "prediction")
    assert (code, "--id prediction has the name of a column that is written" in err) == (2, True)
    assert parts_of(tmp_path / "out") == []
