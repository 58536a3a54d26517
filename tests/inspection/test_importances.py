"""Importances: shares of a score and of a prediction, against known answers and brute force."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmm import Blocks, LazyTable, MultimodalClassifier, MultimodalRegressor
from skmm.compression import Distilled
from skmm.datasets import make_multimodal_classification
from skmm.inspection import modality_contributions, modality_importances
from skmm.inspection._games import interactions, sampled_shapley_values, shapley_values

N = 60
UNSEEN = pytest.mark.filterwarnings("ignore:.*trained without modality_dropout:UserWarning")


class Parity(ClassifierMixin, BaseEstimator):
    """Says whether the first numbers of "a" and "b" have the same sign, by chance 0 where either is missing."""

    def fit(self, X, y=None):
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, X):
        both = X.present["a"] & X.present["b"]
        return np.where(both, (X["a"][:, 0] > 0) == (X["b"][:, 0] > 0), 0).astype(int)


@pytest.fixture
def parity():
    """Samples of which half have the same sign in both, every combination as often, and one more modality."""
    a, b = np.tile([-1.0, -1, 1, 1], N // 4), np.tile([-1.0, 1, -1, 1], N // 4)
    X = Blocks(a=a[:, None], b=b[:, None], noise=np.random.RandomState(0).randn(N, 2))
    return Parity().fit(X), X, (a == b).astype(int)


# -- shares of a game, by arithmetic ----------------------------------------------------------------------------


def by_orders(values, n_players):
    """What each player adds to those before it, averaged over all orders: the definition."""
    added = np.zeros(n_players)
    for order in itertools.permutations(range(n_players)):
        there = 0
        for player in order:
            added[player] += values[there | 1 << player] - values[there]
            there |= 1 << player
    return added / math.factorial(n_players)


@pytest.mark.parametrize("n_players", [1, 2, 5])
def test_shapley_values_are_the_mean_over_all_orders(n_players):
    values = np.random.RandomState(0).randn(2**n_players)
    np.testing.assert_allclose(shapley_values(values), by_orders(values, n_players), atol=1e-12)


def test_drawn_orders_come_as_near_as_their_error_says():
    values = np.random.RandomState(0).randn(2**5)
    found, error = sampled_shapley_values(values.__getitem__, 5, 400, np.random.RandomState(1))
    assert (abs(found - shapley_values(values)) < 4 * error).all()
    assert found.sum() == pytest.approx(values[-1] - values[0])


def test_interactions_of_a_sum_are_none_and_of_a_product_all():
    bits = np.arange(8)[:, None] >> np.arange(3) & 1
    np.testing.assert_allclose(interactions(bits @ [1.0, 2.0, 3.0]), 0, atol=1e-12)
    product = interactions((bits[:, 0] * bits[:, 2]).astype(float))
    np.testing.assert_allclose(product, [[0, 0, 1], [0, 0, 0], [1, 0, 0]], atol=1e-12)


# -- shares of a score ------------------------------------------------------------------------------------------


def test_of_a_parity_neither_gives_anything_alone_and_both_all_together(parity):
    found = modality_importances(*parity, n_bootstrap=50, random_state=0)
    np.testing.assert_allclose(found.importances, [0.25, 0.25, 0], atol=1e-12)
    np.testing.assert_allclose(found.alone, 0, atol=1e-12)
    np.testing.assert_allclose(found.interactions, [[0, 0.5, 0], [0.5, 0, 0], [0, 0, 0]], atol=1e-12)
    assert (found.score, found.baseline) == (1, 0.5)
    assert found.scores[("a", "b")] == 1
    assert found.low[2] == found.high[2] == 0
    assert (found.low[:2] < found.importances[:2]).all()
    assert (found.importances[:2] < found.high[:2]).all()
    assert found.table["modality"][-1] == "noise"


def test_what_is_removed_from_all_costs_all_of_a_parity(parity):
    found = modality_importances(*parity, method="removal", n_bootstrap=0)
    np.testing.assert_allclose(found.importances, [0.5, 0.5, 0], atol=1e-12)
    assert np.isnan(found.low).all()


def test_shuffled_means_what_scikit_learn_says_of_columns():
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(rng.randn(N, 3), columns=["u", "v", "w"])
    y = (frame["u"] + 0.5 * frame["v"] > 0).astype(int).to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, y)
    ours = modality_importances(
        model, frame, y, method="permutation", level="column", n_repeats=20, n_bootstrap=20, random_state=0
    )
    theirs = permutation_importance(model, frame, y, n_repeats=20, random_state=0)
    assert (abs(ours.importances - theirs.importances_mean) < 4 * (ours.standard_errors + 0.01)).all()
    assert ours.importances[2] == pytest.approx(0, abs=0.02)


def test_modalities_in_a_tuple_come_and_go_together(parity):
    found = modality_importances(*parity, modalities=[("a", "b"), "noise"], n_bootstrap=0)
    np.testing.assert_allclose(found.importances, [0.5, 0], atol=1e-12)
    assert found.table["modality"] == ["a and b", "noise"]


def test_what_is_not_named_stays(parity):
    found = modality_importances(*parity, modalities=["b"], n_bootstrap=0)
    assert found.importances.tolist() == [0.5]
    assert found.scores[("a", "noise")] == 0.5


def test_many_modalities_are_sampled_and_it_is_said(parity):
    model, X, y = parity
    more = Blocks(**dict(X.items()), **{f"m{i}": np.ones((N, 1)) for i in range(9)})
    with pytest.warns(UserWarning, match=r"12 modalities have 2\*\*12 sets; 15 orders"):
        found = modality_importances(model, more, y, n_permutations=15, n_bootstrap=0, random_state=0)
    assert found.importances.sum() == pytest.approx(0.5)
    assert found.importances[2:].tolist() == [0] * 10
    assert (abs(found.importances[:2] - 0.25) <= 4 * found.standard_errors[:2]).all()
    assert found.interactions is None


@UNSEEN
def test_groups_are_drawn_whole(parity):
    model, X, y = parity
    each = modality_importances(model, X, y, n_bootstrap=20, random_state=0)
    halves = modality_importances(model, X, y, groups=np.arange(N) // (N // 2), n_bootstrap=20, random_state=0)
    assert halves.importances.tolist() == each.importances.tolist()
    # each half says the same, so that drawing them says nothing new
    assert halves.low.tolist() == halves.high.tolist()


@pytest.fixture(scope="module")
def fitted():
    X, y = make_multimodal_classification(160, redundant=0, unique=[1, 0], synergistic=0, random_state=0)
    clf = MultimodalClassifier(n_members=2, max_epochs=10, experts=None, modality_dropout=0.3, random_state=0)
    return clf.fit(X, y), X, y


@pytest.fixture(scope="module")
def with_experts():
    """A stack with linear experts and trees, of samples some of which lack a modality."""
    X, y = make_multimodal_classification(160, redundant=0, unique=[1, 0], synergistic=0, random_state=0)
    X = Blocks(X, present={name: np.arange(len(y)) % 7 != i for i, name in enumerate(X)})
    return MultimodalClassifier(n_members=2, max_epochs=2, modality_dropout=0.3, random_state=0).fit(X, y), X, y


def test_the_shares_of_any_score_add_up_to_its_gain(fitted):
    for scoring in ["neg_log_loss", "roc_auc", "f1_macro"]:
        found = modality_importances(*fitted, scoring=scoring, n_bootstrap=0)
        assert found.importances.sum() == pytest.approx(found.score - found.baseline, abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*have no modality at all:UserWarning")
@pytest.mark.parametrize("scoring", ["neg_log_loss", "accuracy"])
def test_every_set_scores_as_the_samples_marked_as_missing(with_experts, scoring):
    model, X, y = with_experts
    assert len(model.experts_.names) > 2
    found = modality_importances(model, X, y, scoring=scoring, n_bootstrap=0)
    assert len(found.scores) == 4
    for names, score in found.scores.items():
        present = {name: mask & (name in names) for name, mask in X.present.items()}
        marked = Blocks(dict(X.items()), present=present)
        assert score == pytest.approx(get_scorer(scoring)(model, marked, y), abs=1e-9), names


def test_jobs_that_share_the_sets_find_the_same(fitted):
    with parallel_config("threading"):
        alone, shared = (modality_importances(*fitted, n_bootstrap=0, n_jobs=n_jobs) for n_jobs in (None, 2))
    assert alone.scores == shared.scores


def test_an_estimator_fitted_to_every_set_finds_the_same_order(fitted):
    model, X, y = fitted
    found = modality_importances(model, X, y, retrain=True, cv=2, n_bootstrap=0)
    assert found.importances[0] > 0.2 > found.importances[1]
    assert found.baseline == pytest.approx(max(np.bincount(y)) / len(y), abs=0.05)


def test_columns_of_a_table_are_taken_away_before_its_preprocessing():
    rng = np.random.RandomState(0)
    y = np.arange(80) % 2
    frame = pd.DataFrame(
        {
            "review": [
                f"a {'good' if label else 'bad'} {rng.choice(['film', 'plot'])}"
                for label in y ^ (rng.rand(80) < 0.1)
            ],
            "length": rng.randn(80),
            "kind": rng.choice(["x", "y"], 80),
        }
    )
    clf = MultimodalClassifier(
        modalities="auto", n_members=1, max_epochs=10, experts=None, modality_dropout=0.3, random_state=0
    ).fit(frame, y)
    found = modality_importances(clf, frame, y, level="column", n_bootstrap=0)
    assert found.modalities == ["review", "length", "kind"]
    assert found.importances[0] > 0.3
    assert abs(found.importances[1:]).max() < 0.1


def test_of_a_table_on_disk_some_rows_are_asked_for(parity, tmp_path):
    pd.DataFrame({"a": [1.0, 2.0]}).to_parquet(tmp_path / "a.parquet")
    lazy = LazyTable.from_parquet(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"this LazyTable has 2 rows: give some of them, X\.head\(1000\)"):
        modality_importances(parity[0], lazy, [0, 1], level="column", method="permutation")


def test_nothing_is_changed(fitted):
    model, X, y = fitted
    before = model.predict_proba(X)
    modality_importances(model, X, y, n_bootstrap=0)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert all(mask.all() for mask in X.present.values())


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss"])
def test_intervals_are_the_same_whether_or_not_the_metric_is_known_as_a_mean(fitted, scoring):
    known = modality_importances(*fitted, scoring=scoring, n_bootstrap=10, random_state=0)
    scorer = get_scorer(scoring)
    unknown = modality_importances(*fitted, scoring=lambda *given: scorer(*given), n_bootstrap=10, random_state=0)
    np.testing.assert_allclose(known.low, unknown.low, atol=1e-6)
    np.testing.assert_allclose(known.high, unknown.high, atol=1e-6)


# -- shares of a prediction -------------------------------------------------------------------------------------


def test_contributions_add_up_to_the_prediction(fitted):
    model, X, _ = fitted
    found = modality_contributions(model, X[:20])
    np.testing.assert_allclose(found.base + found.contributions.sum(axis=1), model.predict_proba(X[:20]), atol=1e-6)
    assert found.outputs == [0, 1]
    np.testing.assert_allclose(found.contributions.sum(axis=2), 0, atol=1e-6)  # what one class gains, others lose


def test_what_a_sample_lacks_contributes_nothing(fitted):
    model, X, _ = fitted
    lacking = Blocks(dict(X[:4].items()), present={"modality_0": np.array([True, False, True, False])})
    found = modality_contributions(model, lacking)
    assert (found.contributions[[1, 3], 0] == 0).all()
    assert (found.contributions[[0, 2], 0] != 0).all()


@UNSEEN
def test_contributions_to_values():
    X, y = make_multimodal_classification(60, random_state=0)
    model = MultimodalRegressor(n_members=1, max_epochs=2, experts=None, random_state=0).fit(X, y.astype(float))
    found = modality_contributions(model, X)
    np.testing.assert_allclose(found.base[:, 0] + found.contributions.sum(axis=(1, 2)), model.predict(X), atol=1e-5)


# -- what cannot be done ----------------------------------------------------------------------------------------


def test_training_without_gaps_is_said_once(recwarn):
    X, y = make_multimodal_classification(60, random_state=0)
    model = MultimodalClassifier(n_members=1, max_epochs=1, experts=None, random_state=0).fit(X, y)
    modality_importances(model, X, y, n_bootstrap=0)
    said = [str(w.message) for w in recwarn if "modality_dropout" in str(w.message)]
    assert len(said) == 1
    assert "retrain=True" in said[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "gain"}, r"'gain'.*shapley"),
        ({"level": "row"}, r"'row'.*modality"),
        ({"modalities": ["c"]}, r"'c'.*\['a', 'b', 'noise'\]"),
        ({"modalities": ["a", "a"]}, "named twice"),
        ({"modalities": [("a", "b"), "a"]}, "'a' is named twice"),
        ({"modalities": [()]}, r"a tuple without a name; valid are \['a', 'b', 'noise'\]"),
        ({"modalities": [0]}, r"0.*valid are \['a', 'b', 'noise'\]"),
        ({"modalities": 3}, "must be a list"),
        ({"retrain": "yes"}, "retrain"),
        ({"modalities": "a"}, "one name"),
        ({"confidence": 1.0}, "confidence"),
        ({"n_bootstrap": -1}, "n_bootstrap"),
        ({"method": "permutation", "retrain": True}, "retrain=True"),
        ({"groups": [1, 2]}, "groups has 2 entries, X has 60"),
        ({"level": "column"}, "columns have names, got Blocks"),
        ({"scoring": lambda *given: math.nan}, r"is nan with \['a', 'b', 'noise'\]|is nan with nothing"),
        ({"scoring": "neg_log_loss"}, "failed with nothing alone.*predict_proba"),
    ],
)
def test_what_cannot_be_is_refused(parity, options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        modality_importances(*parity, **options)


def test_a_target_is_needed(parity):
    with pytest.raises(ValueError, match="y is None"):
        modality_importances(*parity[:2], None)


def test_targets_of_other_samples_and_other_classes_are_refused(parity):
    model, X, y = parity
    with pytest.raises(ValueError, match="y has 60 entries, X has 40 samples"):
        modality_importances(model, X[:40], y)
    with pytest.raises(ValueError, match=r"not fitted to: \[7\]; valid are \[0, 1\]"):
        modality_importances(model, X, np.where(y == 1, 7, 0))
    with pytest.raises(ValueError, match=r"Found array with 0 sample"):
        modality_contributions(model, X[:0])


def test_a_search_is_fitted_to_every_set_anew(parity, monkeypatch):
    model, X, y = parity
    search = GridSearchCV(model, {}, cv=2).fit(X, y)
    fits, fit = [], GridSearchCV.fit
    monkeypatch.setattr(GridSearchCV, "fit", lambda own, X, y: fits.append(sorted(X)) or fit(own, X, y))
    modality_importances(search, X, y, modalities=["noise"], retrain=True, cv=2, n_bootstrap=0)
    assert fits == [["a", "b"]] * 2 + [["a", "b", "noise"]] * 2


def test_labels_cannot_be_shared_out(parity):
    with pytest.raises(ValueError, match="Parity has no predict_proba, and labels cannot be shared out"):
        modality_contributions(*parity[:2])


def test_a_list_of_names_is_a_group(parity):
    assert modality_importances(*parity, modalities=[["a", "b"], "noise"], n_bootstrap=0).modalities == [
        ("a", "b"),
        "noise",
    ]


def test_draws_without_a_rare_class_are_left_out_of_the_intervals(fitted):
    model, X, _ = fitted
    y = np.zeros(16, dtype=int)
    y[3] = 1
    found = modality_importances(model, X[:16], y, scoring="roc_auc", n_bootstrap=30, random_state=0)
    assert np.isfinite([found.low, found.high]).all()
    never = modality_importances(model, X[:16], y, scoring="roc_auc", groups=np.arange(16) // 8, n_bootstrap=1)
    assert never.importances.shape == (2,)


def test_scores_of_several_labels_that_also_are_of_one_class(fitted):
    X, y = fitted[1:]
    Y = np.column_stack([y, 1 - y])
    model = MultimodalClassifier(n_members=1, max_epochs=1, experts=None, modality_dropout=0.3, random_state=0).fit(
        X, Y
    )
    found = modality_importances(model, X, Y, scoring="neg_log_loss", n_bootstrap=3, random_state=0)
    assert found.score == pytest.approx(get_scorer("neg_log_loss")(model, X, Y))


def test_numbered_columns_of_a_table():
    rng = np.random.RandomState(0)
    frame = pd.DataFrame(rng.randn(60, 3))
    y = (frame[1] > 0).astype(int)
    model = LogisticRegression().fit(frame, y)
    found = modality_importances(model, frame, y, level="column", method="permutation", random_state=0)
    assert found.table["modality"][0] == "1"
    model = make_pipeline(SimpleImputer(), LogisticRegression()).fit(frame, y)
    told = modality_contributions(model, frame[:5], level="column", modalities=[1, 2])
    assert told.modalities == ["1", "2"]
    np.testing.assert_allclose(told.base + told.contributions.sum(axis=1), model.predict_proba(frame[:5]))


def test_one_row_of_a_table_in_every_form():
    y = np.arange(40) % 2
    frame = pd.DataFrame(
        {"review": np.where(np.arange(40) % 3 > y, "good film", "bad plot"), "price": np.sin(np.arange(40.0))}
    )
    clf = MultimodalClassifier(n_members=1, max_epochs=1, experts=None, modality_dropout=0.3, random_state=0)
    clf.fit(frame, y)
    expected = modality_contributions(clf, frame[2:3]).contributions
    row = frame.iloc[2]
    for given in (row, row.to_dict(), [row.to_dict()]):
        np.testing.assert_array_equal(modality_contributions(clf, given).contributions, expected)
        assert modality_contributions(clf, given, level="column").modalities == ["review", "price"]


@pytest.mark.parametrize("wrap", [lambda clf: GridSearchCV(clf, {"lr": [0.01]}, cv=2), make_pipeline, Distilled])
def test_training_without_gaps_is_said_of_what_is_inside(wrap):
    X, y = make_multimodal_classification(60, random_state=0)
    model = wrap(MultimodalClassifier(n_members=1, max_epochs=1, experts=None, random_state=0)).fit(X, y)
    with pytest.warns(UserWarning, match="trained without modality_dropout"):
        modality_contributions(model, X[:3])


def test_of_another_estimators_table_columns_can_be_shuffled():
    frame = pd.DataFrame({"u": [0.0, 1, 2, 3]})
    model = LogisticRegression().fit(frame, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="level='column', method='permutation'"):
        modality_importances(model, frame, [0, 0, 1, 1])


def test_contributions_look_at_all_sets_or_say_what_to_do(parity):
    model, X, _ = parity
    many = Blocks(**dict(X.items()), **{f"m{i}": np.ones((N, 1)) for i in range(9)})
    with pytest.raises(ValueError, match="join some in tuples"):
        modality_contributions(model, many)
