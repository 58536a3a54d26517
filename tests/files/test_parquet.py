"""Tables larger than memory: Parquet files and data sets of Hugging Face, read run by run of rows."""

import io
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import small
from sklearn.base import clone
from sklearn.decomposition import MiniBatchNMF
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import StandardScaler

from skmm import AutoModalities, Blocks, LazyTable, ModalityTransformer, MultimodalRegressor, load, save
from skmm.blocks import RaggedArray, is_lazy
from skmm.blocks._joined import join
from skmm.files import _parquet
from skmm.preprocessing import ImageLoader

N = 240
RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, N)
LABEL = np.where(Y, "yes", "no")
WORDS = np.array(["a", "good", "bad", "long", "short", "film", "nice", "story", "plot"])
VECTORS = RNG.normal(size=(N, 3)).astype(np.float32)
WALKS = [RNG.normal(size=(RNG.integers(1, 6), 2)) for _ in range(N)]
LEVELS = [RNG.normal(size=RNG.integers(1, 6)) for _ in range(N)]
IDS = [RNG.integers(0, 9, RNG.integers(1, 6)) for _ in range(N)]
LEAST = 2**16  # the least that can be held


def numbers():
    """Columns that are numbers already."""
    return pd.DataFrame(
        {
            "price": RNG.permutation(N) / N + 0.7 * Y,
            "age": RNG.integers(0, 90, N),
            "vector": list(VECTORS),
            "walk": [walk.tolist() for walk in WALKS],
            "level": list(LEVELS),
            "ids": list(IDS),
        }
    )


NUMBERS = numbers()
TABLE = pd.DataFrame(
    {
        "price": NUMBERS["price"],
        "shop": RNG.choice(["north", "south", "east"], N),
        "review": [" ".join(RNG.choice(WORDS, 8)) + (" great" if y else " awful") for y in Y],
        "vector": list(VECTORS),
        "walk": [walk.tolist() for walk in WALKS],
        "label": LABEL,
    }
)
TABLE.loc[7:30, "review"] = None


@pytest.fixture
def folder(tmp_path):
    """A table in three files, of row groups of twenty rows."""
    where = tmp_path / "table"
    where.mkdir()
    for number, part in enumerate(np.array_split(np.arange(N), 3)):
        TABLE.iloc[part].to_parquet(where / f"part-{number}.parquet", row_group_size=20, index=False)
    return where


@pytest.fixture
def reads(monkeypatch):
    """How often each run of rows was read, by its number and the columns."""
    count = Counter()
    real = _parquet.ParquetSource.read

    def counted(self, number, columns):
        count[number, tuple(columns)] += 1
        return real(self, number, columns)

    monkeypatch.setattr(_parquet.ParquetSource, "read", counted)
    return count


def wide(path, n=1200, group=150, width=80, **options):
    """A file of more than can be held."""
    x = np.random.default_rng(1).normal(size=(n, width)).astype(np.float32)
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), width), "row": np.arange(n)})
    pq.write_table(table, path, row_group_size=group, **options)
    return x


def fit_numbers(X, y, **params):
    return small(max_epochs=3, **params).fit(X, y)


# -- numbers -------------------------------------------------------------------------------------------------------


def test_numbers_are_what_they_are_in_memory(tmp_path):
    NUMBERS.to_parquet(tmp_path / "a.parquet", row_group_size=50)
    X = Blocks.from_parquet(tmp_path / "a.parquet")
    assert X.kinds == {
        "table": "vector",
        "vector": "vector",
        "walk": "sequence",
        "level": "sequence",
        "ids": "tokens",
    }
    assert all(map(is_lazy, X.values()))
    rows = np.array([200, 3, 3, 77])
    np.testing.assert_array_equal(X[rows]["table"], NUMBERS[["price", "age"]].to_numpy()[rows])
    np.testing.assert_array_equal(X[rows]["vector"], VECTORS[rows])
    for name, expected in {"walk": WALKS, "level": LEVELS, "ids": IDS}.items():
        block, exists = X[name].read(rows)
        assert isinstance(block, RaggedArray)
        assert exists.all()
        for found, row in zip(block, rows, strict=True):
            np.testing.assert_array_equal(found, expected[row])


