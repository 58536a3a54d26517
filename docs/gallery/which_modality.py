"""
Which modality tells, and why
=============================

Four questions to one fitted estimator: what is each modality worth alone, what is lost without it, for which
samples does it count, and at which steps of a sequence.
"""

# %%
# The data
# --------
# The table tells the class of most samples, a short bump in the sequence that of the others; a picture tells
# nothing.

import matplotlib.pyplot as plt
import numpy as np

from skmm import Blocks, Encoder, MultimodalClassifier

rng = np.random.default_rng(0)
n = 500
y = rng.integers(0, 2, n)
in_table = rng.random(n) < 0.6
table = rng.normal(size=(n, 5))
table[:, 0] += np.where(in_table, 2 * (2 * y - 1), 0)
sequence = 0.5 * rng.normal(size=(n, 30, 2))
for row in np.flatnonzero(~in_table):
    sequence[row, 12:16, 0] += 2.5 * (2 * y[row] - 1)
picture = rng.integers(0, 255, (n, 8, 8), dtype=np.uint8)
X = Blocks(table=table, sequence=sequence, picture=picture)
train, test = np.arange(350), np.arange(350, n)
clf = MultimodalClassifier(
    "attention",
    encoders={"sequence": Encoder("conv1d", n_segments=6)},
    modality_dropout=0.2,
    n_members=2,
    experts=None,
    max_epochs=25,
    random_state=0,
)
clf.fit(X[train], y[train])
print(f"accuracy {clf.score(X[test], y[test]):.2f}")

# %%
# Alone
# -----
# ``expert_scores_`` are scores on samples that were left out: of the fused head and of a head on each modality.
# Without ``experts=None`` linear models and trees stand beside them, and say whether the network was worth it.

clf.expert_scores_.to_pandas().sort_values("score", ascending=False).round(2)

# %%
# What each is worth
# ------------------
# The accuracy above that without any modality, shared between them: what a modality adds, averaged over the
# orders in which they may come (Shapley values). Beside it what is lost when it is taken from the samples, and
# when it is shuffled between them, which leaves its values in place and takes only what they have to do with the
# class.

from skmm.inspection import modality_importances

found = {
    method: modality_importances(clf, X[test], y[test], method=method, random_state=0)
    for method in ("shapley", "removal", "permutation")
}
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
at = np.arange(len(list(X)))
for k, (method, result) in enumerate(found.items()):
    away = [result.importances - result.low, result.high - result.importances]
    ax.barh(at + 0.27 * (k - 1), result.importances, 0.25, xerr=np.maximum(away, 0), label=method)
ax.set_yticks(at, list(X))
ax.set(xlabel="accuracy")
ax.legend()
plt.show()

# %%
# The table gives most alone; what two give together beyond that is near 0, for here they tell the class of
# different samples. The picture tells nothing: guessing by it alone is a little worse than what is most common.

found["shapley"].table.to_pandas().round(3)

# %%
# For which samples
# -----------------
# The probability that each head gave the true class, by who tells it. ``gates`` are the weights that a fusion
# gave the modalities of each sample; what attention has mixed before cannot be read off them, what a head says
# can.

by_head = clf.predict_proba_by_head(X[test])
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for k, proba in enumerate(by_head.values()):
    of_truth = proba[np.arange(len(test)), y[test]]
    for offset, group, color in [(-0.15, in_table[test], "tab:blue"), (0.15, ~in_table[test], "tab:orange")]:
        ax.boxplot(
            of_truth[group], positions=[k + offset], widths=0.25, medianprops={"color": color, "linewidth": 2}
        )
ax.plot([], color="tab:blue", label="the table tells the class")
ax.plot([], color="tab:orange", label="the sequence does")
ax.set_xticks(range(len(by_head)), list(by_head))
ax.set(ylabel="probability of the true class", xlim=(-0.5, len(by_head) - 0.5))
ax.legend()
plt.show()

# %%
# At which steps
# --------------
# How much the log-probability of the true class falls when three steps in a row are hidden, the mean over the
# samples that only the sequence tells.

rows = test[~in_table[test]]
evidence = clf.frame_evidence(X[rows], "sequence", width=3)["sequence"]  # (samples, steps, classes)
of_truth = evidence[np.arange(len(rows)), :, y[rows]].mean(axis=0)
fig, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.bar(range(30), of_truth)
ax.axvspan(11.5, 15.5, color="tab:orange", alpha=0.3, label="where the bump is")
ax.set(xlabel="step", ylabel="evidence")
ax.legend()
plt.show()
