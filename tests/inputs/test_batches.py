"""Tests of skmm.inputs._batches: how blocks are checked, scaled and cut into batches."""

import re
from functools import partialmethod

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from conftest import KINDS, MISSING, make_data, outputs, small
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils._pytree import tree_leaves

from skmm import Blocks, Encoder
from skmm.blocks import RaggedArray, block_kind
from skmm.blocks._given import check_finite
from skmm.blocks._kinds import as_kind
from skmm.inputs._inputs import Inputs
from skmm.inputs._scaling import CLIP, Scaler
from skmm.layers import SparseRows

N = 12
CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(3.0, 2.0, size=shape)


def ragged(seed=0, inner=(2,), missing=()):
    rng = np.random.default_rng(seed)
    return [None if i in missing else rng.normal(3, 2, size=(1 + i % 4, *inner)) for i in range(N)]


def pictures(shape=(4, 5, 3)):
    return np.random.default_rng(0).integers(0, 256, (N, *shape), dtype=np.uint8)


def counts(density=0.5):
    return sp.random_array((N, 6), density=density, format="csr", random_state=0) * 7


def inputs(blocks, weights=None, encoders=None, scale=True, **options):
    weights = np.ones(len(blocks)) if weights is None else weights
    choices = {name: (encoders or {}).get(name, Encoder()) for name in blocks}
    return Inputs(blocks, weights, choices, scale, **options, device=torch.device("cpu"))


def load(blocks, rows=None, dtype=torch.float64, fitted=None, **options):
    """One batch of some rows, after a fit on all."""
    fitted = inputs(blocks, **options) if fitted is None else fitted
    rows = torch.arange(len(blocks)) if rows is None else torch.as_tensor(rows)
    return fitted.load(fitted.check(blocks), dtype, CPU).take(rows)


def dense(x, width=6):
    """A batch of sparse rows as an array."""
    out = np.zeros((len(x.columns), width))
    np.add.at(out, (np.arange(len(out))[:, None], x.columns.numpy()), x.weights.numpy())
    return out


# -- scaling, against scikit-learn --------------------------------------------------------------------------------


def standardised(x, weights=None):
    return np.clip(StandardScaler().fit(x, sample_weight=weights).transform(x), -CLIP, CLIP)


@pytest.mark.parametrize("weights", [None, RNG.integers(0, 4, N).astype(float), RNG.random(N)])
def test_vectors_are_standardised_as_by_scikit_learn(weights):
    x = normal(N, 4)
    got = load(Blocks(x=x), weights=weights)[0]["x"]
    np.testing.assert_allclose(got, standardised(x, weights), rtol=1e-10)


@pytest.mark.parametrize("weights", [None, RNG.random(N)])
def test_sequences_are_standardised_per_channel(weights):
    x = normal(N, 5, 3)
    each = None if weights is None else np.repeat(weights, 5)
    expected = standardised(x.reshape(-1, 3), each).reshape(x.shape)
    np.testing.assert_allclose(load(Blocks(x=x), weights=weights)[0]["x"], expected, rtol=1e-10)


@pytest.mark.parametrize("weights", [None, RNG.random(N)])
def test_ragged_sequences_are_standardised_over_the_steps_that_exist(weights):
    x = ragged()
    each = None if weights is None else np.repeat(weights, [len(v) for v in x])
    expected = standardised(np.concatenate(x), each)
    values, present = load(Blocks(x=x), weights=weights)
    np.testing.assert_allclose(values["x"][present["x"]], expected, rtol=1e-10)


@pytest.mark.parametrize(("shape", "channels"), [((4, 5, 3), 3), ((4, 5), 1), ((4, 5, 1), 1)])
def test_pictures_are_standardised_per_channel(shape, channels):
    x = pictures(shape)
    expected = standardised(x.reshape(-1, channels).astype(float)).reshape(x.shape)
    np.testing.assert_allclose(load(Blocks(x=x))[0]["x"], expected, rtol=1e-10)


def test_video_is_standardised_per_channel():
    x = normal(N, 2, 3, 3, 2)
    expected = standardised(x.reshape(-1, 2)).reshape(x.shape)
    np.testing.assert_allclose(load(Blocks(x=x))[0]["x"], expected, rtol=1e-10)


