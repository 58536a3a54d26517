"""The report: what it says is so, nothing in it is taken for markup, and it is one file that needs nothing else."""

import json
import os
import re
import sys
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import make_data, small
from huggingface_hub import ModelCard
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skmm
from skmm import Blocks, MultimodalRegressor, SpeechRecognizer
from skmm.datasets import make_spoken_sequences
from skmm.model_selection import FusionComparison
from skmm.preprocessing.audio import LogMel
from skmm.reporting import Report
from skmm.reporting._scores import Classes, Labels, Values, drawn_scores
from skmm.table import Table

EVIL = "<script>alert(1)</script>|`x`\n$y$ 'q\" {z} </style>"
QUICK = {"n_bootstrap": 10, "random_state": 0}
FIELDS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss", "auroc", "brier")


class Page(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.inside = [], "", ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside != "style":
            self.text += data

    def handle_endtag(self, tag):
        self.inside = ""

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def assert_needs_nothing_else(html):
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form", "a", "audio", "video"}
    for _, attrs in page.elements:
        assert not [name for name in attrs if name.startswith("on") or name in ("href", "action", "srcset")]
        assert attrs.get("src", "data:").startswith("data:image/svg+xml;base64,") or "src" not in attrs
    assert "url(" not in html
    assert "@import" not in html
    assert len(html.encode()) < 1_000_000
    return page


def samples(seed, n=90):
    X, y = make_data(n, kinds=("vector", "sequence"), n_classes=3, seed=seed)
    there = np.arange(n) % 4 > 0
    return Blocks({"words": X["vector"], EVIL: X["sequence"]}, present={EVIL: there}), np.array(["a", "b", EVIL])[y]


@pytest.fixture(scope="module")
def model():
    return small(n_members=2, max_epochs=4, experts=None, modality_dropout=0.2).fit(*samples(0))


@pytest.fixture(scope="module")
def test():
    return samples(0, 60)


@pytest.fixture(scope="module")
def whole(model, test):
    """A report with all that it can have."""
    return skmm.report(
        model,
        *test,
        groups={EVIL: np.arange(60) % 2, "year": np.arange(60)},
        baselines={EVIL: DummyClassifier(strategy="prior").fit(test[0], test[1])},
        comparison=comparison(),
        worst=5,
        title=EVIL,
        **QUICK,
    )


def comparison(name=EVIL):
    summary = Table(
        [
            {"method": name, "kind": "fusion", "accuracy": 0.75, "accuracy_std": 0.0125, "fit_time": 1.5},
            {"method": "LR", "kind": "baseline", "accuracy": 0.5, "accuracy_std": 0.02, "fit_time": 0.1},
        ]
    )
    differences = Table([{"fusion": name, "baseline": "LR", "difference": 0.25, "low": 0.125, "high": 0.375}])
    scores = {name: {"accuracy": np.array([0.7, 0.8])}, "LR": {"accuracy": np.array([0.4, 0.6])}}
    return FusionComparison(
        summary, differences, scores, "accuracy", 0.95, {"mfb": f"too wide {name}"}, [f"{name} tells"]
    )


# -- what it says ------------------------------------------------------------------------------------------------


def test_the_name_stays_the_function_beside_its_folder():
    import skmm.reporting

    assert callable(skmm.report)
    assert skmm.report is skmm.reporting.report


def test_the_answer_stands_on_top(whole):
    better, baseline = whole.answer
    assert better.startswith("Better than guessing: of 60 rows it gets ")
    assert "always answering the most frequent class" in better
    assert re.search(r"gets [\d.]+% right \(95% interval [\d.]+% to [\d.]+%\)", better)
    assert "the best baseline" in baseline
    page = Page(whole.to_html())
    assert page.text.index(better[:40]) < page.text.index("The data")


def test_every_section_is_there(whole):
    text = Page(whole.to_html()).text
    for heading in ("The data", "Is it any good?", "What it relies on", "Where it fails", "How it was made"):
        assert heading in text
    for said in (
        "25.0%",
        "n_members",
        "balanced accuracy",
        "AUROC",
        "expected calibration error",
        "quarter 1",
        "Synergy",
    ):
        assert said in text
    assert "0.7500 ± 0.0125" in text


def test_scores_are_of_these_rows_and_have_intervals(model, test, whole):
    X, y = test
    row = next(iter(whole.scores))
    assert list(whole.scores["metric"]) == list(FIELDS)
    assert row["score"] == pytest.approx(model.score(X, y))
    assert row["low"] <= row["score"] <= row["high"]
    assert row["guessing"] == pytest.approx(1 / 3)


def test_a_model_that_guesses_is_not_called_good(test):
    X, y = test
    guess = DummyClassifier(strategy="uniform", random_state=0).fit(X, y)
    found = skmm.report(guess, X, y, importances=None, n_bootstrap=200)
    assert found.answer[0].startswith(("Not shown to be better than guessing", "Worse than guessing"))
    assert found.answer[1].startswith("Whether a simpler model does as well is not said")


def test_a_better_baseline_is_said(model, test):
    class Knows(BaseEstimator):
        def fit(self, X, y):
            self.classes_, self.y_ = np.unique(y), y
            return self

        def predict(self, X):
            return self.y_

        def __sklearn_tags__(self):
            return DummyClassifier().__sklearn_tags__()

    X, y = test
    wrong = DummyClassifier(strategy="most_frequent").fit(X, y)
    found = skmm.report(wrong, X, y, baselines=[Knows().fit(X, y)], importances=None, **QUICK)
    assert found.answer[1].startswith("It is worse than the best baseline, “Knows”: -66.7 points")


def test_the_same_rows_give_the_same_report(model, test):
    first, second = (skmm.report(model, *test, **QUICK) for _ in range(2))
    assert first.to_html() == second.to_html()


def test_rows_that_may_have_trained_are_pointed_out(model):
    assert (
        "every score of this report is too good"
        in skmm.report(model, *samples(0), importances=None, **QUICK).to_markdown()
    )


def test_single_rows_are_shown_only_on_request():
    frame = pd.DataFrame({"x": np.arange(20.0), "who": [f"person {i}" for i in range(20)]})
    y = np.arange(20) % 2
    model = make_pipeline(_Column(), LogisticRegression()).fit(frame, y)
    quiet = skmm.report(model, frame, y, importances=None, **QUICK)
    assert "person" not in quiet.to_html() + quiet.to_markdown() + quiet.to_model_card()
    assert "Single rows are not shown" in quiet.to_markdown()
    shown = skmm.report(model, frame, y, importances=None, worst=2, **QUICK).to_markdown()
    assert len(re.findall(r"person \d+", shown)) == 2


class _Column(BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X[["x"]].to_numpy()


def test_warnings_stand_in_the_report_and_go_nowhere_else(test):
    X, y = samples(0)
    never = small(max_epochs=1).fit(X, y)
    text = skmm.report(never, *test, **QUICK).to_markdown()  # a warning would be an error here
    assert "was trained without modality\\_dropout" in text


def test_importances_can_be_given_left_out_or_sampled(model, test, whole):
    assert "This was not asked for" in skmm.report(model, *test, importances=None, **QUICK).to_markdown()
    given = skmm.report(model, *test, importances=whole.importances, **QUICK)
    assert given.importances is whole.importances
    few = skmm.report(model, *test, n_rows=20, **QUICK).to_markdown()
    assert "Measured on 20 of the 60 rows" in few


def test_errors_are_told_apart_by_group(model, test):
    X, y = test
    y = np.where(np.arange(60) < 10, np.roll(y, 1), y)
    groups = pd.Series(np.where(model.predict(X) == y, "right ones", "wrong ones"), name="kind")
    text = skmm.report(model, X, y, groups=groups, importances=None, **QUICK).to_markdown()
    assert re.search(r"\| right ones \| \d+ \| 1.0000 \|", text)
    assert re.search(r"\| wrong ones \| \d+ \| 0.0000 \|", text)


# -- scores --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 4])
def test_scores_of_classes_are_those_of_scikit_learn(n_classes):
    rng = np.random.default_rng(0)
    truth, weights = np.arange(80) % n_classes, rng.integers(1, 4, 80)
    proba = rng.dirichlet(np.ones(n_classes), 80).round(1) + 1e-3  # with ties
    proba /= proba.sum(axis=1, keepdims=True)
    said = proba.argmax(axis=1)
    found = Classes(truth, said, proba, list(map(str, range(n_classes)))).scores(weights)
    options = {"sample_weight": weights}
    scored = proba[:, 1] if n_classes == 2 else proba
    rows = np.repeat(np.arange(80), weights)
    expected = {
        "accuracy": accuracy_score(truth, said, **options),
        "balanced_accuracy": balanced_accuracy_score(truth, said, **options),
        "f1_macro": f1_score(truth, said, average="macro", **options),
        "log_loss": log_loss(truth, proba, **options),
        "auroc": roc_auc_score(truth[rows], scored[rows], multi_class="ovr"),
        "brier": brier_score_loss(truth, scored, **options),
    }
    assert found == pytest.approx(expected)


def test_scores_of_labels_and_values_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth, proba, weights = rng.integers(0, 2, (50, 3)), rng.random((50, 3)), rng.integers(0, 3, 50)
    said = (proba > 0.5).astype(int)
    found = Labels(truth, said, proba, ["a", "b", "c"]).scores(weights)
    assert found["exact"] == pytest.approx(accuracy_score(truth, said, sample_weight=weights))
    assert found["f1_macro"] == pytest.approx(f1_score(truth, said, average="macro", sample_weight=weights))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, proba, sample_weight=weights))
    values, guess = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    found = Values(values, guess).scores(weights)
    assert found["r2"] == pytest.approx(r2_score(values, guess, sample_weight=weights))
    assert found["mae"] == pytest.approx(mean_absolute_error(values, guess, sample_weight=weights))
    one = Values(values[:, :1], guess[:, :1]).scores(weights)
    assert one["rmse"] == pytest.approx(root_mean_squared_error(values[:, 0], guess[:, 0], sample_weight=weights))


