"""
Your own encoder
================

An encoder reads one block and gives a vector, or tokens, for each sample. Here it is one for sequences that
looks at their frequencies; a module that you already have is taken as it is.
"""

# %%
# The module
# ----------
# Its constructor is told of the block, its ``forward`` gets a batch with the mask of the steps that exist, and
# gives values and mask. ``kinds`` says which blocks it reads.

import math

import torch
from torch import nn


class SpectrumEncoder(nn.Module):
    """How strong each of a few frequencies is in each channel of a sequence."""

    kinds = ("sequence",)

    def __init__(self, info, tokens, *, hidden_dim=None, n_frequencies=8):  # None: the estimator's
        super().__init__()
        channels = math.prod(info.shape)  # of one step
        self.register_buffer("frequencies", torch.linspace(0.02, 0.5, n_frequencies))  # in cycles per step
        self.project = nn.Sequential(nn.Linear(channels * n_frequencies, hidden_dim), nn.ReLU())
        self.out_dim = hidden_dim

    def forward(self, x, mask):  # (B, T, channels), (B, T)
        x = torch.where(mask.unsqueeze(-1), x.flatten(2), 0.0)
        steps = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        angle = 2 * torch.pi * steps.unsqueeze(-1) * self.frequencies.to(x.dtype)  # (T, F)
        length = mask.sum(1).clamp(min=1).to(x.dtype)[:, None, None]
        real = torch.einsum("btc,tf->bcf", x, angle.cos()) / length
        imaginary = torch.einsum("btc,tf->bcf", x, angle.sin()) / length
        power = (real.square() + imaginary.square() + 1e-6).log()
        return self.project(power.flatten(1)), mask.any(1)


# %%
# ``check_encoder`` holds it to the rules that ours keep:

from skmm.testing import check_encoder

check_encoder(SpectrumEncoder)

# %%
# Data for which it is made
# -------------------------
# The class is a frequency whose phase says nothing, beside noise and a table.

import matplotlib.pyplot as plt
import numpy as np

from skmm import Blocks, Encoder, MultimodalClassifier

rng = np.random.default_rng(0)
n = 150
y = rng.permutation(np.arange(n) % 2)
waves = []
for label in y:
    steps = np.arange(rng.integers(40, 60))
    wave = np.sin(2 * np.pi * (0.15 + 0.06 * label) * steps + rng.uniform(0, 2 * np.pi))
    waves.append((wave + 1.2 * rng.normal(size=len(steps)))[:, None])
X = Blocks(wave=waves, table=y[:, None] + 2 * rng.normal(size=(n, 3)))

# %%
# Compared with ours
# ------------------

from sklearn.model_selection import cross_val_score

clf = MultimodalClassifier(n_members=1, max_epochs=10, experts=None, random_state=0)
encoders = {
    "SpectrumEncoder": SpectrumEncoder,
    "... of 16 frequencies": Encoder(SpectrumEncoder, n_frequencies=16),
    "conv1d": "conv1d",
    "gru": "gru",
}
scores = {}
for name, encoder in encoders.items():
    clf.set_params(encoders={"wave": encoder})
    scores[name] = cross_val_score(clf, X, y, cv=2)

fig, ax = plt.subplots(figsize=(6, 3), layout="constrained")
ax.barh(
    list(scores), [s.mean() for s in scores.values()], xerr=[s.std() for s in scores.values()], color="tab:blue"
)
ax.axvline(0.5, color="grey", linestyle="--")
ax.invert_yaxis()
ax.set(xlabel="accuracy, two folds", xlim=(0.4, 1))
plt.show()

# %%
# A module that is there already
# ------------------------------
# An instance is copied for each member and starts from the weights that it has: the way for a network that was
# trained elsewhere.

trained = nn.Sequential(nn.Linear(3, 16), nn.ReLU())
clf.set_params(encoders={"wave": SpectrumEncoder, "table": trained}).fit(X, y)
print(f"{clf.score(X, y):.2f} on what it was fitted to")