def test_a_fit_to_lazy_numbers_predicts_the_same_in_memory(tmp_path):
    NUMBERS.to_parquet(tmp_path / "a.parquet", row_group_size=50)
    X = Blocks.from_parquet(tmp_path / "a.parquet")
    whole = Blocks(table=NUMBERS[["price", "age"]], vector=VECTORS, walk=WALKS, level=LEVELS, ids=IDS)
    clf = fit_numbers(X, Y)
    np.testing.assert_allclose(clf.predict_proba(X), clf.predict_proba(whole), atol=1e-6)
    order = RNG.permutation(N)
    np.testing.assert_allclose(clf.predict_proba(X[order]), clf.predict_proba(X)[order], atol=1e-6)
    assert clf.inputs_.infos["ids"].shape == (9,)


def test_the_same_fit_whether_lists_are_cut_from_a_file_or_from_an_array(tmp_path):
    """One run of rows is shuffled as an array is."""
    x = wide(tmp_path / "a.parquet", n=300)

    class Rows:
        shape, dtype = x.shape, x.dtype

        def __getitem__(self, rows):
            return x[rows]

    y = x[:300, 0] > 0
    stored = fit_numbers(Blocks.from_parquet(tmp_path / "a.parquet", {"x": "x"}), y)
    lazy = fit_numbers(Blocks(x=Rows()), y)
    np.testing.assert_array_equal(stored.predict_proba({"x": x}), lazy.predict_proba({"x": x}))


def test_missing_lists_and_numbers_are_missing_samples(tmp_path):
    frame = NUMBERS.copy()
    for name in ("vector", "walk", "ids"):
        frame.loc[[4, 130], name] = None
    frame.loc[[9], ["price", "age"]] = np.nan
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=50)
    X = Blocks.from_parquet(tmp_path / "a.parquet")
    for name in ("vector", "walk", "ids"):
        assert np.flatnonzero(~X.present[name]).tolist() == [4, 130]
    assert np.flatnonzero(~X["table"].read(np.arange(N))[1]).tolist() == [9]
    clf = fit_numbers(X, Y)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_what_a_list_is_can_be_said(tmp_path):
    frame = pd.DataFrame({"v": list(VECTORS), "ids": list(IDS)})
    frame.to_parquet(tmp_path / "a.parquet")
    X = Blocks.from_parquet(
        tmp_path / "a.parquet", {"v": "v", "ids": "ids"}, kinds={"v": "sequence", "ids": "sequence"}
    )
    assert X.kinds == {"v": "sequence", "ids": "sequence"}
    assert X["ids"].dtype == np.float64


def test_deeper_lists_are_pictures(tmp_path):
    pictures = RNG.integers(0, 255, (20, 4, 5, 3)).astype(np.uint8)
    pq.write_table(
        pa.table({"picture": pa.array(pictures.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8()))))}),
        tmp_path / "a.parquet",
    )
    X = Blocks.from_parquet(tmp_path / "a.parquet")
    assert X.kinds == {"picture": "image"}
    np.testing.assert_array_equal(np.asarray(X["picture"]), pictures)


def test_lists_of_lists_are_sequences_in_tables_too(tmp_path):
    NUMBERS[["walk", "price"]].to_parquet(tmp_path / "a.parquet")
    frame = pd.read_parquet(tmp_path / "a.parquet")
    for X in (
        Blocks(walk=frame["walk"]),
        ModalityTransformer([("walk", "passthrough", "walk")]).fit_transform(frame),
        ModalityTransformer.from_frame(frame).fit_transform(frame),
        Blocks(walk=pq.read_table(tmp_path / "a.parquet")["walk"]),
    ):
        assert X.kinds["walk"] == "sequence"
        np.testing.assert_array_equal(X["walk"][5], WALKS[5])


