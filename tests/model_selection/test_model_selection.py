"""compare_fusions, its baselines and intervals, against plain scikit-learn on the same folds."""

import html
import pickle
import statistics
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, recall_score
from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmm import Blocks, Fusion, MultimodalClassifier, MultimodalRegressor, list_fusions
from skmm.compose import ModalityTransformer
from skmm.model_selection import FusionComparison, compare_fusions, corrected_interval, make_baselines
from skmm.table import Table

N = 90


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def X(rng):
    return Blocks(text=3 + 5 * rng.normal(size=(N, 4)), image=rng.normal(size=(N, 2, 3)))


@pytest.fixture
def y(rng, X):
    score = X["text"][:, 0] / 5 + X["image"][:, 0, 0] + rng.normal(size=N)
    return np.array(["low", "mid", "top"])[np.digitize(score, np.quantile(score, [1 / 3, 2 / 3]))]


@pytest.fixture
def value(rng, X):
    return X["text"][:, 0] / 5 + X["image"][:, 0, 0] + rng.normal(size=N)


@pytest.fixture
def folds(y):
    return list(StratifiedKFold(3, shuffle=True, random_state=1).split(np.zeros(N), y))


def small(**params):
    return MultimodalClassifier(hidden_dim=8, max_epochs=2, n_members=2, **params)


def untuned(X, y, **options):
    """The linear baselines; trees are tested beside them."""
    return {
        name: model
        for name, model in make_baselines(X, y, tune=False, **options).items()
        if name not in ("boosting", "trees")
    }


class Recorder(ClassifierMixin, BaseEstimator):
    """Predicts the first class and notes the rows that it was given; modality ``id`` holds row numbers."""

    seen: ClassVar[dict] = {}

    def __init__(self, fusion="concat", random_state=None):
        self.fusion = fusion
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        if self.fusion == "mfh":
            raise RuntimeError("out of order")
        rows = X["id"][:, 0].astype(int).tolist()
        self.seen.setdefault(self.fusion, []).append((rows, sample_weight, self.random_state))
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[0], len(X))


@pytest.fixture
def recorder():
    Recorder.seen.clear()
    return Recorder()


# -- baselines ------------------------------------------------------------------------------------------------


def scale(train, test):
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)


def test_linear_baselines_equal_plain_scikit_learn(X, y, folds):
    models = untuned(X, y)
    flat = {"text": X["text"], "image": X["image"].reshape(N, 6)}
    flat["concat"] = np.hstack(list(flat.values()))
    for name, array in flat.items():
        plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
        expected = cross_val_score(plain, array, y, cv=folds)
        np.testing.assert_allclose(cross_val_score(models[f"LR {name}"], X, y, cv=folds), expected)


def test_late_mean_is_the_mean_of_the_probabilities(X, y, folds):
    train, test = folds[0]
    parts = []
    for block in (X["text"], X["image"].reshape(N, 6)):
        a, b = scale(block[train], block[test])
        parts.append(LogisticRegression(max_iter=10_000).fit(a, y[train]).predict_proba(b))
    model = untuned(X, y)["late mean"].fit(X[train], y[train])
    np.testing.assert_allclose(model.predict_proba(X[test]), np.mean(parts, axis=0))


def test_stacked_learns_from_out_of_fold_probabilities(X, y, folds):
    train, test = folds[0]
    inner = StratifiedKFold(5, shuffle=True, random_state=7)
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    learned, new = [], []
    for block in (X["text"], X["image"].reshape(N, 6)):
        learned.append(cross_val_predict(plain, block[train], y[train], cv=inner, method="predict_proba"))
        new.append(clone(plain).fit(block[train], y[train]).predict_proba(block[test]))
    final = LogisticRegression(max_iter=10_000).fit(np.hstack(learned), y[train])
    model = untuned(X, y, random_state=7)["stacked"].fit(X[train], y[train])
    np.testing.assert_allclose(model.predict_proba(X[test]), final.predict_proba(np.hstack(new)), atol=1e-4)


def test_the_penalty_is_the_one_of_least_inner_log_loss(X, y):
    inner = StratifiedKFold(3, shuffle=True, random_state=4)
    scaled = StandardScaler().fit_transform(X["text"])
    losses = {}
    for C in (0.01, 0.1, 1.0, 10.0, 100.0):
        each = []
        for train, test in inner.split(scaled, y):
            fitted = LogisticRegression(C=C, max_iter=10_000).fit(scaled[train], y[train])
            each.append(log_loss(y[test], fitted.predict_proba(scaled[test])))
        losses[C] = np.mean(each)
    search = make_baselines(X, y, random_state=4)["LR text"].fit(X, y)[-1]
    assert search.best_params_["C"] == pytest.approx(min(losses, key=losses.get))
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], [-loss for loss in losses.values()])


def test_regression_baselines(X, value):
    models = untuned(X, value)
    assert list(models) == ["ridge concat", "ridge text", "ridge image", "late mean", "stacked"]
    singles = [
        make_pipeline(StandardScaler(), Ridge()).fit(block, value).predict(block)
        for block in (X["text"], X["image"].reshape(N, 6))
    ]
    np.testing.assert_allclose(models["ridge text"].fit(X, value).predict(X), singles[0])
    np.testing.assert_allclose(models["late mean"].fit(X, value).predict(X), np.mean(singles, axis=0))
    assert models["stacked"].fit(X, value).score(X, value) > 0.3


