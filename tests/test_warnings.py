"""Every warning of the package points to the user's line, however deep below it the cause lies."""

import ast
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_data, small
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

import skmm
from skmm import Blocks, ModalityTransformer, MultimodalClassifier, compare_fusions
from skmm.model_selection import FusionSearchCV
from skmm.preprocessing.image import ImageLoader

X, Y = make_data(40)
EMPTY = Blocks(X, present=dict.fromkeys(X, np.arange(40) % 10 > 0))
PHOTOS = pd.DataFrame({"photo": ["none.png"] * 40, "price": Y + 0.5 * np.arange(40)})


def quick(**params):
    return small(max_epochs=1, hidden_dim=4, **params)


def fit():
    quick().fit(EMPTY, Y)


def more_members_than_folds():
    small(MultimodalClassifier, max_epochs=1, n_members=8).fit(X[:12], Y[:12])


def predict():
    quick().fit(X, Y).predict(EMPTY)


def score():
    quick().fit(X, Y).score(EMPTY, Y)


def cross_validation():
    cross_validate(quick(), EMPTY, Y, cv=2)


def grid_search():
    GridSearchCV(quick(), {"lr": [0.01]}, cv=2).fit(EMPTY, Y)


def search():
    FusionSearchCV(quick(), {"lr": [0.01]}, cv=2).fit(EMPTY, Y)


def comparison():
    compare_fusions(EMPTY, Y, fusions=["concat"], estimator=quick(), cv=2, baselines=False)


def transformer_in_a_pipeline_under_cross_validation():
    photo = ("photo", ImageLoader(size=(4, 4), errors="missing"), "photo")
    table = ModalityTransformer([photo, ("price", "passthrough", ["price"])])
    cross_validate(make_pipeline(table, quick()), PHOTOS, Y, cv=2)


SITUATIONS = [
    fit,
    more_members_than_folds,
    predict,
    score,
    cross_validation,
    grid_search,
    search,
    comparison,
    transformer_in_a_pipeline_under_cross_validation,
]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_warning_points_to_the_line_of_the_user(situation):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        situation()
    assert len(caught) > 0
    lines = {line for _, _, line in situation.__code__.co_lines()}
    assert {warning.filename for warning in caught} == {__file__}
    assert {warning.lineno for warning in caught} <= lines


FOLDS = [cross_validation, transformer_in_a_pipeline_under_cross_validation]


@pytest.mark.parametrize("situation", FOLDS)
def test_a_warning_comes_once_for_all_folds(situation):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        situation()
    said = [re.sub(r"\d+", "0", str(warning.message)) for warning in caught]
    assert len(said) == len(set(said)) > 0


def test_a_second_call_warns_again():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cross_validate(quick(), EMPTY, Y, cv=2)
        first = len(caught)
        cross_validate(quick(), EMPTY, Y, cv=2)
    assert len(caught) == 2 * first > 0


def test_nothing_warns_in_another_way():
    calls = {
        (file.name, node.func.attr)
        for file in Path(skmm.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "warn"
    }
    assert calls == {("_warnings.py", "warn")}


def groups_in_cross_validate(clf, groups):
    cross_validate(clf, X, Y, groups=groups, cv=GroupKFold(2))


def groups_in_a_search(clf, groups):
    GridSearchCV(clf, {"lr": [0.01]}, cv=GroupKFold(2), refit=False).fit(X, Y, groups=groups)


def groups_in_a_search_that_trains_together(clf, groups):
    FusionSearchCV(clf, {"lr": [0.01, 0.02]}, cv=GroupKFold(2), refit=False).fit(X, Y, groups=groups)


@pytest.mark.parametrize(
    "run", [groups_in_cross_validate, groups_in_a_search, groups_in_a_search_that_trains_together]
)
def test_groups_of_the_folds_that_fit_is_not_given_are_said(run):
    clf, groups = quick(n_members=2), np.arange(40) // 2
    with pytest.warns(UserWarning, match=r"fit is not given them.*params=\{'groups': groups\}") as said:
        run(clf, groups)
    # beside it only that nothing could be learned of this noise
    assert len([warning for warning in said if "the weight 0" not in str(warning.message)]) == 1
    # which they are here, or need not be
    cross_validate(clf, X, Y, groups=groups, cv=GroupKFold(2), params={"groups": groups})
    run(quick(), groups)
