"""What docs/ecosystem.md says of tools of scikit-learn and of other packages, each cell of its table tried."""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import small
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV, CalibrationDisplay
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 the import itself enables
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import RFE, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import DecisionBoundaryDisplay, partial_dependence, permutation_importance
from sklearn.linear_model import RANSACRegressor
from sklearn.metrics import ConfusionMatrixDisplay, PredictionErrorDisplay, RocCurveDisplay
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
    permutation_test_score,
    validation_curve,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from skmm import Blocks, FlatEstimator, ModalityTransformer, MultimodalClassifier, MultimodalRegressor

TABLE = Path(__file__).parents[1] / "docs" / "ecosystem.md"
N = 40
RNG = np.random.RandomState(0)
Y = np.arange(N) % 2
WORDS = [["dull", "slow", "poor"], ["bright", "fast", "good"]]
TABLE_OF_NUMBERS = RNG.randn(N, 2) + Y[:, None]
FRAME = pd.DataFrame(
    {
        "review": [" ".join(RNG.choice([*WORDS[label], "film"], 3)) for label in Y],
        "price": TABLE_OF_NUMBERS[:, 0],
        "age": TABLE_OF_NUMBERS[:, 1],
    }
)
# of unequal length, and a sample lacks one
WALKS = [None if i == 5 else RNG.randn(RNG.randint(2, 5), 2) + label for i, label in enumerate(Y)]
BLOCKS = Blocks(table=TABLE_OF_NUMBERS, walk=WALKS)
FLAT, LAYOUT = BLOCKS.to_flat(gaps="counted")
TARGETS = {
    "classes": Y,
    "three classes": np.arange(N) % 3,
    "rare class": np.where(np.arange(N) < 30, Y, 0),
    "half known": np.where(np.arange(N) % 4 < 2, Y, -1),
    "labels": np.column_stack([Y, 1 - Y]),
    "values": Y + 0.1 * RNG.randn(N),
    "two values": np.column_stack([Y + 0.5, Y - 0.5]) + 0.1 * RNG.randn(N, 2),
}


def classifier(**params):
    return small(MultimodalClassifier, max_epochs=1, hidden_dim=4, experts=None, **params)


def regressor(**params):
    return small(MultimodalRegressor, max_epochs=1, hidden_dim=4, experts=None, **params)


def of_table(estimator):
    """A pipeline that reads the DataFrame."""
    text = ("text", TfidfVectorizer(), "review")
    return make_pipeline(ModalityTransformer([text, ("table", StandardScaler(), ["price", "age"])]), estimator)


def unchanged(estimator):
    return estimator


# -- how X is given: to what stands inside of the tool, around the tool, and X -------------------------------------

FORMS = {
    "Blocks": (unchanged, unchanged, BLOCKS),
    "flat": (lambda estimator: estimator.set_params(modalities=LAYOUT), unchanged, FLAT),
    "in FlatEstimator": (unchanged, FlatEstimator, BLOCKS),
    "of a pipeline": (of_table, unchanged, FRAME),
    "FlatEstimator in a pipeline": (unchanged, lambda tool: of_table(FlatEstimator(tool)), FRAME),
}


# -- the tools: what is made of a network, or done with one, and for which y ---------------------------------------

cheap = {"cv": 2, "error_score": "raise"}


def boosted(estimator):
    # which wants one that is better than chance
    epochs = next(key for key in estimator.get_params() if key.endswith("max_epochs"))
    return AdaBoostClassifier(estimator.set_params(**{epochs: 30}), n_estimators=2, random_state=0)


