"""Tests of skmm.blocks."""

import copy
import dataclasses
import html
import io
import pickle

import h5py
import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from conftest import ROWS_OF_SIX
from sklearn.model_selection import KFold, StratifiedKFold, train_test_split
from sklearn.utils import indexable, resample, shuffle

from skmm.blocks import Blocks, RaggedArray

N = 6


def dense(seed=0, shape=(N, 3)):
    return np.random.default_rng(seed).normal(size=shape)


def ragged(seed=0, n=N, inner=(2,)):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(1 + i % 4, *inner)) for i in range(n)]


def sparse(seed=0, n=N):
    return sp.random_array((n, 5), density=0.4, format="csr", random_state=seed)


def tokens(n=N):
    return [np.arange(1 + i % 3) for i in range(n)]


@pytest.fixture
def hdf5(tmp_path):
    with h5py.File(tmp_path / "clips.h5", "w") as file:
        yield file


@pytest.fixture
def X():
    """Every kind of block, rows missing in most."""
    vector = dense()
    vector[1] = np.nan
    return Blocks(
        vector=vector,
        sparse=sparse(),
        sequence=[None if i == 2 else item for i, item in enumerate(ragged())],
        tokens=tokens(),
        image=np.random.default_rng(0).integers(0, 255, (N, 2, 3, 3), dtype=np.uint8),
        video=dense(1, (N, 2, 2, 2, 1)).astype(np.float32),
        present={"image": np.arange(N) != 3, "sparse": np.arange(N) != 4},
    )


def values_of(block):
    """What a block holds, in a form that can be compared."""
    if isinstance(block, RaggedArray):
        return [sample.tolist() for sample in block]
    return block.toarray().tolist() if sp.issparse(block) else np.asarray(block).tolist()


def assert_same(a, b):
    """Equal names, presence, kinds and dtypes, and equal values in the rows that exist."""
    assert list(a) == list(b)
    assert len(a) == len(b)
    assert a.kinds == b.kinds
    for name in a:
        assert a.present[name].tolist() == b.present[name].tolist()
        assert a[name].dtype == b[name].dtype
        left, right = values_of(a[name]), values_of(b[name])
        for i in np.flatnonzero(a.present[name]):
            np.testing.assert_array_equal(left[i], right[i])


# -- construction ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "shape"),
    [
        (np.ones((N, 3)), "vector", (3,)),
        (np.ones(N), "vector", (1,)),
        ([1, 2, 3, 4, 5, 6], "vector", (1,)),
        ([[1, 2]] * N, "vector", (2,)),
        (np.ones((N, 3), dtype=bool), "vector", (3,)),
        (np.ones((N, 7, 3)), "sequence", (7, 3)),
        (np.ones((N, 7, 3), dtype=np.uint8), "image", (7, 3)),
        (np.ones((N, 7, 7, 3)), "image", (7, 7, 3)),
        (np.ones((N, 2, 7, 7, 3)), "video", (2, 7, 7, 3)),
        (torch.ones(N, 3, requires_grad=True), "vector", (3,)),
        (pd.DataFrame(np.ones((N, 2))), "vector", (2,)),
        (pd.Series(np.ones(N)), "vector", (1,)),
        (pl.DataFrame(np.ones((N, 2))), "vector", (2,)),
        (pl.Series([1.0] * N), "vector", (1,)),
        (pl.Series([[1.0, 2.0]] * N, dtype=pl.Array(pl.Float64, 2)), "vector", (2,)),
        (sp.csr_array(np.ones((N, 4))), "sparse", (4,)),
        (np.array([[1, 2]] * N, dtype=object), "vector", (2,)),
        (pd.Series([[1.0, 2.0]] * N), "vector", (2,)),
    ],
    ids=lambda v: type(v).__name__ if not isinstance(v, (str, tuple)) else None,
)
def test_kinds(value, kind, shape):
    X = Blocks(a=value)

    assert X.kinds == {"a": kind}
    assert len(X) == N
    assert X.shape == (N,)
    assert X["a"].shape == (N, *shape)
    assert X.present["a"].all()


