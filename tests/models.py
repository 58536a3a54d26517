"""Small models of the package transformers, written to disk for the code that reads real ones."""

import pytest

transformers = pytest.importorskip("transformers")

WORDS = [
    "a",
    "the",
    "good",
    "bad",
    "film",
    "plot",
    "nice",
    "poor",
    "boring",
    "great",
    "fine",
    "dull",
    "story",
    "old",
]
TEXT_DIM = 16


def save_text_model(folder):
    """A small BERT with its tokenizer, which knows WORDS."""
    folder.mkdir()
    vocabulary = {w: i for i, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=TEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(vocab=vocabulary, model_max_length=12).save_pretrained(folder)
