"""Missing modalities: every way to say that one is missing, and what an estimator then does."""

import functools
import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from conftest import (
    KINDS,
    LEVELS,
    MISSING,
    assert_same,
    each_level,
    every_estimator,
    linear_data,
    make_data,
    members,
    outputs,
    small,
)

from skmm import Blocks, ModalityTransformer, MultimodalClassifier, MultimodalRegressor
from skmm.augmentation import Batch, ModalityDropout
from skmm.blocks import RaggedArray
from skmm.inputs._inputs import Inputs
from skmm.layers import SparseRows
from skmm.network._encoders import check_encoders
from skmm.network._network import FusionNetwork


def with_nan(block):
    block = block.astype(np.float64)
    block[MISSING] = np.nan
    return block


@pytest.mark.parametrize(("fusion", "n_members"), [*((name, 1) for name in LEVELS), ("concat", 3)])
def test_ways_to_say_that_a_modality_is_missing(fusion, n_members):
    X, y = make_data(kinds=["vector", "sequence"])
    ways = [
        Blocks(vector=with_nan(X["vector"]), sequence=X["sequence"]),
        Blocks(X, present={"vector": ~MISSING}),
        {"vector": with_nan(X["vector"]), "sequence": X["sequence"]},
        {"vector": pd.DataFrame(with_nan(X["vector"])), "sequence": X["sequence"]},
    ]
    params = {"fusion": fusion, "n_members": n_members, "max_epochs": 3}
    fits = [small(**params).fit(way, y).predict_proba(way) for way in ways]
    for other in fits[1:]:
        np.testing.assert_allclose(other, fits[0], rtol=0, atol=1e-6)
    assert np.abs(fits[0] - small(**params).fit(X, y).predict_proba(X)).max() > 1e-4


def test_none_says_that_a_sample_of_a_ragged_block_is_missing():
    X, y = make_data(kinds=["ragged", "tokens", "vector"])
    absent = {
        "ragged": [None if m else item for item, m in zip(X["ragged"], MISSING, strict=True)],
        "tokens": [None if m else item for item, m in zip(X["tokens"], ~MISSING, strict=True)],
        "vector": X["vector"],
    }
    masked = Blocks(X, present={"ragged": ~MISSING, "tokens": MISSING})
    assert_same(small().fit(absent, y), small().fit(masked, y), masked)


GARBAGE = [1e30, np.inf, np.nan]


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize(
    ("fusion", "n_members"),
    [*((name, 1) for name in LEVELS), ("concat", 3)],
)
def test_what_stands_in_a_missing_block_means_nothing(fusion, n_members, garbage):
    X, y = make_data(kinds=["vector", "sequence"])
    soiled = {name: block.copy() for name, block in X.items()}
    soiled["vector"][MISSING, 1:3] = garbage
    soiled["sequence"][~MISSING, 2:4] = garbage
    present = {"vector": ~MISSING, "sequence": MISSING}
    clean, dirty = Blocks(X, present=present), Blocks(soiled, present=present)
    params = {"fusion": fusion, "n_members": n_members, "max_epochs": 2}
    fitted = small(**params).fit(clean, y)
    assert_same(fitted, small(**params).fit(dirty, y), clean)
    np.testing.assert_allclose(fitted.predict_proba(dirty), fitted.predict_proba(clean), rtol=0, atol=1e-6)


def test_a_missing_image_and_a_missing_sparse_row_mean_nothing():
    X, y = make_data(kinds=["image", "sparse", "vector"])
    soiled = {"image": X["image"].copy(), "sparse": X["sparse"].copy().tolil(), "vector": X["vector"]}
    soiled["image"][MISSING] = 255
    soiled["sparse"][np.flatnonzero(MISSING), 0] = 1e9
    present = {"image": ~MISSING, "sparse": ~MISSING}
    clean, dirty = Blocks(X, present=present), Blocks(soiled, present=present)
    fitted = small().fit(clean, y)
    assert_same(fitted, small().fit(dirty, y), clean)
    np.testing.assert_allclose(fitted.predict_proba(dirty), fitted.predict_proba(clean), rtol=0, atol=1e-6)


# -- the same with every fusion and kind of block, through networks that were not trained --------------------------

FORMS = ["vector", "sequence", "ragged", "sparse"]
every_form = pytest.mark.parametrize("kind", FORMS)
ROWS = torch.arange(60)


