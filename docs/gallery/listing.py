"""
A listing: text, photograph and price
=====================================

Which department a product belongs to, from its name, its picture and what it costs. Each of the three knows two
departments from the others, none knows all; together they do.
"""

# %%
# The products
# ------------
# Generated: the words tell toys from the rest, the picture tells tools, the price tells furniture.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
departments = np.array(["furniture", "tools", "toys", "garden"])
n = 240
which = rng.permutation(np.arange(n) % 4)


def name(k):
    hint = "bear" if k == 2 else rng.choice(["oak", "steel"])
    return f"{rng.choice(['green', 'small', 'best'])} {hint if rng.random() < 0.9 else 'thing'} {rng.integers(100)}"


def photo(k):
    picture = rng.integers(0, 90, (16, 16, 3))
    if k == 1:  # a bright bar
        row = rng.integers(2, 12)
        picture[row : row + 3] += 120
    return picture.astype(np.uint8)


df = pd.DataFrame(
    {
        "name": [name(k) for k in which],
        "photo": [photo(k) for k in which],
        "price": np.where(which == 0, 200, 60) * rng.lognormal(0, 0.4, n),
    }
)
y = departments[which]

fig, axes = plt.subplots(1, 4, figsize=(8, 3), layout="constrained")
for ax, department in zip(axes, departments, strict=True):
    row = np.flatnonzero(y == department)[0]
    ax.imshow(df["photo"][row])
    ax.set(title=f"{df['name'][row]}\n{df['price'][row]:.0f}", xlabel=department, xticks=[], yticks=[])
plt.show()

# %%
# A pipeline
# ----------
# One transformer per modality, by hand: the names as TF-IDF, the pictures as they are, the price by its logarithm.

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skmm import ModalityTransformer, MultimodalClassifier

model = make_pipeline(
    ModalityTransformer(
        [
            ("name", TfidfVectorizer(), "name"),
            ("photo", FunctionTransformer(np.stack), "photo"),
            ("price", FunctionTransformer(np.log), ["price"]),
        ]
    ),
    MultimodalClassifier("concat", n_members=2, max_epochs=25, experts=None, random_state=0),
)
model

# %%

train, test, y_train, y_test = train_test_split(df, y, test_size=0.25, stratify=y, random_state=0)
model.fit(train, y_train)
print(f"accuracy on products that were set aside: {model.score(test, y_test):.2f}")

# %%
# What each modality says alone
# -----------------------------
# Beside the fused head the network has one head per modality. Each confuses what it cannot know.

from sklearn.metrics import ConfusionMatrixDisplay

X_test = model[:-1].transform(test)
by_head = model[-1].predict_proba_by_head(X_test)
fig, axes = plt.subplots(1, 4, figsize=(12, 3.4), layout="constrained", sharey=True)
for ax, (head, proba) in zip(axes, by_head.items(), strict=True):
    said = model[-1].classes_[proba.argmax(axis=1)]
    ConfusionMatrixDisplay.from_predictions(y_test, said, ax=ax, colorbar=False, cmap="Blues", xticks_rotation=45)
    ax.set(title=f"{head}: {(said == y_test).mean():.2f}", ylabel="")
axes[0].set_ylabel("true")
plt.show()

# %%
# A product without its photograph is predicted from the rest:

no_photo = test.head(3).assign(photo=None)
print(model.predict(no_photo), y_test[:3])
