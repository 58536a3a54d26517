"""
Searching: GridSearchCV, FusionSearchCV and Optuna
==================================================

The fusion, the encoders, the optimizer and all their parameters are parameters of the estimator, so that every
search reaches them.
"""

# %%
# The data
# --------
# Two modalities whose parts only together tell the class in a third of the samples: here the fusion matters.

import matplotlib.pyplot as plt

from skmm import MultimodalClassifier
from skmm.datasets import make_multimodal_classification

X, y = make_multimodal_classification(240, noise=0.3, random_state=0)
single = MultimodalClassifier(n_members=1, max_epochs=8, experts=None, random_state=0)

# %%
# A grid
# ------
# ``FusionSearchCV`` takes GridSearchCV's place and trains candidates and folds whose networks have the same shape
# in one loop. Parameters of a fusion or an optimizer follow its name, after two underscores.

from skmm.model_selection import FusionSearchCV

grid = [
    {"fusion": ["concat", "sum"], "lr": [0.01, 0.03]},
    {"fusion": ["mfb"], "fusion__factor": [2, 5], "lr": [0.01, 0.03]},
]
search = FusionSearchCV(single, grid, cv=2).fit(X, y)
print(search.best_params_, f"{search.best_score_:.2f}")

# %%
# scikit-learn's own search finds the same way in, here by successive halving:

from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import HalvingGridSearchCV

halving = HalvingGridSearchCV(
    single, {"fusion": ["concat", "late", "mfb"]}, cv=2, min_resources=100, random_state=0
)
print(halving.fit(X, y).best_params_)

# %%
# Optuna
# ------
# A study asks for the score of parameters that it suggests. What is written to the trial is what ``set_params``
# takes.

import optuna
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

optuna.logging.set_verbosity(optuna.logging.WARNING)


def score(trial):
    params = {
        "fusion": trial.suggest_categorical("fusion", ["concat", "gated", "mfb"]),
        "lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        "dropout": trial.suggest_float("dropout", 0.0, 0.6),
    }
    return cross_val_score(clone(single).set_params(**params), X, y, cv=2).mean()


study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.optimize(score, n_trials=10)
print(study.best_params, f"{study.best_value:.2f}")

# %%

trials = study.trials_dataframe()
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for fusion, part in trials.groupby("params_fusion"):
    ax.scatter(part["params_lr"], part["value"], label=fusion)
ax.axhline(search.best_score_, color="grey", linestyle="--", label="best of the grid")
ax.set(xscale="log", xlabel="learning rate", ylabel="accuracy, two folds", title="What Optuna tried")
ax.legend()
plt.show()

# %%
# The winner is an estimator like any other. The score of the best of many candidates is too good: for an honest
# one put the whole search into ``cross_val_score``, or ask samples that it never saw.