def test_sparse_blocks_stay_sparse_and_keep_their_scale(rng, y):
    words = sp.random_array((N, 30), density=0.2, rng=rng, format="csr")
    X = Blocks(text=words, table=rng.normal(size=(N, 2)))
    expected = LogisticRegression(max_iter=10_000).fit(words, y).predict_proba(words)
    models = untuned(X, y)
    np.testing.assert_allclose(models["LR text"].fit(X, y).predict_proba(X), expected)
    assert sp.issparse(models["LR concat"].fit(X, y)[:-1].transform(X))


def test_missing_rows_count_as_the_mean_of_the_present_ones(rng, y):
    text = rng.normal(size=(N, 2))
    filled = text.copy()
    filled[:20] = text[20:].mean(axis=0)
    text[:20] = np.nan
    expected = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000)).fit(filled, y)
    X = Blocks(text=text)
    model = untuned(X, y)["LR text"].fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), expected.predict_proba(filled))


def test_token_ids_are_counted_as_words(rng):
    y = rng.integers(0, 2, N)
    ids = [[5, 6, 7] if label else [7, 8] for label in y]
    ids[0] = None
    X = Blocks(tokens=[None if i is None else np.array(i) for i in ids], noise=rng.normal(size=(N, 1)))
    models = make_baselines(X, y)
    assert (models["LR tokens"].fit(X, y).predict(X)[1:] == y[1:]).all()
    assert (models["LR concat"].fit(X, y).predict(X)[1:] == y[1:]).all()


def test_multilabel(X, rng):
    Y = (X["text"][:, :3] + rng.normal(size=(N, 3)) > 3).astype(int)
    models = make_baselines(X, Y, random_state=0)
    assert list(models) == ["LR concat", "LR text", "LR image", "boosting", "trees"]
    plain = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression(max_iter=10_000)))
    model = untuned(X, Y)["LR text"].fit(X, Y)
    expected = plain.fit(X["text"], Y).predict_proba(X["text"])
    np.testing.assert_allclose(model.predict_proba(X), expected)
    assert f1_score(Y, models["LR text"].fit(X, Y).predict(X), average="micro") > 0.9


def test_several_values_per_sample(X, rng):
    Y = X["text"][:, :2] + rng.normal(size=(N, 2))
    models = make_baselines(X, Y, random_state=0)
    assert list(models) == ["ridge concat", "ridge text", "ridge image", "boosting", "trees"]
    assert models["ridge text"].fit(X, Y).score(X, Y) > 0.9


def test_one_modality_has_nothing_to_combine(X, y):
    assert list(make_baselines(X.select(["text"]), y)) == ["LR text", "boosting", "trees"]


@pytest.mark.parametrize("name", ["a__b", "n_jobs", "estimators", "文本", "modality0", ""])
def test_any_modality_name(X, y, name):
    named = Blocks({name: X["text"], "image": X["image"]})
    plain = {label: m.fit(X, y).predict(X) for label, m in untuned(X, y, random_state=0).items()}
    for label, model in untuned(named, y, random_state=0).items():
        np.testing.assert_array_equal(
            model.fit(named, y).predict(named), plain["LR text" if label == f"LR {name}" else label]
        )


def test_integers_are_classes_unless_said_otherwise(X):
    counts = np.arange(N) % 4
    assert "LR concat" in make_baselines(X, counts)
    assert "ridge concat" in make_baselines(X, counts, regression=True)


def test_a_class_that_an_inner_fold_lacks_does_not_upset_the_choice(X, y):
    y = y.copy()
    y[:2] = "rare"
    with pytest.warns(UserWarning, match="least populated class"):
        search = make_baselines(X, y)["LR text"].fit(X, y)[-1]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("target", "regression", "message"),
    [
        ([1.5, 2.5, 3.5], False, "y is 'continuous', classification takes"),
        ([[1, 0], [0, 1], [1, 1]], True, "y is 'multilabel-indicator', regression takes"),
        ([[1, 2], [3, 4], [5, 6]], None, "y is 'multiclass-multioutput', classification takes"),
    ],
)
def test_a_target_of_the_wrong_kind_is_refused(target, regression, message):
    with pytest.raises(ValueError, match=message):
        make_baselines({"a": np.ones((3, 1))}, target, regression=regression)


# -- comparison -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_method_is_scored_on_the_same_folds_as_cross_validation_would(X, y, folds):
    result = compare_fusions(
        X,
        y,
        estimator=small(dropout=0.0),  # which is drawn otherwise side by side
        fusions=["late", Fusion("mfb", factor=2, dropout=0.0)],
        cv=folds,
        baselines=untuned(X, y, random_state=3),
        random_state=3,
    )
    assert set(result.scores) == {
        "late", "Fusion('mfb', factor=2, dropout=0.0)", "LR concat", "LR text", "LR image", "late mean", "stacked"
    }  # fmt: skip
    plain = {
        "late": small(dropout=0.0, fusion="late", random_state=3),
        "Fusion('mfb', factor=2, dropout=0.0)": small(
            dropout=0.0, fusion=Fusion("mfb", factor=2, dropout=0.0), random_state=3
        ),
        "late mean": untuned(X, y)["late mean"],
        "stacked": untuned(X, y, random_state=3)["stacked"],
    }
    for name, model in plain.items():
        predicted = [clone(model).fit(X[train], y[train]).predict(X[test]) for train, test in folds]
        for metric, score in {
            "accuracy": accuracy_score,
            "recall_macro": lambda a, b: recall_score(a, b, average="macro", zero_division=0),
            "f1_macro": lambda a, b: f1_score(a, b, average="macro", zero_division=0),
        }.items():
            expected = [score(y[test], p) for (_, test), p in zip(folds, predicted, strict=True)]
            np.testing.assert_allclose(result.scores[name][metric], expected)


