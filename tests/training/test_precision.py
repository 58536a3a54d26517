"""Mixed precision and compilation: how a network is trained, never what is predicted with."""

import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from conftest import LEVELS, every_estimator, level_by_default, make_data, small

from skmm import MultimodalClassifier, list_fusions
from skmm.model_selection import FusionSearchCV

LESS = ["bf16", "16"]
# bfloat16 keeps 8 bits of a number; float16 more, but a step that overflows is left out
NEARLY = 20 * 2**-8
exact = {"dropout": 0.0, "max_epochs": 2, "random_state": 0}


@pytest.mark.parametrize(
    ("fusion", "precision", "n_members"),
    [
        *(level_by_default(fusion, "bf16", 1) for fusion in list_fusions()),
        *((fusion, *options) for fusion in LEVELS for options in [("bf16", 3), ("16", 1), ("16", 3)]),
    ],
)
def test_training_in_less_precision_is_nearly_that_in_float32(fusion, precision, n_members):
    X, y = make_data(60, kinds=("vector", "sequence"))
    options = {"n_members": n_members, **exact}
    full = small(fusion=fusion, **options).fit(X, y)
    less = small(fusion=fusion, precision=precision, **options).fit(X, y)
    losses = np.array([less.loss_curve_, full.loss_curve_])
    assert not np.array_equal(*losses)
    np.testing.assert_allclose(*losses, rtol=NEARLY)
    assert all(p.dtype == torch.float32 for p in less.net_.module_.parameters())


@every_estimator
def test_precision_is_that_of_training_alone(cls):
    X, y = make_data(60)
    fitted = small(cls, precision="bf16", **exact).fit(X, y)
    method = fitted.predict_proba if cls is MultimodalClassifier else fitted.predict
    before = method(X)
    np.testing.assert_array_equal(before, method(X))
    fitted.set_params(precision="32")
    np.testing.assert_array_equal(before, method(X))


def test_float16_survives_a_gradient_that_overflows():
    X, y = make_data(60)
    fitted = small(precision="16", clip_grad_norm=1.0, **exact).fit(X, y)
    fitted.net_.scaler_.update(2.0**40)  # more than float16 holds: steps are left out until it has come down
    fitted.set_params(warm_start=True, max_epochs=1).fit(X, y)
    assert all(torch.isfinite(p).all() for p in fitted.net_.module_.parameters())
    assert fitted.net_.scaler_.get_scale() < 2.0**40


def test_a_search_in_mixed_precision():
    X, y = make_data(60)
    grid = {"lr": [0.001, 0.01]}
    options = {"cv": 2, "scoring": "neg_log_loss"}
    less = FusionSearchCV(small(precision="bf16", **exact), grid, **options).fit(X, y)
    full = FusionSearchCV(small(**exact), grid, **options).fit(X, y)
    assert less.stacks_["trained"] == ["together"]
    scores = [search.cv_results_["mean_test_score"] for search in (less, full)]
    assert not np.array_equal(*scores)
    np.testing.assert_allclose(*scores, rtol=NEARLY)
    alone = FusionSearchCV(small(precision="16", **exact), grid, **options).fit(X, y)
    assert alone.stacks_["trained"] == ["alone"]
    assert "float16" in alone.stacks_["reason"][0]


@pytest.mark.slow  # the compiler takes its time
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.* is deprecated:DeprecationWarning")  # its own
@every_estimator
def test_compiled_training_is_that_without(cls):
    X, y = make_data(60, kinds=("vector", "sequence"))
    plain = small(cls, **exact).fit(X, y)
    compiled = small(cls, compile=True, **exact).fit(X, y)
    np.testing.assert_allclose(compiled.loss_curve_, plain.loss_curve_, rtol=1e-4)
    np.testing.assert_allclose(compiled.transform(X), plain.transform(X), atol=1e-3)
    again = pickle.loads(pickle.dumps(compiled))
    np.testing.assert_array_equal(again.predict(X), compiled.predict(X))


def test_what_cannot_be_compiled_says_so():
    X, y = make_data(60, kinds=("vector", "sequence"))
    with pytest.raises(ValueError, match="compile=True needs n_members=1, got 2"):
        small(compile=True, n_members=2).fit(X, y)


class Stubborn(torch.nn.Module):
    unsupported: ClassVar = {"compile": "it counts its calls"}

    def forward(self, x):
        return x


def test_a_module_that_says_it_cannot_be_compiled_is_believed():
    X, y = make_data(60, kinds=("vector", "vector"))
    with pytest.raises(ValueError, match="Stubborn: it counts its calls"):
        small(compile=True, encoders=Stubborn()).fit(X, y)
