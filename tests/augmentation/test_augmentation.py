"""Augmentations: formulas, what they leave alone, draws of each member's own, and training with them."""

import sys

import numpy as np
import pytest
import torch
from conftest import make_block, make_data, outputs, small
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from skmm import Blocks, Encoder, MultimodalClassifier, MultimodalRegressor
from skmm.augmentation import (
    Batch,
    ColorJitter,
    CutMix,
    GaussianNoise,
    JointAugmentation,
    Mixup,
    ModalityAugmentation,
    ModalityDropout,
    RandomCrop,
    RandomFlip,
    SpecAugment,
    TimeMask,
    TimeShift,
    TokenDropout,
    TokenSwap,
    compose,
)
from skmm.blocks import BlockInfo
from skmm.layers import SparseRows

OF_ONE = [
    GaussianNoise(),
    RandomFlip(),
    RandomCrop(1),
    ColorJitter(),
    TimeMask(0.5),
    SpecAugment(0.5, frequency_width=0.5),
    TimeShift(0.5),
    TokenDropout(0.5),
    TokenSwap(0.5),
]
OF_ALL = [ModalityDropout(0.5), Mixup(1.0), CutMix()]
SHAPES = {  # of a sample; steps and ids beside it
    "vector": (5,),
    "sparse": (),
    "sequence": (6, 4),
    "tokens": (6,),
    "image": (6, 5, 3),
    "video": (3, 6, 5, 2),
}
INFOS = {
    kind: BlockInfo(kind, shape[1:] if kind == "sequence" else shape or (9,)) for kind, shape in SHAPES.items()
}


def name_of(value):
    return type(value).__name__


CASES = [(change, kind) for change in OF_ONE for kind in change.kinds]
every_case = pytest.mark.parametrize(
    ("change", "kind"), CASES, ids=lambda v: v if isinstance(v, str) else name_of(v)
)
every_joint = pytest.mark.parametrize("change", OF_ALL, ids=name_of)
batch_axes = pytest.mark.parametrize("lead", [(40,), (1, 40), (8, 40)], ids=["one", "K=1", "K=8"])


def values_of(kind, lead, seed=0):
    """Values and mask; a fifth of the samples missing, sequences of lengths 1 to 6, noise where nothing exists."""
    rng = torch.Generator().manual_seed(seed)
    there = torch.rand(lead, generator=rng) > 0.2
    if kind == "sparse":
        columns = torch.randint(9, (*lead, 4), generator=rng)
        weights = torch.randn(*lead, 4, generator=rng)
        weights[..., 2:] = torch.where(torch.rand(*lead, 2, generator=rng) > 0.5, weights[..., 2:], 0.0)
        return SparseRows(columns, weights, torch.randn(*lead, 3, generator=rng)), there
    shape = SHAPES[kind]
    if kind == "tokens":
        x = torch.randint(1, 1000, (*lead, *shape), generator=rng)
    else:
        x = torch.randn(*lead, *shape, generator=rng)
    if kind in ("sequence", "tokens"):
        length = torch.randint(1, 7, lead, generator=rng)
        there = there.unsqueeze(-1) & (torch.arange(6) < length.unsqueeze(-1))
    return x, there


def batch_of(*kinds, lead=(40,), complete=False):
    values, present = {}, {}
    for i, kind in enumerate(kinds):
        values[kind], present[kind] = values_of(kind, lead, seed=i)
        if complete:
            present[kind] = torch.ones_like(present[kind])
    target = torch.arange(int(np.prod(lead))).view(lead) % 7
    return Batch(values, present, target, None, axes=len(lead))


def parts(x):
    return list(x) if isinstance(x, SparseRows) else [x]


def applied(change, kind, batch, seed=0):
    (step,) = compose({kind: change}, {kind: INFOS[kind]})
    torch.manual_seed(seed)
    return step(batch)


# -- what holds for each -------------------------------------------------------------------------------------------


@every_case
@batch_axes
def test_shape_type_and_what_does_not_exist_stay(change, kind, lead):
    batch = batch_of(kind, lead=lead)
    before = [part.clone() for part in parts(batch.values[kind])]
    changed = applied(change, kind, batch)
    mask = batch.present[kind]
    assert changed.present[kind].shape == mask.shape
    assert not (changed.present[kind] & ~mask).any()
    assert (changed.present[kind].view(*lead, -1).any(-1) == mask.view(*lead, -1).any(-1)).all()
    for old, new, given in zip(before, parts(changed.values[kind]), parts(batch.values[kind]), strict=True):
        assert new.shape == old.shape
        assert new.dtype == old.dtype
        assert torch.equal(new[~mask], old[~mask])
        assert torch.equal(given, old)  # the batch that was handed over is another
    assert any(not torch.equal(a, b) for a, b in zip(before, parts(changed.values[kind]), strict=True))
    assert changed.target is batch.target
    assert changed.weights is None


