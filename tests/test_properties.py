"""The library's promises, over samples that hypothesis thinks up.

A few hundred cases, always the same ones; with ``SKMM_HYPOTHESIS=thorough`` in the environment forty times as many,
others each time.
"""

import os
import pickle
import random
import re
import warnings
from copy import deepcopy

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from conftest import outputs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor
from skmm.blocks import RaggedArray

THOROUGH = os.environ.get("SKMM_HYPOTHESIS") == "thorough"


def cases(number):
    return settings(
        max_examples=40 * number if THOROUGH else number,
        derandomize=not THOROUGH,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# -- samples -------------------------------------------------------------------------------------------------------

KINDS = ["vector", "sparse", "sequence", "ragged", "tokens", "image", "video"]
NAMES = st.one_of(
    st.sampled_from(["text", "a.b", "self", "keys", "文本", "", " ", "fused", "X", "{0}", "<b>"]),
    st.text(max_size=5),
)
DTYPES = {
    "vector": ["f4", "f8", ">f8", "f2", "i8", "u1", "?"],
    "sparse": ["f4", "f8", "i8"],
    "sequence": ["f4", "f8", "i4"],
    "ragged": ["f4", "f8", ">f4"],
    "tokens": ["i8", "u8", "i2"],
    "image": ["u1", "f4", "u2"],
    "video": ["u1", "f4"],
}
SHAPES = {"vector": (3,), "sparse": (6,), "sequence": (4, 2), "image": (5, 5, 2), "video": (3, 4, 4, 1)}
FUSIONS = ["auto", "sum", "concat", "gated", "late", "attention", "mfb", "film"]


def block_of(kind, dtype, n, rng, scale, gaps):
    """A block of n samples; of those in ``gaps``, where the form has a mark for it, None."""
    if kind in ("ragged", "tokens"):
        lengths = rng.integers(1, 6, n)
        if kind == "tokens":
            samples = [rng.integers(0, 100 if dtype == "i2" else 2**40, k).astype(dtype) for k in lengths]
        else:
            samples = [(scale * rng.normal(size=(k, 2))).astype(dtype) for k in lengths]
        samples = [None if gap else sample for gap, sample in zip(gaps, samples, strict=True)]
        return RaggedArray.from_list(samples) if rng.random() < 0.3 else samples
    values = scale * rng.normal(size=(n, *SHAPES[kind]))
    if np.dtype(dtype).kind in "iu":
        values = np.abs(np.rint(10 * values)) % 200
    values = values.astype(dtype)
    if kind == "sparse":
        return sp.csr_array(np.where(rng.random(values.shape) < 0.4, values, 0).astype(dtype))
    if values.dtype.kind == "f":
        values[gaps] = np.nan
    return values


@st.composite
def samples(draw, ways=("Blocks", "dict", "2-D", "frame")):
    """X in one of the ways in, y, and the estimator for them."""
    way = draw(st.sampled_from(ways))
    n = draw(st.integers(8, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([1.0, 1e-3, 1e3]))
    params = {
        "fusion": draw(st.sampled_from(FUSIONS)),
        "n_members": draw(st.sampled_from([1, 1, 2])),
        "max_epochs": draw(st.sampled_from([1, 2])),
        "hidden_dim": 4,
        "batch_size": draw(st.sampled_from(["auto", 3])),
        "modality_loss": draw(st.sampled_from([0.0, 0.5])),
        "random_state": draw(st.integers(0, 3)),
        "device": "cpu",
    }
    if way == "2-D":
        form = draw(st.sampled_from([np.asarray, np.asfortranarray, sp.csr_array, pd.DataFrame]))
        # neither scipy nor pandas indexes numbers of another byte order
        dtypes = ["f4", "f8"] if form in (sp.csr_array, pd.DataFrame) else ["f4", "f8", ">f8"]
        X = form(np.round(scale * rng.normal(size=(n, 5)), 3).astype(draw(st.sampled_from(dtypes))))
        if isinstance(X, pd.DataFrame):
            X.columns = X.columns.map(str)
        params["modalities"] = draw(st.sampled_from([None, {"left": slice(0, 2), "right": [2, 3, 4]}]))
    elif way == "frame":
        X = pd.DataFrame(
            {
                "number": np.where(rng.random(n) < 0.2, np.nan, scale * rng.normal(size=n)),
                "whole": rng.integers(0, 50, n),
                "level": rng.choice(["red", "green", "blue"], n),
                "flag": rng.random(n) < 0.5,
                "review": [" ".join(rng.choice(["good", "bad", "film", "plot", "long"], 4)) for _ in range(n)],
            }
        )
        X = X[draw(st.lists(st.sampled_from(list(X)), min_size=1, unique=True))]
        X = pl.from_pandas(X) if draw(st.booleans()) else X
        params["modalities"] = "auto"
    else:
        names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        X = {}
        for place, name in enumerate(names):
            kind = draw(st.sampled_from(KINDS))
            gaps = rng.random(n) < (0.3 if place else 0.0)  # the first modality is there in every sample
            X[name] = block_of(kind, draw(st.sampled_from(DTYPES[kind])), n, rng, scale, gaps)
        X = Blocks(X) if way == "Blocks" else X
    classify = draw(st.booleans())
    y = rng.permutation(np.arange(n) % draw(st.sampled_from([2, 3]))) if classify else rng.normal(size=n)
    if classify and draw(st.booleans()):
        y = np.array(["no", "yes", "maybe"])[y]
    return X, y, (MultimodalClassifier if classify else MultimodalRegressor)(**params)


def take(X, rows):
    if isinstance(X, dict):
        return {
            name: block[rows] if not isinstance(block, list) else [block[i] for i in np.arange(len(block))[rows]]
            for name, block in X.items()
        }
    return X.iloc[rows] if isinstance(X, pd.DataFrame) else X[rows]


def bytes_of(X):
    """All that X holds, to be compared later."""
    if isinstance(X, (dict, Blocks)):
        return {name: bytes_of(block) for name, block in X.items()}
    if isinstance(X, list):
        return [bytes_of(item) for item in X]
    if isinstance(X, RaggedArray):
        return X.values.tobytes(), X.offsets.tobytes()
    if sp.issparse(X):
        return X.data.tobytes(), X.indices.tobytes(), X.indptr.tobytes()
    return X.tobytes() if isinstance(X, np.ndarray) else pickle.dumps(X)


def global_state():
    return (
        pickle.dumps(np.random.get_state()),
        random.getstate(),
        torch.get_rng_state().tolist(),
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        list(warnings.filters),
        np.geterr(),
    )


def fitted(estimator, X, y):
    with warnings.catch_warnings():
        # of what is odd in the samples: a column that tells nothing, a member without a class
        warnings.simplefilter("ignore")
        return estimator.fit(X, y)


def asked(estimator, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return outputs(estimator, X)


# -- the promises --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@cases(90)
@given(samples(), st.data())
def test_rows_are_apart_and_nothing_is_changed(case, data):
    X, y, estimator = case
    before, params, state = bytes_of(X), deepcopy(estimator.get_params()), global_state()
    fitted(estimator, X, y)
    whole = asked(estimator, X)
    assert np.isfinite(whole).all()
    row = data.draw(st.integers(0, len(y) - 1), label="row")
    rows = np.arange(len(y))[row : row + 1]
    np.testing.assert_allclose(asked(estimator, take(X, rows)), whole[rows], rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(row).permutation(len(y))
    np.testing.assert_allclose(asked(estimator, take(X, order)), whole[order], rtol=1e-4, atol=1e-5)
    copied = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(asked(copied, X), whole)
    assert bytes_of(X) == before
    assert str(estimator.get_params()) == str(params)
    assert global_state() == state


@pytest.mark.slow
@cases(50)
@given(samples(), st.integers(0, 100))
def test_the_order_of_training_samples_means_nothing(case, seed):
    X, y, estimator = case
    order = np.random.default_rng(seed).permutation(len(y))
    first = asked(fitted(estimator, X, y), X)
    again = asked(fitted(estimator, take(X, order), y[order]), X)
    np.testing.assert_array_equal(first, again)


@pytest.mark.slow
@cases(30)
@given(samples(ways=("Blocks", "dict")))
def test_a_dict_is_its_blocks(case):
    X, y, estimator = case
    first = asked(fitted(estimator, X, y), X)
    other = dict(X.items()) if isinstance(X, Blocks) else Blocks(X)
    np.testing.assert_array_equal(asked(fitted(estimator, other, y), other), first)


def _infinite(block, row, rng):
    block = np.array(block, dtype=np.float64)
    block[row].flat[0] = np.inf
    return block


def _partly_nan(block, row, rng):
    block = np.array(block, dtype=np.float64)
    block[row].flat[-1] = np.nan
    return block


def _words(block, row, rng):
    block = np.array(block, dtype=object)
    block[row].flat[0] = "seven"
    return block


SPOILT = {
    "infinity": _infinite,
    "NaN among numbers": _partly_nan,
    "a word": _words,
    "complex": lambda block, row, rng: block * 1j,
    "a row too few": lambda block, row, rng: block[1:],
    "no columns": lambda block, row, rng: block[..., :0],
    "six axes": lambda block, row, rng: block.reshape(len(block), 1, 1, 1, 1, -1),
    "a number": lambda block, row, rng: 7.0,
    "a set": lambda block, row, rng: {1.0, 2.0},
    "a generator": lambda block, row, rng: (sample for sample in block),
    "records": lambda block, row, rng: np.zeros(len(block), [("x", float)]),
    "dates": lambda block, row, rng: np.full(len(block), np.datetime64("2020-01-01")),
    "an empty sequence": lambda block, row, rng: [b[: 0 if i == row else None] for i, b in enumerate(block)],
    "steps of two widths": lambda block, row, rng: [np.ones((2, 2 + (i == row))) for i in range(len(block))],
    "negative ids": lambda block, row, rng: [np.array([1, -1 if i == row else 1]) for i in range(len(block))],
}


@cases(100)
@given(samples(ways=("dict",)), st.sampled_from(sorted(SPOILT)), st.data())
def test_bad_input_is_refused_by_the_name_of_its_modality(case, fault, data):
    X, y, estimator = case
    rng = np.random.default_rng(0)
    name = data.draw(NAMES.filter(lambda name: name not in X), label="name")
    row = data.draw(st.integers(1, len(y) - 2), label="row")
    good = rng.normal(size=(len(y), *data.draw(st.sampled_from([(3,), (4, 2), (4, 4, 2)]))))
    bad = {**X, name: SPOILT[fault](good, row, rng)}
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        fitted(estimator, bad, y)


@pytest.mark.slow
@cases(40)
@given(samples(ways=("dict",)), st.sampled_from(sorted(SPOILT)), st.data())
def test_bad_input_of_a_later_call_is_refused_by_the_name_of_its_modality(case, fault, data):
    X, y, estimator = case
    name = data.draw(NAMES.filter(lambda name: name not in X), label="name")
    good = np.random.default_rng(0).normal(size=(len(y), 4, 2))
    fitted(estimator, {**X, name: good}, y)
    bad = {**X, name: SPOILT[fault](good, data.draw(st.integers(1, len(y) - 2)), None)}
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        asked(estimator, bad)