@pytest.mark.parametrize("weights", [np.ones(N), RNG.integers(0, 3, N).astype(float)])
def test_sparse_blocks_are_divided_by_the_root_mean_square_of_what_they_store(weights):
    x = counts()
    stored = np.repeat(weights, np.diff(x.indptr))
    scale = np.sqrt((stored * x.data**2).sum() / stored.sum())
    got = dense(load(Blocks(x=x), weights=weights)[0]["x"])
    np.testing.assert_allclose(got, x.toarray() / scale, rtol=1e-10)


def test_a_sparse_block_is_scaled_alike_however_its_zeros_are_stored():
    x = counts()
    full = sp.csr_array(x.shape, dtype=float)
    full.data, full.indices, full.indptr = x.toarray().ravel(), np.tile(np.arange(6), N), np.arange(N + 1) * 6
    got = [dense(load(Blocks(x=block))[0]["x"]) for block in (x, full)]
    np.testing.assert_allclose(got[0], got[1], rtol=1e-12)


def test_missing_rows_do_not_enter_the_scaling():
    x = normal(N, 4)
    there = np.arange(N) % 3 != 0
    expected = standardised(x[there])
    hidden = x.copy()
    hidden[~there] = 1e6
    for block, present in ((np.where(there[:, None], x, np.nan), None), (hidden, {"x": there})):
        got = load(Blocks({"x": block}, present=present))[0]["x"]
        np.testing.assert_allclose(got[torch.as_tensor(there)], expected, rtol=1e-10)


def test_scaling_is_that_of_the_fit():
    fitted = inputs(Blocks(x=normal(N, 4)))
    other = normal(N, 4, seed=1)
    expected = np.clip(StandardScaler().fit(normal(N, 4)).transform(other), -CLIP, CLIP)
    np.testing.assert_allclose(load(Blocks(x=other), fitted=fitted)[0]["x"], expected, rtol=1e-10)


def test_values_far_out_are_clipped_at_five_deviations():
    fitted = inputs(Blocks(x=normal(N, 2)))
    far = normal(N, 2)
    far[0] = [1e9, -1e9]
    assert load(Blocks(x=far), fitted=fitted)[0]["x"][0].tolist() == [5.0, -5.0]


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8, -3.7e-9])
def test_a_constant_feature_becomes_zero(value):
    x = normal(N, 2)
    x[:, 1] = value
    got = load(Blocks(x=x))[0]["x"][:, 1]
    np.testing.assert_allclose(got, np.zeros(N), atol=1e-6)


def test_a_large_offset_does_not_cost_the_precision_of_the_scaling():
    x = normal(N, 3)
    np.testing.assert_allclose(load(Blocks(x=x + 1e7))[0]["x"], standardised(x), rtol=1e-6)


def test_without_scaling_values_stay():
    x, s = normal(N, 4), counts()
    values, _ = load(Blocks(x=x, s=s), scale=False)
    np.testing.assert_array_equal(values["x"], x)
    np.testing.assert_array_equal(dense(values["s"]), s.toarray())


def test_a_modality_that_no_sample_has_is_not_scaled():
    x = np.full((N, 3), np.nan)
    values, present = load(Blocks(x=x, other=normal(N, 2)))
    assert not present["x"].any()
    assert not values["x"].any()


def test_scaling_in_chunks_is_scaling_at_once():
    x = normal(N, 5, 3)
    there = np.arange(N) % 4 != 0
    whole = Scaler.fit(x, there, np.ones(N))
    parts = Scaler.fit(x, there, np.ones(N), at_a_time=20)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-12)


# -- batches ------------------------------------------------------------------------------------------------------


@pytest.fixture
def every_kind():
    x = normal(N, 3)
    x[1] = np.nan
    sequence = normal(N, 5, 2)
    sequence[3] = np.nan
    there = np.arange(N) != 4
    return Blocks(
        {
            "self": x,
            "full": normal(N, 2, seed=1),
            "sparse": counts(),
            "sequence": sequence,
            "ragged": ragged(missing=(2, 7)),
            "tokens": [None if i == 5 else np.arange(1 + i % 3) for i in range(N)],
            "image": pictures(),
            "video": normal(N, 2, 3, 3, 1).astype(np.float32),
        },
        present={"image": there, "sparse": there, "video": there},
    )