ESTIMATORS = {
    "GridSearchCV": (lambda e: GridSearchCV(e, {}, **cheap), "classes"),
    "RandomizedSearchCV": (lambda e: RandomizedSearchCV(e, {}, n_iter=1, **cheap), "classes"),
    "HalvingGridSearchCV": (lambda e: HalvingGridSearchCV(e, {}, min_resources=20, **cheap), "classes"),
    "CalibratedClassifierCV": (lambda e: CalibratedClassifierCV(e, cv=2), "classes"),
    "CalibratedClassifierCV(ensemble=False)": (
        lambda e: CalibratedClassifierCV(e, cv=2, ensemble=False),
        "classes",
    ),
    "TunedThresholdClassifierCV": (lambda e: TunedThresholdClassifierCV(e, cv=2, thresholds=5), "classes"),
    "FixedThresholdClassifier": (FixedThresholdClassifier, "classes"),
    "OneVsRestClassifier": (OneVsRestClassifier, "three classes"),
    "OneVsOneClassifier": (OneVsOneClassifier, "three classes"),
    "OutputCodeClassifier": (lambda e: OutputCodeClassifier(e, code_size=1, random_state=0), "three classes"),
    "MultiOutputClassifier": (MultiOutputClassifier, "labels"),
    "MultiOutputRegressor": (MultiOutputRegressor, "two values"),
    "ClassifierChain": (ClassifierChain, "labels"),
    "ClassifierChain(cv=2)": (lambda e: ClassifierChain(e, cv=2), "labels"),
    "RegressorChain": (RegressorChain, "two values"),
    "VotingClassifier": (lambda e: VotingClassifier([("a", e)], voting="soft"), "classes"),
    "VotingRegressor": (lambda e: VotingRegressor([("a", e)]), "values"),
    "StackingClassifier": (lambda e: StackingClassifier([("a", e)], cv=2), "classes"),
    "StackingClassifier(passthrough=True)": (
        lambda e: StackingClassifier([("a", e)], cv=2, passthrough=True),
        "classes",
    ),
    "StackingRegressor": (lambda e: StackingRegressor([("a", e)], cv=2), "values"),
    "StackingRegressor(passthrough=True)": (
        lambda e: StackingRegressor([("a", e)], cv=2, passthrough=True),
        "values",
    ),
    "BaggingClassifier": (lambda e: BaggingClassifier(e, 2, random_state=0), "classes"),
    "BaggingRegressor": (lambda e: BaggingRegressor(e, 2, random_state=0), "values"),
    "AdaBoostClassifier": (boosted, "classes"),
    "AdaBoostRegressor": (lambda e: AdaBoostRegressor(e, n_estimators=2, random_state=0), "values"),
    "GradientBoostingClassifier(init=...)": (
        lambda e: GradientBoostingClassifier(init=e, n_estimators=2),
        "classes",
    ),
    "SelfTrainingClassifier": (lambda e: SelfTrainingClassifier(e, max_iter=1), "half known"),
    "TransformedTargetRegressor": (
        lambda e: TransformedTargetRegressor(e, transformer=StandardScaler()),
        "values",
    ),
    "RANSACRegressor": (
        lambda e: RANSACRegressor(e, min_samples=20, max_trials=1, random_state=0),
        "values",
    ),
    "SequentialFeatureSelector": (lambda e: SequentialFeatureSelector(e, n_features_to_select=1, cv=2), "classes"),
    "RFE": (lambda e: RFE(e, n_features_to_select=2), "classes"),
}


def frozen(estimator, X, y):
    CalibratedClassifierCV(FrozenEstimator(estimator.fit(X, y))).fit(X, y).predict(X)


def curve_of_folds(estimator, X, y):
    done = cross_validate(estimator, X, y, return_estimator=True, return_indices=True, **cheap)
    RocCurveDisplay.from_cv_results(done, X, y)


def permuted(estimator, X, y):
    permutation_importance(estimator.fit(X, y), X, y, n_repeats=1)


def dependence(estimator, X, y):
    # of the age: the second column of the flat form and the last of the frame
    column = "age" if isinstance(X, pd.DataFrame) else 1
    partial_dependence(estimator.fit(X, y), X, [column], grid_resolution=3, method="brute")


