"""Attributions inside a modality: against formulas, against predictions by hand, and against known evidence."""

import dataclasses
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from conftest import make_block, make_data, small
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from torch import nn

from skmm import (
    Blocks,
    ModalityTransformer,
    MultimodalClassifier,
    MultimodalRegressor,
    SpeechRecognizer,
    list_fusions,
)
from skmm.compression import Distilled
from skmm.datasets import make_multimodal_classification, make_sentiment, make_video_events
from skmm.inspection import attributions
from skmm.preprocessing import LogMel, TextTokens, VideoAudio, VideoFrames

KINDS = ("vector", "sparse", "tokens", "ragged")
PICTURES = ("image", "video")
N = 40


@pytest.fixture(scope="module")
def mixed():
    """One network of most kinds of block, and samples of which the first three lack the vector."""
    X, y = make_data(N, KINDS, n_classes=3, noise=1.0)
    vector = X["vector"].copy()
    vector[:3] = np.nan
    X = Blocks({**dict(X.items()), "vector": vector})
    return small(max_epochs=10).fit(X, y), X, y


@pytest.fixture(scope="module")
def pictures():
    """A network of an image and a video, whose pictures have three channels or none."""
    _, y = make_data(N)
    X = Blocks(image=make_block("image", y, noise=3.0), video=make_block("video", y, noise=0.2))
    return small(max_epochs=30).fit(X, y), X, y


@pytest.fixture
def of_each(mixed, pictures):
    """The network that knows a modality."""
    return lambda modality: pictures if modality in PICTURES else mixed


def log_odds(model, X, places):
    """Of the classes, from the probabilities."""
    p = model.predict_proba(X)[np.arange(len(places)), places]
    return np.log(p) - np.log1p(-p)


def with_block(X, name, block):
    return Blocks({**dict(X.items()), name: block}, present={n: X.present[n] for n in X if n != name})


class Weighing(nn.Module):
    """The sum of a linear layer of each modality that is there."""

    level = "feature"

    def __init__(self, dims):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, 4) for dim in dims.values())
        self.out_dim = 4

    def forward(self, values, present):
        each = zip(self.layers, values, strict=True)
        return sum(torch.where(present[name].unsqueeze(-1), layer(values[name]), 0.0) for layer, name in each)


