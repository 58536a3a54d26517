"""Tests of the bilinear fusions: mlb, mcb, mfb, mfh, mutan, block.

The formulas are written out in NumPy, sample by sample, and take only the weights from the modules.
"""

import itertools

import numpy as np
import pytest
import torch
from formulas import HIDDEN, INHERITED, N, assert_close, build, data, dims_of, missing, n_modalities, pool, run
from torch import nn

from skmm import Fusion
from skmm.blocks import Blocks
from skmm.estimators import MultimodalClassifier
from skmm.fusion.mcb import CountSketch
from skmm.testing import check_fusion

PRODUCTS = ["mlb", "mcb", "mfb", "mfh", "mutan", "block"]


# -- the contract, beside that over all fusions -------------------------------------------------------------------


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion("mcb", sketch_dim=5),  # odd
        Fusion("mcb", sketch_dim=1),
        Fusion("mutan", rank=1),
        Fusion("block", chunks=8, rank=2),
        Fusion("block", chunks=1),
    ],
    ids=repr,
)
def test_contract_with_parameters(fusion):
    check_fusion(fusion, estimators=False)


@pytest.mark.parametrize(("name", "published"), [("mutan", {"rank": 10}), ("block", {"rank": 15})])
def test_published_defaults(name, published):
    resolved = Fusion(name).resolve(INHERITED)
    assert {key: resolved[key] for key in published} == published


@pytest.mark.parametrize(("hidden_dim", "chunks"), [(1600, 20), (64, 4), (50, 5), (7, 1)])
def test_chunks_of_block_keep_the_proportion_of_the_paper(hidden_dim, chunks):
    module = Fusion("block", rank=1).build({"a": 3}, inherited={**INHERITED, "hidden_dim": hidden_dim})
    assert module.chunks == chunks


def test_sketch_of_mcb_keeps_the_proportion_of_the_paper():
    """16000 for vectors of 2048, nearly 8 times."""
    assert Fusion("mcb").build({"a": 64, "b": 40}, inherited=INHERITED).out_dim == 512


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("block", {"chunks": 3}, r"chunks=3 does not divide hidden_dim=8; valid are \[1, 2, 4, 8\]"),
        ("block", {"chunks": 0}, r"chunks=0 does not divide hidden_dim=8; valid are \[1, 2, 4, 8\]"),
        ("block", {"rank": 0}, "rank=0 must be at least 1"),
        ("mutan", {"rank": -1}, "rank=-1 must be at least 1"),
        ("mcb", {"sketch_dim": 0}, "sketch_dim=0 must be at least 1"),
        ("mfb", {"factor": 0}, "factor=0 must be at least 1"),
        ("mfh", {"factor": 0}, "factor=0 must be at least 1"),
    ],
)
def test_bad_parameters(name, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, dims_of(2), **params)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRODUCTS)
def test_learns_what_neither_modality_shows(name):
    """The label is the sign of a product: each modality alone is at chance."""

    def draw(n, seed):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, n, 5)).astype(np.float32)
        return Blocks(a=a, b=b), a[:, 0] * b[:, 0] > 0

    model = MultimodalClassifier(fusion=name, n_members=1, random_state=0).fit(*draw(1000, 0))
    assert model.score(*draw(1000, 1)) > 0.9


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_of_seven_neither_vanishes_nor_explodes(name):
    """Before training, from encodings as given; torch's own start has 5e-4 for mlb, 3e-5 for mutan."""
    torch.manual_seed(0)
    dims = {str(m): 64 for m in range(7)}
    module = Fusion(name).build(dims, inherited={**INHERITED, "hidden_dim": 64}).eval()
    values = {m: torch.randn(100, 64).relu() for m in dims}
    output = module(values, {m: torch.ones(100, dtype=torch.bool) for m in dims})
    spread = output.std(0).mean().item()  # over samples
    assert 2e-3 < spread < 1