def test_a_class_that_was_not_drawn_leaves_the_area_out():
    proba = np.array([[0.2, 0.8], [0.7, 0.3]])
    outcome = Classes(np.array([1, 0]), np.array([1, 0]), proba, ["a", "b"])
    assert np.isnan(outcome.scores(np.array([2, 0]))["auroc"])


def test_draws_of_groups_take_whole_groups():
    seen = []
    drawn_scores([lambda w: seen.append(w) or {}], 6, [0, 0, 0, 1, 1, 1], 5, 0)
    assert all(len(set(w[:3])) == 1 and len(set(w[3:])) == 1 for w in seen)


# -- kinds of estimators -------------------------------------------------------------------------------------------


def test_a_regressor():
    X, _ = make_data()
    y = 100 + 3 * X["vector"][:, 0]
    model = small(MultimodalRegressor, max_epochs=3, modality_dropout=0.2).fit(X, y)
    found = skmm.report(model, X, y, worst=2, **QUICK)
    page = assert_needs_nothing_else(found.to_html())
    assert found.scores["metric"] == ["r2", "mae", "rmse"]
    assert "where always answering the mean is off by" in found.answer[0]
    assert "From the lowest to the highest predictions" in page.text
    assert any("predicted value" in image["alt"] for image in page.all("img"))


