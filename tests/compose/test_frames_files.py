"""Tables of files: where they may lie, the forms they come in, and the tables of other packages."""

# ruff: noqa: F401, F811 - fixtures of another module are used by their names

import base64
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import soundfile
from conftest import small
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from test_frames import LABEL, N, beside_the_files, everything, kind_of, media, photo, reviews

from skmm import ModalityTransformer
from skmm.columns._tables import as_frame
from skmm.preprocessing import ImageLoader, VideoFrames

with_datasets = pytest.mark.skipif(find_spec("datasets") is None, reason="no datasets: pip install datasets")


# -- where files lie ---------------------------------------------------------------------------------------------


@pytest.fixture
def album(tmp_path, monkeypatch):
    """A folder of a table, in which the test is run, with pictures, and one beside it."""
    for folder in ("table/photos", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(6):
            photo(tmp_path / folder / f"{i}.png", i % 2)
    (tmp_path / "table/photos/link.png").symlink_to(tmp_path / "elsewhere/0.png")
    (tmp_path / "table/photos/folder").symlink_to(tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path / "table")
    return tmp_path


INSIDE = [f"photos/{i}.png" for i in range(6)]


def test_relative_paths_start_at_the_base(album, monkeypatch):
    df = pd.DataFrame({"photo": INSIDE, "price": np.linspace(0, 1, 6)})
    wanted = ModalityTransformer.from_frame(df).fit_transform(df)["photo"]
    monkeypatch.chdir(album)
    with pytest.raises(ValueError, match=f"'photos/0.png': No such file.*; looked for {album}/photos/0.png"):
        ModalityTransformer.from_frame(df)
    for base in (Path("table"), str(album / "table")):
        found = ModalityTransformer.from_frame(df, base_dir=base).fit_transform(df)["photo"]
        np.testing.assert_array_equal(found, wanted)
    with pytest.raises(ValueError, match="base_dir must be a folder that exists, or None, got 'nowhere'"):
        ModalityTransformer.from_frame(df, base_dir="nowhere")


@pytest.mark.parametrize(
    "cell",
    [
        "{}/elsewhere/0.png",
        "../elsewhere/0.png",
        "photos/link.png",
        "photos/folder/0.png",
        "photos/../../elsewhere/0.png",
    ],
)
@pytest.mark.parametrize(
    "form", [str, Path, lambda cell: {"bytes": None, "path": cell}, lambda cell: [INSIDE[0], cell]]
)
def test_files_elsewhere_are_read_only_if_that_is_said(album, cell, form):
    cell = cell.format(album)
    df = pd.DataFrame({"photo": pd.Series([form(c) for c in [*INSIDE, cell]]), "price": np.linspace(0, 1, 7)})
    transformer = ModalityTransformer.from_frame(df)
    elsewhere = f"it leads to {album}/elsewhere/0.png, outside of {album}/table; .* within='{album}'"
    with pytest.raises(ValueError, match=f"row 6: .*{elsewhere}"):
        transformer.fit(df)
    transformer.fit(df[:6])
    with pytest.raises(ValueError, match=f"row 6: .*{elsewhere}"):  # and later rows are no less from others
        transformer.transform(df)
    with pytest.raises(ValueError, match=elsewhere):
        ModalityTransformer.from_frame(df[6:])
    assert ModalityTransformer.from_frame(df, within=album).fit_transform(df).present["photo"].all()
    assert ModalityTransformer.from_frame(df, within="/").fit_transform(df).present["photo"].all()
    with pytest.warns(UserWarning, match=f"1 of 7 rows cannot be read and are missing; row 6: .*{elsewhere}"):
        blocks = ModalityTransformer.from_frame(df, errors="missing").fit_transform(df)
    assert blocks.present["photo"].tolist() == [True] * 6 + [False]


@pytest.mark.parametrize(
    "address", ["http://x.org/0.png", "https://x.org/0.png", "file:///0.png", "file:0.png", "s3://x/0.png"]
)
def test_what_stands_at_an_address_is_not_fetched(album, address):
    df = pd.DataFrame({"photo": [*INSIDE, address], "price": np.linspace(0, 1, 7)})
    transformer = ModalityTransformer.from_frame(df, within="/")
    with pytest.raises(ValueError, match="row 6: .* it is an address .* is not fetched; store it in files"):
        transformer.fit(df)


def test_a_loader_that_is_given_reads_no_more_than_others(album):
    df = pd.DataFrame({"photo": [*INSIDE, "../elsewhere/0.png"], "price": np.linspace(0, 1, 7)})
    own = ImageLoader(8)
    for given in (own, make_pipeline(own, FunctionTransformer())):
        with pytest.raises(ValueError, match="row 6: .* outside of"):
            ModalityTransformer.from_frame(df, photo=given).fit(df)
    assert (own.base_dir, own.within) == (None, None)
    own = ImageLoader(8, within=album)
    assert ModalityTransformer.from_frame(df, photo=own).fit_transform(df)["photo"].shape == (7, 8, 8, 3)


def test_auto_reads_files_of_the_working_directory(album):
    df = pd.DataFrame({"photo": INSIDE * 4, "price": np.linspace(0, 1, 24)})
    model = small(modalities="auto", max_epochs=1).fit(df, np.arange(24) % 2)
    later = pd.DataFrame({"photo": [f"{album}/elsewhere/0.png"], "price": [0.5]})
    with pytest.raises(ValueError, match="row 0: .* outside of"):
        model.predict(later)


# -- files in other forms ----------------------------------------------------------------------------------------


def in_base64(content):
    return base64.b64encode(content).decode()


FORMS = {
    "dicts with bytes": lambda file: {"bytes": Path(file).read_bytes(), "path": None},
    "dicts with bytes and another's path": lambda file: {"bytes": Path(file).read_bytes(), "path": "/dev/null"},
    "dicts with paths": lambda file: {"bytes": None, "path": str(file)},
    "base64": lambda file: in_base64(Path(file).read_bytes()),
    "base64 in lines": lambda file: base64.encodebytes(Path(file).read_bytes()).decode(),
    "base64 of addresses": lambda file: base64.urlsafe_b64encode(Path(file).read_bytes()).decode().rstrip("="),
    "data addresses": lambda file: f"data:image/x;charset=utf-8;base64,{in_base64(Path(file).read_bytes())}",
}
TABLES = {
    "pandas": lambda columns: pd.DataFrame(
        {name: pd.Series(column, dtype=object) for name, column in columns.items()}
    ),
    "polars": pl.DataFrame,
    "arrow": pa.table,
    "pandas of arrow": lambda columns: pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
}


@pytest.mark.parametrize("name", ["photo", "voice", "scene"])
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", FORMS)
def test_files_in_every_form_are_read_as_files(media, form, table, name):
    files = media[name][:4]
    of_paths = pd.DataFrame({"x": files})
    wanted = ModalityTransformer.from_frame(of_paths).fit_transform(of_paths)
    df = TABLES[table]({"x": [None, *(FORMS[form](file) for file in files)]})
    transformer = ModalityTransformer.from_frame(df)
    assert transformer.describe()["kind"] == [{"photo": "image", "voice": "audio", "scene": "video"}[name]]
    found = transformer.fit_transform(df)
    assert found.present["x"].tolist() == [False, *[True] * 4]
    for row in range(4):
        np.testing.assert_array_equal(found["x"][row + 1], wanted["x"][row])


@pytest.mark.parametrize("table", TABLES)
def test_sounds_that_are_decoded_come_with_their_rate(media, table):
    waveforms = [soundfile.read(file, dtype="float32") for file in media["voice"][:4]]
    cells = [{"array": list(map(float, w)), "sampling_rate": rate, "path": None} for w, rate in waveforms]
    df, pairs = TABLES[table]({"x": cells}), pd.DataFrame({"x": pd.Series(waveforms)})
    found = ModalityTransformer.from_frame(df).fit_transform(df)["x"]
    wanted = ModalityTransformer.from_frame(pairs).fit_transform(pairs)["x"]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("table", TABLES)
def test_lists_of_pictures_are_videos(media, table):
    clips = [[media["photo"][i] for i in (row, row + 1, row + 2)] for row in range(4)]
    df = TABLES[table]({"x": clips})
    transformer = ModalityTransformer.from_frame(df)
    assert transformer.describe()["kind"] == ["video"]
    found = transformer.fit_transform(df)["x"]
    frames = [np.stack([np.asarray(Image.open(file)) for file in clip]) for clip in clips]
    np.testing.assert_array_equal(found, VideoFrames().transform(frames))


def test_a_frame_that_cannot_be_read_is_named(media):
    clips = [media["photo"][:3], [media["photo"][0], "absent.jpg", media["photo"][1]], [media["photo"][0], None]]
    with pytest.raises(ValueError, match="row 1: cannot read .*: its frame 1, 'absent.jpg': No such file"):
        VideoFrames(3).transform(clips)
    with pytest.raises(ValueError, match="row 0: cannot read .*: its frame 1, .*: it is missing"):
        VideoFrames(3).transform(clips[2:])
    assert np.ma.getmaskarray(VideoFrames(1, fps=1).transform(clips[1:2])).sum() == 0  # others are not read


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([["drama", "crime"], ["crime"], ["drama.x"]], None),
        ([{"a": 1}] * 3, None),
        ([f"{i:064x}" for i in range(200, 203)] * 2, "category"),  # a checksum is base64 too, of no file
    ],
)
def test_what_is_no_file_is_not_taken_for_one(cells, kind):
    if kind is None:
        with pytest.raises(ValueError, match="column 'x'"):
            kind_of(cells)
    else:
        assert kind_of(cells) == kind


