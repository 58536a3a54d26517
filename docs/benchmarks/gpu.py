"""Check and measure everything about a GPU, unattended, in ten minutes.

    python docs/benchmarks/gpu.py --log gpu.jsonl
    python docs/benchmarks/gpu.py --device cpu --tiny    # every path, at sizes that tell nothing

Each part runs in a process of its own, a fork of one that never touches the device: one that fails, hangs or loses
the device takes no other with it. Its result is a line of JSON in the log as soon as it is there, with what went
wrong. A part for which there is no time says so, and the same command runs it later. At the end there is a table,
and the exit status is 1 if any check failed.

Times of a device and of the CPU are of the same machine; a ratio above 1 says how many times faster the first is.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import importlib.util
import multiprocessing
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import torch
from records import Records
from speed_fit import hand_written, make_data, skmm_fit
from speed_search import Search

import skmm
from skmm import Blocks, Encoder, MultimodalClassifier, MultimodalRegressor
from skmm.inspection import attributions
from skmm.model_selection import FusionSearchCV

ROOT = Path(__file__).parents[2]
MIB = 2**20


class NeedsCuda(Exception):
    """What a part raises that can only be tried on a GPU."""


@dataclasses.dataclass
class Run:
    """What a part is given, where it computes and for how many seconds, and what it found and what failed."""

    device: str
    tiny: bool
    seconds: float
    found: dict[str, Any] = dataclasses.field(default_factory=dict)
    failed: list[str] = dataclasses.field(default_factory=list)

    @property
    def cuda(self) -> bool:
        return torch.device(self.device).type == "cuda"

    def size(self, whole: int, tiny: int) -> int:
        """A number of something, by whether the run is a tiny one."""
        return tiny if self.tiny else whole

    def check(self, holds: bool, what: str) -> None:
        """Note a check that failed; what comes after it is tried all the same."""
        if not holds:
            self.failed.append(what)

    def close(self, a: Any, b: Any, atol: float, what: str) -> None:
        """Note the largest difference, and check it."""
        away = float(np.max(np.abs(np.asarray(a, dtype=float) - np.asarray(b, dtype=float)), initial=0.0))
        self.found[f"{what}: largest difference"] = away
        self.check(away <= atol, f"{what}: {away:.2g} apart, more than {atol:g}")

    def time(self, work: Callable[[], Any]) -> tuple[Any, float]:
        """What work gives, and its seconds until the device has done all of it."""
        self._wait()
        start = time.perf_counter()
        given = work()
        self._wait()
        return given, time.perf_counter() - start

    def peak(self, work: Callable[[], Any], name: str) -> tuple[Any, float]:
        """The same, and a note of the device's memory that it took at most."""
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        given, seconds = self.time(work)
        if self.cuda:
            self.found[f"{name}: peak MiB"] = torch.cuda.max_memory_allocated(self.device) / MIB
        return given, seconds

    def _wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)


PARTS: dict[str, tuple[Callable[[Run], None], float]] = {}


def part(seconds: float) -> Callable[[Callable[[Run], None]], Callable[[Run], None]]:
    """Register a part, which may take so many seconds."""

    def register(function: Callable[[Run], None]) -> Callable[[Run], None]:
        PARTS[function.__name__] = function, seconds
        return function

    return register


def two_classes(n: int, n_features: int) -> tuple[Blocks, np.ndarray]:
    X, y = make_data(n, n_features)
    return Blocks(X), y


