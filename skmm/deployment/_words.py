"""Texts as counts and weights of their words, as nodes."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from skmm.deployment._nodes import Nodes, NoNodes

_WORD = r"[\p{L}\p{N}_]"  # what \w of Python is, in the expressions of onnxruntime
_GAP = r"[^\s\v\x{1c}-\x{1f}\x{85}\p{Z}]"
# expressions whose classes, or edges of words, are others there
_PATTERNS = {
    r"\b\w\w+\b": _WORD + "{2,}",
    r"\w\w+": _WORD + "{2,}",
    r"\b\w+\b": _WORD + "+",
    r"\w+": _WORD + "+",
    r"\S+": _GAP + "+",
}
_PAD = "\x1a"  # what stands where a text has no more words, and is none
_SEPARATORS = (" ", " ", "  ", "-", ", ", ". ", "'", "\n", "/", " a ", " I ", " 7 ", " \N{EM DASH} ", "\u00a0")
_MOST, _NUMBERS = 200, 1 << 21


def count_nodes(step: Any, nodes: Nodes, x: str) -> str:
    """Nodes that count words or characters as a fitted vectorizer does, of texts (n, 1).

    Raises
    ------
    NoNodes
        If they cannot; says why.
    """
    texts = nodes.add("Reshape", x, nodes.constant(np.array([-1])))
    # accents are stripped after that, which is no node's, and may leave capitals
    if step.lowercase and step.strip_accents is None:
        # the default is a locale that many machines lack
        how: dict[str, Any] = {"case_change_action": "LOWER", "is_case_sensitive": 1, "locale": "C.UTF-8"}
        texts = nodes.add("StringNormalizer", texts, **how)
    words = nodes.add(
        "Tokenizer",
        texts,
        domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value=_PAD,
        tokenexp=_expression(step),
    )
    least, most = step.ngram_range
    pool, starts, places = _grams(step.vocabulary_, step.analyzer, least, most)
    counts = nodes.add(
        "TfIdfVectorizer",
        words,
        mode="TF",
        min_gram_length=least,
        max_gram_length=most,
        max_skip_count=0,
        ngram_counts=starts,
        ngram_indexes=places,
        pool_strings=pool,
    )
    return nodes.add("Sign", counts) if step.binary else counts


def _expression(step: Any) -> str:
    """What a word is, in the expressions of onnxruntime."""
    if callable(step.analyzer) or step.analyzer not in ("word", "char"):
        raise NoNodes(f"analyzer={step.analyzer!r} has no nodes, only 'word' and 'char' have")
    if step.preprocessor is not None or callable(step.strip_accents):
        raise NoNodes("its preprocessor is code of Python")
    if step.analyzer == "char":
        return "(?s)."
    if step.tokenizer is not None:
        raise NoNodes("its tokenizer is code of Python")
    if step.get_stop_words() and step.ngram_range[1] > 1:
        raise NoNodes("stop_words and ngram_range above 1 at the same time have no nodes")
    pattern = step.token_pattern.removeprefix("(?u)")
    if pattern not in _PATTERNS and not re.fullmatch(r"\[[^\]\\^ ]+\]\+", pattern):
        raise NoNodes(f"token_pattern={step.token_pattern!r} means another thing to onnxruntime")
    return _PATTERNS.get(pattern, pattern)


def _grams(vocabulary: Any, analyzer: str, least: int, most: int) -> tuple[list[str], list[int], list[int]]:
    """Words of all n-grams, where those of each length start, and the column of each n-gram."""
    by_length: dict[int, list[tuple[list[str], int]]] = {n: [] for n in range(1, most + 1)}
    for term, place in sorted(vocabulary.items(), key=lambda pair: pair[1]):
        words = list(term) if analyzer == "char" else term.split(" ")
        if not least <= len(words) <= most:
            raise NoNodes(f"{term!r} of its vocabulary can never be found")
        by_length[len(words)].append((words, int(place)))
    pool: list[str] = []
    starts, places = [], []
    for grams in by_length.values():
        starts.append(len(pool))
        for words, place in grams:
            pool += words
            places.append(place)
    return pool, starts, places


def weigh(step: Any, nodes: Nodes, counts: str) -> str:
    """Nodes that weigh counts as a fitted TfidfTransformer does, in float64."""
    x, one = nodes.double(counts), nodes.constant(np.ones((1, 1)))
    if step.sublinear_tf:
        x = nodes.add(
            "Where",
            nodes.add("Greater", x, nodes.constant(np.zeros((1, 1)))),
            nodes.add("Add", nodes.add("Log", nodes.add("Max", x, one)), one),
            x,
        )
    if step.use_idf:
        x = nodes.add("Mul", x, nodes.constant(np.asarray(step.idf_, np.float64)[None]))
    if step.norm is not None:
        kind = {"l1": "ReduceL1", "l2": "ReduceL2"}[step.norm]
        length = nodes.add(kind, x, nodes.constant(np.array([1])), keepdims=1)
        empty = nodes.add("Equal", length, nodes.constant(np.zeros((1, 1))))
        x = nodes.add("Div", x, nodes.add("Where", empty, one, length))
    return x


def documents(vocabulary: Iterable[str], analyzer: Any, width: int) -> list[str]:
    """Texts made of what a vectorizer knows, in any case, with one-letter words and signs between."""
    draw, terms = random.Random(0), list(vocabulary)
    made = ["", " ", "a"]
    for _ in range(max(20, min(_MOST, _NUMBERS // width))):
        parts = draw.choices(terms, k=draw.randint(1, 20))
        parts = [draw.choice((str, str, str.upper, str.title))(part) for part in parts]
        made.append(
            "".join(
                part + (draw.choice(_SEPARATORS) if analyzer != "char" or draw.random() < 0.3 else "")
                for part in parts
            )
        )
    return made