@every_case
def test_each_sample_of_each_member_has_a_draw_of_its_own(change, kind):
    """Of samples that are all the same, no two members get the same batch."""
    batch = batch_of(kind, lead=(40,), complete=True)

    def same(x):
        return x[:1].expand(3, 40, *x.shape[1:])

    x = batch.values[kind]
    x = SparseRows(*map(same, x)) if isinstance(x, SparseRows) else same(x)
    batch = batch._replace(values={kind: x}, present={kind: same(batch.present[kind])}, axes=2)
    changed = parts(applied(change, kind, batch).values[kind])
    assert any(not torch.equal(new[0], new[1]) for new in changed)
    assert any(len(new[0].flatten(1).unique(dim=0)) > 1 for new in changed)


@every_case
def test_the_seed_alone_decides(change, kind):
    batch = batch_of(kind)
    first, again, other = (parts(applied(change, kind, batch, seed).values[kind]) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (GaussianNoise(0.0), "vector"),
        (RandomFlip(0.0), "image"),
        (RandomCrop(0), "image"),
        (ColorJitter(0.0, 0.0, 0.0), "image"),
        (TimeMask(0), "sequence"),
        (SpecAugment(0.0, 2, 0.0, 2), "sequence"),
        (TimeShift(0), "sequence"),
        (TokenDropout(0.0), "tokens"),
        (TokenSwap(0.0), "tokens"),
    ],
    ids=lambda v: v if isinstance(v, str) else name_of(v),
)
def test_of_strength_0_changes_nothing(change, kind):
    batch = batch_of(kind)
    changed = applied(change, kind, batch)
    torch.testing.assert_close(changed.values[kind], batch.values[kind])
    assert torch.equal(changed.present[kind], batch.present[kind])


# -- blocks that are not standardised ------------------------------------------------------------------------------

COUNTING = [(change, kind) for change, kind in CASES if change.standardised]
SCALE, SHIFT = 40.0, 128.0


def by_member(x, mask, lead):
    """Values that exist, (steps, d), of each member."""
    x, mask = (x, mask) if len(lead) == 2 else (x[None], mask[None])
    return [values[there].reshape(-1, x.shape[-1]) for values, there in zip(x, mask, strict=True)]


@pytest.mark.parametrize(("change", "kind"), COUNTING, ids=lambda v: v if isinstance(v, str) else name_of(v))
@batch_axes
def test_raw_values_change_as_standardised_ones_do(change, kind, lead):
    """By the deviation of each member's batch, of what exists, per feature or channel."""
    batch = batch_of(kind, lead=lead)
    x, mask = batch.values[kind], batch.present[kind]
    scales = torch.linspace(1, 3, int(np.prod(lead[:-1])))
    if kind == "sparse":
        factor = SCALE * scales.view(*lead[:-1], 1, 1)
        raw = x._replace(weights=factor * x.weights)
        stored = (x.weights != 0) & mask.unsqueeze(-1)
        own = (torch.where(stored, x.weights, 0.0).square().sum((-1, -2)) / stored.sum((-1, -2))).sqrt()
        standard = x._replace(weights=x.weights / own.view(*lead[:-1], 1, 1))
        unit, shift = factor * own.view(*lead[:-1], 1, 1), 0.0
    else:
        shape = (*lead[:-1], *[1] * (x.ndim - len(lead) + 1))
        factor = SCALE * scales.view(shape)
        raw = factor * x + SHIFT
        held = by_member(x, mask, lead)
        mean, own = (
            torch.stack(part).view(*lead[:-1], *[1] * (x.ndim - len(lead)), x.shape[-1])
            for part in zip(*((h.mean(0), h.std(0, correction=0)) for h in held), strict=True)
        )
        standard, unit, shift = (x - mean) / own, factor * own, factor * mean + SHIFT
    torch.manual_seed(0)
    (step,) = compose({kind: change}, {kind: INFOS[kind]}, {kind: None})
    found = step(batch._replace(values={kind: raw}))
    expected = applied(change, kind, batch._replace(values={kind: standard}))
    assert torch.equal(found.present[kind], expected.present[kind])
    a, b = found.values[kind], expected.values[kind]
    if kind == "sparse":
        assert torch.equal(a.columns, b.columns)
        torch.testing.assert_close(a.compressed, b.compressed)
        a, b = a.weights, b.weights
    there = mask.view(*mask.shape, *[1] * (a.ndim - mask.ndim)).expand(a.shape)
    torch.testing.assert_close(a[there], (unit * b + shift)[there], rtol=1e-4, atol=1e-2)
    before = raw.weights if kind == "sparse" else raw
    assert torch.equal(a[~there], before[~there])
    assert (a - before).abs().max() > 1