def soil(block, garbage):
    """The block with something else in the rows that are missing, of other length where that is possible."""
    if isinstance(block, RaggedArray):
        return [np.full((12, 3), garbage) if bad else x for x, bad in zip(block, MISSING, strict=True)]
    if sp.issparse(block):
        return sp.csr_array(np.where(MISSING[:, None], garbage, block.toarray()))
    return np.where(MISSING.reshape(-1, *[1] * (block.ndim - 1)), garbage, block)


@functools.cache
def beside(kind):
    """A block of a kind that lacks some rows beside one that lacks none, as blocks and as their reader."""
    X, _ = make_data(kinds=[kind, "sequence" if kind == "vector" else "vector"])
    blocks = Blocks(X, present={kind: ~MISSING})
    choices = check_encoders(None, list(X))
    return blocks, Inputs(blocks, np.ones(60), choices, True, device=torch.device("cpu"))


def untrained(fusion, inputs):
    """A network in float64 with random weights."""
    torch.manual_seed(0)
    params = {"hidden_dim": 8, "dropout": 0.1, "activation": "relu"}
    network = FusionNetwork(inputs.infos, fusion, None, 2, "softmax", params).double().eval()
    with torch.no_grad():
        for p in network.parameters():
            p.normal_(std=0.5)
    return network


def batch(inputs, blocks):
    return inputs.load(inputs.check(blocks), torch.float64, torch.device("cpu")).take(ROWS)


def in_place_of(values, mask, garbage):
    """A batch of one modality with something else wherever the mask is False."""
    if isinstance(values, SparseRows):
        return SparseRows(values.columns, *(torch.where(mask[:, None], x, garbage) for x in values[1:]))
    return torch.where(mask.view(*mask.shape, *[1] * (values.ndim - mask.ndim)), values, garbage)


@every_form
@each_level
def test_bytes_in_a_missing_row_mean_nothing_to_a_network(fusion, kind):
    blocks, inputs = beside(kind)
    network = untrained(fusion, inputs)
    values, present = batch(inputs, blocks)
    with torch.no_grad():
        expected = network(values, present)
        everything = network(values, {**present, kind: torch.ones_like(present[kind])})
        assert (everything - expected).abs().max() > 1e-3  # that it is missing does matter
        for garbage in (1e30, math.nan):
            soiled = Blocks({**blocks, kind: soil(blocks[kind], garbage)}, present={kind: ~MISSING})
            torch.testing.assert_close(network(*batch(inputs, soiled)), expected, rtol=0, atol=1e-6)
            # and neither where nobody takes the bytes out before the network
            rows = present[kind] if present[kind].ndim == 1 else present[kind].any(-1, keepdim=True)
            rows = rows.expand(present[kind].shape)
            given = {**values, kind: in_place_of(values[kind], rows, garbage)}
            torch.testing.assert_close(network(given, present), expected, rtol=0, atol=1e-6)


@each_level
def test_padding_of_a_sequence_means_nothing_to_a_network(fusion):
    blocks, inputs = beside("ragged")
    network = untrained(fusion, inputs)
    values, present = batch(inputs, blocks)
    mask = F.pad(present["ragged"], (0, 5))
    with torch.no_grad():
        expected = network(values, present)
        for garbage in (0.0, -3.0, 1e30):
            longer = in_place_of(F.pad(values["ragged"], (0, 0, 0, 5)), mask, garbage)
            found = network({**values, "ragged": longer}, {**present, "ragged": mask})
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        # as it happens to a short sample: beside a long one it is filled up, alone it is not
        for row in (0, 1, 2, 5):
            alone = network(*inputs.load(blocks, torch.float64, torch.device("cpu")).take(ROWS[row : row + 1]))
            torch.testing.assert_close(alone[0], expected[row], rtol=0, atol=1e-6)


@members
def test_a_row_without_any_modality_gets_the_frequencies_of_training(n_members):
    X, y = make_data(60)
    y[:15], y[15:] = 1, 0
    clf = small(n_members=n_members, max_epochs=2).fit(X, y)
    empty = np.zeros(60, dtype=bool)
    empty[[4, 7, 30]] = True
    nothing = Blocks(X, present=dict.fromkeys(X, ~empty))
    with pytest.warns(UserWarning, match=r"3 of 60 samples have no modality .* row 4"):
        proba = clf.predict_proba(nothing)
    np.testing.assert_allclose(proba[empty], [[0.75, 0.25]] * 3)
    np.testing.assert_allclose(proba[~empty], clf.predict_proba(X)[~empty], rtol=0, atol=1e-6)


