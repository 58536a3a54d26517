"""Trees among the baselines, and baselines that are chosen by name or given."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmm import Blocks, ModalityTransformer
from skmm.model_selection import compare_fusions, make_baselines

N = 120


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def a(rng):
    return rng.normal(size=(N, 2))


@pytest.fixture
def X(rng, a):
    return Blocks(a=a, b=rng.normal(size=(N, 3)))


@pytest.fixture
def y(X):
    return np.where(X["a"][:, 0] * X["b"][:, 0] > 0, "same", "other")


def trees(X, y, **options):
    """The two baselines that a linear model is not, small enough for a test."""
    models = make_baselines(X, y, random_state=0, **options)
    models["trees"].set_params(**{key: 20 for key in models["trees"].get_params() if key.endswith("n_estimators")})
    return {name: models[name] for name in ("boosting", "trees")}


@pytest.fixture(params=["boosting", "trees"])
def kind(request):
    return request.param


# -- trees ----------------------------------------------------------------------------------------------------


def test_trees_see_what_no_line_can(rng, kind):
    X = Blocks(a=rng.normal(size=(300, 1)), b=rng.normal(size=(300, 1)))
    y = X["a"][:, 0] * X["b"][:, 0] > 0
    assert cross_val_score(trees(X, y)[kind], X, y, cv=3).mean() > 0.7
    assert cross_val_score(make_baselines(X, y, tune=False)["LR concat"], X, y, cv=3).mean() < 0.65


def test_vectors_are_read_as_they_are_side_by_side(X, y, kind):
    model = trees(X, y)[kind].fit(X, y)
    flat = np.hstack([X["a"], X["b"]])
    expected = model[-1].__class__(**model[-1].get_params()).fit(flat, y).predict_proba(flat)
    np.testing.assert_array_equal(model.predict_proba(X), expected)
    assert isinstance(model[-1], {"boosting": HistGradientBoostingClassifier, "trees": ExtraTreesClassifier}[kind])


def test_trees_read_every_kind_of_block(rng, kind):
    y = rng.integers(0, 2, N)
    X = Blocks(
        words=sp.random_array((N, 300), density=0.05, format="csr", rng=rng),
        few=sp.random_array((N, 7), density=0.5, format="csr", rng=rng),
        ids=[None if i == 1 else rng.integers(0, 99, 1 + i % 5) for i in range(N)],
        ragged=[None if i == 2 else rng.normal(size=(1 + i % 4, 3)) for i in range(N)],
        short=rng.normal(size=(N, 5, 2)),
        wide=rng.normal(size=(N, 10, 65)),
        photo=rng.integers(0, 255, (N, 4, 4, 3), dtype=np.uint8),
        gone=np.full((N, 2), np.nan),
        present={"photo": np.arange(N) > 10},
    )
    model = trees(X, y)[kind].fit(X, y)
    table = model[0].transform(X)
    assert table.shape == (N, 64 + 7 + 64 + (16 + 4 * 3) + (11 + 4 * 2) + 5 * 65 + 1 + (6 + 48) + 2)
    assert np.isnan(table[3]).sum() == 6 + 48
    # of a sequence also the means over the quarters of its time
    np.testing.assert_allclose(table[3, 151:163], X["ragged"][3].ravel())
    np.testing.assert_allclose(table[:, 174:182].reshape(N, 4, 2)[:, 3], X["short"][:, 3:].mean(axis=1))
    np.testing.assert_allclose(table[1, 151:163].reshape(4, 3)[[1, 3]], X["ragged"][1])  # of two steps
    assert np.isnan(table[1, 151:163].reshape(4, 3)[[0, 2]]).all()
    assert np.isnan(table[2, 135:163]).all()
    assert model.predict(X).shape == (N,)


def test_a_class_given_away_by_what_is_missing_is_seen(rng, kind):
    y = np.arange(N) % 2
    X = Blocks(a=rng.normal(size=(N, 2)), present={"a": y == 0})
    model = trees(X, y)[kind].fit(X, y)
    assert (model.predict(X) == y).all()


def test_trees_of_several_values_or_labels(X, rng, kind):
    Y = X["a"] + 0.1 * rng.normal(size=(N, 2))
    assert trees(X, Y)[kind].fit(X, Y).score(X, Y) > 0.5
    labels = (Y > 0).astype(int)
    model = trees(X, labels)[kind].fit(X, labels)
    assert model.predict_proba(X).shape == (N, 2)
    assert (model.predict(X) == labels).mean() > 0.9
    if kind == "trees":
        sparse = trees(X, sp.csr_array(labels))[kind].fit(X, sp.csr_array(labels))
        np.testing.assert_array_equal(sparse.predict(X).toarray(), model.predict(X))


def test_boosting_stops_before_it_is_too_sure(rng):
    X = Blocks(a=rng.normal(size=(1200, 4)))
    y = (X["a"][:, 0] + 2 * rng.normal(size=1200) > 0).astype(int)
    train, test = np.arange(600), np.arange(600, 1200)
    model = trees(X[train], y[train])["boosting"].fit(X[train], y[train])
    loss = log_loss(y[test], model.predict_proba(X[test]))
    model.set_params(histgradientboostingclassifier__early_stopping=False).fit(X[train], y[train])
    assert loss < log_loss(y[test], model.predict_proba(X[test])) - 0.1


@pytest.mark.parametrize("rare", [1, 2])
def test_boosting_takes_classes_of_a_single_sample(rng, rare):
    X, y = Blocks(a=rng.normal(size=(600, 1))), rng.integers(0, 2, 600)
    y[:rare] = 2
    assert trees(X, y)["boosting"].fit(X, y).predict(X).shape == (600,)


def test_of_many_classes_boosting_makes_fewer_iterations(rng):
    X, y = Blocks(a=rng.normal(size=(3000, 1))), np.arange(3000) % 100
    few = make_baselines(X[:100], y[:100] % 2)["boosting"][-1].max_iter
    assert make_baselines(X, y)["boosting"][-1].max_iter < few


def test_trees_draw_by_random_state(X, y, kind):
    one, same, other = (make_baselines(X, y, random_state=seed)[kind][-1].random_state for seed in (1, 1, 2))
    assert one == same != other


# -- chosen by name, or given ---------------------------------------------------------------------------------


class Constant(ClassifierMixin, BaseEstimator):
    """A stand-in for a fusion, which costs nothing."""

    def __init__(self, fusion="concat", random_state=None):
        self.fusion = fusion
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def compare(X, y, baselines, **options):
    return compare_fusions(
        X, y, **{"estimator": Constant(), "fusions": ["sum"], "cv": 3, "baselines": baselines, **options}
    )


def test_baselines_by_name(X, y):
    result = compare(X, y, ["boosting", "LR a"], cv=2, random_state=0)

    assert list(result.scores) == ["sum", "boosting", "LR a"]
    expected = cross_val_score(make_baselines(X, y, random_state=0)["boosting"], X, y, cv=2)
    np.testing.assert_array_equal(result.scores["boosting"]["accuracy"], expected)
    assert list(compare(X, y, "LR b", cv=2).scores) == ["sum", "LR b"]


def test_all_baselines_are_the_default(X, y, monkeypatch):
    made = {name: DummyClassifier() for name in make_baselines(X, y)}
    monkeypatch.setattr("skmm.model_selection._compare_baselines.make_baselines", lambda *_, **__: made)
    result = compare_fusions(X, y, estimator=Constant(), fusions=["sum"], cv=2)
    assert list(result.scores) == ["sum", *made]
    assert {"boosting", "trees", "LR concat"} <= set(made)


def test_an_estimator_with_modalities_reads_them_side_by_side(X, y):
    own = {
        "both": (KNeighborsClassifier(), ["b", "a"]),
        "one": (KNeighborsClassifier(), ["a"]),
        "named": (KNeighborsClassifier(), "a"),
        "all": (KNeighborsClassifier(), None),
        "every": (KNeighborsClassifier(), "all"),
        "as today": make_baselines(X, y, tune=False)["LR a"],
    }
    result = compare(X, y, own)
    flat = np.hstack([X["a"], X["b"]])
    for name, array in {"both": flat, "all": flat, "every": flat, "one": X["a"], "named": X["a"]}.items():
        expected = cross_val_score(KNeighborsClassifier(), array, y, cv=3)
        np.testing.assert_array_equal(result.scores[name]["accuracy"], expected)
    assert "as today" in result.scores
    assert result.differences["baseline"] == [max(own, key=lambda name: result.scores[name]["accuracy"].mean())]


def test_an_estimator_with_modalities_reads_what_a_pipeline_makes_of_a_frame(rng):
    pd = pytest.importorskip("pandas")
    y = np.arange(60) % 2
    frame = pd.DataFrame({"x": rng.normal(size=60) + 3 * y, "z": rng.normal(size=60)})
    transformer = ModalityTransformer([("left", StandardScaler(), ["x"]), ("right", "passthrough", ["z"])])
    own = {"near": (KNeighborsClassifier(), ["left"])}
    result = compare(frame, y, own, estimator=make_pipeline(transformer, Constant()))
    expected = cross_val_score(make_pipeline(StandardScaler(), KNeighborsClassifier()), frame[["x"]], y, cv=3)
    np.testing.assert_array_equal(result.scores["near"]["accuracy"], expected)


def test_baselines_with_modalities_are_scored_without_one(X):
    y = X["a"][:, 0] > 0
    own = {"both": (HistGradientBoostingClassifier(max_iter=5), None), "b": (KNeighborsClassifier(), ["b"])}
    found = compare(X, y, own, missing_rates={"a": 1}).scores
    assert found["both"]["accuracy"].mean() > 0.9
    assert found["both"]["accuracy_missing_a_1"].mean() < 0.7
    np.testing.assert_array_equal(found["b"]["accuracy_missing_a_1"], found["b"]["accuracy"])


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        (["LR a", "boostin"], r"unknown baseline 'boostin', valid are \['LR concat'.* Did you mean 'boosting'\?"),
        ([], "baselines is an empty list"),
        (3, "baselines must be True, False, a list of names .*, got 3"),
        ({"mine": "boosting"}, r"baseline 'mine' must be an estimator, .*'boosting' has no fit and no predict"),
        ({"mine": StandardScaler()}, r"baseline 'mine' must be an estimator, .* has no predict"),
        ({"mine": DummyClassifier}, r"baseline 'mine' is the class DummyClassifier: .*DummyClassifier\(\)"),
        ({"mine": (DummyClassifier(), ["a"], 1)}, r"baseline 'mine' must be an estimator, or a pair"),
        (
            {"mine": (DummyClassifier(), ["a", "c"])},
            r"unknown modality of baseline 'mine': 'c', valid are \['a', 'b'\]",
        ),
        ({"mine": (DummyClassifier(), [])}, r"baseline 'mine' reads no modality; valid are \['a', 'b'\]"),
    ],
)
def test_wrong_baselines(X, y, baselines, message):
    with pytest.raises(ValueError, match=message):
        compare(X, y, baselines)


def test_modalities_of_a_baseline_need_blocks(y):
    with pytest.raises(ValueError, match="'mine' with modalities needs X to be Blocks, .* got ndarray"):
        compare(np.ones((N, 2)), y, {"mine": (DummyClassifier(), None)})


def test_what_a_baseline_cannot_read_names_it(rng, y):
    X = Blocks(a=rng.normal(size=(N, 2)), present={"a": np.arange(N) != N - 1})
    with pytest.raises(ValueError, match="NaN") as caught:
        compare(X, y, {"near": (KNeighborsClassifier(), ["a"])})
    assert caught.value.__notes__ == ["Raised by 'near' on fold 0."]