def test_labels():
    X, y = make_data()
    Y = pd.DataFrame({EVIL: y, "other": 1 - y})
    found = skmm.report(small(max_epochs=2, modality_dropout=0.2).fit(X, Y), X, Y, worst=2, **QUICK)
    assert found.scores["metric"][:3] == ["label_accuracy", "exact", "f1_macro"]
    assert EVIL.split("\n")[0] in assert_needs_nothing_else(found.to_html()).text


class Hears(BaseEstimator):
    """A recogniser that repeats what it is told to."""

    def fit(self, X, y):
        self.said_ = list(y)
        return self

    def predict(self, X):
        return np.array(self.said_, dtype=object)

    def emissions(self, X):
        raise NotImplementedError


def test_transcripts():
    X = Blocks(audio=np.zeros((3, 5, 2)))
    found = skmm.report(Hears().fit(X, ["one two", "tree", ""]), X, ["one two", "three", "four"], worst=3, **QUICK)
    assert found.scores["metric"] == ["word_error_rate", "character_error_rate"]
    assert found.scores["score"][0] == pytest.approx(2 / 4)
    assert "hearing nothing gets 100.0% wrong" in found.answer[0]


def test_an_estimator_of_scikit_learn_on_a_table():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"told": rng.normal(size=60), "noise": rng.normal(size=60)})
    y = (frame["told"] > 0).to_numpy()
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2
    )
    found = skmm.report(search.fit(frame, y), frame, y, **QUICK)
    assert found.importances.table["modality"] == ["told", "noise"]
    text = found.to_markdown()
    assert "was left out: that needs modalities" in text
    assert "chosen by the search" in text
    bare = skmm.report(LogisticRegression().fit(frame.to_numpy(), y), frame.to_numpy(), y, **QUICK)
    assert bare.importances is None
    assert "neither modalities nor a table" in bare.to_markdown()