FUNCTIONS = {
    "cross_validate": (lambda e, X, y: cross_validate(e, X, y, **cheap), "classes"),
    "cross_val_predict": (lambda e, X, y: cross_val_predict(e, X, y, cv=2, method="predict_proba"), "classes"),
    "learning_curve": (lambda e, X, y: learning_curve(e, X, y, train_sizes=[1.0], **cheap), "classes"),
    "validation_curve": (
        lambda e, X, y: validation_curve(
            e, X, y, param_name=next(k for k in e.get_params() if k.endswith("lr")), param_range=[0.1], **cheap
        ),
        "classes",
    ),
    "permutation_test_score": (
        lambda e, X, y: permutation_test_score(e, X, y, cv=2, n_permutations=1),
        "classes",
    ),
    "FrozenEstimator": (frozen, "classes"),
    "ConfusionMatrixDisplay": (
        lambda e, X, y: ConfusionMatrixDisplay.from_estimator(e.fit(X, y), X, y),
        "classes",
    ),
    "RocCurveDisplay": (lambda e, X, y: RocCurveDisplay.from_estimator(e.fit(X, y), X, y), "classes"),
    "RocCurveDisplay.from_cv_results": (curve_of_folds, "classes"),
    "CalibrationDisplay": (lambda e, X, y: CalibrationDisplay.from_estimator(e.fit(X, y), X, y), "classes"),
    "PredictionErrorDisplay": (lambda e, X, y: PredictionErrorDisplay.from_estimator(e.fit(X, y), X, y), "values"),
    "DecisionBoundaryDisplay": (lambda e, X, y: DecisionBoundaryDisplay.from_estimator(e.fit(X, y), X), "classes"),
    "permutation_importance": (permuted, "classes"),
    "partial_dependence": (dependence, "classes"),
    "FeatureUnion": (lambda e, X, y: FeatureUnion([("a", e)]).fit(X, y).transform(X), "classes"),
}


# -- of other packages, where they are installed -------------------------------------------------------------------


def split_conformal(name, prefit):
    def use(estimator, X, y):
        module = pytest.importorskip("mapie.classification" if is_classifier(estimator) else "mapie.regression")
        tool = getattr(module, name)(estimator.fit(X, y) if prefit else estimator, prefit=prefit)
        if not prefit:
            tool.fit(X, y)
        tool.conformalize(X, y)
        getattr(tool, "predict_set" if is_classifier(estimator) else "predict_interval")(X)

    return use


def cross_conformal(name):
    def use(estimator, X, y):
        module = pytest.importorskip("mapie.classification" if is_classifier(estimator) else "mapie.regression")
        tool = getattr(module, name)(estimator, **({"resampling": 3} if "Jack" in name else {"cv": 2}))
        tool.fit_conformalize(X, y)
        getattr(tool, "predict_set" if is_classifier(estimator) else "predict_interval")(X)

    return use


def quantiles(estimator, X, y):
    regression = pytest.importorskip("mapie.regression")
    at = next(key for key in estimator.get_params() if key.endswith("alpha")).removesuffix("alpha")
    each = []
    for alpha in (0.1, 0.9, 0.5):
        given = {f"{at}loss": "quantile", f"{at}alpha": alpha}
        each.append(clone(estimator).set_params(**given).fit(X, y))
    tool = regression.ConformalizedQuantileRegressor(each, prefit=True, confidence_level=0.8)
    tool.conformalize(X, y)
    tool.predict_interval(X)


def reported(use):
    def look(estimator, X, y):
        skore = pytest.importorskip("skore")
        given = {"X_train": X, "y_train": y, "X_test": X, "y_test": y, "pos_label": 1}
        use(skore.EstimatorReport(estimator, **given))

    return look


def report_of_folds(estimator, X, y):
    pytest.importorskip("skore").CrossValidationReport(estimator, X, y, splitter=2).metrics.accuracy()


def sampled(module, name):
    def make(estimator):
        sampler = getattr(pytest.importorskip(f"imblearn.{module}"), name)(random_state=0)
        steps = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
        return pytest.importorskip("imblearn.pipeline").make_pipeline(*steps[:-1], sampler, steps[-1])

    return make


