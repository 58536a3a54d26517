"""Files that run nothing: what is read is what was written."""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import KINDS, SELF_CONTAINED, TASKS, ensemble, every_fusion, make_data, make_task, outputs, small
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

import skmm
from skmm import (
    Blocks,
    Encoder,
    Fusion,
    ModalityTransformer,
    MultimodalClassifier,
    Optimizer,
    SpeechRecognizer,
)
from skmm.augmentation import GaussianNoise, Mixup
from skmm.model_selection import FusionSearchCV
from skmm.spec import ENCODERS

HERE = Path(__file__).parent


@pytest.fixture
def file(tmp_path):
    return tmp_path / "m.skmm"


def through(estimator, file, *, trusted=(), **options):
    """The estimator, written and read."""
    skmm.save(estimator, file, **options)
    return skmm.load(file, trusted=trusted)


def assert_same_bits(again, estimator, X):
    """Predictions are equal to the last bit, and the one that was read is of the same type and parameters."""
    assert type(again) is type(estimator)
    np.testing.assert_array_equal(outputs(again, X), outputs(estimator, X))
    np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
    assert repr(again) == repr(estimator)


# -- every estimator ----------------------------------------------------------------------------------------------


@every_fusion
@pytest.mark.parametrize("n_members", [1, 2])
def test_every_fusion(file, fusion, n_members):
    X, y = make_data(24)
    clf = small(fusion=fusion, n_members=n_members, max_epochs=1, experts=None, hidden_dim=8).fit(X, y)
    again = through(clf, file)
    assert_same_bits(again, clf, X)
    np.testing.assert_array_equal(again.transform(X), clf.transform(X))


ENCODED = [(name, kind) for name in SELF_CONTAINED for kind in ENCODERS[name].kinds]


@pytest.mark.parametrize(("encoder", "kind"), ENCODED)
def test_every_encoder(file, encoder, kind):
    X, y = make_data(16, kinds=(kind,))
    clf = small(fusion="sum", encoders=encoder, max_epochs=1, hidden_dim=8, n_members=2, experts=None).fit(X, y)
    assert_same_bits(through(clf, file), clf, X)


def test_every_kind_of_block_with_gaps(file):
    X, y = make_data(40, kinds=KINDS)
    X = Blocks({**X, "vector": np.where(np.arange(40)[:, None] < 5, np.nan, X["vector"])})
    clf = ensemble(fusion="gated", modality_dropout=0.2, sparse_components=3, max_epochs=2).fit(X, y)
    again = through(clf, file)
    assert_same_bits(again, clf, X)
    lacking = Blocks({name: X[name] for name in ("vector", "image", "tokens")})
    assert_same_bits(again, clf, lacking)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_experts(file, task):
    cls, X, y = make_task(task, n=100)
    est = ensemble(cls, experts="auto", max_epochs=1, n_members=2).fit(X, y)
    again = through(est, file)
    assert_same_bits(again, est, X)
    assert again.score(X, y) == est.score(X, y)
    assert again.stack_weights_.to_markdown() == est.stack_weights_.to_markdown()
    assert again.oof_score_ == est.oof_score_


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile"])
def test_every_loss(file, loss):
    cls, X, y = make_task("one target", n=30)
    reg = small(cls, loss=loss, max_epochs=2).fit(X, y)
    again = through(reg, file, training_state=True)
    assert_same_bits(again, reg, X)
    assert_same_bits(again.partial_fit(X, y), reg.partial_fit(X, y), X)


def test_experts_of_the_users_own(file):
    X, y = make_data(60)
    experts = {"boosted": _boosting(), "linear": (make_pipeline(StandardScaler(), LogisticRegression()), "vector")}
    clf = ensemble(experts=experts, max_epochs=1).fit(X, y)
    assert_same_bits(through(clf, file), clf, X)


def _boosting():
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=5)


