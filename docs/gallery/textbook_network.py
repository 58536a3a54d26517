"""
The network of a textbook
=========================

One layer per modality, ReLU, a sum, one layer to the classes: 15,252 weights. The default estimator adds what
usually helps; ``plain`` is the same estimator without.
"""

# %%
# Three inputs of 100 features, 50 hidden units, two classes
# ----------------------------------------------------------

import matplotlib.pyplot as plt
import numpy as np

from skmm import Blocks, MultimodalClassifier

rng = np.random.default_rng(0)
n = 400
y = rng.permutation(np.arange(n) % 2)
X = Blocks({name: 0.25 * y[:, None] + rng.normal(size=(n, 100)) for name in ("text", "image", "audio")})
train, test = np.arange(250), np.arange(250, n)

plain = MultimodalClassifier.plain("sum", hidden_dim=50, max_epochs=30, random_state=0).fit(X[train], y[train])
network = plain.net_.module_
print(f"{sum(weights.numel() for weights in network.parameters()):,} weights")
print(network)

# %%
# 3 x (100 x 50 + 50) + 50 x 2 + 2 = 15,252: nothing else is in it, no members, no further heads, no dropout, no
# scaling.
#
# Beside the default
# ------------------

default = MultimodalClassifier("sum", n_members=4, max_epochs=30, experts=None, random_state=0).fit(
    X[train], y[train]
)
fig, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for name, clf in {"plain": plain, "default": default}.items():
    accuracy = clf.score(X[test], y[test])
    ax.plot(clf.loss_curve_, label=f"{name}: accuracy {accuracy:.2f} on other samples")
ax.set(xlabel="epoch", ylabel="loss in training")
ax.legend()
plt.show()