# -- how it is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "n_members"),
    [(150, 2), *(pytest.param(*x, marks=pytest.mark.slow) for x in [(10, 1), (10, 2), (1200, 2)])],
)
@pytest.mark.filterwarnings("ignore:row group")
def test_an_epoch_reads_each_run_once(tmp_path, reads, group, n_members):
    """Whether row groups are joined, read as they are, or cut."""
    x = wide(tmp_path / "a.parquet", group=group)
    X = Blocks.from_parquet(tmp_path / "a.parquet", {"x": "x"}, buffer_bytes=LEAST)
    n_runs = len(X["x"].runs.n_bytes)
    assert n_runs > 40
    counts = []
    for epochs in (1, 3):
        reads.clear()
        small(max_epochs=epochs, n_members=n_members, batch_size=64).fit(X, x[:, 0] > 0)
        assert len(reads) == n_runs
        counts.append(reads.copy())
    more = [counts[1][run] - counts[0][run] for run in counts[0]]
    assert max(more) == 2
    assert np.mean(more) > 1.4  # what one epoch holds at its end the next need not read


@pytest.mark.filterwarnings("ignore:row group")
def test_predictions_read_each_run_once_in_any_order_of_rows(tmp_path, reads):
    x = wide(tmp_path / "a.parquet")
    X = Blocks.from_parquet(tmp_path / "a.parquet", {"x": "x"}, buffer_bytes=LEAST)
    clf = small(max_epochs=1).fit({"x": x}, x[:, 0] > 0)
    order = RNG.permutation(len(x))
    reads.clear()
    np.testing.assert_array_equal(clf.predict(X[order]), clf.predict({"x": x})[order])
    assert set(reads.values()) == {1}


@pytest.mark.filterwarnings("ignore:row group")
def test_no_more_is_held_than_was_said(tmp_path):
    for n in (600, 2400):
        wide(tmp_path / "a.parquet", n=n)
        X = Blocks.from_parquet(tmp_path / "a.parquet", {"x": "x"}, buffer_bytes=LEAST)
        block = X["x"]
        for start in range(0, n, 100):
            block.read(np.arange(start, start + 100))
            reader = block.base.reader
            assert sum(table.nbytes for table in reader._held.values()) <= 1.25 * LEAST
        assert reader.n_held <= 1.25 * LEAST // block.runs.n_bytes.max() + 1


def test_rows_are_shuffled_among_what_is_held_and_row_groups_in_the_whole(tmp_path):
    x = wide(tmp_path / "a.parquet", group=50)
    X = Blocks.from_parquet(tmp_path / "a.parquet", {"x": "x", "row": "row"}, buffer_bytes=LEAST)
    clf = small(max_epochs=1, batch_size=50)
    prepared = clf.fit(X, x[:, 0] > 0).inputs_.load(X, *_cpu())
    orders = [prepared.order(*_drawn(len(x), seed)).numpy() for seed in (0, 1)]
    assert sorted(orders[0]) == list(range(len(x)))
    runs = X["x"].runs
    for order in orders:
        own = runs.of(order)
        first = own[:100]
        assert len(set(first)) > 4  # of several at a time
        assert len(set(own[:300])) < len(runs.n_bytes)  # and not of all
    assert set(runs.of(orders[0])[:100]) != set(runs.of(orders[1])[:100])


def _cpu():
    import torch

    return torch.float32, torch.device("cpu")


def _drawn(n, seed):
    import torch

    return torch.arange(n), torch.Generator().manual_seed(seed)


def test_a_row_group_larger_than_what_is_held_is_told(tmp_path):
    wide(tmp_path / "a.parquet", group=1200)
    with pytest.warns(UserWarning, match=r"row group 0 of '.*a.parquet' takes about .* row_group_size=10_000"):
        LazyTable.from_parquet(tmp_path / "a.parquet", buffer_bytes=LEAST)


@pytest.mark.filterwarnings("ignore:row group")
def test_many_files_are_read_in_any_order(tmp_path):
    """Of more files than are open at a time, whose row groups are read in parts."""
    (tmp_path / "table").mkdir()
    x = np.arange(8 * 600 * 20, dtype=np.float32).reshape(-1, 20)
    for number, part in enumerate(np.split(x, 8)):
        pq.write_table(pa.table({"x": list(part)}), tmp_path / "table" / f"{number}.parquet")
    block = Blocks.from_parquet(tmp_path / "table", {"x": "x"}, buffer_bytes=LEAST)["x"]
    order = np.argsort(block.runs.turns(np.arange(len(x)), RNG.permutation(8)), kind="stable")
    for start in range(0, len(x), 70):
        rows = order[start : start + 70]
        np.testing.assert_array_equal(block.read(rows)[0], x[rows])


