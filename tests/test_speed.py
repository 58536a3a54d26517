"""Work counted, not timed: a training step calls torch hardly more often than a loop written by hand."""

import json
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from conftest import ensemble, every_fusion, make_data
from sklearn.model_selection import cross_validate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skmm import Blocks, MultimodalClassifier, list_fusions
from skmm.estimators._stacking import HeadOutputs, stack_of
from skmm.estimators._targets import ClassTarget
from skmm.model_selection import FusionSearchCV, compare_fusions
from skmm.model_selection._compare import FEW
from skmm.network._members import MemberNetworks


class Count(TorchDispatchMode):
    """How many operations torch is asked for, and how many numbers the largest of their results holds."""

    n = largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n += 1
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                self.largest = max(self.largest, x.numel())
        return result


def bare(fusion, epochs):
    return MultimodalClassifier.plain(
        fusion, hidden_dim=8, batch_size=10, max_epochs=epochs, device="cpu", random_state=0
    )


def count_fit(estimator, X, y):
    with Count() as count:
        estimator.fit(X, y)
    return count.n


@every_fusion
def test_an_epoch_costs_hardly_more_operations_than_in_a_hand_written_loop(fusion):
    X, y = make_data(60, kinds=("vector", "vector"))
    ours = (count_fit(bare(fusion, 6), X, y) - count_fit(bare(fusion, 2), X, y)) / 4
    fitted = bare(fusion, 1).fit(X, y)
    network = fitted.net_.module_.single.train()
    values = {name: torch.from_numpy(np.asarray(x, dtype=np.float32)) for name, x in X.items()}
    present = {name: torch.ones(60, dtype=torch.bool) for name in X}
    target = torch.from_numpy(np.unique(y, return_inverse=True)[1])
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    with Count() as count:
        for rows in torch.randperm(60).split(10):
            optimizer.zero_grad()
            batch = {k: x[rows] for k, x in values.items()}, {k: mask[rows] for k, mask in present.items()}
            F.cross_entropy(network(*batch), target[rows]).backward()
            optimizer.step()
    # beyond it in each of the 6 steps: a loss per sample, which weights need; and the losses of an epoch averaged
    assert ours <= count.n + 6 * 12 + 12


def test_a_stack_of_candidates_takes_the_operations_of_one():
    X, y = make_data(60, kinds=("vector", "vector"))

    def count(n_candidates):
        rates = list(np.linspace(0.001, 0.01, n_candidates))
        fits = [
            FusionSearchCV(bare("mfb", epochs), {"dropout": [0.0], "tol": rates}, cv=2, refit=False)
            for epochs in (2, 6)
        ]
        low, high = (count_fit(search, X, y) for search in fits)
        return (high - low) / 4

    # forward and backward do not depend on how many there are; each has an optimizer, and orders of its own
    assert count(12) < 2 * count(3)


def test_a_stack_that_mixes_classes_is_found_in_few_steps(monkeypatch):
    n, n_heads, n_classes = 600, 8, 8
    rng = np.random.default_rng(0)
    t = rng.integers(n_classes, size=n)
    common = 3 * np.eye(n_classes)[t] + 2 * rng.normal(size=(n, n_classes))
    target = ClassTarget(np.arange(n_classes))
    z = target.features(common[:, None] + 0.3 * rng.normal(size=(n, n_heads, n_classes)))
    steps = []
    monkeypatch.setattr(target, "slope", lambda *args: steps.append(0) or ClassTarget.slope(target, *args))
    found = HeadOutputs([], z, None, t, np.ones(n), np.arange(n), np.arange(n) % 4, None)
    stack, _ = stack_of(target, found)
    # a stack without and one with a mixing matrix, of all and of all but each of four folds
    assert stack.mixing is not None
    assert len(steps) < 10 * 60


def test_members_are_asked_only_of_what_they_left_out(monkeypatch):
    X, y = make_data(80, kinds=("vector", "vector"))
    asked = []
    forward = MemberNetworks.forward

    def noted(self, values, present, **how):
        if not torch.is_grad_enabled():
            members = how.get("members")
            asked.append(len(present["vector"]) * (self.n_members if members is None else len(members)))
        return forward(self, values, present, **how)

    monkeypatch.setattr(MemberNetworks, "forward", noted)
    fitted = ensemble(MultimodalClassifier, n_members=4).fit(X, y)
    assert fitted.stack_ is not None
    assert sum(asked) == 80


def count_comparison(fusions, cv, epochs):
    X, y = make_data(60, kinds=("vector", "vector"))
    with Count() as count:
        compare_fusions(X, y, estimator=bare("sum", epochs), fusions=fusions, cv=cv, baselines=False)
    return count.n


def test_an_epoch_of_a_comparison_takes_hardly_more_operations_for_more_folds():
    few, many = ((count_comparison(["concat"], cv, 6) - count_comparison(["concat"], cv, 2)) / 4 for cv in (2, 6))
    assert many < 2 * few  # orders of batches are each fold's own


def test_a_comparison_takes_fewer_operations_than_a_cross_validation_of_each_fusion():
    X, y = make_data(60, kinds=("vector", "vector"))
    with Count() as count:
        for fusion in FEW:
            cross_validate(bare(fusion, 3), X, y, cv=4)
    assert count_comparison("few", 4, 3) < 0.6 * count.n


@pytest.mark.parametrize("fusion", list_fusions())
def test_many_rows_cost_hardly_more_operations_than_calls_of_the_network(fusion):
    X, y = make_data(60, kinds=("vector", "vector"))
    fitted = bare(fusion, 1).fit(X, y)
    few, many = (Blocks({name: np.repeat(x, n, 0).astype(np.float32) for name, x in X.items()}) for n in (40, 120))
    counts = []
    for rows in (few, many):
        with Count() as count:
            fitted.predict_proba(rows)
        counts.append(count.n)
    n_batches = len(many) // 1024 - len(few) // 1024
    network = fitted.net_.module_.eval()
    values = {name: torch.from_numpy(x) for name, x in few.items()}
    with Count() as count, torch.inference_mode():
        network(values, {name: torch.ones(len(few), dtype=torch.bool) for name in few})
    # beyond it, for each modality: rows cut, standardised and clipped, and whether they exist
    assert counts[1] - counts[0] <= n_batches * (count.n + 10 * len(X))


def test_a_sparse_block_is_never_densified():
    rng = np.random.default_rng(0)
    n, width = 200, 3000
    X = Blocks(text=sp.random_array((n, width), density=0.01, format="csr", dtype=np.float32, rng=rng))
    y = np.arange(n) % 2
    model = bare("concat", 2).set_params(batch_size=100, encoders="mlp")
    with Count() as count:
        model.fit(X, y)
        model.predict(X)
    n_weights = sum(p.numel() for p in model.net_.module_.parameters())
    assert count.largest <= n_weights < 100 * width  # of one batch


def test_importing_loads_nothing_that_an_extra_brings():
    code = "import sys, json, torch, sklearn, skorch; before = set(sys.modules); import skmm; "
    code += "print(json.dumps(sorted(set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    added = {name.partition(".")[0] for name in json.loads(done.stdout)}
    extras = {"transformers", "sentence_transformers", "PIL", "librosa", "soundfile", "soxr", "av", "h5py"}
    extras |= {"pandas", "polars", "skrub", "matplotlib", "optuna", "onnx", "dask", "IPython", "torchao"}
    assert not added & extras