def test_what_is_missing_is_masked_and_zero(every_kind):
    values, present = load(every_kind)
    for name, there in every_kind.present.items():
        mask = present[name]
        exists = mask if mask.ndim == 1 else mask.any(1)
        assert exists.tolist() == there.tolist(), name
        for part in values[name] if isinstance(values[name], SparseRows) else [values[name]]:
            if part.is_floating_point():
                assert not part[~exists].any(), name


def test_shapes_and_masks_of_each_kind(every_kind):
    values, present = load(every_kind, rows=[0, 6, 9])
    shapes = {name: tuple(x.shape) for name, x in values.items() if not isinstance(x, SparseRows)}
    assert shapes == {
        "self": (3, 3),
        "full": (3, 2),
        "sequence": (3, 5, 2),
        "ragged": (3, 3, 2),  # padded to the longest of the batch
        "tokens": (3, 1),
        "image": (3, 4, 5, 3),
        "video": (3, 2, 3, 3, 1),
    }
    assert list(values) == list(present) == list(every_kind)
    assert present["ragged"].tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    assert present["sequence"].shape == (3, 5)
    assert values["tokens"].dtype == torch.int64


def test_a_batch_holds_the_rows_asked_for(every_kind):
    together, masks = load(every_kind)
    part, part_masks = load(every_kind, rows=[7, 0, 7])
    for name, x in part.items():
        if isinstance(x, SparseRows):
            np.testing.assert_array_equal(dense(x), dense(together[name])[[7, 0, 7]])
        else:
            steps = slice(None) if x.ndim == 1 else slice(x.shape[1])
            assert torch.equal(x, together[name][[7, 0, 7]][:, steps])
            expected = masks[name][[7, 0, 7]]
            assert torch.equal(part_masks[name], expected if expected.ndim == 1 else expected[:, steps])


@pytest.mark.parametrize("sparse_components", [None, 3])
@pytest.mark.parametrize("block", [sp.csr_array((N, 6)), sp.csr_array(np.eye(N, 6))])
def test_sparse_rows_that_store_nothing(block, sparse_components):
    fitted = inputs(Blocks(x=counts()), sparse_components=sparse_components)
    empty = Blocks(x=block)[6:]  # the last half of the second one stores nothing
    values, present = load(empty, fitted=fitted)
    assert not dense(values["x"]).any()
    assert not values["x"].compressed.any()
    assert present["x"].all()


def test_a_fit_on_sparse_rows_that_store_nothing():
    for block, present in ((sp.csr_array((N, 6)), None), (counts(), {"x": np.zeros(N, dtype=bool)})):
        values, _ = load(Blocks({"x": block, "y": normal(N, 2)}, present=present), sparse_components=3)
        assert not dense(values["x"]).any()


def test_an_absent_sequence_is_as_long_as_those_that_it_was_as_long_as_in_fit():
    fitted = inputs(
        Blocks(a=normal(N, 5, 2), b=normal(N, 5, 3), c=normal(N, 4, 1), d=ragged(), t=[np.arange(2)] * N),
        dropped=True,
    )
    given = {"a": normal(N, 9, 2), "d": ragged()}
    _, present = load(Blocks(given), fitted=fitted)
    assert {name: mask.shape[1] for name, mask in present.items()} == {"a": 9, "b": 9, "c": 4, "d": 4, "t": 1}
    assert not present["b"].any()
    _, present = load(Blocks(given | {"a": list(normal(N, 7, 2)), "b": [None] * N}), fitted=fitted)
    assert present["b"].shape == (N, 7)
    assert fitted.load(fitted.check(Blocks(given)), torch.float64, CPU).take(torch.zeros(3, 2).long())[1][
        "b"
    ].shape == (3, 2, 9)


