"""What the tests of fusions share: modules with known weights, data with missing rows, NumPy pieces of formulas.

The formulas are written from the papers, mostly sample by sample, and take only the weights from the modules.
"""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from skmm import Fusion

N = 9
HIDDEN = 8
INHERITED = {"hidden_dim": HIDDEN, "dropout": 0.3, "activation": "relu"}
SIZES = {"a": 3, "b": 5, "c": 2}


def dims_of(n_modalities):
    return dict(list(SIZES.items())[:n_modalities])


def build(name, *structure, **params):
    """A fusion in float64 with no weight at its start value, and its weights by name."""
    torch.manual_seed(0)
    module = Fusion(name, **params).build(*structure, inherited=INHERITED).double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()
    return module, {key: value.numpy() for key, value in module.state_dict().items()}


def data(dims, missing=True):
    """Vectors and presence; with ``missing`` the rows have every combination of modalities in turn, first none."""
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(N, d)) for name, d in dims.items()}
    return x, {name: (np.arange(N) >> k) % 2 == 1 if missing else np.ones(N, bool) for k, name in enumerate(dims)}


def run(module, x, there):
    with torch.no_grad():
        values = {name: torch.as_tensor(v) for name, v in x.items()}
        return module(values, {name: torch.as_tensor(m) for name, m in there.items()}).numpy()


def relu(x):
    return np.maximum(x, 0)


def layer_norm(x, weight, bias):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * weight + bias


def assert_close(got, expected):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9)


n_modalities = pytest.mark.parametrize("n", [1, 2, 3])
missing = pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])


def pool(expanded, factor):
    """Sum of each group of ``factor``, signed square root, L2."""
    z = np.array([expanded[o * factor : (o + 1) * factor].sum() for o in range(len(expanded) // factor)])
    z = z / np.sqrt(np.abs(z) + 1e-6)
    return z / np.linalg.norm(z)


def attend(query, tokens, w, prefix, n_heads):
    """One query over the given tokens, and the null token if the module has one, head by head."""
    return attend_with_weights(query, tokens, w, prefix, n_heads)[0]


def attend_with_weights(query, tokens, w, prefix, n_heads):
    """What one query reads, and the weights of the null token, if there is one, and the given tokens."""

    def linear(x, layer):
        return w[f"{prefix}.{layer}.weight"] @ x + w.get(f"{prefix}.{layer}.bias", 0.0)

    keys = [*w.get(f"{prefix}.null", []), *tokens]
    size = len(query) // n_heads
    read = np.zeros(len(query))
    weights = []
    for head in range(n_heads):
        part = slice(head * size, (head + 1) * size)
        q = linear(query, "query")[part]
        scores = [q @ linear(key, "key")[part] / math.sqrt(size) for key in keys]
        weights.append(softmax(scores) if scores else np.zeros(0))
        for weight, key in zip(weights[-1], keys, strict=True):
            read[part] += weight * linear(key, "value")[part]
    return linear(read, "out"), np.array(weights)


LENGTHS = {"a": 4, "b": 1, "c": 3}


def token_data(dims, missing=True):
    """Sequences of different lengths and their masks; steps are missing anywhere, the first row lacks all."""
    rng = np.random.default_rng(0)
    x = {m: rng.normal(size=(N, LENGTHS[m], d)) for m, d in dims.items()}
    there = {m: (rng.random((N, LENGTHS[m])) > 0.4) if missing else np.ones((N, LENGTHS[m]), bool) for m in dims}
    for mask in there.values():
        mask[0] = not missing
    return x, there


def position(step, dim):
    """Sines at the even and cosines at the odd places: Vaswani et al. 2017, section 3.5."""
    angles = [step / 10000 ** (2 * (j // 2) / dim) for j in range(dim)]
    return np.array([math.cos(angle) if j % 2 else math.sin(angle) for j, angle in enumerate(angles)])


def transformer_block(tokens, keys, w, prefix, n_heads):
    """Pre-norm attention of each token over keys, then its feed-forward network, both added to it."""

    def norm(x, layer):
        return layer_norm(x, w[f"{prefix}.{layer}.weight"], w[f"{prefix}.{layer}.bias"])

    keys = [norm(key, "norm1") for key in keys]
    out = []
    for x in tokens:
        y = x + attend(norm(x, "norm1"), keys, w, f"{prefix}.attention", n_heads)
        hidden = relu(w[f"{prefix}.feed_forward.0.weight"] @ norm(y, "norm2") + w[f"{prefix}.feed_forward.0.bias"])
        out.append(y + w[f"{prefix}.feed_forward.3.weight"] @ hidden + w[f"{prefix}.feed_forward.3.bias"])
    return out
