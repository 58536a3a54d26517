"""
Missing modalities
==================

Half of the samples lack one of three modalities, and a sensor may fail altogether once the model is in use. Two
networks differ in one parameter: whether training hid modalities on purpose.
"""

# %%
# Rows without a modality
# -----------------------
# A row of NaN (or ``None`` in a list) is a missing modality. Nothing is filled in: the row is learned from and
# predicted without it.

import matplotlib.pyplot as plt

from skmm import MultimodalClassifier
from skmm.datasets import make_multimodal_classification

X, y = make_multimodal_classification(
    700,
    n_modalities=3,
    redundant=0.5,
    unique=0.5,
    synergistic=0.0,
    noise=0.5,
    missing_rate={"modality_0": 0.3, "modality_1": 0.2},
    random_state=0,
)
X_train, y_train, X_test, y_test = X[:450], y[:450], X[450:], y[450:]
print(X)

# %%
# Training that hides modalities
# ------------------------------
# ``modality_dropout=0.3`` hides each modality of a training sample with that probability, never all that it has.

params = {"n_members": 2, "max_epochs": 15, "experts": None, "random_state": 0}
as_it_is = MultimodalClassifier("concat", **params).fit(X_train, y_train)
hidden = MultimodalClassifier("concat", modality_dropout=0.3, **params).fit(X_train, y_train)
for name, clf in {"as it is": as_it_is, "with modality_dropout": hidden}.items():
    print(f"{name}: {clf.score(X_test, y_test):.2f}")

# %%
# How much a score suffers
# ------------------------
# From each modality in turn, growing shares of the samples are removed.

from skmm.inspection import RobustnessDisplay

fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for ax, (name, clf) in zip(axes, {"as it is": as_it_is, "with modality_dropout": hidden}.items(), strict=True):
    RobustnessDisplay.from_estimator(clf, X_test, y_test, rates=(0, 0.25, 0.5, 0.75, 1), random_state=0, ax=ax)
    ax.set_title(name)
plt.show()

# %%
# A modality that is absent altogether is left out, or said to be ``None``:

alone = {"modality_1": X_test["modality_1"][:3], "modality_2": X_test["modality_2"][:3]}
print(hidden.predict_proba(alone).round(2))
