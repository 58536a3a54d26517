"""Every fusion and encoder runs under torch.compile and torch.export, or its class says why not.

That stacked parameters give the same output under torch.func.vmap is a rule of check_fusion and check_encoder; that
what says it cannot be stacked indeed cannot is tested here.
"""

import copy
from functools import partial

import pytest
import torch
from conftest import LEVELS, SELF_CONTAINED, each_level
from torch.export import Dim
from torch.func import functional_call, stack_module_state
from torch.utils._pytree import tree_map  # torch has no public one

from skmm import Encoder, list_fusions
from skmm.blocks import BlockInfo
from skmm.layers import SparseRows, unsupported
from skmm.network._network import FusionNetwork
from skmm.spec import ENCODERS

INHERITED = {"hidden_dim": 8, "dropout": 0.3, "activation": "relu"}
N_STEPS = 6
INFOS = {
    "vector": BlockInfo("vector", (5,)),
    "sparse": BlockInfo("sparse", (9,), n_components=3),
    "sequence": BlockInfo("sequence", (3,)),
    "tokens": BlockInfo("tokens", (11,)),
    "image": BlockInfo("image", (6, 7, 2)),
    "video": BlockInfo("video", (3, 4, 4, 2)),
}
# Names that no attribute, argument or submodule can have.
MODALITIES = {"文本": INFOS["sequence"], "a.b": INFOS["vector"]}


def block(info, n, seed=0):
    """Values of one modality and their mask: of every three rows one is missing, one is short."""
    generator = torch.Generator().manual_seed(seed)
    length = torch.arange(n) % 3 * 3
    if info.kind == "sparse":
        columns = torch.randint(info.shape[0], (n, 4), generator=generator)
        weights, compressed = (torch.randn(n, size, generator=generator) for size in (4, info.n_components))
        return SparseRows(columns, weights, compressed), length > 0
    if info.kind == "tokens":
        return torch.randint(info.shape[0], (n, N_STEPS), generator=generator), torch.arange(N_STEPS) < length[
            :, None
        ]
    if info.kind == "sequence":
        return torch.randn(n, N_STEPS, *info.shape, generator=generator), torch.arange(N_STEPS) < length[:, None]
    return torch.randn(n, *info.shape, generator=generator), length > 0


def batch(n):
    blocks = {name: block(info, n, seed) for seed, (name, info) in enumerate(MODALITIES.items())}
    return {name: x for name, (x, _) in blocks.items()}, {name: mask for name, (_, mask) in blocks.items()}


def network(name, **options):
    torch.manual_seed(0)
    return FusionNetwork(MODALITIES, name, None, 3, "softmax", INHERITED, **options).eval()


def encoder(name, kind, tokens):
    torch.manual_seed(0)
    return Encoder(name).build(INFOS[kind], tokens, inherited=INHERITED).eval()


def each_batch_dynamic(tree):
    """Shapes for export: the first axis of every tensor is one and the same batch axis."""
    return tree_map(lambda _: {0: Dim("batch")}, tree)


def compiled(module, _example, backend="eager"):  # what comes behind the graph is torch's own
    torch.compiler.reset()
    return torch.compile(module, fullgraph=True, dynamic=True, backend=backend)


def exported(module, example):
    return torch.export.export(module, example, dynamic_shapes=each_batch_dynamic(example)).module()


WAYS = {"compile": compiled, "export": exported}


def assert_fails_with_reason(module, way, run):
    reasons = [layer.unsupported[way] for layer in module.modules() if way in getattr(layer, "unsupported", {})]
    assert all(isinstance(reason, str) and reason for reason in reasons)
    with pytest.raises(Exception, match="."):  # whatever it is that torch raises
        run()


def assert_runs_as_it_is(module, way, inputs):
    """The other form gives the same output, for another number of rows too; or fails, as the class says."""
    make = WAYS[way]
    if unsupported(module, way):
        assert_fails_with_reason(module, way, lambda: make(module, inputs(6))(*inputs(6)))
        return
    with torch.no_grad():
        other = make(module, inputs(6))
        for n in (6, 4):
            torch.testing.assert_close(other(*inputs(n)), module(*inputs(n)))


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    ("name", "way"),
    [
        pytest.param(
            name, way, marks=[] if name in LEVELS and (way == "export" or name == "concat") else [pytest.mark.slow]
        )
        for name in list_fusions()
        for way in WAYS
    ],
)
def test_fusion(name, way):
    assert_runs_as_it_is(network(name), way, batch)


@pytest.mark.one_by_default
@pytest.mark.parametrize("way", ["export", pytest.param("compile", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LEVELS)
def test_fusion_beside_modality_heads(name, way):
    assert_runs_as_it_is(network(name, modality_heads=True), way, batch)


ENCODER_CASES = [
    (name, kind, tokens) for name in SELF_CONTAINED for kind in ENCODERS[name].kinds for tokens in (False, True)
]


@pytest.mark.one_by_default
@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")  # of torch's own layers
@pytest.mark.parametrize(
    ("name", "kind", "tokens", "way"),
    # seconds for an encoder, up to a minute for a network of videos; by default what reads a sample as one vector
    [
        pytest.param(
            *case, way, marks=[pytest.mark.slow] if way == "compile" or "video" in case or case[-1] else []
        )
        for case in ENCODER_CASES
        for way in WAYS
    ],
)
def test_encoder(name, kind, tokens, way):
    assert_runs_as_it_is(encoder(name, kind, tokens), way, lambda n: block(INFOS[kind], n))


CASES = [(partial(network, name), batch) for name in list_fusions()] + [
    (partial(encoder, *case), partial(block, INFOS[case[1]])) for case in ENCODER_CASES
]


@pytest.mark.parametrize(
    ("make", "inputs"),
    [pytest.param(*case, id=str(case[0].args)) for case in CASES if unsupported(case[0](), "vmap")],
)
def test_what_says_it_cannot_be_stacked_cannot(make, inputs):
    module = make()

    def call(parameters, buffers):
        return functional_call(module, (parameters, buffers), inputs(6))

    state = stack_module_state([module, copy.deepcopy(module)])
    assert_fails_with_reason(module, "vmap", lambda: torch.vmap(call)(*state))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # torch's own, at an import
@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex:UserWarning")
@each_level
def test_fusion_compiled_to_machine_code(fusion):
    # in float64: the order of additions changes, and a square root near 0 makes float32's rounding visible
    module = network(fusion).double()
    values, present = batch(6)
    inputs = {key: x.double() for key, x in values.items()}, present
    with torch.no_grad():
        torch.testing.assert_close(compiled(module, inputs, backend="inductor")(*inputs), module(*inputs))