def test_a_row_without_any_modality_gets_the_mean_of_a_regression():
    X, y = linear_data(60)
    reg = small(MultimodalRegressor, max_epochs=2).fit(X, y)
    with pytest.warns(UserWarning, match="1 of 60 samples have no modality"):
        predicted = reg.predict(Blocks(X, present=dict.fromkeys(X, np.arange(60) != 5)))
    assert predicted[5] == pytest.approx(y.mean())


@every_estimator
def test_a_row_without_any_modality_is_left_out_of_training(cls):
    X, y = make_data()
    exists = np.arange(60) >= 4
    with pytest.warns(UserWarning, match="4 of 60 samples have no modality .* left out of training.* row 0"):
        fitted = small(cls, max_epochs=3).fit(Blocks(X, present=dict.fromkeys(X, exists)), y)
    assert_same(fitted, small(cls, max_epochs=3).fit(X[4:], y[4:]), X)


def test_learns_which_modality_to_believe_where_the_other_is_missing():
    X, y = make_data(200, noise=0.3)
    half = np.arange(200) % 3
    X = Blocks(X, present={"vector": half != 0, "sequence": half != 1})
    clf = small(max_epochs=25).fit(X[:140], y[:140])
    for part in range(3):
        rows = np.flatnonzero(half[140:] == part) + 140
        assert clf.score(X[rows], y[rows]) > 0.9


# -- a modality that is absent as a whole --------------------------------------------------------------------------


@members
@each_level
def test_an_absent_modality_is_one_that_every_sample_lacks(fusion, n_members):
    X, y = make_data(kinds=["vector", "sequence"])
    clf = small(fusion=fusion, n_members=n_members, modality_dropout=0.3, max_epochs=2).fit(X, y)
    for name in X:
        without = clf.predict_proba({other: X[other] for other in X if other != name})
        lacking = clf.predict_proba(Blocks(X, present={name: np.zeros(60, dtype=bool)}))
        np.testing.assert_allclose(without, lacking, rtol=0, atol=1e-6)


@every_estimator
@pytest.mark.parametrize("kind", KINDS)
def test_a_modality_of_any_kind_may_be_absent(cls, kind):
    X, y = make_data(kinds=["vector", kind] if kind != "vector" else ["vector", "sequence"])
    fitted = small(cls, modality_dropout=0.3, max_epochs=2).fit(X, y)
    lacking = Blocks(X, present={kind: np.zeros(60, dtype=bool)})
    without = outputs(fitted, X.select([name for name in X if name != kind]))
    np.testing.assert_allclose(without, outputs(fitted, lacking), rtol=0, atol=1e-6)


def test_samples_that_lacked_it_in_training_teach_to_do_without():
    X, y = make_data(kinds=["vector", "sequence"])
    clf = small(max_epochs=2).fit(Blocks(X, present={"vector": ~MISSING}), y)
    assert clf.predict_proba(X.select(["sequence"])).shape == (60, 2)
    with pytest.raises(ValueError, match=r"'sequence' is missing.*no training sample lacked it.*modality_dropout"):
        clf.predict_proba(X.select(["vector"]))


def test_a_modality_never_seen_in_training_is_refused():
    X, y = make_data(kinds=["vector", "sequence"])
    clf = small(max_epochs=2).fit(Blocks(X, present={"sequence": np.zeros(60, dtype=bool)}), y)
    assert clf.predict_proba(X.select(["vector"])).shape == (60, 2)
    with pytest.raises(ValueError, match="'sequence', row 7: .* every training sample lacked"):
        clf.predict(Blocks(X, present={"sequence": np.arange(60) >= 7}))
    with pytest.raises(ValueError, match=r"unknown modality 'smell', valid are \['vector', 'sequence'\]"):
        clf.predict({**X.select(["vector"]), "smell": X["vector"]})


def test_a_stream_may_bring_a_modality_later():
    X, y = make_data(kinds=["vector", "sequence"])
    clf = small().partial_fit(Blocks(X, present={"sequence": np.zeros(60, dtype=bool)}), y, classes=[0, 1])
    clf.partial_fit(X, y).partial_fit(X.select(["vector"]), y)
    assert clf.predict_proba(X).shape == (60, 2)


# -- modality dropout ----------------------------------------------------------------------------------------------


def batch_of(*there, axes=1):
    masks = [torch.as_tensor(mask) for mask in there]
    names = [f"m{i}" for i in range(len(masks))]
    values = {name: torch.zeros(*mask.shape, 2) for name, mask in zip(names, masks, strict=True)}
    present = dict(zip(names, masks, strict=True))
    return Batch(values, present, torch.zeros(masks[0].shape[:axes]), None, axes)