def test_broken_base64_is_named(media):
    good = [in_base64(Path(file).read_bytes()) for file in media["photo"][:4]]
    df = pd.DataFrame({"x": [*good, good[0][:200] + "*" + good[0][200:], "data:image/png,%89PNG"]})
    transformer = ModalityTransformer.from_frame(df)
    with pytest.raises(ValueError, match=r"row 4: cannot read '/9j/.{33}\.\.\.': its base64 is broken"):
        transformer.fit(df)
    with pytest.raises(
        ValueError, match="row 0: .*: its content is not in base64: 'data:image/png,' should end in"
    ):
        transformer.fit(df[:4]).transform(df[5:])


# -- tables of other packages ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_table_of_arrow_is_a_frame(everything):
    everything["track"] = [None if cell is None else cell.tolist() for cell in everything["track"]]
    table = pa.Table.from_pandas(everything)
    wanted = ModalityTransformer.from_frame(everything)
    found = ModalityTransformer.from_frame(table)
    for column in ("column", "kind", "modality"):
        assert found.describe()[column] == wanted.describe()[column]
    blocks, rows = found.fit_transform(table), wanted.fit_transform(everything)
    for name in rows:
        assert blocks.kinds[name] == rows.kinds[name]
        np.testing.assert_array_equal(blocks.present[name], rows.present[name])
    np.testing.assert_array_equal(found.transform(table)["table"], rows["table"])
    model = small(modalities="auto", max_epochs=1)
    np.testing.assert_array_equal(
        model.fit(table, LABEL).predict_proba(table), model.fit(everything, LABEL).predict_proba(everything)
    )


