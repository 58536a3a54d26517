"""
Several labels for one sample
=============================

A film is a comedy, a romance, both or neither: ``y`` is a table of zeros and ones, and everything else is as
ever. Which modality tells which label, the heads say.
"""

# %%
# The data
# --------
# The text tells comedies, the sound tells thrillers, and romances show in both.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.preprocessing import MultiLabelBinarizer

from skmm import Blocks, MultimodalClassifier

rng = np.random.default_rng(0)
n = 500
genres = [[name for name in ("comedy", "romance", "thriller") if rng.random() < 0.4] for _ in range(n)]
binarizer = MultiLabelBinarizer()
y = binarizer.fit_transform(genres)  # (n, 3) of 0 and 1
text = rng.normal(size=(n, 12))
text[:, :2] += 1.8 * y[:, :2]
sound = rng.normal(size=(n, 20, 4))
sound[:, :, 0] += y[:, [2]]
sound[:, :, 1] += 0.6 * y[:, [1]]
X = Blocks(text=text, sound=sound)
print(genres[:4], *y[:4], sep="\n")

# %%
# Fit and score
# -------------
# ``predict`` gives the table, ``predict_proba`` a probability for each label. Accuracy counts samples whose
# labels are all right; the F1 of each label says more.

from sklearn.metrics import f1_score

train, test = slice(0, 350), slice(350, None)
clf = MultimodalClassifier(n_members=2, max_epochs=15, experts=None, random_state=0).fit(X[train], y[train])
said = clf.predict(X[test])
print(f"all labels right: {clf.score(X[test], y[test]):.2f}")
for name, f1 in zip(binarizer.classes_, f1_score(y[test], said, average=None), strict=True):
    print(f"F1 of {name}: {f1:.2f}")
print(binarizer.inverse_transform(said[:4]))

# %%
# Which modality tells which label
# --------------------------------

from sklearn.metrics import roc_auc_score

by_head = clf.predict_proba_by_head(X[test])
auc = np.array([roc_auc_score(y[test], proba, average=None) for proba in by_head.values()])
fig, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
shown = ax.imshow(auc, vmin=0.5, vmax=1, cmap="Blues")
for row, column in np.ndindex(*auc.shape):
    ax.text(
        column,
        row,
        f"{auc[row, column]:.2f}",
        ha="center",
        va="center",
        color="black" if auc[row, column] < 0.85 else "white",
    )
ax.set_xticks(range(3), binarizer.classes_)
ax.set_yticks(range(len(by_head)), list(by_head))
fig.colorbar(shown, label="area under the ROC curve")
plt.show()
