"""What holds for every estimator and every registered fusion."""

import contextlib
import copy
import functools
import io
import itertools
import os
import pickle
import subprocess
import sys
import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from conftest import (
    ESTIMATORS,
    KINDS,
    LEVELS,
    each_level,
    every_estimator,
    every_fusion,
    make_block,
    make_data,
    outputs,
    small,
)
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold, cross_validate
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skmm import Blocks, MultimodalClassifier, MultimodalRegressor, list_fusions
from skmm.spec import FUSIONS
from skmm.testing import check_estimator_on_blocks
from skmm.testing._fusions import QUICK

FUSION_NAMES = list_fusions()
# what a fusion that has no encoders cannot join, with the reason
UNREADABLE = {("early", "tokens"): "ids are no numbers to add up"}
PAIRS = [(f, k) for f in LEVELS for k in KINDS if (f, k) not in UNREADABLE]
each_pair = pytest.mark.parametrize(("fusion", "kind"), PAIRS)


def readable(fusion):
    return [kind for kind in KINDS if (fusion, kind) not in UNREADABLE]


@functools.cache
def fitted(fusion, kind, cls=MultimodalClassifier):
    """An estimator fitted on one block of a kind beside a vector, and its data."""
    X, y = make_data(kinds=dict.fromkeys([kind, "vector"]))
    return small(cls, fusion).fit(X, y), X, y


# -- scikit-learn's own checks -------------------------------------------------------------------------------------

# what an estimator of many members says of the few samples of some checks
shared_folds = pytest.mark.filterwarnings("ignore:n_members=. is more than:UserWarning")

SEVERAL = {**QUICK, "n_members": 3, "experts": None, "max_epochs": 8, "lr": 0.05}

# Its checks of the defaults. That arrays may be read-only memory maps is asked of quicker estimators alone.
AS_IT_COMES = [
    pytest.param(estimator, check, id=f"{cls.__name__}-{check.func.__name__}")
    for cls in ESTIMATORS
    for estimator, check in estimator_checks_generator(cls())
    if not check.keywords.get("readonly_memmap")
]

# What scikit-learn asks of an estimator and the fusion has a part in. Its other checks are of what comes before the
# network: forms of input, parameters, tags, errors.
OF_THE_FUSION = {
    "check_class_weight_classifiers",
    "check_classifiers_classes",
    "check_classifiers_multilabel_output_format_predict_proba",
    "check_classifiers_train",
    "check_decision_proba_consistency",
    "check_estimators_dtypes",
    "check_estimators_pickle",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit_idempotent",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_regressors_int",
    "check_regressors_train",
    "check_sample_weight_equivalence_on_dense_data",
    "check_transformer_general",
}


def check_what_the_fusion_has_a_part_in(estimator):
    done = set()
    for checked, check in estimator_checks_generator(estimator):
        name = check.func.__name__
        if name in OF_THE_FUSION - done:  # once: its variants are forms of the same samples
            check(checked)
            done.add(name)
    assert len(done) > len(OF_THE_FUSION) / 2


@shared_folds
@parametrize_with_checks([cls(**SEVERAL) for cls in ESTIMATORS])
def test_scikit_learn_checks_of_several_members(estimator, check):
    check(estimator)


@pytest.mark.slow
@every_estimator
@every_fusion
def test_scikit_learn_checks_with_each_fusion(cls, fusion):
    check_what_the_fusion_has_a_part_in(cls(fusion, **QUICK))


@every_estimator
@every_fusion
def test_checks_on_blocks_with_each_fusion(cls, fusion):
    check_estimator_on_blocks(cls(fusion, **QUICK))


@pytest.mark.slow
@shared_folds
@pytest.mark.parametrize(("estimator", "check"), AS_IT_COMES)
def test_scikit_learn_checks_with_all_as_it_comes(estimator, check):
    check(estimator)


@pytest.mark.slow
@shared_folds
@every_estimator
@pytest.mark.parametrize("fusion", [fusion for fusion in LEVELS if fusion != "concat"])
def test_scikit_learn_checks_of_several_members_with_each_level(cls, fusion):
    check_what_the_fusion_has_a_part_in(cls(fusion, **SEVERAL))