def test_summary_gives_mean_and_deviation_the_best_first(X, y, folds):
    result = compare_fusions(X, y, estimator=small(), fusions=["late", "sum"], cv=folds, baselines=untuned(X, y))
    assert result.summary.columns == [
        "method", "kind", "accuracy", "accuracy_std", "recall_macro", "recall_macro_std", "f1_macro",
        "f1_macro_std", "fit_time", "predict_time",
    ]  # fmt: skip
    assert result.summary["accuracy"] == sorted(result.summary["accuracy"], reverse=True)
    for row in result.summary:
        scores = result.scores[row["method"]]["accuracy"]
        assert row["kind"] == ("fusion" if row["method"] in ("late", "sum") else "baseline")
        assert row["accuracy"] == pytest.approx(sum(scores) / 3)
        assert row["accuracy_std"] == pytest.approx(statistics.pstdev(scores))
        assert row["fit_time"] > 0
        assert row["predict_time"] > 0


@pytest.mark.slow
def test_differences_are_paired_with_the_best_baseline(X, y):
    splitter = StratifiedKFold(5, shuffle=True, random_state=0)
    result = compare_fusions(
        X, y, estimator=small(), fusions=["late", "sum"], cv=splitter, baselines=untuned(X, y), confidence=0.9
    )
    means = {row["method"]: row["accuracy"] for row in result.summary if row["kind"] == "baseline"}
    best = max(means, key=means.get)
    for row in result.differences:
        gaps = (result.scores[row["fusion"]]["accuracy"] - result.scores[best]["accuracy"]).tolist()
        # 2.1318 is the 95th percentile of Student's t with 4 degrees of freedom; each test part has 18 of 90 rows
        half = 2.131847 * (statistics.variance(gaps) * (1 / 5 + 18 / 72)) ** 0.5
        assert row["baseline"] == best
        assert row["difference"] == pytest.approx(statistics.mean(gaps))
        assert row["low"] == pytest.approx(statistics.mean(gaps) - half, abs=1e-6)
        assert row["high"] == pytest.approx(statistics.mean(gaps) + half, abs=1e-6)


def test_without_shared_samples_the_interval_is_the_ordinary_one(rng):
    values = rng.normal(size=12)
    ordinary = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.9)
    np.testing.assert_allclose(corrected_interval(values, 0, confidence=0.9), ordinary)


@pytest.mark.slow
def test_deep_fusion_wins_where_only_the_pair_tells_the_class():
    rng = np.random.default_rng(0)
    a, b = rng.permutation(np.tile([[1.0, 1.0, -1.0, -1.0], [1.0, -1.0, 1.0, -1.0]], 50), axis=1)
    X = Blocks(a=a + 0.1 * rng.normal(size=200), b=b + 0.1 * rng.normal(size=200))
    y = a * b > 0
    result = compare_fusions(
        X,
        y,
        estimator=MultimodalClassifier(max_epochs=30, n_members=2),
        fusions=["mfb"],
        baselines=untuned(X, y),
        random_state=0,
    )
    assert result.scores["mfb"]["accuracy"].min() > 0.95
    assert result.scores["LR concat"]["accuracy"].mean() < 0.76  # a line can leave one corner of four wrong
    assert result.verdict.startswith("Deep fusion helps here: the best fusion, mfb, is better than")


@pytest.mark.parametrize(
    ("low", "high", "start"),
    [
        (0.01, 0.03, "Deep fusion helps here: the best fusion, mfb, is better than the best baseline, LR concat"),
        (-0.01, 0.03, "Deep fusion makes no clear difference here: the best fusion, mfb, may be better or worse"),
        (0.0, 0.0, "Deep fusion makes no clear difference here"),
        (-0.03, -0.01, "Deep fusion does not help here: the best fusion, mfb, is worse than"),
    ],
)
def test_verdict(low, high, start):
    row = {"fusion": "mfb", "baseline": "LR concat", "difference": (low + high) / 2, "low": low, "high": high}
    summary = Table([{"method": "mfb", "kind": "fusion", "accuracy": 0.9}])
    verdict = FusionComparison(summary, Table([row]), {}, "accuracy", 0.95).verdict
    assert verdict.startswith(start)
    assert f"{(low + high) / 2:+.4f} in accuracy, 95% interval {low:+.4f} to {high:+.4f}" in verdict


def test_without_baselines_the_verdict_says_what_is_not_known(recorder, rng):
    X = Blocks(id=np.arange(20.0))
    result = compare_fusions(X, np.arange(20) % 2, estimator=recorder, fusions=["sum"], baselines=False)
    assert result.summary["method"] == ["sum"]
    assert len(result.differences) == 0
    assert "best fusion by accuracy is sum with 0.5000; without baselines" in result.verdict


