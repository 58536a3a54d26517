"""Tests of skmm.testing: a good module of a third party passes, one that breaks a rule is named with the rule."""

import math
import re
import warnings
from itertools import count
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from skmm import (
    Blocks,
    Encoder,
    Fusion,
    MultimodalClassifier,
    list_encoders,
    list_fusions,
    register_encoder,
    register_fusion,
)
from skmm.blocks import RaggedArray
from skmm.layers import keep, masked_mean
from skmm.spec import ENCODERS, FUSIONS
from skmm.testing import check_encoder, check_estimator_on_blocks, check_fusion

# -- fusions ------------------------------------------------------------------------------------------------------


class GeometricFusion(nn.Module):
    """Twenty lines of a third party: a weighted sum of tanh projections."""

    level = "feature"

    def __init__(self, dims, *, hidden_dim=None, temperature=1.0):
        super().__init__()
        self.names = list(dims)
        self.project = nn.ModuleList(nn.Linear(d, hidden_dim) for d in dims.values())
        self.scale = nn.Parameter(torch.ones(len(dims)))
        self.temperature = temperature
        self.out_dim = hidden_dim

    def terms(self, values, present):
        """Projections (B, M, hidden_dim), 0 where absent."""
        x = torch.stack([layer(values[n]) for n, layer in zip(self.names, self.project, strict=True)], 1)
        exists = torch.stack([present[n] for n in self.names], 1)
        return keep(torch.tanh(x / self.temperature), exists) * self.scale[:, None]

    def forward(self, values, present):
        return self.terms(values, present).sum(1)


class AttendsToTheBatch(GeometricFusion):
    """(batch, d) handed to an attention layer, which reads it as one sequence."""

    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.attention = nn.MultiheadAttention(hidden_dim, 2)

    def forward(self, values, present):
        x = super().forward(values, present)
        return self.attention(x, x, x)[0] + x


class NormalisesTheBatch(GeometricFusion):
    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.norm = nn.BatchNorm1d(hidden_dim)

    def forward(self, values, present):
        return self.norm(super().forward(values, present))


class CentresTheBatch(GeometricFusion):
    """Mixes samples in training alone."""

    def forward(self, values, present):
        x = super().forward(values, present)
        return x - x.mean(0) if self.training else x


class MakesLayerInForward(GeometricFusion):
    def forward(self, values, present):
        x = super().forward(values, present)
        if not hasattr(self, "out"):
            self.out = nn.Linear(self.out_dim, self.out_dim, dtype=x.dtype)
        return self.out(x)


class MakesWeightInForward(GeometricFusion):
    def forward(self, values, present):
        x = super().forward(values, present)
        return x * nn.Parameter(torch.ones(self.out_dim, dtype=x.dtype))


class KeepsFactorsInAList(GeometricFusion):
    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.factors = [nn.Parameter(torch.randn(hidden_dim, dtype=torch.float64)) for _ in range(2)]

    def forward(self, values, present):
        x = super().forward(values, present)
        return sum(x * factor for factor in self.factors)


class ForgetsABuffer(GeometricFusion):
    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.register_buffer("signs", torch.randn(hidden_dim).sign(), persistent=False)

    def forward(self, values, present):
        return super().forward(values, present) * self.signs


class HasAnUnusedWeight(GeometricFusion):
    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.unused = nn.Parameter(torch.zeros(2))


class TakesARawRoot(GeometricFusion):
    def forward(self, values, present):
        z = super().forward(values, present)
        return z.sign() * z.abs().sqrt()


class ReadsTheMissing(GeometricFusion):
    def forward(self, values, present):
        return super().forward(values, {name: torch.ones_like(mask) for name, mask in present.items()})


class LeaksNaN(GeometricFusion):
    """A product with 0 leaves out any finite value, but not NaN."""

    def forward(self, values, present):
        exists = {name: torch.ones_like(mask) for name, mask in present.items()}
        x = {name: value * present[name].unsqueeze(-1) for name, value in values.items()}
        return super().forward(x, exists)


class BranchesOnData(GeometricFusion):
    def forward(self, values, present):
        x = super().forward(values, present)
        return x + 1 if bool(present[self.names[0]].sum() > 1e9) else x