@pytest.mark.filterwarnings("ignore:row group")
def test_blocks_of_a_file_survive_pickle_and_are_read_by_processes(tmp_path):
    x = wide(tmp_path / "a.parquet")
    X = Blocks.from_parquet(tmp_path / "a.parquet", {"x": "x"}, buffer_bytes=LEAST)
    X["x"].read(np.arange(10))
    again = pickle.loads(pickle.dumps(X[100:120]))
    np.testing.assert_array_equal(np.asarray(again["x"]), x[100:120])


# -- a table with columns of any kind ------------------------------------------------------------------------------


def test_a_target_that_is_a_lazy_table_is_told_how_to_name_it(folder):
    X = LazyTable.from_parquet(folder)
    with pytest.raises(TypeError, match="y is a LazyTable of .'label'.; give the name, y='label'"):
        small().fit(X, X[["label"]])


def test_a_table_says_what_it_holds(folder):
    X = LazyTable.from_parquet(folder)
    assert X.shape == (N, 6)
    assert X.columns == list(TABLE.columns)
    assert "review  large_string" in repr(X)
    np.testing.assert_array_equal(X["label"], LABEL)
    rows = RNG.permutation(N)[:50]
    np.testing.assert_array_equal(X[rows]["price"], TABLE["price"].to_numpy()[rows])
    assert X[["price", "label"]].columns == ["price", "label"]
    assert X.drop("label").columns == list(TABLE.columns[:-1])
    assert X.head(3)["shop"].tolist() == TABLE["shop"].tolist()[:3]
    assert X[rows, ...].shape == X[rows.tolist()].shape == (50, 6)
    with pytest.raises(TypeError, match="read part by part and is no array"):
        np.asarray(X)


def test_what_is_transformed_when_it_is_read_is_what_is_transformed_in_memory(folder):
    frame, table = TABLE.drop(columns="label"), LazyTable.from_parquet(folder).drop("label")
    transformer = ModalityTransformer.from_frame(table)
    X, whole = transformer.fit_transform(table), transformer.transform(frame)
    assert all(map(is_lazy, X.values()))
    assert X.kinds == whole.kinds
    np.testing.assert_array_equal(X.present["review"], whole.present["review"])
    rows = RNG.permutation(N)[:40]
    np.testing.assert_allclose(X[rows]["table"], whole["table"][rows])
    text, exists = X["review"].read(rows)
    np.testing.assert_array_equal(exists, whole.present["review"][rows])
    np.testing.assert_allclose(text.toarray(), whole["review"][rows].toarray())


def test_an_estimator_learns_from_a_table_by_the_name_of_its_target(folder):
    table = LazyTable.from_parquet(folder, buffer_bytes=LEAST)
    clf = small(max_epochs=5).fit(table, "label")
    assert set(clf.modalities_) == {"table", "review", "vector", "walk"}
    assert clf.score(table, table["label"]) > 0.9
    np.testing.assert_allclose(clf.predict_proba(table), clf.predict_proba(TABLE), atol=1e-6)
    assert list(clf.feature_names_in_) == list(TABLE.columns[:-1])
    same = small(max_epochs=5).fit(table.drop("label"), table["label"])
    np.testing.assert_array_equal(same.predict_proba(table), clf.predict_proba(table))


def test_a_fit_reads_each_run_once_an_epoch_for_each_modality(tmp_path, reads):
    pd.concat([TABLE] * 3).to_parquet(tmp_path / "a.parquet", row_group_size=50, index=False)
    table = LazyTable.from_parquet(tmp_path / "a.parquet", buffer_bytes=LEAST)
    counts = []
    for epochs in (1, 3):
        reads.clear()
        small(max_epochs=epochs).fit(table, "label")
        counts.append(reads.copy())
    more = {key: counts[1][key] - counts[0][key] for key in counts[1]}
    of_modalities = {("price", "shop"), ("review",), ("vector",), ("walk",)}
    assert {key[1] for key, n in more.items() if n} == of_modalities
    assert {n for key, n in more.items() if key[1] in of_modalities} <= {0, 1, 2}