@pytest.mark.slow
def test_regression(X, value):
    folds = list(KFold(3).split(value))
    result = compare_fusions(
        X,
        value,
        estimator=MultimodalRegressor(max_epochs=2, n_members=2),
        fusions=["late"],
        baselines=["ridge text"],
        cv=3,
        random_state=0,
    )
    assert list(result.scores["late"]) == ["r2", "mean_absolute_error"]
    assert result.metric == "r2"
    ridge = make_baselines(X, value, random_state=0)["ridge text"]
    expected = [
        mean_absolute_error(value[test], clone(ridge).fit(X[train], value[train]).predict(X[test]))
        for train, test in folds
    ]
    np.testing.assert_allclose(result.scores["ridge text"]["mean_absolute_error"], expected)


def test_of_an_error_less_is_better(X, value):
    result = compare_fusions(
        X,
        value,
        estimator=MultimodalRegressor(max_epochs=1, n_members=2),
        fusions=["late"],
        cv=3,
        scoring="neg_mean_absolute_error",
        baselines=untuned(X, value),
    )
    errors = result.summary["mean_absolute_error"]
    assert errors == sorted(errors)
    assert min(errors) > 0
    best = next(row for row in result.summary if row["kind"] == "baseline")
    late = next(row for row in result.summary if row["method"] == "late")
    row = next(iter(result.differences))
    assert row["difference"] == pytest.approx(best["mean_absolute_error"] - late["mean_absolute_error"])
    assert row["baseline"] == best["method"]


def median_miss(model, X, y):
    return -float(np.median(model.predict(X) != y))


@pytest.mark.parametrize(
    ("scoring", "names"),
    [
        ("balanced_accuracy", ["balanced_accuracy"]),
        (["f1_micro", "neg_log_loss"], ["f1_micro", "log_loss"]),
        ({"mine": "accuracy", "miss": median_miss}, ["mine", "miss"]),
        (median_miss, ["median_miss"]),
    ],
)
def test_scoring(X, y, scoring, names):
    result = compare_fusions(X, y, estimator=small(), fusions=["sum"], cv=2, scoring=scoring, baselines=False)
    assert list(result.scores["sum"]) == names
    assert result.metric == names[0]
    if "log_loss" in names:
        assert result.scores["sum"]["log_loss"].min() > 0


def test_the_target_chooses_the_estimator(X, y, value, monkeypatch):
    fitted = []

    def hurry(estimator):
        fit = estimator.fit

        def short(self, *args):
            fitted.append(estimator)
            return fit(self.set_params(max_epochs=1, n_members=2), *args)

        monkeypatch.setattr(estimator, "fit", short)

    hurry(MultimodalClassifier)
    hurry(MultimodalRegressor)
    options = {"fusions": ["sum"], "cv": 2, "baselines": False}
    assert compare_fusions(X, y, **options).metric == "accuracy"
    assert compare_fusions(X, value, **options).metric == "r2"
    assert fitted == [MultimodalClassifier] * 2 + [MultimodalRegressor] * 2


def test_by_default_every_registered_fusion_is_compared(recorder):
    with pytest.raises(RuntimeError, match="out of order"):
        compare_fusions(Blocks(id=np.arange(20.0)), np.arange(20) % 2, estimator=recorder, baselines=False)
    tried = [*Recorder.seen, "mfh"]
    assert tried == list_fusions()[: len(tried)]


def test_by_default_a_fusion_that_cannot_read_the_blocks_is_left_out_with_the_reason(rng):
    X = Blocks(text=[rng.integers(0, 9, 2 + i % 3) for i in range(40)], table=rng.normal(size=(40, 3)))
    quick = MultimodalClassifier(hidden_dim=8, max_epochs=1, n_members=1)
    result = compare_fusions(X, np.arange(40) % 2, estimator=quick, cv=2, baselines=False)
    assert set(result.scores) == set(list_fusions()) - {"early"}
    assert list(result.skipped) == ["early"]
    assert "cannot join modality 'text', which is tokens" in result.skipped["early"]
    sentence = f"early is left out: {result.skipped['early']}"
    assert repr(result).endswith(f"{sentence}\n\n{result.verdict}")
    assert html.escape(sentence) in result._repr_html_()
    assert pickle.loads(pickle.dumps(result)).skipped == result.skipped


@pytest.fixture
def many(rng):
    """Modalities past the size of the tensor of their products."""
    return Blocks({f"m{i}": rng.normal(size=(20, 1)) for i in range(19)})


@pytest.fixture
def no_fit(monkeypatch):
    def fit(self, *args, **kwargs):
        raise AssertionError("something was fitted")

    monkeypatch.setattr(MultimodalClassifier, "fit", fit)


@pytest.mark.slow
def test_a_fusion_that_would_be_too_large_is_left_out(many, monkeypatch):
    monkeypatch.setattr("skmm.model_selection._compare.list_fusions", lambda: ["sum", "tensor"])
    frame = pd.DataFrame({name: block.ravel() for name, block in many.items()})
    transformer = ModalityTransformer([(name, "passthrough", [name]) for name in many])
    for X, estimator in ((many, small()), (frame, make_pipeline(transformer, small()))):
        result = compare_fusions(X, np.arange(20) % 2, estimator=estimator, cv=2, baselines=False)
        assert list(result.scores) == ["sum"]
        assert "max_size=262,144" in result.skipped["tensor"]