class NamesItsLayers(GeometricFusion):
    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.project = nn.ModuleDict({name: nn.Linear(d, hidden_dim) for name, d in dims.items()})

    def terms(self, values, present):
        x = torch.stack([self.project[name](values[name]) for name in self.names], 1)
        return keep(x, torch.stack([present[name] for name in self.names], 1)) * self.scale[:, None]


class CallsByKeyword(GeometricFusion):
    def forward(self, values, present):
        return self.total(**dict(zip(self.names, self.terms(values, present).unbind(1), strict=True)))

    def total(self, **terms):
        return sum(terms.values())


class TakesTwo(GeometricFusion):
    def forward(self, values, present):
        first, second = self.names
        return self.project[0](values[first]) * self.project[1](values[second])


class HoldsALambda(GeometricFusion):
    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.activation = lambda x: x


class SqueezesEverything(GeometricFusion):
    def forward(self, values, present):
        return super().forward(values, present).squeeze()


class ComputesInFloat32(GeometricFusion):
    def forward(self, values, present):
        return super().forward(values, present).float()


class DropsAtPrediction(GeometricFusion):
    def forward(self, values, present):
        return nn.functional.dropout(super().forward(values, present), 0.5)


class SaysAnotherSize(GeometricFusion):
    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.out_dim = 2 * hidden_dim


class StartsWhereverItLikes(GeometricFusion):
    calls = count()

    def __init__(self, dims, *, hidden_dim=None):
        super().__init__(dims, hidden_dim=hidden_dim)
        self.scale = nn.Parameter(torch.ones(len(dims)) + next(self.calls))


class AveragesPadding(GeometricFusion):
    """Reads token sequences, and divides by their padded length."""

    level = "token"

    def forward(self, values, present):
        x = {name: keep(value, present[name]).mean(1) for name, value in values.items()}
        return super().forward(x, {name: mask.any(1) for name, mask in present.items()})


class AveragesTokens(AveragesPadding):
    """Right: divides by the number of tokens that exist."""

    def forward(self, values, present):
        x = {name: masked_mean(value, present[name]) for name, value in values.items()}
        return GeometricFusion.forward(self, x, {name: mask.any(1) for name, mask in present.items()})


BROKEN_FUSIONS = {
    AttendsToTheBatch: "does not depend on the other rows of its batch. Row 0 alone",
    NormalisesTheBatch: "does not depend on the other rows of its batch. In training mode",
    CentresTheBatch: "does not depend on the other rows of its batch. In training mode",
    MakesLayerInForward: "The state_dict has the same keys before and after forward",
    MakesWeightInForward: "none in a plain list or made in forward. A weight of shape (8,)",
    KeepsFactorsInAList: "none in a plain list or made in forward. A weight of shape (8,)",
    ForgetsABuffer: "All that is learned is registered and in state_dict, none in a plain list or made in forward. "
    "Loaded from state_dict",
    HasAnUnusedWeight: "Every parameter receives a gradient and moves when an optimizer takes a step. "
    "Parameter 'unused' has no gradient",
    TakesARawRoot: "Gradients are finite at and near zero inputs",
    ReadsTheMissing: "What stands in a missing row, or in the padding of a sequence, changes no output. With 1e30",
    LeaksNaN: "What stands in a missing row, or in the padding of a sequence, changes no output. With NaN",
    BranchesOnData: "torch.func.vmap",
    NamesItsLayers: "2 modalities: it cannot be built, KeyError",
    CallsByKeyword: "1 modality: this must hold: The output has one row per sample",
    TakesTwo: "1 modality: this must hold: The output has one row per sample",
    HoldsALambda: "Pickled and deep-copied",
    SqueezesEverything: "Row 0 alone and in a batch: the outputs have shapes (8,) and (1, 8)",
    ComputesInFloat32: "answers in the precision of its input. Inputs of torch.float64 gave torch.float32",
    DropsAtPrediction: "In evaluation mode equal inputs give equal outputs",
    SaysAnotherSize: "out_dim=16",
    StartsWhereverItLikes: "Built twice after the same torch.manual_seed",
    AveragesPadding: "Longer padding of a sequence changes no output",
}


