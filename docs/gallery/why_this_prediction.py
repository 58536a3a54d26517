"""
Why this prediction: words, pixels, sounds
==========================================

What inside a modality speaks for a prediction, and against it: the words of a sentence, the pixels of a picture,
the moments and bands of a sound, for one sample and over many.
"""

# %%
# The data
# --------
# Generated reviews, each with a sentence, a face and a sound that show the same sentiment. Nothing is real.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from skmm import ModalityTransformer, MultimodalClassifier
from skmm.datasets import make_sentiment
from skmm.preprocessing import ImageLoader, LogMel

reviews = make_sentiment(400, difficulty=0.2, random_state=0)
y = np.where(reviews.target > 0, "positive", "negative")
train, test = reviews.data[:300], reviews.data[300:]
readers = ModalityTransformer(
    [
        ("text", TfidfVectorizer(), "text"),
        ("image", ImageLoader(size=32), "image"),
        ("audio", LogMel(8000, n_mels=20, window=0.05, hop=0.02), "audio"),
    ]
)
model = make_pipeline(
    readers, MultimodalClassifier(n_members=2, experts=None, max_epochs=20, modality_dropout=0.3, random_state=0)
)
model.fit(train, y[:300])
print(f"accuracy {model.score(test, y[300:]):.2f}")

# %%
# One sample
# ----------
# The log-odds of "positive" are shared between the words, from what the model says with no word at all. Orange
# speaks for it, purple against it.

from skmm.inspection import AttributionDisplay

row = 1
fig, axes = plt.subplots(1, 2, figsize=(11, 3.5), layout="constrained")
show = {"row": row, "target": "positive"}
AttributionDisplay.from_estimator(model, test, "text", ax=axes[0], **show)
AttributionDisplay.from_estimator(model, test, "text", ax=axes[1], text=test["text"].iloc[row], **show)
plt.show()

# %%
# The face, where patches of 4 x 4 pixels are hidden in turn, and its sound, over the spectrogram that the model
# reads.

fig, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
AttributionDisplay.from_estimator(model, test, "image", method="occlusion", window=(4, 4), ax=axes[0], **show)
AttributionDisplay.from_estimator(model, test, "audio", ax=axes[1], **show)
plt.show()

# %%
# Over many samples
# -----------------
# ``attributions`` gives the numbers, and says of each sample by how much their sum misses the change of the
# log-odds.

from skmm.inspection import attributions

found = attributions(model, test, "text", target="positive")
print(f"largest error {found.completeness_error.max():.3f}, by {found.n_steps.max()} steps at most")
there = model[0].transform(test)["text"].toarray() != 0
mean = found.values.sum(axis=0) / np.maximum(there.sum(axis=0), 1)
order = np.argsort(mean)
kept = np.r_[order[:8], order[-8:]]
fig, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
ax.barh(range(len(kept)), mean[kept], color=np.where(mean[kept] > 0, "tab:orange", "tab:purple"))
ax.set_yticks(range(len(kept)), found.names[kept])
ax.set(xlabel="mean attribution where the word stands (log-odds of positive)")
plt.show()
