"""Train on JPEG files that do not fit into the memory allowed, and compare its pace with that of decoding alone.

    python docs/benchmarks/lazy_images.py                   # 20,000 files, about 1.5 GB in a temporary folder
    python docs/benchmarks/lazy_images.py --images 2000 --limit 700   # a quick look

The files hold pictures of 640 x 480 pixels, smooth noise whose brightness tells the class. A fit runs in a process
whose data segment, and that of each of its reading processes, is limited to a quarter of the bytes that the decoded
images would take (RLIMIT_DATA; RLIMIT_AS would count what torch maps but never touches). The pace of each epoch is
compared with that of the same reading processes when nobody trains, which follows it, so that a slow moment of the
machine hits both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

HEIGHT, WIDTH = 480, 640


def make_file(folder: str, number: int) -> tuple[str, int]:
    """A JPEG file and its class."""
    from PIL import Image

    rng = np.random.default_rng(number)
    label = int(rng.integers(2))
    coarse = rng.normal(110 + 40 * label, 50, (12, 16, 3)).clip(0, 255).astype(np.uint8)
    fine = rng.normal(0, 12, (HEIGHT, WIDTH, 1))
    smooth = np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    file = f"{folder}/{number:06d}.jpg"
    Image.fromarray((smooth + fine).clip(0, 255).astype(np.uint8)).save(file, quality=85)
    return file, label


def processes() -> list[int]:
    """This process and all below it."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(place.parent.name)] = int(place.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended
            continue
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds() -> float:
    ticks = 0
    for pid in processes():
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def peak(pid: int, what: str) -> int:
    """A line of a process's status, in bytes: its largest resident set VmHWM, its data segment VmData."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(what)), 0)


def idle_seconds() -> float:
    """What all cores of the machine have spent idle."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def timed(n_images: int) -> Iterator[dict[str, float]]:
    """Images per second, cores that worked for us and for nobody, and milliseconds of work per image."""
    found: dict[str, float] = {}
    used, idle, start = cpu_seconds(), idle_seconds(), time.perf_counter()
    yield found
    wall, used = time.perf_counter() - start, cpu_seconds() - used
    found["pace"], found["busy"], found["cpu"] = n_images / wall, used / wall, 1000 * used / n_images
    found["idle"] = (idle_seconds() - idle) / wall


def measure(files: list[str], labels: list[int], args: argparse.Namespace, out: Any) -> None:
    """In a process of its own: decode alone, and train, by turns."""
    limit = args.limit * 2**20 or len(files) * args.size**2 * 3 // 4
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    import torch
    from skorch.callbacks import Callback

    from skmm import Blocks, MultimodalClassifier
    from skmm.blocks._prefetch import read_ahead
    from skmm.preprocessing import ImageLoader

    n = len(files)
    blocks = Blocks(photo=ImageLoader(args.size, lazy=True).transform(files))
    parts = np.split(np.random.default_rng(0).permutation(n), range(args.batch, n, args.batch))

    class Epochs(Callback):
        """Reads the clocks around the passes over the training samples."""

        def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
            self.watch = timed(n)
            self.found = self.watch.__enter__()

        def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
            self.watch.__exit__(None, None, None)
            rounds["training"].append(self.found)
            with timed(n) as found:
                for _ in read_ahead(blocks["photo"], parts, args.jobs):
                    pass
            rounds["decoding"].append(found)

    rounds: dict[str, list[dict[str, float]]] = {"training": [], "decoding": []}

    class Patches(torch.nn.Module):
        """A linear layer on patches of 16 x 16 pixels, as in a vision transformer, averaged over a grid."""

        def __init__(self) -> None:
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 32, 16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            # (B, H, W, 3) -> (B, 512)
            return torch.nn.functional.adaptive_avg_pool2d(self.patches(x.movedim(-1, 1)).relu(), 4).flatten(1)

    model = MultimodalClassifier(
        "concat",
        encoders={"photo": Patches()},
        n_members=args.members,
        batch_size=args.batch,
        max_epochs=args.epochs,
        n_jobs=args.jobs,
        callbacks=[Epochs()],
        random_state=0,
        device="cpu",
    )
    model.fit(blocks, np.array(labels))
    tree = processes()
    out.send(
        {
            "rounds": rounds,
            "limit": limit,
            "accuracy": model.score(blocks[:1000], labels[:1000]),
            "data": [peak(pid, "VmData") for pid in tree],
            "resident": [peak(pid, "VmHWM") for pid in tree],
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--limit", type=int, default=0, metavar="MIB", help="default: a quarter of what they take")
    parser.add_argument("--size", type=int, default=224, help="side of the decoded images")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="reading processes")
    args = parser.parse_args()
    # for the processes started below: the cores decode, and glibc gives back at once what was freed
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
    with tempfile.TemporaryDirectory() as folder:
        made = Parallel(n_jobs=args.jobs)(delayed(make_file)(folder, number) for number in range(args.images))
        files, labels = map(list, zip(*made, strict=True))
        stored = sum(os.path.getsize(file) for file in files)
        here, there = multiprocessing.get_context("spawn").Pipe(duplex=False)
        child = multiprocessing.get_context("spawn").Process(target=measure, args=(files, labels, args, there))
        child.start()
        there.close()
        found = here.recv()
        child.join()
    mib = 2**20
    decoded = args.images * args.size**2 * 3
    print(
        f"{args.images} files, {stored / mib:.0f} MiB; decoded to {args.size} x {args.size} {decoded / mib:.0f} MiB"
    )
    print(f"RLIMIT_DATA of each process: {found['limit'] / mib:.0f} MiB")
    for what, sizes in {"data segments": found["data"], "resident at most": found["resident"]}.items():
        print(f"{what} (MiB): {[round(size / mib) for size in sizes]}")
    for name, rounds in found["rounds"].items():
        pace, busy, idle, cpu = (
            statistics.median(r[key] for r in rounds) for key in ("pace", "busy", "idle", "cpu")
        )
        print(
            f"{name}: {pace:.0f} images per second; {busy:.2f} cores busy, {idle:.2f} idle; {cpu:.2f} ms per image"
        )
    pairs = list(zip(found["rounds"]["training"], found["rounds"]["decoding"], strict=True))
    for key, what in {"pace": "pace", "cpu": "work per image"}.items():
        ratios = [training[key] / alone[key] for training, alone in pairs]
        print(f"{what}, training / decoding alone: {statistics.median(ratios):.2f} {[round(r, 2) for r in ratios]}")
    print(f"accuracy on 1,000 of the training samples: {found['accuracy']:.3f}")


if __name__ == "__main__":
    main()
