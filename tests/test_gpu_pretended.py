"""What a GPU would refuse, tried where there is none: tensors of two devices, numpy, and pickles of its tensors."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import make_data, small
from devices import GPU, OnGpu, pretended_gpu
from skorch.callbacks import Callback
from skorch.exceptions import DeviceWarning

import skmm
from skmm import MultimodalClassifier, MultimodalRegressor
from skmm._devices import free_memory
from skmm.deployment import DeployedModule
from skmm.inspection import attributions, modality_importances
from skmm.model_selection import FusionSearchCV
from skmm.speech import SpeechRecognizer

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")

FAST = {"max_epochs": 2, "dropout": 0.0}  # masks are drawn in another order on a GPU


def on_both(fit, ask):
    """What is asked of the fits on the CPU and on the pretended GPU, which must agree."""
    expected = ask(fit(torch.device("cpu")))
    with pretended_gpu():
        found = ask(fit(GPU))
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.fixture
def gpu():
    with pretended_gpu() as device:
        yield device


# -- the pretence --------------------------------------------------------------------------------------------------


def test_tensors_of_two_devices_do_not_meet(gpu):
    here, there = torch.ones(3), torch.ones(3, device=gpu)
    assert isinstance(there + 1, OnGpu)
    assert isinstance(there[torch.tensor([0])], OnGpu)
    with pytest.raises(RuntimeError, match="same device"):
        here + there
    with pytest.raises(RuntimeError, match="same device"):
        torch.where(here > 0, there, 0.0)
    with pytest.raises(RuntimeError, match="same device"):
        here[torch.tensor([0], device=gpu)]
    with pytest.raises(RuntimeError, match="same device"):
        there.index_select(0, torch.tensor([0]))


@pytest.mark.parametrize("read", [np.asarray, lambda x: x.numpy()])
def test_numpy_reads_no_tensor_of_a_gpu(gpu, read):
    with pytest.raises(TypeError, match=r"Tensor.cpu\(\)"):
        read(torch.ones(3, device=gpu))
    assert np.asarray(torch.ones(3, device=gpu).cpu()).sum() == 3


def test_a_generator_is_of_the_device_it_draws_for(gpu):
    torch.rand(3, device=gpu, generator=torch.Generator(gpu))
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, device=gpu, generator=torch.Generator())


def test_a_plain_pickle_holds_no_tensor_of_a_gpu(gpu):
    with pytest.raises(TypeError, match="plain pickle"):
        pickle.dumps(torch.ones(3, device=gpu))


# -- estimators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kinds",
    [
        ["vector", "sparse", "tokens"],
        pytest.param(["sequence", "ragged", "image", "video"], marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_block(kinds):
    X, y = make_data(40, kinds=kinds)
    X = X.select(kinds)
    on_both(lambda device: small(device=device, n_members=2, **FAST).fit(X, y), lambda clf: clf.predict_proba(X))


@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_the_default_with_its_stack_and_experts(cls):
    X, y = make_data(48, kinds=["vector", "sparse"])
    on_both(
        lambda device: cls(device=device, n_members=2, random_state=0, early_stopping=True, **FAST).fit(X, y),
        lambda fitted: fitted.predict(X) if cls is MultimodalRegressor else fitted.predict_proba(X),
    )


@pytest.mark.parametrize(
    "fusion", ["attention", *(pytest.param(f, marks=pytest.mark.slow) for f in ("tensor", "moe", "film", "late"))]
)
def test_fusions(fusion):
    X, y = make_data(40)
    on_both(
        lambda device: small(fusion=fusion, device=device, n_members=2, **FAST).fit(X, y),
        lambda clf: clf.transform(X),
    )


@pytest.mark.parametrize("precision", ["bf16", "16"])
def test_precisions(gpu, precision):
    X, y = make_data(40)
    clf = small(device=gpu, precision=precision, clip_grad_norm=1.0, n_members=2, **FAST).fit(X, y)
    assert np.isfinite(clf.predict_proba(X)).all()


def test_what_there_is_no_room_for_is_streamed(gpu, monkeypatch):
    X, y = make_data(40, kinds=["vector", "tokens"])
    expected = small(device=gpu, **FAST).fit(X, y).predict_proba(X)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (0, 2**33))
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda x: pinned.append(len(x)) or x.clone())
    np.testing.assert_allclose(small(device=gpu, **FAST).fit(X, y).predict_proba(X), expected, atol=1e-6)
    assert pinned


def test_memory_that_torch_keeps_for_itself_is_free(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (10, 2**33))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device=None: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=None: 200)
    assert free_memory(gpu) == 310


def test_a_stream_goes_on_after_a_pickle_that_is_read_without_a_gpu():
    X, y = make_data(40)
    with pretended_gpu() as gpu:
        clf = small(device=gpu, **FAST).partial_fit(X, y)
        expected, content = clf.predict_proba(X), pickle.dumps(clf)
    with pytest.warns(DeviceWarning):
        again = pickle.loads(content)
    assert not any(isinstance(p, OnGpu) for p in again.net_.module_.parameters())
    np.testing.assert_allclose(again.predict_proba(X), expected, atol=1e-4)
    again.set_params(device="cpu").partial_fit(X, y)


def test_a_file_is_read_without_a_gpu(tmp_path):
    X, y = make_data(40, kinds=["vector", "sparse"])
    with pretended_gpu() as gpu:
        clf = small(device=gpu, n_members=2, **FAST).fit(X, y)
        expected = clf.predict_proba(X)
        skmm.save(clf, tmp_path / "m.skmm", training_state=True)
    np.testing.assert_allclose(skmm.load(tmp_path / "m.skmm").predict_proba(X), expected, atol=1e-4)


class Fails(Callback):
    """Ends the first fit after two epochs."""

    left = 1

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == 2 and Fails.left:
            Fails.left -= 1
            raise OSError("the power is gone")


def test_a_checkpoint_is_gone_on_from(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(Fails, "left", 1)
    X, y = make_data(40)
    params = {"device": gpu, "early_stopping": True, "n_members": 2, "checkpoint": tmp_path / "c", "max_epochs": 4}
    with pytest.raises(OSError, match="power"):
        small(callbacks=[Fails()], **params).fit(X, y)
    again = small(callbacks=[Fails()], **params).fit(X, y)
    assert np.isfinite(again.predict_proba(X)).all()


def test_a_search():
    X, y = make_data(40, kinds=["vector", "tokens"])
    on_both(
        lambda device: FusionSearchCV(
            small(device=device, **FAST), {"lr": [0.01, 0.02], "fusion": ["concat", "sum"]}, cv=2
        ).fit(X, y),
        lambda search: search.cv_results_["mean_test_score"],
    )


@pytest.mark.slow
def test_a_search_with_dropout_and_halving(gpu):
    X, y = make_data(48)
    clf = small(device=gpu, max_epochs=3, dropout=0.3, early_stopping=True)
    grid = {"lr": [0.01, 0.02], "weight_decay": [0, 0.1]}
    search = FusionSearchCV(clf, grid, cv=2, halving=True, error_score="raise").fit(X, y)
    assert np.isfinite(search.predict_proba(X)).all()


@pytest.mark.slow
def test_explanations(gpu):
    pytest.importorskip("captum")
    X, y = make_data(40, kinds=["vector", "image"])
    clf = small(device=gpu, n_members=2, modality_dropout=0.3, **FAST).fit(X, y)
    for name in X:
        assert np.isfinite(attributions(clf, X[:4], name).values).all()
    modality_importances(clf, X, y)


@pytest.mark.parametrize("n_members", [1, 2])
def test_deploying_leaves_the_estimator_on_its_device(gpu, n_members):
    X, y = make_data(40)
    clf = small(device=gpu, n_members=n_members, **FAST).fit(X, y)
    expected = clf.predict_proba(X)
    deployed = DeployedModule(clf)
    assert not any(isinstance(x, OnGpu) for x in copy.copy(deployed).state_dict().values())
    assert all(isinstance(p, OnGpu) for p in clf.net_.module_.parameters())
    np.testing.assert_array_equal(clf.predict_proba(X), expected)


@pytest.mark.slow
def test_speech():
    rng = np.random.default_rng(0)
    X, y = [rng.normal(size=(20 + i, 8)).astype(np.float32) for i in range(12)], ["ab", "b a", "a"] * 4
    on_both(
        lambda device: SpeechRecognizer(device=device, max_epochs=1, dropout=0.0, random_state=0).fit(X, y),
        lambda recognizer: recognizer.emissions(X)[0],
    )