def test_modality_dropout_hides_each_with_its_probability_and_never_all():
    torch.manual_seed(0)
    n, p = 20_000, 0.3
    everything = np.ones(n, dtype=bool)
    present = ModalityDropout(p)(batch_of(everything, everything, everything)).present
    kept = torch.stack(list(present.values())).numpy()  # (M, n)
    # each is hidden with probability p, but one of the three stays where all were drawn
    expected = 1 - p + p**3 / 3
    np.testing.assert_allclose(kept.mean(axis=1), expected, atol=4 * np.sqrt(p * (1 - p) / n))
    assert kept.any(axis=0).all()


def test_modality_dropout_keeps_the_last_that_a_sample_has():
    there = np.array([True, False, True, False] * 50)
    torch.manual_seed(0)
    present = ModalityDropout(1.0)(batch_of(there, ~there, np.zeros(200, dtype=bool))).present
    np.testing.assert_array_equal(present["m0"], there)
    np.testing.assert_array_equal(present["m1"], ~there)
    assert not present["m2"].any()


def test_modality_dropout_hides_all_steps_of_a_sequence_and_members_apart():
    torch.manual_seed(0)
    steps = np.arange(6) < np.random.default_rng(0).integers(1, 7, (2, 500, 1))
    batch = batch_of(steps, np.ones((2, 500), dtype=bool), axes=2)
    hidden = ModalityDropout(0.5)(batch).present["m0"].numpy()
    whole = hidden.any(axis=-1)
    np.testing.assert_array_equal(hidden, steps & whole[..., None])
    assert (whole[0] != whole[1]).mean() > 0.3


def test_dropped_in_training_alone_and_by_the_seed_alone():
    X, y = make_data()
    first = small(modality_dropout=0.4).fit(X, y)
    np.testing.assert_array_equal(first.predict_proba(X), first.predict_proba(X))
    assert_same(first, small(modality_dropout=0.4).fit(X, y), X, atol=0)
    assert np.abs(outputs(first, X) - outputs(small().fit(X, y), X)).max() > 1e-4


def test_modality_dropout_teaches_to_do_without():
    """Either modality alone tells the class; a network that never saw one alone leans on both."""
    X, y = make_data(300, noise=1.0)
    train, test = np.arange(200), np.arange(200, 300)
    clf = small(modality_dropout=0.4, modality_loss=0, max_epochs=30).fit(X[train], y[train])
    for name in X:
        assert clf.score(X[test].select([name]), y[test]) > 0.8


@pytest.mark.parametrize("p", [-0.1, 1.0, "often"])
def test_modality_dropout_must_be_a_probability_below_1(p):
    X, y = make_data()
    with pytest.raises((ValueError, TypeError), match=r"modality_dropout"):
        MultimodalClassifier(modality_dropout=p).fit(X, y)


# -- masked arrays -------------------------------------------------------------------------------------------------


def test_a_masked_array_marks_missing_rows_of_integers_too():
    X, _ = make_data(kinds=["image", "vector"])
    hidden = np.broadcast_to(MISSING[:, None, None], X["image"].shape)
    masked = Blocks(image=np.ma.MaskedArray(X["image"], hidden), vector=X["vector"])
    np.testing.assert_array_equal(masked.present["image"], ~MISSING)
    assert masked["image"].dtype == np.uint8
    assert masked.kinds["image"] == "image"


def test_a_row_masked_in_part_is_refused():
    hidden = np.zeros((5, 3), dtype=bool)
    hidden[2, 1] = True
    with pytest.raises(ValueError, match="'a', row 2: 1 of 3 values are masked"):
        Blocks(a=np.ma.MaskedArray(np.ones((5, 3)), hidden))


def test_a_transformer_may_return_a_masked_array():
    class Reader:
        def fit(self, X, y=None):
            return self

        def transform(self, X):
            broken = np.array([str(x) == "bad" for x in X])
            return np.ma.MaskedArray(
                np.zeros((len(broken), 4, 4), np.uint8), np.repeat(broken, 16).reshape(-1, 4, 4)
            )

    frame = pd.DataFrame({"photo": ["a", None, "bad", "b"], "price": [1.0, 2.0, 3.0, 4.0]})
    X = ModalityTransformer([("image", Reader(), "photo"), ("price", "passthrough", ["price"])]).fit_transform(
        frame
    )
    np.testing.assert_array_equal(X.present["image"], [True, False, False, True])
    np.testing.assert_array_equal(X.present["price"], True)