@pytest.mark.parametrize(
    ("value", "kind", "inner"),
    [
        (ragged(), "sequence", (2,)),
        (tuple(ragged()), "sequence", (2,)),
        (ragged(inner=()), "sequence", ()),
        (ragged(inner=(4, 4, 3)), "sequence", (4, 4, 3)),
        (tokens(), "tokens", ()),
        ([[1], [1, 2], [3], [4], [5], [6]], "tokens", ()),
        ([[0.5], [1, 2], [3], [4], [5], [6]], "sequence", ()),
        ([[[1.0, 2.0]], [[1.0, 2.0]] * 2, *[[[3.0, 4.0]]] * 4], "sequence", (2,)),
        ([torch.ones(1 + i, 2) for i in range(N)], "sequence", (2,)),
        (pd.Series(ragged()), "sequence", (2,)),
        (pl.Series([[1], [1, 2], [3], [4], [5], [6]]), "tokens", ()),
        (RaggedArray.from_list(ragged()), "sequence", (2,)),
    ],
)
def test_ragged_kinds(value, kind, inner):
    X = Blocks(a=value)

    assert X.kinds == {"a": kind}
    assert len(X) == N
    assert isinstance(X["a"], RaggedArray)
    assert X["a"].inner_shape == inner
    assert X.present["a"].all()


def test_a_ragged_block_may_be_an_object_array():
    value = np.empty(2, dtype=object)
    value[:] = [np.ones((2, 3)), np.zeros((1, 3))]

    assert Blocks(a=value)["a"].lengths.tolist() == [2, 1]


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.uint16, bool]
)
def test_dtypes_are_kept(dtype):
    assert Blocks(a=np.ones((2, 3), dtype))["a"].dtype == dtype
    assert Blocks(a=[np.ones((1, 3), dtype), np.ones((2, 3), dtype)])["a"].dtype == dtype
    assert Blocks(a=torch.ones(2, 3, dtype=torch.int16))["a"].dtype == np.int16


def test_dense_arrays_are_not_copied():
    a = dense()

    assert Blocks(a=a)["a"] is a


@pytest.mark.parametrize(
    "container",
    [sp.csr_array, sp.csr_matrix, sp.csc_array, sp.coo_array, sp.lil_matrix, sp.dok_array, sp.bsr_array],
)
def test_sparse_blocks_become_csr(container):
    expected = np.diag([1.0, 2.0, 3.0])
    X = Blocks(a=container(expected))

    assert X.kinds == {"a": "sparse"}
    assert X["a"].format == "csr"
    np.testing.assert_array_equal(X["a"].toarray(), expected)


def test_a_memory_map_stays_one(tmp_path):
    np.save(tmp_path / "a.npy", dense())
    X = Blocks(a=np.load(tmp_path / "a.npy", mmap_mode="r"))

    assert isinstance(X["a"], np.memmap)
    np.testing.assert_array_equal(X[[4, 0]]["a"], dense()[[4, 0]])


