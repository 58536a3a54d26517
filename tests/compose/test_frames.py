"""DataFrames whose columns say themselves what they are."""

import datetime
import pickle
import warnings
from decimal import Decimal
from pathlib import Path

import av
import numpy as np
import pandas as pd
import polars as pl
import pytest
import soundfile
from conftest import small
from PIL import Image
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from skmm import Blocks, ModalityTransformer, MultimodalClassifier, MultimodalRegressor
from skmm.compose._frames import modality_of, plan_frame
from skmm.compose._kinds import Loading
from skmm.preprocessing import ImageLoader
from skmm.training._samples import frame_order

N = 24
LABEL = np.arange(N) % 2
WORDS = ["good", "fine", "long", "short", "old", "new", "film", "plot", "cast", "music"]


def reviews(n=N):
    rng = np.random.default_rng(0)
    return [f"{['bad', 'great'][i % 2]} {' '.join(rng.choice(WORDS, 4))} {i}" for i in range(n)]


def shops(n=N):
    return np.resize(["north", "south", "south"], n)


@pytest.fixture(autouse=True)
def beside_the_files(tmp_path_factory, monkeypatch):
    """The tables lie in the folder that holds all files: those elsewhere are not read."""
    monkeypatch.chdir(tmp_path_factory.getbasetemp())


def photo(file, label):
    Image.new("RGB", (20, 12), (40 + 150 * int(label), 90, 20)).save(file)