def test_values_may_be_several_columns(folder):
    table = LazyTable.from_parquet(folder)
    frame = pd.DataFrame({"a": TABLE["price"], "b": -TABLE["price"], "review": TABLE["review"].fillna("none")})
    frame.to_parquet(folder.parent / "two.parquet")
    two = LazyTable.from_parquet(folder.parent / "two.parquet")
    assert small(MultimodalRegressor, max_epochs=1).fit(two, ["a", "b"]).predict(two).shape == (N, 2)
    with pytest.raises(ValueError, match=r"unknown column 'lable', valid are .*Did you mean 'label'"):
        small().fit(table, "lable")


def test_scikit_learn_divides_a_table_by_rows(folder):
    table = LazyTable.from_parquet(folder)
    scores = cross_val_score(small(max_epochs=5), table.drop("label"), table["label"], cv=2)
    assert scores.mean() > 0.8


def test_transformers_are_fitted_to_so_many_rows(folder):
    table = LazyTable.from_parquet(folder)
    transformer = ModalityTransformer([("price", StandardScaler(), ["price"])], n_fit_samples=60)
    transformer.fit(table)
    rows = table.sample(60)
    assert len(rows) == 60
    assert rows.max() > 200  # over the whole table
    assert transformer.named_transformers_["price"].mean_ == pytest.approx(TABLE["price"][rows].mean())
    assert clone(transformer).n_fit_samples == 60
    with pytest.raises(ValueError, match="n_fit_samples must be a positive integer, got 0"):
        transformer.set_params(n_fit_samples=0).fit(table)


def test_transformers_are_fitted_in_passes(folder):
    table = LazyTable.from_parquet(folder)
    steps = [("price", StandardScaler(), ["price"]), ("review", HashingVectorizer(n_features=64), "review")]
    transformer = ModalityTransformer(steps, n_fit_samples=None)
    X = transformer.fit_transform(table)
    assert transformer.named_transformers_["price"].mean_ == pytest.approx(TABLE["price"].mean())
    assert X.kinds == {"price": "vector", "review": "sparse"}
    whole = transformer.transform(TABLE)
    np.testing.assert_allclose(np.asarray(X["price"]), whole["price"])
    np.testing.assert_array_equal(X["review"].read(np.arange(N))[0].toarray(), whole["review"].toarray())
    without = ModalityTransformer([("review", TfidfVectorizer(), "review")], n_fit_samples=None)
    with pytest.raises(ValueError, match="modality 'review': n_fit_samples=None .* TfidfVectorizer has none"):
        without.fit(table)


def test_a_transformer_in_passes_is_given_the_rows_that_exist(folder):
    table = LazyTable.from_parquet(folder)

    class Lengths(MiniBatchNMF):
        seen = 0

        def partial_fit(self, column, y=None):
            assert not column.isna().any()
            assert len(column) == len(y)
            type(self).seen += len(column)
            return self

        def transform(self, column):
            return np.array([[float(len(cell))] for cell in column])

    X = ModalityTransformer([("review", Lengths(), "review")], n_fit_samples=None).fit_transform(table, Y)
    assert Lengths.seen == TABLE["review"].notna().sum()
    assert X["review"].shape == (N, 1)


def test_files_and_their_content_become_arrays_when_they_are_read(tmp_path):
    from PIL import Image

    contents = []
    for shade in range(20):
        file = io.BytesIO()
        Image.new("RGB", (6, 6), (10 * shade, 0, 0)).save(file, "PNG")
        contents.append(file.getvalue())
    pd.DataFrame({"photo": contents}).to_parquet(tmp_path / "a.parquet", row_group_size=5)
    table = LazyTable.from_parquet(tmp_path / "a.parquet")
    loader = ModalityTransformer([("photo", ImageLoader(size=6), "photo")])
    X = loader.fit_transform(table)
    assert X.kinds == {"photo": "image"}
    assert X[[7]]["photo"].read(np.array([0]))[0][0, 0, 0, 0] == 70
    assert AutoModalities(image=ImageLoader(size=6)).fit_transform(table).kinds == {"photo": "image"}