@pytest.mark.parametrize("fusions", ["tensor", ["sum", "tensor"], ["sum", Fusion("tensor", modality_dim=1)]])
def test_a_fusion_that_is_named_and_cannot_be_built_is_refused_before_any_fit(many, no_fit, fusions):
    with pytest.raises(ValueError, match="max_size=262,144") as caught:
        compare_fusions(many, np.arange(20) % 2, estimator=small(), fusions=fusions)
    assert "before anything was fitted" in caught.value.__notes__[-1]


def test_what_every_fusion_refuses_is_refused_before_any_fit(X, y, no_fit):
    estimator = small(encoders={"text": "conv2d"})
    with pytest.raises(ValueError, match="modality 'text'.* encoder 'conv2d' reads image blocks"):
        compare_fusions(X, y, estimator=estimator)


def test_looking_whether_a_network_can_be_built_leaves_random_numbers_alone(X, y):
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    compare_fusions(X, y, estimator=small(), fusions=["sum"], cv=2, baselines=False)
    assert torch.equal(torch.rand(3), expected)


def test_the_choice_that_estimators_make_is_compared_as_auto(X, y):
    options = {"estimator": small(), "cv": 2, "baselines": False, "random_state": 0}
    result = compare_fusions(X, y, fusions=["auto", "concat"], **options)
    assert set(result.scores) == {"auto", "concat"}
    assert result.skipped == {}
    np.testing.assert_array_equal(result.scores["auto"]["accuracy"], result.scores["concat"]["accuracy"])
    chosen = compare_fusions(X, y, fusions=Fusion("auto", n_layers=2), **options)
    assert list(chosen.scores) == ["Fusion('auto', n_layers=2)"]
    with pytest.raises(ValueError, match="unknown parameter of fusion 'concat': 'glue'"):
        compare_fusions(X, y, fusions=Fusion("auto", glue=2), **options)


@pytest.mark.slow
def test_a_pipeline_from_a_table(rng):
    y = rng.integers(0, 2, 60)
    words = np.array(["good", "bad", "film", "plot"])
    frame = pd.DataFrame(
        {
            "review": [" ".join(words[[label, *rng.integers(2, 4, 3)]]) for label in y],
            "price": rng.normal(size=60),
            "age": rng.normal(size=60) + y,
        }
    )
    transformer = ModalityTransformer(
        [("text", TfidfVectorizer(), "review"), ("table", "passthrough", ["price", "age"])]
    )
    # of so few words many reviews are copies of one another
    with pytest.warns(UserWarning, match="column 'review' alone tells the target"):
        result = compare_fusions(
            frame, y, estimator=make_pipeline(transformer, small()), fusions=["concat"], cv=3, random_state=0
        )
    linear = {"LR concat", "LR text", "LR table", "late mean", "stacked"}
    assert set(result.scores) == {"concat", "boosting", "trees"} | linear
    assert result.scores["LR text"]["accuracy"].tolist() == [1, 1, 1]
    folds = StratifiedKFold(3).split(frame, y)
    plain = make_pipeline(transformer, small(fusion="concat", random_state=0))
    expected = [clone(plain).fit(frame.iloc[a], y[a]).score(frame.iloc[b], y[b]) for a, b in folds]
    np.testing.assert_allclose(result.scores["concat"]["accuracy"], expected)


def test_all_forms_of_the_same_data_give_the_same_scores(X, y):
    flat, layout = X.to_flat()
    columns = {"text": [0, 1, 2, 3], "image": slice(4, 10)}
    as_vectors = {"text": X["text"], "image": X["image"].reshape(N, 6)}
    models = untuned(X, y)
    options = {
        "fusions": ["late"],
        "cv": 2,
        "baselines": {name: models[name] for name in ("LR text", "LR image")},
        "random_state": 0,
    }
    expected = compare_fusions(X, y, estimator=small(), **options).scores
    for given, modalities in ((flat, layout), (pd.DataFrame(flat), columns), (as_vectors, None)):
        found = compare_fusions(given, y, estimator=small(modalities=modalities), **options).scores
        assert list(found) == list(expected)
        for name in [name for name in expected if name != "late" or modalities is layout]:
            np.testing.assert_allclose(found[name]["accuracy"], expected[name]["accuracy"])


def test_baselines_of_ones_own(X, y):
    own = {"majority": DummyClassifier(strategy="most_frequent")}
    result = compare_fusions(X, y, estimator=small(), fusions=["sum"], cv=3, baselines=own)
    assert set(result.scores) == {"sum", "majority"}
    np.testing.assert_allclose(result.scores["majority"]["accuracy"], 1 / 3)
    assert result.differences["baseline"] == ["majority"]


# -- missing test modalities ----------------------------------------------------------------------------------


class Seeing(ClassifierMixin, BaseEstimator):
    """Predicts 1 for the samples that have the image, and notes what it is given; modality ``id`` holds numbers."""

    seen: ClassVar[list] = []

    def __init__(self, fusion="concat", random_state=None):
        self.fusion = fusion
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_ = np.array([0, 1])
        self.seen.append(("fit", self.fusion, X))
        return self

    def predict(self, X):
        self.seen.append(("predict", self.fusion, X))
        return X.present["image"].astype(int)


@pytest.fixture
def seeing():
    Seeing.seen.clear()
    return Seeing()


@pytest.fixture
def numbered():
    return Blocks(id=np.arange(40.0), image=np.ones((40, 2)))


