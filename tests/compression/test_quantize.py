"""Files with weights of fewer bits: what they predict against the estimator, and what is refused."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline

import skmm
from skmm import Blocks, MultimodalClassifier, MultimodalRegressor, SpeechRecognizer
from skmm.cli import main
from skmm.compression import quantize_weights
from skmm.datasets import make_spoken_sequences
from skmm.deployment import DeployedModule
from skmm.deployment._arguments import KEY
from skmm.preprocessing import LogMel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore:.*have no modality at all:UserWarning")

CLASSES = np.array(["high", "low", "mid"])


def samples(n, seed=0, names=("vector", "text")):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    blocks = {
        "vector": rng.normal(size=(n, 150)) + y[:, None],
        "text": sp.random_array((n, 300), density=0.05, rng=rng, format="csr"),
        "sensor": [rng.normal(size=(rng.integers(1, 9), 20)) + c for c in y],
        "tokens": [rng.integers(0, 60, rng.integers(1, 9)) + c for c in y],
        "picture": (rng.integers(0, 200, (n, 8, 8, 3)) + 20 * y[:, None, None, None]).astype(np.uint8),
    }
    present = {name: rng.random(n) >= 0.15 for name in names}
    return Blocks({name: blocks[name] for name in names}, present=present), y


def fitted(fusion="concat", cls=MultimodalClassifier, names=("vector", "text"), y=None, **params):
    X, classes = samples(120, names=names)
    small = {"max_epochs": 2, "hidden_dim": 64, "n_members": 1, "experts": None, "random_state": 0, **params}
    return cls(fusion, **small).fit(X, CLASSES[classes] if y is None else y(classes))


def said(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def quantized(estimator, folder, **params):
    """Both files as models."""
    skmm.to_onnx(estimator, folder / "m.onnx")
    skmm.quantize(folder / "m.onnx", folder / "q.onnx", **params)
    return skmm.load_onnx(folder / "m.onnx", n_threads=1), skmm.load_onnx(folder / "q.onnx", n_threads=1)


@pytest.fixture(scope="module")
def classifier():
    return fitted()


@pytest.fixture(scope="module")
def source(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "m.onnx"
    skmm.to_onnx(classifier, path)
    return path


@pytest.mark.parametrize(("to", "size", "difference"), [("int8", 1 / 3, 0.02), ("float16", 0.6, 1e-3)])
def test_a_smaller_file_predicts_nearly_the_same(to, size, difference, classifier, source, tmp_path):
    before = source.read_bytes()
    told = skmm.quantize(source, tmp_path / "q.onnx", to=to)
    assert told["weights"] == ["float32", to]
    assert told["bytes"] == [os.path.getsize(source), os.path.getsize(tmp_path / "q.onnx")]
    assert told["bytes"][1] < size * told["bytes"][0]
    assert source.read_bytes() == before
    assert os.listdir(tmp_path) == ["q.onnx"]
    model, X = skmm.load_onnx(tmp_path / "q.onnx", n_threads=1), samples(300, seed=1)[0]
    p = model.predict_proba(X)
    np.testing.assert_allclose(p, classifier.predict_proba(X), rtol=0, atol=difference)
    assert np.abs(p - classifier.predict_proba(X)).max() > 1e-6  # it is another model
    assert model.score(X, classifier.predict(X)) > 0.98


def test_a_row_predicts_the_same_alone(source, tmp_path):
    skmm.quantize(source, tmp_path / "q.onnx")
    model, X = skmm.load_onnx(tmp_path / "q.onnx", n_threads=1), samples(40, seed=1)[0]
    alone = np.concatenate([model.predict_proba(X[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(alone, model.predict_proba(X), rtol=0, atol=1e-6)


def test_a_file_says_of_its_model_what_it_said(source, tmp_path):
    model = onnx.load(source)
    onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, "author": "me"})
    onnx.save(model, tmp_path / "mine.onnx")
    skmm.quantize(tmp_path / "mine.onnx", tmp_path / "q.onnx")
    before, after = (
        {p.key: p.value for p in onnx.load(path).metadata_props}
        for path in (tmp_path / "mine.onnx", tmp_path / "q.onnx")
    )
    assert after["author"] == "me"
    assert json.loads(after[KEY]) == {**json.loads(before[KEY]), "weights": "int8"}
    loaded = skmm.load_onnx(tmp_path / "q.onnx")
    assert loaded.description_.weights == "int8"
    assert list(loaded.classes_) == list(CLASSES)


def test_check_measures_both_files(classifier, source, tmp_path):
    X, y = samples(100, seed=1)
    told = skmm.quantize(source, tmp_path / "q.onnx", check=(X, CLASSES[y]), tolerance=0.1)
    for model, loss in zip((classifier, skmm.load_onnx(tmp_path / "q.onnx")), told["loss"], strict=True):
        assert log_loss(CLASSES[y], model.predict_proba(X)) == pytest.approx(loss, abs=1e-5)


def test_a_loss_that_rises_leaves_what_was_there(source, tmp_path):
    target = tmp_path / "q.onnx"
    skmm.quantize(source, target)
    X = samples(100, seed=1)[0]
    smaller = skmm.load_onnx(target)
    worse = (smaller.predict_proba(X) - skmm.load_onnx(source).predict_proba(X)).argmin(axis=1)
    target.write_bytes(b"of earlier")
    told = r"the loss on the samples of check is \d\.\d{4}, before it was \d\.\d{4}.*tolerance=0"
    with pytest.raises(ValueError, match=told):
        skmm.quantize(source, target, check=(X, CLASSES[worse]), tolerance=0)
    assert target.read_bytes() == b"of earlier"
    assert os.listdir(tmp_path) == ["q.onnx"]


def test_torch_is_not_needed(source, tmp_path):
    code = f"""
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "skorch"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import skmm
print(skmm.quantize({os.fspath(source)!r}, {os.fspath(tmp_path / "q.onnx")!r})["weights"][1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "int8\n", done.stderr


def test_the_command_quantizes(source, tmp_path, capsys):
    target = tmp_path / "q.onnx"
    assert main(["quantize", str(source), str(target), "--to", "float16"]) == 0
    assert f"{target}: 0.1" in capsys.readouterr().out
    assert skmm.load_onnx(target).description_.weights == "float16"


# -- of every kind ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["early", "concat", "mcb", "attention", "late"])  # of every level
def test_any_fusion(fusion, tmp_path):
    model, smaller = quantized(fitted(fusion, names=["vector", "text", "sensor"]), tmp_path)
    X, _ = samples(100, seed=1, names=["vector", "text", "sensor"])
    np.testing.assert_allclose(smaller.predict_proba(X), model.predict_proba(X), rtol=0, atol=0.02)
    assert os.path.getsize(tmp_path / "q.onnx") < 0.55 * os.path.getsize(tmp_path / "m.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder"),
    [
        ("sensor", "gru"),
        ("sensor", "lstm"),
        ("sensor", "conv1d"),
        ("sensor", "transformer"),
        ("tokens", "embedding"),
        ("picture", "conv2d"),
    ],
)
def test_any_kind_of_layer(name, encoder, tmp_path):
    model, smaller = quantized(fitted(names=[name, "vector"], encoders={name: encoder}), tmp_path)
    matrices = {i.name for i in onnx.load(tmp_path / "m.onnx").graph.initializer if len(i.dims) > 1}
    kept = [i for i in onnx.load(tmp_path / "q.onnx").graph.initializer if i.name in matrices]
    assert not [i.name for i in kept if np.prod(i.dims) >= 256]
    X, _ = samples(100, seed=1, names=[name, "vector"])
    p = model.predict_proba(X)
    np.testing.assert_allclose(smaller.predict_proba(X), p, rtol=0, atol=0.02)
    skmm.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", to="float16")
    np.testing.assert_allclose(skmm.load_onnx(tmp_path / "q.onnx").predict_proba(X), p, rtol=0, atol=1e-3)


def labels(y):
    return np.column_stack([y > 0, y > 1]).astype(int)


def of_values(y):
    return 1000.0 + 50.0 * y


def several_values(y):
    return np.column_stack([y * 2.0, 100.0 - y])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "y"),
    [(MultimodalClassifier, labels), (MultimodalRegressor, of_values), (MultimodalRegressor, several_values)],
)
def test_labels_and_values_with_experts(cls, y, tmp_path):
    estimator = fitted(cls=cls, y=y, experts="auto", n_members=2)
    assert estimator.experts_.names
    X, classes = samples(100, seed=1)
    truth = y(classes)
    model, smaller = quantized(estimator, tmp_path, check=(X, truth))
    unit = 1.0 if cls is MultimodalClassifier else truth.std(axis=0)
    np.testing.assert_allclose(said(smaller, X) / unit, said(estimator, X) / unit, rtol=0, atol=0.02)
    trees = [[n for n in onnx.load(tmp_path / f).graph.node if "Tree" in n.op_type] for f in ("m.onnx", "q.onnx")]
    assert trees[0] == trees[1]
    assert len(trees[0]) > 0
    told = skmm.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", check=(X, truth))
    p = said(model, X)
    loss = ((p - truth) ** 2).mean(axis=0) / np.var(truth, axis=0)
    if cls is MultimodalClassifier:
        loss = [log_loss(truth[:, i], p[:, i], labels=[0, 1]) for i in range(2)]
    assert told["loss"][0] == pytest.approx(np.mean(loss))