@pytest.mark.parametrize("broken", BROKEN_FUSIONS, ids=lambda cls: cls.__name__)
def test_broken_fusion_is_named_with_the_rule_that_it_breaks(broken):
    with pytest.raises(AssertionError, match=re.escape(BROKEN_FUSIONS[broken])) as caught:
        check_fusion(broken)
    assert broken.__name__ in str(caught.value)


@pytest.mark.parametrize("good", [GeometricFusion, AveragesTokens])
@pytest.mark.parametrize("estimators", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_good_fusion_passes_as_a_class(good, estimators):
    check_fusion(good, estimators=estimators)


@pytest.mark.slow
def test_good_fusion_passes_once_registered(monkeypatch):
    monkeypatch.delitem(FUSIONS, "geometric", raising=False)  # and again when the test is over
    register_fusion("geometric")(GeometricFusion)
    assert "geometric" in list_fusions()
    check_fusion("geometric")
    check_fusion(Fusion("geometric", temperature=2.0), estimators=False)
    FUSIONS.pop("geometric")
    with pytest.raises(ValueError, match="unknown fusion 'geometric'"):
        check_fusion("geometric")


class SaysItCannotStack(BranchesOnData):
    unsupported: ClassVar = {"vmap": "it says so"}


def test_class_may_say_that_it_has_no_batching_rule():
    check_fusion(SaysItCannotStack, estimators=False)


@pytest.mark.parametrize("level", [None, "vector"])
def test_unknown_level(level):
    class Odd(GeometricFusion):
        pass

    Odd.level = level
    with pytest.raises(AssertionError, match=re.escape("['input', 'feature', 'token', 'decision']")):
        check_fusion(Odd)


class OneLinkDecision(nn.Module):
    """A decision fusion for values alone."""

    level = "decision"

    def __init__(self, dims, n_outputs, link):
        super().__init__()
        if link != "identity":
            raise ValueError("for regression only")
        self.fuse = GeometricFusion(dims, hidden_dim=n_outputs)
        self.out_dim = n_outputs

    def forward(self, values, present):
        return self.fuse(values, present)


class NoLinkDecision(OneLinkDecision):
    def __init__(self, dims, n_outputs, link):
        super().__init__(dims, n_outputs, "none")


class OutgrownDecision(OneLinkDecision):
    def __init__(self, dims, n_outputs, link):
        super().__init__(dims, n_outputs, link)
        self.fuse = GeometricFusion(dims, hidden_dim=5)
        self.out_dim = 5


def test_decision_fusion_may_refuse_links_but_not_all():
    check_fusion(OneLinkDecision, estimators=False)
    with pytest.raises(
        AssertionError, match="1 modality: it cannot be built: fusion 'NoLinkDecision': for regression only"
    ):
        check_fusion(NoLinkDecision)
    with pytest.raises(AssertionError, match="n_outputs=2, but out_dim=5"):
        check_fusion(OutgrownDecision)


@pytest.mark.parametrize("check", [check_fusion, check_encoder])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nonesuch", "unknown (fusion|encoder) 'nonesuch', valid are"),
        (nn.Linear(2, 2), "expected a name, a class or"),
        (7, "expected a name, a class or"),
    ],
)
def test_value_that_cannot_be_checked(check, value, message):
    with pytest.raises(ValueError, match=message):
        check(value)


@pytest.mark.parametrize(
    ("check", "spec"), [(check_fusion, Fusion("mfb", rank=3)), (check_encoder, Encoder("gru", rank=3))]
)
def test_unknown_parameter(check, spec):
    with pytest.raises(ValueError, match="'rank', valid are"):
        check(spec)


class Leaks(MultimodalClassifier):
    """Predicts what the rows before it say as well."""

    def predict_proba(self, X):
        return np.cumsum(super().predict_proba(X), axis=0) / np.arange(1, len(X) + 1)[:, None]


class Forgets(MultimodalClassifier):
    """Draws its seed from numpy's global state."""

    def _prepare(self, *args, **kwargs):
        return super()._prepare(*args, **kwargs)._replace(random=np.random.RandomState(np.random.randint(2**31)))


