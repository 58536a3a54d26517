"""Exported models: what they say against the estimator, and how they are read."""

import json
import os
import pickle
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skmm
from skmm import Blocks, Encoder, MultimodalClassifier, MultimodalRegressor, SpeechRecognizer
from skmm.cli import main
from skmm.datasets import make_spoken_sequences
from skmm.deployment import DeployedModule
from skmm.deployment._arguments import FORMAT, KEY
from skmm.layers import SparseRows
from skmm.preprocessing import LogMel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.filterwarnings("ignore:.*have no modality at all:UserWarning")

KINDS = ["vector", "text", "sensor", "tokens", "picture", "film"]


def samples(n, seed=0, names=KINDS, missing=0.15, longest=9):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    blocks = {
        "vector": rng.normal(size=(n, 4)) + y[:, None],
        "text": sp.random_array((n, 60), density=0.1, rng=rng, format="csr"),
        "sensor": [rng.normal(size=(rng.integers(1, longest + 1), 2)) + c for c in y],
        "tokens": [rng.integers(0, 20, rng.integers(1, longest + 1)) + c for c in y],
        "picture": (rng.integers(0, 200, (n, 8, 8, 3)) + 20 * y[:, None, None, None]).astype(np.uint8),
        "film": rng.normal(size=(n, 3, 6, 6, 1)) + y[:, None, None, None, None],
    }
    present = {name: rng.random(n) >= missing for name in names}
    return Blocks({name: blocks[name] for name in names}, present=present), y


def fitted(cls=MultimodalClassifier, fusion="concat", names=KINDS, n=60, y=None, **params):
    X, labels = samples(n, names=names)
    small = {"max_epochs": 1, "hidden_dim": 8, "n_members": 2, "experts": None, "random_state": 0, **params}
    return cls(fusion, **small).fit(X, labels if y is None else y(labels))


def tensors(blocks, module):
    """Values and masks of blocks, by code of this test alone."""
    values, present = {}, {}
    for name, info in module.infos.items():
        block, there = blocks[name], torch.from_numpy(blocks.present[name].copy())
        if hasattr(block, "lengths"):
            lengths = np.where(blocks.present[name], block.lengths, 0)
            padded = np.zeros((len(blocks), max(1, lengths.max()), *block.inner_shape))
            for row, length in enumerate(lengths):
                padded[row, :length] = block[row][:length]
            there = torch.arange(padded.shape[1]) < torch.from_numpy(lengths)[:, None]
            values[name] = torch.from_numpy(padded).to(module.dtypes[name])
        elif info.kind == "sparse":
            values[name] = torch.from_numpy(block.toarray()).to(module.dtypes[name])
        else:
            values[name] = torch.from_numpy(np.asarray(block).astype(float)).to(module.dtypes[name])
        present[name] = there
    return values, present


def said(estimator, X):
    return estimator.predict_proba(X) if hasattr(estimator, "predict_proba") else estimator.predict(X)


def by_module(estimator, X):
    module = DeployedModule(estimator)
    with torch.inference_mode():
        return module(*tensors(X, module)).numpy()


def exported(estimator, folder, **params):
    skmm.to_onnx(estimator, folder / "m.onnx", **params)
    return skmm.load_onnx(folder / "m.onnx", n_threads=1)


def assert_equal(a, b, unit=1.0):
    np.testing.assert_allclose(a / unit, b / unit, rtol=0, atol=1e-5)


# -- the module ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", skmm.list_fusions())
def test_module_says_what_any_fusion_predicts(fusion):
    names = ["vector", "text", "sensor"]
    clf = fitted(fusion=fusion, names=names)
    X, _ = samples(25, seed=1, names=names)
    assert_equal(by_module(clf, X), clf.predict_proba(X))


def of_values(y):
    return 1000.0 + 50.0 * y


def several_values(y):
    return np.column_stack([y * 2.0, 100.0 - y])


def labels(y):
    return np.column_stack([y > 0, y > 1]).astype(int)