@pytest.mark.parametrize("scalers", [None, {"image": object()}])
def test_standardised_values_are_taken_as_they_are(scalers):
    batch = batch_of("image", complete=True)
    (step,) = compose({"image": GaussianNoise(1.0)}, {"image": INFOS["image"]}, scalers)
    wide = {"image": 1000 * batch.values["image"]}
    assert (step(batch._replace(values=wide)).values["image"] - wide["image"]).std() < 1.1


def test_a_raw_picture_without_a_channel_axis_and_a_constant_one():
    info = {"image": BlockInfo("image", (6, 5))}
    picture = torch.randint(0, 256, (40, 6, 5)).float()
    there = {"image": torch.ones(40, dtype=torch.bool)}
    (step,) = compose({"image": GaussianNoise(0.1)}, info, {"image": None})
    batch = Batch({"image": picture}, there, torch.zeros(40), None, axes=1)
    noise = step(batch).values["image"] - picture
    np.testing.assert_allclose(noise.std(), 0.1 * picture.std(), rtol=0.1)
    grey = torch.full_like(picture, 77.0)
    assert torch.equal(step(batch._replace(values={"image": grey})).values["image"], grey)
    unchanged = compose({"image": ColorJitter(0.0, 0.0, 0.0)}, info, {"image": None})[0](batch)
    torch.testing.assert_close(unchanged.values["image"], picture)


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("scale_inputs", [True, False])
def test_an_estimator_jitters_pictures_in_their_own_units(scale_inputs, n_members):
    X, y = make_data(kinds=("image", "vector"))
    seen = []

    def spy(x, mask):
        seen.append(x.clone())
        return x, mask

    augment = {"image": [spy, ColorJitter(0.5, 0.0, 0.0), spy]}
    params = {"augment": augment, "scale_inputs": scale_inputs, "n_members": n_members, "max_epochs": 2}
    clf = small(**params).fit(X, y)
    deviations = [((b - a).abs().max() / a.std()).item() for a, b in zip(seen[::2], seen[1::2], strict=True)]
    assert 0.3 < max(deviations) < 0.7
    np.testing.assert_array_equal(clf.predict_proba(X), small(**params).fit(X, y).predict_proba(X))
    np.testing.assert_allclose(clf.predict_proba(X[3:4])[0], clf.predict_proba(X)[3], atol=1e-5)


# -- formulas ------------------------------------------------------------------------------------------------------


def test_noise_has_its_deviation_and_leaves_entries_that_are_not_stored():
    batch = batch_of("sparse", lead=(2000,), complete=True)
    changed = applied(GaussianNoise(0.3), "sparse", batch).values["sparse"]
    old = batch.values["sparse"]
    stored = old.weights != 0
    assert torch.equal(changed.columns, old.columns)
    assert (changed.weights[~stored] == 0).all()
    difference = (changed.weights - old.weights)[stored]
    np.testing.assert_allclose(difference.std(), 0.3, rtol=0.05)


def test_flip_turns_left_to_right():
    x = torch.randn(400, 4, 6, 3)
    torch.manual_seed(0)
    changed, _ = RandomFlip(0.5)(x, torch.ones(400, dtype=torch.bool))
    turned = np.array([np.array_equal(c, np.fliplr(p)) for c, p in zip(changed.numpy(), x.numpy(), strict=True)])
    stayed = np.array([np.array_equal(c, p) for c, p in zip(changed.numpy(), x.numpy(), strict=True)])
    assert (turned ^ stayed).all()
    assert 150 < turned.sum() < 250


def test_crop_is_one_of_the_shifts_of_the_picture_with_its_edge_repeated():
    x = torch.randn(300, 5, 6)
    torch.manual_seed(0)
    changed, _ = RandomCrop(2)(x, torch.ones(300, dtype=torch.bool))
    seen = set()
    for picture, new in zip(x.numpy(), changed.numpy(), strict=True):
        padded = np.pad(picture, 2, mode="edge")
        shifts = [(i, j) for i in range(5) for j in range(5) if np.array_equal(padded[i : i + 5, j : j + 6], new)]
        assert shifts
        seen.update(shifts)
    assert len(seen) == 25