def test_each_member_gets_rows_of_its_own(every_kind):
    fitted = inputs(every_kind)
    data = fitted.load(every_kind, torch.float64, CPU)
    rows = torch.tensor([[7, 0, 5], [1, 2, 9]])
    together, masks = data.take(rows)
    for k in range(2):
        alone, alone_masks = data.take(rows[k])
        for name, x in alone.items():
            if isinstance(x, SparseRows):
                member = SparseRows(*(part[k] for part in together[name]))
                np.testing.assert_array_equal(dense(x), dense(member))
            else:
                steps = slice(None) if masks[name].ndim == 2 else slice(x.shape[1])
                assert torch.equal(together[name][k][:, steps] if masks[name].ndim == 3 else together[name][k], x)
                mask = masks[name][k]
                assert torch.equal(mask if mask.ndim == 1 else mask[:, steps], alone_masks[name])
    assert data.take(rows)[1]["self"].shape == (2, 3)


def test_pictures_stay_small_until_a_batch_is_cut():
    blocks = Blocks(image=pictures())
    data = inputs(blocks).load(blocks, torch.float32, CPU)
    assert data.columns["image"].data.dtype == torch.uint8
    assert data.take(torch.arange(2))[0]["image"].dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batches_come_in_the_precision_asked_for(every_kind, dtype):
    values, _ = load(every_kind, dtype=dtype)
    for name, x in values.items():
        assert (x.weights if isinstance(x, SparseRows) else x).dtype in (dtype, torch.int64), name


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ({"a": np.float64, "b": np.float64}, torch.float64),
        ({"a": np.int64}, torch.float64),
        ({"a": np.float32}, torch.float32),
        ({"a": np.float64, "b": np.float32}, torch.float32),
        ({"a": np.uint8}, torch.float32),
    ],
)
def test_precision_is_double_where_every_block_is(blocks, expected):
    blocks = Blocks({name: normal(N, 2).astype(dtype) for name, dtype in blocks.items()})
    assert inputs(blocks).dtype(blocks) == expected


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        lambda x: x.astype(np.float32),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: pd.DataFrame(x, columns=list("abc")),
        torch.as_tensor,
    ],
    ids=["fortran", "float32", "strided", "DataFrame", "tensor"],
)
def test_form_of_a_block_makes_no_difference(form):
    x = normal(N, 3)
    np.testing.assert_allclose(load(Blocks(x=form(x)))[0]["x"], standardised(x), rtol=1e-5)


def test_read_only_and_memory_mapped_blocks(tmp_path):
    x = normal(N, 3)
    np.save(tmp_path / "x.npy", x)
    x.flags.writeable = False
    image = pictures()
    image.flags.writeable = False
    for block in (x, np.load(tmp_path / "x.npy", mmap_mode="r")):
        values, _ = load(Blocks(x=block, image=image))
        np.testing.assert_allclose(values["x"], standardised(x), rtol=1e-10)


def test_the_users_arrays_are_untouched():
    arrays = {"x": normal(N, 3), "sequence": normal(N, 4, 2), "image": pictures(), "float": normal(N, 3, 3, 1)}
    arrays["x"][2] = np.nan
    sparse = counts()
    before = {name: a.copy() for name, a in arrays.items()}
    data = sparse.data.copy()
    blocks = Blocks({**arrays, "sparse": sparse}, present={"float": np.arange(N) != 1})
    values, _ = load(blocks, dtype=torch.float64)
    for x in values.values():  # nor do batches share memory with them
        (x.weights if isinstance(x, SparseRows) else x).fill_(7)
    for name, a in arrays.items():
        np.testing.assert_array_equal(a, before[name])
    np.testing.assert_array_equal(sparse.data, data)


# -- lazily read blocks -------------------------------------------------------------------------------------------


@pytest.fixture
def hdf5(tmp_path):
    with h5py.File(tmp_path / "clips.h5", "w") as file:
        yield file


@pytest.mark.parametrize("shape", [(3,), (5, 2), (3, 4, 2)])
@pytest.mark.parametrize("rows", [[0, 1, 2], [7, 0, 7, 3], [11]])
def test_a_lazy_block_gives_the_batches_of_a_dense_one(hdf5, shape, rows):
    x = normal(N, *shape)
    there = {"x": np.arange(N) != 3}
    values, present = load(Blocks({"x": hdf5.create_dataset("x", data=x)}, present=there), rows=rows)
    expected, masks = load(Blocks({"x": x}, present=there), rows=rows)
    torch.testing.assert_close(values["x"], expected["x"], rtol=1e-10, atol=1e-12)
    assert torch.equal(present["x"], masks["x"])


