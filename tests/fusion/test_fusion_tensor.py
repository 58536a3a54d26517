"""Tests of skmm.fusion.tensor: the tensor of all products, and the map of it of low rank."""

import itertools
import math

import numpy as np
import pytest
import torch
from formulas import (
    HIDDEN,
    INHERITED,
    N,
    assert_close,
    build,
    data,
    dims_of,
    layer_norm,
    missing,
    n_modalities,
    relu,
    run,
)

from skmm import Fusion
from skmm.testing import check_fusion


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion("tensor", n_layers=2),
        Fusion("tensor", modality_dim=1),
        Fusion("tensor", modality_dim={"self": 4}),
        Fusion("lowrank", rank=1),
    ],
    ids=repr,
)
def test_contract_with_parameters(fusion):
    check_fusion(fusion, estimators=False)


def outer(vectors):
    """All products of one entry of each vector, the last vector's index moving fastest."""
    return np.array([math.prod(entries) for entries in itertools.product(*vectors)])


# -- tensor -------------------------------------------------------------------------------------------------------

PROJECTED = {"a": 2, "b": 3, "c": 1}


@n_modalities
@missing
def test_tensor_is_the_outer_product_with_ones(n, missing):
    """z = ⊗_m [1; z_m], then linear, LayerNorm, ReLU, twice."""
    dims = dims_of(n)
    module, w = build("tensor", dims, modality_dim={m: PROJECTED[m] for m in dims}, n_layers=2)
    x, there = data(dims, missing)
    expected = []
    for i in range(N):
        parts = [
            w[f"project.{k}.weight"] @ x[m][i] + w[f"project.{k}.bias"]
            if there[m][i]
            else w[f"placeholders.vectors.{k}"]
            for k, m in enumerate(dims)
        ]
        z = outer([np.append(1.0, part) for part in parts])
        z = w["layers.0.0.weight"] @ z
        z = relu(layer_norm(z, w["layers.0.1.weight"], w["layers.0.1.bias"]))
        z = w["layers.1.0.weight"] @ z + w["layers.1.0.bias"]
        expected.append(relu(layer_norm(z, w["layers.1.1.weight"], w["layers.1.1.bias"])))
    assert module.size == math.prod(PROJECTED[m] + 1 for m in dims)
    assert_close(run(module, x, there), np.array(expected))


def test_an_absent_modality_leaves_at_first_the_tensor_of_the_others():
    torch.manual_seed(0)
    full = Fusion("tensor").build(dims_of(3), inherited=INHERITED).double().eval()
    two = Fusion("tensor").build(dims_of(2), inherited=INHERITED).double().eval()
    weights = full.state_dict()
    # of the entries of the tensor of three, those where the third contributes its 1
    weights["layers.0.0.weight"] = weights["layers.0.0.weight"].unflatten(-1, (4, 6, 3))[..., 0].flatten(1)
    two.load_state_dict({key: weights[key] for key in two.state_dict()})
    x, there = data(dims_of(3), missing=False)
    there["c"][:] = False
    assert_close(run(full, x, there), run(two, x, {m: there[m] for m in ("a", "b")}))


@pytest.mark.parametrize(
    ("n", "each"), [(1, 64), (2, 31), (3, 9), (4, 4), (5, 3), (6, 2), (7, 1), (12, 1)], ids=lambda v: str(v)
)
def test_the_tensor_stays_small_whatever_the_number_of_modalities(n, each):
    module = Fusion("tensor").build({f"m{i}": 64 for i in range(n)}, inherited=INHERITED)
    assert [layer.out_features for layer in module.project] == [each] * n
    assert module.size == (each + 1) ** n
    assert module.out_dim == HIDDEN


def test_no_modality_is_projected_to_more_than_it_has():
    module = Fusion("tensor").build({"wide": 64, "narrow": 2}, inherited=INHERITED)
    assert [layer.out_features for layer in module.project] == [31, 2]


def test_the_sizes_of_the_paper():
    sizes = {"text": 128, "audio": 32, "video": 32}
    fusion = Fusion("tensor", modality_dim=sizes, n_layers=2, hidden_dim=128)
    module = fusion.build({"text": 300, "audio": 74, "video": 46}, inherited=INHERITED)
    assert module.size == 129 * 33 * 33 == 140_481
    assert module.out_dim == 128


# -- lowrank ------------------------------------------------------------------------------------------------------


def factors(w, n, rank):
    """w_{m,k}^(r), as (k, r, 1 + d_m) per modality, that of the 1 first."""
    joined = [np.column_stack([w[f"factors.{m}.bias"], w[f"factors.{m}.weight"]]) for m in range(n)]
    return [f.reshape(HIDDEN, rank, -1) for f in joined]


