"""Actions of UTD-MHAD by other subjects, and generated clips of which picture and sound are needed.

    python docs/benchmarks/video.py --data FOLDER --log development.jsonl --development
    python docs/benchmarks/video.py --data FOLDER --log video.jsonl
    python docs/benchmarks/video.py --log clips.jsonl --clips

UTD-MHAD: 27 actions, subjects 1, 3, 5, 7 train (431 sequences) and 2, 4, 6, 8 test (430). ``--development``
compares ``CANDIDATES`` by leaving out one of the four training subjects at a time; the test part is never read.
Without it, ``CHOSEN`` is fitted on the training part once per seed and scored on the test part: with each sensor
alone, with both, and with frames of depth beside them, averaged to 12 x 16 pixels; and scikit-learn's stack of
logistic regressions on both. Results are appended to the log as they come; a run that was stopped goes on where it
was.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import add_data_argument, data_folder, load
from joblib import Parallel, delayed
from real_data import Baselines
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline

from skmm import Blocks, ModalityTransformer, MultimodalClassifier
from skmm.augmentation import GaussianNoise, TimeShift
from skmm.datasets import make_video_events
from skmm.preprocessing import LogMel, VideoAudio, VideoFrames


def with_velocities(X: Blocks) -> Blocks:
    """The skeleton's joints, and how far each moves from one step to the next."""
    joints = X["skeleton"]
    return Blocks({**dict(X.items()), "skeleton": np.concatenate([joints, np.gradient(joints, axis=1)], axis=2)})


def velocities_beside(X: Blocks) -> Blocks:
    """The same as a modality of its own."""
    return Blocks({**dict(X.items()), "motion": np.gradient(X["skeleton"], axis=1)})


MEAN = {"stack": False}  # the mean of the members' fused heads
SHIFTED = {"augment": {name: [TimeShift(0.1), GaussianNoise(0.1)] for name in ("inertial", "skeleton")}}
# Name -> what is done to the input, whether members leave out whole subjects, parameters of the estimator.
CANDIDATES: dict[str, tuple[Callable[[Blocks], Blocks] | None, bool, dict[str, Any]]] = {
    "default, folds by subject": (None, True, {}),
    "default": (None, False, {}),
    "default, mean": (None, False, MEAN),
    "velocities": (with_velocities, False, {}),
    "velocities, mean": (with_velocities, False, MEAN),
    "velocities as a modality": (velocities_beside, False, {}),
    "velocities as a modality, mean": (velocities_beside, False, MEAN),
    "shifted, with noise": (None, False, SHIFTED),
}
CHOSEN = "velocities as a modality, mean"
INPUTS = {
    "inertial": ["inertial"],
    "skeleton": ["skeleton", "motion"],
    "depth": ["depth"],
    "inertial + skeleton": ["inertial", "skeleton", "motion"],
    "inertial + skeleton + depth": ["inertial", "skeleton", "motion", "depth"],
}


def scores(model: Any, X: Any, y: np.ndarray) -> dict[str, float]:
    proba = model.predict_proba(X)
    hit = accuracy_score(y, model.classes_[proba.argmax(axis=1)])
    return {"accuracy": float(hit), "log_loss": float(log_loss(y, proba, labels=model.classes_))}