def test_colours_keep_what_each_part_keeps():
    x = torch.randn(50, 5, 6, 3, dtype=torch.float64)
    mask = torch.ones(50, dtype=torch.bool)
    brighter = ColorJitter(0.5, 0, 0)(x, mask)[0] - x
    shift = brighter.mean((1, 2, 3))
    torch.testing.assert_close(brighter, shift.view(-1, 1, 1, 1).expand_as(x))
    assert 0.3 < shift.abs().max() <= 0.5
    contrast = ColorJitter(0, 0.5, 0)(x, mask)[0]
    torch.testing.assert_close(contrast.mean((1, 2, 3)), x.mean((1, 2, 3)))
    ratio = contrast.flatten(1).std(1) / x.flatten(1).std(1)
    assert ratio.min() >= 0.5
    assert ratio.max() <= 1.5
    colourful = ColorJitter(0, 0, 0.5)(x, mask)[0]
    torch.testing.assert_close(colourful.mean(-1), x.mean(-1))  # its grey


def stretches(hidden):
    """Numbers of separate runs of True, and how many are True."""
    hidden = np.asarray(hidden).astype(int)
    return (np.diff(hidden, prepend=0) == 1).sum(), hidden.sum()


def test_time_mask_is_a_stretch_within_the_length_and_of_any_width_up_to_the_widest():
    x, length = torch.ones(600, 12, 2), torch.arange(600) % 12 + 1
    mask = torch.arange(12) < length.unsqueeze(1)
    torch.manual_seed(0)
    changed, left = TimeMask(0.5)(x, mask)
    assert torch.equal(left, mask)
    hidden = (changed == 0).all(-1)
    assert not (hidden & ~mask).any()
    assert torch.equal((changed == 0).any(-1), hidden)  # all channels of a step
    widths = []
    for row, n in zip(hidden, length.tolist(), strict=True):
        n_runs, width = stretches(row)
        assert n_runs <= 1
        assert width <= n // 2
        widths += [width] if n == 12 else []
    assert set(widths) == set(range(7))


def test_spec_augment_is_stretches_of_all_bands_and_bands_of_all_steps():
    x = torch.ones(400, 20, 30)
    mask = torch.ones(400, 20, dtype=torch.bool)
    torch.manual_seed(0)
    changed, _ = SpecAugment(5, 1, 8, 1)(x, mask)
    for picture in (changed == 0).numpy():
        times, bands = picture.all(axis=1), picture.all(axis=0)
        np.testing.assert_array_equal(picture, times[:, None] | bands)
        for hidden, widest in [(times, 5), (bands, 8)]:
            n_runs, width = stretches(hidden)
            assert n_runs <= 1
            assert width <= widest
    # a width is uniform from 0 to the widest: mean half of it
    widths = np.array([stretches(p.all(axis=0))[1] for p in (changed == 0).numpy()])
    np.testing.assert_allclose(widths.mean(), 4, atol=4 * np.sqrt((9**2 - 1) / 12 / 400))


def test_several_masks_are_as_many_stretches_at_most():
    mask = torch.ones(200, 60, dtype=torch.bool)
    torch.manual_seed(0)
    changed, _ = TimeMask(5, n_masks=3)(torch.ones(200, 60, 1), mask)
    runs = [stretches(row)[0] for row in (changed[..., 0] == 0).numpy()]
    assert max(runs) == 3


def test_time_shift_moves_within_the_length_and_repeats_the_end():
    length = torch.arange(300) % 8 + 1
    x = torch.randn(300, 8, 2)
    mask = torch.arange(8) < length.unsqueeze(1)
    torch.manual_seed(0)
    changed, left = TimeShift(2)(x, mask)
    assert torch.equal(left, mask)
    seen = set()
    for old, new, n in zip(x.numpy(), changed.numpy(), length.tolist(), strict=True):
        padded = np.pad(old[:n], ((2, 2), (0, 0)), mode="edge")
        shifts = [s for s in range(5) if np.array_equal(padded[s : s + n], new[:n])]
        assert shifts
        seen.update(shifts if n == 8 else [])
    assert seen == set(range(5))


def test_tokens_drop_out_in_order_and_one_always_stays():
    x, mask = values_of("tokens", (500,))
    torch.manual_seed(0)
    changed, left = TokenDropout(0.4)(x, mask)
    for old, new, n_old, n_new in zip(x, changed, mask.sum(1), left.sum(1), strict=True):
        rest = iter(old[:n_old].tolist())
        assert all(token in rest for token in new[:n_new].tolist())  # a subsequence
        assert n_new >= min(n_old, 1)
    assert torch.equal(left, torch.arange(6) < left.sum(1, keepdim=True))
    # each goes with probability 0.4, but where all n would go one comes back
    n = mask.sum(1).numpy()
    there = n > 0
    expected = np.where(there, 0.6 * n + 0.4**n, 0)
    spread = np.sqrt(0.24 * n.sum())
    np.testing.assert_allclose(left.sum(), expected.sum(), atol=4 * spread)


