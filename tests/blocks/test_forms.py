"""What may be given as a block: converted to the same numbers, or an error that names the modality and the row."""

import array
import datetime
import warnings
from collections import deque
from decimal import Decimal
from fractions import Fraction

import h5py
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from conftest import make_block, outputs, small

from skmm import Blocks
from skmm.blocks import RaggedArray, block_kind, is_lazy
from skmm.blocks._kinds import samples_kind

TABLE = np.array([[1.0, 2.0], [3.5, 4.0], [5.0, 600.0]])
WHOLE = np.array([[1, 2], [3, 4], [5, 6]])
CUBE = np.arange(24.0).reshape(3, 4, 2)
NAN = np.array([[1.0, 2.0], [np.nan, np.nan], [5.0, 600.0]])
STEPS = [np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([[7.0, 8.0]])]
IDS = [np.array([1, 2]), np.array([3]), np.array([4, 5, 6])]


class Lazy:
    """An array that is read by rows."""

    def __init__(self, data):
        self.data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, rows):
        return self.data[rows]


def quietly(make, *args):
    """Of what works as promised, but is no longer recommended, or not yet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*args)


def half(values):
    return torch.tensor(values, dtype=torch.bfloat16)


def masked(values, rows):
    mask = np.zeros(values.shape, bool)
    mask[rows] = True
    return np.ma.MaskedArray(values, mask)


def column_of(cells):
    out = np.empty(len(cells), object)
    out[:] = cells
    return out


# what is given, the block that it makes as an array or a list of arrays (None for a missing sample), and its kind
FORMS = {
    "an array": (TABLE, TABLE, "vector"),
    "a matrix": (quietly(np.matrix, TABLE), TABLE, "vector"),
    "a matrix of scipy": (quietly(sp.csr_matrix(TABLE).todense), TABLE, "vector"),
    "big-endian": (TABLE.astype(">f8"), TABLE, "vector"),
    "big-endian integers": (WHOLE.astype(">i2"), WHOLE, "vector"),
    "longdouble, sparse": (sp.csr_array(TABLE.astype(np.longdouble)), TABLE, "sparse"),
    "a recarray of numbers": (TABLE.view(np.recarray), TABLE, "vector"),
    "Fortran's order": (np.asfortranarray(CUBE), CUBE, "sequence"),
    "strides below 0": (TABLE[::-1, ::-1], TABLE[::-1, ::-1], "vector"),
    "float16": (TABLE.astype(np.float16), TABLE, "vector"),
    "longdouble": (TABLE.astype(np.longdouble), TABLE, "vector"),
    "booleans": (TABLE > 3, TABLE > 3, "vector"),
    "Decimal": (np.array([[Decimal("1"), Decimal("2.5")]] * 3), [[1, 2.5]] * 3, "vector"),
    "Fraction": (np.array([[Fraction(1, 4)]] * 3), [[0.25]] * 3, "vector"),
    "a list of Decimal": ([Decimal(1), Decimal("2.5")], [[1], [2.5]], "vector"),
    "masked rows": (masked(TABLE, 1), [TABLE[0], None, TABLE[2]], "vector"),
    "a 1-D array": (TABLE[:, 0], TABLE[:, :1], "vector"),
    "a tensor": (torch.tensor(TABLE), TABLE, "vector"),
    "a tensor with a gradient": (torch.tensor(TABLE, requires_grad=True) * 1, TABLE, "vector"),
    "a bfloat16 tensor": (half(WHOLE), WHOLE, "vector"),
    "a float16 tensor": (torch.tensor(TABLE, dtype=torch.float16), TABLE, "vector"),
    "a float8 tensor": (torch.tensor(WHOLE).to(torch.float8_e5m2), [[1, 2], [3, 4], [5, 6]], "vector"),
    "a quantised tensor": (
        quietly(torch.quantize_per_tensor, torch.tensor(TABLE).float(), 0.5, 0, torch.qint32),
        TABLE,
        "vector",
    ),
    "a sparse tensor": (torch.tensor(TABLE).to_sparse(), TABLE, "sparse"),
    "a sparse tensor of bfloat16": (half(WHOLE).to_sparse(), WHOLE, "sparse"),
    "a sparse tensor of 3 axes": (torch.tensor(CUBE).to_sparse(), CUBE, "sequence"),
    "a nested tensor": (quietly(torch.nested.nested_tensor, [torch.tensor(a) for a in STEPS]), STEPS, "sequence"),
    "a transposed tensor": (torch.tensor(TABLE).T.T, TABLE, "vector"),
    "a conjugate view's real part": (torch.tensor(TABLE + 0j).conj().real, TABLE, "vector"),
    "a negative view": (torch.tensor(TABLE * 1j).conj().imag, -TABLE, "vector"),
    "a sparse tensor of float16": (quietly(torch.tensor(WHOLE).half().to_sparse_csr), WHOLE, "sparse"),
    "COO with duplicates": (
        sp.coo_array((np.ones(3), ([0, 0, 2], [0, 0, 1])), (3, 2)),
        [[2, 0], [0, 0], [0, 1]],
        "sparse",
    ),
    "a sparse DataFrame": (pd.DataFrame(TABLE, dtype=pd.SparseDtype(float)), TABLE, "vector"),
    "a DataFrame": (pd.DataFrame(TABLE), TABLE, "vector"),
    "a nullable DataFrame": (pd.DataFrame({"a": [1, None, 3]}, dtype="Int64"), [[1], None, [3]], "vector"),
    "a DataFrame of pyarrow's types": (
        pd.DataFrame({"a": [1, None, 3]}, dtype="int64[pyarrow]"),
        [[1], None, [3]],
        "vector",
    ),
    "a Series": (pd.Series([1.5, 2, np.nan]), [[1.5], [2], None], "vector"),
    "an extension array": (pd.array([1, None, 3], dtype="Int64"), [[1], None, [3]], "vector"),
    "a nullable column of booleans": (pd.Series([True, None, False], dtype="boolean"), [[1], None, [0]], "vector"),
    "an Index": (pd.Index([1.0, 2.0, 3.0]), [[1], [2], [3]], "vector"),
    "a column of arrays": (pd.Series(STEPS), STEPS, "sequence"),
    "a DataFrame of one column of arrays": (pd.DataFrame({"a": STEPS}), STEPS, "sequence"),
    "a column of arrays with gaps": (pd.Series([STEPS[0], None, STEPS[1]]), [STEPS[0], None, STEPS[1]], "sequence"),
    "a polars DataFrame": (pl.DataFrame(TABLE), TABLE, "vector"),
    "a polars DataFrame of several types": (pl.DataFrame({"a": [1, 2], "b": [1.5, None]}), None, "vector"),
    "a polars Series": (pl.Series([1, None, 3]), [[1], None, [3]], "vector"),
    "a polars Series of arrays": (pl.Series(TABLE.tolist(), dtype=pl.Array(pl.Float64, 2)), TABLE, "vector"),
    "a polars Series of lists": (pl.Series([a.tolist() for a in IDS]), IDS, "tokens"),
    "a polars struct of numbers": (pl.Series([{"x": 1, "y": 2}, {"x": 3, "y": 4}]), WHOLE[:2], "vector"),
    "a polars Decimal": (pl.Series([Decimal("1.5"), Decimal("2")]), [[1.5], [2]], "vector"),
    "a pyarrow array": (pa.array([1, 2, 3]), [[1], [2], [3]], "vector"),
    "a pyarrow array with nulls": (pa.array([1, None, 3]), [[1], None, [3]], "vector"),
    "a pyarrow array of lists": (pa.array([a.tolist() for a in IDS]), IDS, "tokens"),
    "a pyarrow array of lists with nulls": (pa.array([[1, 2], None, [3]]), [IDS[0], None, IDS[1]], "tokens"),
    "a pyarrow array of lists of one length": (
        pa.FixedSizeListArray.from_arrays(pa.array(TABLE.ravel()), 2),
        TABLE,
        "vector",
    ),
    "a pyarrow ChunkedArray": (pa.chunked_array([[1.5], [2.5, 3.0]]), [[1.5], [2.5], [3]], "vector"),
    "a pyarrow Table": (pa.table({"a": [1, 2, 3], "b": [0.5, None, 1.5]}), None, "vector"),
    "a pyarrow RecordBatch": (pa.record_batch({"a": [1, 2, 3]}), [[1], [2], [3]], "vector"),
    "array.array": (array.array("d", [1, 2]), [[1], [2]], "vector"),
    "a memoryview": (memoryview(TABLE), TABLE, "vector"),
    "a range": (range(3), [[0], [1], [2]], "vector"),
    "a deque": (deque([1.0, 2.0]), [[1], [2]], "vector"),
    "rows read when needed, big-endian": (Lazy(TABLE.astype(">f8")), TABLE, "vector"),
    "rows read when needed, longdouble": (Lazy(TABLE.astype(np.longdouble)), TABLE, "vector"),
    "pictures read when needed, big-endian": (Lazy(np.ones((3, 2, 2, 1), ">u2")), np.ones((3, 2, 2, 1)), "image"),
    # lists of samples
    "lists of one length": (TABLE.tolist(), TABLE, "vector"),
    "lists of one length with gaps": ([[1.0, 2.0], None, [5.0, 600.0]], NAN, "vector"),
    "lists of numbers": ([[1, 2], [3], [4, 5, 6]], IDS, "tokens"),
    "tuples": ([(1, 2), (3,), (4, 5, 6)], IDS, "tokens"),
    "arrays": (STEPS, STEPS, "sequence"),
    "arrays big-endian": ([a.astype(">f4") for a in STEPS], STEPS, "sequence"),
    "arrays of two byte orders": ([STEPS[0].astype(">f8"), STEPS[1]], STEPS[:2], "sequence"),
    "matrices": ([quietly(np.matrix, a) for a in STEPS], STEPS, "sequence"),
    "masked arrays": ([masked(STEPS[0], 0), STEPS[1]], [None, STEPS[1]], "sequence"),
    "tensors": ([torch.tensor(a) for a in STEPS], STEPS, "sequence"),
    "tensors with gradients": ([torch.tensor(a, requires_grad=True) for a in STEPS], STEPS, "sequence"),
    "bfloat16 tensors": ([half(a) for a in STEPS], STEPS, "sequence"),
    "tensors of ids": ([torch.tensor(a) for a in IDS], IDS, "tokens"),
    "tensors of one number": ([torch.tensor(1.5), torch.tensor(2.0)], [[1.5], [2]], "vector"),
    "DataFrames": ([pd.DataFrame(a) for a in STEPS], STEPS, "sequence"),
    "Series": ([pd.Series(a) for a in IDS], IDS, "tokens"),
    "polars DataFrames": ([pl.DataFrame(a) for a in STEPS], STEPS, "sequence"),
    "polars Series": ([pl.Series(a) for a in IDS], IDS, "tokens"),
    "pyarrow arrays": ([pa.array(a) for a in IDS], IDS, "tokens"),
    "pyarrow ChunkedArrays": ([pa.chunked_array([a]) for a in IDS], IDS, "tokens"),
    "pyarrow Tables": ([pa.table({"a": a[:, 0], "b": a[:, 1]}) for a in STEPS], STEPS, "sequence"),
    "array.arrays": ([array.array("q", a.tolist()) for a in IDS], IDS, "tokens"),
    "array.arrays of one length": ([array.array("d", [1, 2]), array.array("d", [3, 4])], None, "sequence"),
    "ranges": ([range(1, 3), range(3, 4), range(4, 7)], IDS, "tokens"),
    "deques": ([deque(a.tolist()) for a in IDS], IDS, "tokens"),
    "a column of lists": (column_of([[1, 2], [3], [4, 5, 6]]), IDS, "tokens"),
    "ids above 2^53": ([[2**60 + 1], [2**60, 5]], [[2**60 + 1], [2**60, 5]], "tokens"),
    "a RaggedArray with empty samples": (
        RaggedArray.from_list([STEPS[0], None, STEPS[1]]),
        [STEPS[0], None, STEPS[1]],
        "sequence",
    ),
    "a RaggedArray big-endian": (RaggedArray(STEPS[1].astype(">f8"), np.array([0, 2])), [STEPS[1]], "sequence"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_becomes_the_block_of_the_same_numbers(form):
    value, expected, kind = FORMS[form]
    X = Blocks(a=value)
    block, present = X["a"], X.present["a"]
    assert block_kind(block) == kind
    assert block.dtype.isnative
    assert block.dtype.itemsize <= 8
    if expected is None:
        return
    assert present.tolist() == [row is not None and not np.isnan(np.asarray(row, float)).all() for row in expected]
    assert len(X) == len(expected)
    dense = block.toarray() if sp.issparse(block) else block
    for row in np.flatnonzero(present):
        np.testing.assert_array_equal(np.asarray(dense[int(row)]), np.asarray(expected[row]))
    assert torch.from_numpy(np.array(block.values if isinstance(block, RaggedArray) else dense)).numel() > 0


def test_tables_of_several_types_keep_their_numbers_and_gaps():
    np.testing.assert_array_equal(Blocks(a=FORMS["a pyarrow Table"][0])["a"], [[1, 0.5], [2, np.nan], [3, 1.5]])
    frame = FORMS["a polars DataFrame of several types"][0]
    np.testing.assert_array_equal(Blocks(a=frame)["a"], [[1, 1.5], [2, np.nan]])


def generator():
    yield from TABLE


BAD = {
    "a generator": (generator(), "modality 'a': a generator has no rows that can be counted; give an array or a"),
    "a set": ({1.0, 2.0}, "modality 'a': a set has no rows that can be counted"),
    "a dict": ({"x": TABLE}, "modality 'a': a dict has no rows that can be counted"),
    "a map": (map(float, "12"), "modality 'a': a map has no rows"),
    "a string": ("photo.png", "modality 'a' is a single value"),
    "bytes": (b"123", "modality 'a' is a single value"),
    "a number": (np.float32(3), "modality 'a' is a single value"),
    "a 0-d tensor": (torch.tensor(3.0), "modality 'a' is a single value"),
    "an object": (object(), "modality 'a' is a single value"),
    "complex numbers": (TABLE * 1j, "Complex data not supported: modality 'a'"),
    "a complex tensor": (torch.tensor(TABLE * 1j), "Complex data not supported: modality 'a'"),
    "complex numbers, sparse": (sp.csr_array(TABLE * 1j), "Complex data not supported: modality 'a'"),
    "complex arrays in a list": ([a * 1j for a in STEPS], "Complex data not supported: modality 'a'"),
    "complex numbers read when needed": (Lazy(TABLE * 1j), "Complex data not supported: modality 'a'"),
    "dates": (np.array(["2020-01-01"] * 3, "M8[s]"), "modality 'a' must be numeric, it has dtype datetime64"),
    "durations": (np.array([1, 2, 3], "m8[s]"), "modality 'a' must be numeric, it has dtype timedelta64"),
    "a column of dates": (pd.Series(pd.to_datetime(["2020-01-01"])), "modality 'a' must be numeric"),
    "date objects": ([datetime.date(2020, 1, 1)] * 3, "modality 'a' must be numeric"),
    "records": (np.zeros(3, [("x", float), ("y", int)]), "modality 'a' must be numeric, it has dtype"),
    "strings": (["a", "b"], "modality 'a' must be numeric.*'a'"),
    "numbers as strings": (np.array([["1"], ["2"]]), "modality 'a' must be numeric.*'1'"),
    "a Categorical": (pd.Series(["a", "b"], dtype="category"), "modality 'a' must be numeric.*'a'"),
    "polars strings": (pl.Series(["a", "b"]), "modality 'a' must be numeric.*'a'"),
    "pyarrow strings": (pa.array(["a", "b"]), "modality 'a' must be numeric.*'a'"),
    "a pyarrow struct": (pa.array([{"x": 1}, {"x": 2}]), "modality 'a' must be numeric"),
    "strings in lists": ([["a", "b"], ["c"]], "modality 'a' must be numeric.*'a'"),
    "dicts in a list": ([{"x": 1}, {"x": 2}], "modality 'a' must be numeric"),
    "sets in a list": ([{1}, {1, 2}], "modality 'a', row 0: a set has no"),
    "sparse matrices in a list": ([sp.csr_array(a) for a in STEPS], r"modality 'a', row 0: a sparse.*vstack"),
    "a number among arrays": ([STEPS[0], 3.0], "modality 'a': row 1 is the single value 3.0"),
    "an array among numbers": ([1.0, STEPS[0]], "modality 'a': row 0 is the single value 1.0"),
    "a partly masked array in a list": (
        [STEPS[0], masked(STEPS[1], (0, 0))],
        "modality 'a', row 1: 1 of 4 values are masked",
    ),
    "lists nested unevenly": ([[[1.0], [2.0, 3.0]], [[4.0], [5.0]]], "modality 'a':.*inhomogeneous"),
    "arrays of unequal steps": ([STEPS[0], np.ones((2, 3))], r"modality 'a': row 1 has shape \(2, 3\)"),
    "an empty array in a list": ([STEPS[0], STEPS[0][:0]], "modality 'a', row 1: an empty sequence"),
    "an empty list in a list": ([[1], []], "modality 'a', row 1: an empty sequence"),
    "a tensor without memory": (torch.empty(3, 2, device="meta"), "'a': no array can be made of a torch.Tensor"),
    "a tensor without memory in a list": (
        [torch.ones(2), torch.empty(3, device="meta")],
        "modality 'a', row 1: no array can be made of a Tensor",
    ),
    "offsets that fall": (RaggedArray(np.ones(4), np.array([0, 3, 2, 4])), "'a': the offsets of a RaggedArray"),
    "offsets past the end": (RaggedArray(np.ones(4), np.array([0, 9])), "'a': the offsets of a RaggedArray"),
    "strings in a RaggedArray": (RaggedArray(np.array(["a", "b"]), np.array([0, 2])), "'a' must be numeric"),
    "a sparse block of one axis": (sp.coo_array(np.ones(3)), "modality 'a': a sparse block must have 2 dimensions"),
    "six axes": (np.ones((1,) * 6), "modality 'a' has 6 dimensions"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_block_is_refused_by_name(case):
    value, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        Blocks(a=value)


Y = np.arange(24) % 2


DTYPES = ["bool", "i1", "u2", "u4", "u8", ">u2", ">i4", "f2", "f4", ">f4", ">f8", "g"]


@pytest.mark.parametrize("kind", ["vector", "sequence", "image", "video", "ragged", "lazy vector", "lazy image"])
def test_numbers_of_any_type_train_and_predict(kind):
    lazy, kind = kind.startswith("lazy"), kind.split()[-1]
    block = make_block(kind, Y)
    X = {}
    for dtype in DTYPES:
        if kind == "ragged":
            X[dtype] = [np.clip(np.rint(10 * sample), 0, 100).astype(dtype) for sample in block]
        else:
            values = np.clip(np.rint(10 * block), 0, 100).astype(dtype)
            values = values[..., None] if kind == "image" else values
            X[dtype] = Lazy(values) if lazy else values
    clf = small(max_epochs=1).fit(X, Y)
    assert np.isfinite(outputs(clf, X)).all()


def test_hdf5_columns_in_another_byte_order(tmp_path):
    x = make_block("vector", Y)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        X = {"a": file.create_dataset("a", data=x.astype(">f4"))}
        assert is_lazy(Blocks(X)["a"])
        clf = small(max_epochs=3).fit(X, Y)
        np.testing.assert_array_equal(outputs(clf, X), outputs(clf, {"a": Lazy(x.astype("<f4"))}))


@pytest.mark.parametrize(
    ("X", "parts"),
    [
        (
            [np.ones((24, 2)), np.ones((24, 3))],
            "list of 2 arrays.*{'modality_0': X.0., 'modality_1': X.1.}, or Blocks",
        ),
        ([np.ones((24, 2))] * 3, "list of 3 arrays.*Blocks"),
        ((np.ones((24, 2)), sp.eye_array(24).tocsr()), "tuple of 2 arrays.*dict"),
        ([pd.DataFrame(np.ones((24, 2)))], "list of 1 arrays.*dict"),
        ([torch.ones(24, 2), torch.ones(24, 3)], "list of 2 arrays.*dict"),
        (np.ones((24, 2, 2)), "dim 3.*{'modality': X}"),
    ],
)
def test_blocks_without_names(X, parts):
    with pytest.raises(ValueError, match=parts):
        small().fit(X, Y)


@pytest.mark.parametrize("shape", [(24, 0, 3), (24, 0)])
def test_sequences_of_no_steps(shape):
    with pytest.raises(ValueError, match=r"modality 'a'.* 0 (steps|feature)"):
        small().fit({"a": np.ones(shape), "b": np.ones((24, 2))}, Y)


def test_a_later_sequence_of_no_steps():
    clf = small(max_epochs=1).fit({"a": make_block("sequence", Y)}, Y)
    with pytest.raises(ValueError, match="modality 'a': sequences of 0 steps"):
        clf.predict({"a": np.ones((24, 0, 3))})


# -- tokens or a sequence ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "step_shape", "kind"),
    [
        ("i8", (), "tokens"),
        ("i2", (), "tokens"),
        ("u1", (), "tokens"),
        ("?", (), "sequence"),
        ("f4", (), "sequence"),
        ("i8", (1,), "sequence"),
    ],
)
def test_one_rule_says_what_a_list_of_arrays_holds(dtype, step_shape, kind):
    assert samples_kind(np.dtype(dtype), step_shape) == kind
    arrays = [np.ones((n, *step_shape), dtype) for n in (2, 3, 2)]
    assert Blocks(a=arrays).kinds == {"a": kind}


def test_a_waveform_of_whole_numbers_is_a_sequence_to_an_encoder_of_sequences():
    rng = np.random.default_rng(0)
    sound = [(rng.normal(size=30 + i % 5) * (100 + 900 * y)).astype(np.int16) for i, y in enumerate(Y)]
    with pytest.raises(ValueError, match=r"modality 'a', row 0: token id -\d+ is negative.*as floats.*'conv1d'"):
        small().fit({"a": sound}, Y)
    clf = small(encoders={"a": "conv1d"}).fit({"a": sound}, Y)
    assert clf.modalities_["a"].kind == "sequence"
    floats = {"a": [s.astype(float) for s in sound]}
    np.testing.assert_allclose(outputs(clf, {"a": sound}), outputs(clf, floats), rtol=0, atol=1e-5)


def test_rows_of_none_in_a_ragged_array_are_missing_as_in_a_list():
    samples = make_block("ragged", Y)
    gaps = [None if i % 5 == 2 else s for i, s in enumerate(samples)]
    table = make_block("vector", Y, seed=1)
    ragged, listed = Blocks(a=RaggedArray.from_list(gaps), b=table), Blocks(a=gaps, b=table)
    np.testing.assert_array_equal(ragged.present["a"], listed.present["a"])
    a, b = (small(max_epochs=3).fit(X, Y) for X in (ragged, listed))
    np.testing.assert_array_equal(outputs(a, ragged), outputs(b, listed))