CASES = {
    "classes": (MultimodalClassifier, None, {}),
    "one member": (MultimodalClassifier, None, {"n_members": 1}),
    "no stack": (MultimodalClassifier, None, {"stack": False}),
    "no heads of modalities": (MultimodalClassifier, None, {"modality_loss": 0}),
    "groups": (MultimodalClassifier, None, {"modality_dropout": 0.3}),
    "labels": (MultimodalClassifier, labels, {}),
    "values": (MultimodalRegressor, of_values, {}),
    "several values": (MultimodalRegressor, several_values, {}),
    "no scaling": (MultimodalClassifier, None, {"scale_inputs": False}),
    "wide text": (MultimodalClassifier, None, {"sparse_components": 8}),
}


@pytest.mark.parametrize("experts", [None, "auto"])
@pytest.mark.parametrize("case", CASES)
def test_module_says_what_is_predicted(case, experts):
    cls, y, params = CASES[case]
    alone = params.get("n_members") == 1 or params.get("stack") is False
    clf = fitted(cls, n=110, y=y, experts=None if alone else experts, **params)
    X, _ = samples(25, seed=1)
    unit = clf._target.deviation if cls is MultimodalRegressor else 1.0
    unit = unit[0] if case == "values" else unit
    assert_equal(by_module(clf, X), said(clf, X), unit)
    nothing = Blocks(X, present={name: np.zeros(len(X), dtype=bool) for name in X})
    assert_equal(by_module(clf, nothing), said(clf, nothing), unit)


def test_module_reads_sparse_rows_as_they_are_stored():
    clf = fitted(names=["text"], sparse_components=8)
    X, _ = samples(9, seed=1, names=["text"], missing=0)
    module = DeployedModule(clf)
    stored = [X["text"][[i]].tocoo() for i in range(len(X))]
    columns, weights = torch.zeros(9, 60, dtype=torch.int64), torch.zeros(9, 60)
    for row, entries in enumerate(stored):
        columns[row, : entries.nnz] = torch.from_numpy(entries.coords[1].astype(np.int64))
        weights[row, : entries.nnz] = torch.from_numpy(entries.data).float()
    there = {"text": torch.ones(9, dtype=torch.bool)}
    by_rows = module({"text": SparseRows(columns, weights, weights[:, :0])}, there)
    assert_equal(by_rows.numpy(), clf.predict_proba(X))


def test_time_stamps_keep_their_digits():
    rng = np.random.default_rng(0)
    X = {"when": 1.7e9 + rng.uniform(0, 3600, size=(80, 2))}
    reg = MultimodalRegressor(max_epochs=20, n_members=2, random_state=0).fit(X, X["when"][:, 0] - 1.7e9)
    module = DeployedModule(reg)
    assert module.dtypes["when"] == torch.float64
    assert_equal(by_module(reg, Blocks(X)), reg.predict(X), 1000.0)


@pytest.mark.parametrize("groups", [False, True])
def test_members_that_predict_are_those_of_the_module(groups):
    X, y = samples(120, names=["vector"])
    clf = MultimodalClassifier(max_epochs=1, n_members=4, random_state=0)
    clf.fit(X, y, groups=np.arange(120) % 3 if groups else None)
    assert len(DeployedModule(clf).members) == (2 if groups else 4)
    assert_equal(by_module(clf, X), clf.predict_proba(X))


# -- ONNX ---------------------------------------------------------------------------------------------------------