class Source:
    """Rows that are counted as they are read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.read = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        self.read += len(rows)
        return self.array[rows]


def test_an_array_like_is_read_only_where_it_is_asked_for():
    source = Source(dense(shape=(100, 4, 2)))
    X = Blocks(a=source, b=np.ones(100))
    part = X[10:90][[3, 3, 0]]

    assert X.kinds["a"] == "sequence"
    assert source.read == 0
    np.testing.assert_array_equal(np.asarray(part["a"]), source.array[[13, 13, 10]])
    assert source.read == 2


def test_hdf5_in_any_order(hdf5):
    hdf5["a"] = dense(shape=(N, 4, 2))
    X = Blocks(a=hdf5["a"])

    for rows in ([5, 0, 3, 0], [-1], slice(None, None, -1), np.arange(N) % 2 == 0, []):
        np.testing.assert_array_equal(np.asarray(X[rows]["a"]), dense(shape=(N, 4, 2))[rows])
    np.testing.assert_array_equal(X["a"][2], dense(shape=(N, 4, 2))[2])
    np.testing.assert_array_equal(np.asarray(Blocks(a=hdf5["a"]).to_flat()[0]), dense(shape=(N, 8)))


def test_hdf5_of_numbers_and_of_what_is_none(hdf5):
    hdf5["scores"] = np.arange(3.0)
    hdf5["names"] = np.array([[b"x"], [b"y"]])
    hdf5["deep"] = np.ones((2,) * 6)

    np.testing.assert_array_equal(Blocks(a=hdf5["scores"])["a"], [[0], [1], [2]])
    with pytest.raises(ValueError, match="modality 'a' must be numeric"):
        Blocks(a=hdf5["names"])
    with pytest.raises(ValueError, match="modality 'a' has 6 dimensions"):
        Blocks(a=hdf5["deep"])


@pytest.mark.parametrize("name", ["self", "a.b", "keys", "present", "blocks", "文本", "", "named", "a b"])
def test_any_string_is_a_name(name):
    X = Blocks({name: dense(), "other": dense()}, present={name: np.arange(N) > 0})

    assert list(X) == [name, "other"]
    assert X[name].shape == (N, 3)
    assert X.present[name].tolist() == [False] + [True] * (N - 1)
    assert_same(Blocks.from_flat(*X.to_flat()), X)
    assert_same(pickle.loads(pickle.dumps(X)), X)


def test_names_by_keyword():
    assert list(Blocks({"a": dense()}, self=dense(), blocks=dense(), keys=dense())) == [
        "a",
        "self",
        "blocks",
        "keys",
    ]


def test_blocks_of_blocks_keeps_what_is_missing():
    X = Blocks(a=dense(), b=dense(), present={"a": np.arange(N) != 2, "b": np.arange(N) != 3})
    longer = Blocks(X, c=dense(1), b=dense(2))

    assert list(longer) == ["a", "b", "c"]
    assert longer.present["a"].tolist() == X.present["a"].tolist()
    assert longer.present["b"].all()  # another block, which has all its rows


# -- errors ----------------------------------------------------------------------------------------------------


def test_lengths_are_named():
    with pytest.raises(ValueError, match=r"\{'text': 6, 'clip': 4, 'words': 3\}"):
        Blocks(text=dense(), clip=ragged(n=4), words=sparse(n=3))


@pytest.mark.parametrize("blocks", [None, {}])
def test_no_modality(blocks):
    with pytest.raises(ValueError, match="at least one modality"):
        Blocks(blocks)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["good", "bad"], r"modality 'a' must be numeric, it has dtype <U4, for example 'good'"),
        (np.array(["good", 1], dtype=object), r"modality 'a' must be numeric.*'good'"),
        (pd.DataFrame({"x": [1, 2], "city": ["Bern", "Rome"]}), r"modality 'a' must be numeric.*'Bern'"),
        (pl.DataFrame({"x": [1, 2], "city": ["Bern", "Rome"]}), r"modality 'a' must be numeric.*'Bern'"),
        (np.array([b"x", b"y"]), "modality 'a' must be numeric"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "modality 'a' must be numeric, it has dtype datetime64"),
        ([["x"], ["y", "z"]], "modality 'a' must be numeric"),
        (np.array([{}, {}], dtype=object), "modality 'a' must be numeric"),
        (np.ones((2, 2)) * 1j, "Complex data not supported: modality 'a'"),
        ([np.ones(1) * 1j, np.ones(2)], "Complex data not supported: modality 'a'"),
        (sp.csr_array(np.eye(2) * 1j), "Complex data not supported: modality 'a'"),
        (np.float64(3), "modality 'a' is a single value"),
        (7, r"modality 'a' is a single value array\(7\)"),
        (None, "modality 'a' is None, expected one row per sample. Leave it out"),
        (np.ones((1,) * 6), "modality 'a' has 6 dimensions, expected 1 to 5: vector"),
        (sp.coo_array(np.ones(3)), "modality 'a': a sparse block must have 2 dimensions, got 1"),
        ([np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 4))], r"modality 'a': row 2 has shape \(2, 4\)"),
        ([np.ones((2, 3)), np.ones((0, 3))], "modality 'a', row 1: an empty sequence.*None"),
        ([np.ones(2), 3.0], "modality 'a': row 1 is the single value 3.0"),
    ],
)
def test_wrong_blocks(value, message):
    with pytest.raises(ValueError, match=message):
        Blocks(a=value)


@pytest.mark.parametrize("names", [{1: [1, 2]}, {("a",): [1, 2]}, {None: [1, 2]}])
def test_names_are_strings(names):
    with pytest.raises(ValueError, match="names must be strings, got"):
        Blocks(names)


@pytest.mark.parametrize("blocks", [np.ones((2, 2)), [("a", [1])], "a", pd.Series([1])])
def test_blocks_takes_a_mapping(blocks):
    with pytest.raises(TypeError, match=f"takes a mapping of name to block, got {type(blocks).__name__}"):
        Blocks(blocks)


def test_dok_array_is_no_dict_of_blocks():
    with pytest.raises(ValueError, match="names must be strings"):
        Blocks(sp.dok_array(np.eye(2)))


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ({"b": [True] * N}, r"present names modality 'b', which is not among \['a'\]"),
        ({"a": [True] * 3}, r"present\['a'\] must be 6 booleans, got bool of shape \(3,\)"),
        ({"a": [1] * N}, r"present\['a'\] must be 6 booleans, got int64"),
        ({"a": np.ones((N, 3), bool)}, r"present\['a'\] must be 6 booleans, got bool of shape \(6, 3\)"),
    ],
)
def test_wrong_present(present, message):
    with pytest.raises(ValueError, match=message):
        Blocks(a=dense(), present=present)


# -- missing rows ----------------------------------------------------------------------------------------------

NAN = np.nan


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.array([[1, 2], [NAN, NAN], [NAN, 3]]), [True, False, True]),
        (np.array([1, NAN, 2]), [True, False, True]),
        ([1, None, 2], [True, False, True]),
        (np.array([[[1, 2]], [[NAN, NAN]], [[NAN, 3]]]), [True, False, True]),
        (pd.DataFrame({"x": [1, NAN, NAN], "y": [1, NAN, 2]}), [True, False, True]),
        (pd.DataFrame({"x": pd.array([1, None, None], dtype="Int64"), "y": [1, NAN, 2]}), [True, False, True]),
        (pl.DataFrame({"x": [1, None, None], "y": [1, None, 2]}), [True, False, True]),
        (np.array([[1, None], [None, None], [None, 2]], dtype=object), [True, False, True]),
        ([np.ones(2), None, np.ones(1)], [True, False, True]),
        ([[1, 2], None, [3, 4]], [True, False, True]),
        (pd.Series([np.ones(2), NAN, np.ones(1)], dtype=object), [True, False, True]),
        (pl.Series([[1.0, 2.0], None, [3.0]]), [True, False, True]),
        ([np.ones((2, 1)), np.full((3, 1), NAN), np.array([[NAN], [1]])], [True, False, True]),
        (sp.csr_array([[1, 0, NAN], [0, NAN, NAN], [0, 0, 0]]), [True, False, True]),
        (np.array([[0, 0], [0, 0]], dtype=np.uint8), [True, True]),
        (sp.csr_array((2, 3)), [True, True]),
    ],
)
def test_which_rows_exist(value, expected):
    assert Blocks(a=value).present["a"].tolist() == expected


def test_rows_are_missing_if_marked_or_nan():
    X = Blocks(
        a=[1.0, NAN, 3.0],
        b=sp.csr_array(np.eye(3)),
        c=[np.ones(1), None, np.ones(2)],
        present={"a": [False, True, True], "b": [True, False, True], "c": pd.Series([True, True, False])},
    )

    assert {name: mask.tolist() for name, mask in X.present.items()} == {
        "a": [False, False, True],
        "b": [True, False, True],
        "c": [True, False, False],
    }
    assert X[[2, 0]].present["a"].tolist() == [True, False]
    assert X.select(["b"]).present["b"].tolist() == [True, False, True]


def test_a_missing_sample_of_a_ragged_block_has_no_steps():
    X = Blocks(a=[np.ones((2, 3)), None])

    assert X["a"].lengths.tolist() == [2, 0]
    assert X["a"].inner_shape == (3,)


def test_a_block_of_which_every_row_is_missing():
    assert not Blocks(a=[None, None]).present["a"].any()
    assert not Blocks(a=np.full((2, 3), NAN)).present["a"].any()


@pytest.mark.parametrize("dtype", [float, int])
def test_none_among_lists_of_numbers_changes_nothing_but_that_a_sample_is_missing(dtype):
    whole = [np.arange(i, i + 3).astype(dtype).tolist() for i in range(4)]
    full, gaps = Blocks(a=whole), Blocks(a=[None, *whole[1:3], None])

    assert gaps.kinds == full.kinds == {"a": "vector"}
    assert gaps["a"].dtype == full["a"].dtype
    assert gaps.present["a"].tolist() == [False, True, True, False]
    np.testing.assert_array_equal(gaps["a"][1:3], full["a"][1:3])


def test_none_among_arrays_changes_nothing_but_that_a_sample_is_missing():
    samples = list(dense())

    assert Blocks(a=samples).kinds == Blocks(a=[None, *samples[1:]]).kinds == {"a": "sequence"}
    assert Blocks(a=[None, *tokens()[1:]]).kinds == {"a": "tokens"}


# -- the end of a sample ---------------------------------------------------------------------------------------

LENGTHS = np.array([4, 1, 3, 0, 2, 4])
OVER_TIME = np.arange(4) < LENGTHS[:, None]


def padded(fill=0.0):
    """A dense sequence of samples of these lengths, and the samples."""
    x = dense(shape=(N, 4, 2))
    items = [None if n == 0 else sample[:n] for n, sample in zip(LENGTHS, x, strict=True)]
    return np.where(OVER_TIME[..., None], x, fill), items


@pytest.mark.parametrize("fill", [0.0, NAN, np.inf])
def test_a_mask_over_time_ends_the_samples_of_a_dense_sequence(fill):
    values, items = padded(fill)

    assert_same(Blocks(a=values, present={"a": OVER_TIME}), Blocks(a=items))


def test_steps_of_nan_end_the_samples_of_a_dense_sequence():
    values, items = padded(NAN)

    assert_same(Blocks(a=values), Blocks(a=items))
    assert values.shape == (N, 4, 2)


def test_a_mask_over_time_without_gaps_or_ends_says_that_lengths_may_differ():
    X = Blocks(a=dense(shape=(N, 4, 2)), present={"a": np.ones((N, 4), bool)})

    assert isinstance(X["a"], RaggedArray)
    assert X["a"].lengths.tolist() == [4] * N


def test_a_sample_whose_steps_before_its_end_are_nan_is_missing():
    values, _ = padded()
    values[2, :3] = NAN
    present = Blocks(a=values, present={"a": OVER_TIME}).present["a"]

    assert present.tolist() == [True, True, False, False, True, True]


def test_a_memory_map_filled_up_with_nan(tmp_path):
    values, items = padded(NAN)
    np.save(tmp_path / "a.npy", values)
    X = Blocks(a=np.load(tmp_path / "a.npy", mmap_mode="r"))

    assert_same(X, Blocks(a=items))
    assert type(X["a"].values) is np.ndarray


def test_a_sequence_whose_samples_are_whole_or_missing_stays_dense():
    values = dense(shape=(N, 4, 2))
    values[3] = NAN
    garbage = values.copy()
    garbage[1, 2:] = NAN  # in a sample that is marked missing

    assert Blocks(a=values)["a"] is values
    assert Blocks(a=garbage, present={"a": np.arange(N) != 1})["a"] is garbage


@pytest.mark.parametrize("bad", [(2, 1), (2, 3, 0), (0, 0)])
def test_nan_inside_a_sequence_is_left_to_be_refused(bad):
    values = dense(shape=(N, 4, 2))
    values[bad] = NAN

    assert Blocks(a=values)["a"] is values


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (OVER_TIME[:, ::-1], r"present\['a'\], row 1: step 3 exists, step 0 does not. A mask over time"),
        (OVER_TIME[:, :3], r"must be 6 booleans, or booleans of shape \(6, 4\) for its steps, got bool of shape"),
        (OVER_TIME.astype(int), r"must be 6 booleans, or booleans of shape .*, got int64 of shape \(6, 4\)"),
        (np.repeat(OVER_TIME[..., None], 2, axis=2), r"for its steps, got bool of shape \(6, 4, 2\)"),
    ],
)
def test_wrong_masks_over_time(mask, message):
    with pytest.raises(ValueError, match=message):
        Blocks(a=padded()[0], present={"a": mask})


@pytest.mark.parametrize(
    "block", [dense(shape=(N, 4)), np.ones((N, 4, 4), np.uint8), dense(shape=(N, 4, 2, 2, 1)), ragged(), sparse()]
)
def test_only_dense_sequences_have_masks_over_time(block):
    with pytest.raises(ValueError, match=r"present\['a'\] must be 6 booleans, got bool of shape \(6, 4\)"):
        Blocks(a=block, present={"a": OVER_TIME})


# -- indexing --------------------------------------------------------------------------------------------------

ROWS = [*ROWS_OF_SIX, 4, -1, np.int64(2)]


@pytest.mark.parametrize("rows", ROWS, ids=repr)
@pytest.mark.parametrize("ellipsis", [False, True])
def test_indexing_selects_the_same_rows_everywhere(X, rows, ellipsis):
    part = X[rows, ...] if ellipsis else X[rows]
    expected = np.atleast_1d(np.arange(N)[rows])

    assert isinstance(part, Blocks)
    assert len(part) == len(expected)
    assert list(part) == list(X)
    for name in X:
        assert part.present[name].tolist() == X.present[name][expected].tolist()
        everything = values_of(X[name])
        for i, row in enumerate(expected):
            np.testing.assert_array_equal(values_of(part[name])[i], everything[row])
    assert part.kinds == X.kinds


@pytest.mark.parametrize("rows", [[6], 6, -7, [0, -7], [True, False], np.ones(7, dtype=bool)])
def test_rows_that_are_not_there(X, rows):
    with pytest.raises(IndexError):
        X[rows]


@pytest.mark.parametrize("key", [(0, 1), ([0], slice(None)), (), (..., [0])])
def test_only_rows_are_indexed(X, key):
    with pytest.raises(IndexError, match="indexed by rows"):
        X[key]


@pytest.mark.parametrize("rows", [[0.5], None, "vectors"])
def test_what_is_no_index(X, rows):
    with pytest.raises((IndexError, KeyError)):
        X[rows]


def test_an_unknown_modality_lists_those_there_are(X):
    with pytest.raises(KeyError, match=r"no modality 'sound'; there are .*'vector', 'sparse'"):
        X["sound"]
    with pytest.raises(KeyError, match="no modality 'sound'"):
        X.select(["vector", "sound"])


def test_select(X):
    part = X.select(["tokens", "vector"])

    assert list(part) == ["tokens", "vector"]
    assert part["vector"] is X["vector"]
    assert len(part) == N
    with pytest.raises(ValueError, match="select at least one"):
        X.select([])


def test_is_a_mapping(X):
    assert list(X) == list(X.keys()) == ["vector", "sparse", "sequence", "tokens", "image", "video"]
    assert all(block is X[name] for name, block in X.items())
    assert len(list(X.values())) == 6
    assert "vector" in X
    assert "sound" not in X
    assert 0 not in X
    assert dict(X)["vector"] is X["vector"]


def test_is_immutable(X):
    with pytest.raises(AttributeError, match="immutable"):
        X.kinds = {}
    with pytest.raises(AttributeError, match="immutable"):
        X._n = 3
    with pytest.raises(TypeError):
        X["vector"] = dense()
    with pytest.raises(TypeError):
        del X["vector"]
    X.present.clear()
    assert list(X.present) == list(X)


def test_selecting_rows_does_not_share_memory_with_the_whole(X):
    part = X[:3]
    part["vector"][:] = 7

    assert not (X["vector"] == 7).any()


def test_is_not_one_array(X):
    with pytest.raises(TypeError, match=r"holds 6 modalities .*to_flat"):
        np.asarray(X)


# -- scikit-learn ----------------------------------------------------------------------------------------------


def test_train_test_split(X):
    rows = np.arange(N)
    train, test, train_rows, test_rows = train_test_split(X, rows, test_size=2, random_state=0)

    assert_same(train, X[train_rows])
    assert_same(test, X[test_rows])


@pytest.mark.parametrize("splitter", [KFold(3), StratifiedKFold(3)])
def test_splitters(X, splitter):
    y = np.arange(N) % 2
    seen = []
    for train, test in splitter.split(X, y):
        assert len(X[train]) == 4
        seen += test.tolist()
    assert sorted(seen) == list(range(N))


def test_shuffle_and_resample(X):
    mixed, rows = shuffle(X, np.arange(N), random_state=0)
    assert_same(mixed, X[rows])
    drawn, rows = resample(X, np.arange(N), n_samples=9, random_state=0)
    assert_same(drawn, X[rows])


def test_indexable_checks_the_length(X):
    assert indexable(X, np.ones(N))[0] is X
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        indexable(X, np.ones(N - 1))


# -- the flat form ---------------------------------------------------------------------------------------------


def test_flat_round_trip_of_every_kind(X):
    flat, layout = X.to_flat()

    assert flat.shape == (N, layout.n_features)
    assert sp.issparse(flat)
    assert_same(Blocks.from_flat(flat, layout), X)
    # a tool may make it dense
    assert_same(Blocks.from_flat(flat.toarray(), layout), X)


@pytest.mark.parametrize("rows", [[3], [2, 2, 0], [1, 2, 3, 4], []])
def test_rows_of_the_flat_form_are_rows(X, rows):
    flat, layout = X.to_flat()

    assert_same(Blocks.from_flat(flat[rows], layout), X[rows])


def test_flat_values():
    flat, layout = Blocks(
        a=[[1.0], [2.0]], b=np.arange(8.0).reshape(2, 2, 2), c=[np.array([9.0]), np.ones(2)]
    ).to_flat()

    assert isinstance(flat, np.ndarray)
    np.testing.assert_array_equal(flat, [[1, 0, 1, 2, 3, 9, NAN], [2, 4, 5, 6, 7, 1, 1]])
    assert layout.n_features == 7


@pytest.mark.parametrize(
    ("block", "dtype"),
    [
        (np.ones((2, 3), np.float64), np.float64),
        (np.ones((2, 3), np.int64), np.float64),
        (np.ones((2, 3), np.int32), np.float64),
        (np.ones((2, 3), np.float32), np.float32),
        (np.ones((2, 3, 3), np.uint8), np.float32),
        (np.ones((2, 3), bool), np.float32),
    ],
)
@pytest.mark.parametrize("missing", [False, True])
def test_flat_dtype_holds_every_value(block, dtype, missing):
    X = Blocks(a=block, present={"a": [True, not missing]})
    flat, layout = X.to_flat()

    assert flat.dtype == dtype
    assert np.isnan(flat[1]).all() == missing
    assert_same(Blocks.from_flat(flat, layout), X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, bool])
@pytest.mark.parametrize("dense_tool", [False, True])
def test_flat_round_trip_of_sparse_blocks(dtype, dense_tool):
    # row 1 exists and is empty, row 2 is missing though it holds values
    X = Blocks(a=sp.csr_array(np.diag([1, 0, 3]).astype(dtype)), present={"a": [True, True, False]})
    flat, layout = X.to_flat()

    assert_same(Blocks.from_flat(flat.toarray() if dense_tool else flat, layout), X)


@pytest.mark.parametrize("present", [[True, True, False], [False, False, False]])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("inner", [(), (2,), (2, 2, 3)])
def test_flat_round_trip_of_ragged_blocks(present, dtype, inner):
    X = Blocks(a=[np.ones((i + 1, *inner), dtype) for i in range(3)], present={"a": present})

    assert_same(Blocks.from_flat(*X.to_flat()), X)


def test_flat_round_trip_where_all_samples_are_missing():
    X = Blocks(a=[np.ones((2, 3)), None, None])[[1, 2]]

    assert_same(Blocks.from_flat(*X.to_flat()), X)


def test_flat_round_trip_of_a_step_of_nan_inside_a_sequence():
    X = Blocks(a=[np.array([[1.0], [NAN], [3.0]]), np.array([[4.0]])])
    back = Blocks.from_flat(*X.to_flat())

    np.testing.assert_array_equal(back["a"][0], [[1], [NAN], [3]])


def test_flat_without_rows(X):
    flat, layout = X[[]].to_flat()

    assert flat.shape[0] == 0
    assert len(Blocks.from_flat(flat, layout)) == 0


def test_from_flat_reads_a_frame():
    X = Blocks(a=dense(), b=dense(1, (N, 2, 2)))
    flat, layout = X.to_flat()

    assert_same(Blocks.from_flat(pd.DataFrame(flat), layout), X)


@pytest.mark.parametrize("shape", [(2, 11), (2, 13), (12,), (2, 12, 1)])
def test_from_flat_refuses_another_width(shape):
    _, layout = Blocks(a=np.ones((2, 4)), b=np.ones((2, 4, 2))).to_flat()

    with pytest.raises(ValueError, match=r"must have shape \(n, 12\), as its layout says, got"):
        Blocks.from_flat(np.ones(shape), layout)


def test_layout_pickles(X):
    flat, layout = X.to_flat()

    assert_same(Blocks.from_flat(flat, pickle.loads(pickle.dumps(layout))), X)


# -- copies ----------------------------------------------------------------------------------------------------


def through_joblib(X):
    buffer = io.BytesIO()
    joblib.dump(X, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


@pytest.mark.parametrize(
    "through", [copy.copy, copy.deepcopy, through_joblib, lambda X: pickle.loads(pickle.dumps(X))]
)
def test_copies(X, through):
    again = through(X)

    assert_same(again, X)
    with pytest.raises(AttributeError, match="immutable"):
        again.name = 1


def test_deepcopy_shares_nothing(X):
    again = copy.deepcopy(X)
    again["vector"][:] = 7

    assert not (X["vector"] == 7).any()


# -- display ---------------------------------------------------------------------------------------------------


def test_repr(X):
    lines = [line.split() for line in repr(X).splitlines()]

    assert lines[0] == ["Blocks(6", "samples)"]
    assert lines[1] == ["vector", "vector", "(3,)", "float64", "16.7%", "missing"]
    assert lines[3] == ["sequence", "sequence", "(1..4,", "2)", "float64", "16.7%", "missing"]
    assert lines[4] == ["tokens", "tokens", "(1..3)", "int64"]
    assert lines[5][:5] == ["image", "image", "(2,", "3,", "3)"]


def test_repr_without_rows(X):
    assert repr(X[[]]).startswith("Blocks(0 samples)")


def test_html_is_escaped():
    name = "<b>&'text'"
    page = Blocks({name: dense(), "plain": sparse()})._repr_html_()

    assert name not in page
    assert html.escape(name) in page
    assert "<td>plain</td><td>sparse</td><td>(5,)</td><td>float64</td>" in page
    assert "6 samples" in page


# -- the flat form without NaN -------------------------------------------------------------------------------------


def of_every_kind():
    return Blocks(
        vector=np.array([[1.5, 2.5], [np.nan, np.nan], [3.5, 4.5]]),
        words=sp.csr_array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]),
        ids=[np.array([1, 2, 3]), np.array([4]), None],
        walk=[np.ones((2, 2)), None, np.full((3, 2), np.pi)],
        photo=np.arange(48, dtype=np.uint8).reshape(3, 4, 4),
        present={"photo": np.array([True, False, True]), "words": np.array([True, True, False])},
    )


def test_the_counted_form_holds_no_nan_and_comes_back():
    X = of_every_kind()
    flat, layout = X.to_flat(gaps="counted")
    assert np.isfinite(flat.toarray()).all()
    for given in (flat, flat.toarray()):
        back = Blocks.from_flat(given, layout)
        assert back.kinds == X.kinds
        for name in X:
            np.testing.assert_array_equal(back.present[name], X.present[name])
            assert back[name].dtype == X[name].dtype
        assert back["ids"][0].tolist() == [1, 2, 3]
        np.testing.assert_array_equal(back["walk"][2], X["walk"][2])
        np.testing.assert_array_equal(back["photo"][[0, 2]], X["photo"][[0, 2]])
        np.testing.assert_array_equal(back["vector"], X["vector"])


def test_a_row_of_zeros_in_the_counted_form_has_everything():
    _, layout = of_every_kind().to_flat(gaps="counted")
    back = Blocks.from_flat(np.zeros((1, layout.n_features)), layout)
    assert all(present.all() for present in back.present.values())


def test_what_lies_between_whole_numbers_becomes_one():
    flat, layout = of_every_kind().select(["photo", "ids"]).to_flat(gaps="counted")
    back = Blocks.from_flat(flat + 0.4, layout)
    np.testing.assert_array_equal(back["photo"][0], of_every_kind()["photo"][0])
    assert back["ids"][1].tolist() == [4]


@pytest.mark.parametrize("gaps", ["nan", "counted"])
def test_other_samples_in_the_columns_of_a_layout(gaps):
    X = of_every_kind()
    _, layout = X.to_flat(gaps=gaps)
    flat, _ = X[[1]].to_flat(layout)
    assert flat.shape == (1, layout.n_features)
    back = Blocks.from_flat(flat, layout)
    assert [name for name in back if back.present[name][0]] == ["words", "ids"]
    lacking, _ = X.select(["photo"]).to_flat(layout)
    back = Blocks.from_flat(lacking, layout)
    assert [name for name in back if back.present[name].any()] == ["photo"]


def test_steps_after_the_longest_of_a_layout_are_cut_with_a_warning():
    _, layout = Blocks(walk=[np.ones(2), np.ones(3)]).to_flat()
    with pytest.warns(UserWarning, match=r"'walk': 1 of 2 samples have more than the 3 steps .* row 1"):
        flat, _ = Blocks(walk=[np.ones(1), np.arange(5.0)]).to_flat(layout)
    assert Blocks.from_flat(flat, layout)["walk"][1].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"photo": np.ones((2, 5, 4))}, r"'photo': sequence samples of shape \(5, 4\) are not .* image of shape"),
        ({"walk": [np.ones((2, 3))]}, r"'walk': .*\('time', 3\)"),
        ({"sound": np.ones((2, 3))}, r"'sound' has no columns in the layout, which has \['vector', 'words'"),
    ],
)
def test_samples_that_a_layout_does_not_fit(X, message):
    _, layout = of_every_kind().to_flat()
    with pytest.raises(ValueError, match=message):
        Blocks(X).to_flat(layout)


def test_unknown_gaps():
    with pytest.raises(ValueError, match="unknown gaps 'count'.*counted"):
        of_every_kind().to_flat(gaps="count")


def test_columns_that_a_tool_added_are_a_modality_where_the_layout_says_so():
    flat, layout = Blocks(a=np.ones((2, 3))).to_flat()
    wider = np.column_stack([flat, [5.0, 6.0]])
    with pytest.raises(ValueError, match=r"shape \(n, 3\).*FlatEstimator"):
        Blocks.from_flat(wider, layout)
    back = Blocks.from_flat(wider, dataclasses.replace(layout, rest="labels"))
    np.testing.assert_array_equal(back["labels"], [[5.0], [6.0]])
    assert list(Blocks.from_flat(flat, dataclasses.replace(layout, rest="labels"))) == ["a"]


def test_who_counts_columns_of_blocks_is_told():
    with pytest.raises(IndexError, match=r"one axis, their samples.*to_flat"):
        Blocks(a=np.ones((2, 3))).shape[1]
