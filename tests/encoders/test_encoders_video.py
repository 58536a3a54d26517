"""Tests of skmm.encoders.video: what the encoders of videos compute, and estimators that read videos."""

import numpy as np
import pytest
import torch
from conftest import members, outputs, small
from scipy.ndimage import correlate
from test_encoders import HIDDEN, INHERITED, assert_close, build, dense, layer_norm, parts_of, pool2, relu, run

from skmm import Blocks, Encoder
from skmm.augmentation import RandomCrop, RandomFlip, TimeMask
from skmm.blocks import BlockInfo
from skmm.testing import check_encoder

NAMES = ["conv3d", "conv2d_temporal", "timesformer"]
every_encoder = pytest.mark.parametrize("name", NAMES)
N, T = 4, 5
SHAPE = (9, 8, 2)  # of a frame
VIDEO, FRAMES = BlockInfo("video", (T, *SHAPE)), BlockInfo("sequence", SHAPE)
LENGTHS = np.array([5, 1, 3, 4])


def videos(shape=SHAPE):
    """Samples of the given lengths, zeros behind their ends, with their mask."""
    mask = np.arange(T) < LENGTHS[:, None]
    x = np.random.default_rng(0).normal(size=(N, T, *shape))
    return x * mask.reshape(N, T, *[1] * len(shape)), mask


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "encoder",
    [
        Encoder("conv3d", factorised=True, grid=2),
        Encoder("conv3d", channels=(3,), kernel_size=5, n_segments=1),
        Encoder("conv2d_temporal", temporal="gru"),
        Encoder("conv2d_temporal", temporal=Encoder("transformer", n_layers=2), channels=(4,)),
        Encoder("timesformer", patch_size=3, n_layers=1, n_heads=2, n_segments=2),
    ],
    ids=repr,
)
def test_contract_with_parameters(encoder):
    check_encoder(encoder)


# -- what they compute --------------------------------------------------------------------------------------------


def convolve(x, weight, bias):
    """One video (time, height, width, channels), zeros around it."""
    each = [sum(correlate(x[..., c], k[c], mode="constant") for c in range(x.shape[-1])) for k in weight]
    return np.stack(each, -1) + bias


