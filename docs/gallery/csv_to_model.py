"""
From a CSV to predictions in a new process
==========================================

A table names texts, photographs and recordings and holds prices, shops and dates, with gaps. It becomes a
model, an honest estimate of how good that is, and predictions that another process makes from a file.
"""

# %%
# The table
# ---------
# Two kinds of thing are sold, and every column knows a little of which it is. The files lie beside the table.

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import soundfile
from PIL import Image

folder = tempfile.TemporaryDirectory()
place = Path(folder.name)
rng = np.random.default_rng(0)
n = 120
kind = rng.permutation(np.arange(n) % 2)
rows = []
for i, k in enumerate(kind):
    picture = rng.normal(115 + 3 * k, 60, (16, 16, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(picture).save(place / f"{i}.png")
    tone = 0.2 * np.sin(np.arange(1000) * (0.3 + 0.004 * k)) + 0.2 * rng.normal(size=1000)
    soundfile.write(place / f"{i}.wav", tone, 8000)
    words = rng.choice(["loud", "new", "old", "good", "blue", ["soft", "small"][k]], 3)
    rows.append(
        {
            "description": " ".join(words),
            "photo": f"{i}.png",
            "recording": f"{i}.wav",
            "price": round(20 + 16 * k + 8 * rng.normal(), 2),
            "shop": rng.choice(["north", "south", "west"]),
            "sold": f"2025-{rng.integers(1, 13):02d}-{rng.integers(1, 28):02d}",
            "kind": ["clock", "radio"][k],
        }
    )
df = pd.DataFrame(rows)
df.loc[rng.choice(n, 15), "photo"] = None
df.loc[rng.choice(n, 15), "price"] = None
df.to_csv(place / "sales.csv", index=False)

# %%
# What the columns are
# --------------------
# ``from_frame`` types each column by what it holds. Look at it before anything is fitted; what it gets wrong is
# said by name, ``from_frame(df, shop="category")``.

from skmm import ModalityTransformer, MultimodalClassifier

df = pd.read_csv(place / "sales.csv")
y = df.pop("kind")
transformer = ModalityTransformer.from_frame(df, base_dir=folder.name)
transformer.describe()

# %%
# Fit, and an honest estimate
# ---------------------------
# Each member of the ensemble leaves a fold out, so that every row is also predicted by members that never saw it.
# Their accuracy is ``oof_score_``: no row was set aside for it. A fifth of the rows is set aside here all the
# same, to be predicted later.

from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

train, later, y_train, y_later = train_test_split(df, y, test_size=0.2, stratify=y, random_state=0)
model = make_pipeline(
    transformer.set_params(photo__size=16),
    MultimodalClassifier(n_members=2, max_epochs=8, random_state=0),
)
model.fit(train, y_train)
print(f"accuracy on rows that members left out: {model[-1].oof_score_:.2f}")

# %%
# What each part of the ensemble is worth alone, and how much it counts:

scores = model[-1].expert_scores_.to_pandas()
weights = model[-1].stack_weights_.to_pandas()
both = scores.merge(weights, on="head").sort_values("score")

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.barh(both["head"], both["score"], color=plt.cm.Blues(0.25 + 0.7 * both["weight"] / both["weight"].max()))
ax.axvline(0.5, color="grey", linestyle="--")
ax.set(xlabel="accuracy on rows left out (the darker, the more it counts)", xlim=(0.4, 1))
plt.show()

# %%
# A file, and predictions in a new process
# ----------------------------------------
# ``skmm.save`` writes a file that runs nothing when it is read. The other process knows only this file and a
# table without the target.

import skmm

skmm.save(model, place / "model.skmm")
later.to_csv(place / "later.csv", index=False)
program = """
import sys
import pandas as pd
import skmm

model = skmm.load(sys.argv[1])
table = pd.read_csv(sys.argv[2])
table["predicted"] = model.predict(table)
table["probability"] = model.predict_proba(table).max(axis=1).round(2)
table.to_csv(sys.argv[3], index=False)
"""
command = [sys.executable, "-c", program, "model.skmm", "later.csv", "predicted.csv"]
subprocess.run(command, cwd=place, check=True)
predicted = pd.read_csv(place / "predicted.csv")
predicted[["description", "price", "shop", "predicted", "probability"]].head()

# %%

print(f"accuracy on the rows that were set aside: {(predicted['predicted'] == y_later.to_numpy()).mean():.2f}")

# %%
# A report for people who did not train it
# ----------------------------------------
# One file that needs neither network nor script: is the model any good, what does it rely on, how was it made.

report = skmm.report(
    model,
    later,
    y_later,
    place / "report.html",
    groups=later["shop"],
    title="Which kind of thing is sold? From its text, photograph, sound and price",
)
print("\n".join(report.answer))
folder.cleanup()