def with_pictures(n: int, size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (n, size, size, 3) whose brightness in one corner tells the class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    pictures = rng.integers(0, 200, (n, size, size, 3), dtype=np.uint8)
    pictures[:, : size // 2, : size // 2] += (50 * y[:, None, None, None]).astype(np.uint8)
    return pictures, y


@part(30)
def device(run: Run) -> None:
    """Versions, and whether the device multiplies as the CPU does."""
    packages = ("torch", "scikit-learn", "skorch", "numpy")
    run.found |= {"Python": platform.python_version(), **{p: version(p) for p in packages}}
    run.found |= {"CPU cores": len(os.sched_getaffinity(0)), "threads of torch": torch.get_num_threads()}
    if run.cuda:
        properties = torch.cuda.get_device_properties(run.device)
        run.found |= {"device": properties.name, "memory, MiB": properties.total_memory / MIB}
        run.found |= {"CUDA": torch.version.cuda, "capability": f"{properties.major}.{properties.minor}"}
    n = run.size(4096, 64)
    a, b = torch.randn(2, n, n, generator=torch.Generator().manual_seed(0)).unbind()
    there_a, there_b = a.to(run.device), b.to(run.device)
    product, _ = run.time(lambda: there_a @ there_b)
    run.close(product.cpu(), a @ b, 1e-2, "a product in float32")
    _, seconds = run.time(lambda: [there_a @ there_b for _ in range(10)])
    run.found["float32 TFLOP/s"] = 20 * n**3 / seconds / 1e12


@part(120)
def gpu_tests(run: Run) -> None:
    """The tests with the mark ``gpu``, in the files that have any."""
    if importlib.util.find_spec("pytest") is None or not (ROOT / "tests").is_dir():
        run.check(False, "there is no pytest, or no folder of tests beside the package")
        return
    files = sorted(str(f) for f in (ROOT / "tests").rglob("test_*.py") if "mark.gpu\n" in f.read_text())
    if run.tiny:
        files = files[:1]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=run.seconds - 5)
    run.found["pytest"] = (done.stdout.strip().splitlines() or ["nothing"])[-1]
    run.check(
        done.returncode == 0, f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-500:]}"
    )
    if not run.cuda:
        raise NeedsCuda
    run.check(" passed" in run.found["pytest"], "no test ran")