@pytest.mark.slow
def test_speech(tmp_path):
    X, y = make_spoken_sequences(40, n_words=(1, 3), n_syllables=4, random_state=0)
    X = {"audio": LogMel(8000, n_mels=20).fit_transform(X["audio"]), "context": X["context"]}
    recognizer = SpeechRecognizer(max_epochs=3, hidden_dim=16, random_state=0).fit(X, y)
    model, smaller = quantized(recognizer, tmp_path, check=(X, y), tolerance=0.05)
    for own, wanted in zip(smaller.emissions(X), model.emissions(X), strict=True):
        np.testing.assert_allclose(np.exp(own), np.exp(wanted), rtol=0, atol=0.02)


@pytest.mark.slow
def test_a_file_with_preprocessing(tmp_path):
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(200)])
    table = pd.DataFrame(
        {"text": [" ".join(rng.choice(words, 8)) for _ in range(120)], "price": rng.normal(size=120)}
    )
    y = (table["price"] > 0).to_numpy()
    transformer = skmm.ModalityTransformer(
        [("text", TfidfVectorizer(), "text"), ("price", "passthrough", ["price"])]
    )
    clf = MultimodalClassifier(max_epochs=2, n_members=1, hidden_dim=64, experts=None, random_state=0)
    pipeline = make_pipeline(transformer, clf).fit(table, y)
    _, smaller = quantized(pipeline, tmp_path, check=(table, y))
    np.testing.assert_allclose(smaller.predict_proba(table), pipeline.predict_proba(table), rtol=0, atol=0.02)


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"to": "int4"}, r"type of weights to= 'int4', valid are \['int8', 'float16'\]"),
        ({"tolerance": -0.1}, "tolerance must be a number .* got -0.1"),
        ({"check": [1, 2, 3]}, r"check must be a tuple \(X, y\) .* got list of length 3"),
        ({"check": 5}, r"check must be a tuple \(X, y\) .* got int"),
        ({"check": (samples(9)[0], np.array(["high"] * 8))}, "inconsistent numbers of samples"),
        (
            {"check": (samples(2)[0], ["high", "deep"])},
            r"'deep', the model knows the classes \['high', 'low', 'mid'\]",
        ),
        ({"check": ({"vector": np.zeros((2, 7))}, ["high", "low"])}, "vector"),
    ],
)
def test_parameters_that_are_none(params, told, source, tmp_path):
    with pytest.raises(ValueError, match=told):
        skmm.quantize(source, tmp_path / "q.onnx", **params)
    assert os.listdir(tmp_path) == []