def test_scores_without_a_share_of_a_modality(seeing, numbered):
    result = compare_fusions(
        numbered,
        np.ones(40, dtype=int),
        estimator=seeing,
        fusions=["sum", "late"],
        cv=2,
        scoring=["accuracy", "neg_mean_absolute_error"],
        baselines={"also": Seeing()},
        missing_rates=[0.25, 1],
        random_state=0,
    )
    expected = {"id_0.25": 1, "id_1": 1, "image_0.25": 0.75, "image_1": 0}
    for method in ("sum", "late", "also"):
        scores = result.scores[method]
        for removed, right in expected.items():
            np.testing.assert_allclose(scores[f"accuracy_missing_{removed}"], [right] * 2)
            np.testing.assert_allclose(scores[f"mean_absolute_error_missing_{removed}"], [1 - right] * 2)
    columns = [column for column in result.summary.columns if "missing" in column]
    assert columns == [f"accuracy_missing_{removed}" for removed in expected]
    for row in result.summary:
        assert [row[column] for column in columns] == pytest.approx(list(expected.values()))
        assert row["accuracy"] == 1


def test_only_test_samples_lose_a_modality_and_all_methods_the_same(seeing, numbered):
    y = np.arange(40) % 2
    compare_fusions(
        numbered,
        y,
        estimator=seeing,
        fusions=["sum", "late"],
        cv=2,
        baselines=False,
        missing_rates={"image": 0.5},
        random_state=0,
    )
    fits = [X for what, _, X in Seeing.seen if what == "fit"]
    assert all(mask.all() for X in fits for mask in X.present.values())
    left = {
        fusion: [
            sorted(X["id"][X.present["image"], 0])
            for what, of, X in Seeing.seen
            if what == "predict" and of == fusion and not X.present["image"].all()
        ]
        for fusion in ("sum", "late")
    }
    assert left["sum"] == left["late"]
    assert left["sum"][0] != left["sum"][-1]  # of another fold other samples
    tested = {tuple(rows) for _, rows in StratifiedKFold(2).split(y, y)}
    for kept in left["sum"]:
        assert len(kept) == 10
        assert any(set(kept) <= set(rows) for rows in tested)


@pytest.mark.slow
def test_the_baselines_miss_the_modality_too(X, y):
    folds = list(StratifiedKFold(3).split(y, y))
    models = untuned(X, y, random_state=0)
    result = compare_fusions(
        X, y, estimator=small(), fusions=["sum"], cv=folds, baselines=models, missing_rates={"text": 1}
    )
    for name, model in models.items():
        found = result.scores[name]
        # a linear model on standardised columns reads a column mean as a column of zeros
        expected = []
        for train, test in folds:
            mean = np.broadcast_to(X["text"][train].mean(axis=0), X["text"][test].shape)
            without = Blocks(text=mean, image=X["image"][test])
            expected.append(clone(model).fit(X[train], y[train]).score(without, y[test]))
        np.testing.assert_allclose(found["accuracy_missing_text_1"], expected)
    same = result.scores["LR image"]
    np.testing.assert_array_equal(same["accuracy_missing_text_1"], same["accuracy"])


@pytest.mark.slow
def test_what_goes_missing_does_not_change_the_other_scores(X, y):
    options = {
        "estimator": small(),
        "fusions": ["sum"],
        "cv": 2,
        "baselines": untuned(X, y, random_state=0),
        "random_state": 0,
    }
    plain, more = compare_fusions(X, y, **options), compare_fusions(X, y, missing_rates=0.5, **options)
    for name, scores in plain.scores.items():
        for metric, values in scores.items():
            np.testing.assert_array_equal(more.scores[name][metric], values)
    assert more.verdict == plain.verdict


@pytest.mark.slow
def test_all_forms_of_the_same_data_miss_the_same(X, y):
    flat, layout = X.to_flat()
    whole = FunctionTransformer(Blocks.from_flat, kw_args={"layout": layout})
    forms = [
        (X, small()),
        (flat, small(modalities=layout)),
        (flat, make_pipeline(whole, small())),
        ({"text": X["text"], "image": X["image"]}, small()),
    ]
    options = {
        "fusions": ["late"],
        "cv": 2,
        "baselines": untuned(X, y, random_state=0),
        "missing_rates": [0.5, 1],
        "random_state": 0,
    }
    expected, *found = (compare_fusions(given, y, estimator=model, **options).scores for given, model in forms)
    assert "accuracy_missing_image_0.5" in expected["late"]
    for scores in found:
        for name, values in expected.items():
            for metric in values:
                np.testing.assert_allclose(scores[name][metric], values[metric])


def test_samples_left_without_anything_raise_no_warning(y, X):
    result = compare_fusions(
        X.select(["text"]), y, estimator=small(), fusions=["sum"], cv=2, missing_rates=1, baselines=False
    )
    np.testing.assert_allclose(result.scores["sum"]["accuracy_missing_text_1"], 1 / 3, atol=0.03)


@pytest.mark.parametrize(
    ("missing_rates", "message"),
    [
        ({"text": 0.5}, r"unknown modality in missing_rates: 'text', valid are \['id', 'image'\]"),
        ({"image": 1.5}, r"missing_rates of 'image' must lie between 0 and 1, got 1\.5"),
        ([0.5, np.nan], "missing_rates of 'id' must lie between 0 and 1, got nan"),
        ("half", "missing_rates of 'id' must lie between 0 and 1, got 'half'"),
    ],
)
def test_wrong_missing_rates(seeing, numbered, missing_rates, message):
    with pytest.raises(ValueError, match=message):
        compare_fusions(numbered, np.arange(40) % 2, estimator=seeing, missing_rates=missing_rates)
    assert not Seeing.seen