def test_an_estimator_without_probabilities():
    X = np.arange(20.0)[:, None]
    y = X[:, 0] > 9

    class Plain(LogisticRegression):
        predict_proba = property()

    found = skmm.report(Plain().fit(X, y), X, y, **QUICK)
    assert found.scores["metric"] == ["accuracy", "balanced_accuracy", "f1_macro"]
    assert "Of its probabilities nothing can be said" in found.to_markdown()


def test_a_classifier_of_a_table_that_it_typed_itself():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    frame = pd.DataFrame(
        {
            "price": rng.normal(size=60) + y,
            "text": [f"word{i % 5} word{i % 7} film" for i in range(60)],
        }
    )
    model = small(modalities="auto", max_epochs=2, modality_dropout=0.2).fit(frame, y)
    text = Page(skmm.report(model, frame, y, **QUICK).to_html()).text
    assert "Columns of the table" in text
    assert "modalities as the model reads them" in text


def test_a_comparison_reports_itself(tmp_path):
    found = comparison().report(tmp_path / "comparison.html", title=EVIL)
    page = assert_needs_nothing_else((tmp_path / "comparison.html").read_text())
    assert "alert(1)" in page.text
    assert found.answer[1].startswith("Deep fusion helps here")
    assert "mfb” is left out: too wide" in page.text
    assert "tells." in page.text
    with pytest.raises(ValueError, match="a model card is of one estimator"):
        found.to_model_card()


# -- one file that is taken for nothing else ----------------------------------------------------


def test_nothing_is_loaded_run_or_taken_for_markup(whole):
    page = assert_needs_nothing_else(whole.to_html())
    assert page.text.count("<script>alert(1)</script>") >= 5
    policy = next(attrs for attrs in page.all("meta") if "http-equiv" in attrs)
    assert policy["content"].startswith("default-src 'none'")
    assert len(page.all("img")) >= 6
    assert all(image["alt"] for image in page.all("img"))


def test_a_notebook_shows_it(whole):
    page = assert_needs_nothing_else(whole._repr_html_())
    assert not page.all("html")
    assert whole.answer[0] in page.text