def test_files_that_are_none(source, tmp_path):
    target = tmp_path / "q.onnx"
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.onnx"):
        skmm.quantize(tmp_path / "absent.onnx", target)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match=r"text\.onnx' cannot be read as an ONNX model"):
        skmm.quantize(tmp_path / "text.onnx", target)
    foreign = onnx.load(source)
    del foreign.metadata_props[:]
    onnx.save(foreign, tmp_path / "foreign.onnx")
    with pytest.raises(ValueError, match=r"foreign\.onnx' is an ONNX model, but not one that skmm"):
        skmm.quantize(tmp_path / "foreign.onnx", target)
    assert not target.exists()
    skmm.quantize(source, target)
    with pytest.raises(ValueError, match=r"q\.onnx' is quantised already, its weights are int8"):
        skmm.quantize(target, tmp_path / "again.onnx")
    os.link(source, tmp_path / "link.onnx")
    os.symlink(source, tmp_path / "symlink.onnx")
    before = source.read_bytes()
    for same in (source, tmp_path / "link.onnx", tmp_path / "symlink.onnx"):
        with pytest.raises(ValueError, match="target and source are the same file"):
            skmm.quantize(source, same)
    assert source.read_bytes() == before


# -- in torch -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_module_with_int8_weights_is_a_smaller_copy(classifier):
    pytest.importorskip("torchao")
    module = DeployedModule(classifier)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    smaller = quantize_weights(module)
    assert all((tensor == before[name]).all() for name, tensor in module.state_dict().items())
    rng = np.random.default_rng(1)
    values = {"vector": torch.from_numpy(rng.normal(size=(20, 150))).float(), "text": torch.rand(20, 300)}
    there = dict.fromkeys(values, torch.ones(20, dtype=torch.bool))
    p, q = module(values, there), smaller(values, there)
    assert 0 < (p - q).abs().max() < 0.02
    layer = "members.0.encoders.0.layers.0.0.weight"
    assert smaller.get_parameter(layer).qdata.dtype == torch.int8


def test_torchao_that_is_not_installed_is_named(classifier, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(ImportError, match=r"pip install .*skmm\[quantize\]"):
        quantize_weights(DeployedModule(classifier))


def test_what_is_no_module_is_named():
    with pytest.raises(TypeError, match=r"got Linear.*DeployedModule\(estimator\)"):
        quantize_weights(torch.nn.Linear(2, 2))