def test_a_lazy_block_of_bytes_is_a_picture(hdf5):
    for shape in ((4, 5, 3), (4, 5)):
        name = str(len(shape))
        blocks = Blocks(x=hdf5.create_dataset(name, data=pictures(shape)))
        torch.testing.assert_close(load(blocks)[0]["x"], load(Blocks(x=pictures(shape)))[0]["x"])


def test_a_lazy_block_is_read_a_batch_at_a_time():
    class Recorded:
        def __init__(self, data):
            self.data, self.shape, self.dtype, self.read = data, data.shape, data.dtype, []

        def __getitem__(self, rows):
            self.read.append(np.atleast_1d(rows).tolist())
            return self.data[rows]

    source = Recorded(normal(N, 3))
    blocks = Blocks(x=source)
    fitted = inputs(blocks, scale=False)
    data = fitted.load(fitted.check(blocks), torch.float32, CPU)
    assert source.read == []
    data.take(torch.tensor([4, 2, 4]))
    assert source.read == [[2, 4]]


@pytest.mark.parametrize(
    ("bad", "dtype"), [(np.nan, torch.float64), (np.inf, torch.float64), (1e300, torch.float32)]
)
def test_what_is_no_number_in_a_lazy_block_is_named_when_it_is_read(hdf5, bad, dtype):
    x = normal(N, 3)
    x[7, 1] = bad
    with pytest.raises(ValueError, match="modality 'x', row 7: NaN or infinity in a lazily read block"):
        load(Blocks(x=hdf5.create_dataset("x", data=x)), rows=[1, 7], dtype=dtype, scale=False)


# -- checks -------------------------------------------------------------------------------------------------------


def spoil(kind, value):
    """A block of each kind with one bad value in row 7."""
    if kind == "sparse":
        x = counts(density=1.0)
        x.data[7 * 6 + 2] = value
        return x
    if kind == "ragged":
        x = ragged()
        x[7][1, 1] = value
        return x
    x = normal(N, *{"vector": (6,), "sequence": (5, 2), "image": (2, 3, 1), "video": (2, 2, 2, 1)}[kind])
    x[(7, *[1] * (x.ndim - 2), 0)] = value
    return x


KINDS_OF_FLOATS = ["vector", "sparse", "ragged", "sequence", "image", "video"]


@pytest.mark.parametrize("kind", KINDS_OF_FLOATS)
def test_partial_nan_names_modality_row_and_number(kind):
    blocks = Blocks({"good": normal(N, 2), "my text": spoil(kind, np.nan)})
    with pytest.raises(ValueError, match=r"modality 'my text', row 7: 1 of \d+ values are NaN\. A sample lacks"):
        check_finite(blocks)


@pytest.mark.parametrize("kind", KINDS_OF_FLOATS)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_names_modality_row_and_number(kind, value):
    blocks = Blocks({"good": normal(N, 2), "my text": spoil(kind, value)})
    with pytest.raises(
        ValueError, match=r"modality 'my text', row 7: 1 of \d+ values are inf; they must be finite"
    ):
        check_finite(blocks)


@pytest.mark.parametrize("kind", KINDS_OF_FLOATS)
def test_values_are_checked_at_predict_too(kind):
    good = spoil(kind, 0.5)
    fitted = inputs(Blocks(x=good))
    with pytest.raises(ValueError, match="modality 'x', row 7: 1 of"):
        fitted.check(Blocks(x=spoil(kind, np.nan)))


def test_infinities_of_both_signs_in_one_row_are_found():
    x = normal(N, 4)
    x[2, :2] = np.inf, -np.inf
    with pytest.raises(ValueError, match="row 2: 2 of 4 values are inf"):
        check_finite(Blocks(x=x))


def test_a_sum_that_overflows_is_no_infinity():
    x = np.full((N, 2), 1.7e308)
    x[::2] = -1e300
    values, _ = load(Blocks(x=x), scale=False)
    np.testing.assert_array_equal(values["x"], x)