def test_a_cell_that_cannot_be_read_is_named_by_its_row(tmp_path):
    frame = pd.DataFrame({"price": ["1"] * 99 + ["much"]})
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=10)
    table = LazyTable.from_parquet(tmp_path / "a.parquet")
    transformer = ModalityTransformer([("price", StandardScaler(), ["price"])]).fit(frame[:50])
    with pytest.raises(ValueError, match="much") as caught:
        transformer.transform(table)["price"].read(np.arange(90, 100))
    assert "modality 'price'" in "".join(caught.value.__notes__)


# -- Hugging Face --------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "review": datasets.Value("string"),
            "vector": datasets.Sequence(datasets.Value("float32"), length=3),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    review = TABLE["review"].fillna("none").tolist()
    return datasets.Dataset.from_dict({"review": review, "vector": VECTORS.tolist(), "label": Y.tolist()}, features)


def test_a_dataset_is_read_lazily(dataset):
    X = Blocks.from_huggingface(dataset, {"vector": "vector"})
    np.testing.assert_array_equal(np.asarray(X["vector"]), VECTORS)
    table = LazyTable.from_huggingface(dataset, buffer_bytes=LEAST)
    np.testing.assert_array_equal(table["label"], LABEL)
    clf = small(max_epochs=5).fit(table, "label")
    assert clf.score(table, table["label"]) > 0.9
    some = table[[5, 3]]
    np.testing.assert_allclose(clf.predict_proba(some), clf.predict_proba(table)[[5, 3]], atol=1e-6)


def test_what_is_no_dataset_is_refused(dataset):
    import datasets

    with pytest.raises(ValueError, match="got DataFrame"):
        LazyTable.from_huggingface(TABLE)
    with pytest.raises(ValueError, match=r"got DatasetDict: give one of its parts, such as X\['train'\]"):
        LazyTable.from_huggingface(datasets.DatasetDict(train=dataset))
    with pytest.raises(ValueError, match="IterableDataset can only be read in turn"):
        LazyTable.from_huggingface(dataset.to_iterable_dataset())
    with pytest.raises(ValueError, match="unknown column 'reviews'"):
        LazyTable.from_huggingface(dataset, ["reviews"])


# -- what is wrong -------------------------------------------------------------------------------------------------


def test_what_is_no_table_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no file or folder '.*nothing.parquet'"):
        LazyTable.from_parquet(tmp_path / "nothing.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part-0.parquet.crc").touch()
    (tmp_path / "part-0.parquet.tmp").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"the folder '.*' has no Parquet file in it \(names that begin"):
        LazyTable.from_parquet(tmp_path)
    pq.write_table(pa.table({"x": pa.array([], pa.float64())}), tmp_path / "empty.parquet")
    with pytest.raises(ValueError, match=r"Found 0 sample\(s\) in '.*'"):
        LazyTable.from_parquet(tmp_path)


def test_a_part_that_is_still_written_is_named(folder):
    (folder / "part-9.parquet.tmp").write_bytes(b"PAR1")
    (folder / "_part-8.parquet").write_bytes(b"PAR1")
    assert len(LazyTable.from_parquet(folder)) == N
    whole = (folder / "part-1.parquet").read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1", b"a,b\n1,2\n"):
        (folder / "part-1.parquet").write_bytes(content)
        with pytest.raises(ValueError, match=r"'.*part-1.parquet' cannot be read as Parquet"):
            LazyTable.from_parquet(folder)


def test_a_part_that_is_changed_or_gone_later_is_named(folder):
    table = LazyTable.from_parquet(folder)
    X = ModalityTransformer([("price", StandardScaler(), ["price"])]).fit_transform(table)
    TABLE[:30].to_parquet(folder / "part-2.parquet")
    with pytest.raises(ValueError, match=r"'.*part-2.parquet' has changed since the table was opened"):
        X["price"].read(np.arange(N))
    (folder / "part-2.parquet").unlink()
    with pytest.raises(ValueError, match=r"'.*part-2.parquet' cannot be read as Parquet: FileNotFoundError"):
        X["price"].read(np.arange(N))