def depth_frames(folder: Path) -> np.ndarray:
    """Frames of depth as videos, (n, 8, 12, 16, 1) uint8."""
    with np.load(folder / "utd_mhad" / "utd_mhad.npz") as z:
        depth = z["depth"]
    n, time, height, width = depth.shape
    cells = depth.reshape(n, time, height // 4, 4, width // 4, 4)
    return cells.mean(axis=(3, 5)).round().astype(np.uint8)[..., None]


def fit_actions(X: Blocks, y: np.ndarray, subject: np.ndarray, name: str, seed: int) -> Any:
    torch.set_num_threads(1)
    _, by_subject, params = CANDIDATES[name]
    model = MultimodalClassifier(random_state=seed, device="cpu", **params)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer subjects than members
        return model.fit(X, y, groups=subject if by_subject else None)


def develop(folder: Path, name: str, subject: int, seed: int) -> dict[str, Any]:
    """One candidate without one of the training subjects, on that one."""
    data = load("utd_mhad", folder)
    assert data.groups is not None
    train = data.splits[0][0]
    own = data.groups[train] == subject
    change = CANDIDATES[name][0]
    X: Any = data.X if change is None else change(data.X)
    start = time.process_time()
    model = fit_actions(X[train[~own]], data.y[train[~own]], data.groups[train[~own]], name, seed)
    key = {"what": name, "part": f"subject {subject}", "seed": seed, "seconds": time.process_time() - start}
    return {**key, **scores(model, X[train[own]], data.y[train[own]])}


def test(folder: Path, what: str, seed: int) -> dict[str, Any]:
    """Training part and test part, one choice of modalities."""
    data = load("utd_mhad", folder)
    assert data.groups is not None
    train, held_out = data.splits[0]
    start = time.process_time()
    model: Any
    X: Any = data.X
    if what == "stack":
        model = Baselines(data, X[train], data.y[train], data.groups[train]).models["stack, C by accuracy"]
        model.fit(X[train], data.y[train])
    else:
        change = CANDIDATES[CHOSEN][0]
        X = Blocks({**dict((X if change is None else change(X)).items()), "depth": depth_frames(folder)})
        X = X.select([name for name in INPUTS[what] if name in X])
        model = fit_actions(X[train], data.y[train], data.groups[train], CHOSEN, seed)
    key = {"what": what, "part": "test", "seed": seed, "seconds": time.process_time() - start}
    return {**key, **scores(model, X[held_out], data.y[held_out])}


def clips(folder: Path, what: str, seed: int) -> dict[str, Any]:
    """Clips from mp4 files on: 400 to learn from, 200 others, new ones for each seed."""
    torch.set_num_threads(1)
    hear = make_pipeline(VideoAudio(duration=2), LogMel(hop=0.02))
    modalities = [("frames", VideoFrames(8), "frames"), ("sound", hear, "sound")]
    chosen = [m for m in modalities if what in ("frames + sound", m[0])]
    with tempfile.TemporaryDirectory() as place:
        X, y = make_video_events(place, 600, random_state=seed)
        start = time.process_time()
        model = make_pipeline(
            ModalityTransformer(chosen), MultimodalClassifier(n_members=1, max_epochs=20, random_state=seed)
        )
        model.fit(X[:400], y[:400])
        key = {"what": what, "part": "test", "seed": seed, "seconds": time.process_time() - start}
        return {**key, **scores(model, X[400:], y[400:])}


def report(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and deviation over seeds, of subjects left out the mean over them first."""
    by: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for r in rows:
        by.setdefault(r["what"], {}).setdefault(r["seed"], []).append(r)
    lines = ["| | accuracy | log-loss | seeds | seconds of CPU |", "|---|---|---|---|---|"]
    for what, seeds in by.items():
        cells = []
        for metric in ("accuracy", "log_loss"):
            values = [np.mean([r[metric] for r in of_seed]) for of_seed in seeds.values()]
            spread = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.4f}{spread}")
        seconds = np.mean([r["seconds"] for of_seed in seeds.values() for r in of_seed])
        lines.append(f"| {what} | {' | '.join(cells)} | {len(seeds)} | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_data_argument(parser)
    parser.add_argument("--development", action="store_true", help="on parts of the training part")
    parser.add_argument("--clips", action="store_true", help="generated clips instead of UTD-MHAD")
    parser.add_argument("--what", nargs="+", metavar="NAME", help="some of the candidates or inputs alone")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--log", type=Path, default=Path("video.jsonl"))
    args = parser.parse_args()
    folder = Path() if args.clips else data_folder(parser, args)
    tasks: list[tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]]
    if args.development:
        tasks = [
            (develop, (name, subject, seed))
            for seed in range(args.seeds)
            for name in CANDIDATES
            for subject in (1, 3, 5, 7)
        ]
    elif args.clips:
        tasks = [(clips, (w, seed)) for seed in range(args.seeds) for w in ("frames", "sound", "frames + sound")]
    else:
        tasks = [(test, ("stack", 0))] + [(test, (w, seed)) for seed in range(args.seeds) for w in INPUTS]
    rows = [json.loads(line) for line in args.log.read_text().splitlines()] if args.log.exists() else []
    done = {(r["what"], r["part"], r["seed"]) for r in rows}
    todo = [
        (function, key)
        for function, key in tasks
        if (key[0], f"subject {key[1]}" if len(key) == 3 else "test", key[-1]) not in done
        and (args.what is None or key[0] in args.what)
    ]
    run = Parallel(n_jobs=args.jobs, return_as="generator_unordered")
    for result in run(delayed(function)(folder, *key) for function, key in todo):
        rows.append(result)
        with args.log.open("a") as log:
            log.write(json.dumps(result) + "\n")
    print(report(rows))


if __name__ == "__main__":
    import video  # joblib's workers can import functions of a module, but not those of a script

    video.main()