@pytest.mark.slow
def test_scikit_learn_check_of_array_api_dispatch():
    # scipy reads the switch when it is imported, so this check skips itself in the process of the others
    code = """
from sklearn.utils.estimator_checks import check_array_api_input
from skmm import MultimodalClassifier, MultimodalRegressor
for cls in (MultimodalClassifier, MultimodalRegressor):
    check_array_api_input(cls.__name__, cls(max_epochs=2), "numpy", expect_only_array_outputs=False)
"""
    env = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- samples never see each other ----------------------------------------------------------------------------------


@each_pair
def test_a_row_is_predicted_alone_as_among_others(fusion, kind):
    clf, X, _ = fitted(fusion, kind)
    together = clf.predict_proba(X)
    labels = clf.predict(X)
    for i in range(0, len(X), 7):
        alone = clf.predict_proba(X[i : i + 1])[0]
        np.testing.assert_allclose(alone, together[i], rtol=0, atol=1e-6)
        assert clf.predict(X[i : i + 1])[0] == labels[i]


@each_pair
def test_what_other_rows_hold_does_not_matter(fusion, kind):
    clf, X, _ = fitted(fusion, kind)
    rows = [0, 1, 2, 3]
    among_many = clf.predict_proba(X)[rows]
    repeated = clf.predict_proba(X[rows + rows[::-1]])[:4]
    np.testing.assert_allclose(repeated, among_many, rtol=0, atol=1e-6)


def assert_learns(fusion, kinds):
    X, y = make_data(n=90, kinds=kinds, n_classes=3)
    assert small(fusion=fusion).fit(X[:60], y[:60]).score(X[60:], y[60:]) > 0.8
    values = np.asarray(X["vector"]).sum(axis=1)
    assert (
        small(MultimodalRegressor, fusion, max_epochs=40).fit(X[:60], values[:60]).score(X[60:], values[60:]) > 0.5
    )


@pytest.mark.one_by_default
@each_level
def test_learns_from_every_kind_of_block(fusion):
    assert_learns(fusion, readable(fusion))


@every_fusion
def test_learns(fusion):
    assert_learns(fusion, ["vector", "sequence"])


# -- the same seed, the same network -------------------------------------------------------------------------------


@every_estimator
@each_level
def test_same_seed_gives_the_same_fit_bit_for_bit(cls, fusion):
    X, y = make_data(kinds=readable(fusion))
    estimator = small(cls, fusion, max_epochs=3)
    first = outputs(estimator.fit(X, y), X)
    again = outputs(estimator.fit(X, y), X)
    cloned = clone(estimator).fit(X, y)
    np.testing.assert_array_equal(again, first)
    np.testing.assert_array_equal(outputs(cloned, X), first)
    assert cloned.loss_curve_ == estimator.loss_curve_


@each_level
def test_another_seed_gives_another_fit(fusion):
    X, y = make_data()
    first, second = (small(fusion=fusion, max_epochs=2, random_state=seed).fit(X, y) for seed in (0, 1))
    assert np.abs(first.predict_proba(X) - second.predict_proba(X)).max() > 1e-4


def test_no_seed_gives_different_fits():
    X, y = make_data()
    estimator = small(max_epochs=2, random_state=None)
    assert not np.array_equal(estimator.fit(X, y).predict_proba(X), estimator.fit(X, y).predict_proba(X))


def test_a_random_state_instance_moves_on():
    X, y = make_data()
    state = np.random.RandomState(0)
    first, second = (small(max_epochs=2, random_state=state).fit(X, y).predict_proba(X) for _ in range(2))
    assert not np.array_equal(first, second)
    repeated = small(max_epochs=2, random_state=np.random.RandomState(0)).fit(X, y).predict_proba(X)
    np.testing.assert_array_equal(repeated, first)


@pytest.mark.slow
def test_same_fit_in_other_processes():
    X, y = make_data(n=30, kinds=["vector", "sequence"])
    here = [small(fusion=fusion, max_epochs=2).fit(X, y).predict_proba(X) for fusion in LEVELS]
    there = joblib.Parallel(n_jobs=2)(
        joblib.delayed(small(fusion=fusion, max_epochs=2).fit)(X, y) for fusion in LEVELS
    )
    for fusion, expected, estimator in zip(LEVELS, here, there, strict=True):
        np.testing.assert_array_equal(estimator.predict_proba(X), expected, err_msg=fusion)


