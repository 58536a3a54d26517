"""
Regression with intervals
=========================

A value, and between which bounds it lies nine times in ten: by two networks of quantile loss, whose bounds are
then calibrated on samples set aside (conformalised quantile regression, Romano et al. 2019).
"""

# %%
# The data
# --------
# A table and a sequence; the noise of the target grows with the first column, so that one width for all samples
# would be wrong.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skmm import Blocks, MultimodalRegressor

rng = np.random.default_rng(0)
n = 1200
table, sensor = rng.normal(size=(n, 4)), rng.normal(size=(n, 12, 2))
sensor += rng.normal(size=(n, 1, 1))
spread = 0.2 + 0.6 * (table[:, 0] > 0)
y = table[:, 1] + 2 * sensor.mean(axis=(1, 2)) + spread * rng.normal(size=n)
X = Blocks(table=table, sensor=sensor)
rows, test = train_test_split(np.arange(n), test_size=400, random_state=0)
train, calibration = rows[:500], rows[500:]

# %%
# Value and bounds
# ----------------
# Three fits: the mean, and the quantiles 0.05 and 0.95.

quick = {"n_members": 2, "max_epochs": 12, "experts": None, "random_state": 0}
value = MultimodalRegressor(**quick).fit(X[train], y[train])
low = MultimodalRegressor(loss="quantile", alpha=0.05, **quick).fit(X[train], y[train])
high = MultimodalRegressor(loss="quantile", alpha=0.95, **quick).fit(X[train], y[train])
print(f"R2 {value.score(X[test], y[test]):.2f}")

# %%
# Calibrated
# ----------
# How far a calibration sample lies outside of its bounds (negative inside) is its score; the bounds are widened
# by the quantile of these scores. Whatever the network, nine in ten new samples of the same kind then lie between
# them.

score = np.maximum(low.predict(X[calibration]) - y[calibration], y[calibration] - high.predict(X[calibration]))
m = len(calibration)
widen = np.quantile(score, min(1, np.ceil(0.9 * (m + 1)) / m), method="higher")
lower, upper = low.predict(X[test]), high.predict(X[test])
for name, by in {"as predicted": 0.0, "calibrated": widen}.items():
    inside = (lower - by <= y[test]) & (y[test] <= upper + by)
    quiet, noisy = table[test, 0] <= 0, table[test, 0] > 0
    print(f"{name}: {inside.mean():.1%} inside; quiet {inside[quiet].mean():.1%}, noisy {inside[noisy].mean():.1%}")

# %%
# Nine in ten is kept over all samples, not in each group of them. The intervals of the noisy ones are wider, as
# they should be:

order = test[np.argsort(value.predict(X[test]))][::8]
middle, bottom, top = value.predict(X[order]), low.predict(X[order]) - widen, high.predict(X[order]) + widen
fig, ax = plt.subplots(figsize=(8, 4), layout="constrained")
noisy = table[order, 0] > 0
at = np.arange(len(order))
for group, color, name in [(~noisy, "tab:blue", "quiet"), (noisy, "tab:orange", "noisy")]:
    ax.vlines(at[group], bottom[group], top[group], color=color, alpha=0.5, linewidth=3, label=name)
ax.plot(at, middle, "k_", label="predicted")
ax.plot(at, y[order], "k.", markersize=4, label="true")
ax.set(xlabel="samples, by the predicted value", ylabel="target", title="Nine in ten lie inside")
ax.legend()
plt.show()