class Swallows(MultimodalClassifier):
    """Takes NaN for 0."""

    def fit(self, X, y):
        filled = {name: np.nan_to_num(x) if isinstance(x, np.ndarray) else x for name, x in X.items()}
        return super().fit(filled, y)


class Rereads(MultimodalClassifier):
    """Looks at blocks of some form through other eyes."""

    def seen(self, block):
        return block

    def fit(self, X, y):
        return super().fit(self.blocks(X), y)

    def predict_proba(self, X):
        return super().predict_proba(self.blocks(X))

    def blocks(self, X):
        present = X.present if isinstance(X, Blocks) else None
        return Blocks({name: self.seen(x) for name, x in X.items()}, present=present)


class TurnsTables(Rereads):
    def seen(self, block):
        return block.iloc[:, ::-1] if hasattr(block, "iloc") else block


class TurnsInteger(Rereads):
    """Reads sequences of integers backwards."""

    def seen(self, block):
        whole = isinstance(block, np.ndarray) and block.ndim == 3 and block.dtype.kind == "i"
        return block[:, ::-1] if whole else block


class KnowsPadding(Rereads):
    """Fills sequences up to the longest itself."""

    def seen(self, block):
        return block.pad() if isinstance(block, RaggedArray) else block


class KnowsColumns(Rereads):
    """Centres sparse blocks, by the samples at hand."""

    def seen(self, block):
        return (
            block - sp.csr_array(np.ones((block.shape[0], 1)) * block.mean(axis=0)) if sp.issparse(block) else block
        )


class Halves(MultimodalClassifier):
    """Holds out half of what it is asked to."""

    def _split(self, *args, **options):
        self.validation_fraction /= 2
        try:
            return super()._split(*args, **options)
        finally:
            self.validation_fraction *= 2


class Mixes(MultimodalClassifier):
    """Holds out samples of the last class."""

    def _split(self, strata, *args, **options):
        rows = np.argsort(strata)
        n = round(self.validation_fraction * len(rows))
        return (rows[:-n], rows[-n:]) if self.early_stopping else super()._split(strata, *args, **options)


class Peeks(MultimodalClassifier):
    """Trains on what it holds out."""

    def _split(self, strata, *args, **options):
        _, valid = super()._split(strata, *args, **options)
        return np.arange(len(strata)), valid


class Wastes(MultimodalClassifier):
    """Trains on half of the rest."""

    def _split(self, *args, **options):
        train, valid = super()._split(*args, **options)
        return (train, None) if valid is None else (train[::2], valid)


class Silences(MultimodalClassifier):
    def fit(self, X, y):
        warnings.simplefilter("ignore", DeprecationWarning)
        return super().fit(X, y)


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    ("cls", "statement"),
    [
        (Leaks, "A sample is predicted alone as among others. Row 5"),
        (Forgets, "The same seed gives the same fit"),
        (Swallows, "What stands in a missing row|NaN in a part of a row is an error"),
        (TurnsTables, "What form the numbers come in means nothing. As a DataFrame,"),
        (TurnsInteger, "Of sequences, .* no form, .* means anything. .* sequence block with other missing rows"),
        (KnowsPadding, "Of sequences, .* means anything. A ragged block"),
        (KnowsColumns, "Of sequences, .* means anything. A sparse block"),
        (Halves, "Early stopping holds out the share asked for.* of 80 samples held out 10"),
        (Mixes, "Early stopping holds out .* of each class alike.* has 80% of those held out"),
        (Peeks, "Early stopping .* Samples that are held out are trained on"),
        (Wastes, "Early stopping .* Not all samples are used"),
        (Silences, "change neither global state .* the warning filters are others now"),
    ],
)
def test_broken_estimator_is_named_with_the_rule_that_it_breaks(cls, statement):
    with pytest.raises(AssertionError, match=statement):
        check_estimator_on_blocks(cls(n_members=1, hidden_dim=8))