def test_words_as_classes_weights_and_specs(file):
    X, y = make_data(40)
    clf = small(
        fusion=Fusion("mfb", factor=3),
        encoders={"vector": Encoder("mlp", hidden_dim=5), "sequence": "gru"},
        class_weight={"yes": 2.0, "no": 1.0},
        optimizer=Optimizer("sgd", momentum=0.5),
        augment={"vector": GaussianNoise(0.1), "*": Mixup()},
        early_stopping=True,
        max_epochs=3,
    ).fit(X, np.where(y == 1, "yes", "no"))
    again = through(clf, file)
    assert_same_bits(again, clf, X)
    assert again.class_weight == clf.class_weight
    assert again.history_ == clf.history_
    assert again.history_ is again.net_.history


def test_a_table_of_numbers(file):
    X, y = make_data(40)
    X, layout = X.to_flat()
    for modalities in (None, layout, {"a": [0, 1], "b": slice(2, 9)}):
        clf = small(modalities=modalities, max_epochs=1).fit(X, y)
        assert_same_bits(through(clf, file), clf, X)


FRAME = pd.DataFrame(
    {
        "text": ["a good film", "a bad plot", "the old story", "dull and poor", "fine, nice"] * 12,
        "price": np.arange(60) * 1.5,
        "kind": ["new", "old", None] * 20,
        "day": pd.date_range("2024-01-01", periods=60, freq="37h"),
        "cells": [np.arange(4.0) + i % 3 for i in range(60)],
    }
)
LABELS = np.arange(60) % 2


def test_a_frame_whose_columns_say_what_they_are(file):
    clf = small(modalities="auto", max_epochs=1).fit(FRAME, LABELS)
    assert_same_bits(through(clf, file), clf, FRAME)
    assert_same_bits(skmm.load(file), clf, FRAME.iloc[::-1])


def test_pipelines(file):
    table = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["kind"]), remainder="drop")
    transformer = ModalityTransformer([("text", TfidfVectorizer(), "text"), ("kind", table, ["kind"])])
    pipeline = make_pipeline(transformer, small(max_epochs=1)).fit(FRAME, LABELS)
    again = through(pipeline, file)
    assert_same_bits(again, pipeline, FRAME)
    blocks = through(pipeline[0], file).transform(FRAME)
    assert (blocks["text"] != pipeline[0].transform(FRAME)["text"]).nnz == 0


def test_what_searches_find(file):
    X, y = make_data(40)
    search = FusionSearchCV(small(max_epochs=1), {"hidden_dim": [4, 8]}, cv=2).fit(X, y)
    assert_same_bits(through(search.best_estimator_, file), search.best_estimator_, X)
    whole = through(search, file)
    np.testing.assert_array_equal(whole.predict_proba(X), search.predict_proba(X))
    assert whole.best_params_ == search.best_params_
    grid = GridSearchCV(small(max_epochs=1), {"hidden_dim": [4, 8]}, cv=2).fit(X, y)
    assert_same_bits(through(grid.best_estimator_, file), grid.best_estimator_, X)


def test_speech(file):
    rng = np.random.default_rng(0)
    y = ["ab", "ba ab", "a", "b ba"] * 5
    X = {
        "audio": [rng.normal(size=(30 + 2 * i, 6)).astype(np.float32) for i in range(20)],
        "context": rng.normal(size=(20, 3)),
        "lips": rng.normal(size=(20, 5, 2)),
        "photo": rng.integers(0, 256, (20, 64, 64), dtype=np.uint8),
    }
    given = {"audio": "audio", "hidden_dim": 8, "max_epochs": 1, "modality_dropout": 0.2, "lm_weight": 0.3}
    for fusion in ("concat", "attention"):
        recognizer = SpeechRecognizer(fusion, **given, device="cpu", random_state=0).fit(X, y)
        again = through(recognizer, file)
        for one, other in zip(again.emissions(X), recognizer.emissions(X), strict=True):
            np.testing.assert_array_equal(one, other)
        for decoder in ("greedy", "beam"):
            expected = recognizer.set_params(decoder=decoder).predict(X).tolist()
            assert again.set_params(decoder=decoder).predict(X).tolist() == expected


