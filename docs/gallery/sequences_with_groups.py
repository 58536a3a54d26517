"""
Sequences of any length, with groups and rare classes
=====================================================

Recordings of several people by two sensors, of different length, where one class in eight is the rare one.
Recordings of one person are alike, so no person may stand on both sides of a fold.
"""

# %%
# Ragged arrays
# -------------
# A list of ``(time, channels)`` arrays is a block; the two sensors need neither the same length nor the same
# channels.

import matplotlib.pyplot as plt
import numpy as np

from skmm import Blocks

rng = np.random.default_rng(0)
n_people, per_person = 20, 12
person = np.repeat(np.arange(n_people), per_person)
y = (rng.random(len(person)) < 0.125).astype(int)
own = rng.normal(size=(n_people, 3))  # what is alike in the recordings of one person


def steps(who, falls):
    n = rng.integers(20, 50)
    x = own[who] + rng.normal(size=(n, 3))
    if falls:
        at = rng.integers(5, n - 5)
        x[at : at + 4] += 2.5
    return x


def pulse(falls):
    return (70 + 4 * falls + 5 * rng.normal(size=(rng.integers(8, 15), 1))).astype(np.float32)


X = Blocks(
    motion=[steps(who, falls) for who, falls in zip(person, y, strict=True)],
    pulse=[pulse(falls) for falls in y],
)
print(X, f"\n{y.mean():.1%} of the recordings are falls")

# %%

fall = np.flatnonzero(y == 1)[0]
fig, axes = plt.subplots(2, 1, figsize=(7, 4), layout="constrained")
axes[0].plot(X["motion"][fall])
axes[0].set(ylabel="motion", title="One fall")
axes[1].plot(X["pulse"][fall], color="tab:red")
axes[1].set(ylabel="pulse", xlabel="step")
plt.show()

# %%
# Folds of whole people
# ---------------------
# The outer folds are of people. ``fit`` gets the groups as well, so that what its members leave out are people,
# too: its stack and ``oof_score_`` would otherwise be too sure of itself. ``class_weight="balanced"`` makes the
# rare class count as much.

from sklearn.metrics import average_precision_score, balanced_accuracy_score
from sklearn.model_selection import StratifiedGroupKFold

from skmm import MultimodalClassifier

clf = MultimodalClassifier(
    "concat",
    encoders={"motion": "conv1d", "pulse": "gru"},
    class_weight="balanced",
    n_members=2,
    max_epochs=12,
    experts=None,
    random_state=0,
)
proba = np.zeros(len(y))
for train, test in StratifiedGroupKFold(3).split(y, y, groups=person):
    clf.fit(X[train], y[train], groups=person[train])
    proba[test] = clf.predict_proba(X[test])[:, 1]

print(f"average precision {average_precision_score(y, proba):.2f}, of chance {y.mean():.2f}")
print(f"balanced accuracy {balanced_accuracy_score(y, proba > 0.5):.2f}")

# %%
# Accuracy would flatter here: who never says "fall" has 0.87. The curve shows what a threshold finds, and what it
# costs.

from sklearn.metrics import PrecisionRecallDisplay

PrecisionRecallDisplay.from_predictions(y, proba, plot_chance_level=True, name="motion and pulse")
plt.show()