# -- what they are ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "saliency"])
def test_of_a_linear_model_they_are_coefficients_times_differences(method):
    rng = np.random.RandomState(0)
    X = {"a": 5 + 2 * rng.randn(N, 3), "b": rng.randn(N, 2)}
    y = 10 * X["a"][:, 0] - 3 * X["b"][:, 1] + 100
    model = small(MultimodalRegressor, Weighing, encoders="identity", modality_loss=0, max_epochs=5).fit(X, y)
    network = model.net_.module_.member(0)
    weights = (network.head.weight @ network.fusion.layers[0].weight)[0].detach().numpy() * y.std()
    slopes = weights / X["a"].std(axis=0)
    expected = np.broadcast_to(slopes, X["a"].shape) if method == "saliency" else slopes * (X["a"] - X["a"].mean(0))
    found = attributions(model, X, "a", method=method)
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.output, model.predict(X), rtol=1e-5)
    assert found.unit == "predicted value"
    # from a baseline of one's own the same slopes
    if method != "saliency":
        own = attributions(model, X, "a", method=method, baseline=[4.0, 5.0, 6.0])
        np.testing.assert_allclose(own.values, slopes * (X["a"] - [4, 5, 6]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("modality", [*KINDS, *PICTURES])
def test_they_sum_up_to_the_change_of_the_log_odds(of_each, modality):
    model, X, y = of_each(modality)
    found = attributions(model, X, modality, target=y)
    np.testing.assert_allclose(found.output, log_odds(model, X, y), atol=1e-4)
    assert found.completeness_error.max() < 0.05
    values = found.values.toarray() if sp.issparse(found.values) else found.values
    sums = np.nansum(values.reshape(N, -1), axis=1)
    changed = found.output - found.baseline_output
    np.testing.assert_array_less(np.abs(sums - changed), 0.05 * np.maximum(np.abs(changed), 0.1) + 1e-9)
    assert np.abs(changed).max() > 0.1
    assert found.values.shape[0] == N
    if modality in ("vector", "image", "video", "sparse"):
        assert found.values.shape == X[modality].shape
    else:  # NaN behind the end of a sample
        lengths = X[modality].lengths
        assert found.values.shape[1] == lengths.max()
        there = ~np.isnan(found.values).reshape(N, lengths.max(), -1).any(axis=2)
        np.testing.assert_array_equal(there.sum(axis=1), lengths)


def test_the_baseline_is_the_mean_of_training(mixed):
    model, X, y = mixed
    found = attributions(model, X, "vector", target=y)
    there = X.present["vector"]
    mean = X["vector"][there].mean(axis=0)
    np.testing.assert_allclose(found.baseline, mean, rtol=1e-5)
    without = with_block(X, "vector", np.where(there[:, None], mean, np.nan))
    np.testing.assert_allclose(found.baseline_output, log_odds(model, without, y), atol=1e-4)


@pytest.mark.parametrize("modality", ["vector", "ragged"])
def test_the_baseline_as_used_can_be_given_again(mixed, modality):
    model, X, _ = mixed
    found = attributions(model, X, modality)
    assert found.baseline.shape == X[modality].shape[1:] if modality == "vector" else X[modality].inner_shape
    again = attributions(model, X[3:6], modality, baseline=found.baseline)
    steps = again.values.shape[1]
    np.testing.assert_allclose(again.values, found.values[3:6, :steps], atol=1e-4)


@pytest.mark.parametrize("experts", [None, {"linear": LogisticRegression()}])
def test_an_outlier_hides_nothing_that_changes_on_the_way(experts):
    X, y = make_data(N, ("vector", "ragged"))
    model = small(max_epochs=5, n_members=2, experts=experts).fit(X, y)
    vector, ragged = X["vector"][:2].copy(), X["ragged"][[0, 1]]
    vector[:, :2] = [1e6, -1e6]
    ragged.values[0] = 1e5
    for modality, far in (("vector", vector), ("ragged", ragged)):
        found = attributions(model, with_block(X[:2], modality, far), modality)
        assert found.completeness_error.max() < 0.05
        assert np.abs(found.output - found.baseline_output).max() > 0.1
    # and from a baseline as far away
    found = attributions(model, X[:2], "vector", baseline=[1e6, -1e6, 0, 0, 0, 0])
    assert found.completeness_error.max() < 0.05


def test_a_sample_without_the_modality_has_none(mixed):
    model, X, _ = mixed
    for method in ("integrated_gradients", "occlusion", "saliency"):
        found = attributions(model, X[:6], "vector", method=method)
        assert found.present.tolist() == [False] * 3 + [True] * 3
        assert np.isnan(found.values[:3]).all()
        assert np.isfinite(found.values[3:]).all()
        np.testing.assert_array_equal(found.baseline_output[:3], found.output[:3])
    nothing = attributions(model, X[:2], "vector")
    assert np.isnan(nothing.values).all()
    np.testing.assert_array_equal(nothing.completeness_error, 0)


@pytest.mark.parametrize("modality", ["ragged", "sparse", "tokens"])
def test_the_other_samples_do_not_matter(mixed, modality):
    model, X, _ = mixed
    order = np.random.RandomState(0).permutation(N)
    whole, moved = attributions(model, X, modality), attributions(model, X[order], modality)
    again = attributions(model, X, modality)
    values, other, same = (v.toarray() if sp.issparse(v) else v for v in (whole.values, moved.values, again.values))
    np.testing.assert_array_equal(values, same)
    np.testing.assert_allclose(values[order], other, atol=1e-4)
    alone = attributions(model, X[[5]], modality).values
    alone = alone.toarray() if sp.issparse(alone) else alone
    np.testing.assert_allclose(values[5, : alone.shape[1]], alone[0], atol=1e-4)


@pytest.mark.parametrize("modality", ["vector", "sparse", "tokens", "image"])
def test_occlusion_is_the_fall_of_the_prediction_without_a_part(of_each, modality):
    model, X, y = of_each(modality)
    X, y = X[3:], y[3:]
    baseline = 0 if modality == "image" else None  # which bytes can hold
    found = attributions(model, X, modality, target=y, method="occlusion", baseline=baseline)
    whole, block = log_odds(model, X, y), X[modality]
    if modality == "tokens":
        place, row = 1, 4
        ids = [block[i].copy() for i in range(len(X))]
        ids[row][place] = 999  # unknown, which adds nothing
        fall, own = whole - log_odds(model, with_block(X, "tokens", ids), y), found.values[:, place]
        np.testing.assert_allclose(own[row], fall[row], atol=1e-4)
        return
    if modality == "image":  # of 8 x 8 pixels each is alone
        less = block.copy()
        less[:, 2, 3] = 0
        own = found.values[:, 2, 3]
    elif modality == "sparse":
        less = sp.lil_array(block)
        less[:, 1] = 0
        less, own = less.tocsr(), found.values[:, [1]].toarray()[:, 0]
    else:
        less = block.copy()
        less[:, 1] = found.baseline[1]
        own = found.values[:, 1]
    np.testing.assert_allclose(own, whole - log_odds(model, with_block(X, modality, less), y), atol=1e-4)


def test_what_is_occluded_together_shares_the_fall(mixed, pictures):
    model, X, y = pictures
    found = attributions(model, X, "image", target=y, method="occlusion", window=(4, 8), baseline=0)
    assert (np.ptp(found.values[:, :4], axis=(1, 2)) < 1e-12).all()
    less = X["image"].copy()
    less[:, :4] = 0
    fall = log_odds(model, X, y) - log_odds(model, with_block(X, "image", less), y)
    np.testing.assert_allclose(found.values[:, :4].sum(axis=(1, 2)), fall, atol=1e-4)
    model, X, y = mixed
    steps = attributions(model, X, "ragged", target=y, method="occlusion", window=20)
    fall = steps.output - steps.baseline_output
    np.testing.assert_allclose(np.nansum(steps.over_time(), axis=1), fall, atol=1e-4)


def test_little_at_a_time_gives_the_same(of_each, monkeypatch):
    for modality in ("vector", "tokens", "video"):
        model, X, _ = of_each(modality)
        for method in ("integrated_gradients", "occlusion", "saliency"):
            expected = attributions(model, X[3:9], modality, method=method)
            with monkeypatch.context() as patch:
                patch.setattr("skmm.inspection._attributing._ROWS", 5)
                found = attributions(model, X[3:9], modality, method=method)
            np.testing.assert_allclose(found.values, expected.values, atol=1e-5)


def test_the_estimator_and_the_samples_stay_as_they_are(mixed):
    model, X, _ = mixed
    before, data = pickle.dumps(model), pickle.dumps(X)
    for modality in X:
        attributions(model, X, modality)
    assert pickle.dumps(model) == before
    assert pickle.dumps(X) == data


def test_a_smaller_estimator_is_explained_by_what_predicts():
    X, y = make_data(N, ("vector", "sequence"))
    distilled = Distilled(small(max_epochs=2), small(max_epochs=3), random_state=0).fit(X, y)
    found = attributions(distilled, X, "vector", target=1)
    np.testing.assert_allclose(found.output, log_odds(distilled, X, np.ones(N, dtype=int)), atol=1e-4)
    assert found.completeness_error.max() < 0.05


def test_one_target_for_all_or_one_for_each(mixed):
    model, X, y = mixed
    all_ = [attributions(model, X, "sparse", target=c).values.toarray() for c in range(3)]
    each = attributions(model, X, "sparse", target=y)
    np.testing.assert_allclose(each.values.toarray(), np.array(all_)[y, np.arange(N)], atol=1e-3)
    predicted = attributions(model, X, "sparse")
    np.testing.assert_array_equal(predicted.target, model.predict(X))


def test_labels_and_several_values():
    X, y = make_data(N, ("vector",), n_classes=4)
    both = np.column_stack([y % 2, y // 2])
    model = small(max_epochs=3).fit(X, both)
    with pytest.raises(ValueError, match=r"predicts 2 labels; say which .*, target=\.\.\. of \[0, 1\]"):
        attributions(model, X, "vector")
    found = attributions(model, X, "vector", target=1)
    p = model.predict_proba(X)[:, 1]
    np.testing.assert_allclose(found.output, np.log(p / (1 - p)), atol=1e-4)
    values = both * [1.0, -500.0]
    regressor = small(MultimodalRegressor, max_epochs=3).fit(X, values)
    found = attributions(regressor, X, "vector", target=1)
    np.testing.assert_allclose(found.output, regressor.predict(X)[:, 1], rtol=1e-4)
    assert found.completeness_error.max() < 0.05


def test_trees_keep_what_they_said_and_it_is_told_how_much_that_is():
    X, y = make_data(120, ("vector", "sequence"), noise=2)
    forest = {"forest": (ExtraTreesClassifier(20, random_state=0), ["vector"])}
    model = small(n_members=2, max_epochs=5, experts=forest).fit(X, y)
    model.stack_.weights[:-1] = 0.01  # nearly all of what is said is said by the trees
    X = X[:20]
    with pytest.warns(UserWarning, match=r"the experts \['forest'\] are trees, .* method='occlusion' sees them"):
        found = attributions(model, X, "vector")
    assert found.held_experts == ["forest"]
    assert np.abs(found.unattributed).mean() > np.abs(found.values).sum(axis=1).mean()
    assert found.completeness_error.max() < 0.05
    seen = attributions(model, X, "vector", method="occlusion")
    assert seen.held_experts == []
    np.testing.assert_array_equal(seen.unattributed, 0)
    assert np.abs(seen.values).mean() > 10 * np.abs(found.values).mean()
    other = attributions(model, X, "sequence")  # which the forest does not read
    assert other.held_experts == []
    assert other.completeness_error.max() < 0.05


def test_experts_that_read_summaries_and_counts_have_gradients():
    X, y = make_data(120, ("sequence", "tokens", "image"), noise=2)
    sequence = X["sequence"].copy()
    sequence[:, :, 0] = 1.0  # whose deviation over time is 0, where the root is steepest
    X = with_block(X, "sequence", sequence)
    model = small(n_members=2, max_epochs=5, experts={"linear": LogisticRegression()}).fit(X, y)
    model.stack_.weights[:-1] = 0.01
    for modality in X:
        found = attributions(model, X[:20], modality)
        assert found.held_experts == []
        assert np.isfinite(found.completeness_error).all()
        assert found.completeness_error.max() < 0.05


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:integrated gradients of:UserWarning")  # roots of products are steep at 0
@pytest.mark.parametrize("fusion", list_fusions())
def test_they_sum_up_through_every_fusion(fusion):
    X, y = make_data(N, ("vector", "ragged"), n_classes=3, noise=1.0)
    model = small(fusion=fusion, max_epochs=8).fit(X, y)
    for modality in X:
        found = attributions(model, X, modality)
        assert np.median(found.completeness_error) < 0.05
        assert (found.completeness_error < 0.05).mean() > 0.9
        assert np.abs(found.output - found.baseline_output).max() > 0.1


# -- known evidence ---------------------------------------------------------------------------------------------


def test_the_words_that_were_made_to_tell_are_found():
    bad = {"awful", "terrible", "horrible", "bad", "poor", "weak", "dull", "slow", "flat"}
    good = {"fine", "decent", "pleasant", "good", "strong", "funny", "great", "wonderful", "brilliant"}
    neutral = {"ordinary", "usual", "average"}  # which tell as little as any other word
    reviews = make_sentiment(600, difficulty=0.1, random_state=0)
    table, y = reviews.data[["text"]], np.where(reviews.target > 0, "good", "bad")
    readers = {"tfidf": TfidfVectorizer(), "ids": TextTokens()}
    for name, reader in readers.items():
        pipe = make_pipeline(ModalityTransformer([("text", reader, "text")]), small(n_members=2, experts=None))
        pipe.fit(table[:500], y[:500])
        found = attributions(pipe, table[500:], "text", target="good")
        assert found.completeness_error.max() < 0.05
        if name == "tfidf":
            rows, columns = pipe[0].transform(table[500:])["text"].nonzero()
            words, values = found.names[columns], np.asarray(found.values[rows, columns]).ravel()
        else:
            words, values = found.names[found.names != ""], found.values[found.names != ""]
        kept = np.array([word not in neutral for word in words])
        words, values = words[kept], values[kept]
        tells = np.array([word in bad | good for word in words])
        assert roc_auc_score(tells, np.abs(values)) > 0.9, name
        assert roc_auc_score([word in good for word in words[tells]], values[tells]) > 0.9, name


def test_the_columns_that_were_made_to_tell_are_found():
    X, y = make_multimodal_classification(1000, redundant=0, unique=[0.9, 0.1], synergistic=0, random_state=0)
    apart = np.abs(X["modality_0"][y == 1].mean(axis=0) - X["modality_0"][y == 0].mean(axis=0))
    assert (apart > 0.2).sum() >= 4
    told = X["modality_0"][:, apart > 0.2]
    rng = np.random.RandomState(1)
    noise = told.std() * rng.randn(1000, 20)
    columns = rng.permutation(told.shape[1] + 20)
    X = with_block(X, "modality_0", np.hstack([told, noise])[:, columns])
    model = small(n_members=2, experts=None).fit(X[:800], y[:800])
    for method in ("integrated_gradients", "occlusion"):
        found = attributions(model, X[800:], "modality_0", method=method)
        assert roc_auc_score(columns < told.shape[1], np.abs(found.values).mean(axis=0)) > 0.9


@pytest.mark.slow
def test_the_frames_that_show_and_sound_are_found(tmp_path):
    table, y, truth = make_video_events(tmp_path, 100, difficulty=0.1, random_state=0, return_truth=True)
    sound = make_pipeline(VideoAudio(sample_rate=4000), LogMel(4000, n_mels=16, hop=0.05, window=0.1))
    readers = [("frames", VideoFrames(16, size=12), "frames"), ("sound", sound, "sound")]
    X = ModalityTransformer(readers).fit_transform(table)
    model = small(max_epochs=30, hidden_dim=32, lr="auto").fit(X[:75], y[:75])
    for modality, when, seconds, blur in (("frames", truth.shown, 1, 0), ("sound", truth.heard, 0.05, 0.1)):
        found = attributions(model, X[75:], modality)
        assert found.completeness_error.max() < 0.05
        sums = found.over_time()
        if modality == "frames":  # whose pixels speak for and against
            sums = np.abs(found.values).sum(axis=(2, 3, 4))
        times, start, end = np.arange(sums.shape[1]) * seconds, when[75:, :1], when[75:, 1:]
        shows = (times >= start) & (times < end)
        clear = np.minimum(np.abs(times - start), np.abs(times - end)) >= blur  # frames of sound hear neighbours
        told = np.flatnonzero(np.abs(found.output - found.baseline_output) > 1)  # else there is nothing to find
        scores = [roc_auc_score(shows[i, clear[i]], sums[i, clear[i]]) for i in told]
        assert len(told) > 5
        assert np.mean(scores) > 0.9


def test_sequences_on_disk_have_the_steps_of_those_in_memory(mixed, tmp_path):
    model, X, _ = mixed
    X = X[:8]
    pd.DataFrame({"ragged": [steps.tolist() for steps in X["ragged"]]}).to_parquet(tmp_path / "rows.parquet")
    stored = with_block(X, "ragged", Blocks.from_parquet(tmp_path / "rows.parquet")["ragged"])
    for modality in ("ragged", "vector"):
        found, kept = attributions(model, stored, modality), attributions(model, X, modality)
        np.testing.assert_allclose(found.values, kept.values, atol=1e-5)


def test_blocks_have_the_names_that_are_given(mixed):
    model, X, _ = mixed
    assert attributions(model, X[5:8], "vector").names is None
    assert attributions(model, X[5:8], "vector", feature_names=list("abcdef")).names.tolist() == list("abcdef")
    frame = {**dict(X[5:8].items()), "vector": pd.DataFrame(X["vector"][5:8], columns=list("uvwxyz"))}
    assert attributions(model, frame, "vector").names.tolist() == list("uvwxyz")


# -- wrong input ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "text"}, r"unknown modality 'text', valid are \['vector', 'sparse', 'tokens'"),
        ({"target": 7}, r"unknown class 7, valid are \[0, 1, 2\]"),
        ({"target": "1"}, r"unknown class '1', valid are \[0, 1, 2\]"),
        ({"target": [0, 1]}, "target has 2 entries, one for each sample; there are 40 samples"),
        ({"method": "gradients"}, r"unknown method 'gradients', valid are \['integrated_gradients', 'occlusion'"),
        ({"level": "word"}, r"unknown level 'word'"),
        ({"level": "column"}, r"of modality 'vector' it is not known which columns its features come from"),
        ({"level": "column", "modality": "tokens"}, r"level='column' sums up features .* 'tokens' is tokens"),
        ({"baseline": [1, 2]}, r"baseline of shape \(2,\) does not fit modality 'vector', vector of shape \(6,\)"),
        ({"baseline": np.nan}, "baseline of modality 'vector' holds NaN"),
        ({"baseline": 0, "modality": "tokens"}, "baseline: of modality 'tokens', tokens, nothing is that nothing"),
        ({"window": 2}, "window=2 is of method='occlusion', not of 'integrated_gradients'"),
        ({"window": 0, "method": "occlusion"}, "window=0 must be whole numbers of 1 or more"),
        ({"window": (1, 2), "method": "occlusion"}, r"window=\(1, 2\) must be .* up to 1 axes"),
        ({"modality": ["vector"]}, r"unknown modality \['vector'\], valid are"),
        ({"target": {}}, r"unknown class \{\}, valid are \[0, 1, 2\]"),
        ({"target": np.array("yes")}, "unknown class 'yes'"),
        ({"target": [[0], [1]]}, r"target of shape \(2, 1\) must be one label, or one for each"),
        ({"baseline": [[1], [1, 2]]}, r"baseline of shape \(2,\) does not fit"),
        ({"baseline": "mean"}, r"baseline 'mean' does not fit"),
        ({"feature_names": 3}, "feature_names=3 must be a list of the names of 6 features"),
        ({"feature_names": "abcdef"}, "feature_names='abcdef' must be a list"),
        ({"feature_names": ["a"]}, r"feature_names has 1 names; modality 'vector' \(vector\) has 6"),
        ({"n_steps": 0}, "n_steps must be a positive integer, got 0"),
        ({"tolerance": 0}, "tolerance must be a number above 0"),
    ],
)
def test_wrong_options(mixed, options, message):
    model, X, _ = mixed
    with pytest.raises(ValueError, match=message):
        attributions(model, X, **{"modality": "vector", **options})


def test_estimators_that_have_no_modalities():
    X, y = make_data(20, ("vector",))
    other = LogisticRegression().fit(X["vector"], y)
    instead = r"method='permutation'\), sklearn.inspection.permutation_importance, and the package shap"
    with pytest.raises(TypeError, match=r"got LogisticRegression\. .*" + instead):
        attributions(other, X["vector"], "vector")
    with pytest.raises(TypeError, match="GridSearchCV is a search; give attributions its best_estimator_"):
        search = GridSearchCV(small(max_epochs=1), {"dropout": [0.1]}, cv=2).fit(X, y)
        attributions(search, X, "vector")
    with pytest.raises(TypeError, match="a SpeechRecognizer writes symbols"):
        attributions(SpeechRecognizer(), X, "vector")
    with pytest.raises(NotFittedError):
        attributions(MultimodalClassifier(), X, "vector")


def test_without_captum_the_extra_is_named(mixed, monkeypatch):
    model, X, _ = mixed
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(ImportError, match=r"pip install .*skmm\[explain\]"):
        attributions(model, X, "vector")


def test_too_few_steps_are_told_of_and_a_given_number_is_kept(mixed, monkeypatch):
    model, X, _ = mixed
    assert set(attributions(model, X, "sparse", n_steps=3).n_steps) == {3}
    monkeypatch.setattr("skmm.inspection._attributing.MOST_STEPS", 16)
    with pytest.warns(UserWarning, match=r"of 40 samples miss the change of the output .* tolerance=1e-09"):
        attributions(model, X, "sparse", tolerance=1e-9)


def test_steps_alone_are_summed_over_time(mixed):
    model, X, _ = mixed
    found = attributions(model, X[5:8], "vector")
    with pytest.raises(ValueError, match="modality 'vector' is vector, and has no steps"):
        found.over_time()
    assert found == found
    assert found != attributions(model, X[5:8], "vector")
    assert len({found, found}) == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.values = None