def test_damage_inside_a_part_is_named(tmp_path):
    wide(tmp_path / "a.parquet", compression="snappy", use_dictionary=False)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:2000] = bytes(1996)
    (tmp_path / "a.parquet").write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"'.*a.parquet' cannot be read as Parquet"):
        Blocks.from_parquet(tmp_path / "a.parquet", {"x": "x"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda part: part.drop(columns="shop"),
            r"column 'shop' of '.*part-0.parquet' is not in '.*part-1.parquet'",
        ),
        (
            lambda part: part.assign(more=1.0),
            r"column 'more' of '.*part-1.parquet' is not in '.*part-0.parquet'.*columns=\[...\]",
        ),
        (
            lambda part: part.assign(price=range(len(part))),
            r"column 'price' is of type double in '.*part-0.parquet' and of type int64 in '.*part-1.parquet'",
        ),
    ],
)
def test_parts_with_other_columns_are_named(folder, change, message):
    change(TABLE[80:160]).to_parquet(folder / "part-1.parquet", index=False)
    with pytest.raises(ValueError, match=message):
        LazyTable.from_parquet(folder)


def test_columns_that_are_not_read_may_differ(folder):
    TABLE[80:160].assign(more=1.0, price=range(80)).to_parquet(folder / "part-1.parquet", index=False)
    assert LazyTable.from_parquet(folder, ["review", "label"]).shape == (N, 2)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64())), "map<string, int64"),
        (pa.array([{"a": 1}] * 3), "struct<a: int64>"),
        (pa.array([None] * 3), "null"),
        (pa.array([[{"a": 1}]] * 3), "list<element: struct<a: int64>>"),
    ],
)
def test_a_type_of_which_no_modality_is_made_is_named(tmp_path, values, kind):
    pq.write_table(pa.table({"odd": values, "x": [1.0, 2.0, 3.0]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="column 'odd' of '.*a.parquet' is of type .*valid are numbers") as caught:
        LazyTable.from_parquet(tmp_path / "a.parquet")
    assert kind in str(caught.value)
    assert "columns=['x']" in str(caught.value)
    assert LazyTable.from_parquet(tmp_path / "a.parquet", ["x"]).columns == ["x"]


def test_what_is_no_number_is_no_block(folder):
    with pytest.raises(ValueError, match="column 'shop' of '.*' is of type large_string, and Blocks hold numbers"):
        Blocks.from_parquet(folder)
    with pytest.raises(ValueError, match=r"unknown column of '.*': 'vectr', valid are"):
        Blocks.from_parquet(folder, {"vector": "vectr"})
    with pytest.raises(ValueError, match="column 'vector' holds lists, which are a modality of their own"):
        Blocks.from_parquet(folder, {"both": ["price", "vector"]})
    with pytest.raises(ValueError, match="modality 'a': 3 is neither a column nor a list"):
        Blocks.from_parquet(folder, {"a": 3})
    with pytest.raises(ValueError, match=r"unknown kind of modality 'v': 'vektor', valid are \['vector'"):
        Blocks.from_parquet(folder, {"v": "vector"}, kinds={"v": "vektor"})
    with pytest.raises(ValueError, match="hold one number a row, which are no sequence"):
        Blocks.from_parquet(folder, {"p": "price"}, kinds={"p": "sequence"})
    with pytest.raises(ValueError, match=r"buffer_bytes=10 must be a whole number of bytes, 65536 or more"):
        Blocks.from_parquet(folder, {"p": "price"}, buffer_bytes=10)
    with pytest.raises(ValueError, match=r"columns must be a list of names, got 'price'"):
        LazyTable.from_parquet(folder, "price")


def test_a_list_of_another_length_is_named(tmp_path):
    vectors = [[1.0, 2.0, 3.0]] * 1500
    vectors[1234] = [1.0, 2.0]
    pq.write_table(pa.table({"v": vectors}), tmp_path / "a.parquet", row_group_size=100)
    X = Blocks.from_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'v', row 1234 of '.*a.parquet': a list of 2 values, .* have 3"):
        X["v"].read(np.arange(1200, 1300))
    assert Blocks.from_parquet(tmp_path / "a.parquet", kinds={"v": "sequence"})["v"].read([1234])[0].lengths == [2]


def test_a_step_of_another_size_is_named(tmp_path):
    walks = [[[1.0, 2.0]] * 3 for _ in range(10)]
    walks[6] = [[1.0, 2.0], [1.0]]
    pq.write_table(pa.table({"walk": walks}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"column 'walk', row 6 of '.*a.parquet': step 1 has 1 values"):
        Blocks.from_parquet(tmp_path / "a.parquet")["walk"].read(np.arange(10))


def test_a_gap_in_a_list_is_an_error_of_its_row(tmp_path):
    x = wide(tmp_path / "a.parquet", n=100)
    x[40, 3] = np.nan
    pq.write_table(pa.table({"x": x.tolist()}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="modality 'x', row 40: NaN or infinity in a lazily read block"):
        small(max_epochs=1, scale_inputs=False).fit(Blocks.from_parquet(tmp_path / "a.parquet"), np.arange(100) % 2)


def test_folders_that_hold_values_are_refused(folder):
    (folder / "year=2020").mkdir()
    TABLE.to_parquet(folder / "year=2020" / "part.parquet")
    with pytest.raises(ValueError, match="the folder 'year=2020' holds the value of a column"):
        LazyTable.from_parquet(folder)


def test_modalities_of_numbers_are_for_blocks(folder):
    with pytest.raises(ValueError, match=r"Blocks.from_parquet\(path, modalities\)"):
        small(modalities={"a": ["price"]}).fit(LazyTable.from_parquet(folder), "label")


def test_without_pyarrow_the_error_says_how_to_install_it(tmp_path):
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['pyarrow.parquet'] = None\n"
        "from skmm import LazyTable\n"
        "try: LazyTable.from_parquet('x.parquet')\n"
        "except ImportError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install" in said
    assert "pyarrow" in said


# -- with the rest of the package ----------------------------------------------------------------------------------


def test_what_learned_from_a_table_on_disk_is_saved_and_predicts_single_rows(folder, tmp_path):
    table = LazyTable.from_parquet(folder)
    clf = small(max_epochs=2).fit(table, "label")
    save(clf, tmp_path / "model.skmm")
    np.testing.assert_array_equal(load(tmp_path / "model.skmm").predict_proba(table), clf.predict_proba(table))
    assert clf.predict(TABLE.iloc[0].to_dict()) == clf.predict(table)[:1]
    assert len(pickle.dumps(clf)) < 200_000  # nothing of the table


def test_parts_of_a_table_are_learned_from_one_after_the_other(folder):
    table = LazyTable.from_parquet(folder)
    clf = small(batch_size=16, lr=0.02)
    for _ in range(3):
        for start in range(0, N, 80):
            clf.partial_fit(table[start : start + 80], "label", classes=["no", "yes"])
    assert clf.score(table, table["label"]) > 0.8


@pytest.mark.slow
def test_processes_that_read_ahead_change_nothing(folder):
    table = LazyTable.from_parquet(folder)
    here, there = (small(max_epochs=2, n_jobs=n_jobs).fit(table, "label") for n_jobs in (1, 2))
    np.testing.assert_array_equal(there.predict_proba(table), here.predict_proba(table))


def test_what_cannot_be_done_with_a_table_on_disk_is_said(folder):
    table = LazyTable.from_parquet(folder)
    transformer = ModalityTransformer([("price", "passthrough", ["price"])]).set_output(transform="pandas")
    with pytest.raises(ValueError, match=r"of a LazyTable Blocks are made.*set_output\(transform='default'\)"):
        transformer.fit_transform(table)
    X = Blocks.from_parquet(folder, {"walk": "walk"})
    with pytest.raises(ValueError, match="is read from a table on disk, whose sequence blocks cannot be joined"):
        join(X, X, "more")
    with pytest.raises(IndexError, match=r"indexed by rows or columns, X\[rows\] or X\['name'\]"):
        table[0, 1]
    with pytest.raises(ValueError, match=r"without \['price'\] no column of \['price'\] is left"):
        table[["price"]].drop("price")