def test_swapped_tokens_are_the_same_tokens():
    x, mask = values_of("tokens", (300,))
    torch.manual_seed(0)
    changed, left = TokenSwap(0.5)(x, mask)
    assert torch.equal(left, mask)
    assert torch.equal(torch.where(mask, changed, 0).sort(1).values, torch.where(mask, x, 0).sort(1).values)
    moved = ((changed != x) & mask).sum() / mask.sum()
    assert 0.1 < moved < 0.5


# -- mixing --------------------------------------------------------------------------------------------------------


def mixed_by_hand(batch, changed, name):
    """Share and partner of each sample, from the one-hot values of a modality "who"."""
    who = changed.values["who"].numpy()
    own = np.diagonal(who, axis1=-2, axis2=-1)
    rest = who - own[..., None] * np.eye(who.shape[-1])
    partner = np.where(own < 1, rest.argmax(-1), np.arange(who.shape[-1]))
    return own, partner


def who_is_who(batch, lead):
    eye = torch.eye(lead[-1]).expand(*lead, lead[-1])
    return batch._replace(
        values={"who": eye, **batch.values}, present={"who": torch.ones(lead, dtype=torch.bool), **batch.present}
    )


@batch_axes
def test_mixup_formula(lead):
    """x = λ x_i + (1 - λ) x_j, the same λ and j for all modalities, and the loss weighs y_i and y_j by them."""
    batch = who_is_who(batch_of("vector", "sequence", "image", lead=lead, complete=True), lead)
    torch.manual_seed(0)
    changed = Mixup(1.0)(batch)
    share, partner = mixed_by_hand(batch, changed, "who")
    assert (share < 1).mean() > 0.9
    for kind in ("vector", "sequence", "image"):
        x = batch.values[kind].numpy()
        other = np.take_along_axis(x, partner.reshape(*lead, *[1] * (x.ndim - len(lead))), axis=len(lead) - 1)
        lam = share.reshape(*lead, *[1] * (x.ndim - len(lead)))
        np.testing.assert_allclose(changed.values[kind], lam * x + (1 - lam) * other, atol=1e-6)
    ((other_target, other_weights),) = changed.others
    np.testing.assert_array_equal(changed.target, batch.target)
    np.testing.assert_allclose(changed.weights, share, atol=1e-6)
    np.testing.assert_allclose(other_weights, 1 - share, atol=1e-6)
    np.testing.assert_array_equal(other_target, np.take_along_axis(batch.target.numpy(), partner, -1))
    assert changed.present.keys() == batch.present.keys()


def test_mixup_shares_are_of_the_beta_distribution():
    torch.manual_seed(0)
    batch = batch_of("vector", lead=(20_000,), complete=True)
    share = Mixup(0.4)(batch).weights.numpy()
    # variance of Beta(a, a): 1 / (4 (2 a + 1))
    np.testing.assert_allclose([share.mean(), share.var()], [0.5, 1 / (4 * 1.8)], atol=0.01)


def test_mixup_of_sparse_rows_is_that_of_the_dense_ones():
    batch = who_is_who(batch_of("sparse", lead=(40,), complete=True), (40,))
    torch.manual_seed(0)
    changed = Mixup(1.0)(batch)
    share, partner = mixed_by_hand(batch, changed, "who")

    def dense(rows):
        out = torch.zeros(40, 9).index_put(
            (torch.arange(40)[:, None].expand_as(rows.columns), rows.columns), rows.weights, accumulate=True
        )
        return np.hstack([out, rows.compressed])

    x = dense(batch.values["sparse"])
    np.testing.assert_allclose(
        dense(changed.values["sparse"]), share[:, None] * x + (1 - share[:, None]) * x[partner], atol=1e-5
    )


def test_samples_with_other_modalities_are_not_mixed_and_sequences_keep_their_length():
    batch = who_is_who(batch_of("vector", "sequence", lead=(200,)), (200,))
    torch.manual_seed(0)
    changed = Mixup(1.0)(batch)
    share, partner = mixed_by_hand(batch, changed, "who")
    there = np.stack([batch.present["vector"], batch.present["sequence"].any(-1)], -1)
    alike = (there == there[partner]).all(-1)
    assert alike[share < 1].all()
    assert (share < 1).sum() > 40
    assert all(torch.equal(changed.present[name], batch.present[name]) for name in batch.present)
    x, mask = batch.values["sequence"].numpy(), batch.present["sequence"].numpy()
    both = (mask & mask[partner])[..., None]
    lam = share[:, None, None]
    np.testing.assert_allclose(
        changed.values["sequence"], np.where(both, lam * x + (1 - lam) * x[partner], x), atol=1e-6
    )