def test_bad_values_where_a_row_is_missing_are_no_error():
    x = normal(N, 3)
    x[2, 0], x[5, 1] = np.nan, np.inf
    there = ~np.isin(np.arange(N), [2, 5])
    values, present = load(Blocks({"x": x}, present={"x": there}))
    assert torch.isfinite(values["x"]).all()
    assert present["x"].tolist() == there.tolist()


def test_bad_values_where_a_sparse_or_ragged_row_is_missing_are_no_error():
    sparse, sequences = counts(density=1.0), ragged()
    sparse.data[2 * 6] = np.inf
    sequences[5][0, 0] = np.nan
    there = ~np.isin(np.arange(N), [2, 5])
    values, present = load(Blocks({"s": sparse, "r": sequences}, present={"s": there, "r": there}))
    assert np.isfinite(dense(values["s"])).all()
    assert torch.isfinite(values["r"]).all()
    assert present["r"].any(1).tolist() == present["s"].tolist() == there.tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": normal(N, 3)}, "modality 'b' is missing; fitted with ['a', 'b'], got ['a']"),
        (
            {"a": normal(N, 3), "b": normal(N, 4, 2), "c": normal(N, 1)},
            "unknown modality 'c', valid are ['a', 'b']",
        ),
        ({"a": normal(N, 4), "b": normal(N, 4, 2)}, "modality 'a' has 4 features, fitted with 3 features"),
        (
            {"a": normal(N, 3), "b": normal(N, 4, 5)},
            "modality 'b' has steps of shape (5,), fitted with steps of shape (2,)",
        ),
        ({"a": normal(N, 3, 3), "b": normal(N, 4, 2)}, "modality 'a' was vector in fit (a dense (n, d) array"),
    ],
)
def test_samples_unlike_those_of_the_fit(given, message):
    fitted = inputs(Blocks(a=normal(N, 3), b=normal(N, 4, 2)))
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted.check(Blocks(given))


def test_a_list_of_none_is_a_modality_that_no_sample_has(every_kind):
    fitted = inputs(every_kind)
    missing = dict.fromkeys(every_kind, np.zeros(N, dtype=bool))
    expected, masks = load(Blocks(every_kind, present=missing), fitted=fitted)
    nothing = dict.fromkeys(every_kind, [None] * N)
    empty = dict.fromkeys(every_kind, RaggedArray.from_list([None] * N))
    for given in (Blocks(nothing), Blocks(empty, present=missing)):
        values, present = load(given, fitted=fitted)
        assert list(values) == list(every_kind)
        for name, mask in present.items():
            assert torch.equal(mask, masks[name])
            for a, b in zip(tree_leaves(values[name]), tree_leaves(expected[name]), strict=True):
                assert torch.equal(a, b)
    some = Blocks(every_kind, self=[None] * N)
    np.testing.assert_array_equal(load(some, fitted=fitted)[0]["full"], load(every_kind, fitted=fitted)[0]["full"])


def test_modalities_come_back_in_fitted_order():
    fitted = inputs(Blocks(a=normal(N, 3), b=normal(N, 2)))
    assert list(fitted.check(Blocks(b=normal(N, 2), a=normal(N, 3)))) == ["a", "b"]


def test_a_sequence_may_have_another_length():
    fitted = inputs(Blocks(s=normal(N, 4, 2)))
    assert load(Blocks(s=normal(N, 9, 2)), fitted=fitted)[0]["s"].shape == (N, 9, 2)
    assert load(Blocks(s=ragged()), fitted=fitted)[0]["s"].shape == (N, 4, 2)


@pytest.mark.parametrize("x", [np.zeros((N, 0)), np.zeros((N, 4, 0)), sp.csr_array((N, 0))])
def test_no_features(x):
    with pytest.raises(ValueError, match=r"modality 'x' has 0 feature\(s\)"):
        inputs(Blocks(x=x))


def test_negative_token_id_names_its_row():
    tokens = [np.arange(1 + i % 3) for i in range(N)]
    tokens[8] = np.array([1, -4])
    with pytest.raises(ValueError, match="modality 't', row 8: token id -4 is negative"):
        check_finite(Blocks(t=tokens))


# -- what is remembered -------------------------------------------------------------------------------------------