class VectorsAlone(GeometricFusion):
    """Reads blocks, but of one kind."""

    level = "input"

    def __init__(self, dims, *, hidden_dim=None):
        if any(info.kind != "vector" for info in dims.values()):
            raise ValueError("vectors alone")
        super().__init__({name: info.shape[0] for name, info in dims.items()}, hidden_dim=hidden_dim)


def test_kinds_that_a_fusion_refuses_are_passed_over():
    check_estimator_on_blocks(MultimodalClassifier(VectorsAlone, n_members=1, hidden_dim=8))


def test_global_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    check_fusion("sum", estimators=False)
    check_encoder("mlp")
    assert torch.equal(torch.get_rng_state(), before)


# -- encoders -----------------------------------------------------------------------------------------------------


class MeanEncoder(nn.Module):
    """A third party's encoder of sequences: the mean over time, projected."""

    kinds = ("sequence",)

    def __init__(self, info, tokens, *, hidden_dim=None):
        super().__init__()
        self.linear = nn.Linear(math.prod(info.shape), hidden_dim)
        self.out_dim = hidden_dim

    def forward(self, x, mask):
        return self.linear(masked_mean(x.flatten(2), mask)), mask.any(-1)


class AveragesPaddedSteps(MeanEncoder):
    def forward(self, x, mask):
        return self.linear(x.flatten(2).mean(1)), mask.any(-1)


class ReadsThePadding(MeanEncoder):
    def forward(self, x, mask):
        return self.linear(x.flatten(2).sum(1)), mask.any(-1)


class ReversesThePadding(nn.Module):
    """Reads backwards from the end of the batch, not of the sample."""

    kinds = ("sequence",)
    unsupported: ClassVar = {"vmap": "it says so"}

    def __init__(self, info, tokens, *, hidden_dim=None):
        super().__init__()
        self.gru = nn.GRU(math.prod(info.shape), hidden_dim, batch_first=True)
        self.out_dim = hidden_dim

    def forward(self, x, mask):
        return self.gru(x.flatten(2).flip(1))[1][0], mask.any(-1)


class SaysAllExist(MeanEncoder):
    def forward(self, x, mask):
        return super().forward(x, mask)[0], torch.ones_like(mask[:, 0])


class MasksSteps(MeanEncoder):
    def forward(self, x, mask):
        return super().forward(x, mask)[0], mask


class FailsOnUnknownIds(nn.Module):
    kinds = ("tokens",)

    def __init__(self, info, tokens, *, hidden_dim=None):
        super().__init__()
        self.embedding = nn.Embedding(info.shape[0], hidden_dim)
        self.out_dim = hidden_dim

    def forward(self, x, mask):
        return masked_mean(self.embedding(x), mask), mask.any(-1)


class MixesRows(MeanEncoder):
    def forward(self, x, mask):
        x, mask = super().forward(x, mask)
        return x - x[:1], mask


class ReadsAnotherKind(MeanEncoder):
    kinds = ("sequence", "sound")


BROKEN_ENCODERS = {
    AveragesPaddedSteps: "Longer padding of a sequence changes no output",
    ReadsThePadding: "What stands in a missing row, or in the padding of a sequence, changes no output",
    ReversesThePadding: "Longer padding of a sequence changes no output",
    SaysAllExist: "The mask returned says which rows, or which tokens of a row, exist",
    MasksSteps: "The output has one row per sample",
    FailsOnUnknownIds: "It raised IndexError",
    MixesRows: "does not depend on the other rows of its batch",
    ReadsAnotherKind: "kinds must be among ['vector',",
}


@pytest.mark.parametrize("broken", BROKEN_ENCODERS, ids=lambda cls: cls.__name__)
def test_broken_encoder_is_named_with_the_rule_that_it_breaks(broken):
    with pytest.raises(AssertionError, match=re.escape(BROKEN_ENCODERS[broken])) as caught:
        check_encoder(broken)
    assert broken.__name__ in str(caught.value)


def test_good_encoder_passes_as_a_class_and_once_registered(monkeypatch):
    check_encoder(MeanEncoder)
    monkeypatch.delitem(ENCODERS, "mean", raising=False)
    register_encoder("mean")(MeanEncoder)
    assert "mean" in list_encoders()
    check_encoder("mean")
    ENCODERS.pop("mean")