@pytest.mark.parametrize("name", PRODUCTS)
def test_placeholders_of_a_product_start_neutral(name):
    """Untrained, a product without one modality is that of the others."""
    module = Fusion(name).build(dims_of(3), inherited=INHERITED).double().eval()
    x, there = data(dims_of(3), missing=False)
    there["c"][:] = False
    without = Fusion(name).build(dims_of(2), inherited=INHERITED).double().eval()
    weights = module.state_dict()
    without.load_state_dict({key: weights[key] for key in without.state_dict()})
    assert_close(run(module, x, there), run(without, x, {m: there[m] for m in ("a", "b")}))


# -- low-rank bilinear pooling ------------------------------------------------------------------------------------


def linear(w, layer, x):
    return w[f"{layer}.weight"] @ x + w.get(f"{layer}.bias", 0.0)


@n_modalities
@missing
def test_mlb_projects_a_product_of_tanh(n, missing):
    """f = P^T (tanh(U^T x) ∘ tanh(V^T y)) + b."""
    dims = dims_of(n)
    module, w = build("mlb", dims)
    x, there = data(dims, missing)
    expected = []
    for i in range(N):
        terms = [
            np.tanh(w[f"product.project.{k}.weight"] @ x[m][i])
            if there[m][i]
            else w[f"product.placeholders.vectors.{k}"]
            for k, m in enumerate(dims)
        ]
        expected.append(linear(w, "out", np.prod(terms, axis=0)))
    assert module.out_dim == HIDDEN
    assert_close(run(module, x, there), np.array(expected))


# -- compact bilinear pooling -------------------------------------------------------------------------------------


def sketch(x, bucket, sign, size):
    """The count sketch, entry by entry."""
    y = np.zeros(size)
    for value, h, s in zip(x, bucket, sign, strict=True):
        y[h] += s * value
    return y


def convolve(a, b):
    """Circular convolution, by its definition."""
    return np.array([sum(a[j] * b[(i - j) % len(a)] for j in range(len(a))) for i in range(len(a))])


