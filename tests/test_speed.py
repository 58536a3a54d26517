"""Work counted, not timed: a training step calls torch hardly more often than a loop written by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import make_data
from torch.utils._python_dispatch import TorchDispatchMode

from skmm import MultimodalClassifier, list_fusions
from skmm.model_selection import FusionSearchCV


class Count(TorchDispatchMode):
    """How many operations torch is asked for."""

    n = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.n += 1
        return function(*args, **(kwargs or {}))


def bare(fusion, epochs):
    return MultimodalClassifier.plain(
        fusion, hidden_dim=8, batch_size=10, max_epochs=epochs, device="cpu", random_state=0
    )


def count_fit(estimator, X, y):
    with Count() as count:
        estimator.fit(X, y)
    return count.n


@pytest.mark.parametrize("fusion", list_fusions())
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