@pytest.mark.parametrize("order", [np.arange(60)[::-1], np.random.RandomState(1).permutation(60)])
def test_order_of_samples_means_nothing(order):
    X, y = make_data(kinds=["vector", "ragged", "sparse"])
    expected = small().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(small().fit(X[order], y[order]).predict_proba(X), expected, rtol=0, atol=1e-6)


# -- copies --------------------------------------------------------------------------------------------------------


def through_joblib(estimator):
    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    return joblib.load(buffer)


def through_pickle(estimator):
    return pickle.loads(pickle.dumps(estimator))


@pytest.mark.parametrize("duplicate", [through_pickle, through_joblib, copy.deepcopy])
@each_level
def test_a_copy_predicts_the_same(fusion, duplicate):
    X, y = make_data(kinds=readable(fusion))
    estimator = small(fusion=fusion, max_epochs=2).fit(X, y)
    expected = estimator.predict_proba(X)
    copied = duplicate(estimator)
    np.testing.assert_array_equal(copied.predict_proba(X), expected)
    np.testing.assert_array_equal(copied.transform(X), estimator.transform(X))
    assert copied.loss_curve_ == estimator.loss_curve_


@every_estimator
def test_a_copy_can_be_trained_on(cls):
    X, y = make_data()
    estimator = small(cls, max_epochs=2, warm_start=True).fit(X, y)
    copied = through_pickle(estimator)
    np.testing.assert_array_equal(outputs(copied.fit(X, y), X), outputs(estimator.fit(X, y), X))
    assert copied.n_iter_ == 4


# -- what samples come as ------------------------------------------------------------------------------------------


def strided(a):
    return np.repeat(a, 2, axis=1)[:, ::2]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


# ways to state the same integer-valued numbers
DENSE_FORMS = {
    "float64": np.float64,
    "float32": np.float32,
    "int64": np.int64,
    "int8": np.int8,
    "object": lambda a: a.astype(object),
    "Fortran": np.asfortranarray,
    "read-only": read_only,
    "strided": strided,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "list": lambda a: a.tolist(),
    "pandas": lambda a: pd.DataFrame(a),
    "pandas nullable": lambda a: pd.DataFrame(a).astype("Float64"),
    "polars": lambda a: pl.DataFrame(a),
    "torch": torch.as_tensor,
}


@functools.cache
def whole_numbers():
    rng = np.random.RandomState(0)
    y = rng.permutation(np.arange(60) % 2)
    return (4 * y[:, None] + rng.randint(-5, 6, size=(60, 5))).astype(np.float64), y


@pytest.mark.parametrize("form", DENSE_FORMS)
def test_the_form_of_a_dense_block_means_nothing(form):
    x, y = whole_numbers()
    X = {"a": DENSE_FORMS[form](x), "b": x[:, :, None]}
    expected = small(max_epochs=3).fit(Blocks(a=x, b=X["b"]), y).predict_proba(Blocks(a=x, b=X["b"]))
    clf = small(max_epochs=3).fit(X, y)
    np.testing.assert_allclose(clf.predict_proba(X), expected, rtol=0, atol=1e-5)


@each_level
def test_the_forms_of_dense_blocks_mean_nothing_to_a_fusion(fusion):
    x, y = whole_numbers()
    plain = dict.fromkeys(DENSE_FORMS, x)
    formed = {name: form(x) for name, form in DENSE_FORMS.items()}
    clf = small(fusion=fusion, max_epochs=2).fit(formed, y)
    np.testing.assert_allclose(clf.predict_proba(formed), clf.predict_proba(plain), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "form", [sp.csr_array, sp.csc_array, sp.coo_array, sp.dok_array, sp.lil_array, sp.csr_matrix, sp.csc_matrix]
)
def test_the_form_of_a_sparse_block_means_nothing(form):
    x, y = whole_numbers()
    plain, X = {"a": sp.csr_array(x), "b": x}, {"a": form(x), "b": x}
    expected = small(max_epochs=3).fit(plain, y).predict_proba(plain)
    np.testing.assert_allclose(small(max_epochs=3).fit(X, y).predict_proba(X), expected, rtol=0, atol=1e-6)