def test_infos_of_each_kind(every_kind):
    infos = {name: (info.kind, info.shape, info.length) for name, info in inputs(every_kind).infos.items()}
    assert infos == {
        "self": ("vector", (3,), None),
        "full": ("vector", (2,), None),
        "sparse": ("sparse", (6,), None),
        "sequence": ("sequence", (2,), 5),
        "ragged": ("sequence", (2,), None),
        "tokens": ("tokens", (3,), None),
        "image": ("image", (4, 5, 3), None),
        "video": ("video", (2, 3, 3, 1), None),
    }


def test_number_of_features():
    assert inputs(Blocks(a=normal(N, 3), b=normal(N, 5, 2), c=pictures((4, 4)))).n_features == 3 + 10 + 16


# -- a block in the form that its encoder reads -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "wanted", "kind"),
    [
        (counts(), ("vector",), "vector"),
        (normal(N, 4), ("sparse",), "sparse"),
        (RNG.integers(0, 5, (N, 4)), ("tokens",), "tokens"),
        (normal(N, 4), ("sequence",), "sequence"),
        (normal(N, 4, 2), ("image",), "image"),
        (pictures((4, 5)), ("sequence",), "sequence"),
        (normal(N, 4), ("vector", "sparse"), "vector"),
        (counts(), ("vector", "sparse"), "sparse"),
    ],
)
def test_block_takes_the_form_that_is_read(block, wanted, kind):
    converted = as_kind(block, wanted)
    assert block_kind(converted) == kind
    same = converted.pad() if isinstance(converted, RaggedArray) else converted
    same = same.toarray() if sp.issparse(same) else same
    original = block.toarray() if sp.issparse(block) else block
    np.testing.assert_array_equal(np.asarray(same).reshape(N, -1), original.reshape(N, -1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_a_list_of_1d_arrays_of_one_length_as_vectors(dtype):
    x = normal(N, 4).astype(dtype)
    items = [None if i in (0, 5) else row for i, row in enumerate(x)]
    vectors = as_kind(Blocks(x=items)["x"], ("vector", "sparse"))
    assert vectors.dtype == dtype
    there = ~np.isin(np.arange(N), (0, 5))
    np.testing.assert_array_equal(vectors[there], x[there])
    assert dtype is np.int64 or np.isnan(vectors[~there]).all()
    assert isinstance(as_kind(Blocks(x=items)["x"], ("vector", "sequence", "tokens")), RaggedArray)


@pytest.mark.parametrize(("shape", "kind"), [((4, 5, 3), "image"), ((4, 5), "image"), ((2, 4, 5, 3), "video")])
def test_a_list_of_pictures_of_one_size_as_pictures(shape, kind):
    x = pictures(shape)
    converted = as_kind(Blocks(x=[None, *x[1:]])["x"], (kind,))
    assert block_kind(converted) == kind
    np.testing.assert_array_equal(converted[1:], x[1:])


@pytest.mark.parametrize("items", [ragged(inner=()), list(normal(N, 4, 2)), [None] * N])
def test_a_list_of_other_arrays_is_no_vectors(items):
    block = RaggedArray.from_list(items)
    assert as_kind(block, ("vector",)) is block


@pytest.mark.parametrize("wanted", [("tokens",), ("video",), ("image",)])
def test_block_that_cannot_take_the_form_stays(wanted):
    x = normal(N, 4)
    assert as_kind(x, wanted) is x


def test_choice_of_encoder_decides_how_a_block_is_read():
    ids, series = RNG.integers(0, 5, (N, 4)), normal(N, 7)
    blocks = Blocks(text=ids, series=series, tfidf=counts())
    fitted = inputs(blocks, encoders={"text": "embedding", "series": Encoder("gru"), "tfidf": "identity"})
    assert [info.kind for info in fitted.infos.values()] == ["tokens", "sequence", "vector"]
    values, _ = load(blocks, fitted=fitted)
    np.testing.assert_array_equal(values["text"], ids)
    np.testing.assert_allclose(values["tfidf"], standardised(counts().toarray()), rtol=1e-10)


def test_a_sparse_block_is_made_dense_for_a_module_of_the_users_own():
    blocks = Blocks(x=counts())
    fitted = inputs(blocks, encoders={"x": nn.Linear(6, 2)})
    assert fitted.infos["x"].kind == "vector"


# -- the compressed copy of a wide sparse block -------------------------------------------------------------------


def test_compressed_copy_spans_the_principal_directions():
    x = sp.csr_array(normal(N, 3) @ normal(3, 6, seed=1))  # of rank three
    values, _ = load(Blocks(x=x), scale=False, sparse_components=3)
    z = values["x"].compressed.numpy()
    assert z.shape == (N, 3)
    # distances are kept up to one scale
    gram, expected = z @ z.T, (x @ x.T).toarray()
    np.testing.assert_allclose(gram / gram.max(), expected / expected.max(), atol=1e-9)
    assert np.mean(z**2) == pytest.approx(1.0)


def test_narrow_sparse_block_has_no_compressed_copy():
    values, _ = load(Blocks(x=counts()), sparse_components=6)
    assert values["x"].compressed.shape == (N, 0)
    assert load(Blocks(x=counts()), sparse_components=5)[0]["x"].compressed.shape == (N, 5)


def test_compressed_copy_never_reads_missing_rows():
    x, there = counts(), np.arange(N) % 3 != 0
    hidden = x.copy()
    hidden.data[np.repeat(~there, np.diff(x.indptr))] = 1e6
    a, b = (
        load(Blocks({"x": block}, present={"x": there}), sparse_components=3)[0]["x"].compressed
        for block in (x, hidden)
    )
    torch.testing.assert_close(a[torch.as_tensor(there)], b[torch.as_tensor(there)])


# -- data that is scaled when a batch is cut, and data that stays in the memory of the host ------------------


def some_missing(kinds):
    X, y = make_data(60, kinds=kinds)
    present = {name: ~np.roll(MISSING, i) if i else np.ones(60, dtype=bool) for i, name in enumerate(X)}
    return Blocks(dict(X), present=present), y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_read_once_is_scaled_as_what_is_read_often(dtype):
    X, _ = some_missing([*KINDS, "video"])
    fitted, rows = inputs(X), torch.tensor([5, 2, 59, 2])
    often, once = (fitted.load(X, dtype, CPU, once=once).take(rows) for once in (False, True))
    for a, b in zip(tree_leaves(often), tree_leaves(once), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.parametrize("read", ["often", "once", "lazily"])
def test_time_stamps_keep_their_last_digits(hdf5, read):
    seconds = 1.7e9 + np.arange(N)[:, None]  # float32 cannot tell them apart
    X = Blocks(time=hdf5.create_dataset("time", data=seconds) if read == "lazily" else seconds)
    got = inputs(X).load(X, torch.float32, CPU, once=read == "once").take(torch.arange(N))[0]["time"]
    assert got.dtype == torch.float32
    np.testing.assert_allclose(got, standardised(seconds), rtol=1e-6)


def test_what_is_read_once_is_not_copied():
    X = Blocks(x=normal(N, 4), s=normal(N, 3, 2), p=pictures())
    columns = inputs(X).load(X, torch.float64, CPU, once=True).columns
    assert all(np.shares_memory(column.data.numpy(), X[name]) for name, column in columns.items())
    before = {name: block.copy() for name, block in X.items()}
    for column in columns.values():
        column.take(torch.arange(N))
    assert all(np.array_equal(X[name], block) for name, block in before.items())


@pytest.mark.parametrize("n_members", [1, 2])
def test_data_that_a_device_has_no_room_for_gives_the_same_results(monkeypatch, n_members):
    X, y = some_missing(KINDS)
    settings = {"n_members": n_members, "max_epochs": 3}
    resident = small(**settings).fit(X, y)
    monkeypatch.setattr(Inputs, "load", partialmethod(Inputs.load, room=0))
    streamed = small(**settings).fit(X, y)
    np.testing.assert_allclose(outputs(streamed, X), outputs(resident, X), rtol=0, atol=1e-6)


def test_the_largest_modality_stays_in_the_memory_of_the_host():
    X, _ = make_data(60, kinds=("vector", "video"))
    columns = inputs(X).load(X, torch.float32, CPU, room=X["vector"].nbytes).columns
    assert type(columns["video"]).__name__ == "StreamedColumn"
    assert "vector" not in columns  # on the device, with the other vectors
