"""
Bigger than memory
==================

Frames in an HDF5 file and features in a memory map are read batch by batch: what a fit holds is a batch, not
the file.
"""

# %%
# The files
# ---------
# Small here, so that the page is built quickly; nothing below depends on their size.

import tempfile
from pathlib import Path

import h5py
import matplotlib.pyplot as plt
import numpy as np

folder = tempfile.TemporaryDirectory()
place = Path(folder.name)
rng = np.random.default_rng(0)
n = 400
y = rng.permutation(np.arange(n) % 2)
with h5py.File(place / "frames.h5", "w") as file:
    frames = file.create_dataset("frames", (n, 16, 16, 3), dtype="uint8", chunks=(16, 16, 16, 3))
    for start in range(0, n, 100):
        part = slice(start, start + 100)
        frames[part] = (rng.normal(110, 40, (100, 16, 16, 3)) + 4 * y[part, None, None, None]).clip(0, 255)
features = np.lib.format.open_memmap(place / "features.npy", "w+", np.float32, (n, 20))
features[:] = rng.normal(size=(n, 20)) + 0.4 * y[:, None]
features.flush()

# %%
# Blocks of them
# --------------
# An HDF5 data set is handed over as it is, a memory map by ``np.load(..., mmap_mode="r")``. Nothing is read but
# the rows that are asked for. Missing rows are said by ``present``: to find them would mean to read all.

from skmm import Blocks, MultimodalClassifier

file = h5py.File(place / "frames.h5", "r")
X = Blocks(frames=file["frames"], features=np.load(place / "features.npy", mmap_mode="r"))
X

# %%
# Fit and predict
# ---------------
# Rows are chosen as ever; a lazy block stays lazy. Samples keep their order, identical ones are not merged.
# ``n_jobs=2`` would have two processes read ahead of the batches.

train, test = np.arange(300), np.arange(300, n)
clf = MultimodalClassifier(n_members=2, max_epochs=6, experts=None, random_state=0)
clf.fit(X[train], y[train])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")

# %%
# What was read
# -------------
# Once, at first, in large parts to learn the scaling (this small file is one part), then batch by batch in each
# epoch. A wrapper that counts shows how often rows were asked for: whatever has a shape, a dtype and rows is a
# block that is read batch by batch, of a database, too.


class Counting:
    """An array whose readings are counted."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.rows = array, array.shape, array.dtype, []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        found = self.array[rows]
        self.rows.append(len(found))
        return found


counting = Counting(file["frames"])
clf.fit(Blocks(frames=counting, features=X["features"]), y)
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.plot(counting.rows, ".", markersize=3)
ax.set(
    xlabel="reading",
    ylabel="rows",
    title="Rows of each reading",
)
plt.show()

# %%
# Files of pictures are read the same way by ``ImageLoader(lazy=True)``, ``VideoFrames(lazy=True)`` and, with a
# ``duration``, ``AudioLoader(lazy=True)``.

file.close()
folder.cleanup()