def clip(file, label):
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(10):
            picture = np.full((32, 32, 3), 30 + 150 * label, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


def sound(file, label):
    soundfile.write(file, 0.5 * np.sin(2 * np.pi * 400 * (1 + 2 * label) * np.arange(2000) / 8000), 8000)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Files of each kind, one for each row."""
    folder = tmp_path_factory.mktemp("media")
    files = {}
    for kind, extension, write in [("photo", "jpg", photo), ("voice", "wav", sound), ("scene", "mp4", clip)]:
        files[kind] = [str(folder / f"{kind}{i}.{extension}") for i in range(N)]
        for file, label in zip(files[kind], LABEL, strict=True):
            write(file, label)
    return files


@pytest.fixture
def everything(media):
    """One column of each kind, each with gaps of its own."""
    rng = np.random.default_rng(0)
    columns = {
        "price": rng.normal(size=N) + LABEL,
        "shop": shops(),
        "day": pd.date_range("2020-01-01", periods=N, freq="9D").to_numpy(),
        "review": reviews(),
        **media,
        "embedding": list(rng.normal(size=(N, 5)).astype(np.float32) + LABEL[:, None]),
        "track": [rng.normal(size=(3 + i % 4, 2)) + LABEL[i] for i in range(N)],
    }
    df = pd.DataFrame({name: pd.Series(list(column), dtype=None) for name, column in columns.items()})
    for name in df:
        df.loc[rng.choice(N, 3, replace=False), name] = None
    return df


def kind_of(column):
    """Kind that is found, of the column as pandas and as numpy objects hold it."""
    df = pd.DataFrame({"x": column, "other": np.arange(len(column)) % 3 + 0.5})
    return next(row for row in ModalityTransformer.from_frame(df).describe() if row["column"] == "x")["kind"]


# -- what is found -----------------------------------------------------------------------------------------------

KINDS = {
    "fractions": (np.linspace(0, 1, N), "number"),
    "whole numbers": (np.arange(N) % 7, "number"),
    "numbers that come in no order": (np.random.default_rng(0).permutation(N), "number"),
    "nullable integers": (pd.array([1, None, 3, 5] * 6, dtype="Int64"), "number"),
    "decimals as objects": ([Decimal("1.5").__float__(), 2, np.float32(3.5), None] * 6, "number"),
    "durations": (pd.to_timedelta(np.arange(N) * 7, unit="h"), "number"),
    "true and false": (LABEL == 1, "category"),
    "true, false and gaps": ([True, None, False, True] * 6, "category"),
    "few strings": (shops(), "category"),
    "categories": (pd.Categorical(np.arange(N)), "category"),
    "codes that come again": ([f"x{i % 14}" for i in range(N)], "category"),
    "texts": (reviews(), "text"),
    "texts without spaces": (
        [f"{'很好的电影'[i % 5 :]}{'不坏'[: i % 3]}{'好' * i}" for i in range(N)],
        "characters",
    ),
    "dates": (pd.date_range("2020-01-01", periods=N), "date"),
    "dates with a zone": (pd.date_range("2020-01-01", periods=N, tz="Europe/Vienna"), "date"),
    "dates as objects": ([datetime.date(2020, 1, 1 + i) for i in range(N)], "date"),
    "dates as strings": ([f"2020-01-{1 + i:02}" for i in range(N)], "date"),
    "dates, day first": ([f"{1 + i}/3/2020" for i in range(N)], "day/month/year"),
    "dates and times, day first": ([f"{1 + i:02}.03.2020 10:30" for i in range(N)], "day/month/year"),
    "dates, month first": ([f"03-{1 + i:02}-2020" for i in range(N)], "month/day/year"),
    "dates, day or month first": ([f"{1 + i % 12}/{1 + i % 7}/{2000 + i}" for i in range(N)], "characters"),
    "few dates, day or month first": (["1/2/2020", "2/3/2020", "4/3/2020"] * 8, "category"),
    "no dates": ([f"{30 + i % 2}/2/2020" for i in range(N)], "category"),
    "times of day": ([datetime.time(i, 30) for i in range(N)], "date"),
    "numbers as strings": ([f"{i * 1.5}" for i in range(N)], "number"),
    "few numbers as strings": (["1", "2", " 3 ", "4."] * 6, "number"),
    "codes that start with 0": ([f"{i % 14:03}" for i in range(N)], "category"),
    "decimals": ([Decimal(i) / 7 for i in range(N)], "number"),
    "durations as objects": (
        pd.Series([datetime.timedelta(hours=i * i) for i in range(N)], dtype=object),
        "number",
    ),
    "years in order": (np.arange(1990, 1990 + N), "number"),
    "times as strings": ([f"2020-01-01 10:{i:02}:00" for i in range(N)], "date"),
    "versions": ([f"2020-01-{90 - i % 9} b" for i in range(N)], "category"),
    "vectors": (list(np.eye(N)), "array"),
    "lists": ([[1.0, 2.0, float(i)] for i in range(N)], "array"),
    "sequences": ([np.ones((2 + i % 3, 4)) for i in range(N)], "sequence"),
    "pictures of one size": ([np.full((8, 8, 3), i, np.uint8) for i in range(N)], "array"),
    "pictures of many sizes": ([np.full((8, 8 + i, 3), i, np.uint8) for i in range(N)], "image"),
    "pictures": ([Image.new("L", (4, 4), i) for i in range(N)], "image"),
    "waveforms": ([(np.full(800, i / N), 8000) for i in range(N)], "audio"),
}


@pytest.mark.filterwarnings("ignore:column 'x' is read as:UserWarning")  # that a date may be meant is said
@pytest.mark.parametrize(("column", "kind"), KINDS.values(), ids=KINDS)
def test_a_column_says_what_it_is(column, kind):
    assert kind_of(column) == kind


@pytest.mark.parametrize("name", ["photo", "voice", "scene"])
def test_files_are_known_by_name_and_by_what_can_be_read(media, name):
    kind = {"photo": "image", "voice": "audio", "scene": "video"}[name]
    assert kind_of(media[name]) == kind
    assert kind_of([None, *media[name][1:]]) == kind


@pytest.mark.parametrize("odd", ["", "  ", "absent.txt", "absent", "nan", "absent.jfif"])
def test_most_of_the_cells_say_what_a_column_of_files_is(media, odd):
    """The loader finds the others: an empty path is a missing row, and any other is named."""
    df = pd.DataFrame({"x": [*media["photo"][:-1], odd], "price": np.linspace(0, 1, N)})
    transformer = ModalityTransformer.from_frame(df)
    row = next(iter(transformer.describe()))
    assert row["kind"] == "image"
    if not odd.strip():
        assert transformer.fit_transform(df).present["x"].tolist() == [True] * (N - 1) + [False]
        return
    if odd != "absent.jfif":
        assert "23 of 24 cells end in .jpg" in row["why"]
    with pytest.raises(ValueError, match=f"row 23: cannot read '{odd}': No such file"):
        transformer.fit_transform(df)


def test_half_of_one_kind_is_enough_if_the_rest_is_no_other_kind(media):
    assert kind_of(media["photo"][:12] + [f"x{i}" for i in range(12)]) == "image"
    assert kind_of(media["photo"][:13] + media["voice"][:11]) == "image"


@pytest.mark.parametrize("extension", ["jfif", "avif"])
def test_further_extensions_of_pictures(tmp_path, extension):
    files = [str(tmp_path / f"{i}.{extension}") for i in range(4)]
    for i, file in enumerate(files):
        photo(file, i % 2)
    assert kind_of(files) == "image"


@pytest.mark.parametrize(("extension", "container"), [("m4a", "ipod"), ("aac", "adts")])
def test_sound_that_libsndfile_does_not_read_is_read_as_that_of_a_video(tmp_path, extension, container):
    files = [str(tmp_path / f"{i}.{extension}") for i in range(4)]
    for file in files:
        with av.open(file, "w", format=container) as output:
            stream = output.add_stream("aac", rate=16000, layout="mono")
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 16000
            for _ in range(8):
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
    df = pd.DataFrame({"x": files, "price": [1.0, 2.5, 2.0, 4.0]})
    transformer = ModalityTransformer.from_frame(df)
    assert next(iter(transformer.describe()))["transformer"] == "VideoAudio + LogMel"
    assert transformer.fit_transform(df).kinds["x"] == "sequence"


@pytest.mark.parametrize("name", ["photo", "voice", "scene"])
def test_contents_of_files_are_known_by_what_can_be_read(media, name):
    contents = [Path(file).read_bytes() for file in media[name][:4]]
    kind = {"photo": "image", "voice": "audio", "scene": "video"}[name]
    assert kind_of(contents) == kind_of([*map(bytearray, contents)]) == kind


def test_files_are_tried_over_the_whole_column(media):
    """Neither are the first the only ones, nor the evenly spaced ones."""
    for there in (slice(5, None), slice(1, 2)):
        paths = np.array([f"absent{i}.jpg" for i in range(N)], dtype=object)
        paths[there] = np.array(media["photo"], dtype=object)[there]
        assert kind_of(paths) == "image"


@pytest.mark.parametrize("errors", ["raise", "missing"])
def test_what_becomes_of_unreadable_files_is_told_to_every_loader(media, errors):
    own = ImageLoader(8)
    df = pd.DataFrame({**media, "own": media["photo"], "review": reviews()})
    transformers, _ = plan_frame(df, {"own": own}, set(), Loading(errors))
    found = {name: made.get_params() for name, made, _ in transformers}
    assert found["photo"]["errors"] == found["voice"]["audioloader__errors"] == found["scene"]["errors"] == errors
    assert own.errors == "raise"
    for name in media:
        made, column = modality_of(df, [name], Loading(errors))
        assert column == name
        assert {v for p, v in made.get_params().items() if p.endswith("errors")} == {errors}
    with pytest.raises(ValueError, match=r"unknown errors 'skip', valid are \['raise', 'missing'\]"):
        plan_frame(df, {}, set(), Loading("skip"))


def test_three_in_a_hundred_may_be_unreadable(tmp_path):
    files = [str(tmp_path / f"{i}.png") for i in range(100)]
    for i, file in enumerate(files):
        photo(file, i % 2)
    for i in (0, 50, 99):
        Path(files[i]).write_bytes(b"no picture")
    df = pd.DataFrame({"photo": files, "price": np.linspace(0, 1, 100)})
    with pytest.raises(ValueError, match=r"row 0: cannot read '.*0.png': its content is no image"):
        ModalityTransformer.from_frame(df).fit_transform(df)
    transformer = ModalityTransformer.from_frame(df, errors="missing")
    with pytest.warns(UserWarning, match=r"3 of 100 rows cannot be read .*row 0") as said:
        blocks = transformer.fit_transform(df)
    assert len(said) == 1
    assert np.flatnonzero(~blocks.present["photo"]).tolist() == [0, 50, 99]


@pytest.mark.parametrize(
    ("name", "column", "why"),
    [
        ("empty", [None] * N, "all its cells are missing"),
        ("empty", np.full(N, np.nan), "all its cells are missing"),
        ("same", np.ones(N), "all its cells are 1.0"),
        ("same", ["a"] * N, "all its cells are 'a'"),
        ("row", np.arange(100, 100 + N), "it counts the rows"),
        ("n", np.arange(1, N + 1), "it counts the rows"),
        ("link", [f"https://x.org/item{i}" for i in range(N)], "it names each row by a string of its own"),
        ("user_id", np.random.default_rng(0).permutation(N) * 7, "it names each row by a number of its own"),
        ("code", [f"u-{i * i}" for i in range(N)], "it names each row by a string of its own"),
    ],
)
def test_what_tells_nothing_is_dropped_with_a_warning_and_can_be_kept(name, column, why):
    df = pd.DataFrame({name: column, "price": np.linspace(0, 1, N)})
    with pytest.warns(UserWarning, match=f"column {name!r} is dropped") as caught:
        transformer = ModalityTransformer.from_frame(df)
    assert [str(w.message).partition(". Keep")[0] for w in caught] == [f"column {name!r} is dropped: {why}"]
    assert caught[0].filename == __file__
    row = next(iter(transformer.describe()))
    assert (row["column"], row["modality"], row["transformer"]) == (name, None, "dropped")
    assert row["why"].endswith(why)
    assert transformer.fit_transform(df)["table"].shape == (N, 1)
    assert ModalityTransformer.from_frame(df, {name: "category"}).fit_transform(df)["table"].shape[1] > 1


def test_one_value_and_gaps_tell_by_the_gaps():
    df = pd.DataFrame({"discount": [5.0, None] * 12})
    df["price"] = np.linspace(0, 1, N)
    blocks = ModalityTransformer.from_frame(df).fit_transform(df)
    np.testing.assert_array_equal(blocks["table"][:, 1:].argmax(axis=1), [0, 1] * 12)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a", 1.5] * 12, r"column 'x' mixes str in row 0 \('a'\) and float in row 1 \(1.5\); say what it is"),
        ([{"a": 1}] * N, r"column 'x' holds dict in row 0 .*no transformer reads"),
        ([["a", "b"]] * N, r"column 'x', row 0: \['a', 'b'\] is no array of numbers"),
        (["a.jpg", "b.wav"] * 12, r"column 'x' mixes image and audio files \('a.jpg', 'b.wav'\)"),
        (
            [f"nowhere{i}.png" for i in range(N)],
            r"looks like image files .*none of the 24 that were tried can be read.*No such",
        ),
        ([f"nowhere{i}.wav" for i in range(N)], r"column 'x' looks like audio files"),
        (
            [b"no picture"] * N,
            r"column 'x' looks like image or audio or video or soundtrack files .*its content is no image",
        ),
        ([f"https://x.org/{i}.jpg?w=3" for i in range(N)], r"column 'x' looks like image files .*is not fetched"),
        ([f"photos/{i}.heic" for i in range(N)], r"column 'x' looks like image files .*end in .heic.*No such file"),
        ([f"photos/{i}.png " for i in range(N)], r"column 'x' looks like image files .*'photos/0.png ': No such"),
        (
            [f"data/{i}.npy" for i in range(N)],
            r"column 'x' looks like paths of files, such as 'data/0.npy', of which",
        ),
        ([f"my data/{i}.npy" for i in range(N)], r"column 'x' looks like paths of files, such as 'my data/0.npy'"),
        ([*["1.5", "2", "-3e4"] * 7, "cheap", "7", "8"], r"column 'x' holds numbers, .* but 1: row 21 has 'cheap'"),
        ([[[1, 2], [3]]] * N, r"column 'x', row 0: \[\[1, 2\], \[3\]\] is no array of numbers"),
        ([[1.0, 2.0], []] * 12, r"column 'x', row 1: \[\] is empty; mark what is missing with None"),
        (np.ones(N) * 1j, r"column 'x' holds complex numbers"),
    ],
)
def test_what_cannot_be_read_names_the_column_and_the_way_out(column, message):
    with pytest.raises(ValueError, match=f"{message}.*") as caught:
        ModalityTransformer.from_frame(pd.DataFrame({"x": column, "price": np.linspace(0, 1, N)}))
    assert "from_frame(df, {'x': 'category'})" in str(caught.value)


def test_files_without_an_extension_are_not_dropped(tmp_path):
    files = [tmp_path / str(i) for i in range(N)]
    for file in files:
        photo(file.with_suffix(".png"), 1)
        file.with_suffix(".png").rename(file)
    df = pd.DataFrame({"x": map(str, files), "price": np.linspace(0, 1, N)})
    with pytest.raises(
        ValueError, match="column 'x' looks like paths of files, .*name the kind of file \\('image', "
    ):
        ModalityTransformer.from_frame(df)
    assert ModalityTransformer.from_frame(df, x="image").fit_transform(df).kinds["x"] == "image"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"prise": "number"}, r"unknown column 'prise', valid are \['price'\]"),
        ({"price": "numeric"}, r"unknown kind of column 'price': 'numeric', valid are \["),
        ({"price": 3}, r"column 'price': 3 is neither a kind \(.*\) nor a transformer"),
        ({"price": "drop"}, r"no column of \['price'\] is left"),
    ],
)
def test_overrides_that_say_nothing_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        ModalityTransformer.from_frame(pd.DataFrame({"price": [1.0, 2.5, 2.0]}), overrides)


def test_a_name_that_stands_twice_is_an_error():
    df = pd.DataFrame([[1.0, 2.5]] * 3, columns=["a", "a"])
    with pytest.raises(ValueError, match="column 'a' stands in the table 2 times"):
        ModalityTransformer.from_frame(df)


def test_only_a_frame_has_columns():
    with pytest.raises(ValueError, match="in a pandas or polars DataFrame, got ndarray"):
        ModalityTransformer.from_frame(np.ones((3, 2)))


# -- what becomes of it -------------------------------------------------------------------------------------------


def test_every_column_is_decided_and_described(everything):
    transformer = ModalityTransformer.from_frame(everything)
    described = {row["column"]: (row["kind"], row["modality"]) for row in transformer.describe()}
    assert described == {
        "price": ("number", "table"),
        "shop": ("category", "table"),
        "day": ("date", "table"),
        "review": ("text", "review"),
        "photo": ("image", "photo"),
        "voice": ("audio", "voice"),
        "scene": ("video", "scene"),
        "embedding": ("array", "embedding"),
        "track": ("sequence", "track"),
    }
    blocks = transformer.fit_transform(everything)
    assert blocks.kinds == {
        "table": "vector", "review": "sparse", "photo": "image", "voice": "sequence", "scene": "video",
        "embedding": "vector", "track": "sequence",
    }  # fmt: skip
    for name in blocks.keys() - {"table"}:
        np.testing.assert_array_equal(blocks.present[name], everything[name].notna())


def test_polars_gives_what_pandas_gives(everything):
    simple = everything[["price", "shop", "day", "review"]]
    wanted = ModalityTransformer.from_frame(simple).fit_transform(simple)
    same = pl.DataFrame(
        {name: [None if pd.isna(v) else v for v in column] for name, column in simple.items()}
    )  # fmt: skip
    found = ModalityTransformer.from_frame(same)
    assert found.describe()["kind"] == ["number", "category", "date", "text"]
    blocks = found.fit_transform(same)
    np.testing.assert_allclose(blocks["table"], wanted["table"])
    assert (blocks["review"] != wanted["review"]).nnz == 0


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pl.Series([{"a": 1}, {"a": 2}, {"a": 3}]),
            r"column 'x' is a Struct\(.*make columns of its fields \(unnest\)",
        ),
        (
            pl.Series([1, 2, 3], dtype=pl.Int128),
            r"column 'x' of type Int128 is nothing that numpy reads .*; cast it",
        ),
    ],
)
def test_columns_of_polars_that_nothing_reads(column, message):
    with pytest.raises(ValueError, match=message):
        ModalityTransformer.from_frame(pl.DataFrame({"x": column, "price": [1.0, 2.5, 2.0]}))


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pl.Series([[1.0, 2.0], None, [3.0]]), "sequence"),
        (pl.Series([Decimal("1.5"), None, Decimal("2.5")]), "number"),
        (pl.Series([datetime.time(1), None, datetime.time(2)]), "date"),
        (pl.Series([[1.0, 2.0], None, [3.0, 5.0]]), "array"),
        (pl.Series([[1.0, 2.0], None, [3.0, 5.0]], dtype=pl.Array(pl.Float64, 2)), "array"),
        (pl.Series(["a", "b", None], dtype=pl.Categorical), "category"),
        (pl.Series(["a", "b", None], dtype=pl.Enum(["a", "b"])), "category"),
        (pl.Series([datetime.datetime(2020, 1, 1), None, datetime.datetime(2021, 1, 1)]), "date"),
        (pl.Series([True, None, False]), "category"),
    ],
)
def test_columns_of_polars(column, kind):
    df = pl.DataFrame({"x": column, "price": [1.0, 2.5, 2.0]})
    transformer = ModalityTransformer.from_frame(df)
    assert transformer.describe()["kind"][0] == kind
    assert len(transformer.fit_transform(df)) == 3


def test_the_table_is_imputed_standardised_and_one_hot():
    df = pd.DataFrame(
        {"price": [1.0, 2.5, None, 5.5], "shop": ["a", None, "b", "a"], "day": ["2020-01-01"] * 3 + ["2021-01-01"]}
    )
    blocks = ModalityTransformer.from_frame(df).fit_transform(df)
    price = np.array([1, 2.5, 3, 5.5])
    np.testing.assert_allclose(blocks["table"][:, 0], (price - price.mean()) / price.std())
    np.testing.assert_array_equal(blocks["table"][:, 1:4], [[1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]])
    years = blocks["table"][:, 4]
    np.testing.assert_allclose(years, np.array([-1, -1, -1, 3]) / np.sqrt(3))


def test_texts_that_share_their_modality_with_numbers():
    df = pd.DataFrame({"review": reviews(), "price": np.linspace(0, 1, N)})
    made, columns = modality_of(df, ["review", "price"])
    assert columns == ["review", "price"]
    assert made.fit_transform(df).shape[0] == N


def test_what_fit_has_not_seen_is_no_error_at_transform():
    df = pd.DataFrame({"price": [1.0, 2.5, 2.0, 3.5], "shop": ["a", "b", "a", "b"], "text": reviews(4)})
    transformer = ModalityTransformer.from_frame(df).fit(df)
    new = pd.DataFrame({"text": ["unheard of"], "shop": ["c"], "price": [None], "more": [1]})
    with pytest.warns(UserWarning, match="1 of 1 cells are categories that fit did not see, 'c' in 1; it saw 2"):
        blocks = transformer.transform(new)
    np.testing.assert_allclose(blocks["table"], [[0, 0, 0]], atol=1e-12)


def test_infinity_names_column_and_row():
    df = pd.DataFrame({"price": [1.0, np.inf, 2.0]})
    with pytest.raises(ValueError, match="column 'price', row 1: the number is infinite"):
        ModalityTransformer.from_frame(df).fit(df)


def test_names_of_modalities_never_clash():
    df = pd.DataFrame({"table": reviews(), "n_jobs": reviews(), "a__b": reviews(), "price": np.linspace(0, 1, N)})
    transformer = ModalityTransformer.from_frame(df)
    assert list(transformer.fit_transform(df)) == ["table", "table_", "n_jobs_", "a_b"]
    assert transformer.describe()["modality"] == ["table_", "n_jobs_", "a_b", "table"]


def test_columns_that_are_numbered(media):
    df = pd.DataFrame({0: np.linspace(0, 1, N), 1: reviews(), 2: media["photo"]})
    transformer = ModalityTransformer.from_frame(df, {1: CountVectorizer()})
    assert list(transformer.fit_transform(df)) == ["table", "1", "2"]
    assert transformer.describe()["transformer"][1] == "CountVectorizer"


NAMES = {
    "numbers": [0, 1, 2, 3],
    "numbers without the first": [1, 2, 3, 4],
    "numbers in another order": [3, 0, 2, 1],
    "fractions": [0.5, 1.5, 2.5, 3.5],
    "tuples": [("a", 1), ("a", 2), ("b", 1), ("b", 2)],
    "several levels": pd.MultiIndex.from_product([["a", "b"], ["x", "y"]]),
    "numbers and strings": ["a", 1, "b", 0],
    "dates": list(pd.date_range("2020-01-01", periods=4)),
}


@pytest.mark.parametrize("columns", NAMES.values(), ids=NAMES)
def test_columns_of_any_names_are_those_that_were_typed(columns):
    """What each column becomes is what it becomes under a name that is a string."""
    rng = np.random.default_rng(0)
    named = pd.DataFrame({"a": rng.normal(size=60), "b": np.arange(60) % 3 == 0, "c": rng.normal(size=60)})
    named["d"] = reviews(60)
    df = named.set_axis(pd.Index(columns) if not isinstance(columns, pd.MultiIndex) else columns, axis=1)
    wanted, found = ModalityTransformer.from_frame(named), ModalityTransformer.from_frame(df)
    assert found.describe()["kind"] == wanted.describe()["kind"] == ["number", "category", "number", "text"]
    assert found.describe()["column"] == list(df.columns)
    blocks, same = found.fit_transform(df), wanted.fit_transform(named)
    assert blocks["table"].shape == (60, 4)
    np.testing.assert_array_equal(blocks["table"], same["table"])
    assert (blocks[list(blocks)[1]] != same["d"]).nnz == 0
    # later they are found by their names, wherever they stand
    later = df[list(df.columns)[::-1]]
    np.testing.assert_array_equal(found.transform(later)["table"], blocks["table"])
    with pytest.raises(ValueError, match="X lacks the columns of every modality"):
        found.transform(named.set_axis(list("wxyz"), axis=1))
    assert len(found.get_feature_names_out()) == 4 + same["d"].shape[1]
    y = named["b"].to_numpy()
    auto = small(modalities="auto", max_epochs=2).fit(df[:24], y[:24])
    by_names = small(modalities="auto", max_epochs=2).fit(named[:24], y[:24])
    np.testing.assert_array_equal(auto.predict_proba(df), by_names.predict_proba(named))


def test_one_modality_of_columns_that_are_numbered():
    df = pd.DataFrame({2: np.linspace(0, 1, N), 0: reviews(), 1: shops()})
    made, columns = modality_of(df, [1, 2])
    read = ModalityTransformer([("table", made, columns)]).fit_transform(df)["table"]
    np.testing.assert_array_equal(read[:, 1:], np.stack([shops() == "north", shops() == "south"], axis=1))


@pytest.mark.parametrize("categorical", [pd.Categorical, lambda cells: pl.Series(cells, dtype=pl.Categorical)])
def test_cells_of_a_categorical_say_what_it_is(media, categorical):
    """The type tells how they are stored."""
    columns = {
        "photo": (media["photo"], "image"),
        "text": (reviews(), "text"),
        "shop": (shops().tolist(), "category"),
        "day": ([f"2020-01-{1 + i:02}" for i in range(N)], "date"),
        "price": ([f"${i * 1.5:.2f}" for i in range(N)], "number"),
    }
    make = pl.DataFrame if isinstance(categorical(["a"]), pl.Series) else pd.DataFrame
    df = make({name: categorical(cells) for name, (cells, _) in columns.items()})
    plain = pd.DataFrame({name: cells for name, (cells, _) in columns.items()})
    transformer = ModalityTransformer.from_frame(df)
    assert transformer.describe()["kind"] == [kind for _, kind in columns.values()]
    blocks, same = transformer.fit_transform(df), ModalityTransformer.from_frame(plain).fit_transform(plain)
    np.testing.assert_array_equal(blocks["photo"], same["photo"])
    np.testing.assert_array_equal(blocks["table"], same["table"])
    assert (blocks["text"] != same["text"]).nnz == 0


def test_columns_that_parquet_kept_as_dictionaries_are_typed_by_their_cells(tmp_path):
    df = pd.DataFrame(
        {"text": pd.Categorical(reviews()), "shop": pd.Categorical(shops()), "price": np.linspace(0, 1, N)}
    )
    df.to_parquet(tmp_path / "films.parquet")
    for options in ({}, {"dtype_backend": "pyarrow"}):
        read = pd.read_parquet(tmp_path / "films.parquet", **options)
        assert ModalityTransformer.from_frame(read).describe()["kind"] == ["text", "category", "number"]


@pytest.mark.parametrize(
    "column",
    [
        pd.Categorical([1, 2, 3] * 8),
        pd.Categorical([1.5, 2.5, None] * 8),
        pd.Categorical([True, False] * 12),
        pd.cut(np.linspace(0, 1, N), 4),
    ],
)
def test_numbers_and_intervals_that_are_declared_categories_are_such(column):
    assert kind_of(column) == "category"


SAVED = ["Unnamed: 0", "Unnamed: 0.1", "Unnamed: 0.1.1", "level_0", "level_1", "__index_level_0__", "", "row_names"]


@pytest.mark.parametrize("name", [*SAVED, "index", "Index"])
@pytest.mark.parametrize(
    "cells",
    [
        np.random.default_rng(0).permutation(N),
        np.random.default_rng(0).choice(1000, N, replace=False).astype(float),
        pd.array(np.random.default_rng(0).choice(1000, N, replace=False), dtype="Int64"),
        [str(i) for i in np.random.default_rng(0).permutation(N) + 5],
    ],
    ids=["shuffled", "cut", "nullable", "strings"],
)
def test_an_index_that_was_saved_is_no_feature(name, cells):
    df = pd.DataFrame({name: cells, "price": np.linspace(0, 1, N)})
    with pytest.warns(
        UserWarning, match=f"column {name!r} is dropped: (by its name it is the index|it names each row)"
    ):
        transformer = ModalityTransformer.from_frame(df)
    assert transformer.fit_transform(df)["table"].shape == (N, 1)


@pytest.mark.parametrize("name", SAVED)
def test_the_index_of_tables_that_were_put_together_is_no_feature(name):
    df = pd.DataFrame({name: np.random.default_rng(0).permutation(N) % (N // 2), "price": np.linspace(0, 1, N)})
    with pytest.warns(UserWarning, match=f"column {name!r} is dropped: by its name it is the index of a table"):
        ModalityTransformer.from_frame(df)


@pytest.mark.parametrize("cells", [np.arange(N) % 5, np.linspace(0, 1, N), shops()])
def test_a_column_that_pandas_named_may_hold_more_than_an_index(cells):
    df = pd.DataFrame({"Unnamed: 0": cells, "price": np.linspace(0, 1, N)})
    assert ModalityTransformer.from_frame(df).describe()["modality"] == ["table", "table"]


def test_noise_that_was_sorted_shuffled_and_saved_tells_nothing(tmp_path):
    """The index of the sorted table would tell the label."""
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"noise": rng.normal(size=120), "other": rng.normal(size=120), "y": np.arange(120) // 60})
    df.sample(frac=1, random_state=0).to_csv(tmp_path / "noise.csv")
    read = pd.read_csv(tmp_path / "noise.csv")
    with pytest.warns(UserWarning, match="column 'Unnamed: 0' is dropped"):
        transformer = ModalityTransformer.from_frame(read, y="drop")
    score = cross_val_score(make_pipeline(transformer, small(max_epochs=5)), read, read["y"], cv=3).mean()
    assert score < 0.7


def test_overrides_win_over_what_is_found(media):
    df = pd.DataFrame(
        {
            "note": shops(), "id": np.arange(N), "photo": media["photo"], "grade": LABEL + 1,
            "long name": np.linspace(0, 5, N), "rest": np.linspace(0, 1, N),
        }
    )  # fmt: skip
    transformer = ModalityTransformer.from_frame(
        df, {"long name": "drop"}, note="text", id="number", photo=ImageLoader(64), grade="category", rest="drop"
    )  # fmt: skip
    blocks = transformer.fit_transform(df)
    assert blocks["photo"].shape == (N, 64, 64, 3)
    assert blocks.kinds["note"] == "sparse"
    assert blocks["table"].shape == (N, 3)
    why = transformer.describe()["why"]
    assert why == ["you say so"] * 6
    assert transformer.describe()["modality"][-2:] == [None, None]


# -- in the tools of scikit-learn ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_column_of_each_kind_with_gaps_goes_through_a_grid_search(everything):
    pipe = make_pipeline(ModalityTransformer.from_frame(everything), small(max_epochs=8))
    grid = {
        "multimodalclassifier__fusion": ["concat", "attention"],
        "modalitytransformer__review__ngram_range": [(1, 1), (1, 2)],
    }
    search = GridSearchCV(pipe, grid, cv=2, error_score="raise").fit(everything, LABEL)
    assert search.best_score_ > 0.8
    assert search.score(everything, LABEL) == 1
    assert len(search.best_estimator_[0].describe()) == 9


@pytest.mark.slow
def test_a_classifier_reads_the_frame_itself(everything):
    clf = small(modalities="auto").fit(everything, LABEL)
    by_hand, order = ModalityTransformer.from_frame(everything), frame_order(everything)
    # what is learned from the rows does not depend on their order, to the last bit
    learned = by_hand.fit_transform(everything.iloc[order])[np.argsort(order)]
    expected = small().fit(learned, LABEL).predict_proba(by_hand.transform(everything))
    np.testing.assert_array_equal(clf.predict_proba(everything), expected)
    assert clf.modality_transformer_.describe()["column"] == list(everything)
    assert clf.feature_names_in_.tolist() == list(everything)
    assert clf.n_features_in_ == 9
    shuffled = everything[list(everything)[::-1]]
    np.testing.assert_array_equal(clf.predict_proba(shuffled), clf.predict_proba(everything))
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict(everything), clf.predict(everything))


def test_a_regressor_reads_the_frame_itself():
    df = pd.DataFrame({"price": np.linspace(0, 1, N), "shop": shops(), "review": reviews()})
    reg = small(MultimodalRegressor, modalities="auto", max_epochs=60).fit(df, 3 * df["price"])
    assert reg.score(df, 3 * df["price"]) > 0.8


@pytest.mark.parametrize("X", [np.ones((4, 2)), [[1, 2]] * 4])
def test_auto_needs_a_frame(X):
    with pytest.raises(
        ValueError, match="modalities='auto' reads a pandas or polars DataFrame, .* Face, got (ndarray|list)"
    ):
        MultimodalClassifier(modalities="auto").fit(X, [0, 1, 0, 1])


def test_blocks_are_taken_as_they_are_with_auto():
    X = Blocks(a=np.linspace(0, 1, N)[:, None] + LABEL[:, None])
    assert small(modalities="auto").fit(X, LABEL).predict(X).shape == (N,)


def test_a_clone_still_describes(everything):
    transformer = ModalityTransformer.from_frame(everything)
    assert clone(transformer).describe()["why"] == transformer.describe()["why"]
    assert pickle.loads(pickle.dumps(transformer)).describe()["why"] == transformer.describe()["why"]


def test_the_kinds_that_are_told_make_the_same_modalities_when_they_are_said():
    df = pd.DataFrame({"n": np.arange(N) ** 2.0, "one": 1, "none": None, "code": [f"x{i}" for i in range(N)]})
    with pytest.warns(UserWarning, match="is dropped"):
        found = ModalityTransformer.from_frame(df).describe()
    assert found["kind"] == ["number", "drop", "drop", "drop"]
    assert found["why"][1:3] == ["its type is int64; all its cells are 1", "all its cells are missing"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = ModalityTransformer.from_frame(df, dict(zip(found["column"], found["kind"], strict=True)))
    assert said.describe()["modality"] == found["modality"]


def test_only_from_frame_has_something_to_describe():
    with pytest.raises(ValueError, match="was not made by from_frame"):
        ModalityTransformer([("text", TfidfVectorizer(), "review")]).describe()


def test_nothing_is_said_where_everything_is_used(everything):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ModalityTransformer.from_frame(everything).fit_transform(everything)