def test_speech_of_waveforms(file):
    rng = np.random.default_rng(0)
    X, y = [rng.normal(size=900).astype(np.float32) for _ in range(6)], ["ab", "a", "b"] * 2
    recognizer = SpeechRecognizer(subsampling=(20, 2), hidden_dim=8, max_epochs=1, device="cpu").fit(X, y)
    again = through(recognizer, file)
    for one, other in zip(again.emissions(X), recognizer.emissions(X), strict=True):
        np.testing.assert_array_equal(one, other)


# -- modules of the user's own ------------------------------------------------------------------------------------


class OwnFusion(nn.Module):
    """Vectors side by side, through a layer."""

    level = "feature"

    def __init__(self, dims, factor=2.0):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(sum(dims), 5), nn.Tanh())
        self.register_buffer("shift", torch.full((5,), 0.5))
        self.factor, self.out_dim = factor, 5

    def forward(self, values, present):
        x = torch.cat([v * present[name].unsqueeze(-1) for name, v in values.items()], -1)
        return self.factor * self.layer(x) + self.shift


class OwnEncoder(nn.Module):
    """Steps to a vector, by a recurrent layer of torch."""

    def __init__(self, dim):
        super().__init__()
        self.layer = nn.GRU(dim, 4, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


@pytest.mark.parametrize("n_members", [1, 2])
def test_modules_of_the_users_own_are_named(file, n_members):
    X, y = make_data(24)
    encoders = {"vector": plain_encoder(), "sequence": OwnEncoder(3)}
    clf = small(fusion=OwnFusion([4, 4]), encoders=encoders, n_members=n_members, max_epochs=2).fit(X, y)
    skmm.save(clf, file)
    with pytest.raises(ValueError, match=r"types that are not trusted: \[.*OwnEncoder.*OwnFusion"):
        skmm.load(file)
    again = skmm.load(file, trusted=[OwnEncoder, f"{OwnFusion.__module__}.OwnFusion"])
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.fusion.factor == 2.0
    # what was given is there too, as it was before the fit
    assert torch.equal(again.fusion.layer[0].weight, clf.fusion.layer[0].weight)
    again = through(again, file, trusted=[OwnEncoder, OwnFusion])
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    refitted = [skmm.load(file, trusted=[OwnEncoder, OwnFusion]).fit(X, y), clf.fit(X, y)]
    np.testing.assert_array_equal(*(one.predict_proba(X) for one in refitted))


def plain_encoder():
    return nn.Sequential(nn.Linear(6, 4), nn.ReLU())


def test_classes_of_the_users_own_are_named(file):
    X, y = make_data(24)
    clf = small(fusion=Fusion(NamedFusion, power=2.0), max_epochs=1).fit(X, y)
    skmm.save(clf, file)
    with pytest.raises(ValueError, match="NamedFusion"):
        skmm.load(file)
    assert_same_bits(skmm.load(file, trusted=[NamedFusion]), clf, X)


class NamedFusion(nn.Module):
    """A fusion that is given as a class."""

    level = "feature"

    def __init__(self, dims, *, power=1.0):
        super().__init__()
        self.power, self.out_dim = power, sum(dims.values())

    def forward(self, values, present):
        return self.power * torch.cat(list(values.values()), -1)


class Own(MultimodalClassifier):
    """A subclass of a user."""


def test_a_subclass_is_the_users_own(file):
    X, y = make_data(24)
    clf = small(Own, max_epochs=1).fit(X, y)
    skmm.save(clf, file)
    with pytest.raises(ValueError, match=r"Own'\]"):
        skmm.load(file)
    assert_same_bits(skmm.load(file, trusted=[Own]), clf, X)


def double(X):
    return 2 * X


def test_functions_are_named(file):
    pipeline = make_pipeline(FunctionTransformer(double), small(max_epochs=1)).fit(*_table())
    skmm.save(pipeline, file)
    with pytest.raises(ValueError, match=r"double'\]"):
        skmm.load(file)
    assert_same_bits(skmm.load(file, trusted=[f"{__name__}.double"]), pipeline, _table()[0])


def _table():
    X, y = make_data(24, kinds=("vector",))
    return X["vector"], y


def test_a_module_with_hooks_is_refused(file):
    fusion = OwnFusion([16, 16])
    fusion.register_forward_hook(lambda *_: None)
    clf = small(fusion=fusion, max_epochs=1).fit(*make_data(24))
    with pytest.raises(ValueError, match="OwnFusion has hooks"):
        skmm.save(clf, file)
    assert not file.exists()


def test_a_pretrained_model_is_looked_up_where_the_user_says_so(file, tmp_path):
    from models import save_text_model

    save_text_model(tmp_path / "bert")
    ids, y = [np.arange(5, 9) + i % 3 for i in range(12)], np.arange(12) % 2
    encoder = Encoder("pretrained", model=str(tmp_path / "bert"))
    clf = small(fusion="sum", encoders={"text": encoder}, max_epochs=1).fit({"text": ids}, y)
    skmm.save(clf, file)
    types = ["skmm.encoders.pretrained.PretrainedEncoder", "skmm.encoders.pretrained.PretrainedReader"]
    with pytest.raises(ValueError, match=r"PretrainedEncoder: it looks for a model by a name or path") as error:
        skmm.load(file)
    assert str(types) in str(error.value)
    again = skmm.load(file, trusted=types)
    np.testing.assert_array_equal(again.predict_proba({"text": ids}), clf.predict_proba({"text": ids}))
    trained = Encoder("pretrained", model=str(tmp_path / "bert"), freeze=False)
    clf = small(fusion="sum", encoders={"text": trained}, max_epochs=1).fit({"text": ids}, y)
    with pytest.raises(ValueError, match="modality 'text' holds weights of a pretrained model"):
        skmm.save(clf, file)


def test_estimators_whose_trees_are_not_looked_at_are_named(file):
    from sklearn.ensemble import GradientBoostingClassifier

    X, y = _table()
    clf = ensemble(experts={"old": GradientBoostingClassifier(n_estimators=2)}, n_members=2, max_epochs=1).fit(X, y)
    skmm.save(clf, file)
    with pytest.raises(ValueError, match=r"'sklearn\.tree\._tree\.Tree'.*without a look at their samples"):
        skmm.load(file)
    assert_same_bits(skmm.load(file, trusted=["sklearn.tree._tree.Tree"]), clf, X)


# -- training goes on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", Optimizer("sgd", momentum=0.9), "lbfgs"])
@pytest.mark.parametrize("n_members", [1, 2])
def test_with_its_training_state_a_stream_goes_on_with_the_same_bits(file, optimizer, n_members):
    X, y = make_data(40)
    if optimizer == "lbfgs" and n_members > 1:
        pytest.skip("has one member")
    clf = small(optimizer=optimizer, n_members=n_members, dropout=0.3).partial_fit(X, y)
    again = through(clf, file, training_state=True)
    for _ in range(2):
        assert_same_bits(again.partial_fit(X, y), clf.partial_fit(X, y), X)


def test_a_warm_start_goes_on_with_the_same_bits(file):
    X, y = make_data(40)
    clf = small(warm_start=True, max_epochs=2, n_members=2, dropout=0.3).fit(X, y)
    assert_same_bits(through(clf, file, training_state=True).fit(X, y), clf.fit(X, y), X)


def test_without_its_training_state_it_goes_on_from_the_weights(file):
    X, y = make_data(40)
    clf = small(max_epochs=2).partial_fit(X, y)
    skmm.save(clf, file, training_state=True)
    large = file.stat().st_size
    again = through(clf, file)
    assert large - file.stat().st_size > 2 * 4 * sum(p.numel() for p in clf.net_.module_.parameters())
    # as a pickle of a fit without warm_start does
    light = small(max_epochs=2).fit(X, y)
    np.testing.assert_array_equal(
        through(light, file).partial_fit(X, y).predict_proba(X),
        pickle.loads(pickle.dumps(light)).partial_fit(X, y).predict_proba(X),
    )
    assert len(again.partial_fit(X, y).history_) == len(clf.history_) + 1


def test_what_was_read_can_be_pickled_copied_and_fitted(file):
    X, y = make_data(40)
    clf = small(n_members=2, max_epochs=2).fit(X, y)
    again = through(clf, file)
    assert_same_bits(pickle.loads(pickle.dumps(again)), clf, X)
    assert_same_bits(through(again, file), clf, X)
    assert_same_bits(again.fit(X, y), clf, X)


def test_a_parameter_that_was_set_after_the_fit(file):
    X, y = make_data(40)
    clf = small(max_epochs=1).fit(X, y).set_params(hidden_dim=99, fusion="late")
    again = through(clf, file)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.hidden_dim == 99


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_where_there_is_no_gpu_what_one_trained_is_on_the_cpu(file):
    X, y = make_data(24)
    clf = small(max_epochs=1).partial_fit(X, y)
    clf.net_.device = "cuda:1"  # as training there says
    again = through(clf, file, training_state=True)
    assert_same_bits(again, clf, X)
    clf.net_.device = "cpu"
    assert_same_bits(again.partial_fit(X, y), clf.partial_fit(X, y), X)


@pytest.mark.gpu
def test_a_model_of_a_gpu_is_read_without_one(file, monkeypatch):
    X, y = make_data(40)
    clf = small(device="cuda", max_epochs=2, n_members=2).fit(X, y)
    skmm.save(clf, file, training_state=True)
    np.testing.assert_array_equal(skmm.load(file).predict_proba(X), clf.predict_proba(X))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    again = skmm.load(file)
    assert next(again.net_.module_.parameters()).device.type == "cpu"
    np.testing.assert_allclose(again.predict_proba(X), clf.predict_proba(X), atol=1e-5)


# -- what is no model, or no file of ours -------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [small(), make_pipeline(StandardScaler(), small()), ModalityTransformer([])])
def test_an_estimator_that_is_not_fitted(file, estimator):
    with pytest.raises(NotFittedError):
        skmm.save(estimator, file)
    assert not file.exists()


def test_what_is_no_estimator(file):
    with pytest.raises(TypeError, match="not an estimator"):
        skmm.save({"a": 1}, file)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small model's file, as bytes."""
    file = tmp_path_factory.mktemp("written") / "m.skmm"
    skmm.save(small(max_epochs=1, hidden_dim=4).fit(*make_data(24)), file)
    return file.read_bytes()


def test_a_file_that_is_cut(file, written):
    for n in (0, 10, len(written) // 2, len(written) - 1):
        file.write_bytes(written[:n])
        with pytest.raises(ValueError, match=r"m\.skmm' is no file that skmm\.save wrote, or it is cut or altered"):
            skmm.load(file)


def test_a_file_of_another_kind(file):
    X, y = make_data(24)
    file.write_bytes(pickle.dumps(small(max_epochs=1).fit(X, y)))
    with pytest.raises(ValueError, match=r"m\.skmm' is no file that skmm\.save wrote"):
        skmm.load(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ValueError, match=r"m\.skmm' is no file that skmm\.save wrote"):
        skmm.load(file)


def test_a_file_of_a_newer_format(file, written):
    rewrite(file, written, lambda members: members.update({"skmm.json": b'{"format": 7, "skmm": "3.1.4"}'}))
    with pytest.raises(ValueError, match=r"has format 7, of skmm 3\.1\.4; this version reads up to format 1"):
        skmm.load(file)


def rewrite(file, content, change):
    """Write a file anew, its members changed."""
    file.write_bytes(content)
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)


def test_a_file_says_of_what_version_it_is(file, written):
    file.write_bytes(written)
    with zipfile.ZipFile(file) as archive:
        assert json.loads(archive.read("skmm.json")) == {"format": 1, "skmm": skmm.__version__}


def test_no_file(file):
    with pytest.raises(
        FileNotFoundError, match=r"has no model\. save\(fitted, 'm\.skmm'\) writes one.*m\.skmm"
    ) as raised:
        skmm.load(file)
    assert raised.value.filename == str(file)
    file.with_name("model.skmm").touch()
    with pytest.raises(FileNotFoundError, match=r"models \['model\.skmm'\], did you mean 'model\.skmm'\?"):
        skmm.load(file.with_name("modle.skmm"))
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        skmm.load(file.parent / "nowhere" / "m.skmm")
    with pytest.raises(FileNotFoundError):
        skmm.save(small(max_epochs=1).fit(*make_data(24)), file.parent / "nowhere" / "m.skmm")


def test_trusted_is_a_list(file, written):
    file.write_bytes(written)
    with pytest.raises(ValueError, match="trusted='sklearn' must be a list"):
        skmm.load(file, trusted="sklearn")


def test_an_old_file_stays_where_the_new_one_fails(file, monkeypatch):
    X, y = make_data(24)
    clf = small(max_epochs=1).fit(X, y)
    skmm.save(clf, file)
    before = file.read_bytes()

    def fails(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="no space left"):
        skmm.save(clf, file)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


# -- files of this release ----------------------------------------------------------------------------------------


def test_a_file_of_the_first_format_is_read():
    golden = np.load(HERE / "format1.npz")
    X = Blocks(table=golden["table"], sensor=golden["sensor"])
    clf = skmm.load(HERE / "format1.skmm")
    np.testing.assert_allclose(clf.predict_proba(X), golden["probabilities"], atol=1e-6)
    assert clf.predict(X).tolist() == golden["labels"].tolist()
    np.testing.assert_allclose(clf.partial_fit(X, golden["y"]).predict_proba(X).sum(axis=1), 1)


def test_sequences_of_a_file_from_before_statistics_are_read_as_they_were(file):
    golden = np.load(HERE / "format1.npz")
    X = Blocks(table=golden["table"], sensor=golden["sensor"])
    again = through(skmm.load(HERE / "format1.skmm"), file)
    np.testing.assert_allclose(again.predict_proba(X), golden["probabilities"], atol=1e-6)
    assert not again.net_.module_.network.encoders[1].statistics


def test_pictures_of_a_file_from_before_strides_are_read_as_they_were(file):
    golden = np.load(HERE / "format1_pictures.npz")
    photo = golden["photo"].repeat(8, axis=1).repeat(8, axis=2)
    X = Blocks(photo=photo, table=golden["table"])
    clf = skmm.load(HERE / "format1_pictures.skmm")
    np.testing.assert_allclose(clf.predict_proba(X), golden["probabilities"], atol=1e-6)
    again = through(clf, file)
    np.testing.assert_allclose(again.predict_proba(X), golden["probabilities"], atol=1e-6)
    assert again.net_.module_.network.encoders[0].stride == 1
    assert again.fit(X, np.arange(len(X)) % 2).net_.module_.network.encoders[0].stride == 2


@pytest.mark.parametrize("encoder", [None, "conv2d", Encoder("auto", channels=(2, 3)), Encoder("conv2d", stride=3)])
def test_the_stride_that_pictures_were_fitted_with_is_kept(monkeypatch, file, encoder):
    X = Blocks(photo=np.random.default_rng(0).integers(0, 256, (8, 64, 65), dtype=np.uint8))
    clf = MultimodalClassifier(
        encoders={"photo": encoder}, hidden_dim=4, n_members=1, max_epochs=1, experts=None, random_state=0
    )
    expected = clf.fit(X, np.arange(8) % 2).predict_proba(X)
    skmm.save(clf, file)
    monkeypatch.setattr("skmm.encoders.conv._stride", lambda side: 5)  # of a later version
    np.testing.assert_allclose(skmm.load(file).predict_proba(X), expected, atol=1e-6)


def test_a_transformer_that_read_sequences_of_any_length_needs_no_trust(file):
    """What it keeps to make a row of a modality that a table lacks is of this package."""
    df = pd.DataFrame({"steps": [[0.1, 0.2], [0.3], [0.1, 0.4, 0.2], [0.5]], "year": [1999, 2003, 2010, 2021]})
    transformer = ModalityTransformer([("steps", "passthrough", "steps"), ("table", StandardScaler(), ["year"])])
    transformer.fit(df)
    again = through(transformer, file).transform(df)
    np.testing.assert_array_equal(again["steps"].values, transformer.transform(df)["steps"].values)