def cells_of(frame, grid):
    """Averages of a frame (height, width, channels) over a grid, (grid², channels); its sides divide evenly."""
    height, width, channels = frame.shape
    return frame.reshape(grid, height // grid, grid, width // grid, channels).mean((1, 3)).reshape(-1, channels)


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_conv3d_against_plain_numpy(factorised, tokens):
    module, w = build("conv3d", FRAMES, tokens, channels=(3, 4), grid=2, factorised=factorised)
    x, mask = videos()
    got, exists = run(module, x, mask)
    assert np.array_equal(exists, mask if tokens else np.ones(N, bool))
    per_layer = 2 if factorised else 1
    for i, length in enumerate(LENGTHS):
        z = x[i, :length]
        for layer in range(2 * per_layer):
            z = relu(convolve(z, w[f"convs.{layer}.weight"], w[f"convs.{layer}.bias"]))
            if layer % per_layer == per_layer - 1:  # 9 x 8 -> 4 x 4 -> 2 x 2
                z = np.stack([pool2(frame) for frame in z])
        z = np.stack([cells_of(frame, 2).T.ravel() for frame in z])  # channels first, as the grid is flattened
        if tokens:
            assert_close(got[i, :length], dense(z, w, "output.block"))
        else:
            assert_close(got[i], dense(parts_of(z, 2), w, "output.block"))


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_factorised_convolutions_have_no_more_weights_than_those_they_stand_for(kernel_size):
    def weights(factorised):
        module, _ = build("conv3d", FRAMES, channels=(16, 32), kernel_size=kernel_size, factorised=factorised)
        return sum(conv.weight.numel() for conv in module.convs)

    assert 0.95 * weights(False) < weights(True) <= weights(False)


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("temporal", ["gru", Encoder("conv1d", channels=(4,)), "lstm"])
def test_conv2d_temporal_is_a_picture_encoder_and_then_one_of_sequences(temporal, tokens):
    module, _ = build("conv2d_temporal", FRAMES, tokens, temporal=temporal, channels=(3,), grid=2)
    picture, _ = build("conv2d", BlockInfo("image", SHAPE), channels=(3,), grid=2)
    sequence = (temporal if isinstance(temporal, Encoder) else Encoder(temporal)).build(
        BlockInfo("sequence", (HIDDEN,)), tokens, inherited=INHERITED
    )
    sequence = sequence.double().eval()
    picture.load_state_dict(module.frame.state_dict())
    sequence.load_state_dict(module.temporal.state_dict())
    x, mask = videos()
    frames, _ = run(picture, x.reshape(-1, *SHAPE), mask.ravel())
    expected, there = run(sequence, frames.reshape(N, T, HIDDEN), mask)
    got, exists = run(module, x, mask)
    assert np.array_equal(exists, there)
    assert_close(got[exists], expected[exists])


def attend(x, w, prefix, n_heads):
    """Self-attention of tokens (length, d) that also read a null token, with the weights of one layer."""
    renamed = {key.removeprefix(prefix): value for key, value in w.items() if key.startswith(prefix)}
    keys = np.concatenate([renamed["null"], x])
    q = x @ renamed["query.weight"].T + renamed["query.bias"]
    k, v = keys @ renamed["key.weight"].T, keys @ renamed["value.weight"].T + renamed["value.bias"]
    heads = []
    for part in np.split(np.arange(x.shape[1]), n_heads):
        scores = np.exp(q[:, part] @ k[:, part].T / np.sqrt(len(part)))
        heads.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
    return np.concatenate(heads, 1) @ renamed["out.weight"].T + renamed["out.bias"]


def divided_block(z, w, prefix, n_heads):
    """Bertasius et al. 2021, section 3: z (time, patches, d)."""
    b = {key.removeprefix(prefix): value for key, value in w.items() if key.startswith(prefix)}
    y = layer_norm(z, b["norm.weight"], b["norm.bias"])
    z = z + np.stack([attend(y[:, s], b, "over_time.", n_heads) for s in range(z.shape[1])], 1)
    y = layer_norm(z, b["over_space.norm1.weight"], b["over_space.norm1.bias"])
    z = z + np.stack([attend(frame, b, "over_space.attention.", n_heads) for frame in y])
    y = layer_norm(z, b["over_space.norm2.weight"], b["over_space.norm2.bias"])
    y = relu(y @ b["over_space.feed_forward.0.weight"].T + b["over_space.feed_forward.0.bias"])
    return z + y @ b["over_space.feed_forward.3.weight"].T + b["over_space.feed_forward.3.bias"]


@pytest.mark.parametrize("patch_size", [4, 3, 20])
def test_timesformer_against_its_formula(patch_size):
    module, w = build("timesformer", FRAMES, True, patch_size=patch_size, n_layers=2, n_heads=2)
    x, mask = videos()
    got, exists = run(module, x, mask)
    assert np.array_equal(exists, mask)
    down, right = min(patch_size, SHAPE[0]), min(patch_size, SHAPE[1])
    for i, length in enumerate(LENGTHS):
        patches = []
        for row in range(0, SHAPE[0], down):
            for column in range(0, SHAPE[1], right):
                cut = x[i, :length, row : row + down, column : column + right]
                rest = [(0, 0), (0, down - cut.shape[1]), (0, right - cut.shape[2]), (0, 0)]
                patches.append(np.pad(cut, rest).reshape(length, -1))
        z = np.stack(patches, 1) @ w["project.weight"].T + w["project.bias"] + w["places"]
        for t in range(length):
            for j in range(HIDDEN):
                angle = t / 10000 ** (2 * (j // 2) / HIDDEN)
                z[t, :, j] += np.cos(angle) if j % 2 else np.sin(angle)
        for layer in range(2):
            z = divided_block(z, w, f"blocks.{layer}.", 2)
        assert_close(got[i, :length], dense(z.mean(1), w, "output.block"))


@every_encoder
@pytest.mark.parametrize("tokens", [False, True])
def test_a_video_of_one_length_is_as_one_of_any(name, tokens):
    ragged, _ = build(name, FRAMES, tokens, grid=2) if name != "timesformer" else build(name, FRAMES, tokens)
    fixed, _ = build(name, VIDEO, tokens, grid=2) if name != "timesformer" else build(name, VIDEO, tokens)
    x = videos()[0]
    there = np.array([True, True, False, True])
    a, exists = run(fixed, x, there)
    b, same = run(ragged, x, np.repeat(there[:, None], T, 1))
    assert np.array_equal(exists, same)
    assert_close(a[exists], b[same])


@every_encoder
@pytest.mark.parametrize(("shape", "same"), [((6,), (1, 6, 1)), ((6, 4), (6, 4, 1))])
def test_grey_frames_need_no_channel_axis(name, shape, same):
    flat, _ = build(name, BlockInfo("sequence", shape))
    deep, _ = build(name, BlockInfo("sequence", same))
    x, mask = videos(shape)
    assert_close(run(flat, x, mask)[0], run(deep, x.reshape(N, T, *same), mask)[0])


@every_encoder
@pytest.mark.parametrize("extra", [1, 3])
def test_padding_changes_nothing(name, extra):
    module, _ = build(name, FRAMES)
    x, mask = videos()
    longer = np.full((N, T + extra, *SHAPE), 3.0)
    longer[:, :T] = np.where(mask[..., None, None, None], x, 7.0)
    longer_mask = np.pad(mask, ((0, 0), (0, extra)))
    got = run(module, longer, longer_mask)[0]
    np.testing.assert_allclose(got, run(module, x, mask)[0], rtol=0, atol=1e-10)


@every_encoder
def test_order_of_the_frames_matters(name):
    module, _ = build(name, VIDEO)
    x, there = np.random.default_rng(0).normal(size=(N, T, *SHAPE)), np.ones(N, bool)
    assert np.abs(run(module, x, there)[0] - run(module, x[:, ::-1].copy(), there)[0]).max() > 0.01


@pytest.mark.parametrize(
    ("name", "info", "params", "message"),
    [
        ("conv3d", VIDEO, {"kernel_size": 4}, "kernel_size=4 must be odd"),
        ("conv2d_temporal", VIDEO, {"temporal": "mlp"}, "temporal='mlp' must name an encoder of sequences"),
        ("conv2d_temporal", VIDEO, {"temporal": "grue"}, "unknown encoder 'grue'"),
        ("timesformer", VIDEO, {"n_heads": 3}, "n_heads=3 does not divide the dimension 8"),
        ("conv3d", BlockInfo("sequence", (2, 2, 2, 2)), {}, r"steps of shape \(2, 2, 2, 2\) are no pictures"),
    ],
)
def test_bad_parameters(name, info, params, message):
    with pytest.raises(ValueError, match=message):
        build(name, info, **params)


# -- in an estimator ----------------------------------------------------------------------------------------------


def moving_bars(n=80, n_frames=5, seed=0):
    """A bright column that moves right or left: no frame alone, and no set of frames without order, says which."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    x = rng.integers(0, 60, size=(n, n_frames, 6, 8, 1))
    start = rng.integers(8, size=n)
    for t in range(n_frames):
        x[np.arange(n), t, :, (start + np.where(y, t, -t)) % 8] += 150
    return x.astype(np.uint8), y


@pytest.mark.slow
@every_encoder
def test_learns_in_which_direction_something_moves(name):
    x, y = moving_bars(240)
    params = {"grid": 8} if name != "timesformer" else {"patch_size": 8}
    encoders = {"film": Encoder(name, **params)}
    clf = small(encoders=encoders, max_epochs=40, hidden_dim=32, lr=0.005).fit({"film": x[:160]}, y[:160])
    assert clf.score({"film": x[160:]}, y[160:]) > 0.9


@pytest.mark.parametrize("film", [np.zeros((20, 4, 6, 6, 3)), [np.zeros((2 + i % 3, 6, 6, 3)) for i in range(20)]])
def test_default_encoder_of_videos(film):
    clf = small(max_epochs=1).fit({"film": film}, np.arange(20) % 2)
    assert type(clf.net_.module_.single.encoders[0]).__name__ == "Conv2dTemporalEncoder"


@every_encoder
@members
def test_levels_of_a_byte_are_scaled_as_numbers_are(name, n_members):
    x, y = moving_bars(40)
    params = {"encoders": {"film": name}, "n_members": n_members, "max_epochs": 3}
    a = small(**params).fit({"film": x}, y)
    b = small(**params).fit({"film": x.astype(np.float32)}, y)
    np.testing.assert_allclose(outputs(a, {"film": x}), outputs(b, {"film": x.astype(np.float32)}), atol=1e-4)
    assert abs(float(a.inputs_.scalers["film"].mean[0]) - x.mean()) < 1e-9


@every_encoder
@pytest.mark.parametrize("fusion", ["concat", "attention", "late"])
def test_missing_videos_say_nothing(name, fusion):
    x, y = moving_bars(40)
    there = np.arange(40) % 4 > 0
    table = np.random.default_rng(1).normal(size=(40, 3))
    X = Blocks(film=x, table=table, present={"film": there})
    clf = small(fusion=fusion, encoders={"film": name}, max_epochs=2).fit(X, y)
    other = x.copy()
    other[~there] = 255
    np.testing.assert_array_equal(
        clf.predict_proba(Blocks(film=other, table=table, present={"film": there})), clf.predict_proba(X)
    )


@pytest.mark.one_by_default
@every_encoder
@members
def test_videos_of_any_length(name, n_members):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(60) % 2)
    film = rng.integers(60, 90, size=(60, 5, 6, 6, 1))
    film[y == 1, :, :3] += 100  # the upper or the lower half is bright
    film[y == 0, :, 3:] += 100
    X = Blocks(film=[f[: rng.integers(1, 6)].astype(np.uint8) for f in film])
    clf = small(encoders={"film": name}, n_members=n_members, max_epochs=10).fit(X, y)
    assert clf.score(X, y) > 0.95
    alone = [clf.predict_proba(X[i : i + 1])[0] for i in range(60)]
    np.testing.assert_allclose(alone, clf.predict_proba(X), atol=1e-5)


def test_augmentations_of_pictures_reach_videos():
    x, y = moving_bars(40)
    clf = small(augment={"film": [RandomFlip(), RandomCrop(1), TimeMask(1)]}, max_epochs=2).fit({"film": x}, y)
    assert np.isfinite(clf.loss_curve_).all()


def test_parameters_of_the_encoder_inside_are_reached_by_name():
    x, y = moving_bars(20)
    clf = small(encoders={"film": "conv2d_temporal"}, max_epochs=1)
    clf.set_params(encoders__film__temporal=Encoder("gru", bidirectional=True)).fit({"film": x}, y)
    assert len(clf.net_.module_.single.encoders[0].temporal.stacks) == 2
    assert torch.isfinite(torch.tensor(clf.loss_curve_)).all()
