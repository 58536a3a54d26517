"""Token ids of a pretrained model's own tokenizer."""

import json
import pickle
import shutil
import sys

import pytest
import torch
from models import WORDS, save_text_model
from sklearn.base import clone
from test_preprocessing_text import CHECKS

from skmm import Encoder
from skmm.preprocessing.pretrained import PretrainedTokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a small BERT lies under "text", with its tokenizer."""
    root = tmp_path_factory.mktemp("models")
    with torch.random.fork_rng():
        save_text_model(root / "text")
    return root


def test_tokens_are_those_of_the_models_tokenizer(folder):
    tokens = PretrainedTokens(folder / "text", max_length=5).fit(["good"])
    ids = tokens.transform(["good film", "a nice plot and the great actor"])
    assert ids[0].tolist() == [2, 5 + WORDS.index("good"), 5 + WORDS.index("film"), 3]
    assert ids.lengths.tolist() == [4, 5]
    assert len(tokens.transform([])) == 0
    again = pickle.loads(pickle.dumps(tokens)).transform(["good film"])
    assert again[0].tolist() == ids[0].tolist()
    long = " ".join(WORDS * 3)
    assert PretrainedTokens(folder / "text").fit_transform([long]).lengths.tolist() == [12]  # the model's own limit
    with pytest.raises(ValueError, match=r"row 1: expected text"):
        tokens.transform(["a", 3])
    with pytest.raises(ValueError, match="max_length must be a positive integer, got 0"):
        PretrainedTokens(folder / "text", max_length=0).fit(["a"])


def test_the_model_is_that_of_the_encoder_which_reads_the_tokens(folder):
    tokens = clone(PretrainedTokens(Encoder.pretrained(model=folder / "text")))
    expected = PretrainedTokens(folder / "text").fit_transform(["good film"])[0]
    assert tokens.fit_transform(["good film"])[0].tolist() == expected.tolist()
    with pytest.raises(ValueError, match="model must be the name or the folder of a pretrained model, got None"):
        PretrainedTokens(Encoder("gru")).fit(["good film"])


def test_a_text_is_no_longer_than_sentence_transformers_reads_it(folder, tmp_path):
    shutil.copytree(folder / "text", tmp_path / "text")
    long = " ".join(WORDS * 3)
    for said, expected in [(7, 7), (50, 12)]:
        (tmp_path / "text" / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": said}))
        assert PretrainedTokens(tmp_path / "text").fit_transform([long]).lengths.tolist() == [expected]
    assert PretrainedTokens(tmp_path / "text", max_length=9).fit_transform([long]).lengths.tolist() == [9]


def test_without_transformers_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"skmm\[text\]"):
        PretrainedTokens("a/model").fit(["a"])


def test_of_scikit_learns_checks_those_without_data():
    """Those that bring data bring numbers, and a model has to be found under its name."""
    for check in CHECKS:
        check("PretrainedTokens", PretrainedTokens("no/model"))
