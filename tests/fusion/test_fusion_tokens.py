"""Tests of the fusions that read tokens: attention, crossmodal and bottleneck, against their papers' formulas."""

import numpy as np
import pytest
import torch
from formulas import (
    HIDDEN,
    INHERITED,
    N,
    assert_close,
    attend,
    attend_with_weights,
    build,
    dims_of,
    layer_norm,
    missing,
    n_modalities,
    position,
    run,
    token_data,
    transformer_block,
)
from scipy.special import softmax

from skmm import Blocks, Fusion, MultimodalClassifier
from skmm.testing import check_fusion


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "fusion",
    [
        Fusion("attention", n_heads=2),
        Fusion("crossmodal", n_layers=2, n_heads=2),
        Fusion("bottleneck", n_layers=3, fusion_layer=1, n_bottlenecks=1, n_heads=1),
    ],
    ids=repr,
)
def test_contract_with_parameters(fusion):
    check_fusion(fusion, estimators=False)


null_token = pytest.mark.parametrize("null_token", [True, False], ids=["null", "as published"])


def projected(w, k, x, there, scale=1.0, positions=True):
    """The tokens of one modality of one sample that exist, as the fusion starts from them."""
    return [
        scale * (w[f"project.{k}.weight"] @ x[t] + w[f"project.{k}.bias"])
        + (position(t, HIDDEN) if positions else 0)
        for t in np.flatnonzero(there)
    ]


# -- attention ----------------------------------------------------------------------------------------------------


@n_modalities
@missing
@null_token
def test_attention_reads_the_tokens_of_the_others(n, missing, null_token):
    dims = dims_of(n)
    module, w = build("attention", dims, n_heads=2, null_token=null_token)
    x, there = token_data(dims, missing)
    expected = np.zeros((N, HIDDEN))
    for i in range(N):
        tokens, normed = {}, {}
        for k, m in enumerate(dims):
            tokens[m] = projected(w, k, x[m][i], there[m][i], positions=False)
            normed[m] = [layer_norm(z, w[f"norms.{k}.weight"], w[f"norms.{k}.bias"]) for z in tokens[m]]
        vectors = []
        for k, m in enumerate(dims):
            if not tokens[m]:
                continue
            others = [z for other in dims if other != m or n == 1 for z in normed[other]]
            read = [attend(q, others, w, f"attention.{k}", 2) for q in normed[m]]
            vectors.append(np.mean(np.add(tokens[m], read), axis=0))
        if vectors:
            weights = softmax([w["score.weight"][0] @ v for v in vectors]) if n > 1 else np.ones(1)
            expected[i] = weights @ np.array(vectors)
    assert_close(run(module, x, there), expected)


# -- crossmodal ---------------------------------------------------------------------------------------------------

N_HEADS = 2


def sources_of(target, dims):
    return [m for m in dims if m != target] or [target]


def crossmodal_stack(tokens, target, source, w, dims, n_layers):
    """Tsai et al. 2019, equation 4: tokens of the target after each layer of the stack source -> target."""
    prefix = f"targets.{list(dims).index(target)}.cross.{sources_of(target, dims).index(source)}"
    states = [tokens[target]]
    for layer in range(n_layers):
        states.append(transformer_block(states[-1], tokens[source], w, f"{prefix}.{layer}", N_HEADS))
    return prefix, states


@n_modalities
@missing
@null_token
@pytest.mark.parametrize(("n_layers", "factor"), [(1, 2), (3, 4)])
def test_crossmodal_is_the_multimodal_transformer(n, missing, null_token, n_layers, factor):
    dims = dims_of(n)
    params = {"null_token": null_token, "feed_forward_factor": factor}
    module, w = build("crossmodal", dims, n_layers=n_layers, n_heads=N_HEADS, **params)
    assert w["targets.0.cross.0.0.feed_forward.0.weight"].shape == (factor * HIDDEN, HIDDEN)
    x, there = token_data(dims, missing)
    expected = []
    for i in range(N):
        tokens = {m: projected(w, k, x[m][i], there[m][i]) for k, m in enumerate(dims)}
        row = []
        for k, target in enumerate(dims):
            if not tokens[target]:
                row.append(w[f"placeholders.vectors.{k}"])
                continue
            adapted = [
                crossmodal_stack(tokens, target, source, w, dims, n_layers)[1][-1]
                for source in sources_of(target, dims)
            ]
            joined = [np.concatenate(parts) for parts in zip(*adapted, strict=True)]
            for layer in range(n_layers):
                joined = transformer_block(joined, joined, w, f"targets.{k}.joint.{layer}", N_HEADS)
            row.append(joined[-1])
        expected.append(np.concatenate(row))
    assert module.out_dim == n * max(n - 1, 1) * HIDDEN
    assert_close(run(module, x, there), np.array(expected))