def test_missing_rates_need_blocks(seeing):
    with pytest.raises(ValueError, match="missing_rates needs X to be Blocks, or to become them, got ndarray"):
        compare_fusions(np.ones((40, 2)), np.arange(40) % 2, estimator=seeing, baselines=False, missing_rates=0.5)


def test_groups_stay_whole_and_all_methods_see_the_same_rows(recorder):
    groups = np.repeat(np.arange(10), 6)
    X = Blocks(id=np.arange(60.0))
    compare_fusions(
        X, np.arange(60) % 2, estimator=recorder, fusions=["sum", "late"], cv=3, groups=groups, baselines=False
    )
    rows = {fusion: [call[0] for call in calls] for fusion, calls in Recorder.seen.items()}
    assert rows["sum"] == rows["late"]
    assert len(rows["sum"]) == 3
    for train in rows["sum"]:
        assert not set(groups[train]) & set(np.delete(groups, train))


def test_groups_of_a_regression_stay_whole(X, value):
    groups = np.repeat(np.arange(9), 10)
    own = {"mean": untuned(X, value)["ridge text"]}
    options = {
        "estimator": MultimodalRegressor(max_epochs=1, n_members=1),
        "fusions": ["sum"],
        "baselines": own,
        "groups": groups,
    }
    by_number = compare_fusions(X, value, cv=3, **options)
    by_splitter = compare_fusions(X, value, cv=GroupKFold(3), **options)
    np.testing.assert_array_equal(by_number.scores["mean"]["r2"], by_splitter.scores["mean"]["r2"])


@pytest.mark.slow
def test_groups_reach_the_fusions_and_the_stack(rng):
    # the groups give the class away within a group, and nothing does across groups
    groups = np.repeat(np.arange(12), 10)
    y = np.repeat(rng.permutation([0, 1] * 6), 10)
    X = Blocks(a=np.eye(12)[groups] + 0.01 * rng.normal(size=(120, 12)), b=rng.normal(size=(120, 2)))
    stack = untuned(X, y, groups=groups, random_state=0)["stacked"].fit(X, y)
    for train, test in stack.cv:
        assert not set(groups[train]) & set(groups[test])
    assert sorted(np.concatenate([test for _, test in stack.cv])) == list(range(120))

    class Noting(MultimodalClassifier):
        seen: ClassVar[list] = []

        def fit(self, X, y, sample_weight=None, groups=None):
            self.seen.append((X["a"].argmax(axis=1), groups))
            return super().fit(X, y, sample_weight, groups)

    result = compare_fusions(
        X,
        y,
        estimator=Noting(max_epochs=1, n_members=2),
        fusions=["sum"],
        baselines=["stacked"],
        cv=3,
        groups=groups,
        random_state=0,
    )
    assert "stacked" in result.scores
    assert len(Noting.seen) == 3
    for rows, given in Noting.seen:
        np.testing.assert_array_equal(rows, given)


def test_sample_weight_is_cut_to_the_rows_of_the_fold(recorder):
    X, weight = Blocks(id=np.arange(20.0)), np.arange(20) * 2.0
    compare_fusions(
        X,
        np.arange(20) % 2,
        estimator=recorder,
        fusions=["sum"],
        cv=2,
        params={"sample_weight": weight},
        baselines=False,
        random_state=5,
    )
    for rows, given, seed in Recorder.seen["sum"]:
        assert given.tolist() == [row * 2.0 for row in rows]
        assert seed == 5


def test_a_fit_that_fails_says_which(recorder):
    with pytest.raises(RuntimeError, match="out of order") as caught:
        compare_fusions(
            Blocks(id=np.arange(20.0)),
            np.arange(20) % 2,
            estimator=recorder,
            fusions=["sum", "mfh"],
            baselines=False,
        )
    assert caught.value.__notes__ == ["Raised by 'mfh' on fold 0."]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusions": ["sum", "glue"]}, r"unknown fusion 'glue', valid are \[.*'concat'.*'mfb'"),
        ({"fusions": "glue"}, "unknown fusion 'glue', valid are .*'auto'"),
        ({"fusions": [3]}, "fusion must be a name, .* got 3; names are .*'auto'"),
        ({"fusions": ["sum", Fusion("mfb", glue=1)]}, "unknown parameter of fusion 'mfb': 'glue'"),
        ({"fusions": ["sum", "late", "sum"]}, "fusion 'sum' is listed twice"),
        ({"fusions": []}, "no fusion to compare"),
        ({"cv": [([0, 1], [2, 3])]}, "at least 2 folds"),
        ({"scoring": ["accuracy", "beauty"]}, "'beauty'"),
        ({"confidence": 95}, "confidence must lie between 0 and 1, got 95"),
        ({"params": {"sample_weight": np.ones(20)}}, "baselines=False"),
        (
            {"fusions": ["sum"], "baselines": {"sum": DummyClassifier()}},
            r"\['sum'\] name both fusions and baselines",
        ),
    ],
)
def test_wrong_options_are_refused_before_anything_is_fitted(recorder, options, message):
    with pytest.raises(ValueError, match=message):
        compare_fusions(Blocks(id=np.arange(20.0)), np.arange(20) % 2, estimator=recorder, **options)
    assert not Recorder.seen