def test_a_model_predicts_as_the_estimator(tmp_path):
    names = ["vector", "text", "sensor"]
    X, y = samples(150, names=names)
    clf = MultimodalClassifier(max_epochs=2, hidden_dim=8, n_members=3, random_state=0).fit(
        X, np.array(list("abc"))[y]
    )
    assert clf.experts_.names
    model = exported(clf, tmp_path, check=X)
    new, _ = samples(1000, seed=1, names=names, longest=64)
    assert_equal(model.predict_proba(new), clf.predict_proba(new))
    assert (model.predict(new) == clf.predict(new)).all()
    assert_equal(model.predict_proba(new[:1]), clf.predict_proba(new[:1]))
    for name in names:  # whole modalities absent, and one there alone
        assert_equal(model.predict_proba(new.select([name])), clf.predict_proba(new.select([name])))
        rest = new.select([other for other in names if other != name])
        assert_equal(model.predict_proba(rest), clf.predict_proba(rest))
    assert model.score(new, clf.predict(new)) == 1.0
    # in other threads, and after a pickle
    found = []
    threads = [threading.Thread(target=lambda: found.append(model.predict_proba(new))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((p == found[0]).all() for p in found)
    assert (pickle.loads(pickle.dumps(model)).predict_proba(new) == found[0]).all()
    self_contained = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    assert not any(tensor.external_data for tensor in self_contained.graph.initializer)
    assert not any(node.metadata_props for node in self_contained.graph.node)
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_a_model_predicts_without_torch(tmp_path):
    clf = fitted(names=["vector"])
    skmm.to_onnx(clf, tmp_path / "m.onnx")
    code = f"""
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "skorch"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Nothing())
import numpy as np, skmm
print(skmm.load_onnx({os.fspath(tmp_path / "m.onnx")!r}).predict({{"vector": np.zeros((2, 4))}}).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "(2,)\n", done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fusion", skmm.list_fusions())
def test_any_fusion_is_exported(fusion, tmp_path):
    names = ["vector", "text", "sensor"]
    clf = fitted(fusion=fusion, names=names)
    X, _ = samples(40, seed=1, names=names, longest=64)
    model = exported(clf, tmp_path)
    assert_equal(model.predict_proba(X), clf.predict_proba(X))
    assert_equal(model.predict_proba(X[:1]), clf.predict_proba(X[:1]))


def encoders_of(kind):
    probe = {"vector": "vector", "sparse": "text", "sequence": "sensor", "tokens": "tokens", "image": "picture"}
    name = {**probe, "video": "film"}[kind]
    return [
        (name, encoder)
        for encoder in skmm.list_encoders()
        if encoder != "pretrained" and kind in skmm.spec.ENCODERS[encoder].kinds
    ]


ENCODERS = [
    pair for kind in ("vector", "sparse", "sequence", "tokens", "image", "video") for pair in encoders_of(kind)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "encoder"), ENCODERS)
def test_any_encoder_is_exported(name, encoder, tmp_path):
    fusion = "attention" if name in ("sensor", "tokens", "film") else "concat"  # which reads each of their steps
    names = [name, "tokens" if name == "vector" else "vector"]
    clf = fitted(fusion=fusion, names=names, encoders={name: encoder})
    X, _ = samples(40, seed=1, names=names, longest=64)
    model = exported(clf, tmp_path)
    assert_equal(model.predict_proba(X), clf.predict_proba(X))
    assert_equal(model.predict_proba(X[:1]), clf.predict_proba(X[:1]))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["labels", "values", "several values", "wide text", "one member"])
def test_all_kinds_of_blocks_and_targets_are_exported(case, tmp_path):
    cls, y, params = CASES[case]
    clf = fitted(cls, n=110, y=y, experts=None if case == "one member" else "auto", **params)
    X, _ = samples(40, seed=1)
    model = exported(clf, tmp_path, check=X)
    unit = clf._target.deviation if cls is MultimodalRegressor else 1.0
    unit = unit[0] if case == "values" else unit
    assert_equal(said(model, X), said(clf, X), unit)
    assert (model.predict(X) == clf.predict(X)).all() or cls is MultimodalRegressor


@pytest.mark.slow
def test_both_directions_and_layers_of_recurrent_encoders(tmp_path):
    lstm = Encoder("lstm", bidirectional=True, n_layers=2)
    clf = fitted(names=["sensor"], encoders={"sensor": lstm})
    X, _ = samples(40, seed=1, names=["sensor"], longest=64)
    assert_equal(exported(clf, tmp_path).predict_proba(X), clf.predict_proba(X))


@pytest.mark.slow
def test_speech_is_exported(tmp_path):
    X, y = make_spoken_sequences(40, n_words=(1, 3), n_syllables=4, random_state=0)
    X = {"audio": LogMel(8000, n_mels=20).fit_transform(X["audio"]), "context": X["context"]}
    recognizer = SpeechRecognizer(max_epochs=3, hidden_dim=16, random_state=0).fit(X, y)
    model = exported(recognizer, tmp_path, check=X)
    for own, wanted in zip(model.emissions(X), recognizer.emissions(X), strict=True):
        np.testing.assert_allclose(own, wanted, rtol=0, atol=1e-4)
    assert list(model.predict(X)) == list(recognizer.predict(X))


def test_tables_are_read_as_by_the_estimator(tmp_path):
    import pandas as pd

    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(60, 4)), columns=list("abcd"))
    clf = MultimodalClassifier(
        modalities={"left": ["a", "c"], "right": slice(3, 4)},
        max_epochs=1,
        n_members=2,
        experts=None,
        random_state=0,
    ).fit(table, table["a"] > 0)
    model = exported(clf, tmp_path, check=table)
    assert_equal(model.predict_proba(table), clf.predict_proba(table))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[list("dcba")])


@pytest.mark.slow
def test_the_command_exports_a_saved_model(tmp_path, capsys):
    clf = fitted(names=["vector"])
    skmm.save(clf, tmp_path / "m.skmm")
    X, _ = samples(20, seed=1, names=["vector"], missing=0)
    for ending in ("onnx", "pt2"):
        assert main(["export", str(tmp_path / "m.skmm"), str(tmp_path / f"m.{ending}")]) == 0
    assert_equal(skmm.load_onnx(tmp_path / "m.onnx").predict_proba(X), clf.predict_proba(X))
    program = torch.export.load(tmp_path / "m.pt2").module()
    vector, there = torch.from_numpy(np.asarray(X["vector"])).float(), torch.ones(20, dtype=torch.bool)
    assert_equal(program(vector, there).numpy(), clf.predict_proba(X))
    assert "m.pt2: " in capsys.readouterr().out


def test_the_command_says_what_it_cannot_export(tmp_path, capsys):
    (tmp_path / "m.skmm").write_bytes(b"no model")
    for file, told in [
        ("m.txt", "must end in one of ['.onnx', '.pt2']"),
        ("m.onnx", "no file that skmm.save wrote"),
    ]:
        assert main(["export", str(tmp_path / "m.skmm"), str(tmp_path / file)]) == 2
        assert told in capsys.readouterr().err
        assert not (tmp_path / file).exists()


# -- bad input ----------------------------------------------------------------------------------------------------


def test_what_is_not_fitted_or_no_estimator_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        skmm.to_onnx(MultimodalClassifier(), tmp_path / "m.onnx")
    with pytest.raises(TypeError, match="GaussianNB"):
        skmm.to_onnx(GaussianNB().fit([[0.0], [1.0]], [0, 1]), tmp_path / "m.onnx")


def test_a_pipeline_is_exported_from_its_last_step_on(tmp_path):
    X, y = samples(60, names=["vector"], missing=0)
    pipeline = make_pipeline(FunctionTransformer(), fitted(names=["vector"])).fit(X, y)
    with pytest.raises(TypeError, match=r"functiontransformer'\] are no part of the module. Take its last step"):
        skmm.to_onnx(pipeline, tmp_path / "m.onnx")
    skmm.to_onnx(pipeline[-1], tmp_path / "m.onnx", check=pipeline[:-1].transform(X))


def test_an_expert_without_a_form_as_tensors_is_named():
    clf = fitted(names=["vector"], n=120, experts={"bayes": GaussianNB()})
    with pytest.raises(ValueError, match="expert 'bayes': GaussianNB has no form as tensors"):
        DeployedModule(clf)


def test_a_difference_is_told_and_nothing_is_written(tmp_path, monkeypatch):
    clf = fitted(names=["vector"])
    X, _ = samples(10, names=["vector"], missing=0)
    path = tmp_path / "m.onnx"
    path.write_bytes(b"an older model")
    honest = clf.predict_proba
    monkeypatch.setattr(
        clf, "predict_proba", lambda X: honest(X) + 0.01 * (np.arange(len(honest(X))) == 3)[:, None], raising=False
    )
    with pytest.raises(ValueError, match=r"differs from the estimator by 0\.01 in row 3"):
        skmm.to_onnx(clf, path, check=X)
    assert path.read_bytes() == b"an older model"
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_other_input_is_refused_in_the_estimators_words(tmp_path):
    X, y = samples(60, names=["vector", "sensor"], missing=0)
    clf = MultimodalClassifier(max_epochs=1, hidden_dim=8, n_members=2, experts=None, random_state=0).fit(X, y)
    model = exported(clf, tmp_path)
    rows = {"vector": np.zeros((2, 4)), "sensor": np.zeros((2, 3, 2))}
    for bad in [
        {"vector": rows["vector"]},  # one is missing
        {**rows, "sensors": rows["sensor"]},  # one is foreign
        {**rows, "vector": np.zeros((2, 5))},
        {**rows, "sensor": np.zeros((2, 3, 3))},
        {**rows, "sensor": np.zeros((2, 4))},
        {**rows, "vector": np.array([[0.0, 1.0, np.inf, 0.0]] * 2)},
        {**rows, "vector": np.zeros((3, 4))},
    ]:
        with pytest.raises(ValueError, match=".") as wanted:
            clf.predict(bad)
        with pytest.raises(ValueError, match=".") as told:
            model.predict(bad)
        assert str(told.value) == str(wanted.value)


def test_a_sample_without_any_modality_is_told(tmp_path):
    clf = fitted(names=["vector"])
    model = exported(clf, tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        p = model.predict_proba({"vector": np.array([[0.0] * 4, [np.nan] * 4])})
    assert "1 of 2 samples have no modality at all, the first is row 1" in str(caught[0].message)
    assert_equal(p, clf.predict_proba({"vector": np.array([[0.0] * 4, [np.nan] * 4])}))


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(FileNotFoundError, match=r"m\.onnx"):
        skmm.load_onnx(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"m\.onnx' cannot be read as an ONNX model"):
        skmm.load_onnx(path)
    clf = fitted(names=["vector"])
    skmm.to_onnx(clf, path)
    model = onnx.load(path)
    description = json.loads(model.metadata_props[0].value)
    assert description["classes"] == [0, 1, 2]
    assert {"skmm", "torch", "onnx"} <= description["versions"].keys()

    def altered(**changes):
        onnx.helper.set_model_props(model, {KEY: json.dumps({**description, **changes})})
        onnx.save(model, path)

    altered(format=FORMAT + 1)
    with pytest.raises(ValueError, match=f"in format {FORMAT + 1}; this version reads formats up to {FORMAT}"):
        skmm.load_onnx(path)
    altered(task="chess")
    with pytest.raises(ValueError, match="predicts 'chess'"):
        skmm.load_onnx(path)
    altered(arguments=[{"name": "vector"}])
    with pytest.raises(ValueError, match="description is not complete"):
        skmm.load_onnx(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(ValueError, match=r"not one that skmm\.to_onnx wrote"):
        skmm.load_onnx(path)


# -- programs of torch --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("names", [KINDS[i : i + 2] for i in range(0, len(KINDS), 2)])
def test_a_program_of_torch_predicts_as_the_estimator(names, tmp_path):
    clf = fitted(names=names)
    X, _ = samples(40, seed=1, names=names, longest=64)
    skmm.to_torch(clf, tmp_path / "m.pt2", check=X, tolerance=1e-5)
    skmm.to_torch(clf, tmp_path / "m.pt2", check=X[:1], tolerance=1e-5)
    extra = {"skmm.json": ""}
    program = torch.export.load(tmp_path / "m.pt2", extra_files=extra).module()
    assert json.loads(extra["skmm.json"])["task"] == "classification"
    assert program is not None


def test_one_network_of_a_wide_sparse_block(tmp_path):
    # its fused head reads the compressed copy alone: what is scaled for the head of the modality is not missed
    rng = np.random.default_rng(0)
    X = Blocks(words=sp.random_array((60, 40), density=0.2, rng=rng, format="csr"), image=rng.normal(size=(60, 3)))
    clf = MultimodalClassifier(n_members=1, sparse_components=4, max_epochs=2, random_state=0)
    skmm.to_onnx(clf.fit(X, X["image"][:, 0] > 0), tmp_path / "m.onnx", check=X)
    np.testing.assert_allclose(
        skmm.load_onnx(tmp_path / "m.onnx").predict_proba(X), clf.predict_proba(X), atol=1e-5
    )