@n_modalities
def test_crossmodal_attention_weights_are_those_of_the_last_layer(n):
    dims, n_layers = dims_of(n), 2
    module, w = build("crossmodal", dims, n_layers=n_layers, n_heads=N_HEADS)
    x, there = token_data(dims)
    with torch.no_grad():
        got = module.attention_weights(
            {m: torch.as_tensor(v) for m, v in x.items()}, {m: torch.as_tensor(v) for m, v in there.items()}
        )
    assert list(got) == [(target, (source,)) for target in dims for source in sources_of(target, dims)]
    for (target, (source,)), weights in got.items():
        expected = np.zeros((N, N_HEADS, x[target].shape[1], 1 + x[source].shape[1]))
        for i in range(N):
            tokens = {m: projected(w, k, x[m][i], there[m][i]) for k, m in enumerate(dims)}
            prefix, states = crossmodal_stack(tokens, target, source, w, dims, n_layers)
            last = f"{prefix}.{n_layers - 1}"

            def norm(z, last=last):
                return layer_norm(z, w[f"{last}.norm1.weight"], w[f"{last}.norm1.bias"])

            read = [0, *(1 + np.flatnonzero(there[source][i]))]  # the null token stands first
            keys = [norm(z) for z in tokens[source]]
            for t, z in zip(np.flatnonzero(there[target][i]), states[-2], strict=True):
                expected[i, :, t, read] = attend_with_weights(norm(z), keys, w, f"{last}.attention", N_HEADS)[1].T
        assert_close(weights.numpy(), expected)
        np.testing.assert_allclose(
            weights.sum(-1), np.broadcast_to(there[target][:, None], weights.shape[:-1]), atol=1e-12
        )


# -- bottleneck ---------------------------------------------------------------------------------------------------


@n_modalities
@missing
@null_token
@pytest.mark.parametrize(("n_layers", "fusion_layer", "size"), [(2, 0, 4), (3, 1, 1), (4, 2, 2)])
def test_bottleneck_is_shared_from_its_layer_on(n, missing, null_token, n_layers, fusion_layer, size):
    dims = dims_of(n)
    params = {"n_layers": n_layers, "fusion_layer": fusion_layer, "n_bottlenecks": size, "n_heads": N_HEADS}
    module, w = build("bottleneck", dims, null_token=null_token, feed_forward_factor=4, **params)
    x, there = token_data(dims, missing)
    expected = np.zeros((N, HIDDEN))
    for i in range(N):
        z = {  # by number, of those that this sample has
            k: [w["class_tokens"][k], *projected(w, k, x[m][i], there[m][i], scale=np.sqrt(HIDDEN))]
            for k, m in enumerate(dims)
            if there[m][i].any()
        }
        b = list(w["bottleneck"])
        for layer in range(n_layers):
            if layer < fusion_layer:
                z = {k: transformer_block(v, v, w, f"layers.{layer}.{k}", N_HEADS) for k, v in z.items()}
                continue
            both = {k: transformer_block(b + v, b + v, w, f"layers.{layer}.{k}", N_HEADS) for k, v in z.items()}
            z = {k: v[size:] for k, v in both.items()}
            b = [np.mean([v[j] for v in both.values()], axis=0) for j in range(size)] if both else b
        if z:
            expected[i] = np.mean([v[0] for v in z.values()], axis=0)
    assert module.out_dim == HIDDEN
    assert_close(run(module, x, there), expected)


def test_absent_modality_leaves_no_trace_in_the_bottleneck():
    three, w = build("bottleneck", dims_of(3), n_heads=N_HEADS)
    two, own = build("bottleneck", dims_of(2), n_heads=N_HEADS)
    two.load_state_dict({key: torch.as_tensor(w[key][:2] if key == "class_tokens" else w[key]) for key in own})
    x, there = token_data(dims_of(3), missing=False)
    there["c"][:] = False
    assert_close(run(three, x, there), run(two, x, {m: there[m] for m in ("a", "b")}))


def test_published_bottleneck():
    assert Fusion("bottleneck").resolve(INHERITED)["n_bottlenecks"] == 4


# -- all ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "crossmodal", "bottleneck"])
def test_learns_what_only_two_modalities_together_tell(name):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 3000, 5))
    X, y = Blocks(a=a, b=b), a[:, 0] * b[:, 0] > 0
    model = MultimodalClassifier(name, n_members=2, random_state=0).fit(X[:1000], y[:1000])
    assert model.score(X[1000:], y[1000:]) > 0.9


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        *(
            (name, {"n_heads": 3}, r"n_heads=3 does not divide the dimension 8; valid are \[1, 2, 4, 8\]")
            for name in ("attention", "crossmodal", "bottleneck")
        ),
        ("crossmodal", {"n_layers": 0}, "n_layers=0 must be at least 1"),
        ("bottleneck", {"n_layers": 1}, "n_layers=1 must be at least 2"),
        ("bottleneck", {"n_layers": 3, "fusion_layer": 2}, "fusion_layer=2 with n_layers=3: valid are 0 to 1"),
        ("bottleneck", {"fusion_layer": -1}, "fusion_layer=-1 .* valid are 0 to 0"),
        ("bottleneck", {"n_bottlenecks": 0}, "n_bottlenecks=0 must be at least 1"),
    ],
)
def test_bad_parameters(name, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, {"a": 3, "b": 2}, **params)
