"""
Your own fusion
===============

A fusion is a torch module: the sizes of the modalities in its constructor, hyperparameters by keyword, and a
``forward`` that takes two dicts, the vectors and which of them exist. Everything else stays: pipelines,
searches, members, files.
"""

# %%
# The module
# ----------
# The strongest of the modalities' projections, entry by entry. What is absent is replaced by a learned vector:
# whatever stands in the memory of a missing row must not be read.

import torch
from torch import nn


class StrongestFusion(nn.Module):
    """The largest of the modalities' projections, entry by entry."""

    level = "feature"  # one vector per modality; "token", "input" and "decision" read something else

    def __init__(self, dims, *, hidden_dim=None, sharpness=5.0):  # None: the estimator's
        super().__init__()
        self.names = list(dims)
        self.sharpness = sharpness
        self.project = nn.ModuleList(nn.Linear(d, hidden_dim) for d in dims.values())
        self.bottom = nn.Parameter(torch.zeros(hidden_dim))
        self.out_dim = hidden_dim

    def forward(self, values, present):
        found = [self.bottom.expand(len(values[self.names[0]]), -1)]
        for name, layer in zip(self.names, self.project, strict=True):
            found.append(torch.where(present[name].unsqueeze(-1), layer(values[name]), self.bottom))
        return torch.stack(found).mul(self.sharpness).logsumexp(0) / self.sharpness


# %%
# Does it keep the rules?
# -----------------------
# Any number of modalities with any names, samples that never see each other, nothing read where a modality is
# missing: ``check_fusion`` holds a class to what ours keep. It says nothing if all is well.

from skmm.testing import check_fusion

check_fusion(StrongestFusion)

# %%
# A mistake is named. This one reads what is missing:


class Careless(StrongestFusion):
    def forward(self, values, present):
        found = [self.bottom.expand(len(values[self.names[0]]), -1)]
        found += [layer(values[name]) for name, layer in zip(self.names, self.project, strict=True)]
        return torch.stack(found).amax(0)


try:
    check_fusion(Careless)
except AssertionError as error:
    print(error)

# %%
# In a search
# -----------
# Its hyperparameters are parameters of the estimator. ``register_fusion`` gives it a name beside ours, by which
# files, the command and others find it.

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV

from skmm import MultimodalClassifier, list_fusions, register_fusion
from skmm.datasets import make_multimodal_classification

register_fusion("strongest")(StrongestFusion)
print("strongest" in list_fusions())

X, y = make_multimodal_classification(200, noise=0.3, missing_rate=0.1, random_state=0)
clf = MultimodalClassifier("strongest", n_members=1, max_epochs=10, experts=None, random_state=0)
search = GridSearchCV(clf, {"fusion__sharpness": [1, 5, 20], "fusion__hidden_dim": [16, 64]}, cv=2).fit(X, y)
print(search.best_params_, f"{search.best_score_:.2f}")

# %%

scores = search.cv_results_["mean_test_score"].reshape(2, 3)  # hidden_dim by sharpness
fig, ax = plt.subplots(figsize=(5, 3.2), layout="constrained")
for hidden_dim, line in zip([16, 64], scores, strict=True):
    ax.plot([1, 5, 20], line, "o-", label=f"hidden_dim={hidden_dim}")
ax.set(xscale="log", xlabel="sharpness", ylabel="accuracy, two folds")
ax.legend()
plt.show()

# %%
# ``compare_fusions(X, y, fusions=["strongest", "sum", "concat"])`` sets it beside ours, on the same folds.