@pytest.mark.parametrize("estimator", [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())])
def test_an_estimator_without_fusion_is_refused(X, y, estimator):
    with pytest.raises(ValueError, match=r"must have a parameter 'fusion', .* got LogisticRegression"):
        compare_fusions(X, y, estimator=estimator)


def test_an_interval_of_one_fold_is_refused():
    with pytest.raises(ValueError, match="at least 2 folds, got 1"):
        corrected_interval([0.1], 0.25)


@pytest.mark.parametrize(("verbose", "shown"), [(1, True), (0, False)])
def test_progress(recorder, capsys, verbose, shown):
    X = Blocks(id=np.arange(20.0))
    compare_fusions(
        X, np.arange(20) % 2, estimator=recorder, fusions=["sum", "late"], cv=2, baselines=False, verbose=verbose
    )
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("4/4" in captured.err) is shown


@pytest.mark.slow
def test_parallel_gives_the_same_scores(X, y):
    options = {
        "estimator": small(),
        "fusions": ["late"],
        "cv": 2,
        "random_state": 0,
        "baselines": ["stacked", "trees"],
    }
    one, two = compare_fusions(X, y, **options), compare_fusions(X, y, n_jobs=2, **options)
    assert list(one.scores) == list(two.scores)
    for name in one.scores:
        np.testing.assert_allclose(one.scores[name]["accuracy"], two.scores[name]["accuracy"])


def test_the_users_estimator_is_left_alone(X, y):
    estimator = small()
    before = estimator.get_params()
    compare_fusions(X, y, estimator=estimator, fusions=["sum"], cv=2, random_state=0, baselines=False)
    assert estimator.get_params() == before
    assert not hasattr(estimator, "classes_")


def test_result_shows_and_pickles(X, y):
    named = Blocks({"<b>": X["text"], "image": X["image"]})
    result = compare_fusions(named, y, estimator=small(), fusions=["sum"], cv=2, baselines=untuned(named, y))
    text = repr(result)
    assert text.startswith(repr(result.summary))
    assert repr(result.differences) in text
    assert text.endswith(result.verdict)
    html = result._repr_html_()
    assert html.count("<table>") == 2
    assert "<b>" not in html
    assert "LR &lt;b&gt;" in html
    assert repr(pickle.loads(pickle.dumps(result))) == text


# -- what belongs to a fit stays in it, and folds that lack a class ------------------------------------------------


def test_baselines_read_a_frame_as_their_training_rows_were_read():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    words = np.array(["red wine good", "blue sky far", "green leaf tree"])
    # the words of the test rows are not all those of the training rows
    text = [f"{words[label]} w{rng.integers(200)} v{rng.integers(200)}" for label in y]
    frame = pd.DataFrame({"text": text, "number": rng.normal(size=60)})
    clf = MultimodalClassifier(modalities="auto", n_members=1, max_epochs=1, random_state=0)
    lr = {"LR text": make_baselines(Blocks(text=sp.csr_array((60, 2)), x=np.zeros((60, 1))), y)["LR text"]}
    found = compare_fusions(frame, y, estimator=clf, fusions=["concat"], baselines=lr, cv=3)
    same = make_pipeline(ModalityTransformer.from_frame(frame), lr["LR text"])
    expected = cross_val_score(same, frame, y, cv=StratifiedKFold(3), scoring="accuracy")
    np.testing.assert_array_equal(found.scores["LR text"]["accuracy"], expected)
    assert expected.mean() > 0.9


@pytest.mark.filterwarnings("ignore:. of 6 fits, the first is")
def test_a_fold_without_a_class_has_no_score_of_probabilities():
    rng = np.random.default_rng(0)
    y = np.array(["a", "b"] * 15)
    y[[0, 4, 8]] = "c"
    X = Blocks(text=rng.normal(size=(30, 3)), image=rng.normal(size=(30, 2)))
    with pytest.warns(UserWarning, match=r"'concat' on fold 0, have no score \(nan\): neg_log_loss: ValueError"):
        found = compare_fusions(
            X,
            y,
            estimator=small(),
            fusions=["concat"],
            baselines={"LR": make_baselines(X, y, tune=False)["LR text"]},
            cv=KFold(3),
            scoring=["neg_log_loss", "accuracy"],
        )
    assert np.isnan(found.scores["concat"]["log_loss"][0])
    assert np.isfinite(found.scores["concat"]["accuracy"]).all()
    assert "cannot be said: the log_loss of concat or of LR is nan" in found.verdict


def test_refit_fits_the_best_fusion_to_all_samples_and_says_where_a_baseline_is_better(X, y):
    always = {"best": (LogisticRegression(max_iter=1000), ["text"])}
    found = compare_fusions(
        X, y, estimator=small(), fusions=["concat", "late"], baselines=always, cv=2, random_state=0, refit=True
    )
    assert found.best_estimator_.fusion == found.best_fusion
    assert len(found.best_estimator_.oof_prediction_) == N
    first = found.summary["method"][0]
    told = f"best_estimator_ is {found.best_fusion}, fitted to all samples"
    assert (f"{told}, though the baseline best is better." in repr(found)) == (first == "best")
