"""
How sure it is: sets of answers, and what to leave to a person
==============================================================

Instead of one class, a set that holds the true one as often as was asked for; and the answers in the order of how
sure the estimator is of them, so that the least sure ones go to a person.
"""

# %%
# The data
# --------
# Generated reviews, whose mood is told by a sentence, a face and a voice, each with an error of its own. A part is
# kept for calibration: samples that the estimator did not learn from.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skmm import ModalityTransformer, MultimodalClassifier
from skmm.datasets import make_sentiment
from skmm.preprocessing import ImageLoader, LogMel

reviews = make_sentiment(900, difficulty=0.4, missing_rate=0.1, random_state=0)
X, y = reviews.data, np.array(["bad", "so-so", "good"])[np.digitize(reviews.target, [-1, 1])]
train, calibrate, test = slice(0, 300), slice(300, 600), slice(600, 900)
read = ModalityTransformer(
    [
        ("text", TfidfVectorizer(), "text"),
        ("face", ImageLoader(size=16), "image"),
        ("voice", LogMel(reviews.sample_rate, n_mels=16, hop=0.03), "audio"),
    ]
)
model = make_pipeline(read, MultimodalClassifier(n_members=2, max_epochs=15, experts=None, random_state=0))
model.fit(X[train], y[train])
print(f"accuracy {model.score(X[test], y[test]):.2f}")

# %%
# Sets that hold the truth nine times in ten
# ------------------------------------------
# Where the estimator is sure a set has one class, where it is not it has several. The true one is in nine of ten
# sets of new samples like these, whatever the estimator; of 300 counted here, within what chance does with so many
# (a few points up or down).

from skmm.inspection import conformal

sets = conformal(model, X[calibrate], y[calibrate], alpha=0.1)
inside = sets.predict_set(X[test])
held = inside[np.arange(300), np.searchsorted(sets.classes_, y[test])]
print(f"{held.mean():.1%} of the sets hold the truth; sizes {np.bincount(inside.sum(axis=1))}")
for labels in sets.labels_of(inside[:5]):
    print(labels.tolist())

# %%
# A smaller alpha is a promise that is kept more often, and costs larger sets. No new calibration is needed.

for alpha in (0.05, 0.1, 0.2, 0.3):
    inside = sets.predict_set(X[test], alpha=alpha)
    held = inside[np.arange(300), np.searchsorted(sets.classes_, y[test])]
    print(f"alpha {alpha}: {held.mean():.1%} hold the truth, {inside.sum(axis=1).mean():.2f} classes on average")

# %%
# What to leave to a person
# -------------------------
# Sorted by how unsure the estimator is: what error is left, if only so many of the samples are answered? Beside it
# the best order that there could be, and a random one. How much members disagree is another order.

from skmm.inspection import RiskCoverageDisplay

display = RiskCoverageDisplay.from_estimator(model, X[test], y[test], kind="probability")
RiskCoverageDisplay.from_estimator(model, X[test], y[test], kind="members", references=False, ax=display.ax_)
plt.show()

# %%
# In numbers: to be wrong in at most one of twenty answers, as many samples as this may be answered. The threshold
# is found on one part of the samples and holds on another, within what chance does.

from skmm.inspection import risk_coverage_curve, uncertainty

wrong = model.predict(X[calibrate]) != y[calibrate]
curve = risk_coverage_curve(wrong, uncertainty(model, X[calibrate], kind="probability"))
most = np.flatnonzero(curve.risk <= 0.05).max()
answered = uncertainty(model, X[test], kind="probability") <= curve.thresholds[most]
error = (model.predict(X[test]) != y[test])[answered].mean()
print(f"{curve.coverage[most]:.0%} of the samples with {curve.risk[most]:.1%} errors")
print(f"of new samples {answered.mean():.0%} are answered, {error:.1%} of them wrongly")