@part(90)
def agreement(run: Run) -> None:
    """Every kind of block, an unfinished fit, a search and an explanation: the same as on the CPU."""
    rng = np.random.default_rng(0)
    n = run.size(400, 40)
    y = np.arange(n) % 2
    shown = rng.normal(size=(n, 12, 12, 3)) + y[:, None, None, None]
    X = Blocks(
        vector=rng.normal(size=(n, 6)) + y[:, None],
        sequence=[rng.normal(size=(3 + i % 5, 4)) + label for i, label in enumerate(y)],
        tokens=[rng.integers(0, 5, 3 + i % 4) + 3 * label for i, label in enumerate(y)],
        image=(40 * shown + 100).clip(0, 255).astype(np.uint8),
    )
    params: dict[str, Any] = {"max_epochs": run.size(5, 1), "dropout": 0.0, "experts": None, "random_state": 0}

    def both(work: Callable[[str], Any], what: str, atol: float = 1e-2) -> None:
        run.close(work(run.device), work("cpu"), atol, what)

    torch.backends.cudnn.allow_tf32 = False  # to which convolutions would be rounded
    for members in (2,) if run.tiny else (1, 2):
        clf = MultimodalClassifier(**params, n_members=members)
        both(
            lambda d, clf=clf: clf.set_params(device=d).fit(X, y).predict_proba(X), f"{members} members, all kinds"
        )
    short = X.select(["vector", "tokens"])
    one = {**params, "n_members": 1}
    both(lambda d: MultimodalRegressor(**one, device=d).fit(short, y).predict(short), "a regressor")

    def in_parts(d: str) -> np.ndarray:
        clf = MultimodalClassifier(**one, device=d)
        for start in range(0, n, n // 2):
            clf.partial_fit(short[start : start + n // 2], y[start : start + n // 2], classes=[0, 1])
        return clf.predict_proba(short)

    both(in_parts, "partial_fit")
    grid = {"lr": [0.001, 0.003], "fusion": ["concat", "attention"]}

    def searched(d: str) -> np.ndarray:
        clf = MultimodalClassifier(**one, device=d)
        return FusionSearchCV(clf, grid, cv=2, scoring="neg_log_loss").fit(short, y).cv_results_["mean_test_score"]

    both(searched, "a search")
    clf = MultimodalClassifier(**one, device=run.device).fit(short, y)
    run.check(bool(np.isfinite(attributions(clf, short[:4], "vector").values).all()), "attributions are no numbers")


@part(90)
def default_fit(run: Run) -> None:
    """``MultimodalClassifier()`` on the device and on this machine's CPU."""
    X, y = two_classes(run.size(10_000, 80), run.size(100, 8))
    test = run.size(2_000, 20)
    params: dict[str, Any] = {"random_state": 0, **({"max_epochs": 1, "n_members": 2} if run.tiny else {})}
    accuracy = {}
    for name in ("device", "CPU"):
        clf = MultimodalClassifier(device=run.device if name == "device" else "cpu", **params)
        _, run.found[f"{name}: seconds"] = run.peak(lambda clf=clf: clf.fit(X[test:], y[test:]), name)
        (_, run.found[f"{name}: seconds of a prediction"]) = run.time(lambda clf=clf: clf.predict_proba(X[:test]))
        run.found[f"{name}: accuracy"] = accuracy[name] = float(clf.score(X[:test], y[:test]))
    run.found["times faster"] = run.found["CPU: seconds"] / run.found["device: seconds"]
    run.close(accuracy["device"], accuracy["CPU"], 1.0 if run.tiny else 0.03, "accuracy")


@part(60)
def bare_fit(run: Run) -> None:
    """``MultimodalClassifier.plain`` and a hand-written loop over the same network, data on the device.

    Small batches measure what is between the kernels, large ones throughput.
    """
    sizes = [(8_000, 128, 10), (400_000, 4096, 10)]
    for n, batch, epochs in [(200, 32, 2)] if run.tiny else sizes:
        data = make_data(n, 100)
        contenders = {"skmm": skmm_fit, "loop": hand_written}
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        for fit in contenders.values():
            fit(data, 1, 0, device=run.device, batch_size=batch)
        for turn in range(run.size(3, 1)):
            for name in list(contenders)[:: 1 if turn % 2 else -1]:
                fit = contenders[name]
                predict, took = run.peak(
                    lambda fit=fit, data=data, epochs=epochs, turn=turn, batch=batch: fit(
                        data, epochs, turn, device=run.device, batch_size=batch
                    ),
                    f"{name}, batches of {batch}",
                )
                seconds[name].append(took)
                if not run.tiny:
                    right = float(np.mean(predict() == data[1]))
                    run.check(right > 0.8, f"{name} did not learn: accuracy {right:.2f}")
        for name, each in seconds.items():
            run.found[f"{name}, batches of {batch}: rows/s"] = n * epochs / float(np.median(each))
        ratio = float(np.median(np.divide(seconds["skmm"], seconds["loop"])))
        run.found[f"batches of {batch}: times the hand-written loop"] = ratio


@part(120)
def searches(run: Run) -> None:
    """``FusionSearchCV`` and ``GridSearchCV``: the same candidates, folds and epochs, both on the device."""
    X, y = two_classes(run.size(2_000, 60), 30)
    data: Any = SimpleNamespace(X=X, y=y)
    grid: dict[str, list[Any]] = {"lr": [0.001, 0.01], "dropout": [0.0]}
    if not run.tiny:
        grid = {"lr": [0.0003, 0.001, 0.003, 0.01], "weight_decay": [0.0, 0.01, 0.1], "dropout": [0.0]}
    epochs = run.size(4, 1)
    warm_up: dict[str, list[Any]] = {"lr": [0.001, 0.002]}
    Search("stacked", data, warm_up, 1, 1, run.device)
    fitted = {name: Search(name, data, grid, epochs, 1, run.device) for name in ("stacked", "grid")}
    scores = {name: each.fitted.cv_results_["mean_test_score"] for name, each in fitted.items()}
    run.found["fits"] = 5 * len(scores["grid"])
    run.found |= {f"{name}: seconds": each.seconds for name, each in fitted.items()}
    run.found["times faster (goal 20)"] = fitted["grid"].seconds / fitted["stacked"].seconds
    run.close(scores["stacked"], scores["grid"], 0.02, "mean scores")


@part(90)
def precisions(run: Run) -> None:
    """float32, TF32, bfloat16 and float16 on a network wide enough for it."""
    n, width = run.size(60_000, 64), run.size(2048, 16)
    X, y = two_classes(n, run.size(512, 8))
    before = torch.get_float32_matmul_precision()
    kinds = {"float32": "32", "TF32": "32", "bf16": "bf16", "float16": "16"}
    for name, precision in kinds.items():
        torch.set_float32_matmul_precision("high" if name == "TF32" else "highest")
        clf = MultimodalClassifier(
            hidden_dim=width,
            n_members=1,
            experts=None,
            precision=precision,
            batch_size=run.size(2048, 32),
            max_epochs=run.size(5, 1),
            device=run.device,
            random_state=0,
        )
        try:
            clf.fit(X[: n // 10], y[: n // 10])
            _, seconds = run.peak(lambda clf=clf: clf.fit(X, y), name)
        finally:
            torch.set_float32_matmul_precision(before)
        run.found |= {f"{name}: seconds": seconds, f"{name}: accuracy": float(clf.score(X, y))}
        run.check(bool(np.isfinite(clf.loss_curve_).all()), f"{name}: the loss is no number")
        if not run.tiny:
            gap = abs(run.found[f"{name}: accuracy"] - run.found["float32: accuracy"])
            run.check(gap < 0.03, f"{name}: accuracy is {gap:.3f} from that of float32")


@part(120)
def compiled(run: Run) -> None:
    """``compile=True``, as CUDA graphs; the first fit compiles."""
    if not run.cuda:
        raise NeedsCuda  # it would ask for a compiler of C++, and test nothing of the device
    X, y = two_classes(20_480, 100)
    params: dict[str, Any] = {"n_members": 1, "experts": None, "dropout": 0.0, "batch_size": 128, "max_epochs": 5}
    losses = {}
    for compile_ in (False, True):
        name = "compiled" if compile_ else "as it is"
        clf = MultimodalClassifier(**params, compile=compile_, device=run.device, random_state=0)
        _, run.found[f"{name}: first fit, seconds"] = run.time(lambda clf=clf: clf.fit(X, y))
        clf.set_params(warm_start=True)
        _, run.found[f"{name}: more of it, seconds"] = run.time(lambda clf=clf: clf.fit(X, y))
        losses[name] = clf.loss_curve_[: params["max_epochs"]]
        pickle.loads(pickle.dumps(clf)).predict(X[:5])
    run.close(losses["compiled"], losses["as it is"], 1e-2, "losses")


@part(60)
def streamed(run: Run) -> None:
    """Data that lie on the device, and data that stay in pinned memory of the host because there is no room."""
    n = run.size(300_000, 80)
    X, y = two_classes(n, 100)
    params: dict[str, Any] = {"batch_size": run.size(4096, 32), "max_epochs": run.size(4, 1), "random_state": 0}
    fits = {}
    for name in ("resident", "streamed"):
        no_room = mock.patch("skmm.inputs._inputs._room", return_value=0.0)
        with no_room if name == "streamed" else contextlib.nullcontext():
            clf = MultimodalClassifier.plain("sum", hidden_dim=256, device=run.device, **params)
            _, seconds = run.peak(lambda clf=clf: clf.fit(X, y), name)
            fits[name] = clf.predict_proba(X[:1000])
        run.found[f"{name}: rows/s"] = n * params["max_epochs"] / seconds
    run.close(fits["streamed"], fits["resident"], 1e-3, "probabilities")


ELSEWHERE = """
import pickle, sys
from pathlib import Path
import numpy as np
import torch
import skmm

assert not torch.cuda.is_available()
folder = Path(sys.argv[1])
X = skmm.Blocks(dict(np.load(folder / "X.npz")))
for name in ("pickle", "file"):
    clf = pickle.loads((folder / "m.pickle").read_bytes()) if name == "pickle" else skmm.load(folder / "m.skmm")
    np.save(folder / f"{name}.npy", clf.predict_proba(X))
"""


@part(60)
def without_gpu(run: Run) -> None:
    """Fit here; load a pickle and a file, and predict, in a process that sees no GPU."""
    data, y = make_data(run.size(2_000, 60), 20)
    params: dict[str, Any] = {"max_epochs": 1, "n_members": 2} if run.tiny else {}
    clf = MultimodalClassifier(random_state=0, device=run.device, **params).fit(Blocks(data), y)
    expected = clf.predict_proba(Blocks(data))
    with tempfile.TemporaryDirectory() as folder:
        np.savez(f"{folder}/X.npz", **data)
        Path(folder, "m.pickle").write_bytes(pickle.dumps(clf))
        skmm.save(clf, f"{folder}/m.skmm")
        command = [sys.executable, "-c", ELSEWHERE, folder]
        env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=run.seconds - 5)
        run.check(done.returncode == 0, f"it ended with {done.returncode}: {done.stderr[-2000:]}")
        for name in ("pickle", "file") if done.returncode == 0 else ():
            run.close(np.load(f"{folder}/{name}.npy"), expected, 1e-4, name)


class LazyPictures:
    """Pictures made when they are read."""

    dtype = np.dtype(np.uint8)

    def __init__(self, n: int, size: int) -> None:
        self.shape = (n, size, size, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        parts = [np.full(self.shape[1:], 60 + 90 * (int(row) % 2), dtype=np.uint8) for row in np.atleast_1d(rows)]
        return np.stack(parts)


@part(120)
def pictures(run: Run) -> None:
    """``conv2d`` on pictures of 224 x 224: one member, the members of the default, and lazily read."""
    size, n = run.size(224, 12), run.size(1_000, 40)
    values, y = with_pictures(n, size)
    params: dict[str, Any] = {"experts": None, "max_epochs": run.size(3, 1), "batch_size": 32, "random_state": 0}
    given = {"one member": (values, 1), "lazy": (LazyPictures(n, size), 1), "all members": (values, run.size(8, 2))}
    for name, (photo, members) in given.items():
        X = Blocks(photo=photo)
        clf = MultimodalClassifier(encoders="conv2d", n_members=members, device=run.device, **params)
        _, seconds = run.peak(lambda clf=clf, X=X: clf.fit(X, y), name)
        run.found[f"{name}: pictures/s in training"] = n * params["max_epochs"] / seconds
        right, seconds = run.time(lambda clf=clf, X=X: clf.score(X, y))
        run.found[f"{name}: pictures/s predicted"] = n / seconds
        run.check(run.tiny or right > 0.8, f"{name} did not learn: accuracy {right:.2f}")


@part(90)
def pretrained(run: Run) -> None:
    """A BERT and a vision transformer with random weights, fine-tuned, and frozen; nothing is downloaded."""
    if importlib.util.find_spec("transformers") is None:
        run.check(False, "there is no transformers: pip install transformers")
        return
    import transformers

    dim, layers, heads = (16, 1, 2) if run.tiny else (768, 12, 12)
    shape: dict[str, Any] = {"hidden_size": dim, "num_hidden_layers": layers, "num_attention_heads": heads}
    shape["intermediate_size"] = 4 * dim
    steps, size = run.size(128, 8), run.size(224, 16)
    words = transformers.BertConfig(vocab_size=run.size(30_000, 50), max_position_embeddings=steps, **shape)
    patches = transformers.ViTConfig(image_size=size, patch_size=run.size(16, 8), **shape)
    n = run.size(512, 24)
    rng = np.random.default_rng(0)
    photo, y = with_pictures(n, size)
    text = [rng.integers(5, 20, steps) + 20 * label for label in y]
    with tempfile.TemporaryDirectory() as folder:
        transformers.BertModel(words).save_pretrained(f"{folder}/text")
        transformers.ViTModel(patches).save_pretrained(f"{folder}/photo")
        transformers.ViTImageProcessorPil(size={"height": size, "width": size}).save_pretrained(f"{folder}/photo")
        for name, block in {"text": text, "photo": photo}.items():
            X = Blocks({name: block})
            for freeze in (False, True):
                clf = MultimodalClassifier(
                    encoders={name: Encoder("pretrained", model=f"{folder}/{name}", freeze=freeze)},
                    n_members=1,
                    experts=None,
                    precision="32" if run.tiny else "bf16",
                    lr=3e-5 if freeze is False else "auto",
                    batch_size=run.size(32, 8),
                    max_epochs=run.size(2, 1),
                    device=run.device,
                    random_state=0,
                )
                what = f"{name}, {'frozen' if freeze else 'fine-tuned'}"
                _, seconds = run.peak(lambda clf=clf, X=X: clf.fit(X, y), what)
                run.found[f"{what}: samples/s"] = n * clf.n_iter_ / seconds
                run.check(bool(np.isfinite(clf.predict_proba(X[:8])).all()), f"{what}: no numbers")


@part(45)
def predictions(run: Run) -> None:
    """One row and many, beside the bare module, and from several threads at once."""
    n = run.size(200_000, 200)
    X, y = two_classes(n, 100)
    clf = MultimodalClassifier(
        max_epochs=1, experts=None, n_members=run.size(8, 2), device=run.device, random_state=0
    )
    clf.fit(X[:2_000], y[:2_000])
    one, many = X[:1], X
    clf.predict_proba(one)
    _, seconds = run.time(lambda: [clf.predict_proba(one) for _ in range(run.size(100, 2))])
    run.found["one row, ms"] = 1000 * seconds / run.size(100, 2)
    said, seconds = run.peak(lambda: clf.predict_proba(many), "many rows")
    run.found["rows/s"] = n / seconds
    module = clf.net_.module_.eval()
    values = {name: torch.from_numpy(np.ascontiguousarray(x)).to(run.device) for name, x in X.items()}
    present = {name: torch.ones(n, dtype=torch.bool, device=run.device) for name in values}
    with torch.inference_mode():
        at = slice(0, min(n, 4096))
        part_of = [{name: x[at] for name, x in each.items()} for each in (values, present)]
        module(*part_of)
        _, seconds = run.time(lambda: [module(*part_of) for _ in range(10)])
    run.found["rows/s of the bare module, data on the device"] = 10 * min(n, 4096) / seconds
    parts = np.array_split(np.arange(min(n, 4_000)), 8)
    with ThreadPoolExecutor(4) as pool:
        by_threads = np.concatenate(list(pool.map(lambda rows: clf.predict_proba(X[rows]), parts)))
    run.close(by_threads, said[: len(by_threads)], 1e-4, "by four threads")


# -- running the parts ---------------------------------------------------------------------------------------------


def _run(name: str, run: Run, out: Any) -> None:
    """In a process of its own."""
    function, _ = PARTS[name]
    status, error = "ok", ""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a loss that was still falling
            if run.cuda:  # which takes seconds to begin with
                X, y = two_classes(100, 5)
                MultimodalClassifier(max_epochs=1, n_members=2, experts=None, device=run.device).fit(X, y)
            function(run)
    except NeedsCuda:
        status = "needs cuda"
    except BaseException:  # whatever it is: the others go on, and the log says it
        error = traceback.format_exc()
    if error or run.failed:
        status = "failed"
    out.send(
        {
            "status": status,
            "found": run.found,
            "failed": run.failed,
            "error": error,
            "spent": round(time.perf_counter() - start, 1),
        }
    )


def run_part(name: str, run: Run) -> dict[str, Any]:
    """The result of a part, whatever happens to its process."""
    result = {"status": "failed", "found": {}, "failed": [], "error": "", "spent": 0.0}
    about = {"part": name, "device": run.device, "tiny": run.tiny}
    if run.seconds < 5:
        return {**about, **result, "status": "no time"}
    processes = multiprocessing.get_context("fork")
    here, there = processes.Pipe(duplex=False)
    child = processes.Process(target=_run, args=(name, run, there))
    start = time.perf_counter()
    child.start()
    there.close()
    try:
        if here.poll(run.seconds):
            result = here.recv()
        else:
            result["error"] = f"it was ended after {run.seconds:.0f} seconds"
    except EOFError:
        child.join(5)
        result["error"] = f"its process ended with {child.exitcode}"
    child.join(5)
    if child.is_alive():
        child.kill()
        child.join()
    result["spent"] = result["spent"] or round(time.perf_counter() - start, 1)
    return {**about, **result}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each part's outcome, and one for each number."""
    lines = ["| part | status | seconds | | |", "|---|---|---|---|---|"]
    for row in rows:
        lines.append(f"| {row['part']} | {row['status']} | {row['spent']} | | |")
        lines += [
            f"| | | | {name} | {f'{value:.4g}' if isinstance(value, float) else value} |"
            for name, value in row["found"].items()
        ]
        lines += [f"| | | | FAILED | {what.splitlines()[0]} |" for what in row["failed"]]
        if row["error"]:
            lines.append(f"| | | | ERROR | {row['error'].strip().splitlines()[-1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="try the paths, at sizes that tell nothing")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--budget", type=float, default=570.0, help="seconds that all of it may take")
    parser.add_argument("--log", type=Path, help="lines of JSON; parts of it that went well are not run again")
    args = parser.parse_args()
    importlib.import_module("torch._dynamo")  # which every optimizer imports: once, before the parts are forked
    records = Records(args.log, "part", "device", "tiny")
    start = time.perf_counter()
    for name in args.parts:
        if records.found.get((name, args.device, args.tiny), {}).get("status") == "ok":
            continue
        left = args.budget - (time.perf_counter() - start)
        result = run_part(name, Run(args.device, args.tiny, min(left, PARTS[name][1])))
        records.add(result)
        print(f"{name}: {result['status']}, {result['spent']} s", flush=True)
        for text in [*result["failed"], *([result["error"]] if result["error"] else [])]:
            print(text, file=sys.stderr, flush=True)
    rows = [records.found[name, args.device, args.tiny] for name in args.parts]
    print(table(rows))
    if any(row["status"] == "failed" for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
