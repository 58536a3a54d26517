"""Generated reviews, and the network of the textbook on them: the same losses as in a loop written in torch."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from torch import nn

from skmm import Blocks, ModalityTransformer, MultimodalClassifier
from skmm.datasets import make_sentiment
from skmm.preprocessing import AudioLoader, ImageLoader, LogMel, TextTokens
from skmm.training._samples import canonical


def as_numbers(data):
    """One vector per modality: words, grey pixels, mean energies of the bands."""
    frames = LogMel(8000, n_mels=20).fit_transform(list(data["audio"]))
    return {
        "text": CountVectorizer().fit_transform(data["text"]).toarray().astype(np.float32),
        "image": ImageLoader(12, mode="L", dtype="float32").fit_transform(data["image"]).reshape(len(data), -1),
        "audio": np.stack([f.mean(axis=0) for f in frames]) / 10,
    }


# -- what is generated ---------------------------------------------------------------------------------------------


def test_a_review_is_a_sentence_a_face_a_sound_and_a_score():
    reviews = make_sentiment(300, n_speakers=4, random_state=0)
    assert reviews.data.columns.tolist() == ["text", "image", "audio"]
    assert all(isinstance(text, str) for text in reviews.data["text"])
    assert {(image.shape, image.dtype) for image in reviews.data["image"]} == {((32, 32, 3), np.dtype(np.uint8))}
    for sound in reviews.data["audio"]:
        assert sound.dtype == np.float32
        assert 4000 <= len(sound) <= 8000
        assert np.abs(sound).max() <= 1
    assert len({len(sound) for sound in reviews.data["audio"]}) > 1
    assert reviews.sample_rate == 8000
    assert -3 <= reviews.target.min() < -2.5
    assert 2.5 < reviews.target.max() <= 3
    assert sorted(set(reviews.speaker.tolist())) == [0, 1, 2, 3]
    assert "Nothing here is real" in reviews.DESCR


def correlations(difficulty):
    """Of the score and what a linear model reads from each modality alone, and from all, on new reviews."""
    reviews = make_sentiment(600, difficulty=difficulty, n_speakers=3, random_state=0)
    x, train = as_numbers(reviews.data), np.arange(600) < 400

    def read(block):
        model = LinearRegression().fit(block[train], reviews.target[train])
        return pearsonr(model.predict(block[~train]), reviews.target[~train]).statistic

    return {**{name: read(block) for name, block in x.items()}, "all": read(np.hstack(list(x.values())))}


@pytest.mark.slow
def test_every_modality_tells_the_sentiment_and_less_of_it_the_more_difficult():
    easy, hard, hopeless = (correlations(difficulty) for difficulty in (0, 0.5, 1))
    for name in ("text", "image", "audio"):
        assert easy[name] > 0.9, name
        assert easy[name] > hard[name] > hopeless[name], name
    # errors are independent: together they tell more than any
    assert hard["all"] > max(hard[name] for name in ("text", "image", "audio")) + 0.03


def test_data_repeat_by_seed_and_the_missing_rate_changes_nothing_but_what_is_missing():
    whole, again, gaps = (
        make_sentiment(80, missing_rate=rate, random_state=3) for rate in (0.0, 0.0, {"image": 0.6, "audio": 0.3})
    )
    np.testing.assert_array_equal(whole.target, gaps.target)
    np.testing.assert_array_equal(whole.speaker, gaps.speaker)
    for name in whole.data:
        for a, b, c in zip(whole.data[name], again.data[name], gaps.data[name], strict=True):
            np.testing.assert_array_equal(a, b)
            if c is not None:
                np.testing.assert_array_equal(a, c)
    share = gaps.data.isna().mean()
    assert share["text"] == 0
    assert share["image"] == pytest.approx(0.6, abs=0.15)
    assert share["audio"] == pytest.approx(0.3, abs=0.15)


def test_no_review_lacks_everything():
    data, y = make_sentiment(300, missing_rate=0.8, random_state=0, return_X_y=True)
    assert y.shape == (300,)
    assert data.notna().any(axis=1).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"difficulty": 1.5}, r"difficulty must be a number in \[0, 1\], got 1.5"),
        ({"difficulty": "hard"}, "got 'hard'"),
        ({"difficulty": np.nan}, r"difficulty must be a number in \[0, 1\], got nan"),
        ({"missing_rate": np.nan}, r"missing_rate of text must be a number in \[0, 1\), got nan"),
        ({"missing_rate": 1.0}, "missing_rate of text .* got 1.0"),
        ({"missing_rate": {"video": 0.1}}, "unknown modality in missing_rate: 'video', valid are"),
        ({"n_samples": 0}, "n_samples == 0"),
        ({"n_speakers": 0}, "n_speakers == 0"),
    ],
)
def test_wrong_parameters_are_named(params, message):
    with pytest.raises(ValueError, match=message):
        make_sentiment(**params)


def test_raw_reviews_with_gaps_become_a_probability():
    reviews = make_sentiment(120, difficulty=0, missing_rate=0.2, random_state=0)
    read = ModalityTransformer(
        [
            ("text", TextTokens(), "text"),
            ("image", ImageLoader(16), "image"),
            ("audio", make_pipeline(AudioLoader(8000), LogMel(8000, n_mels=20, hop=0.05)), "audio"),
        ]
    )
    X, positive = read.fit_transform(reviews.data), reviews.target > 0
    assert [X.present[name].mean() < 1 for name in X] == [True] * 3
    clf = MultimodalClassifier(n_members=1, max_epochs=15, lr=0.01, random_state=0).fit(X[:90], positive[:90])
    assert clf.score(X[90:], positive[90:]) > 0.75


# -- the network of the textbook -----------------------------------------------------------------------------------


class Network(nn.Module):
    """One hidden layer per modality, their sum, one layer to the classes."""

    def __init__(self, n_text, n_image, n_audio, n_hidden, n_classes):
        super().__init__()
        self.text = nn.Linear(n_text, n_hidden)
        self.image = nn.Linear(n_image, n_hidden)
        self.audio = nn.Linear(n_audio, n_hidden)
        self.output = nn.Linear(n_hidden, n_classes)

    def forward(self, text, image, audio):
        return self.output(self.text(text).relu() + self.image(image).relu() + self.audio(audio).relu())


def train_by_hand(X, y, optimizer, lr, n_epochs, batch_size, seed):
    """Loss of each epoch, and the probabilities after the last."""
    inputs, target = {name: torch.from_numpy(x) for name, x in X.items()}, torch.from_numpy(y)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Network(*(x.shape[1] for x in inputs.values()), 50, y.max() + 1)
    steps, shuffle = optimizer(network.parameters(), lr=lr), torch.Generator().manual_seed(seed)
    curve = []
    for _ in range(n_epochs):
        losses = []
        for rows in torch.randperm(len(y), generator=shuffle).split(batch_size):
            loss = nn.functional.cross_entropy(network(**{m: x[rows] for m, x in inputs.items()}), target[rows])
            steps.zero_grad()
            loss.backward()
            steps.step()
            losses.append(loss.item() * len(rows))
        curve.append(sum(losses) / len(y))
    with torch.no_grad():
        return curve, network(**inputs).softmax(-1).numpy()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("name", "optimizer", "lr"), [("adam", torch.optim.Adam, 1e-3), ("sgd", torch.optim.SGD, 0.1)]
)
@pytest.mark.parametrize("seed", [0, 7])
def test_same_network_same_seed_same_losses(n_classes, name, optimizer, lr, seed):
    reviews = make_sentiment(110, random_state=seed)
    y = np.digitize(reviews.target, [0] if n_classes == 2 else [-1, 1])
    X = Blocks(as_numbers(reviews.data))
    order, *_ = canonical(X, y, np.ones(len(y)))
    X, y = X[order], y[order]
    clf = MultimodalClassifier.plain(
        "sum", hidden_dim=50, batch_size=32, max_epochs=15, optimizer=name, lr=lr, random_state=seed
    ).fit(X, y)
    curve, proba = train_by_hand(X, y, optimizer, lr, 15, 32, clf.net_.seeds[0])
    np.testing.assert_allclose(clf.loss_curve_, curve, rtol=0, atol=1e-5)
    np.testing.assert_allclose(clf.predict_proba(X), proba, rtol=0, atol=1e-4)
    assert curve[-1] < curve[0] - 0.02  # it did learn


def test_the_curve_is_the_same_in_any_order_of_the_samples():
    reviews = make_sentiment(60, random_state=0)
    X, y = Blocks(as_numbers(reviews.data)), (reviews.target > 0).astype(int)
    shuffled = np.random.RandomState(0).permutation(60)
    clf = MultimodalClassifier.plain("sum", hidden_dim=10, batch_size=16, max_epochs=3, random_state=0)
    assert clf.fit(X, y).loss_curve_ == clf.fit(X[shuffled], y[shuffled]).loss_curve_
