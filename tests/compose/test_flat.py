"""Tests of FlatEstimator."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import make_data, small
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.model_selection import cross_val_score
from sklearn.multioutput import ClassifierChain

from skmm import Blocks, FlatEstimator, MultimodalRegressor

KINDS = ["vector", "ragged", "tokens", "image"]


def quick(**params):
    return small(max_epochs=3, hidden_dim=4, **params)


@pytest.fixture(scope="module")
def data():
    X, y = make_data(40, kinds=KINDS)
    return Blocks(X, present={"ragged": np.arange(40) % 7 > 0, "image": np.arange(40) % 5 > 0}), y


@pytest.mark.parametrize("kinds", [KINDS, ["sparse", "ragged"]])
def test_a_network_learns_the_same_from_the_flat_form(data, kinds):
    X = Blocks(make_data(40, kinds=kinds)[0])
    y = data[1]
    flat, own = FlatEstimator(quick()).fit(X, y), quick().fit(X, y)
    np.testing.assert_allclose(flat.predict_proba(X), own.predict_proba(X), rtol=0, atol=1e-6)
    assert list(flat.estimator_.modalities_) == kinds


def test_missing_modalities_stay_missing(data):
    X, y = data
    flat, own = FlatEstimator(quick()).fit(X, y), quick().fit(X, y)
    np.testing.assert_allclose(flat.predict_proba(X), own.predict_proba(X), rtol=0, atol=1e-6)


def test_encoders_are_those_of_the_modalities(data):
    X, y = data
    found = FlatEstimator(quick(encoders={"ragged": "gru"})).fit(X, y).estimator_.net_.module_.network
    assert "GRU" in str(found.encoders)


def test_every_network_inside_of_a_tool_is_told(data):
    X, y = data
    tool = StackingClassifier([("a", quick()), ("bag", BaggingClassifier(quick(fusion="sum"), 2))], cv=2)
    fitted = FlatEstimator(tool).fit(X, y)
    a, bag = fitted.estimator_.estimators_
    assert [list(e.modalities_) for e in (a, *bag.estimators_)] == [KINDS] * 3


def test_what_is_given_stays_as_it_was(data):
    given = BaggingClassifier(quick(), 2)
    FlatEstimator(given).fit(*data)
    assert given.estimator.modalities is None


def test_a_chain_reads_its_own_columns_as_one_more_modality(data):
    X, y = data
    chain = FlatEstimator(ClassifierChain(quick())).fit(X, np.column_stack([y, y]))
    assert [list(e.modalities_) for e in chain.estimator_.estimators_] == [KINDS, [*KINDS, "added"]]


def test_a_tool_without_a_network(data):
    X, y = data
    forest = FlatEstimator(RandomForestClassifier(10, random_state=0)).fit(X, y, sample_weight=np.ones(40))
    assert forest.score(X, y) > 0.9
    assert forest.n_features_in_ == X.to_flat(gaps="counted")[0].shape[1]


def test_it_is_what_the_tool_is(data):
    classifier = FlatEstimator(quick())
    assert is_classifier(classifier)
    assert is_regressor(FlatEstimator(small(MultimodalRegressor)))
    assert not hasattr(FlatEstimator(small(MultimodalRegressor)), "predict_proba")
    assert clone(classifier).get_params()["estimator__max_epochs"] == 3
    assert cross_val_score(classifier, *data, cv=2).shape == (2,)
    assert classifier.fit(*data).classes_.tolist() == [0, 1]


def test_longer_sequences_than_in_fit_are_cut_with_a_warning():
    y = np.arange(20) % 2
    fitted = FlatEstimator(quick()).fit({"walk": [np.full(3, float(label)) for label in y]}, y)
    with pytest.warns(UserWarning, match=r"'walk': 1 of 1 samples have more than the 3 steps"):
        longer = fitted.predict_proba({"walk": [np.zeros(9)]})
    np.testing.assert_allclose(longer, fitted.predict_proba({"walk": [np.zeros(3)]}), atol=1e-6)


@pytest.mark.parametrize("X", [pd.DataFrame({"a": [1.0, 2.0]}), np.ones((2, 2)), sp.eye_array(2)])
def test_a_table_needs_a_transformer_first(X):
    with pytest.raises(ValueError, match=r"Blocks or a dict, got .*make_pipeline\(ModalityTransformer"):
        FlatEstimator(quick()).fit(X, [0, 1])