@each_level
def test_a_sparse_block_of_integers_and_of_unsorted_entries(fusion):
    x, y = whole_numbers()
    whole = sp.csr_array(x.astype(np.int32))
    entries = sp.csr_array(x)
    rows = [slice(a, b) for a, b in itertools.pairwise(entries.indptr)]
    data, indices = (np.concatenate([a[row][::-1] for row in rows]) for a in (entries.data, entries.indices))
    turned = sp.csr_array((data, indices, entries.indptr), shape=x.shape)
    assert not turned.has_sorted_indices
    clf = small(fusion=fusion, max_epochs=2).fit({"a": turned}, y)
    expected = clf.predict_proba({"a": whole})
    np.testing.assert_allclose(clf.predict_proba({"a": turned}), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", [sp.csr_array, sp.csc_array, sp.coo_array, sp.dok_array, sp.lil_array])
def test_a_sparse_matrix_alone_is_one_modality(form):
    x, y = whole_numbers()
    clf = small(max_epochs=2).fit(form(x), y)
    assert list(clf.modalities_) == ["X"]
    assert clf.n_features_in_ == 5
    expected = small(max_epochs=2).fit(Blocks(X=sp.csr_array(x)), y).predict_proba(Blocks(X=sp.csr_array(x)))
    np.testing.assert_allclose(clf.predict_proba(form(x)), expected, rtol=0, atol=1e-6)


@each_level
def test_labels_that_are_words(fusion):
    X, y = make_data()
    named = np.array(["no", "yes"])[y]
    clf = small(fusion=fusion).fit(X, named)
    assert set(clf.predict(X)) == {"no", "yes"}
    assert clf.score(X, named) > 0.9


@pytest.mark.parametrize("labels", [["no", "yes"], [-1, 1], [False, True], [2.0, 7.0]])
def test_labels_of_any_type(labels):
    X, y = make_data()
    named = np.array(labels)[y]
    clf = small().fit(X, named)
    np.testing.assert_array_equal(clf.classes_, np.unique(named))
    assert clf.predict(X).dtype == named.dtype
    assert clf.score(X, named) > 0.9


def test_string_labels_as_objects_and_series():
    X, y = make_data()
    named = np.array(["no", "yes"], dtype=object)[y]
    expected = small(max_epochs=2).fit(X, named).predict(X)
    for target in (named.tolist(), pd.Series(named, index=np.arange(60) + 7), pl.Series(named.tolist())):
        np.testing.assert_array_equal(small(max_epochs=2).fit(X, target).predict(X), expected)


def several(n_modalities, n=40):
    y = np.arange(n) % 2
    return Blocks({f"m{i}": make_block("vector", y, seed=i) for i in range(n_modalities)}), y


@pytest.mark.parametrize("n_modalities", [1, 2, 7])
@every_estimator
@each_level
def test_any_number_of_modalities(cls, fusion, n_modalities):
    X, y = several(n_modalities)
    estimator = small(cls, fusion, max_epochs=25).fit(X, y)
    assert list(estimator.modalities_) == list(X)
    assert estimator.score(X, y) > 0.8


# The product of seven terms, which mutan does not normalise, is noisy: its Notes say so.
LEAST_SCORE = {"mutan": 0.6}


@every_fusion
def test_learns_from_seven_modalities(fusion):
    X, y = several(7)
    assert small(fusion=fusion, max_epochs=25).fit(X, y).score(X, y) > LEAST_SCORE.get(fusion, 0.8)


NAMES = ["self", "a.b", "keys", "文本", "present", "values", "", " ", "a__b", "forward", "0", "fused", "joint"]


@every_fusion
def test_any_name_of_a_modality(fusion):
    y = np.arange(40) % 2
    blocks = {name: make_block("vector", y, seed=i) for i, name in enumerate(NAMES)}
    clf = small(fusion=fusion, max_epochs=2).fit(blocks, y)
    plain = {f"m{i}": block for i, block in enumerate(blocks.values())}
    expected = small(fusion=fusion, max_epochs=2).fit(plain, y).predict_proba(plain)
    assert list(clf.modalities_) == NAMES
    np.testing.assert_array_equal(through_pickle(clf).predict_proba(blocks), expected)


@pytest.mark.parametrize("name", ["fused", "joint"])
@every_estimator
def test_a_modality_named_as_a_head_keeps_a_head_of_its_own(cls, name):
    X, y = make_data()
    renamed = Blocks(dict(zip([name, "other"], X.values(), strict=True)))
    by_head = "predict_proba_by_head" if cls is MultimodalClassifier else "predict_by_head"
    expected = getattr(small(cls, max_epochs=2).fit(X, y), by_head)(X)
    found = getattr(small(cls, max_epochs=2).fit(renamed, y), by_head)(renamed)
    assert len(expected) == len(found) == 3
    for head, known in zip(found, expected, strict=True):
        np.testing.assert_array_equal(found[head], expected[known])
    assert list(found)[1:] == [name, "other"]


@each_level
def test_order_of_modalities_at_predict_means_nothing(fusion):
    X, y = make_data(kinds=["vector", "sequence", "image"])
    clf = small(fusion=fusion, max_epochs=2).fit(X, y)
    turned = X.select(["image", "vector", "sequence"])
    np.testing.assert_array_equal(clf.predict_proba(turned), clf.predict_proba(X))


@every_estimator
@each_level
def test_a_last_batch_of_one_row(cls, fusion):
    X, y = make_data(n=33, kinds=readable(fusion))
    estimator = small(cls, fusion, batch_size=16, max_epochs=2).fit(X, y)
    assert np.isfinite(outputs(estimator, X)).all()
    assert np.isfinite(estimator.loss_curve_).all()


@every_estimator
@each_level
def test_batches_of_one_row(cls, fusion):
    X, y = make_data(n=10, kinds=readable(fusion))
    estimator = small(cls, fusion, batch_size=1, max_epochs=2).fit(X, y)
    assert np.isfinite(outputs(estimator, X)).all()


# -- the rest of the process is left alone -------------------------------------------------------------------------


def everything_global():
    cuda = [torch.cuda.get_rng_state(i) for i in range(torch.cuda.device_count())]
    return {
        "numpy": pickle.dumps(np.random.get_state()),
        "torch": torch.random.get_rng_state().numpy().tobytes(),
        "cuda": [state.numpy().tobytes() for state in cuda],
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
        "errors": np.geterr(),
        "environment": dict(os.environ),
    }


@every_estimator
@each_level
def test_global_state_is_left_alone(cls, fusion):
    X, y = make_data(kinds=readable(fusion))
    np.random.seed(3)
    torch.manual_seed(3)
    before = everything_global()
    for early_stopping in (False, True):
        estimator = small(cls, fusion, early_stopping=early_stopping, max_epochs=2).fit(X, y)
        outputs(estimator, X)
        estimator.transform(X)
    with contextlib.suppress(ValueError):
        small(cls, fusion, optimizer="sgd", lr=1e30).fit(X, y)
    assert everything_global() == before


@pytest.mark.parametrize("seed", [0, 1])
def test_a_fit_does_not_read_the_global_random_state(seed):
    X, y = make_data()
    np.random.seed(seed)
    torch.manual_seed(seed)
    predicted = small(max_epochs=2).fit(X, y).predict_proba(X)
    np.random.seed(5)
    torch.manual_seed(5)
    np.testing.assert_array_equal(small(max_epochs=2).fit(X, y).predict_proba(X), predicted)


def raw_bytes(X):
    parts = []
    for block in X.values():
        if sp.issparse(block):
            parts += [block.data.tobytes(), block.indices.tobytes(), block.indptr.tobytes()]
        elif isinstance(block, list):
            parts += [None if item is None else item.tobytes() for item in block]
        else:
            parts.append(block.tobytes())
    return parts


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every_estimator
@each_level
def test_the_arrays_of_the_user_are_left_alone(cls, fusion, dtype):
    y = np.arange(40) % 2
    X = {kind: make_block(kind, y, seed=i) for i, kind in enumerate(readable(fusion))}
    X["vector"] = X["vector"].astype(dtype)
    X["vector"][3] = np.nan
    X["ragged"][5] = None
    weights = np.ones(40)
    before, y_before, w_before = raw_bytes(X), y.tobytes(), weights.tobytes()
    estimator = small(cls, fusion, max_epochs=2).fit(X, y, sample_weight=weights)
    outputs(estimator, X)
    estimator.transform(X)
    assert raw_bytes(X) == before
    assert (y.tobytes(), weights.tobytes()) == (y_before, w_before)


@every_estimator
def test_parameters_are_left_alone(cls):
    X, y = make_data()
    encoders = {"vector": "mlp", "sequence": "gru"}
    estimator = small(cls, encoders=encoders, callbacks=[], max_epochs=1)
    before = {name: repr(value) for name, value in estimator.get_params().items()}
    estimator.fit(X, y)
    assert {name: repr(value) for name, value in estimator.get_params().items()} == before
    assert encoders == {"vector": "mlp", "sequence": "gru"}


# -- the inner split -----------------------------------------------------------------------------------------------

SEEN = {"train": set(), "valid": set()}


class Recorder(torch.nn.Module):
    """Passes a vector on, and notes the number of each sample by whether it was trained on."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((1,), 1e-3))

    def forward(self, x):
        SEEN["train" if self.training else "valid"].update(x[:, 0].int().tolist())
        return x * self.scale


@pytest.fixture
def seen():
    """Numbers of the samples that were trained on, and of those that training was stopped by."""
    for rows in SEEN.values():
        rows.clear()
    return SEEN


def recorded(cls=MultimodalClassifier, fusion="concat", **params):
    encoders = {"number": Recorder()}
    return small(cls, fusion, encoders=encoders, scale_inputs=False, early_stopping=True, max_epochs=3, **params)


def numbered(n, n_classes=2, seed=0):
    X, y = make_data(n, kinds=["vector"], n_classes=n_classes, seed=seed)
    # 0 is what a module of the user's is tried out on
    return Blocks({**X, "number": np.arange(1.0, n + 1)[:, None]}), y


WITH_ENCODERS = [name for name in LEVELS if FUSIONS[name].level != "input"]


@pytest.mark.parametrize(("fraction", "expected"), [(0.1, 10), (0.2, 20), (0.25, 25), (0.5, 50)])
@pytest.mark.parametrize("fusion", WITH_ENCODERS)
def test_inner_split_is_of_the_size_asked_for_and_stratified(fusion, fraction, expected, seen):
    X, y = numbered(100)
    y[:80], y[80:] = 0, 1
    recorded(fusion=fusion, validation_fraction=fraction).fit(X, y)
    assert len(seen["valid"] - {0}) == expected
    assert seen["train"].isdisjoint(seen["valid"])
    assert seen["train"] | seen["valid"] - {0} == set(range(1, 101))
    assert sum(y[i - 1] for i in seen["valid"] - {0}) == round(0.2 * expected)


def test_inner_split_of_a_regressor_is_of_the_size_asked_for(seen):
    X, _ = numbered(100)
    recorded(MultimodalRegressor, validation_fraction=0.3).fit(X, np.random.RandomState(0).randn(100))
    assert len(seen["valid"] - {0}) == 30
    assert seen["train"].isdisjoint(seen["valid"])


@pytest.mark.parametrize("fusion", WITH_ENCODERS)
def test_nothing_outside_of_what_was_given_is_seen(fusion, seen):
    X, y = numbered(60)
    for train, _ in StratifiedKFold(3).split(np.zeros(60), y):
        for rows in seen.values():
            rows.clear()
        clone(recorded(fusion=fusion)).fit(X[train], y[train])
        assert (seen["train"] | seen["valid"]) - {0} == set(train + 1)


def test_cross_validation_trains_on_the_training_folds_alone(seen):
    X, y = numbered(60)
    read = []

    def note(estimator, X, y):  # called between the fit of a fold and what it predicts
        read.append((seen["train"] | seen["valid"]) - {0})
        for rows in seen.values():
            rows.clear()
        return 0.0

    done = cross_validate(recorded(), X, y, cv=3, scoring=note, return_indices=True)
    assert read == [set(train + 1) for train in done["indices"]["train"]]


def test_samples_of_no_weight_are_not_trained_on(seen):
    X, y = numbered(60)
    weights = np.ones(60)
    weights[:10] = 0
    recorded().fit(X, y, sample_weight=weights)
    assert (seen["train"] | seen["valid"]) - {0} == set(range(11, 61))