def balanced(name):
    return lambda e: getattr(pytest.importorskip("imblearn.ensemble"), name)(estimator=e, n_estimators=2)


ESTIMATORS |= {
    "imblearn: RandomOverSampler": (sampled("over_sampling", "RandomOverSampler"), "rare class"),
    "imblearn: SMOTE": (sampled("over_sampling", "SMOTE"), "rare class"),
    "imblearn: RandomUnderSampler": (sampled("under_sampling", "RandomUnderSampler"), "rare class"),
    "imblearn: BalancedBaggingClassifier": (balanced("BalancedBaggingClassifier"), "rare class"),
    "imblearn: EasyEnsembleClassifier": (balanced("EasyEnsembleClassifier"), "rare class"),
}
FUNCTIONS |= {
    "MAPIE: SplitConformalClassifier": (split_conformal("SplitConformalClassifier", False), "classes"),
    "MAPIE: SplitConformalClassifier(prefit=True)": (split_conformal("SplitConformalClassifier", True), "classes"),
    "MAPIE: CrossConformalClassifier": (cross_conformal("CrossConformalClassifier"), "classes"),
    "MAPIE: SplitConformalRegressor": (split_conformal("SplitConformalRegressor", False), "values"),
    "MAPIE: SplitConformalRegressor(prefit=True)": (split_conformal("SplitConformalRegressor", True), "values"),
    "MAPIE: CrossConformalRegressor": (cross_conformal("CrossConformalRegressor"), "values"),
    "MAPIE: JackknifeAfterBootstrapRegressor": (cross_conformal("JackknifeAfterBootstrapRegressor"), "values"),
    "MAPIE: ConformalizedQuantileRegressor(prefit=True)": (quantiles, "values"),
    "skore: EstimatorReport": (reported(lambda report: report.metrics.summarize().frame()), "classes"),
    "skore: CrossValidationReport": (report_of_folds, "classes"),
    "skore: permutation_importance": (
        reported(lambda report: report.inspection.permutation_importance(n_repeats=1)),
        "classes",
    ),
    "skore: the report in a notebook": (reported(lambda report: report._repr_html_()), "classes"),
}


def attempt(tool, form):
    """Use a tool on one form of the samples."""
    inside, around, X = FORMS[form]
    use, target = (ESTIMATORS | FUNCTIONS)[tool]
    y = TARGETS[target]
    network = inside(regressor() if "value" in target else classifier())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tools themselves
        if tool in FUNCTIONS:
            use(around(network), X, y)
        else:
            fitted = around(use(network)).fit(X, y)
            if hasattr(fitted, "predict"):
                assert len(fitted.predict(X)) == N


# -- the table -----------------------------------------------------------------------------------------------------


def read_table():
    """What the page says of each tool and form, "yes" or "no"."""
    rows = [line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines() if re.match(r"\| `", line)]
    return {(tool.strip("`"), form): cell for tool, *cells in rows for form, cell in zip(FORMS, cells, strict=True)}


SAYS = read_table()
# of each tool the first form that works is tried by default
FIRST = {tool: form for (tool, form), cell in reversed(SAYS.items()) if cell == "yes"}


def test_the_page_lists_the_tools_that_are_tried():
    assert [tool for tool, form in SAYS if form == "Blocks"] == [*ESTIMATORS, *FUNCTIONS]
    assert set(SAYS.values()) == {"yes", "no"}


@pytest.mark.parametrize(
    ("tool", "form"),
    [pytest.param(*key, marks=[] if FIRST.get(key[0]) == key[1] else [pytest.mark.slow]) for key in SAYS],
)
def test_the_page_says_what_happens(tool, form):
    if SAYS[tool, form] == "yes":
        attempt(tool, form)
        return
    if tool.partition(":")[0] in ("MAPIE", "imblearn", "skore"):
        pytest.importorskip(tool.partition(":")[0].lower())
    with pytest.raises((ValueError, TypeError, IndexError, UserWarning)):
        attempt(tool, form)