def test_whole_numbers_of_arrow_stay_whole_where_some_are_missing():
    numbers = [2**60 + i for i in range(5)] + [None]
    frame = as_frame(pa.table({"n": numbers, "u": pa.array([1, None] * 3, pa.uint8()), "f": [0.5, None] * 3}))
    assert frame["n"].tolist()[:5] == numbers[:5]
    assert frame.dtypes.astype(str).tolist() == ["Int64", "UInt8", "float64"]


@with_datasets
def test_a_dataset_of_hugging_face_is_a_frame(media):
    import datasets

    features = {
        "photo": datasets.Image(),
        "clip": datasets.Sequence(datasets.Image()),
        "shop": datasets.ClassLabel(names=["north", "south"]),
        "review": datasets.Value("string"),
        "grid": datasets.Array2D((2, 3), "float32"),
    }
    columns = {
        "photo": media["photo"],
        "clip": [[file, media["photo"][0]] for file in media["photo"]],
        "shop": [i % 2 for i in range(N)],
        "review": reviews(),
        "grid": np.arange(6.0 * N, dtype=np.float32).reshape(N, 2, 3).tolist(),
    }
    data = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    transformer = ModalityTransformer.from_frame(data)
    kinds = dict(zip(transformer.describe()["column"], transformer.describe()["kind"], strict=True))
    assert kinds == {"photo": "image", "clip": "video", "shop": "category", "review": "text", "grid": "array"}
    blocks = transformer.fit_transform(data)
    order = np.random.default_rng(0).permutation(N)
    shuffled = transformer.transform(data.select(order))
    for name in ("photo", "clip", "grid", "table"):
        np.testing.assert_array_equal(shuffled[name], blocks[name][order])
    assert as_frame(data)["shop"].tolist() == ["north", "south"] * (N // 2)
    model = small(modalities="auto", max_epochs=1).fit(data, LABEL)
    assert model.predict(data.select(range(3))).shape == (3,)
    for wrong, message in [
        (datasets.DatasetDict({"train": data}), r"X is a DatasetDict of \['train'\]: give one of these, such as"),
        (data.to_iterable_dataset(), "X is a IterableDataset, whose rows can only be read in turn"),
    ]:
        for method in (ModalityTransformer.from_frame, transformer.fit, transformer.transform):
            with pytest.raises(ValueError, match=message):
                method(wrong)