@batch_axes
def test_cutmix_pastes_one_box_at_one_place_and_weighs_by_its_area(lead):
    batch = who_is_who(batch_of("vector", "image", "video", lead=lead, complete=True), lead)
    torch.manual_seed(0)
    changed = CutMix()(batch)
    share, partner = mixed_by_hand(batch, changed, "who")
    flat = {name: np.asarray(x).reshape(-1, *x.shape[len(lead) :]) for name, x in changed.values.items()}
    old = {name: np.asarray(x).reshape(-1, *x.shape[len(lead) :]) for name, x in batch.values.items()}
    first = (np.arange(int(np.prod(lead))) // lead[-1]) * lead[-1]  # of the sample's member
    others = first + partner.reshape(-1)
    several = set()
    for i, (lam, j) in enumerate(zip(share.reshape(-1), others, strict=True)):
        pasted = (flat["image"][i] != old["image"][i]).any(-1)  # (H, W)
        np.testing.assert_array_equal(
            flat["image"][i], np.where(pasted[..., None], old["image"][j], old["image"][i])
        )
        rows, columns = np.flatnonzero(pasted.any(1)), np.flatnonzero(pasted.any(0))
        if pasted.any():  # a full rectangle
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert pasted.sum() == np.ptp(rows) * np.ptp(columns) + np.ptp(rows) + np.ptp(columns) + 1
        in_video = (flat["video"][i] != old["video"][i]).any((0, -1))
        np.testing.assert_array_equal(in_video, pasted)  # of the same height and width, so the same pixels
        if j != i:
            np.testing.assert_allclose(lam, 1 - pasted.mean(), atol=1e-6)
        np.testing.assert_allclose(
            flat["vector"][i], lam * old["vector"][i] + (1 - lam) * old["vector"][j], atol=1e-6
        )
        several.add(round(float(lam), 3))
    assert len(several) > 5


def test_cutmix_of_pictures_without_channels_and_a_missing_picture():
    pictures, there = torch.randn(60, 8, 8), torch.arange(60) % 3 > 0
    vector = torch.randn(60, 2)
    everyone = torch.ones(60, dtype=torch.bool)
    batch = Batch({"p": pictures, "v": vector}, {"p": there, "v": everyone}, torch.arange(60), None, axes=1)
    torch.manual_seed(0)
    changed = CutMix()(batch)
    assert torch.equal(changed.values["p"][~there], pictures[~there])
    # pairs without a picture are mixed as by mixup
    assert ((changed.weights < 1) & ~there).any()
    kept = (changed.values["p"] == pictures).float().mean((1, 2))
    torch.testing.assert_close(changed.weights[there], kept[there])


def test_mixing_what_is_mixed_is_the_linear_combination():
    batch = who_is_who(batch_of("vector", lead=(30,), complete=True), (30,))
    torch.manual_seed(0)
    changed = Mixup(1.0)(Mixup(1.0)(batch._replace(target=torch.arange(30))))
    total = torch.zeros(30, 30)
    for target, weight in ((changed.target, changed.weights), *changed.others):
        total[torch.arange(30), target] += weight
    torch.testing.assert_close(total, changed.values["who"])


def test_weights_of_samples_go_with_their_targets():
    batch = who_is_who(batch_of("vector", lead=(30,), complete=True), (30,))
    weights = torch.rand(4, 30)  # of four members that share their samples
    torch.manual_seed(0)
    changed = Mixup(1.0)(batch._replace(weights=weights))
    share, partner = mixed_by_hand(batch, changed, "who")
    np.testing.assert_allclose(changed.weights, share * weights.numpy(), atol=1e-6)
    np.testing.assert_allclose(changed.others[0][1], (1 - share) * weights.numpy()[:, partner], atol=1e-6)


def test_mixed_loss_is_that_of_each_target_by_its_share():
    """The gradient of training on one mixed batch, against cross-entropy written out."""
    X, y = make_data(40, kinds=("vector",))
    clf = small(modality_loss=0, max_epochs=1, batch_size=40).fit(X, y)
    net = clf.net_
    net.module_.eval()
    n = 40
    values = {"vector": torch.randn(n, 6)}
    batch = Batch(values, {"vector": torch.ones(n, dtype=torch.bool)}, torch.arange(n) % 2, None, axes=1)
    mixed = Mixup(1.0)(batch)
    loss, output = net._loss(mixed)
    log_p = output.detach().log_softmax(-1).numpy()
    share = mixed.weights.numpy()
    a, b = mixed.target.numpy(), mixed.others[0][0].numpy()
    rows = np.arange(n)
    np.testing.assert_allclose(
        loss.item(), -(share * log_p[rows, a] + (1 - share) * log_p[rows, b]).mean(), rtol=1e-5
    )


# -- in training ---------------------------------------------------------------------------------------------------

TRAINED = {
    "vector": GaussianNoise(),
    "sparse": GaussianNoise(),
    "sequence": [TimeShift(0.2), SpecAugment()],
    "ragged": [TimeMask(), TimeShift()],
    "tokens": [TokenDropout(), TokenSwap()],
    "image": [RandomFlip(), RandomCrop(1), ColorJitter()],
}
ALL_KINDS = ("vector", "sequence", "ragged", "sparse", "tokens", "image")


@pytest.mark.one_by_default
@pytest.mark.parametrize("n_members", [1, 8])
@pytest.mark.parametrize("augment", [{k: TRAINED[k]} for k in ALL_KINDS], ids=ALL_KINDS)
def test_absent_at_predict_and_changed_by_the_seed_alone(augment, n_members):
    X, y = make_data(kinds=ALL_KINDS)
    params = {"n_members": n_members, "max_epochs": 2}
    clf = small(augment=augment, **params).fit(X, y)
    first = clf.predict_proba(X)
    np.testing.assert_array_equal(first, clf.predict_proba(X))
    np.testing.assert_array_equal(first, small(augment=augment, **params).fit(X, y).predict_proba(X))
    assert np.abs(first - small(**params).fit(X, y).predict_proba(X)).max() > 1e-6
    other = small(augment=augment, **{**params, "random_state": 1}).fit(X, y)
    assert np.abs(first - other.predict_proba(X)).max() > 1e-6


@pytest.mark.one_by_default
@pytest.mark.parametrize("n_members", [1, 8])
@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_joint_ones_train(cls, n_members):
    X, y = make_data(kinds=("vector", "sequence", "ragged", "sparse", "image"))
    augment = {"image": RandomFlip(), "*": [Mixup(0.2), CutMix(), ModalityDropout(0.1)]}
    fitted = small(cls, augment=augment, n_members=n_members, max_epochs=15).fit(X, y)
    first = outputs(fitted, X)
    again = small(cls, augment=augment, n_members=n_members, max_epochs=15).fit(X, y)
    np.testing.assert_array_equal(first, outputs(again, X))
    assert fitted.score(X, y) > 0.7


def test_the_same_network_predicts_with_and_without():
    """Weights put over into an estimator that augments nothing predict the same, bit for bit."""
    X, y = make_data(kinds=("vector", "image"))
    augmented = small(augment={"image": RandomFlip(), "*": Mixup(1.0)}, max_epochs=3).fit(X, y)
    plain = small(max_epochs=1).fit(X, y)
    plain.net_.module_.load_state_dict(augmented.net_.module_.state_dict())
    np.testing.assert_array_equal(augmented.predict_proba(X), plain.predict_proba(X))


def test_samples_that_lack_a_modality_train():
    X, y = make_data(kinds=("vector", "sequence", "tokens", "image"))
    present = {name: np.arange(60) % 5 != i for i, name in enumerate(X)}
    X = Blocks(dict(X), present=present)
    augment = {"sequence": SpecAugment(), "tokens": TokenDropout(), "image": RandomCrop(), "*": ModalityDropout()}
    clf = small(augment=augment, max_epochs=30).fit(X, y)
    assert clf.score(X, y) > 0.8


def test_modality_dropout_among_them_teaches_to_do_without():
    X, y = make_data()
    clf = small(augment={"*": [ModalityDropout(0.3)]}).fit(X, y)
    assert clf.predict(X.select(["vector"])).shape == y.shape


def test_a_callable_of_the_users_own():
    X, y = make_data(kinds=("vector", "image"))
    seen = []

    def darker(x, mask):
        seen.append(x.shape[1:])
        return x - 1, mask

    def whole(batch):
        seen.append(sorted(batch.values))
        return batch

    small(augment={"image": darker, "*": whole}, max_epochs=1).fit(X, y)
    assert seen[:2] == [(8, 8), ["image", "vector"]]


# -- parameters ----------------------------------------------------------------------------------------------------


def test_nested_parameters_are_reachable():
    clf = MultimodalClassifier(augment={"image": [RandomFlip(0.1), RandomCrop(3)], "*": Mixup(0.2)})
    params = clf.get_params()
    assert params["augment__image__0__p"] == 0.1
    assert params["augment__image__1__padding"] == 3
    assert params["augment__*__alpha"] == 0.2
    before = clf.augment["image"][0]
    clf.set_params(**{"augment__image__0__p": 0.7, "augment__*__alpha": 0.5})
    assert clf.augment["image"][0].p == 0.7
    assert clf.augment["*"].alpha == 0.5
    assert before.p == 0.1  # the user's own stays as it is
    assert clf.set_params(augment__image__1=None).augment["image"][1] is None
    assert clf.set_params(augment__image=TimeMask()).get_params()["augment__image__width"] == 0.2
    assert MultimodalClassifier().set_params(augment__image=RandomFlip()).augment["image"].p == 0.5


def test_names_with_underscores_and_clone():
    clf = MultimodalClassifier(augment={"a__b": [GaussianNoise(0.3)], "a": GaussianNoise(0.4)})
    clf = clone(clf).set_params(augment__a__b__0__std=0.5, augment__a__std=0.6)
    assert clf.augment["a__b"][0].std == 0.5
    assert clf.augment["a"].std == 0.6


def test_grid_over_an_augmentation():
    X, y = make_data(kinds=("vector", "image"))
    clf = small(augment={"image": [RandomFlip(), RandomCrop(1)]}, max_epochs=2)
    grid = {"augment__image__0__p": [0.0, 0.5], "augment__image__1": [None, RandomCrop(2)]}
    search = GridSearchCV(clf, grid, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.augment["image"][0].p == search.best_params_["augment__image__0__p"]


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ({"photo": RandomFlip()}, r"unknown modality in augment: 'photo', valid are \['image', 'vector', '\*'\]"),
        ({"vector": RandomFlip()}, r"modality 'vector' is vector, which RandomFlip cannot change; valid kinds are"),
        ({"image": SpecAugment()}, r"modality 'image' is image, which SpecAugment cannot change; .*\['sequence'\]"),
        ({"*": RandomFlip()}, r"augment\['\*'\]: RandomFlip changes one modality; .*\['image', 'vector'\]"),
        ({"image": Mixup()}, r"augment\['image'\]: Mixup changes all modalities; give it under '\*'"),
        ({"image": RandomFlip}, r"augment\['image'\]: expected an augmentation such as RandomFlip\(\), got <class"),
        ({"image": ["flip"]}, r"augment\['image'\]: expected an augmentation such as RandomFlip\(\), got 'f"),
        ({"image": [RandomFlip(1.5)]}, r"RandomFlip: p == 1.5, must be <= 1"),
        ({"*": Mixup(0)}, r"Mixup: alpha == 0, must be >= 0.001"),
        ({"vector": GaussianNoise(float("inf"))}, r"GaussianNoise: std=inf must be finite"),
        ([RandomFlip()], r"augment must be a dict such as \{'image': \[RandomFlip"),
    ],
)
def test_what_cannot_be_done_is_said(augment, message):
    X = Blocks(image=make_block("image", np.arange(20) % 2), vector=make_block("vector", np.arange(20) % 2))
    with pytest.raises(ValueError, match=message):
        small(augment=augment).fit(X, np.arange(20) % 2)