def with_one(w, dims, x, there, i):
    """[1; x_m] of one sample, or of what stands in for x_m."""
    filled = [x[m][i] if there[m][i] else w[f"placeholders.vectors.{k}"] for k, m in enumerate(dims)]
    return [np.append(1.0, v) for v in filled]


@n_modalities
@missing
@pytest.mark.parametrize("rank", [1, 3])
def test_lowrank_is_a_sum_of_products(n, missing, rank):
    """h = Σ_r ∘_m W_m^(r) [1; x_m]"""
    dims = dims_of(n)
    module, w = build("lowrank", dims, rank=rank)
    x, there = data(dims, missing)
    expected = np.zeros((N, HIDDEN))
    for i in range(N):
        for r in range(rank):
            terms = zip(factors(w, n, rank), with_one(w, dims, x, there, i), strict=True)
            expected[i] += np.prod([factor[:, r] @ z for factor, z in terms], axis=0)
    assert_close(run(module, x, there), expected)


@n_modalities
@missing
def test_lowrank_is_a_linear_map_of_the_whole_tensor(n, missing):
    """h_k = W_k · ⊗_m [1; x_m] with W_k = Σ_r ⊗_m w_{m,k}^(r)."""
    dims, rank = dims_of(n), 4
    module, w = build("lowrank", dims, rank=rank)
    x, there = data(dims, missing)
    maps = [sum(outer([f[k, r] for f in factors(w, n, rank)]) for r in range(rank)) for k in range(HIDDEN)]
    expected = [np.array(maps) @ outer(with_one(w, dims, x, there, i)) for i in range(N)]
    assert_close(run(module, x, there), np.array(expected))


def test_an_absent_modality_leaves_at_first_the_product_of_the_others():
    torch.manual_seed(0)
    full = Fusion("lowrank").build(dims_of(3), inherited=INHERITED).double().eval()
    two = Fusion("lowrank").build(dims_of(2), inherited=INHERITED).double().eval()
    weights = full.state_dict()
    two.load_state_dict({key: weights[key] for key in two.state_dict()})
    x, there = data(dims_of(3), missing=False)
    there["c"][:] = False
    assert_close(run(full, x, there), run(two, x, {m: there[m] for m in ("a", "b")}))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_product_of_many_modalities_does_not_vanish(n):
    torch.manual_seed(0)
    dims = {f"m{i}": 64 for i in range(n)}
    module = Fusion("lowrank", hidden_dim=64).build(dims, inherited=INHERITED)
    everything = torch.ones(200, dtype=torch.bool)
    with torch.no_grad():
        output = module({m: torch.randn(200, 64) for m in dims}, dict.fromkeys(dims, everything))
    assert 0.3 < output.std(0).mean() < 10


def test_the_default_rank_is_one_of_the_paper():
    assert Fusion("lowrank").get_params()["rank"] in (1, 4, 8, 16)


# -- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        (
            "tensor",
            {"modality_dim": 1000},
            r"\{'txt': 1000, 'aud': 1000\} would have 1,002,001 numbers, more than max_size=262,144.*'lowrank'",
        ),
        ("tensor", {"max_size": 11}, "would have 12 numbers, more than max_size=11.* a smaller modality_dim"),
        ("tensor", {"modality_dim": 2.5}, "modality_dim=2.5 gives modality 'txt' size 2.5; at least 1 .* whole"),
        ("tensor", {"modality_dim": {"aud": "5"}}, "gives modality 'aud' size '5'; at least 1"),
        ("tensor", {"modality_dim": {"text": 3}}, r"'text', valid are \['txt', 'aud'\].*Did you mean 'txt'"),
        ("tensor", {"modality_dim": 0}, "modality_dim=0 gives modality 'txt' size 0; at least 1"),
        ("tensor", {"modality_dim": {"aud": -1}}, "gives modality 'aud' size -1; at least 1"),
        ("tensor", {"n_layers": 0}, "n_layers=0 must be at least 1"),
        ("lowrank", {"rank": 0}, "rank=0 must be at least 1"),
    ],
)
def test_bad_parameters(name, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, {"txt": 3, "aud": 2}, **params)


def test_too_many_modalities_for_a_tensor():
    dims = {f"m{i}": 3 for i in range(19)}
    with pytest.raises(
        ValueError, match="would have 524,288 numbers.*Take a fusion .* such as 'lowrank'"
    ) as caught:
        build("tensor", dims)
    assert "modality_dim" not in str(caught.value)  # every modality is one number already
    build("lowrank", dims)
