"""How unsure an estimator is, and the curves of risk and coverage that come of it."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import ensemble, make_data, small
from matplotlib.figure import Figure
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm import Blocks, MultimodalRegressor
from skmm.inspection import RiskCoverageDisplay, risk_coverage_curve, uncertainty

KINDS = ["probability", "entropy", "members", "variation", "heads"]


@pytest.fixture(scope="module")
def data():
    X, y = make_data(90, n_classes=3, noise=3.0)
    vector = X["vector"].copy()
    vector[:5] = np.nan
    return Blocks(vector=vector, sequence=X["sequence"]), y


@pytest.fixture(scope="module")
def clf(data):
    return ensemble(max_epochs=4, n_members=3).fit(*data)


@pytest.fixture(scope="module")
def averaged(data):
    """Members without a stack, whose mean is the prediction."""
    return ensemble(max_epochs=4, n_members=3, stack=False).fit(*data)


@pytest.fixture(scope="module")
def reg(data):
    X, y = data
    return ensemble(MultimodalRegressor, max_epochs=4, n_members=3).fit(X, 10.0 * y)


def entropy(p):
    return -(p * np.log(p)).sum(axis=-1)


# -- how unsure ----------------------------------------------------------------------------------------------------


def test_members_say_what_each_would_say_alone(averaged, reg, data):
    X, _ = data
    np.testing.assert_allclose(averaged._finished_by_member(X).mean(axis=1), averaged.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(reg._finished_by_member(X).mean(axis=1)[:, 0], reg.predict(X), rtol=1e-5)


def test_of_classes_members_disagree_by_the_mutual_information(averaged, data):
    X, _ = data
    each = averaged._finished_by_member(X)
    expected = entropy(averaged.predict_proba(X)) - entropy(each).mean(axis=1)
    found = uncertainty(averaged, X)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert (found >= 0).all()
    assert (found <= uncertainty(averaged, X, kind="entropy") + 1e-5).all()


def test_of_values_members_disagree_by_their_deviation(reg, data):
    X, _ = data
    np.testing.assert_allclose(uncertainty(reg, X), reg._finished_by_member(X)[:, :, 0].std(axis=1), rtol=1e-5)


def test_heads_that_say_nothing_do_not_count(reg, data):
    X, _ = data
    heads = np.column_stack(list(reg.predict_by_head(X).values()))
    assert np.isnan(heads[:5]).any()
    np.testing.assert_allclose(uncertainty(reg, X, kind="heads"), np.nanstd(heads, axis=1), rtol=1e-6)


def test_the_kinds_of_probabilities(clf, data):
    X, _ = data
    proba = clf.predict_proba(X)
    np.testing.assert_allclose(uncertainty(clf, X, kind="probability"), 1 - proba.max(axis=1))
    np.testing.assert_allclose(uncertainty(clf, X, kind="entropy"), entropy(proba))
    votes = clf._finished_by_member(X).argmax(axis=2)
    most = [np.bincount(row).max() / 3 for row in votes]
    np.testing.assert_allclose(uncertainty(clf, X, kind="variation"), 1 - np.array(most))


@pytest.mark.parametrize("kind", ["probability", "entropy"])
def test_wrong_predictions_are_less_sure(clf, data, kind):
    X, y = data
    wrong = clf.predict(X) != y
    assert 5 < wrong.sum() < 60
    unsure = uncertainty(clf, X, kind=kind)
    assert unsure[wrong].mean() > unsure[~wrong].mean()


@pytest.mark.filterwarnings("ignore:.*samples have no modality at all")
@pytest.mark.parametrize("kind", ["members", "heads"])
def test_a_sample_without_any_modality_is_as_unsure_as_training_as_a_whole(clf, reg, data, kind):
    _, y = data
    nothing = Blocks(vector=np.full((1, 6), np.nan), sequence=np.full((1, 7, 3), np.nan))
    assert uncertainty(clf, nothing, kind=kind)[0] == pytest.approx(np.log(3), abs=0.01)
    assert uncertainty(clf, nothing, kind="variation")[0] == pytest.approx(2 / 3, abs=0.01)
    assert uncertainty(reg, nothing, kind=kind)[0] == pytest.approx(np.std(10 * y), rel=0.01)


def test_labels_are_taken_as_independent(data):
    X, y = data
    labels = np.column_stack([y == 0, y > 0]).astype(int)
    clf = ensemble(max_epochs=2, n_members=2).fit(X, labels)
    p = clf.predict_proba(X)
    both = np.stack([p, 1 - p], axis=-1)
    np.testing.assert_allclose(uncertainty(clf, X, kind="entropy"), entropy(both).sum(axis=1))
    np.testing.assert_allclose(uncertainty(clf, X, kind="probability"), 1 - both.max(axis=2).prod(axis=1))
    for kind in ("members", "variation", "heads"):
        assert uncertainty(clf, X, kind=kind).shape == (90,)


def test_each_of_several_values_has_its_own(data):
    X, y = data
    reg = ensemble(MultimodalRegressor, max_epochs=2, n_members=2).fit(X, np.column_stack([y, 100.0 * y]))
    unsure = uncertainty(reg, X)
    assert unsure.shape == (90, 2)
    assert unsure[:, 1].mean() > 10 * unsure[:, 0].mean()
    with pytest.raises(ValueError, match=r"2 values of each sample .* from_predictions\(y\[:, 0\]"):
        RiskCoverageDisplay.from_estimator(reg, X, np.column_stack([y, y]), ax=Figure().subplots())


def test_inside_of_a_pipeline_and_of_a_search(data):
    _, y = data
    frame = pd.DataFrame(make_data(90, n_classes=3)[0]["vector"]).add_prefix("c")
    as_blocks = FunctionTransformer(lambda df: Blocks(left=df.to_numpy()[:, :3], right=df.to_numpy()[:, 3:]))
    pipe = make_pipeline(as_blocks, ensemble(n_members=2, max_epochs=1))
    search = GridSearchCV(pipe, {}, cv=2).fit(frame, y)
    own = uncertainty(search.best_estimator_[-1], as_blocks.transform(frame))
    np.testing.assert_array_equal(uncertainty(search, frame), own)
    np.testing.assert_array_equal(uncertainty(search.best_estimator_, frame), own)


def test_what_an_estimator_cannot_say_is_refused(clf, reg, data):
    X, y = data
    with pytest.raises(ValueError, match="unknown kind 'member', valid are .* Did you mean 'members'"):
        uncertainty(clf, X, kind="member")
    with pytest.raises(ValueError, match=r"kind='entropy' needs .* valid for it are \['members', 'heads'\]"):
        uncertainty(reg, X, kind="entropy")
    with pytest.raises(ValueError, match=r"kind='variation' is of classes; valid .* \['members', 'heads'\]"):
        uncertainty(reg, X, kind="variation")
    logistic = LogisticRegression().fit(X["sequence"][:, 0], y)
    assert uncertainty(logistic, X["sequence"][:, 0], kind="entropy").shape == (90,)
    with pytest.raises(ValueError, match=r"LogisticRegression has no members .* \['probability', 'entropy'\]"):
        uncertainty(logistic, X["sequence"][:, 0])
    linear = LinearRegression().fit(X["sequence"][:, 0], y)
    with pytest.raises(ValueError, match=r"LinearRegression has no members"):
        uncertainty(linear, X["sequence"][:, 0])
    alone = small(max_epochs=1, modality_loss=0, experts=None).fit(X, y)
    with pytest.raises(ValueError, match="kind='members': one alone predicts.*set n_members=8"):
        uncertainty(alone, X)
    with pytest.raises(ValueError, match="kind='heads': one alone predicts.*set modality_loss above 0"):
        uncertainty(alone, X, kind="heads")


# -- risk and coverage ---------------------------------------------------------------------------------------------


def test_the_risk_is_the_mean_loss_of_the_surest():
    rng = np.random.RandomState(0)
    loss, unsure = rng.uniform(size=30), rng.uniform(size=30)
    curve = risk_coverage_curve(loss, unsure)
    for share, risk, threshold in zip(curve.coverage, curve.risk, curve.thresholds, strict=True):
        answered = unsure <= threshold
        assert answered.mean() == pytest.approx(share)
        assert loss[answered].mean() == pytest.approx(risk)
    assert curve.area == pytest.approx(curve.risk.mean())
    assert curve.oracle_area < curve.area
    assert curve.random_area == loss.mean()


def test_ties_count_as_the_mean_over_all_their_orders():
    loss, unsure = np.array([1.0, 0, 0, 1, 0]), np.array([0.5, 0.5, 0.1, 0.5, 0.9])
    every = []
    for order in itertools.permutations(range(5)):
        if (np.diff(unsure[list(order)]) >= 0).all():
            every.append(np.cumsum(loss[list(order)]) / np.arange(1, 6))
    np.testing.assert_allclose(risk_coverage_curve(loss, unsure).risk, np.mean(every, axis=0))


def test_a_perfect_order_is_the_oracle_and_one_value_for_all_is_random():
    loss = np.random.RandomState(0).uniform(size=20)
    perfect, none = risk_coverage_curve(loss, loss), risk_coverage_curve(loss, np.zeros(20))
    np.testing.assert_allclose(perfect.risk, perfect.oracle)
    np.testing.assert_allclose(none.risk, loss.mean())
    assert none.area == pytest.approx(none.random_area)


def test_what_is_no_curve_is_refused():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        risk_coverage_curve([0, 1], [0.1])
    with pytest.raises(ValueError, match="uncertainty, row 1: nan"):
        risk_coverage_curve([0, 1], [0.1, np.nan])
    with pytest.raises(ValueError, match="loss, row 0: inf"):
        risk_coverage_curve([np.inf, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match="loss is empty"):
        risk_coverage_curve([], [])


# -- the picture ---------------------------------------------------------------------------------------------------


def test_several_curves_on_one_axes(clf, data):
    X, y = data
    ax = Figure().subplots()
    shown = [
        RiskCoverageDisplay.from_estimator(clf, X, y, kind=kind, references=i == 0, ax=ax)
        for i, kind in enumerate(KINDS)
    ]
    assert len({display.line_.get_color() for display in shown}) == 5
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [label.split(" (")[0] for label in labels] == [KINDS[0], "perfect order", "random order", *KINDS[1:]]
    assert all(display.risk[-1] == pytest.approx((clf.predict(X) != y).mean()) for display in shown)
    assert shown[1].oracle_line_ is None
    assert ax.get_ylabel() == "Error rate of those answered"
    assert ax.get_xlabel() == "Coverage: samples answered, the surest first"


def test_of_a_regressor(reg, data):
    X, y = data
    display = RiskCoverageDisplay.from_estimator(reg, X, 10.0 * y, ax=Figure().subplots(), line_kw={"lw": 3})
    assert display.ax_.get_ylabel() == "Mean absolute error of those answered (units of y)"
    assert display.line_.get_linewidth() == 3
    assert display.name == "members"
    assert display.risk[-1] == pytest.approx(np.abs(reg.predict(X) - 10.0 * y).mean())
    again = display.plot(Figure().subplots(), name="another")
    assert "another" in again.line_.get_label()


def test_a_loss_of_ones_own_and_one_that_is_not_known():
    def cost(y, said):
        return 5.0 * (y > said)

    display = RiskCoverageDisplay.from_predictions([1, 2], [1, 1], [0.1, 0.2], loss=cost, ax=Figure().subplots())
    assert display.risk.tolist() == [0, 2.5]
    assert display.ax_.get_ylabel() == "Mean cost of those answered"
    with pytest.raises(ValueError, match="unknown loss 'zero'"):
        RiskCoverageDisplay.from_predictions([1], [1], [0.1], loss="zero")
    with pytest.raises(ValueError, match=r"y has the shape \(1,\), and y_pred \(1, 2\)"):
        RiskCoverageDisplay.from_predictions([1], [[1, 2]], [0.1])