def test_nothing_is_markup_in_markdown(whole):
    text = whole.to_markdown()
    assert "<script" not in text
    assert "alert(1)" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert tables
    for above, below in pairwise(tables):
        if set(below) <= set("|:- "):  # the rule below a head
            assert len(re.findall(r"(?<!\\)\|", above)) == len(re.findall(r"(?<!\\)\|", below))
    assert "`x`" not in text.replace("\\`", "")


def test_many_modalities_and_classes_stay_small():
    rng = np.random.default_rng(0)
    which = np.arange(120) % 60
    y = np.array([f"{c} {'long ' * 30}" for c in which])
    X = Blocks({f"{i} {'name ' * 30}": rng.normal(size=(120, 2)) + which[:, None] for i in range(12)})
    model = small(max_epochs=1, modality_dropout=0.2).fit(X, y)
    found = skmm.report(model, X, y, worst=100, n_bootstrap=2)
    text = assert_needs_nothing_else(found.to_html()).text
    assert "when it is taken from all others" in text
    assert "What is confused most often" in text


def test_without_matplotlib_tables_say_it_all(model, test, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    page = assert_needs_nothing_else(skmm.report(model, *test, **QUICK).to_html())
    assert not page.all("img")
    assert "There are no figures, since the package 'matplotlib' cannot be imported" in page.text
    assert "Confusion matrix" in page.text


def test_the_user_s_own_style_of_figures_is_not_touched(model, test):
    import matplotlib

    before = dict(matplotlib.rcParams)
    skmm.report(model, *test, importances=None, **QUICK)
    assert dict(matplotlib.rcParams) == before


def test_a_model_card_is_read_by_hubs(whole, tmp_path):
    whole.save(tmp_path / "README.md", kind="card")
    text = (tmp_path / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["library_name"] == "skmm"
    assert "license" not in head
    assert {"skmm", "multimodal", "classification"} <= set(head["tags"])
    card = ModelCard(text)
    results = card.data.eval_results
    assert [result.metric_type for result in results][:2] == ["accuracy", "balanced_accuracy"]
    assert results[0].metric_value == pytest.approx(whole.scores["score"][0])
    assert "<script" not in text.split("---\n")[2]
    assert json.dumps(whole.title) in text


# -- files, and bad input ------------------------------------------------------------------------------------------


def test_the_ending_says_what_is_written(model, test, tmp_path):
    for name, begins in {"a.html": "<!DOCTYPE html>", "b.md": "# ", "c.HTM": "<!DOCTYPE html>"}.items():
        (tmp_path / name).write_text("older")
        found = skmm.report(model, *test, tmp_path / name, importances=None, **QUICK)
        assert isinstance(found, Report)
        assert (tmp_path / name).read_text().startswith(begins)
    assert sorted(os.listdir(tmp_path)) == ["a.html", "b.md", "c.HTM"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("report.pdf", ValueError, "does not say what to write"),
        ("report", ValueError, "end it in one of"),
        ("nowhere/report.html", FileNotFoundError, "there is no folder"),
        ("folder.html", IsADirectoryError, "is a folder"),
    ],
)
def test_a_file_that_cannot_be_is_refused_before_anything_is_computed(tmp_path, name, error, message):
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(error, match=message):
        skmm.report(None, None, None, tmp_path / name)


def test_a_folder_that_cannot_be_written_is_refused(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="read-only for you"):
        whole.save(tmp_path / "report.html")
    with pytest.raises(ValueError, match="unknown kind 'pdf', valid are"):
        whole.save(tmp_path / "report.html", kind="pdf")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": None}, ValueError, "y is None; whether an estimator is any good"),
        ({"y": ["a", "b"]}, ValueError, "X has 60 samples, y has 2"),
        ({"y": ["x"] * 60}, ValueError, r"y has the classes \['x'\], the estimator knows"),
        ({"y": ["a"] * 59 + [None]}, ValueError, "y lacks the class of row 59"),
        ({"estimator": small()}, NotFittedError, "not fitted"),
        ({"estimator": "model"}, TypeError, "an estimator that predicts, got str"),
        ({"groups": [1, 2]}, ValueError, "groups 'group' has 2 entries, X has 60 samples"),
        ({"groups": np.zeros((60, 2))}, ValueError, "one column, or several by name"),
        ({"baselines": ["LR"]}, ValueError, "'LR', which does not predict"),
        ({"baselines": {"new": LogisticRegression()}}, NotFittedError, "not fitted"),
        ({"baselines": [DummyClassifier().fit([[0]], [0])] * 2}, ValueError, "baselines of one type need names"),
        ({"comparison": 3}, TypeError, "what compare_fusions returned, got int"),
        ({"importances": "all"}, ValueError, "unknown importances 'all'"),
        ({"worst": -1}, ValueError, "worst == -1, must be >= 0"),
        ({"n_rows": 0}, ValueError, "n_rows == 0"),
        ({"confidence": 95}, ValueError, "confidence == 95"),
    ],
)
def test_what_no_report_can_be_of(model, test, change, error, message):
    given = {"estimator": model, "X": test[0], "y": test[1], "importances": None, **change}
    with pytest.raises(error, match=message):
        skmm.report(**given)