def test_cutmix_needs_a_picture_and_tokens_do_not_mix():
    X, y = make_data(kinds=("vector", "sequence"))
    with pytest.raises(ValueError, match=r"CutMix needs a modality of kind image or video, there are \['vector', "):
        small(augment={"*": CutMix()}).fit(X, y)
    X, y = make_data(kinds=("vector", "tokens"))
    with pytest.raises(ValueError, match=r"modality 'tokens' is tokens, which Mixup cannot change; valid kinds"):
        small(augment={"*": Mixup()}).fit(X, y)


def test_every_augmentation_is_among_those_tested():
    def of_the_package(cls):
        # what a docstring's example defines says that it is of the module, which does not have it
        return getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls and cls.__module__.startswith(
            "skmm.augmentation."
        )

    def leaves(cls):
        return {c for sub in filter(of_the_package, cls.__subclasses__()) for c in (leaves(sub) or {sub})}

    listed = {type(a) for a in (*OF_ONE, *OF_ALL)}
    assert listed == leaves(ModalityAugmentation) | leaves(JointAugmentation)


def test_encoders_of_sequences_read_masked_batches():
    """Shortened token sequences keep their tokens in front, as every encoder expects."""
    X, y = make_data(kinds=("tokens",))
    clf = small(augment={"tokens": TokenDropout(0.5)}, encoders=Encoder("embedding", n_segments=3), max_epochs=10)
    assert clf.fit(X, y).score(X, y) > 0.8