@n_modalities
@missing
@pytest.mark.parametrize("size", [16, 7])
def test_mcb_convolves_count_sketches(n, missing, size):
    dims = dims_of(n)
    module, w = build("mcb", dims, sketch_dim=size)
    x, there = data(dims, missing)
    expected = []
    for i in range(N):
        z = None
        for k, m in enumerate(dims):
            term = w[f"placeholders.vectors.{k}"]
            if there[m][i]:
                term = sketch(x[m][i], w[f"sketches.{k}.bucket"], w[f"sketches.{k}.sign"], size)
            z = term if z is None else convolve(z, term)
        expected.append(pool(z, 1))
    assert module.out_dim == size
    np.testing.assert_allclose(run(module, x, there), np.array(expected), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("n", [2, 3])
def test_mcb_is_a_count_sketch_of_the_outer_product(n):
    """Entry (i, j, ...) of it has the hash h_1(i) + h_2(j) + ... mod d and the sign s_1(i) s_2(j) ..."""
    dims, size = dims_of(n), 11
    module, w = build("mcb", dims, sketch_dim=size)
    x, there = data(dims, missing=False)
    expected = []
    for i in range(N):
        y = np.zeros(size)
        for entry in itertools.product(*(range(d) for d in dims.values())):
            h = sum(w[f"sketches.{k}.bucket"][e] for k, e in enumerate(entry)) % size
            signs = [w[f"sketches.{k}.sign"][e] for k, e in enumerate(entry)]
            y[h] += np.prod(signs) * np.prod([x[m][i, e] for m, e in zip(dims, entry, strict=True)])
        expected.append(pool(y, 1))
    np.testing.assert_allclose(run(module, x, there), np.array(expected), rtol=1e-5, atol=1e-7)


def test_count_sketch_keeps_inner_products_on_average():
    """E <Ψ(x), Ψ(y)> = <x, y>, with variance at most (|x|² |y|² + <x, y>²) / d."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=20)
    y = x + rng.normal(size=20)
    size, draws = 8, 4000
    torch.manual_seed(0)
    pair = torch.as_tensor(np.stack([x, y]))
    inner = np.array([(a @ b).item() for a, b in (CountSketch(20, size).double()(pair) for _ in range(draws))])
    variance = (x @ x * (y @ y) + (x @ y) ** 2) / size
    assert abs(inner.mean() - x @ y) < 4 * np.sqrt(variance / draws)
    assert inner.var() < 1.1 * variance


def test_hashes_are_drawn_once_and_kept():
    """They are in state_dict, constant in training, and differ between modalities and between modules."""
    torch.manual_seed(0)
    one, other = (Fusion("mcb").build({"a": 30, "b": 30}, inherited=INHERITED) for _ in range(2))
    before = {key: buffer.clone() for key, buffer in one.named_buffers()}
    assert len(before) == 4
    assert set(before) < set(one.state_dict())
    present = {m: torch.tensor([True, False, True]) for m in "ab"}
    one.train()({m: torch.randn(3, 30) for m in "ab"}, present).sum().backward()
    assert all(torch.equal(buffer, before[key]) for key, buffer in one.named_buffers())
    assert not torch.equal(before["sketches.0.bucket"], before["sketches.1.bucket"])
    assert not torch.equal(before["sketches.0.sign"], before["sketches.1.sign"])
    assert not torch.equal(before["sketches.0.bucket"], other.state_dict()["sketches.0.bucket"])
    assert set(before["sketches.0.sign"].tolist()) == {-1.0, 1.0}


# -- Tucker and block-term fusion ---------------------------------------------------------------------------------


@n_modalities
@missing
@pytest.mark.parametrize("rank", [1, 3])
def test_mutan_sums_products_over_the_rank(n, missing, rank):
    """z = Σ_r (x̃ M_r) ∘ (ỹ N_r) with x̃ = tanh(W x)."""
    dims = dims_of(n)
    module, w = build("mutan", dims, rank=rank)
    x, there = data(dims, missing)
    expected = []
    for i in range(N):
        z = np.zeros(HIDDEN)
        for r in range(rank):
            product = np.ones(HIDDEN)
            for k, m in enumerate(dims):
                if there[m][i]:
                    inner = np.tanh(w[f"enter.{k}.weight"] @ x[m][i])
                    product *= w[f"product.project.{k}.weight"][r::rank] @ inner
                else:
                    product *= w[f"product.placeholders.vectors.{k}"][r::rank]
            z += product
        expected.append(linear(w, "out", z))
    assert module.out_dim == HIDDEN
    assert_close(run(module, x, there), np.array(expected))


def test_mutan_of_two_is_a_tucker_decomposition_with_slices_of_low_rank():
    """z[k] = x̃^T T_c[:, :, k] ỹ with T_c[:, :, k] = Σ_r m_r^k ⊗ n_r^k."""
    dims, rank = dims_of(2), 3
    module, w = build("mutan", dims, rank=rank)
    x, there = data(dims, missing=False)
    m, n = (w[f"product.project.{k}.weight"].reshape(HIDDEN, rank, HIDDEN) for k in range(2))
    core = np.einsum("kri,krj->ijk", m, n)
    assert all(np.linalg.matrix_rank(core[:, :, k]) == rank for k in range(HIDDEN))
    inner = [np.tanh(x[name] @ w[f"enter.{k}.weight"].T) for k, name in enumerate(dims)]
    z = np.einsum("bi,bj,ijk->bk", *inner, core)
    assert_close(run(module, x, there), z @ w["out.weight"].T + w["out.bias"])


@n_modalities
@missing
@pytest.mark.parametrize(("chunks", "rank"), [(1, 2), (2, 3), (8, 1)])
def test_block_sums_products_chunk_by_chunk(n, missing, chunks, rank):
    dims, size = dims_of(n), HIDDEN // chunks
    module, w = build("block", dims, chunks=chunks, rank=rank)
    x, there = data(dims, missing)
    expected = []
    for i in range(N):
        parts = []
        for c in range(chunks):
            part = slice(c * size, (c + 1) * size)
            z = np.zeros(size)
            for r in range(rank):
                product = np.ones(size)
                for k, m in enumerate(dims):
                    if there[m][i]:
                        chunk = w[f"enter.{k}.weight"][part] @ x[m][i]
                        product *= chunk @ w[f"cores.{k}"][c][:, r::rank]
                    else:
                        own = w[f"placeholders.vectors.{k}"].reshape(chunks, size, rank)
                        product *= own[c, :, r]
                z += product
            parts.append(pool(z, 1))
        expected.append(linear(w, "out", np.concatenate(parts)))
    assert module.out_dim == HIDDEN
    assert_close(run(module, x, there), np.array(expected))


# -- factorised bilinear pooling ---------------------------------------------------------------------------------


def factor_terms(w, prefix, dims, x, there, i):
    """U_m^T x_m of one sample, or what stands in for it."""
    return [
        w[f"{prefix}.project.{k}.weight"] @ x[m][i] if there[m][i] else w[f"{prefix}.placeholders.vectors.{k}"]
        for k, m in enumerate(dims)
    ]


@n_modalities
@missing
def test_mfb_is_a_product_pooled_in_groups(n, missing):
    dims = dims_of(n)
    module, w = build("mfb", dims, factor=3)
    x, there = data(dims, missing)
    expected = [pool(np.prod(factor_terms(w, "product", dims, x, there, i), axis=0), 3) for i in range(N)]
    assert_close(run(module, x, there), np.array(expected))


def test_mfb_of_two_is_the_low_rank_bilinear_form_of_the_paper():
    """z_o = x^T W_o y with W_o = U_o V_o^T of rank k."""
    dims, k = dims_of(2), 4
    module, w = build("mfb", dims, factor=k)
    x, there = data(dims, missing=False)
    u, v = (w[f"product.project.{m}.weight"].reshape(HIDDEN, k, -1) for m in range(2))
    forms = np.stack([u[o].T @ v[o] for o in range(HIDDEN)])  # (o, 3, 5)
    assert all(np.linalg.matrix_rank(form) <= k for form in forms)
    z = np.array([[x["a"][i] @ form @ x["b"][i] for form in forms] for i in range(N)])
    z = np.sign(z) * np.sqrt(np.abs(z))
    got = run(module, x, there)
    np.testing.assert_allclose(got, z / np.linalg.norm(z, axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1.0, rtol=1e-6)


@n_modalities
@missing
@pytest.mark.parametrize("order", [1, 2, 3])
def test_mfh_is_a_cascade(n, order, missing):
    dims = dims_of(n)
    module, w = build("mfh", dims, factor=3, order=order)
    x, there = data(dims, missing)
    expected = []
    for i in range(N):
        cascade, parts = np.ones(3 * HIDDEN), []
        for block in range(order):
            cascade = cascade * np.prod(factor_terms(w, f"products.{block}", dims, x, there, i), axis=0)
            parts.append(pool(cascade, 3))
        expected.append(np.concatenate(parts))
    assert module.out_dim == order * HIDDEN
    assert_close(run(module, x, there), np.array(expected))


def test_mfh_of_order_one_is_mfb():
    dims = dims_of(3)
    mfh, w = build("mfh", dims, factor=3, order=1)
    mfb, _ = build("mfb", dims, factor=3)
    mfb.load_state_dict({key.replace("products.0", "product"): torch.as_tensor(v) for key, v in w.items()})
    x, there = data(dims)
    assert np.array_equal(run(mfh, x, there), run(mfb, x, there))


class FixedDrop(nn.Module):
    """Dropout whose masks are known: the i-th call uses the i-th."""

    def __init__(self, masks):
        super().__init__()
        self.masks, self.calls = masks, 0

    def forward(self, x):
        self.calls += 1
        return x * self.masks[self.calls - 1]


def test_mfh_hands_on_the_product_after_dropout():
    dims = dims_of(2)
    module, w = build("mfh", dims, factor=2, order=2)
    masks = np.random.default_rng(1).integers(0, 2, (2, N, 2 * HIDDEN)) / 0.5
    module.dropout = FixedDrop(torch.as_tensor(masks))
    x, there = data(dims)
    expected = []
    for i in range(N):
        first = np.prod(factor_terms(w, "products.0", dims, x, there, i), axis=0) * masks[0, i]
        second = np.prod(factor_terms(w, "products.1", dims, x, there, i), axis=0) * first * masks[1, i]
        expected.append(np.concatenate([pool(first, 2), pool(second, 2)]))
    assert_close(run(module, x, there), np.array(expected))