def test_numbers_are_asked_of_a_regressor():
    model = LinearRegression().fit(np.zeros((4, 1)), np.arange(4.0))
    with pytest.raises(ValueError, match="predicts numbers, and y holds 'a'"):
        skmm.report(model, np.zeros((4, 1)), np.array(list("abcd")))
    wrong = DummyClassifier().fit(np.zeros((4, 1)), np.arange(4))
    with pytest.raises(ValueError, match="'most' is a DummyClassifier, which has no scores in common"):
        skmm.report(model, np.zeros((4, 1)), np.arange(4), baselines={"most": wrong})
    with pytest.raises(ValueError, match="y lacks the target of row 2"):
        skmm.report(model, np.zeros((4, 1)), [0, 1, np.nan, 2])


def test_classes_that_the_model_does_not_know_count_as_wrong(model, test):
    X, y = test
    y = y.astype(object)
    y[:6] = f"new {EVIL}"
    found = skmm.report(model, X, y, **QUICK)
    assert found.scores["metric"] == ["accuracy", "balanced_accuracy", "f1_macro"]
    assert found.importances is not None
    text = assert_needs_nothing_else(found.to_html()).text
    assert "6 rows are of classes that the model does not know" in text


def test_a_score_that_fails_on_a_set_leaves_importances_out(test):
    class Picky(DummyClassifier):
        def predict(self, X):
            if not X.present["words"].all():
                raise RuntimeError("no words, no answer")
            return super().predict(X)

    X, y = test
    found = skmm.report(Picky().fit(X, y), X, y, **QUICK)
    assert found.importances is None
    assert "could not be measured" in found.to_markdown()
    assert "no words, no answer" in found.to_markdown()


@pytest.mark.slow
def test_a_recogniser_of_speech():
    spoken, y = make_spoken_sequences(60, n_words=(1, 2), n_syllables=3, difficulty=0.1, random_state=0)
    X = Blocks(audio=LogMel(8000, n_mels=20).fit_transform(spoken["audio"]), expected=spoken["context"])
    quick = {"subsampling": (4,), "hidden_dim": 32, "dropout": 0.0, "lr": 0.01, "batch_size": 4, "max_epochs": 8}
    model = SpeechRecognizer(encoders={"audio": "gru"}, **quick, random_state=0).fit(X[:40], y[:40])
    found = skmm.report(model, X[40:], y[40:], **QUICK)
    assert found.scores["metric"] == ["word_error_rate", "character_error_rate"]
    assert found.importances.table["modality"][0] == "audio"
    assert "have no audio" not in found.to_markdown()  # it was taken away to see what it is worth
